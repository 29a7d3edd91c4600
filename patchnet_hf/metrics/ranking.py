"""How well scores rank bona fides above attacks, over all thresholds at once.

Scores, labels and attack types are those of :mod:`patchnet_hf.metrics.error_rates`: live log-odds, 1 = bona fide,
0 = attack. Log-odds and not probabilities, because in float64 a probability is 1.0 from log-odds 37 on, and equal
scores have no order.

Equal scores share one threshold, so no result depends on the order of the images.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from .error_rates import ScoresByClass, split_by_class, warn_if_absent

# The ends of the open interval (0, 1) in float64, 2^-1074 and 1 - 2^-53: log-odds of -744.4 and +36.7.
_LOWEST_PROBABILITY = float(np.nextafter(0.0, 1.0))
_HIGHEST_PROBABILITY = float(np.nextafter(1.0, 0.0))


class DetCurve(NamedTuple):
    """Error rates at every threshold that makes a difference; K is the number of distinct scores.

    Attributes:
        thresholds: float64 of shape `(K + 1,)`, log-odds, ascending: the distinct scores, at the first of which
            everything is accepted, then `inf`, which stands for rejecting everything (even a score of `inf`).
        apcer: float64 of shape `(K + 1,)`, falling from 1 to 0.
        bpcer: float64 of shape `(K + 1,)`, rising from 0 to 1.
    """

    thresholds: np.ndarray
    apcer: np.ndarray
    bpcer: np.ndarray


class ThresholdCounts(NamedTuple):
    """Errors counted at every threshold that makes a difference: all attacks together, exact integers.

    Attributes:
        scores: float64 of shape `(K,)`, the distinct scores, ascending. Thresholds 0 to K - 1.
        accepted_attacks: int64 of shape `(K + 1,)`; the last entry is the threshold that rejects everything.
        rejected_bona_fides: int64 of shape `(K + 1,)`, likewise.
    """

    scores: np.ndarray
    accepted_attacks: np.ndarray
    rejected_bona_fides: np.ndarray

    @property
    def attacks(self) -> int:
        return int(self.accepted_attacks[0])

    @property
    def bona_fides(self) -> int:
        return int(self.rejected_bona_fides[-1])


def count_over_thresholds(by_class: ScoresByClass) -> ThresholdCounts:
    """Count the errors at every threshold with one sort, O(N log N).

    >>> counts = count_over_thresholds(split_by_class([2.0, 1.0, 1.0, 0.0], [1, 1, 0, 0]))
    >>> counts.scores, counts.accepted_attacks, counts.rejected_bona_fides
    (array([0., 1., 2.]), array([2, 1, 0, 0]), array([0, 0, 1, 2]))
    """
    bona_fides, attacks = np.sort(by_class.bona_fides), by_class.pooled_attacks
    attacks.sort()
    scores = np.concatenate([bona_fides, attacks])
    scores.sort(kind="stable")  # which merges the two sorted runs
    # Compared, not subtracted: the difference of two equal infinities is NaN.
    scores = scores[np.concatenate([scores[:1] == scores[:1], scores[1:] != scores[:-1]])]
    rejected_bona_fides = np.append(np.searchsorted(bona_fides, scores), bona_fides.size)
    accepted_attacks = np.append(np.searchsorted(attacks, scores), attacks.size)
    np.subtract(attacks.size, accepted_attacks, out=accepted_attacks)
    return ThresholdCounts(scores, accepted_attacks, rejected_bona_fides)


def det_curve(scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None) -> DetCurve:
    """Detection error trade-off: APCER and BPCER at every threshold.

    `apcer[k]` and `bpcer[k]` are :func:`~patchnet_hf.metrics.apcer` (of the worst type at that threshold) and
    :func:`~patchnet_hf.metrics.bpcer` at `thresholds[k]`, ISO/IEC 30107-3:2023. Without `attack_types` the APCER is
    over all attacks together. The ROC curve of the same scores is `curve.apcer` (false positive rate) against
    `1 - curve.bpcer` (true positive rate).

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.

    Returns:
        A :class:`DetCurve`; the rates of an absent class are NaN, with a warning.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> curve = det_curve([2.0, 1.0, 1.0, 0.0], [1, 1, 0, 0])
    >>> for row in zip(*curve):
    ...     print("from {:.0f} on: apcer {:.1f}, bpcer {:.1f}".format(*row))
    from 0 on: apcer 1.0, bpcer 0.0
    from 1 on: apcer 0.5, bpcer 0.0
    from 2 on: apcer 0.0, bpcer 0.5
    from inf on: apcer 0.0, bpcer 1.0
    """
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(by_class, "its rates in det_curve are NaN")
    counts = count_over_thresholds(by_class)
    missing = np.full(counts.scores.size + 1, np.nan)
    bpcer = counts.rejected_bona_fides / counts.bona_fides if counts.bona_fides else missing
    apcer = missing
    for attacks in by_class.attacks.values():
        accepted = attacks.size - np.searchsorted(np.sort(attacks), counts.scores, side="left")
        # fmax ignores the NaN it starts from.
        apcer = np.fmax(apcer, np.append(accepted, 0) / attacks.size)
    return DetCurve(np.append(counts.scores, np.inf), apcer, bpcer)


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: how often a bona fide scores above an attack.

    `AUC = P(bona fide > attack) + P(bona fide = attack) / 2` over all pairs, the Mann-Whitney statistic with average
    ranks (Hanley and McNeil 1982), and so the area under the ROC curve with straight lines over ties. All attacks
    count together, whatever their type.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> auc([80.0, 60.0, 60.0, 3.0], [1, 1, 0, 0])
    0.875
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "auc is NaN")
    return auc_from_counts(count_over_thresholds(by_class))


def auc_from_counts(counts: ThresholdCounts) -> float:
    """:func:`auc`, from counts; NaN without a warning when a class is absent."""
    pairs = counts.attacks * counts.bona_fides
    if not pairs:
        return float("nan")
    attacks_at = counts.accepted_attacks[:-1] - counts.accepted_attacks[1:]
    rejected_twice = counts.rejected_bona_fides[:-1] + counts.rejected_bona_fides[1:]
    # Twice the statistic: in integers, hence exact up to 3e9 images.
    return (2 * pairs - int(attacks_at @ rejected_twice)) / (2 * pairs)


def eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate: where the share of attacks accepted equals the share of bona fides rejected.

    Both shares change in steps, so in general no threshold makes them equal. Convention: neighbouring points of the
    DET curve are joined by straight lines and the EER is where that line crosses `apcer_pooled = bpcer`. This is the
    crossing of the ROC curve with its anti-diagonal; it is one number, whatever the order of the images, and scores
    that don't tell anything (all equal) give 0.5. All attacks count together, whatever their type. (ISO/IEC
    30107-3:2023 gives APCER and BPCER; the equal error rate is that of ISO/IEC 19795-1.)

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> eer([3.0, 2.0, 1.0, 2.5, 0.0, -1.0], [1, 1, 1, 0, 0, 0])
    0.3333333333333333
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "eer is NaN")
    return eer_from_counts(count_over_thresholds(by_class))


def eer_from_counts(counts: ThresholdCounts) -> float:
    """:func:`eer`, from counts; NaN without a warning when a class is absent."""
    if not counts.attacks * counts.bona_fides:
        return float("nan")
    gap = _apcer_minus_bpcer(counts)
    after = int(np.argmax(gap <= 0))  # at least 1: accepting everything is far on the other side
    weight = int(gap[after - 1]) / int(gap[after - 1] - gap[after])
    before, behind = (int(counts.accepted_attacks[index]) for index in (after - 1, after))
    return (before + weight * (behind - before)) / counts.attacks


def eer_threshold_log_odds(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold nearest to equal error rates, in log-odds.

    Of all thresholds that accept at least one image, the one with the smallest `|apcer_pooled - bpcer|`; of two
    equally good ones the higher, which accepts fewer attacks. Every value between two neighbouring scores is the same
    operating point; the middle is returned, so that rounding of scores elsewhere doesn't move it (next to an
    infinite or missing neighbour: one unit from the finite one). To be chosen on a development set, never on the set
    that is reported. :func:`eer` lies between this operating point and its neighbour on the curve.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.

    Returns:
        Log-odds, for `threshold_log_odds=` of the error rates; NaN with a warning without attacks or without bona
        fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> eer_threshold_log_odds([80.0, 70.0, 60.0, 50.0], [1, 1, 0, 0])
    65.0
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "eer_threshold_log_odds is NaN")
    return middle_of_interval(*eer_interval(count_over_thresholds(by_class)))


def eer_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold nearest to equal error rates, as a probability in (0, 1).

    The operating point of :func:`eer_threshold_log_odds`: passed on as `threshold`, the result accepts the same
    images. Float64 can't write every such point as a probability: the highest value below 1 has log-odds 36.7, and
    values close to 1 are sparse (neighbours at log-odds 30 differ by 0.001). When none falls between the two scores
    that bound the operating point, the nearest value in (0, 1) is returned with a RuntimeWarning: there use
    :func:`eer_threshold_log_odds`, or calibrate the scores. Arguments and errors as there.

    Returns:
        A probability in (0, 1); NaN with a warning without attacks or without bona fides.

    >>> eer_threshold([3.0, 2.0, -2.0, -3.0], [1, 1, 0, 0])
    0.5
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "eer_threshold is NaN")
    return probability_in_interval(*eer_interval(count_over_thresholds(by_class)), "eer_threshold", stacklevel=3)


def _apcer_minus_bpcer(counts: ThresholdCounts) -> np.ndarray:
    """Int64 of shape `(K + 1,)`: `apcer_pooled - bpcer`, times attacks and bona fides, strictly falling."""
    gap = counts.accepted_attacks * counts.bona_fides
    gap -= counts.rejected_bona_fides * counts.attacks
    return gap


def eer_interval(counts: ThresholdCounts) -> tuple[float, float]:
    """Log-odds `(low, high)`: every threshold with `low < threshold <= high` is the operating point of the EER.

    Without a class both are NaN. `low` is `-inf` when nothing is rejected.
    """
    if not counts.attacks * counts.bona_fides:
        return float("nan"), float("nan")
    distance = _apcer_minus_bpcer(counts)[:-1]
    np.abs(distance, out=distance)
    index = int(np.flatnonzero(distance == distance.min())[-1])
    return float(counts.scores[index - 1]) if index else float("-inf"), float(counts.scores[index])


def middle_of_interval(low: float, high: float) -> float:
    """The threshold in `(low, high]` (log-odds) that is away from both ends where there is room.

    The middle; next to an infinite end one unit from the other; NaN when an end is NaN.

    >>> middle_of_interval(1.0, 2.0), middle_of_interval(float("-inf"), 3.0)
    (1.5, 2.0)
    """
    if np.isinf(low) and np.isinf(high):
        # low = high = -inf is a set of nothing but -inf scores.
        return 0.0 if low < high else high
    if np.isinf(low):
        return high - 1.0
    middle = low + 1.0 if np.isinf(high) else low / 2 + high / 2
    return middle if low < middle <= high else high


def probability_in_interval(low: float, high: float, name: str = "threshold", *, stacklevel: int = 2) -> float:
    """The probability nearest to the middle of `(low, high]` (log-odds) whose log-odds are in that interval.

    Args:
        low: log-odds, excluded.
        high: log-odds, included.
        name: what the warning calls the result.
        stacklevel: of the warning.

    Returns:
        A probability in (0, 1), NaN when an end is NaN. Where float64 has none in the interval, the nearest in (0, 1)
        all the same, with a RuntimeWarning.

    >>> probability_in_interval(-1.0, 1.0)
    0.5
    """
    middle = middle_of_interval(low, high)
    if np.isnan(middle):
        return middle
    nearest = min(max(float(expit(middle)), _LOWEST_PROBABILITY), _HIGHEST_PROBABILITY)
    # A probability rounds, so its log-odds may fall outside a narrow interval where those of a neighbour don't.
    for candidate in (nearest, float(np.nextafter(nearest, 0.0)), float(np.nextafter(nearest, 1.0))):
        if 0.0 < candidate < 1.0 and low < float(logit(candidate)) <= high:
            return candidate
    warnings.warn(
        f"no float64 probability in (0, 1) has log-odds in ({low!r}, {high!r}]: the {name} {nearest!r} does not "
        f"reproduce the operating point; use {name}_log_odds, or calibrate the scores",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
    return nearest


def bpcer_at_apcer(
    scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None, percent: float = 5.0
) -> float:
    """The lowest BPCER among thresholds whose APCER is at most `percent` percent.

    `min of BPCER(threshold) over thresholds with APCER(threshold) <= percent / 100`, the APCER being that of the
    worst attack type at that threshold, ISO/IEC 30107-3:2023 (there `BPCER20` is 5 percent). Rejecting everything is
    always allowed, so the result is at most 1.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        percent: the highest APCER allowed, 0 to 100.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> bpcer_at_apcer([3.0, 2.0, 1.0, 2.5, 0.0], [1, 1, 1, 0, 0], percent=10)
    0.6666666666666666
    """
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(by_class, "bpcer_at_apcer is NaN")
    return bpcer_at_apcer_of(by_class, percent)


def bpcer_at_apcer_of(by_class: ScoresByClass, percent: float) -> float:
    """:func:`bpcer_at_apcer` of checked scores; NaN without a warning when a class is absent."""
    return bpcers_at_apcers(by_class, [percent])[0]


def bpcers_at_apcers(by_class: ScoresByClass, percents: Sequence[float]) -> list[float]:
    """:func:`bpcer_at_apcer_of` for several percentages, with one pass over the attacks."""
    for percent in percents:
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"percent must be a number from 0 to 100, got {percent!r}")
    if not by_class.bona_fides.size or not by_class.attacks:
        return [float("nan")] * len(percents)
    # BPCER grows with the threshold, so the best is just above the highest attack that must be rejected.
    rejected = (
        0 if highest is None else int(np.count_nonzero(by_class.bona_fides <= highest))
        for highest in highest_rejected_attacks(by_class, [percent / 100.0 for percent in percents])
    )
    return [count / by_class.bona_fides.size for count in rejected]


def errors_allowed(total: int, share: float) -> int:
    """How many of `total` are at most `share` of them.

    >>> errors_allowed(3000, 0.023), errors_allowed(10, 0.05)
    (69, 0)
    """
    # The slack keeps a product such as 3000 * 2.3 / 100, in float64 just under 69, from losing one.
    return min(total, int(np.floor(total * share * (1.0 + 1e-12))))


def highest_rejected_attacks(by_class: ScoresByClass, shares: Sequence[float]) -> list[float | None]:
    """For each share: the highest attack score that must be rejected so that no type's APCER exceeds it.

    Every threshold above it, and only those, keeps to the share. None: all attacks may be accepted.

    >>> by_class = split_by_class([3.0, 1.0, 2.0, 0.0], [0, 0, 0, 0], ["mask", "mask", "print", "print"])
    >>> highest_rejected_attacks(by_class, [0.0, 0.5, 1.0])
    [3.0, 1.0, None]
    """
    highest: list[float | None] = [None] * len(shares)
    for attacks in by_class.attacks.values():
        # A type may have so many attacks accepted; its next highest must be rejected.
        positions = [attacks.size - 1 - errors_allowed(attacks.size, share) for share in shares]
        wanted = sorted({position for position in positions if position >= 0})
        if not wanted:
            continue
        in_place = np.partition(attacks, wanted)
        for index, position in enumerate(positions):
            if position >= 0:
                score, so_far = float(in_place[position]), highest[index]
                highest[index] = score if so_far is None else max(so_far, score)
    return highest
