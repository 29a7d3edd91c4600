"""Intervals under the keys of the flat dictionary: each is that of its own function."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest

from patchnet_hf.metrics import (
    UndefinedRateWarning,
    bootstrap_intervals,
    metric_intervals,
    presentation_attack_metrics,
)

generator = np.random.default_rng(0)
LABELS = generator.integers(0, 2, 400)
SCORES = np.round(generator.normal(2.0 * LABELS, 2.0), 1)
TYPES = np.where(LABELS == 1, "bonafide", generator.choice(["print", "replay"], 400))
GROUPS = generator.integers(0, 25, 400)


def wilson(errors, total):
    interval = binomtest(int(errors), int(total)).proportion_ci(method="wilson")
    return pytest.approx((interval.low, interval.high), abs=1e-12)


def test_rates_have_wilsons_interval():
    intervals = metric_intervals(SCORES, LABELS, TYPES, GROUPS, 0.7, resamples=20)
    scores, types = SCORES, TYPES
    accepted, attack = scores >= math.log(0.7 / 0.3), LABELS == 0
    by_type = {kind: wilson(accepted[types == kind].sum(), (types == kind).sum()) for kind in ("print", "replay")}
    assert {kind: intervals[f"apcer_type_{kind}"] for kind in by_type} == by_type
    shares = {kind: accepted[types == kind].mean() for kind in by_type}
    assert intervals["apcer"] == by_type[max(shares, key=shares.get)]
    assert intervals["apcer_pooled"] == wilson(accepted[attack].sum(), attack.sum())
    assert intervals["bpcer"] == wilson((~accepted[~attack]).sum(), (~attack).sum())
    assert intervals["recall"] == wilson((~accepted[attack]).sum(), attack.sum())
    assert intervals["specificity"] == wilson(accepted[~attack].sum(), (~attack).sum())
    assert intervals["precision"] == wilson((~accepted[attack]).sum(), (~accepted).sum())


def test_averages_and_ranking_numbers_have_the_bootstraps():
    intervals = metric_intervals(SCORES, LABELS, TYPES, GROUPS, 0.7, resamples=50, confidence=0.9, seed=3)
    expected = bootstrap_intervals(SCORES, LABELS, TYPES, GROUPS, 0.7, resamples=50, confidence=0.9, seed=3)
    for name in ("acer", "acer_pooled", "eer", "auc"):
        assert intervals[name] == expected[name]
    in_log_odds = metric_intervals(
        SCORES, LABELS, TYPES, GROUPS, threshold_log_odds=math.log(0.7 / 0.3), resamples=50, confidence=0.9, seed=3
    )
    assert {name: pytest.approx(bounds, abs=1e-12) for name, bounds in intervals.items()} == in_log_odds


def test_every_number_with_an_interval_lies_in_it():
    numbers = presentation_attack_metrics(SCORES, LABELS, TYPES)
    intervals = metric_intervals(SCORES, LABELS, TYPES)
    assert list(intervals) == [name for name in numbers if name in intervals]
    assert all(low <= numbers[name] <= high for name, (low, high) in intervals.items())


def test_of_equally_bad_types_the_one_that_is_known_least_gives_the_interval():
    labels, types = [1, 1] + [0] * 12, ["", ""] + ["print"] * 10 + ["mask"] * 2
    scores = [1.0, 2.0] + [-1.0] * 12
    intervals = metric_intervals(scores, labels, types, resamples=5)
    assert intervals["apcer"] == intervals["apcer_type_mask"] == wilson(0, 2)


@pytest.mark.parametrize(
    ("label", "defined"), [(1, {"bpcer", "specificity"}), (0, {"apcer", "apcer_pooled", "recall"})]
)
def test_what_needs_an_absent_class_is_nan_with_one_warning(label, defined):
    with pytest.warns(UndefinedRateWarning) as seen:
        intervals = metric_intervals([1.0, -1.0], [label, label])
    assert len(seen) == 1 and seen[0].filename == __file__
    with_number = {name for name, interval in intervals.items() if not math.isnan(interval[0])}
    assert with_number - {"apcer_type_attack"} == defined
    assert set(intervals) >= {
        "apcer",
        "apcer_pooled",
        "bpcer",
        "acer",
        "acer_pooled",
        "precision",
        "recall",
        "eer",
        "auc",
    }


def test_nothing_rejected_has_a_precision_without_an_interval():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = metric_intervals([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], resamples=5)["precision"]
    assert all(map(math.isnan, interval))


@pytest.mark.filterwarnings("ignore:no float64 probability")
def test_the_threshold_in_log_odds_is_reported_as_its_probability():
    numbers = presentation_attack_metrics([80.0, 60.0, 70.0], [1, 0, 0], threshold_log_odds=65.0)
    assert (numbers["apcer"], numbers["bpcer"], numbers["threshold"]) == (0.5, 0.0, 1.0)
    numbers = presentation_attack_metrics(SCORES, LABELS, TYPES, threshold_log_odds=math.log(4))
    assert numbers == presentation_attack_metrics(SCORES, LABELS, TYPES, 0.8) | {"threshold": pytest.approx(0.8)}
