"""Error rates of sets in one form, whether an evaluation measured them or a training at its end."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..metrics import wilson_interval
from .evaluation_folder import POOLED, EvaluationFolder

RATES = (("acer", "ACER"), ("apcer", "APCER"), ("bpcer", "BPCER"), ("eer", "EER"), ("auc", "AUC"), ("hter", "HTER"))
TYPE_PREFIX = "apcer_type_"
TRAINING_CONFIDENCE = 0.95


class Rate(NamedTuple):
    """A share in [0, 1], NaN where it isn't defined, and its confidence interval where there is one."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class TypeResult:
    """
    The attacks of one type that were accepted.

    Attributes:
        accepted, attacks: how many; `None` where it isn't known.
        apcer: their share.
    """

    accepted: int | None
    attacks: int | None
    apcer: Rate


@dataclass(frozen=True)
class SetResult:
    """
    What was measured on one set, or on all of them pooled.

    Attributes:
        name: of the set.
        counted: images, or at clip level clips.
        bona_fides, attacks: of them.
        rates: by the keys of `RATES`; a key is missing where there is no such rate.
        attack_types: name of an attack type to its result.
        subjects: how many persons; 0 where it isn't known.
        notes: what a reader has to know of the numbers.
    """

    name: str
    counted: int
    bona_fides: int
    attacks: int
    rates: dict[str, Rate]
    attack_types: dict[str, TypeResult]
    subjects: int = 0
    notes: list[str] = field(default_factory=list)


def results_of_evaluation(evaluation: EvaluationFolder) -> list[SetResult]:
    """Every set of an evaluation, and their total where there are several."""
    content = evaluation.content
    sets = dict(content["sets"])
    if len(sets) > 1:
        sets[POOLED] = content["total"]
    return [_of_evaluation(name, numbers, evaluation.things) for name, numbers in sets.items()]


def _of_evaluation(name: str, numbers: Mapping, things: str) -> SetResult:
    counts, intervals = numbers["counts"], numbers["intervals"]
    rates = {
        key: Rate(_number(numbers["metrics"][key]), _interval(intervals.get(key)))
        for key, _ in RATES
        if key in numbers["metrics"]
    }
    types = {
        kind: TypeResult(
            found["accepted"],
            found["attacks"],
            Rate(_number(found["apcer"]), _interval((found["low"], found["high"]))),
        )
        for kind, found in numbers["attack_types"].items()
    }
    return SetResult(
        name,
        counts[things],
        counts["bona_fides"],
        counts["attacks"],
        rates,
        types,
        counts.get("subjects", 0),
        list(numbers["notes"]),
    )


def results_of_training(metrics: Mapping, run: Mapping | None) -> list[SetResult]:
    """
    Every set that a training measured at its end, and their total where there are several.

    Intervals are Wilson's of the rates that are counts of images: BPCER, and APCER by type where the record of the run
    says how many attacks of each type there are. ACER, EER and AUC have none.

    Args:
        metrics: `metrics.json` of the training, named `eval_{set}_{number}`.
        run: the record of the run, for the counts of its sets.
    """
    sets = ((run or {}).get("data") or {}).get("evaluation") or {}
    names = training_sets(metrics, list(sets))
    counts = {name: dict(sets[name].get("attack_types") or {}) for name in names if name in sets}
    if POOLED in names and len(counts) == len(names) - 1:
        counts[POOLED] = dict(sum((Counter(of_set) for of_set in counts.values()), Counter()))
    shown = names if len(names) != 2 else names[:1]
    return [_of_training(name, metrics, counts.get(name, {}), sets.get(name, {})) for name in shown]


def training_sets(metrics: Mapping, order: Sequence[str] = ()) -> list[str]:
    """
    Names of the sets in a training's metrics, the pooled one last; the others in the order given, as far as it goes.

    >>> training_sets({"eval_total_images": 9, "eval_total_acer": 0.1, "eval_val_images": 9, "eval_val_acer": 0.1})
    ['val', 'total']
    """
    suffix = "_images"
    names = [key[len("eval_") : -len(suffix)] for key in metrics if key.startswith("eval_") and key.endswith(suffix)]
    names = [name for name in names if f"eval_{name}_acer" in metrics]
    places = {name: place for place, name in enumerate(order)}
    return sorted(names, key=lambda name: (name == POOLED, places.get(name, len(places)), name))


def _of_training(name: str, metrics: Mapping, attacks_of: Mapping[str, int], counts: Mapping) -> SetResult:
    prefix = f"eval_{name}_"
    numbers = {key[len(prefix) :]: value for key, value in metrics.items() if key.startswith(prefix)}
    # In the metrics' names white space and / are replaced; the record has the types as they are.
    named = {re.sub(r"\s|/", "_", kind): (kind, count) for kind, count in attacks_of.items()}
    types = {}
    for key, value in numbers.items():
        if not key.startswith(TYPE_PREFIX):
            continue
        kind, count = named.get(key.removeprefix(TYPE_PREFIX), (key.removeprefix(TYPE_PREFIX), None))
        types[kind] = _type_result(_number(value), count)
    rates = {key: Rate(_number(numbers[key])) for key, _ in RATES if key in numbers}
    bona_fides = int(numbers.get("bona_fides") or 0)
    if "bpcer" in rates:
        rates["bpcer"] = Rate(rates["bpcer"].value, _wilson(rates["bpcer"].value, bona_fides))
    if "apcer" in rates and types:
        # As in evaluations: of several equally bad types the one with the highest upper end.
        worst = max(
            types.values(), key=lambda found: (_or(found.apcer.value), _or((found.apcer.interval or (0, 0))[1]))
        )
        rates["apcer"] = Rate(rates["apcer"].value, worst.apcer.interval)
    return SetResult(
        name,
        int(numbers.get("images") or 0),
        bona_fides,
        int(numbers.get("attacks") or 0),
        rates,
        dict(sorted(types.items())),
        int(counts.get("subjects") or 0),
    )


def _type_result(apcer: float, count: int | None) -> TypeResult:
    if count is None or math.isnan(apcer):
        return TypeResult(None, count, Rate(apcer))
    return TypeResult(round(apcer * count), count, Rate(apcer, _wilson(apcer, count)))


def _wilson(rate: float, count: int) -> tuple[float, float] | None:
    if not count or math.isnan(rate):
        return None
    return wilson_interval(round(rate * count), count, TRAINING_CONFIDENCE)


def _or(value: float, instead: float = -1.0) -> float:
    return instead if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _interval(ends) -> tuple[float, float] | None:
    if ends is None or any(end is None or math.isnan(end) for end in ends):
        return None
    return float(ends[0]), float(ends[1])
