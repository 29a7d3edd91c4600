"""The datasets of an evaluation: found, named and checked before anything is scored."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from datasets import Dataset

from ..data.loading import load_split, load_splits
from ..data.schema import LIVE, SPOOF
from ..errors import InputError
from .numbers import IntervalSettings, metrics_at
from .operating_point import OperatingPoint
from .presentations import Presentations, check_unit
from .scored_set import COLUMNS, ScoredSet
from .scoring import image_digests
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
        repeated: how many images are in more than one of the sets.
        left_out: how many captures of a set, by its name, are references and therefore not in it.
    """

    sets: dict[str, Dataset]
    given: dict[str, str]
    development: Dataset | None = None
    repeated: int = 0
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
        InputError: a missing folder or split; two sets of the same captures, under whatever names; a threshold that
            would be chosen on captures that are reported, or on a set that lacks a class; captures without the videos
            or subjects that were asked for; clips of two labels; attack types that would be reported under one name.
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
    digests = {}
    if len(sets) > 1 or development is not None:
        digests = {name: Counter(image_digests(dataset, given[name])) for name, dataset in sets.items()}
    if development is not None:
        check_disjoint(set(image_digests(development, settings.threshold_on)), digests, given, settings.threshold_on)
    for one, other in combinations(digests, 2):
        if digests[one] == digests[other]:
            raise InputError(f"{given[one]} and {given[other]} are the same captures; leave one of them out")
    in_sets = Counter(digest for of_set in digests.values() for digest in of_set)
    return EvaluationData(sets, given, development, sum(count > 1 for count in in_sets.values()), left_out)


def check_disjoint(
    development: Collection[bytes], digests: Mapping[str, Counter], given: Mapping[str, str], threshold_on: str
) -> None:
    """
    Makes sure that no capture is reported that a threshold is chosen on.

    Args:
        development: digests of the images that it is chosen on ([`image_digests`]).
        digests: name to those of each set that is reported.
        given: name to `DIR[:SPLIT]` as the user wrote it.
        threshold_on: the same for `development`.

    Raises:
        InputError: some are.
    """
    for name, found in digests.items():
        if shared := sum(count for digest, count in found.items() if digest in development):
            raise InputError(
                f"the threshold would be chosen on {threshold_on}, which holds {shared} of the {found.total()} "
                f"captures that are reported as {given[name]}; choose it on others, or leave them out"
            )


def without_captures(dataset: Dataset, name: str, digests: Collection[str]) -> Dataset:
    """
    The captures whose file has none of these SHA-256 digests, in hexadecimal digits.

    Raises:
        InputError: none is left, or a file can't be read.
    """
    kept = [index for index, digest in enumerate(image_digests(dataset, name)) if digest.hex() not in digests]
    if len(dataset) and not kept:
        raise InputError(f"all captures of {name} are among the references")
    return dataset if len(kept) == len(dataset) else dataset.select(kept)


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
