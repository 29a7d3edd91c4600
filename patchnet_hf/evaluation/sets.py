"""The datasets of an evaluation: found, named and checked before anything is scored."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from datasets import Dataset

from ..data.loading import load_split, load_splits
from ..data.schema import LIVE, SPOOF
from ..data.views import encoded_images, image_bytes
from ..errors import InputError
from .numbers import IntervalSettings, metrics_at
from .operating_point import OperatingPoint
from .presentations import Presentations, check_unit
from .scored_set import COLUMNS, ScoredSet
from .scoring import dataset_fingerprint
from .settings import EvaluationSettings

POOLED = "total"


@dataclass(frozen=True)
class EvaluationData:
    """
    The sets of an evaluation.

    Attributes:
        sets: name to captures, of those that are reported.
        given: name to `DIR[:SPLIT]` as the user wrote it.
        development: what the threshold is chosen on, if it is.
        left_out: how many captures of a set, by its name, are references and therefore not in it.
    """

    sets: dict[str, Dataset]
    given: dict[str, str]
    development: Dataset | None = None
    left_out: dict[str, int] = field(default_factory=dict)


def load_evaluation_data(
    specs: Sequence[str], settings: EvaluationSettings, enrolled: Collection[str] = ()
) -> EvaluationData:
    """
    Finds the sets and makes sure that they can be evaluated, before anything is scored.

    Args:
        specs: `DIR[:SPLIT]` each.
        settings: of the evaluation.
        enrolled: SHA-256 of the files of captures that scores are compared with; they are left out.

    Raises:
        InputError: a missing folder or split; two equal sets, under whatever names; a threshold that would be chosen
            on a set that is reported or lacks a class; captures without the videos or subjects that were asked for;
            clips of two labels; attack types that would be reported under one name.
    """
    sets = load_splits(specs)
    if POOLED in sets:
        raise InputError(f"a set is named {POOLED!r}, which stands for all sets pooled; rename that split")
    given = dict(zip(sets, specs, strict=True))
    development = None if settings.threshold_on is None else load_split(settings.threshold_on)[1]
    left_out = {}
    for name, dataset in sets.items() if enrolled else ():
        sets[name] = without_captures(dataset, name, enrolled)
        if count := len(dataset) - len(sets[name]):
            left_out[name] = count
    if development is not None and enrolled:
        development = without_captures(development, settings.threshold_on, enrolled)
    counted = [_check_columns(dataset, name, settings) for name, dataset in sets.items()]
    metrics_at(Presentations.pooled(counted, ", ".join(sets)), OperatingPoint.fixed(0.5, "given"))
    if development is not None:
        _check_development(development, settings)
    items = list(sets.items())
    for number, (name, dataset) in enumerate(items):
        if development is not None and same_captures(dataset, development):
            raise InputError(
                f"the threshold would be chosen on {settings.threshold_on}, the captures that are reported as "
                f"{given[name]}; choose it on others, or leave that set out"
            )
        for other, captures in items[:number]:
            if same_captures(dataset, captures):
                raise InputError(f"{given[other]} and {given[name]} are the same captures; leave one of them out")
    return EvaluationData(sets, given, development, left_out)


def without_captures(dataset: Dataset, name: str, digests: Collection[str]) -> Dataset:
    """
    The captures whose file has none of these SHA-256 digests.

    Raises:
        InputError: none is left.
    """
    images = encoded_images(dataset, ["image"])
    kept = [
        index
        for index, row in enumerate(images)
        if hashlib.sha256(image_bytes(row["image"])).hexdigest() not in digests
    ]
    if len(dataset) and not kept:
        raise InputError(f"all captures of {name} are among the references")
    return dataset if len(kept) == len(dataset) else dataset.select(kept)


def same_captures(one: Dataset, other: Dataset) -> bool:
    """Whether two datasets hold the same captures, however they are called or stored."""
    if one is other:
        return True
    # The images are read only where all that is quick to compare is equal.
    quick = ("label", "attack_type")
    return (
        len(one) == len(other)
        and all(one[column][:] == other[column][:] for column in quick)
        and dataset_fingerprint(one) == dataset_fingerprint(other)
    )


def _check_development(dataset: Dataset, settings: EvaluationSettings) -> None:
    needed = {"eer": (SPOOF, LIVE), "apcer": (SPOOF,), "bpcer": (LIVE,)}[settings.chosen_by.rate]
    present = set(dataset["label"][:])
    if missing := [
        name for label, name in ((LIVE, "bona fides"), (SPOOF, "attacks")) if label in set(needed) - present
    ]:
        raise InputError(
            f"no threshold can be chosen on {settings.threshold_on} by {settings.chosen_by}: it has no "
            f"{' and no '.join(missing)}"
        )
    _check_columns(dataset, settings.threshold_on, replace(settings, intervals=IntervalSettings()))


def _check_columns(dataset: Dataset, name: str, settings: EvaluationSettings) -> Presentations:
    """What will be counted, with scores of 0: whatever can't be counted is found before the scoring."""
    labels = np.asarray(dataset["label"][:], dtype=np.int64)
    columns = {column: dataset[column][:] for column in COLUMNS if column != "patch_type"}
    check_unit(columns, name, settings.intervals.over, settings.level)
    nothing = np.zeros(len(labels))
    unscored = ScoredSet(name, [], nothing, labels, dataset["attack_type"][:], nothing[:, None], columns)
    return Presentations.of(unscored, settings.level)
