"""The datasets of an evaluation: found, named and checked before anything is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset

from ..data.loading import load_split, load_splits
from ..errors import InputError
from .presentations import check_clips, check_unit
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
    """

    sets: dict[str, Dataset]
    given: dict[str, str]
    development: Dataset | None = None


def load_evaluation_data(specs: Sequence[str], settings: EvaluationSettings) -> EvaluationData:
    """
    Finds the sets and makes sure that they can be evaluated, before anything is scored.

    Args:
        specs: `DIR[:SPLIT]` each.
        settings: of the evaluation.

    Raises:
        InputError: a missing folder or split; two equal sets, under whatever names; a threshold that would be chosen
            on a set that is reported; captures without the videos or subjects that were asked for.
    """
    sets = load_splits(specs)
    if POOLED in sets:
        raise InputError(f"a set is named {POOLED!r}, which stands for all sets pooled; rename that split")
    given = dict(zip(sets, specs, strict=True))
    development = None if settings.threshold_on is None else load_split(settings.threshold_on)[1]
    for name, dataset in sets.items():
        _check_columns(dataset, name, settings)
    if development is not None and settings.level == "clip":
        check_clips({"video": development["video"][:]}, settings.threshold_on)
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
    return EvaluationData(sets, given, development)


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


def _check_columns(dataset: Dataset, name: str, settings: EvaluationSettings) -> None:
    columns = {column: dataset[column][:] for column in ("subject", "video")}
    if settings.level == "clip":
        check_clips(columns, name)
    check_unit(columns, name, settings.intervals.over, settings.level)
