"""What is told of starts, and what is light to import."""

import json
import subprocess
import sys

import numpy as np
import pytest

from patchnet_hf.benchmarks import everything, startup
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.startup import LIBRARIES, PACKAGE, StartupBenchmark, measure_startup
from patchnet_hf.benchmarks.timing import Timing
from patchnet_hf.errors import InputError

SLOW = {"torch", "transformers", "timm", "datasets"}


def test_the_table_follows_from_the_medians():
    machine = Machine("A processor", cores=2, threads=2, versions={}, load=0.25)
    timings = {LIBRARIES: Timing(np.array([4.0, 3.0, 9.0])), PACKAGE: Timing(np.array([5.0, 5.0, 1.0]))}
    benchmark = StartupBenchmark(machine, timings)
    assert benchmark.text().splitlines()[-1].split()[-2:] == ["5.00", "1.25"]
    assert "| import patchnet_hf | 5.00 | 1.25 |" in benchmark.markdown()
    assert benchmark.as_json()["started"][PACKAGE]["seconds"] == [5.0, 5.0, 1.0]


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Scripts that only end, and nothing to import."""
    monkeypatch.setattr(startup, "LIBRARIES", "import json")
    monkeypatch.setattr(startup, "PACKAGE", "import csv")
    for name in ("train.py", "predict.py"):
        (tmp_path / name).write_text("import sys; print(sys.argv[1])")
    return tmp_path


def test_each_start_is_a_new_process_timed_in_turn(scripts, monkeypatch):
    started, run = [], subprocess.run
    monkeypatch.setattr(
        startup.subprocess, "run", lambda command, **options: started.append(command[-1]) or run(command, **options)
    )
    timings = measure_startup(repeats=2, scripts=scripts).timings
    one_of_each = ["import json", "import csv", "--help", "--help"]
    assert started == one_of_each * 3
    assert [len(timing.seconds) for timing in timings.values()] == [2] * 4


def test_what_does_not_start_is_one_line(scripts):
    (scripts / "train.py").write_text("raise SystemExit('it is broken')")
    with pytest.raises(InputError, match="ended with exit code 1 and said: it is broken"):
        measure_startup(scripts=scripts)
    with pytest.raises(InputError, match="run this from the project's folder"):
        measure_startup(scripts=scripts / "nowhere")
    with pytest.raises(InputError, match="repeats is 0"):
        measure_startup(repeats=0, scripts=scripts)


@pytest.mark.parametrize(
    "script", ["predict", "evaluate", "convert_dataset", "benchmark", "export_onnx", "push_to_hub"]
)
def test_the_help_of_scripts_imports_nothing_that_takes_seconds(project, script):
    command = [sys.executable, "-X", "importtime", f"scripts/{script}.py", "--help"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True)
    imported = {
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time")
    }
    assert ended.returncode == 0 and "patchnet_hf.command_line" in imported
    assert not imported & SLOW


REGISTERED = """
import {first}
import {second}
config = transformers.AutoConfig.for_model("patchnet")
model = transformers.AutoModelForImageClassification.from_config(config)
print(type(model).__name__, type(config).__module__)
"""


@pytest.mark.parametrize("first, second", [("patchnet_hf", "transformers"), ("transformers", "patchnet_hf")])
def test_importing_the_package_still_registers_the_model(first, second, tmp_path):
    code = REGISTERED.format(first=first, second=second)
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["PatchNetForImageClassification", "patchnet_hf.models.configuration_patchnet"]


class Fake:
    def __init__(self, name: str):
        self.name = name

    def as_json(self) -> dict:
        return {"benchmark": self.name}

    def text(self) -> str:
        return f"a table of {self.name}"

    markdown = text


def test_all_are_measured_one_after_the_other(monkeypatch):
    order = []
    for name in ("startup", "metrics", "central_difference", "inference", "data", "training"):
        monkeypatch.setattr(
            everything, f"measure_{name}", lambda *given, name=name, **named: order.append(name) or Fake(name)
        )
    monkeypatch.setattr(everything.Subject, "random", lambda backbone: backbone)
    measured = everything.measure_all()
    assert order == ["startup", "metrics", "central_difference", "inference", "data", "training"]
    told = json.loads(json.dumps(measured.as_json()))
    assert list(told) == ["benchmark", "startup", "metrics", "central-difference", "infer", "data", "train"]
    assert measured.text().startswith("startup: a table of startup\n\n\nmetrics: ")
    assert "### train\n\na table of training" in measured.markdown()
