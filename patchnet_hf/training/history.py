"""What the Trainer's log history (`trainer.state.log_history`) tells: evaluations, and the best of them."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

POOLED = "total"
UNNAMED = "eval"
"""Name in reports of the one evaluation set that was given without a name."""

# Number to whether larger is better.
BEST_OF = {"acer": False, "f1": True, "f3": True}


class Best(NamedTuple):
    """The best value of a number so far, and when it was measured."""

    value: float
    epoch: float
    step: int


class SetNumbers(NamedTuple):
    """One evaluation of one set: its name and numbers (`acer`, `auc`, `apcer_type_print` ...)."""

    name: str
    numbers: dict[str, float]
    epoch: float
    step: int


def of_training(log_history: Sequence[Mapping]) -> list[Mapping]:
    """
    The logs up to the summary that ends a training.

    What follows it is an evaluation of the weights that were kept, not of the last step, which it would be taken for.

    >>> of_training([{"loss": 1.0, "step": 2}, {"train_runtime": 3.0, "step": 2}, {"eval_acer": 0.1, "step": 2}])
    [{'loss': 1.0, 'step': 2}]
    """
    return list(itertools.takewhile(lambda log: "train_runtime" not in log, log_history))


def set_numbers(log: Mapping) -> SetNumbers | None:
    """
    The evaluation set that a log is of, or `None` if it is of none.

    Args:
        log: of the Trainer; an evaluation has `eval_{set}_{number}`, or `eval_{number}` for a set without a name.
            What callbacks get lacks the step, which is 0 then.

    >>> set_numbers({"eval_val_acer": 0.1, "eval_val_images": 80, "epoch": 2.0, "step": 10})
    SetNumbers(name='val', numbers={'acer': 0.1, 'images': 80}, epoch=2.0, step=10)
    >>> set_numbers({"loss": 1.0})
    """
    prefixes = [key.removesuffix("acer") for key in log if key.startswith("eval_") and key.endswith("acer")]
    prefixes = [prefix for prefix in prefixes if f"{prefix}images" in log]
    if not prefixes:
        return None
    # An attack type may be called acer, too: eval_val_apcer_type_acer.
    prefix = min(prefixes, key=len)
    name = prefix.removeprefix("eval_").removesuffix("_") or UNNAMED
    numbers = {key.removeprefix(prefix): value for key, value in log.items() if key.startswith(prefix)}
    return SetNumbers(name, numbers, log.get("epoch", 0.0), log.get("step", 0))


def evaluations(log_history: Sequence[Mapping]) -> list[SetNumbers]:
    """
    Every evaluation of every set during training, in the order they were made.

    A set that was evaluated twice at one step (before going on from a checkpoint, say) counts once, as measured last.
    """
    found = {}
    for log in of_training(log_history):
        numbers = set_numbers(log)
        if numbers is not None:
            found.pop((numbers.step, numbers.name), None)
            found[numbers.step, numbers.name] = numbers
    return list(found.values())


def best_so_far(log_history: Sequence[Mapping]) -> dict[str, Best]:
    """
    Lowest ACER and highest F1 and F3 of a training, over all sets pooled, or of the one set without a name.

    Args:
        log_history: `trainer.state.log_history`; after a resume it begins with the logs of the run that is resumed.

    Returns:
        `acer`, `f1` and `f3` to their best value and the epoch that reached it first; without those that were never
        defined, so empty before the first evaluation.

    >>> logs = [{"eval_acer": acer, "eval_images": 8, "epoch": n, "step": n} for n, acer in enumerate([0.3, 0.1, 0.2])]
    >>> best_so_far(logs)
    {'acer': Best(value=0.1, epoch=1, step=1)}
    """
    best: dict[str, Best] = {}
    measured = evaluations(log_history)
    # A set may be called like the unnamed one, but not like the pool, which every run of named sets has.
    counted = POOLED if any(found.name == POOLED for found in measured) else UNNAMED
    for found in measured:
        if found.name != counted:
            continue
        for number, larger in BEST_OF.items():
            value = found.numbers.get(number, math.nan)
            if math.isnan(value):
                continue
            if number not in best or (value > best[number].value if larger else value < best[number].value):
                best[number] = Best(value, found.epoch, found.step)
    return best


# A slash, because no set can have one in its name; TensorBoard shows `eval/best/acer`.
BEST_PREFIX = "eval_best/"


def log_of_best(best: Mapping[str, Best]) -> dict[str, float]:
    """
    [`best_so_far`] as a log: each value as `eval_best/{number}` and its epoch as `eval_best/{number}_epoch`.

    >>> log_of_best({"acer": Best(0.1, 2.0, 20)})
    {'eval_best/acer': 0.1, 'eval_best/acer_epoch': 2.0}
    """
    logs = {}
    for number, entry in best.items():
        logs[f"{BEST_PREFIX}{number}"] = entry.value
        logs[f"{BEST_PREFIX}{number}_epoch"] = entry.epoch
    return logs
