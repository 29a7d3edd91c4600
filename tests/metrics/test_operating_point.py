"""Thresholds chosen by a criterion: against every threshold tried one after the other, and what people write."""

import math
import warnings

import numpy as np
import pytest

from patchnet_hf.metrics import (
    Criterion,
    UndefinedRateWarning,
    acer_pooled,
    apcer,
    apcer_pooled,
    bpcer,
    bpcer_at_apcer,
    eer,
    eer_threshold,
    eer_threshold_log_odds,
    hter,
    probability_threshold_at,
    threshold_at,
)


def random_set(seed, images=300, decimals=1):
    generator = np.random.default_rng(seed)
    labels = (generator.random(images) < 0.4).astype(int)
    scores = np.round(generator.normal(1.5 * labels, 1.0), decimals)
    return scores, labels, generator.choice(["print", "replay", "mask"], images, p=[0.6, 0.3, 0.1])


SETS = [random_set(0), random_set(1, decimals=0), random_set(2, images=25), random_set(3, decimals=12)]
each_set = pytest.mark.parametrize(("scores", "labels", "types"), SETS)
LIMITS = [0.0, 0.01, 0.05, 0.1, 0.3, 0.999]


def all_thresholds(scores):
    """One in every gap between neighbouring scores, ascending, from accepting to rejecting everything."""
    distinct = np.unique(scores)
    return [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 1]


@each_set
@pytest.mark.parametrize("limit", LIMITS)
def test_apcer_takes_the_lowest_threshold_at_which_no_type_exceeds_the_limit(scores, labels, types, limit):
    chosen = threshold_at(scores, labels, types, Criterion("apcer", limit))
    allowed = [
        each for each in all_thresholds(scores) if apcer(scores, labels, types, threshold_log_odds=each) <= limit
    ]
    assert np.array_equal(scores >= chosen, scores >= min(allowed))
    # The operating point whose BPCER bpcer_at_apcer reports.
    expected = bpcer_at_apcer(scores, labels, types, 100 * limit)
    assert bpcer(scores, labels, threshold_log_odds=chosen) == pytest.approx(expected, abs=1e-12)


@each_set
@pytest.mark.parametrize("limit", LIMITS)
def test_bpcer_takes_the_highest_threshold_within_the_limit(scores, labels, types, limit):
    chosen = threshold_at(scores, labels, types, f"bpcer={limit}")
    allowed = [each for each in all_thresholds(scores) if bpcer(scores, labels, threshold_log_odds=each) <= limit]
    assert np.array_equal(scores >= chosen, scores >= max(allowed))


@each_set
def test_eer_is_the_threshold_of_the_equal_error_rate(scores, labels, types):
    assert threshold_at(scores, labels, types, "eer") == eer_threshold_log_odds(scores, labels)
    assert threshold_at(scores, labels) == eer_threshold_log_odds(scores, labels)
    assert probability_threshold_at(scores, labels, types) == eer_threshold(scores, labels)


def test_eer_is_where_a_dense_sweep_of_thresholds_crosses():
    generator = np.random.default_rng(8)
    labels = (np.arange(20000) % 5 < 2).astype(int)
    scores = generator.normal(2.0 * labels, 1.0)
    sweep = np.linspace(-3, 5, 4001)
    accepted = np.array([np.mean(scores[labels == 0] >= each) for each in sweep])
    rejected = np.array([np.mean(scores[labels == 1] < each) for each in sweep])
    nearest = np.argmin(np.abs(accepted - rejected))
    assert eer(scores, labels) == pytest.approx((accepted[nearest] + rejected[nearest]) / 2, abs=1e-3)
    assert threshold_at(scores, labels) == pytest.approx(sweep[nearest], abs=0.01)
    # Two normal distributions two standard deviations apart cross in the middle.
    assert eer(scores, labels) == pytest.approx(0.5 * math.erfc(1 / math.sqrt(2)), abs=0.01)


@each_set
@pytest.mark.parametrize("criterion", ["eer", "apcer=0.05", "bpcer=0.1"])
def test_as_a_probability_it_accepts_the_same_images(scores, labels, types, criterion):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probability = probability_threshold_at(scores, labels, types, criterion)
    in_log_odds = threshold_at(scores, labels, types, criterion)
    assert apcer(scores, labels, types, probability) == apcer(scores, labels, types, threshold_log_odds=in_log_odds)
    assert bpcer(scores, labels, probability) == bpcer(scores, labels, threshold_log_odds=in_log_odds)


def test_the_middle_between_the_neighbouring_scores_is_returned():
    scores, labels = [4.0, 3.0, 2.0, 1.0, 2.5, 0.0], [1, 1, 1, 1, 0, 0]
    assert threshold_at(scores, labels, criterion="apcer=0") == 2.75
    assert threshold_at(scores, labels, criterion="apcer=0.5") == 0.5
    assert threshold_at(scores, labels, criterion="bpcer=0") == 0.5
    assert threshold_at(scores, labels, criterion="bpcer=0.5") == 2.75
    # Nothing above, and nothing below: one unit away.
    assert threshold_at([1.0, 2.0], [1, 0], criterion="apcer=0") == 3.0
    assert threshold_at([1.0, 2.0], [1, 0], criterion="bpcer=0") == 0.0
    assert threshold_at([np.inf, 2.0], [1, 0], criterion="apcer=0") == 3.0


def test_one_class_is_enough_for_a_criterion_of_that_class():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert threshold_at([1.0, 3.0], [0, 0], criterion="apcer=0.5") == 2.0
        assert threshold_at([1.0, 3.0], [1, 1], criterion="bpcer=0.5") == 2.0
        assert threshold_at([1.0], [1], criterion="bpcer=0.5") == 0.0


@pytest.mark.parametrize(
    ("labels", "criterion", "absent"),
    [
        ([1, 1], "apcer=0.1", "no attacks"),
        ([0, 0], "bpcer=0.1", "no bona fides"),
        ([1, 1], "eer", "no attacks"),
        ([0, 0], "eer", "no bona fides"),
        ([], "eer", "no bona fides .* and no attacks"),
    ],
)
@pytest.mark.parametrize("function", [threshold_at, probability_threshold_at])
def test_without_the_class_it_is_nan_with_a_warning(function, labels, criterion, absent):
    with pytest.warns(UndefinedRateWarning, match=absent) as seen:
        assert math.isnan(function(np.arange(len(labels), dtype=float), labels, criterion=criterion))
    assert len(seen) == 1 and seen[0].filename == __file__


def test_an_operating_point_beyond_every_probability_is_said_to_be_so():
    with pytest.warns(RuntimeWarning, match="use threshold_log_odds, or calibrate") as seen:
        assert 0.0 < probability_threshold_at([80.0, 60.0], [1, 0], criterion="apcer=0") < 1.0
    assert len(seen) == 1 and seen[0].filename == __file__
    assert threshold_at([80.0, 60.0], [1, 0], criterion="apcer=0") == 70.0


def test_infinite_attacks_that_no_threshold_rejects_are_said():
    with pytest.raises(ValueError, match=r"no threshold meets apcer=0.1: attacks with a score of inf"):
        threshold_at([1.0, np.inf], [1, 0], criterion="apcer=0.1")
    assert threshold_at([1.0, -np.inf], [1, 0], criterion="apcer=0.1") == 0.0


@pytest.mark.parametrize("text", ["eer", "apcer=0.05", "bpcer=0.01", "apcer=0.0"])
def test_a_criterion_is_written_as_it_is_read(text):
    assert str(Criterion.parse(text)) == text
    assert Criterion.parse(f" {text.upper()} ") == Criterion.parse(text)
    assert Criterion.parse(text.replace("=", " = ")) == Criterion.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apcer=5%", r"the limit of the criterion 'apcer=5%' must be a share in \[0, 1\); .* write apcer=0.05"),
        ("apcer=5", r"must be a share in \[0, 1\); for 5 percent write apcer=0.05"),
        ("bpcer=1", r"for 1 percent write bpcer=0.01"),
        ("bpcer=0.5%", r"for 0.5 percent write bpcer=0.005"),
        ("apcer=100%", r"must be a share in \[0, 1\)$"),
        ("apcer=-0.1", r"must be a share in \[0, 1\)$"),
        ("apcer=nan", r"must be a share in \[0, 1\)$"),
        ("apcer", r"'apcer' has no limit; expected eer, apcer=SHARE or bpcer=SHARE"),
        ("apcer=", r"is not a number; expected"),
        ("apcer=low", r"is not a number; expected"),
        ("eer=0.1", r"eer takes no limit"),
        ("hter=0.1", r"the criterion is 'hter'; expected eer, apcer=SHARE"),
        ("", r"the criterion is ''; expected eer"),
    ],
)
def test_what_is_no_criterion_is_refused_with_one_line_that_says_what_to_write(text, message):
    with pytest.raises(ValueError, match=message) as error:
        Criterion.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [("eer", 0.1), ("apcer",), ("apcer", 1.0), ("bpcer", "0.1"), ("acer", 0.1)])
def test_a_criterion_that_makes_no_sense_cannot_be_made(arguments):
    with pytest.raises(ValueError, match="criterion"):
        Criterion(*arguments)


def test_hter_is_the_mean_of_the_rates_at_the_threshold_of_another_set():
    (development, development_labels, _), (scores, labels, _) = random_set(5), random_set(6)
    threshold = threshold_at(development, development_labels)
    accepted = scores >= threshold
    expected = (np.mean(accepted[labels == 0]) + np.mean(~accepted[labels == 1])) / 2
    assert hter(scores, labels, threshold_log_odds=threshold) == pytest.approx(expected, abs=1e-12)
    assert hter(scores, labels, 0.7) == acer_pooled(scores, labels, 0.7)
    assert apcer_pooled(scores, labels, 0.7) != bpcer(scores, labels, 0.7)


def test_hter_has_no_threshold_of_its_own():
    with pytest.raises(ValueError, match="hter needs a threshold that was chosen on another set"):
        hter([1.0, 0.0], [1, 0])
    with pytest.warns(UndefinedRateWarning, match="hter is NaN") as seen:
        assert math.isnan(hter([1.0], [1], 0.5))
    assert len(seen) == 1 and seen[0].filename == __file__
