"""Bootstrap confidence intervals over groups: persons or videos, whose images are alike."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from .columns import number_groups
from .error_rates import CheckedRows, UndefinedRateWarning, check_rows, comparison_value, warn_if_absent
from .intervals import checked_confidence

BOOTSTRAP_NAMES = ("apcer", "apcer_pooled", "bpcer", "acer", "acer_pooled", "eer", "auc")

# Numbers in the largest array of one step: 32 MB each.
_NUMBERS_AT_ONCE = 1 << 22


def bootstrap_intervals(
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
    """Percentile bootstrap intervals (Efron 1979), over whole groups of images.

    Images of one person or frames of one video are alike: a hundred frames of one video that is accepted are one
    observation, not a hundred. So whole groups are drawn with replacement, all images of a group together, and each
    number is computed on what was drawn, `resamples` times; the interval holds the middle `confidence` of the results
    (cluster bootstrap: Field and Welsh, Journal of the Royal Statistical Society B 69 (2007), 369-390).

    Groups are drawn within strata of groups with the same composition, the set of labels and attack types that their
    images have, as many as the stratum has: so no draw lacks bona fides or attacks, and an attack type that few people
    made isn't lost. A composition that one group alone has is put together with other such groups that have the same
    labels; a group that is alone even then is part of every draw.

    The interval says how much the numbers change with the people or videos, for this model at this threshold. It
    doesn't cover a bias of the set. With fewer than some 20 groups of a class it is too narrow, and for a rate of 0 it
    is (0, 0): for rates over independent items take :func:`~patchnet_hf.metrics.wilson_interval`.

    Costs time in proportion to `resamples * images` (1,000 resamples of 10,000 images: under a second, of a million:
    about a minute, of ten million: some ten minutes) and 300 MB, or a dozen columns of scores where that is more.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        groups: shape `(N,)`, the person or video of each image, a string or number; where it is missing (None, NaN)
            the image is a group of its own. None: every image is a group of its own, which is **too narrow** where
            images of a person or frames of a video repeat.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.
        resamples: how often to draw.
        confidence: in (0, 1).
        seed: of the draws; equal seeds give equal intervals.

    Returns:
        `(low, high)` of `apcer`, `apcer_pooled`, `bpcer`, `acer`, `acer_pooled`, `eer` and `auc`, shares in [0, 1].
        At a threshold of another set, `acer_pooled` is the HTER. NaN with a warning where a class is absent or all of
        its images are of one group, which tells nothing about others.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> scores = [3.0, 2.5, -0.5, 1.0, -2.0, -1.0, 0.5, -3.0]
    >>> people = ["ann", "ann", "ben", "cat", "ann", "ben", "cat", "cat"]
    >>> low, high = bootstrap_intervals(scores, [1, 1, 1, 1, 0, 0, 0, 0], groups=people)["acer"]
    >>> 0.0 <= low < 0.25 < high
    True
    """
    compared = comparison_value(threshold, threshold_log_odds)
    return bootstrap_of(check_rows(scores, labels, attack_types), groups, compared, resamples, confidence, seed, 3)


def bootstrap_of(
    rows: CheckedRows,
    groups: ArrayLike | None,
    threshold_log_odds: float,
    resamples: int,
    confidence: float,
    seed: int,
    stacklevel: int,
) -> dict[str, tuple[float, float]]:
    """:func:`bootstrap_intervals` of checked rows, its warning raised `stacklevel` frames up."""
    if isinstance(resamples, bool) or not isinstance(resamples, int | np.integer) or resamples < 1:
        raise ValueError(f"resamples must be a whole number of at least 1, got {resamples!r}")
    tail = (1.0 - checked_confidence(confidence)) / 2.0
    group, first = number_groups(groups, rows.scores.size, "groups")
    kinds = rows.type_numbers() + 1  # 0: bona fide
    strata = strata_of_groups(kinds, group, first.size)
    undefined = dict.fromkeys(BOOTSTRAP_NAMES, (float("nan"), float("nan")))
    if not rows.is_attack.any() or rows.is_attack.all():
        warn_if_absent(rows.by_class(), "the bootstrap intervals are NaN", stacklevel=stacklevel + 1)
        return undefined
    varies = np.bincount(strata)[strata][group] > 1
    for name, of_class in (("bona fides", ~rows.is_attack), ("attacks", rows.is_attack)):
        if not varies[of_class].any():
            warnings.warn(
                f"the {name} are of {np.unique(group[of_class]).size} group(s), too few to tell how {name} of other "
                "people or videos would differ: the bootstrap intervals are NaN",
                UndefinedRateWarning,
                stacklevel=stacklevel,
            )
            return undefined

    errors = _Errors.of(rows, kinds, group, first.size, threshold_log_odds)
    ranking = _Ranking.of(rows, group)
    at_once = max(1, _NUMBERS_AT_ONCE // (rows.scores.size + 1))
    chunks = [
        np.column_stack([*errors.rates(counts), *ranking.numbers(counts)])
        for counts in drawn_counts(strata, int(resamples), seed, at_once)
    ]
    bounds = np.quantile(np.concatenate(chunks), [tail, 1.0 - tail], axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(BOOTSTRAP_NAMES, *bounds, strict=True)}


def strata_of_groups(kinds: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """The stratum that each group is drawn within.

    Args:
        kinds: int64 of shape `(N,)`, of each image: 0 for a bona fide, else 1 + the number of its attack type.
        group: int64 of shape `(N,)`, the group of each image.
        groups: G, how many.

    Returns:
        Int64 of shape `(G,)`, numbers from 0 on. Groups with the same kinds share one; groups that are alone with
        theirs share one with other such groups of the same classes.

    >>> strata_of_groups(np.array([0, 1, 0, 1, 0, 2, 0, 3]), np.array([0, 0, 1, 1, 2, 2, 3, 3]), 4)
    array([0, 0, 1, 1])
    """
    has = np.zeros((groups, int(kinds.max(initial=0)) + 1), dtype=bool)
    has[group, kinds] = True
    _, stratum, sizes = np.unique(np.packbits(has, axis=1), axis=0, return_inverse=True, return_counts=True)
    alone = sizes[stratum] == 1
    classes = 2 * has[:, 0] + has[:, 1:].any(axis=1)
    return np.unique(np.where(alone, sizes.size + classes, stratum), return_inverse=True)[1]


def drawn_counts(strata: np.ndarray, resamples: int, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """How often each group is in each resample; the same draws whatever `at_once`.

    Args:
        strata: int64 of shape `(G,)`, of each group; each stratum is drawn as often as it has groups.
        resamples: how many.
        seed: of the draws.
        at_once: how many resamples to yield together.

    Yields:
        Int64 of shape `(resamples of this step, G)`.

    >>> [counts.tolist() for counts in drawn_counts(np.array([0, 0, 0, 1]), 3, 0, 2)]
    [[[0, 2, 1, 1], [3, 0, 0, 1]], [[3, 0, 0, 1]]]
    """
    generator = np.random.default_rng(seed)
    in_order = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    low = np.repeat(np.cumsum(sizes) - sizes, sizes)
    high = low + np.repeat(sizes, sizes)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = in_order[generator.integers(low, high, size=(rows, strata.size))]
        drawn += strata.size * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * strata.size).reshape(rows, strata.size)


class _Errors(NamedTuple):
    """Errors at one threshold, counted by kind (0: bona fides, then attack types) and group: sparse `(T + 1, G)`."""

    wrong: csr_array
    total: csr_array

    @classmethod
    def of(cls, rows: CheckedRows, kinds: np.ndarray, group: np.ndarray, groups: int, compared: float) -> "_Errors":
        shape = (len(rows.types) + 1, groups)
        wrong = (rows.scores >= compared) == rows.is_attack
        return cls(
            csr_array((wrong.astype(np.int64), (kinds, group)), shape=shape),
            csr_array((np.ones(group.size, dtype=np.int64), (kinds, group)), shape=shape),
        )

    def rates(self, counts: np.ndarray) -> list[np.ndarray]:
        """`apcer`, `apcer_pooled`, `bpcer`, `acer`, `acer_pooled` of each resample."""
        wrong, total = self.wrong @ counts.T, self.total @ counts.T
        with np.errstate(invalid="ignore"):
            by_kind = wrong / total
        # fmax ignores the NaN of a type that isn't in the resample.
        bpcer, apcer = by_kind[0], np.fmax.reduce(by_kind[1:], axis=0)
        pooled = wrong[1:].sum(axis=0) / total[1:].sum(axis=0)
        return [apcer, pooled, bpcer, (apcer + bpcer) / 2, (pooled + bpcer) / 2]


class _Ranking(NamedTuple):
    """One sort for all resamples: K distinct scores.

    Attributes:
        bona_fides, attacks: int64 of shapes `(B,)` and `(A,)`, the groups of the images, by ascending score.
        bona_fides_below, attacks_below: int64 of shape `(K + 1,)`, how many images are below each distinct score; the
            last entry is the threshold that rejects everything.
    """

    bona_fides: np.ndarray
    attacks: np.ndarray
    bona_fides_below: np.ndarray
    attacks_below: np.ndarray

    @classmethod
    def of(cls, rows: CheckedRows, group: np.ndarray) -> "_Ranking":
        distinct = np.unique(rows.scores)
        ordered, below = [], []
        for of_class in (~rows.is_attack, rows.is_attack):
            scores = rows.scores[of_class]
            order = np.argsort(scores)
            ordered.append(group[of_class][order])
            below.append(np.append(np.searchsorted(scores[order], distinct), scores.size))
        return cls(*ordered, *below)

    def numbers(self, counts: np.ndarray) -> list[np.ndarray]:
        """`eer` and `auc` of each resample, as :mod:`patchnet_hf.metrics.ranking` defines them."""
        rejected = _drawn_below(counts, self.bona_fides, self.bona_fides_below)
        accepted = _drawn_below(counts, self.attacks, self.attacks_below)
        bona_fides, attacks = rejected[:, -1:], accepted[:, -1:].copy()
        np.subtract(attacks, accepted, out=accepted)

        # A score that wasn't drawn is a threshold at which nothing changes, so it doesn't move the crossing.
        gap = accepted * bona_fides - rejected * attacks
        after = np.argmax(gap <= 0, axis=1)[:, None]
        gap_before, gap_after = (np.take_along_axis(gap, index, axis=1) for index in (after - 1, after))
        before, behind = (np.take_along_axis(accepted, index, axis=1) for index in (after - 1, after))
        eer = (before + gap_before / (gap_before - gap_after) * (behind - before)) / attacks

        doubled = np.einsum("rk,rk->r", accepted[:, :-1] - accepted[:, 1:], rejected[:, :-1] + rejected[:, 1:])
        pairs = 2 * (attacks * bona_fides)[:, 0]
        return [eer[:, 0], (pairs - doubled) / pairs]


def _drawn_below(counts: np.ndarray, groups: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Int64 of shape `(R, K + 1)`: how many drawn images of a class are below each threshold."""
    drawn = np.zeros((counts.shape[0], groups.size + 1), dtype=np.int64)
    np.cumsum(counts[:, groups], axis=1, out=drawn[:, 1:])
    return drawn[:, below]
