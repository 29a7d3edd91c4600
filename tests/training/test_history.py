"""What the log history tells: which set a log is of, evaluations in order, and the best of them."""

import math

import pytest

from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.callbacks import ConsoleCallback
from patchnet_hf.training.history import Best, best_so_far, evaluations, log_of_best, set_numbers


def log(name: str, step: int, **numbers) -> dict:
    named = {f"eval_{name}_{number}": value for number, value in {"images": 8, **numbers}.items()}
    return {**named, "epoch": step / 10, "step": step}


def test_a_log_is_of_the_set_that_it_names_whatever_sets_and_attack_types_are_called():
    # A set called best, one that ends like a number, and an attack type called like one.
    for name in ("val", "best", "x_acer", "oulu_protocol_1"):
        entry = log(name, 10, apcer_type_acer=0.5, apcer_type_images=0.25, acer=0.1)
        found = set_numbers(entry)
        assert found.name == name and found.numbers["acer"] == 0.1 and found.numbers["apcer_type_acer"] == 0.5
        assert (found.epoch, found.step) == (1.0, 10)
    assert set_numbers({"eval_acer": 0.1, "eval_images": 8}).numbers == {"acer": 0.1, "images": 8}
    for other in ({"loss": 1.0, "acer": 0.2}, {"eval_best/acer": 0.1}, {"test_acer": 0.1, "test_images": 3}):
        assert set_numbers(other) is None


def test_the_best_is_of_all_sets_pooled_and_the_first_to_reach_it():
    logs = [
        log("val", 10, acer=0.01, f1=0.99, f3=0.99),
        log("total", 10, acer=0.3, f1=0.6, f3=0.9),
        log("total", 20, acer=0.1, f1=0.8, f3=math.nan),
        log("total", 30, acer=0.1, f1=0.7, f3=0.95),
    ]
    assert best_so_far(logs) == {"acer": Best(0.1, 2.0, 20), "f1": Best(0.8, 2.0, 20), "f3": Best(0.95, 3.0, 30)}
    assert best_so_far(logs[:1]) == best_so_far([]) == {}
    unnamed = {"eval_acer": 0.2, "eval_images": 8, "epoch": 1.0, "step": 10}
    assert best_so_far([unnamed]) == {"acer": Best(0.2, 1.0, 10)}


def test_a_set_called_eval_is_one_of_several_like_any_other():
    logs = [log("eval", 10, acer=0.01), log("unseen", 10, acer=0.5), log("total", 10, acer=0.3)]
    assert best_so_far(logs)["acer"].value == 0.3


def test_numbers_that_were_never_defined_have_no_best():
    assert set(best_so_far([log("total", 10, acer=math.nan, f1=0.5, f3=0.5)])) == {"f1", "f3"}


def test_what_is_measured_after_training_is_of_the_weights_that_were_kept():
    logs = [log("total", 10, acer=0.3), {"train_runtime": 1.0, "step": 20}, log("total", 20, acer=0.1)]
    assert [entry.step for entry in evaluations(logs)] == [10]
    assert best_so_far(logs)["acer"].value == 0.3


def test_a_set_measured_again_at_the_same_step_counts_as_measured_last():
    logs = [log("val", 10, acer=0.2), log("total", 10, acer=0.2), log("val", 10, acer=0.4)]
    assert [(entry.name, entry.numbers["acer"]) for entry in evaluations(logs)] == [("total", 0.2), ("val", 0.4)]


def test_the_console_tells_each_set_and_the_best_in_lines_that_fit():
    numbers = {"acer": 0.123, "apcer": 0.2, "bpcer": 0.046, "auc": 0.9, "f1": 0.8, "f3": 0.9}
    history = [log("total", 240, **numbers)]
    best = log_of_best(best_so_far(history))
    lines = [ConsoleCallback._line(entry, history) for entry in (history[0], {**best, "epoch": 24.0})]
    assert lines[0] == "epoch 24.00  total: ACER 12.30 %  APCER 20.00 %  BPCER 4.60 %  AUC 90.00 %"
    expected = "best so far: ACER 12.30 % (epoch 24)  F1 80.00 % (epoch 24)  F3 90.00 % (epoch 24)"
    assert lines[1] == f"epoch 24.00  {expected}" and max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        *((f"eval_total_{name}", True) for name in ("auc", "precision", "recall", "specificity", "f1", "f3")),
        *((f"eval_val_{name}", False) for name in ("acer", "apcer_pooled", "eer", "loss", "bpcer_at_apcer_1")),
        ("eval_total_apcer_type_maskf1", False),
    ],
)
def test_the_best_checkpoint_is_chosen_in_the_right_direction(tmp_path, metric, larger):
    arguments = PatchNetTrainingArguments(output_dir=str(tmp_path), metric_for_best_model=metric, use_cpu=True)
    assert arguments.greater_is_better is larger
