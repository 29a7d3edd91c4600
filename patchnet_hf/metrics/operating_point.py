"""Choosing a threshold: a criterion, and the threshold that meets it on a development set.

A threshold is chosen on one set and reported on another; on the set that it was chosen on, errors look smaller than
they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .error_rates import ScoresByClass, split_by_class, warn_if_absent
from .ranking import (
    count_over_thresholds,
    eer_interval,
    errors_allowed,
    highest_rejected_attacks,
    middle_of_interval,
    probability_in_interval,
)

_EXPECTED = "expected eer, apcer=SHARE or bpcer=SHARE with a share in [0, 1), such as apcer=0.05 for 5 percent"


@dataclass(frozen=True)
class Criterion:
    """What a threshold is chosen for.

    Attributes:
        rate: `"eer"`: APCER of all attacks together and BPCER as near to each other as they get; `"apcer"`: the lowest
            threshold whose worst attack type's APCER is at most `limit`; `"bpcer"`: the highest threshold whose BPCER
            is at most `limit`.
        limit: a share in [0, 1); None with `"eer"`.
    """

    rate: str
    limit: float | None = None

    def __post_init__(self):
        if self.rate not in ("eer", "apcer", "bpcer"):
            raise ValueError(f"the criterion is {self.rate!r}; {_EXPECTED}")
        if self.rate == "eer":
            if self.limit is not None:
                raise ValueError(f"the criterion eer takes no limit, got {self.limit!r}; {_EXPECTED}")
            return
        limit = self.limit
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0.0 <= limit < 1.0:
            raise ValueError(f"the limit of the criterion {self.rate} is {limit!r}; {_EXPECTED}")
        object.__setattr__(self, "limit", float(limit))

    @classmethod
    def parse(cls, text: str) -> "Criterion":
        """The criterion that `eer`, `apcer=0.05` or `bpcer=0.01` names.

        Raises:
            ValueError: it is none of these, or its share isn't in [0, 1).

        >>> Criterion.parse("eer")
        Criterion(rate='eer', limit=None)
        >>> Criterion.parse("apcer=0.05")
        Criterion(rate='apcer', limit=0.05)
        """
        rate, equals, limit = str(text).strip().lower().partition("=")
        rate, limit = rate.strip(), limit.strip()
        if not equals:
            if rate in ("apcer", "bpcer"):
                raise ValueError(f"the criterion {text!r} has no limit; {_EXPECTED}")
            return cls(rate)
        if rate == "eer":
            raise ValueError(f"the criterion eer takes no limit, got {text!r}; {_EXPECTED}")
        percent = limit.endswith("%")
        try:
            number = float(limit.removesuffix("%"))
        except ValueError:
            raise ValueError(f"the limit of the criterion {text!r} is not a number; {_EXPECTED}") from None
        if rate in ("apcer", "bpcer") and (percent or not 0.0 <= number < 1.0):
            # 5 and 5% are what people write; 1% as a number would be 100 percent, so neither is guessed.
            meant = f"; for {number:g} percent write {rate}={number / 100:g}" if 0.0 <= number < 100.0 else ""
            raise ValueError(f"the limit of the criterion {text!r} must be a share in [0, 1){meant}")
        return cls(rate, number)

    def __str__(self) -> str:
        """As :meth:`parse` reads it."""
        return self.rate if self.limit is None else f"{self.rate}={self.limit!r}"


def threshold_interval_at(by_class: ScoresByClass, criterion: Criterion) -> tuple[float, float]:
    """Log-odds `(low, high)`: every threshold with `low < threshold <= high` is the operating point of the criterion.

    NaN without the classes that the criterion needs.

    Raises:
        ValueError: attacks with a score of `inf` would have to be rejected, which no threshold does.
    """
    if criterion.rate == "eer":
        return eer_interval(count_over_thresholds(by_class))
    if criterion.rate == "apcer":
        if not by_class.attacks:
            return float("nan"), float("nan")
        low = highest_rejected_attacks(by_class, [criterion.limit])[0]
        if low is None:
            low = float("-inf")
        elif low == np.inf:
            raise ValueError(f"no threshold meets {criterion}: attacks with a score of inf would have to be rejected")
        return low, min((_lowest_above(scores, low) for scores in _all_scores(by_class)), default=float("inf"))
    bona_fides = by_class.bona_fides
    if not bona_fides.size:
        return float("nan"), float("nan")
    rejected = min(errors_allowed(bona_fides.size, criterion.limit), bona_fides.size - 1)
    high = float(np.partition(bona_fides, rejected)[rejected])
    return max((_highest_below(scores, high) for scores in _all_scores(by_class)), default=float("-inf")), high


def _all_scores(by_class: ScoresByClass) -> list[np.ndarray]:
    return [by_class.bona_fides, *by_class.attacks.values()]


def _lowest_above(scores: np.ndarray, low: float) -> float:
    return float(np.min(scores, where=scores > low, initial=np.inf))


def _highest_below(scores: np.ndarray, high: float) -> float:
    return float(np.max(scores, where=scores < high, initial=-np.inf))


def threshold_at(
    scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None, criterion: Criterion | str = "eer"
) -> float:
    """The threshold that meets a criterion on this set, in log-odds.

    | criterion | threshold |
    |---|---|
    | `eer` | :func:`~patchnet_hf.metrics.eer_threshold_log_odds`: smallest difference of pooled APCER and BPCER |
    | `apcer=X` | the lowest whose APCER of the worst attack type is at most X; its BPCER is `bpcer_at_apcer` |
    | `bpcer=X` | the highest whose BPCER is at most X |

    Every value between two neighbouring scores is the same operating point; the middle is returned (next to an
    infinite or missing neighbour: one unit from the finite one). To be chosen on a development set, never on the set
    that is reported.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        criterion: a :class:`Criterion` or what :meth:`Criterion.parse` reads.

    Returns:
        Log-odds, for `threshold_log_odds=` of the error rates; NaN with a warning when the set lacks a class that the
        criterion needs: `eer` both, `apcer` attacks, `bpcer` bona fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range, or attacks have a score of `inf` and would have
            to be rejected.

    >>> scores, labels = [4.0, 3.0, 2.0, 1.0, 2.5, 0.0], [1, 1, 1, 1, 0, 0]
    >>> threshold_at(scores, labels, criterion="apcer=0.05")
    2.75
    >>> threshold_at(scores, labels, criterion="bpcer=0.25")
    1.5
    """
    return middle_of_interval(*_checked_interval(scores, labels, attack_types, criterion, "threshold_at is NaN"))


def probability_threshold_at(
    scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None, criterion: Criterion | str = "eer"
) -> float:
    """The threshold of :func:`threshold_at` as a probability in (0, 1), as `decision_threshold` of a model wants it.

    Passed on as `threshold`, it accepts the same images. Where float64 has no such probability (above log-odds 36.7,
    or between scores closer than its neighbours), the nearest is returned with a RuntimeWarning; there use
    :func:`threshold_at`, or calibrate the scores. Arguments and errors as there.

    >>> probability_threshold_at([3.0, 2.0, -2.0, -3.0], [1, 1, 0, 0])
    0.5
    """
    low, high = _checked_interval(scores, labels, attack_types, criterion, "probability_threshold_at is NaN")
    return probability_in_interval(low, high, stacklevel=3)


def _checked_interval(scores, labels, attack_types, criterion, undefined: str) -> tuple[float, float]:
    criterion = criterion if isinstance(criterion, Criterion) else Criterion.parse(criterion)
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(
        by_class,
        undefined,
        bona_fides=criterion.rate != "apcer",
        attacks=criterion.rate != "bpcer",
        stacklevel=4,
    )
    return threshold_interval_at(by_class, criterion)
