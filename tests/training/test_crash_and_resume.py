"""Real processes that are killed, interrupted or out of room, and what the next one makes of it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.training.checkpoints import checkpoints_in

pytestmark = pytest.mark.slow

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)

# Ten steps: two epochs of 9 batches of 3, two batches a step and one in the last. Everything random is on. It is the
# last weights that are compared: the best may be older than whatever a test is about.
OPTIONS = """
backbone: test_resnet
patch_size: 32
grid: 1
dropout: 0.3
drop_path_rate: 0.2
num_train_epochs: 2
per_device_train_batch_size: 3
load_best_model_at_end: false
gradient_accumulation_steps: 2
dataloader_num_workers: 1
learning_rate: 1.0e-3
lr_scheduler_type: cosine_warm_restarts
lr_scheduler_kwargs: {T_0: 1}
optim: amsgrad
ema_decay: 0.9
balance: patch_type
precision: float32
use_cpu: true
report_to: none
eval_strategy: steps
eval_steps: 2
save_strategy: steps
save_steps: 2
save_total_limit: 1
logging_steps: 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Starts a run by the name of its folder; returns what came of it."""
    base = tmp_path_factory.mktemp("runs")
    dataset = base / "data"
    splits = {"train": test_trainer.captures(27, 0), "val": test_trainer.captures(9, 1)}
    datasets.DatasetDict(splits).save_to_disk(dataset)
    (base / "run.yaml").write_text(f"dataset: {dataset}\n{OPTIONS}")

    def start(name: str, moment: str = "never", *options: str, processes: int = 1):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [
            sys.executable, *(launcher if processes > 1 else []), Path(__file__).with_name("disturbed_training.py"),
            moment, "--config", base / "run.yaml", "--output_dir", base / name, *options,
            # A worker forked beside gloo's threads may hang in the fork, about once in fifty runs.
            *(["--dataloader_num_workers", "0"] if processes > 1 else []),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        # In a process group of its own, as a shell starts it.
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment, start_new_session=True
        )
        return done, base / name

    return start


def checkpoints(folder: Path) -> list[str]:
    return [path.name for path in checkpoints_in(folder)]


def ended(folder: Path) -> dict:
    """The final model, and model, optimiser, schedule and random states of the last checkpoint, to the bit."""
    last = checkpoints_in(folder)[-1]
    files = [folder / "model.safetensors", *sorted(last.glob("*.safetensors"))]
    assert len(files) == 6, files
    return {f"{path.parent.name if path.parent == last else ''}/{path.name}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(run):
    done, folder = run("undisturbed")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_killed_at_several_moments_ends_as_an_undisturbed_one(run, undisturbed):
    for moment in ("kill:1", "kill:4", "kill-save:4", "kill:10"):
        done, folder = run("killed", moment, "--resume_from_checkpoint", "true")
        assert done.returncode == -9, done.stderr
        for checkpoint in folder.glob("checkpoint-*"):
            PatchNetForImageClassification.from_pretrained(checkpoint)
            json.loads((checkpoint / "trainer_state.json").read_text())
    assert checkpoints(folder)[-1] == "checkpoint-8"
    before = (folder / "checkpoint-8" / "model.safetensors").read_bytes()
    done, folder = run("killed", "never", "--resume_from_checkpoint", "true")
    assert done.returncode == 0, done.stderr
    assert "resuming " in done.stdout and "checkpoint-8" in done.stdout
    assert ended(folder) == ended(undisturbed)
    assert (folder / "model.safetensors").read_bytes() != before, "it has learned since"
    assert not list(folder.glob(".*")), "nothing unfinished is left"
    states = [
        json.loads((checkpoints_in(base)[-1] / "trainer_state.json").read_text()) for base in (folder, undisturbed)
    ]
    losses = [[log["loss"] for log in state["log_history"] if "loss" in log] for state in states]
    assert len(losses[0]) == 10 and losses[0] == losses[1]


def test_nothing_that_a_run_writes_is_a_pickle(undisturbed):
    files = [path for path in undisturbed.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".csv", ".png", ".md", ".py"}, files
    assert not [path for path in files if path.read_bytes()[:2] in (b"PK", b"\x80\x02")]


@pytest.mark.parametrize("options", [(), ("--max_steps", "8")])
def test_a_finished_run_that_is_resumed_again_stays_as_it_is(run, undisturbed, options):
    name = "finished" if options else undisturbed.name
    if options:
        run(name, "never", *options)
    before = ended(undisturbed.with_name(name))
    done, folder = run(name, "never", "--resume_from_checkpoint", "true", *options)
    assert done.returncode == 0, done.stderr
    assert ended(folder) == before


# Step 4 is one with an evaluation, 5 the last of an epoch.
@pytest.mark.parametrize("step", [4, 5])
def test_ctrl_c_saves_a_checkpoint_that_the_run_goes_on_from(run, undisturbed, step):
    name = f"interrupted-{step}"
    done, folder = run(name, f"interrupt:{step}", "--save_only_model", "true", "--load_best_model_at_end", "true")
    assert done.returncode == 130, done.stderr
    assert f"stopped after step {step} of 10" in done.stderr and "Traceback" not in done.stderr
    assert checkpoints(folder)[-1] == f"checkpoint-{step}" and not (folder / "model.safetensors").exists()
    history = json.loads((folder / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]
    assert max(log["step"] for log in history if "eval_val_acer" in log) == 4, "nobody waits for another evaluation"
    done, folder = run(name, "never", "--resume_from_checkpoint", "true")
    assert done.returncode == 0, done.stderr
    assert ended(folder) == ended(undisturbed)


def test_a_signal_to_the_process_group_leaves_data_workers_alone(run):
    done, folder = run("terminated", "terminate-group:3")
    assert done.returncode == 130 and "stopped after step 3 of 10" in done.stderr, done.stderr
    assert checkpoints(folder)[-1] == "checkpoint-3"


@pytest.mark.parametrize("limit", [300, 1_000_000])
def test_a_save_that_fails_is_one_line_and_leaves_the_checkpoint_before_it(run, limit):
    name = f"full-{limit}"
    done, folder = run(name, "kill:3")
    before = {path.name: path.read_bytes() for path in (folder / "checkpoint-2").iterdir()}
    done, folder = run(name, f"full:{limit}", "--resume_from_checkpoint", "true", "--dataloader_num_workers", "0")
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert "checkpoint-4 can't be written" in line and "File too large" in line and "checkpoint-2 is whole" in line
    assert "Traceback" not in done.stderr
    assert checkpoints(folder) == ["checkpoint-2"] and not list(folder.glob(".*"))
    assert {path.name: path.read_bytes() for path in (folder / "checkpoint-2").iterdir()} == before


def test_two_processes_killed_and_interrupted_end_as_two_undisturbed_ones(run):
    done, alone = run("two-undisturbed", processes=2)
    assert done.returncode == 0, done.stderr
    done, folder = run("two", "kill:3", processes=2)
    assert done.returncode != 0 and checkpoints(folder) == ["checkpoint-2"]
    done, folder = run("two", "interrupt:5", "--resume_from_checkpoint", "true", processes=2)
    assert done.returncode != 0 and done.stderr.count("stopped after step 5 of 6") == 1, done.stderr
    assert checkpoints(folder)[-1] == "checkpoint-5", "both processes stopped, though one was told to"
    done, folder = run("two", "never", "--resume_from_checkpoint", "true", processes=2)
    assert done.returncode == 0, done.stderr
    assert ended(folder) == ended(alone)


def test_what_only_one_process_knows_is_said_by_that_one(run):
    done, _ = run("wrong", "wrong-on-last:2", processes=2)
    assert done.returncode != 0 and "error: process 1: only here" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--optim", "sgd"), "optim 'amsgrad' there, 'sgd' here"),
        (("--embedding_size", "7"), "embedding_size None there, 7 here"),
        (("--resume_from_checkpoint", "{other}"), "holds checkpoint-10, which isn't of the run"),
    ],
)
def test_going_on_with_another_run_is_refused(run, undisturbed, tmp_path, options, message):
    other = shutil.copytree(checkpoints_in(undisturbed)[-1], tmp_path / "checkpoint-2")
    given = [option.format(other=other) for option in options]
    done, _ = run(undisturbed.name, "never", "--resume_from_checkpoint", "true", *given)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
