"""What a run reports, read back from what it wrote: TensorBoard's events, metrics.csv, the picture, the console."""

import json
import logging
import math
import shutil
import warnings

import datasets
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from patchnet_hf.metrics import UndefinedRateWarning
from patchnet_hf.training.metrics_file import read_metrics_file
from patchnet_hf.training.run import train

from .test_trainer import arguments_of, captures

pytestmark = pytest.mark.slow

SETS = ["near", "attacks"]
OPTIONS = {"num_train_epochs": 2, "logging_steps": 1, "per_device_train_batch_size": 8, "save_total_limit": None}


def run(folder, **options) -> dict:
    """Two epochs of three steps; one of the two sets has no live captures."""
    arguments = {**OPTIONS, "report_to": "tensorboard", "disable_tqdm": False, "precision": "float32", **options}
    return train(*arguments_of(folder, folder / "data", model={"backbone": "test_resnet"}, **arguments))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its folder, its metrics, and what it warned of, through `warnings` or the Trainer's logger."""
    folder = tmp_path_factory.mktemp("run")
    sets = {"train": captures(24, 0), "near": captures(13, 1)}
    sets["attacks"] = captures(12, 2).filter(lambda row: row["label"] == 0)
    datasets.DatasetDict(sets).save_to_disk(folder / "data")
    said, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        logging.getLogger("transformers").addHandler(handler)
        metrics = run(folder, eval_on_start=True)
        logging.getLogger("transformers").removeHandler(handler)
    said += [str(entry.message) for entry in warned if not issubclass(entry.category, UndefinedRateWarning)]
    return folder, metrics, said


def history_of(folder, step: int) -> list[dict]:
    return json.loads((folder / "out" / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]


def test_tensorboard_has_training_learning_rate_sets_and_the_best(finished):
    folder, _, _ = finished
    events = EventAccumulator(str(next((folder / "out" / "runs").iterdir()))).Reload()
    points = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for name in ("loss", "acer", "apcer", "bpcer", "loss_classification", "loss_similarity", "learning_rate"):
        assert [step for step, _ in points[f"train/{name}"]] == [1, 2, 3, 4, 5, 6], name
    for name in (*SETS, "total"):
        for number in ("acer", "f1", "loss", "apcer_type_print"):
            assert [step for step, _ in points[f"eval/{name}_{number}"]] == [0, 3, 6], (name, number)
    acers = dict(points["eval/total_acer"])
    for number, expected in (("acer", min(acers.values())), ("acer_epoch", min(acers, key=acers.get) / 3)):
        step, value = points[f"eval/best/{number}"][-1]
        assert step == 6 and value == pytest.approx(expected)
    logged = {log["step"]: log["acer"] for log in history_of(folder, 6) if "acer" in log}
    assert dict(points["train/acer"]) == pytest.approx(logged)


def test_rates_without_a_class_bring_no_warnings_but_that_of_the_class(finished):
    _, metrics, said = finished
    assert math.isnan(metrics["eval_attacks_acer"]) and math.isnan(metrics["eval_attacks_f1"])
    assert not [message for message in said if "nan" in message.lower() or "scalar" in message]


def test_the_metrics_file_has_every_evaluation_of_training_and_no_other(finished):
    folder, _, _ = finished
    rows = read_metrics_file(folder / "out")
    expected = [
        (step, epoch, name) for step, epoch in (("0", "0"), ("3", "1"), ("6", "2")) for name in (*SETS, "total")
    ]
    assert [(row["step"], row["epoch"], row["set"]) for row in rows] == expected
    assert [row["acer"] for row in rows if row["set"] == "attacks"] == ["", "", ""]
    logged = [log["eval_total_acer"] for log in history_of(folder, 6) if "eval_total_acer" in log]
    assert [float(row["acer"]) for row in rows if row["set"] == "total"] == logged


def test_the_picture_lies_next_to_the_model(finished):
    folder, _, _ = finished
    assert (folder / "out" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_run_goes_on_in_its_file_and_remembers_the_best(finished, tmp_path, capsys):
    folder, _, _ = finished
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.copytree(folder / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "checkpoint-6")
    whole = read_metrics_file(folder / "out")
    run(tmp_path, resume_from_checkpoint="true")
    resumed = read_metrics_file(tmp_path / "out")
    assert [(row["step"], row["set"]) for row in resumed] == [(row["step"], row["set"]) for row in whole]
    assert resumed[:6] == whole[:6]
    assert [float(row["acer"] or -1) for row in resumed[6:]] == pytest.approx(
        [float(row["acer"] or -1) for row in whole[6:]]
    )
    best = [log for log in history_of(tmp_path, 6) if "eval_best/acer" in log][-1]
    before = [log for log in history_of(folder, 6) if "eval_best/acer" in log][-1]
    assert best == pytest.approx(before)
    printed = capsys.readouterr().out
    assert printed.startswith("model        test_resnet") and "tensorboard --logdir" in printed
