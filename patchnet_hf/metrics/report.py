"""All numbers of presentation attack detection for one set of images, as one flat dictionary."""

import re

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from .bootstrap import bootstrap_of
from .detection import detection_counts_at, detection_rates_of
from .error_rates import ScoresByClass, check_rows, comparison_value, error_rates_at, split_by_class, warn_if_absent
from .intervals import wilson_interval
from .ranking import (
    auc_from_counts,
    bpcers_at_apcers,
    count_over_thresholds,
    eer_from_counts,
    eer_interval,
    probability_in_interval,
)

BPCER_AT_APCER_PERCENTS = (1, 5, 10)


def presentation_attack_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
) -> dict[str, float]:
    """Everything this package measures on one set, at one threshold and over all thresholds (ISO/IEC 30107-3:2023).

    | key | meaning |
    |---|---|
    | `apcer`, `apcer_pooled`, `bpcer`, `acer`, `acer_pooled` | error rates at `threshold` |
    | `apcer_type_<type>` | APCER of each attack type; white space and `/` in its name become `_` |
    | `precision`, `recall`, `specificity`, `f1`, `f3` | at `threshold`, of attacks as what is to be found |
    | `eer`, `auc` | over all thresholds, all attacks together |
    | `eer_threshold` | the threshold of the EER **on this set**: for choosing on a development set |
    | `bpcer_at_apcer_1`, `_5`, `_10` | lowest BPCER with the worst type's APCER within 1, 5, 10 percent |
    | `log_loss` | mean negative log-likelihood of the labels, in nats (:func:`log_loss`) |
    | `threshold` | as given; of `threshold_log_odds` the probability, which may round to 0 or 1 |
    | `images`, `bona_fides`, `attacks` | counts |

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.

    Returns:
        Python floats, and integers for the counts, ready for JSON. Rates are shares in [0, 1]. What needs an absent
        class is NaN, with one warning that names the class.

    Raises:
        ValueError: an argument has the wrong shape, length or range, or two attack types would share a key.

    >>> metrics = presentation_attack_metrics(
    ...     [4.0, 2.0, -1.0, 0.5, -2.0, -3.0], [1, 1, 1, 0, 0, 0], ["", "", "", "print", "print", "mask"]
    ... )
    >>> {name: round(value, 3) for name, value in metrics.items() if name.startswith(("apcer", "bpcer"))}
    {'apcer': 0.5, 'apcer_pooled': 0.333, 'apcer_type_mask': 0.0, 'apcer_type_print': 0.5, 'bpcer': 0.333, \
'bpcer_at_apcer_1': 0.333, 'bpcer_at_apcer_5': 0.333, 'bpcer_at_apcer_10': 0.333}
    >>> metrics["images"], metrics["bona_fides"], metrics["attacks"]
    (6, 3, 3)
    """
    by_class = split_by_class(scores, labels, attack_types)
    keys = _type_keys(by_class)
    compared = comparison_value(threshold, threshold_log_odds)
    rates = error_rates_at(by_class, compared)
    detection = detection_rates_of(detection_counts_at(by_class, compared))
    warn_if_absent(by_class, "every number that needs them is NaN")
    counts = count_over_thresholds(by_class)
    eer, auc, (low, high) = eer_from_counts(counts), auc_from_counts(counts), eer_interval(counts)
    del counts  # as large as three columns of scores
    bpcers = bpcers_at_apcers(by_class, BPCER_AT_APCER_PERCENTS)
    return {
        "apcer": rates.apcer,
        "apcer_pooled": rates.apcer_pooled,
        **{keys[name]: rate for name, rate in rates.apcer_by_type.items()},
        "bpcer": rates.bpcer,
        "acer": rates.acer,
        "acer_pooled": rates.acer_pooled,
        **detection._asdict(),
        "eer": eer,
        "eer_threshold": probability_in_interval(low, high, "eer_threshold", stacklevel=3),
        "auc": auc,
        **{f"bpcer_at_apcer_{percent}": bpcer for percent, bpcer in zip(BPCER_AT_APCER_PERCENTS, bpcers, strict=True)},
        "threshold": float(threshold) if threshold_log_odds is None else float(expit(compared)),
        "log_loss": _log_loss(by_class),
        "images": by_class.bona_fides.size + by_class.attack_count,
        "bona_fides": by_class.bona_fides.size,
        "attacks": by_class.attack_count,
    }


def metric_intervals(
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Confidence intervals of the numbers of :func:`presentation_attack_metrics` that have one, under the same keys.

    | key | interval |
    |---|---|
    | `bpcer`, `apcer_pooled`, `apcer_type_<type>`, `precision`, `recall`, `specificity` | of Wilson, over images |
    | `apcer` | of Wilson, of the worst type; of several equally bad ones that with the highest upper end |
    | `acer`, `acer_pooled`, `eer`, `auc` | bootstrap over `groups` |

    Wilson's interval (:func:`~patchnet_hf.metrics.wilson_interval`) takes images to be independent: it is for one
    image, or one clip, of each presentation. Where frames of a clip or captures of a person repeat, score clips
    (:func:`~patchnet_hf.metrics.clip_scores`), or take the rates of
    :func:`~patchnet_hf.metrics.bootstrap_intervals`, which are over groups. That of `apcer` doesn't know that the type
    was picked for being the worst.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        groups: shape `(N,)`, the person or video of each image, None for an image that is a group of its own; None:
            all are, which is too narrow where images of a person or video repeat.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.
        resamples: of the bootstrap.
        confidence: in (0, 1).
        seed: of the bootstrap.

    Returns:
        `(low, high)`, shares in [0, 1]; NaN where the number is undefined, and for the bootstrap with too few groups,
        with one warning.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> scores, labels = [4.0, 2.0, -1.0, 0.5, -2.0, -3.0], [1, 1, 1, 0, 0, 0]
    >>> intervals = metric_intervals(scores, labels, ["", "", "", "print", "print", "mask"])
    >>> [round(bound, 3) for bound in intervals["apcer_type_mask"]]
    [0.0, 0.793]
    """
    rows = check_rows(scores, labels, attack_types)
    by_class = rows.by_class()
    keys = _type_keys(by_class)
    compared = comparison_value(threshold, threshold_log_odds)
    undefined = (float("nan"), float("nan"))

    by_type = {}
    worst, worst_interval = (-1.0, -1.0), undefined
    for name, attacks in by_class.attacks.items():
        accepted = int(np.count_nonzero(attacks >= compared))
        by_type[keys[name]] = interval = wilson_interval(accepted, attacks.size, confidence)
        if (accepted / attacks.size, interval[1]) > worst:
            worst, worst_interval = (accepted / attacks.size, interval[1]), interval
    found, raised, missed, passed = detection_counts_at(by_class, compared)
    both = by_class.bona_fides.size and by_class.attack_count
    over_groups = bootstrap_of(rows, groups, compared, resamples, confidence, seed, stacklevel=3)
    return {
        "apcer": worst_interval,
        "apcer_pooled": wilson_interval(missed, found + missed, confidence),
        **by_type,
        "bpcer": wilson_interval(raised, raised + passed, confidence),
        "acer": over_groups["acer"],
        "acer_pooled": over_groups["acer_pooled"],
        "precision": wilson_interval(found, found + raised, confidence) if both else undefined,
        "recall": wilson_interval(found, found + missed, confidence),
        "specificity": wilson_interval(passed, raised + passed, confidence),
        "eer": over_groups["eer"],
        "auc": over_groups["auc"],
    }


def _type_keys(by_class: ScoresByClass) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name in by_class.attacks:
        # A "/" would make a group of its own in TensorBoard and in dotted or slashed metric names.
        key = "apcer_type_" + re.sub(r"\s|/", "_", name)
        if key in keys.values():
            raise ValueError(
                f"two attack types would both be reported as {key!r}: "
                + ", ".join(repr(other) for other in by_class.attacks if keys.get(other) == key or other == name)
            )
        keys[name] = key
    return keys


def log_loss(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood of the labels under the scores: how well they are calibrated.

    `(sum over bona fides of log(1 + exp(-score)) + sum over attacks of log(1 + exp(score))) / N`, the cross-entropy
    of `P(live) = 1 / (1 + exp(-score))`, without overflow. Not part of ISO/IEC 30107-3:2023.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.

    Returns:
        Nats, 0 or more; `log(2) = 0.693` when every score is 0; infinite when an infinite score is wrong; NaN with a
        warning for an empty set. One class is enough.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> round(log_loss([0.0, 0.0], [1, 0]), 4)
    0.6931
    >>> log_loss([800.0], [0])
    800.0
    """
    by_class = split_by_class(scores, labels)
    if not by_class.bona_fides.size and not by_class.attack_count:
        warn_if_absent(by_class, "log_loss is NaN")
    return _log_loss(by_class)


def _log_loss(by_class: ScoresByClass) -> float:
    images = by_class.bona_fides.size + by_class.attack_count
    if not images:
        return float("nan")
    total = np.logaddexp(0.0, -by_class.bona_fides).sum() + np.logaddexp(0.0, by_class.pooled_attacks).sum()
    return float(total / images)
