"""Attacks as what is to be found: precision, recall, specificity and F-scores at one threshold.

The positive class is the **attack**; a prediction is positive when the image is rejected, `score <
log(threshold / (1 - threshold))`. So a rejected attack is a true positive (TP), a rejected bona fide a false positive
(FP), an accepted attack a false negative (FN) and an accepted bona fide a true negative (TN). None of these numbers is
in ISO/IEC 30107-3, and all but recall and specificity depend on how many attacks a set has for each bona fide.
Scores, labels, thresholds and warnings are those of :mod:`patchnet_hf.metrics.error_rates`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .error_rates import ScoresByClass, comparison_value, split_by_class, warn_if_absent


class DetectionCounts(NamedTuple):
    """How many images of each class were rejected and accepted; the attack is the positive class."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


class DetectionRates(NamedTuple):
    """All numbers at one threshold, NaN where a class that they need is absent."""

    precision: float
    recall: float
    specificity: float
    f1: float
    f3: float


def detection_counts_at(by_class: ScoresByClass, threshold_log_odds: float) -> DetectionCounts:
    """The confusion matrix at one threshold in log-odds.

    >>> detection_counts_at(split_by_class([2.0, -1.0, 0.5, -3.0, -4.0], [1, 1, 0, 0, 0]), 0.0)
    DetectionCounts(true_positives=2, false_positives=1, false_negatives=1, true_negatives=1)
    """
    found = sum(int(np.count_nonzero(scores < threshold_log_odds)) for scores in by_class.attacks.values())
    raised = int(np.count_nonzero(by_class.bona_fides < threshold_log_odds))
    return DetectionCounts(found, raised, by_class.attack_count - found, by_class.bona_fides.size - raised)


def detection_rates_of(counts: DetectionCounts) -> DetectionRates:
    """Precision, recall, specificity, F1 and F3 of a confusion matrix, without a warning.

    >>> detection_rates_of(DetectionCounts(2, 1, 1, 1))
    DetectionRates(precision=0.6666666666666666, recall=0.6666666666666666, specificity=0.5, \
f1=0.6666666666666666, f3=0.6666666666666666)
    """
    true_positives, false_positives, false_negatives, true_negatives = counts
    attacks, bona_fides = true_positives + false_negatives, false_positives + true_negatives
    precision = float("nan")
    if attacks and bona_fides:
        rejected = true_positives + false_positives
        precision = true_positives / rejected if rejected else 0.0
    return DetectionRates(
        precision,
        true_positives / attacks if attacks else float("nan"),
        true_negatives / bona_fides if bona_fides else float("nan"),
        _f_score_of(counts, 1.0),
        _f_score_of(counts, 3.0),
    )


def _f_score_of(counts: DetectionCounts, beta: float) -> float:
    true_positives, false_positives, false_negatives, true_negatives = counts
    if not true_positives + false_negatives or not false_positives + true_negatives:
        return float("nan")
    weighted = (1 + beta**2) * true_positives
    return weighted / (weighted + beta**2 * false_negatives + false_positives)


def precision(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Share of attacks among all that was rejected: `TP / (TP + FP)`, with the attack as the positive class.

    Van Rijsbergen, Information Retrieval, 2nd edition 1979, chapter 7.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.

    Returns:
        A share in [0, 1]; 0 when nothing is rejected (as scikit-learn has it); NaN with a warning without attacks or
        without bona fides.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> precision([3.0, -0.1, -1.0, -2.0, 1.0], [1, 1, 0, 0, 0])
    0.6666666666666666
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "precision is NaN")
    return _rates(by_class, threshold, threshold_log_odds).precision


def recall(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Share of the attacks that were rejected: `TP / (TP + FN)`, which is `1 - apcer_pooled`.

    Van Rijsbergen, Information Retrieval, 2nd edition 1979, chapter 7. Arguments and errors as for :func:`precision`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks.

    >>> recall([3.0, -1.0, -2.0, -3.0, 1.0], [1, 0, 0, 0, 0])
    0.75
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "recall is NaN", bona_fides=False)
    return _rates(by_class, threshold, threshold_log_odds).recall


def specificity(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Share of the bona fides that were accepted: `TN / (TN + FP)`, which is `1 - bpcer`.

    Yerushalmy, Public Health Reports 62 (1947), 1432-1449. Arguments and errors as for :func:`precision`.

    Returns:
        A share in [0, 1]; NaN with a warning without bona fides.

    >>> specificity([3.0, 2.0, 1.0, -1.0, -2.0], [1, 1, 1, 1, 0])
    0.75
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "specificity is NaN", attacks=False)
    return _rates(by_class, threshold, threshold_log_odds).specificity


def f_score(
    scores: ArrayLike,
    labels: ArrayLike,
    beta: float = 1.0,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
) -> float:
    """Weighted harmonic mean of precision and recall, in which recall counts `beta` times as much.

    `F_beta = (1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP)`, Van Rijsbergen, Information Retrieval, 2nd edition
    1979, chapter 7. `beta = 1` is the F1 score; `beta = 3` (F3) is for those to whom an accepted attack costs more
    than a rejected bona fide. Further arguments and errors as for :func:`precision`.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        beta: weight of recall, a positive number.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    >>> round(f_score([3.0, -0.1, -1.0, -2.0, 1.0, 2.0], [1, 1, 0, 0, 0, 0]), 4)
    0.5714
    >>> round(f_score([3.0, -0.1, -1.0, -2.0, 1.0, 2.0], [1, 1, 0, 0, 0, 0], beta=3), 4)
    0.5128
    """
    if not beta > 0:
        raise ValueError(f"beta is {beta!r}; expected a positive number")
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, f"the F-score of beta {beta:g} is NaN")
    return _f_score_of(detection_counts_at(by_class, comparison_value(threshold, threshold_log_odds)), float(beta))


def _rates(by_class: ScoresByClass, threshold: float, threshold_log_odds: float | None) -> DetectionRates:
    return detection_rates_of(detection_counts_at(by_class, comparison_value(threshold, threshold_log_odds)))
