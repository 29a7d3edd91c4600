"""metrics.csv: columns, cells, and what stands in it after evaluations, a resume and a new run."""

import csv
import math
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from patchnet_hf.metrics import presentation_attack_metrics
from patchnet_hf.training.metrics_file import COLUMNS, FILE_NAME, MetricsFileCallback, read_metrics_file

SCORES, LABELS = [3.0, -1.0, 1.0, -2.0], [1, 1, 0, 0]


def log(name: str, step: int, types=("", "", "print", "mask")) -> dict:
    """The log of an evaluation as the Trainer makes it."""
    numbers = presentation_attack_metrics(SCORES, LABELS, list(types))
    numbers["loss"] = numbers.pop("log_loss")
    named = {f"eval_{name}_{number}": value for number, value in numbers.items()}
    return {**named, f"eval_{name}_runtime": 0.5, "epoch": step / 10, "step": step}


class Run:
    """A callback with the state that a Trainer would hand to it."""

    def __init__(self, folder, history=(), main=True):
        self.args = SimpleNamespace(output_dir=str(folder))
        self.state = TrainerState(log_history=list(history), is_world_process_zero=main)
        self.callback = MetricsFileCallback()
        self.callback.on_train_begin(self.args, self.state, None)

    def evaluate(self, *logs):
        self.state.log_history += logs
        self.callback.on_evaluate(self.args, self.state, None)


def steps_and_sets(folder) -> list[tuple[str, str]]:
    return [(row["step"], row["set"]) for row in read_metrics_file(folder)]


def test_every_evaluation_of_a_set_is_a_row_with_its_epoch(tmp_path):
    run = Run(tmp_path)
    run.evaluate(log("near", 0))
    assert steps_and_sets(tmp_path) == [("0", "near")], "written at once, not at the end"
    run.evaluate(log("total", 0))
    run.evaluate()  # the Trainer tells of all sets together once more
    run.evaluate(log("near", 15), log("total", 15))
    assert steps_and_sets(tmp_path) == [("0", "near"), ("0", "total"), ("15", "near"), ("15", "total")]
    row = read_metrics_file(tmp_path)[-1]
    assert tuple(row) == (*COLUMNS, "apcer_type_mask", "apcer_type_print")
    assert (row["epoch"], row["images"], row["threshold"]) == ("1.5", "4", "0.5")
    # By hand: one of two bona fides rejected, all prints and no masks accepted, one attack and one live rejected.
    expected = {"acer": 0.75, "apcer": 1, "bpcer": 0.5, "apcer_type_mask": 0, "precision": 0.5, "f1": 0.5, "f3": 0.5}
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
    losses = [math.log1p(math.exp(value)) for value in (-3, 1, 1, -2)]
    assert float(row["loss"]) == pytest.approx(sum(losses) / 4)


def test_what_is_not_defined_is_an_empty_cell(tmp_path):
    entry = {key: math.nan if key.endswith(("acer", "bpcer")) else value for key, value in log("val", 5).items()}
    Run(tmp_path).evaluate({**entry, "eval_val_acer": math.nan})
    row = read_metrics_file(tmp_path)[0]
    assert row["acer"] == row["bpcer"] == "" and row["auc"] != ""


def test_an_attack_type_that_a_later_set_brings_is_a_further_column(tmp_path):
    run = Run(tmp_path)
    run.evaluate(log("near", 5))
    run.evaluate(log("far", 5, ("", "", "a,b", "replay")))
    first, second = read_metrics_file(tmp_path)
    assert list(first)[-4:] == [f"apcer_type_{kind}" for kind in ("a,b", "mask", "print", "replay")]
    assert (first["apcer_type_replay"], second["apcer_type_replay"], second["apcer_type_mask"]) == ("", "0", "")


def test_a_resumed_run_drops_what_was_measured_after_its_checkpoint_and_doubles_nothing(tmp_path):
    before = Run(tmp_path)
    checkpoint = [log("near", 5), {"loss": 1.0, "epoch": 0.5, "step": 5}, log("total", 5)]
    before.evaluate(*checkpoint)
    before.evaluate(log("near", 10), log("total", 10))
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write("15,1.5,ne")  # killed in the midst of writing
    resumed = Run(tmp_path, history=checkpoint)
    assert steps_and_sets(tmp_path) == [("5", "near"), ("5", "total")]
    resumed.evaluate(log("near", 5))  # eval_on_start
    resumed.evaluate(log("near", 10))
    assert sorted(steps_and_sets(tmp_path)) == [("10", "near"), ("5", "near"), ("5", "total")]


def test_a_new_run_starts_anew_and_the_evaluation_after_training_has_no_row(tmp_path):
    Run(tmp_path).evaluate(log("near", 5))
    run = Run(tmp_path)
    assert steps_and_sets(tmp_path) == []
    run.evaluate(log("near", 7))
    run.state.log_history.append({"train_runtime": 1.0, "step": 7})
    run.callback.on_train_end(run.args, run.state, None)
    run.evaluate(log("near", 7))
    assert steps_and_sets(tmp_path) == [("7", "near")]


def test_a_file_that_cannot_be_written_is_said_and_made_up_for(tmp_path, caplog):
    (tmp_path / "metrics.csv").mkdir()
    run = Run(tmp_path)
    run.evaluate(log("val", 10))
    assert caplog.text.count("can't be written") == 2
    (tmp_path / "metrics.csv").rmdir()
    run.evaluate(log("val", 20))
    assert steps_and_sets(tmp_path) == [("10", "val"), ("20", "val")]


def test_only_the_main_process_writes(tmp_path):
    Run(tmp_path, main=False).evaluate(log("near", 5))
    assert not list(tmp_path.iterdir())


def test_the_file_is_plain_csv(tmp_path):
    Run(tmp_path).evaluate(log("near", 5), log("total", 5))
    lines = (tmp_path / FILE_NAME).read_bytes().decode().split("\n")
    assert len(lines) == 4 and lines[-1] == "" and "\r" not in "".join(lines)
    assert len({len(row) for row in csv.reader(lines[:-1])}) == 1
