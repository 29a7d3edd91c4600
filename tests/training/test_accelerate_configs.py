"""The launcher's configurations that come with the project, by the real launcher; CPUs stand in for GPUs."""

import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import datasets
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "accelerate"

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts `accelerate launch` with a configuration, the launcher's further options, and a run's output folder."""
    base = tmp_path_factory.mktemp("launch")
    splits = {"train": test_trainer.captures(24, 0), "val": test_trainer.captures(9, 1)}
    datasets.DatasetDict(splits).save_to_disk(base / "data")

    def start(config: str, *launcher: str, output: str) -> subprocess.Popen:
        command = [
            sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--quiet", "--config_file",
            CONFIGS / config, *launcher, ROOT / "scripts" / "train.py", "--dataset", base / "data",
            "--output_dir", base / output, "--backbone", "test_resnet", "--patch_size", "32", "--grid", "1",
            "--num_train_epochs", "1", "--per_device_train_batch_size", "4", "--use_cpu", "true",
            "--report_to", "none",
        ]  # fmt: skip
        return subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start, base


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_every_key_of_a_configuration(path):
    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    # The precision is the run's: a second one here would win or be overruled without a word.
    assert config.mixed_precision == "no"


@pytest.mark.slow
def test_several_cpu_processes_train_one_model_together(launch):
    start, base = launch
    process = start("several_cpu_processes.yaml", output="cpus")
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "8 captures a step: 4 on each of 2 processes" in printed
    assert json.loads((base / "cpus" / "metrics.json").read_text())["eval_val_images"] == 9


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to outgoing connections."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no free port")


@pytest.mark.slow
def test_two_machines_train_one_model_together(launch):
    start, base = launch
    port = free_port()
    machines = [
        start(
            "several_nodes.yaml", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port),
            "--num_processes", "2", "--machine_rank", str(rank), output="nodes",
        )
        for rank in (0, 1)
    ]  # fmt: skip
    printed = [machine.communicate()[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert "8 captures a step: 4 on each of 2 processes" in printed[0]
    assert "captures a step" not in printed[1] and "model and metrics.json" not in printed[1], "one machine reports"
    assert json.loads((base / "nodes" / "metrics.json").read_text())["eval_val_images"] == 9
