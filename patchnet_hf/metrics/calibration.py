"""Whether live probabilities can be taken at their word, and the scale and bias that make it so.

Scores and labels are those of :mod:`patchnet_hf.metrics.error_rates`: live log-odds z, 1 = bona fide, 0 = attack, with
`P(live) = 1 / (1 + exp(-z))`.

**Prior.** What share of the captures with `P(live) = 0.9` are live depends on how many captures are live at all: a set
with 80 % attacks gives other probabilities than one with 20 %, though the model errs alike. Where a function takes
`prior`, every live capture counts `prior / (share of live captures)` times and every attack `(1 - prior) / (share of
attacks)` times, as in a set of that live share. Without it the set is taken as it is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, logit

from .error_rates import ScoresByClass, split_by_class, warn_if_absent

BINS = 15
# Of the mean gradient on standardised scores: beyond this, float64 has nothing left to improve.
_GRADIENT_TOLERANCE = 1e-9


class PlattCalibration(NamedTuple):
    """Calibrated log-odds are `scale * z + bias`; `scale` is positive, so the ranking stays.

    >>> PlattCalibration(0.5, -1.0).calibrate([2.0, 4.0])
    array([0., 1.])
    """

    scale: float
    bias: float

    def calibrate(self, scores: ArrayLike) -> np.ndarray:
        """Calibrated log-odds, float64 of the same shape."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.bias

    def uncalibrate(self, scores: ArrayLike) -> np.ndarray:
        """The inverse of :meth:`calibrate`."""
        return (np.asarray(scores, dtype=np.float64) - self.bias) / self.scale


UNCALIBRATED = PlattCalibration(1.0, 0.0)


class ReliabilityCurve(NamedTuple):
    """How often captures are live, by what the model says; K is the number of bins.

    Attributes:
        edges: float64 of shape `(K + 1,)`, from 0 to 1; bin k is `(edges[k], edges[k + 1]]`, the first one with 0.
        predicted: float64 of shape `(K,)`, mean P(live) of the bin's captures; NaN in an empty bin.
        observed: float64 of shape `(K,)`, share of them that is live; NaN in an empty bin.
        counts: int64 of shape `(K,)`, captures.
        weights: float64 of shape `(K,)`, their share of all captures; sums to 1.
    """

    edges: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    counts: np.ndarray
    weights: np.ndarray


class CalibrationQuality(NamedTuple):
    """How good P(live) is as a probability; 0 is best in all three."""

    expected_calibration_error: float
    log_loss: float
    brier_score: float


def fit_platt(scores: ArrayLike, labels: ArrayLike, prior: float | None = None) -> PlattCalibration:
    """The scale and bias of the log-odds under which the labels are most likely.

    Maximises `sum over i of t_i log p_i + (1 - t_i) log (1 - p_i)`, `p_i = 1 / (1 + exp(-(scale z_i + bias)))`. The
    targets are Platt's, `t = (N+ + 1) / (N+ + 2)` for the `N+` bona fides and `t = 1 / (N- + 2)` for the `N-` attacks,
    rather than 1 and 0: what a uniform prior on each class's labels gives. With 1 and 0, classes that the scores
    separate perfectly would send the scale to infinity. (Platt, Probabilistic Outputs for Support Vector Machines, in
    Advances in Large Margin Classifiers, 1999; Lin, Lin and Weng, Machine Learning 68, 2007.) The likelihood is
    concave and the optimum unique.

    The result is for captures of which as many are live as of these. For another share, `prior`, the bias moves by
    `log(prior / (1 - prior)) - log(N+ / N-)`, Bayes' theorem; the scale stays.

    Args:
        scores: shape `(N,)`, live log-odds, finite.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        prior: share of live captures that the probabilities are meant for, in (0, 1); None: that of `labels`.

    Raises:
        ValueError: an argument has the wrong shape, length or range; a class is absent; or bona fides don't score
            higher than attacks on average, so that no positive scale is most likely.

    >>> scale, bias = fit_platt([2.0, 1.0, -0.5, 0.5, -1.0, -2.0], [1, 1, 1, 0, 0, 0])
    >>> round(scale, 3), abs(round(bias, 3))
    (0.63, 0.0)
    """
    by_class = split_by_class(scores, labels)
    live, attacks = by_class.bona_fides, by_class.pooled_attacks
    if not live.size or not attacks.size:
        missing = "no bona fides (label 1)" if not live.size else "no attacks (label 0)"
        raise ValueError(
            f"calibration needs both classes; there are {missing} among {live.size + attacks.size} scores"
        )
    if prior is not None and not 0 < prior < 1:
        raise ValueError(f"prior is {prior!r}; expected a share of live captures in (0, 1)")
    values = np.concatenate([live, attacks])
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite to fit a calibration; some are infinite")
    # The derivative by the scale, at scale 0 with its best bias, has the sign of this difference.
    if not live.mean() > attacks.mean():
        raise ValueError(
            f"the scores rank the wrong way: bona fides have mean log-odds {live.mean():.4g}, attacks "
            f"{attacks.mean():.4g}; calibration keeps the ranking and can't mend that"
        )
    center, spread = values.mean(), values.std()
    values = (values - center) / spread
    targets = np.repeat([(live.size + 1) / (live.size + 2), 1 / (attacks.size + 2)], [live.size, attacks.size])

    def loss(parameters):
        calibrated = parameters[0] * values + parameters[1]
        residual = expit(calibrated) - targets
        gradient = np.array([residual @ values, residual.sum()]) / values.size
        return np.mean(np.logaddexp(0.0, calibrated) - targets * calibrated), gradient

    def curvature(parameters):
        weight = expit(parameters[0] * values + parameters[1])
        weight *= 1 - weight
        cross = weight @ values
        return np.array([[weight @ values**2, cross], [cross, weight.sum()]]) / values.size

    start = np.array([0.0, logit(targets.mean())])
    options = {"gtol": _GRADIENT_TOLERANCE, "maxiter": 1000}
    found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options=options).x
    scale = found[0] / spread
    bias = found[1] - scale * center
    if prior is not None:
        bias += logit(prior) - np.log(live.size / attacks.size)
    return PlattCalibration(float(scale), float(bias))


def reliability_curve(
    scores: ArrayLike, labels: ArrayLike, bins: int = BINS, prior: float | None = None
) -> ReliabilityCurve:
    """Predicted against observed share of live captures, in equal bins of P(live).

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        bins: their number K, of equal width on [0, 1].
        prior: see the module; counts stay those of the set.

    Raises:
        ValueError: an argument has the wrong shape, length or range, or a prior is given and a class is absent.

    >>> curve = reliability_curve([-3.0, -3.0, 3.0, 3.0], [0, 0, 1, 0], bins=2)
    >>> curve.predicted.round(3), curve.observed, curve.counts
    (array([0.047, 0.953]), array([0. , 0.5]), array([2, 2]))
    """
    if not bins >= 1:
        raise ValueError(f"bins is {bins!r}; expected at least 1")
    probabilities, is_live, weights = _weighted(split_by_class(scores, labels), prior)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges[1:-1], probabilities)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, values, minlength=bins)

    share = total(weights)
    with np.errstate(invalid="ignore"):  # an empty bin is NaN
        predicted, observed = total(weights * probabilities) / share, total(weights * is_live) / share
    return ReliabilityCurve(edges, predicted, observed, np.bincount(place, minlength=bins), share)


def expected_calibration_error(
    scores: ArrayLike, labels: ArrayLike, bins: int = BINS, prior: float | None = None
) -> float:
    """How far the predicted share of live captures is from the observed one, on average over bins.

    `ECE = sum over bins of (share of captures in the bin) * |mean P(live) in it - share of live captures in it|`, the
    bins of :func:`reliability_curve`: of equal width in P(live), with edges as in Guo et al., On Calibration of Modern
    Neural Networks, ICML 2017. They bin the probability of the predicted class; here it is P(live) throughout, so
    that errors towards live and towards attack can't cancel in a bin. Few captures in a bin leave a gap by chance:
    a perfectly calibrated model doesn't reach 0 on a small set.

    Args: as for :func:`reliability_curve`.

    Returns:
        A number in [0, 1]; NaN with a warning for an empty set.

    Raises:
        ValueError: as for :func:`reliability_curve`.

    >>> round(expected_calibration_error([-3.0, -3.0, 3.0, 3.0], [0, 0, 1, 0], bins=2), 3)
    0.25
    """
    by_class = split_by_class(scores, labels)
    if not by_class.bona_fides.size and not by_class.attack_count:
        warn_if_absent(by_class, "expected_calibration_error is NaN")
        return float("nan")
    return error_of_curve(reliability_curve(scores, labels, bins, prior))


def error_of_curve(curve: ReliabilityCurve) -> float:
    """The :func:`expected_calibration_error` of a curve with at least one capture."""
    return float(np.nansum(curve.weights * np.abs(curve.predicted - curve.observed)))


def brier_score(scores: ArrayLike, labels: ArrayLike, prior: float | None = None) -> float:
    """Mean squared difference of P(live) and the label (Brier, Monthly Weather Review 78, 1950).

    Args: as for :func:`reliability_curve`.

    Returns:
        A number in [0, 1]; 0.25 when every P(live) is 0.5; NaN with a warning for an empty set.

    Raises:
        ValueError: as for :func:`reliability_curve`.

    >>> brier_score([0.0, 0.0], [1, 0])
    0.25
    """
    by_class = split_by_class(scores, labels)
    if not by_class.bona_fides.size and not by_class.attack_count:
        warn_if_absent(by_class, "brier_score is NaN")
        return float("nan")
    probabilities, is_live, weights = _weighted(by_class, prior)
    return float(weights @ (probabilities - is_live) ** 2)


def calibration_quality(
    scores: ArrayLike, labels: ArrayLike, bins: int = BINS, prior: float | None = None
) -> CalibrationQuality:
    """Expected calibration error, log-loss (:func:`~patchnet_hf.metrics.log_loss`, here with a prior) and Brier score.

    >>> calibration_quality([0.0, 0.0], [1, 0])
    CalibrationQuality(expected_calibration_error=0.0, log_loss=0.6931471805599453, brier_score=0.25)
    """
    by_class = split_by_class(scores, labels)
    _, _, weights = _weighted(by_class, prior)
    losses = [np.logaddexp(0.0, -by_class.bona_fides), np.logaddexp(0.0, by_class.pooled_attacks)]
    return CalibrationQuality(
        expected_calibration_error(scores, labels, bins, prior),
        float(weights @ np.concatenate(losses)) if weights.size else float("nan"),
        brier_score(scores, labels, prior),
    )


def _weighted(by_class: ScoresByClass, prior: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(live), whether live (0 or 1) and weights that sum to 1, bona fides before attacks."""
    live, attacks = by_class.bona_fides, by_class.pooled_attacks
    if prior is None:
        of_classes = [1 / max(live.size + attacks.size, 1)] * 2
    elif not 0 < prior < 1:
        raise ValueError(f"prior is {prior!r}; expected a share of live captures in (0, 1)")
    elif not live.size or not attacks.size:
        raise ValueError("a prior weights the two classes against one another, but the set has only one")
    else:
        of_classes = [prior / live.size, (1 - prior) / attacks.size]
    sizes = [live.size, attacks.size]
    return expit(np.concatenate([live, attacks])), np.repeat([1.0, 0.0], sizes), np.repeat(of_classes, sizes)
