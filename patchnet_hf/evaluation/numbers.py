"""All numbers of an evaluation set at an operating point, with their confidence intervals."""

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from ..metrics import UndefinedRateWarning, apcer_by_type, hter, metric_intervals, presentation_attack_metrics
from .operating_point import OperatingPoint
from .presentations import Presentations

COUNTS = ("images", "bona_fides", "attacks")


@dataclass(frozen=True)
class IntervalSettings:
    """
    How confidence intervals are computed.

    Attributes:
        over: `"subject"`, `"video"` or `"image"`: what is drawn again; `None`: subjects where all have one, else
            videos, else images.
        confidence: the share of repetitions that an interval would hold the true value in.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a value outside its range.
    """

    over: str | None = None
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence:g}; expected a share between 0 and 1, such as 0.95")
        if self.resamples < 1:
            raise InputError(f"resamples is {self.resamples}; expected at least 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; expected 0 or more")


@dataclass(frozen=True)
class TypeNumbers:
    """The attacks of one type: how many there are, how many were accepted, and their share with its interval."""

    attacks: int
    accepted: int
    apcer: float
    low: float
    high: float


@dataclass(frozen=True)
class SetNumbers:
    """
    What an evaluation says of one set.

    Attributes:
        name: of the set.
        counts: `images`, at clip level `clips`, `bona_fides` and `attacks` (images, or clips), and how many `subjects`
            and `videos` are named.
        metrics: [`presentation_attack_metrics`] without its counts, and `hter` where the threshold was chosen on
            another set.
        intervals: `(low, high)` of those of `metrics` that have one.
        attack_types: name of an attack type to its numbers.
        intervals_over: `"subject"`, `"video"` or `"image"`.
        notes: what a reader has to know of the numbers, such as that a class is absent.
    """

    name: str
    counts: dict[str, int]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    attack_types: dict[str, TypeNumbers]
    intervals_over: str
    notes: list[str] = field(default_factory=list)


def set_numbers(
    presentations: Presentations, point: OperatingPoint, settings: IntervalSettings | None = None
) -> SetNumbers:
    """
    The numbers of one set, or of several that were pooled.

    Args:
        presentations: the images or clips that are counted.
        point: the threshold.
        settings: of the intervals.

    Raises:
        InputError: intervals over subjects or videos that not all images name, or two attack types whose names differ
            in white space and `/` alone.
    """
    settings = settings or IntervalSettings()
    unit = settings.over or presentations.default_unit()
    metrics, notes = metrics_at(presentations, point)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        intervals = metric_intervals(
            presentations.scores,
            presentations.labels,
            presentations.attack_types,
            presentations.groups(unit),
            threshold_log_odds=point.threshold_log_odds,
            resamples=settings.resamples,
            confidence=settings.confidence,
            seed=settings.seed,
        )
    # Of an absent class the metrics have said it.
    notes = notes or [str(warning.message) for warning in caught]
    if certain := [name.upper() for name in ("acer", "eer", "auc") if intervals[name][0] == intervals[name][1]]:
        notes.append(
            f"all bootstrap samples gave the same {', '.join(certain)}: an interval without width doesn't say that "
            "the number is certain; see those of APCER and BPCER"
        )
    if "hter" in metrics:
        intervals["hter"] = intervals["acer_pooled"]
    counts = {"images": len(presentations.of_image)}
    if presentations.level == "clip":
        counts["clips"] = len(presentations)
    counts["bona_fides"] = int(np.sum(presentations.labels == 1))
    counts["attacks"] = int(np.sum(presentations.labels == 0))
    for name, keys in (("subjects", presentations.subjects), ("videos", presentations.videos)):
        counts[name] = len(set(keys) - {None})
    return SetNumbers(
        presentations.name,
        counts,
        metrics,
        {name: (float(low), float(high)) for name, (low, high) in intervals.items() if name in metrics},
        _attack_types(presentations, point, metrics, intervals),
        unit,
        notes,
    )


def metrics_at(presentations: Presentations, point: OperatingPoint) -> tuple[dict[str, float], list[str]]:
    """[`presentation_attack_metrics`] without its counts, `hter` where it applies, and what warnings say of them.

    Raises:
        InputError: two attack types whose names differ in white space and `/` alone.
    """
    values = (presentations.scores, presentations.labels, presentations.attack_types)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            metrics = presentation_attack_metrics(*values, threshold_log_odds=point.threshold_log_odds)
        except ValueError as error:
            raise InputError(f"{presentations.name}: {error}") from error
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, UndefinedRateWarning)]
    for warning in caught:
        if not issubclass(warning.category, UndefinedRateWarning | RuntimeWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    metrics = {name: value for name, value in metrics.items() if name not in COUNTS}
    metrics["threshold"] = point.threshold
    if point.is_chosen:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedRateWarning)
            metrics["hter"] = hter(*values[:2], threshold_log_odds=point.threshold_log_odds)
    return metrics, notes


def measured_on_development_set(point: OperatingPoint, presentations: Presentations) -> OperatingPoint:
    """A chosen operating point with the numbers of the set that it was chosen on."""
    metrics, _ = metrics_at(presentations, point)
    metrics.pop("hter", None)
    return replace(point, metrics=metrics)


def _attack_types(presentations, point, metrics, intervals) -> dict[str, TypeNumbers]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedRateWarning)
        rates = apcer_by_type(
            presentations.scores,
            presentations.labels,
            presentations.attack_types,
            threshold_log_odds=point.threshold_log_odds,
        )
    # Both are in the alphabetical order of the types; in keys, some characters of their names are replaced.
    keys = [key for key in metrics if key.startswith("apcer_type_")]
    pairs = zip(presentations.attack_types, presentations.labels, strict=True)
    counts = Counter(kind for kind, label in pairs if not label)
    found = {}
    for (kind, rate), key in zip(rates.items(), keys, strict=True):
        low, high = intervals.get(key, (float("nan"), float("nan")))
        found[kind] = TypeNumbers(counts[kind], round(rate * counts[kind]), rate, float(low), float(high))
    return found
