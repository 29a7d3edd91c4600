"""Precision, recall, specificity and F-scores: scikit-learn's with the attack as the positive class."""

import math

import numpy as np
import pytest
import sklearn.metrics

from patchnet_hf.metrics import UndefinedRateWarning, apcer_pooled, bpcer, f_score, precision, recall, specificity

generator = np.random.default_rng(5)
LABELS = generator.integers(0, 2, 400)
SCORES = generator.normal(1.5 * LABELS - 0.5, 1.5)


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.5, 0.8, 0.9999])
def test_numbers_are_those_of_scikit_learn_with_the_attack_as_positive_label(threshold):
    predicted = (1 / (1 + np.exp(-SCORES)) >= threshold).astype(int)
    as_positive = {"pos_label": 0, "zero_division": 0.0}
    assert precision(SCORES, LABELS, threshold) == pytest.approx(
        sklearn.metrics.precision_score(LABELS, predicted, **as_positive)
    )
    assert recall(SCORES, LABELS, threshold) == pytest.approx(
        sklearn.metrics.recall_score(LABELS, predicted, **as_positive)
    )
    # The recall of the negatives.
    assert specificity(SCORES, LABELS, threshold) == pytest.approx(
        sklearn.metrics.recall_score(LABELS, predicted, pos_label=1)
    )
    for beta in (0.5, 1, 3):
        assert f_score(SCORES, LABELS, beta, threshold) == pytest.approx(
            sklearn.metrics.fbeta_score(LABELS, predicted, beta=beta, **as_positive)
        )


def test_recall_and_specificity_complete_the_error_rates():
    assert recall(SCORES, LABELS, 0.6) == pytest.approx(1 - apcer_pooled(SCORES, LABELS, 0.6))
    assert specificity(SCORES, LABELS, 0.6) == pytest.approx(1 - bpcer(SCORES, LABELS, 0.6))


def test_a_score_at_the_threshold_is_accepted():
    assert recall([0.0, -1e-9], [0, 0]) == 0.5
    assert specificity([40.0, 39.0], [1, 1], threshold_log_odds=40.0) == 0.5


def test_counted_by_hand():
    scores, labels = [3.0, 2.0, -1.0, -2.0, -3.0, -4.0, 1.0], [1, 1, 1, 0, 0, 0, 0]
    assert (precision(scores, labels), recall(scores, labels), specificity(scores, labels)) == (3 / 4, 3 / 4, 2 / 3)
    assert f_score(scores, labels, 3) == pytest.approx(10 * 0.75 * 0.75 / (9 * 0.75 + 0.75))


def test_rejecting_nothing_is_a_precision_and_f_score_of_zero():
    assert precision([1.0, 2.0], [1, 0]) == f_score([1.0, 2.0], [1, 0], 3) == 0.0


@pytest.mark.parametrize(("label", "absent"), [(1, "no attacks"), (0, "no bona fides")])
@pytest.mark.parametrize("function", [precision, f_score, recall, specificity])
def test_what_needs_an_absent_class_is_nan_with_a_warning(function, label, absent):
    if (function, label) in ((recall, 0), (specificity, 1)):
        assert function([-1.0, 1.0], [label, label]) == 0.5
        return
    with pytest.warns(UndefinedRateWarning, match=f"{absent} .* is NaN") as seen:
        assert math.isnan(function([-1.0, 1.0], [label, label]))
    assert len(seen) == 1 and seen[0].filename == __file__


@pytest.mark.parametrize("beta", [0, -1.0, math.nan])
def test_a_beta_that_weighs_nothing_is_refused(beta):
    with pytest.raises(ValueError, match="beta is"):
        f_score(SCORES, LABELS, beta)
