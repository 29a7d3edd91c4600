"""Error rates at one threshold: counted by hand, through scikit-learn's confusion matrix, and at the edges."""

import math
import warnings

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from patchnet_hf.metrics import (
    UndefinedRateWarning,
    acer,
    acer_pooled,
    apcer,
    apcer_by_type,
    apcer_pooled,
    bpcer,
    log_odds,
)

SCORES = [3.0, 0.2, -0.5, 1.0, -1.0, -2.0, -3.0, 4.0, -4.0, -5.0]
LABELS = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
TYPES = ["bonafide"] * 3 + ["print", "print", "replay", "replay", "mask", "replay", "replay"]


def test_rates_counted_by_hand_at_one_half():
    assert apcer_by_type(SCORES, LABELS, TYPES) == {"mask": 1.0, "print": 0.5, "replay": 0.0}
    assert apcer(SCORES, LABELS, TYPES) == 1.0
    assert apcer_pooled(SCORES, LABELS) == 2 / 7
    assert bpcer(SCORES, LABELS) == 1 / 3
    assert acer(SCORES, LABELS, TYPES) == (1 + 1 / 3) / 2
    assert acer_pooled(SCORES, LABELS) == (2 / 7 + 1 / 3) / 2


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.5, 0.77, 0.999])
def test_pooled_rates_agree_with_the_confusion_matrix_of_probabilities(threshold):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    scores = generator.normal(2.0 * labels - 1.0, 2.0)
    accepted = 1 / (1 + np.exp(-scores)) >= threshold
    (true_negative, false_positive), (false_negative, true_positive) = confusion_matrix(labels, accepted)
    expected_apcer = false_positive / (true_negative + false_positive)
    expected_bpcer = false_negative / (false_negative + true_positive)
    assert apcer_pooled(scores, labels, threshold) == pytest.approx(expected_apcer)
    assert bpcer(scores, labels, threshold) == pytest.approx(expected_bpcer)
    assert acer_pooled(scores, labels, threshold) == pytest.approx((expected_apcer + expected_bpcer) / 2)


def test_worst_type_agrees_with_a_loop_over_images():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 300)
    scores = generator.normal(size=300)
    types = generator.choice(["print", "replay", "mask"], 300)
    accepted, total = {}, {}
    for score, label, kind in zip(scores, labels, types, strict=True):
        if label == 0:
            total[kind] = total.get(kind, 0) + 1
            accepted[kind] = accepted.get(kind, 0) + (score >= math.log(0.6 / 0.4))
    expected = {str(kind): accepted[kind] / total[kind] for kind in total}
    assert apcer_by_type(scores, labels, types, 0.6) == expected
    assert apcer(scores, labels, types, 0.6) == max(expected.values())


def test_a_score_at_the_threshold_is_accepted_as_live():
    assert apcer_pooled([0.0], [0], 0.5) == 1.0
    assert bpcer([0.0], [1], 0.5) == 0.0
    assert apcer_pooled([-0.0], [0], 0.5) == 1.0


def test_without_types_all_attacks_are_of_one_type():
    assert apcer_by_type(SCORES, LABELS) == {"attack": 2 / 7}
    assert apcer(SCORES, LABELS) == apcer_pooled(SCORES, LABELS)


def test_types_of_bona_fides_are_ignored_even_when_missing():
    types = [None, float("nan"), "mask", *TYPES[3:]]
    assert apcer_by_type(SCORES, LABELS, types) == apcer_by_type(SCORES, LABELS, TYPES)
    assert "bonafide" not in apcer_by_type(SCORES, LABELS, np.array(TYPES))


def test_lists_arrays_and_low_precision_give_the_same_rates():
    expected = apcer(SCORES, LABELS, TYPES, 0.4)
    assert apcer(np.array(SCORES, dtype=np.float32), np.array(LABELS, dtype=bool), np.array(TYPES), 0.4) == expected
    assert apcer(tuple(SCORES), np.array(LABELS, dtype=float), np.array(TYPES, dtype=object), 0.4) == expected


def test_the_order_of_images_does_not_matter():
    order = np.random.default_rng(2).permutation(len(SCORES))
    shuffled = [np.array(values)[order] for values in (SCORES, LABELS, TYPES)]
    assert apcer_by_type(*shuffled) == apcer_by_type(SCORES, LABELS, TYPES)
    assert acer(*shuffled) == acer(SCORES, LABELS, TYPES)


def test_saturated_scores_are_told_apart_by_a_threshold_in_log_odds():
    scores, labels = [80.0, 60.0], [1, 0]
    assert apcer_pooled(scores, labels, 1 - 1e-16) == 1.0
    assert apcer_pooled(scores, labels, threshold_log_odds=70.0) == 0.0
    assert bpcer(scores, labels, threshold_log_odds=70.0) == 0.0
    assert (
        apcer(scores, labels, threshold_log_odds=60.0)
        == apcer_by_type(scores, labels, threshold_log_odds=60.0)["attack"]
    )
    assert acer(scores, labels, threshold_log_odds=90.0) == acer_pooled(scores, labels, threshold_log_odds=90.0) == 0.5


def test_infinite_scores_are_on_their_side_of_every_threshold():
    scores, labels = [np.inf, -np.inf, np.inf, -np.inf], [1, 1, 0, 0]
    for threshold in (1e-300, 0.5, 1 - 1e-16):
        assert apcer_pooled(scores, labels, threshold) == 0.5
        assert bpcer(scores, labels, threshold) == 0.5


@pytest.mark.parametrize(
    ("rate", "labels", "absent"),
    [
        (apcer, [1, 1], "no attacks"),
        (apcer_pooled, [1, 1], "no attacks"),
        (bpcer, [0, 0], "no bona fides"),
        (acer, [1, 1], "no attacks"),
        (acer, [0, 0], "no bona fides"),
        (acer_pooled, [1, 1], "no attacks"),
        (acer_pooled, [0, 0], "no bona fides"),
    ],
)
def test_a_rate_whose_class_is_absent_is_nan_with_one_warning_that_names_it(rate, labels, absent):
    with pytest.warns(UndefinedRateWarning, match=f"{absent} .* in a set of 2 images: {rate.__name__} is NaN") as seen:
        value = rate([1.0, 2.0], labels)
    assert math.isnan(value)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_a_rate_whose_class_is_present_does_not_warn_about_the_other():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apcer([1.0, -2.0], [0, 0]) == 0.5
        assert bpcer([1.0, -2.0], [1, 1]) == 0.5


def test_an_empty_set_gives_nan_with_one_warning_that_names_both_classes():
    with pytest.warns(UndefinedRateWarning, match=r"no bona fides \(label 1\) and no attacks \(label 0\)") as seen:
        assert math.isnan(acer([], [], []))
    assert len(seen) == 1


def test_without_attacks_there_is_no_rate_by_type():
    with pytest.warns(UndefinedRateWarning, match="no attacks"):
        assert apcer_by_type([1.0], [1], ["bonafide"]) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [[1, 0]]), r"scores have shape \(1, 2\), expected \(N,\)"),
        ((1.0, 1), r"scores have shape \(\), expected \(N,\)"),
        (([1.0, 2.0], [1]), r"labels have shape \(1,\), expected one per score: \(2,\)"),
        (([1.0, 2.0, 3.0], [1, 2, -1]), r"labels must be 0 .* 1 .*; 2 are not, for example 2, -1"),
        (([1.0], ["live"]), r"labels must be 0 .* 'live'"),
        (([1.0, 2.0], [[1], [0, 1]]), r"labels must be 0 .* one per score: .* inhomogeneous"),
        (([1.0, 2.0], [1, float("nan")]), r"labels must be 0 .*; 1 are not, for example nan"),
        (([1.0, float("nan")], [1, 0]), r"scores must not be NaN; 1 of 2 are, the first at index 1"),
        ((["high"], [1]), r"scores must be real numbers"),
        (([1j], [1]), r"scores must be real numbers"),
        (([1.0, 2.0], [1, 0], ["print"]), r"attack_types have shape \(1,\), expected one per score: \(2,\)"),
        (([1.0, 2.0], [1, 0], "print"), r"attack_types have shape \(\), expected one per score: \(2,\)"),
        (([1.0, 2.0], [0, 0], ["print", None]), r"attack_types of attacks must be strings, got also NoneType"),
        (([1.0, 2.0], [0, 0], ["print", float("nan")]), r"attack_types of attacks must be strings, got also float"),
        (([1.0, 2.0], [0, 0], [3, 4]), r"attack_types of attacks must be strings, got also int"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_was_given_and_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        apcer(*arguments)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.5, float("nan"), "half", None])
def test_a_threshold_is_a_probability_between_zero_and_one(threshold):
    with pytest.raises(ValueError, match="a threshold must be a probability"):
        bpcer([1.0], [1], threshold)


def test_a_threshold_in_log_odds_is_a_number():
    with pytest.raises(ValueError, match="threshold_log_odds must not be NaN"):
        bpcer([1.0], [1], threshold_log_odds=float("nan"))
    for wrong in ("high", [1.0, 2.0]):
        with pytest.raises(ValueError, match="threshold_log_odds must be one number; got"):
            bpcer([1.0], [1], threshold_log_odds=wrong)


def test_log_odds_of_a_probability():
    assert log_odds(0.5) == 0.0
    assert log_odds(0.999) == pytest.approx(math.log(999))
    assert log_odds(5e-324) == pytest.approx(math.log(5e-324))
    assert log_odds(0.25) == pytest.approx(-log_odds(0.75))
