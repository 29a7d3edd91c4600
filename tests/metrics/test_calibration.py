"""Platt's calibration against scikit-learn, and how good probabilities are against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import _sigmoid_calibration, calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from patchnet_hf.metrics import (
    auc,
    brier_score,
    calibration_quality,
    eer,
    expected_calibration_error,
    fit_platt,
    reliability_curve,
)
from patchnet_hf.metrics.error_rates import UndefinedRateWarning


def drawn(size=400, seed=0, live_share=0.4, gain=1.0, offset=0.0):
    """Scores whose calibrated log-odds are known: labels are drawn from `gain * score + offset`."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 4, size) + logit(live_share)
    return scores, (random.random(size) < expit(gain * scores + offset)).astype(int)


def plain_logistic_regression(scores, labels, weights=None):
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(scores[:, None], labels, weights)
    return fitted.coef_[0, 0], fitted.intercept_[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("unit", [1.0, 30.0, 0.01])
def test_the_fit_is_plain_logistic_regression_on_the_smoothed_targets(seed, unit):
    scores, labels = drawn(seed=seed, gain=0.3, offset=-1.0)
    live, attacks = labels.sum(), (1 - labels).sum()
    targets = np.where(labels == 1, (live + 1) / (live + 2), 1 / (attacks + 2))
    # A soft target is the capture twice, as live with its weight and as attack with the rest.
    expected = plain_logistic_regression(
        np.concatenate([scores, scores]), np.repeat([1, 0], len(labels)), np.concatenate([targets, 1 - targets])
    )
    scale, bias = fit_platt(scores * unit, labels)
    assert (scale * unit, bias) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_scikit_learns_own_sigmoid_calibration(seed):
    scores, labels = drawn(seed=seed)
    slope, intercept = _sigmoid_calibration(scores, labels)
    assert fit_platt(scores, labels) == pytest.approx((-slope, -intercept), rel=1e-3)


def test_of_many_captures_the_smoothing_is_lost_and_the_truth_found():
    scores, labels = drawn(200_000, gain=0.5, offset=-1.0)
    fitted = fit_platt(scores, labels)
    assert fitted == pytest.approx((0.5, -1.0), abs=0.03)
    assert fitted == pytest.approx(plain_logistic_regression(scores, labels), abs=1e-3)
    assert expected_calibration_error(fitted.calibrate(scores), labels) < 0.005
    assert expected_calibration_error(scores, labels) > 0.05


@pytest.mark.parametrize("size", [1, 2, 80, 5000])
@pytest.mark.parametrize("height", [1e-6, 1.0, 100.0, 1e6])
def test_separated_classes_get_the_targets_as_probabilities(size, height):
    scores, labels = np.repeat([height, -height], size), np.repeat([1, 0], size)
    probabilities = expit(fit_platt(scores, labels).calibrate(scores))
    assert probabilities[0] == pytest.approx((size + 1) / (size + 2)) and probabilities[-1] == pytest.approx(
        1 / (size + 2)
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_fit_is_a_maximum_for_log_odds_of_a_hundred_and_unequal_classes(seed):
    random = np.random.default_rng(seed)
    live, attacks = random.integers(1, 300, 2)
    scores = random.normal(0, 30, live + attacks) + np.repeat([60, -60], [live, attacks])
    labels = np.repeat([1, 0], [live, attacks])
    targets = np.repeat([(live + 1) / (live + 2), 1 / (attacks + 2)], [live, attacks])
    scale, bias = fit_platt(scores, labels)

    def likelihood(scale, bias):
        return -np.sum(np.logaddexp(0, scale * scores + bias) - targets * (scale * scores + bias))

    best = likelihood(scale, bias)
    assert scale > 0
    for step in (1e-3, 1e-2, 0.3):
        assert all(likelihood(scale * (1 + sign * step), bias) < best for sign in (-1, 1))
        assert all(likelihood(scale, bias + sign * step) < best for sign in (-1, 1))


def test_the_ranking_stays():
    scores, labels = drawn(seed=3, gain=0.2, offset=2.0)
    scores = np.concatenate([scores, scores[:50]])
    labels = np.concatenate([labels, 1 - labels[:50]])
    calibrated = fit_platt(scores, labels).calibrate(scores)
    np.testing.assert_array_equal(
        np.unique(scores, return_inverse=True)[1], np.unique(calibrated, return_inverse=True)[1]
    )
    assert (auc(calibrated, labels), eer(calibrated, labels)) == (auc(scores, labels), eer(scores, labels))


def test_fitting_calibrated_scores_again_changes_nothing():
    scores, labels = drawn()
    fitted = fit_platt(scores, labels)
    assert fit_platt(fitted.calibrate(scores), labels) == pytest.approx((1.0, 0.0), abs=1e-6)
    np.testing.assert_allclose(fitted.uncalibrate(fitted.calibrate(scores)), scores)


def test_a_prior_moves_the_bias_by_bayes_theorem():
    scores, labels = drawn(200_000, live_share=0.2)
    own, even = fit_platt(scores, labels), fit_platt(scores, labels, prior=0.5)
    assert even.scale == own.scale
    assert even.bias - own.bias == pytest.approx(-logit(labels.mean()))
    # A set of that share, made by repeating attacks or bona fides, is calibrated by it.
    live = np.flatnonzero(labels == 1)
    chosen = np.concatenate([live, np.flatnonzero(labels == 0)[: len(live)]])
    assert expected_calibration_error(even.calibrate(scores[chosen]), labels[chosen]) < 0.01
    assert expected_calibration_error(own.calibrate(scores[chosen]), labels[chosen]) > 0.03


@pytest.mark.parametrize(
    ("scores", "labels", "prior", "message"),
    [
        ([1.0, -1.0], [0, 1], None, "rank the wrong way"),
        ([1.0, 1.0, 1.0], [0, 1, 1], None, "rank the wrong way"),
        ([1.0, 2.0], [1, 1], None, r"no attacks \(label 0\)"),
        ([1.0, 2.0], [0, 0], None, r"no bona fides \(label 1\)"),
        ([], [], None, "needs both classes"),
        ([np.inf, 2.0], [1, 0], None, "must be finite"),
        ([np.nan, 2.0], [1, 0], None, "NaN"),
        ([3.0, 2.0], [1, 0], 1.0, "prior is 1.0"),
    ],
)
def test_what_cannot_be_fitted_says_why(scores, labels, prior, message):
    with pytest.raises(ValueError, match=message):
        fit_platt(scores, labels, prior)


@pytest.mark.parametrize("bins", [1, 5, 15, 40])
def test_the_curve_is_scikit_learns(bins):
    scores, labels = drawn(1000, gain=0.5)
    scores[:40] = 800 * np.sign(scores[:40])  # P(live) of 0 and 1
    curve = reliability_curve(scores, labels, bins)
    observed, predicted = calibration_curve(labels, expit(scores), n_bins=bins)
    filled = curve.counts > 0
    np.testing.assert_allclose(curve.observed[filled], observed)
    np.testing.assert_allclose(curve.predicted[filled], predicted)
    assert curve.counts.sum() == 1000 and np.isnan(curve.observed[~filled]).all()


def test_the_expected_calibration_error_counted_capture_by_capture():
    scores, labels = drawn(300, gain=0.3)
    probabilities, total = expit(scores), 0.0
    for low in range(10):
        inside = [i for i in range(300) if low / 10 < probabilities[i] <= (low + 1) / 10]
        if inside:
            gap = np.mean([probabilities[i] for i in inside]) - np.mean([labels[i] for i in inside])
            total += len(inside) / 300 * abs(gap)
    assert expected_calibration_error(scores, labels, bins=10) == pytest.approx(total)


def test_an_edge_belongs_to_the_bin_below_it():
    assert reliability_curve([0.0], [1], bins=2).counts.tolist() == [1, 0]
    assert reliability_curve([-2000.0, 2000.0], [0, 1], bins=2).counts.tolist() == [1, 1]


def test_certainty_that_is_right_has_no_error_and_one_that_is_wrong_has_all():
    assert expected_calibration_error([-900.0, 900.0], [0, 1]) == 0.0
    assert expected_calibration_error([-900.0, 900.0], [1, 0]) == 1.0


def test_brier_score_and_log_loss_are_scikit_learns():
    scores, labels = drawn(500)
    quality = calibration_quality(scores, labels)
    assert quality.brier_score == pytest.approx(brier_score_loss(labels, expit(scores)))
    assert quality.log_loss == pytest.approx(sklearn_log_loss(labels, expit(scores)))
    assert quality.brier_score == brier_score(scores, labels)
    assert quality.expected_calibration_error == expected_calibration_error(scores, labels)


def test_a_prior_weights_the_classes_as_repeated_captures_would():
    scores, labels = np.array([2.0, 0.5, -0.3, -1.0, 0.7, -3.0]), np.array([1, 1, 0, 0, 0, 0])
    repeated = np.array([3, 3, 1, 1, 1, 1])  # 6 live of 10
    more = np.repeat(scores, repeated), np.repeat(labels, repeated)
    assert calibration_quality(scores, labels, prior=0.6) == pytest.approx(calibration_quality(*more))
    weighted, counted = reliability_curve(scores, labels, prior=0.6), reliability_curve(*more)
    np.testing.assert_allclose(weighted.observed, counted.observed)
    np.testing.assert_allclose(weighted.predicted, counted.predicted)
    assert weighted.counts.sum() == 6 and weighted.weights.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="only one"):
        reliability_curve([1.0], [1], prior=0.5)


def test_an_empty_set_is_undefined_with_a_warning():
    for measure in (expected_calibration_error, brier_score):
        with pytest.warns(UndefinedRateWarning):
            assert np.isnan(measure([], []))


@pytest.mark.parametrize("bins", [0, -1])
def test_no_bins_are_refused(bins):
    with pytest.raises(ValueError, match="bins"):
        reliability_curve([1.0], [1], bins=bins)
