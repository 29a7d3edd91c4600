"""The numbers of a set, its operating point and its intervals."""

import math

import numpy as np
import pytest

from patchnet_hf import metrics
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.numbers import IntervalSettings, measured_on_development_set, set_numbers
from patchnet_hf.evaluation.operating_point import OperatingPoint, choose_operating_point
from patchnet_hf.evaluation.presentations import Presentations

QUICK = IntervalSettings(resamples=50)


def test_numbers_are_those_of_the_pure_functions(random_set):
    scored = random_set()
    point = OperatingPoint.fixed(0.7, "given")
    numbers = set_numbers(Presentations.of(scored), point, QUICK)
    values = (scored.scores, scored.labels, scored.attack_types)
    assert numbers.metrics["acer"] == metrics.acer(*values, 0.7)
    assert numbers.metrics["eer"] == metrics.eer(*values[:2]) and numbers.metrics["threshold"] == 0.7
    by_type = metrics.apcer_by_type(*values, 0.7)
    assert {kind: found.apcer for kind, found in numbers.attack_types.items()} == by_type
    for kind, found in numbers.attack_types.items():
        of_kind = [score for score, name in zip(scored.scores, scored.attack_types, strict=True) if name == kind]
        assert found.attacks == len(of_kind) and found.accepted == sum(score >= math.log(7 / 3) for score in of_kind)
        assert found.low <= found.apcer <= found.high
    assert numbers.counts == {"images": 160, "bona_fides": 80, "attacks": 80, "subjects": 20, "videos": 80}
    assert "hter" not in numbers.metrics and numbers.intervals_over == "subject" and numbers.notes == []


def test_intervals_hold_the_value_and_are_of_groups(random_set):
    # Images of a person are right or wrong together, so they say less than as many of other persons would.
    labels = random_set().labels
    of_person = np.repeat(np.random.default_rng(0).normal(0, 2, 20), 8)
    images = Presentations.of(random_set(scores=(2 * labels - 1) * (1 + of_person)))
    point = OperatingPoint.fixed(0.5, "given")
    over = {unit: set_numbers(images, point, IntervalSettings(unit, resamples=400)) for unit in ("subject", "image")}
    for numbers in over.values():
        for name in ("acer", "apcer", "bpcer", "eer", "auc"):
            low, high = numbers.intervals[name]
            assert low <= numbers.metrics[name] <= high and low < high
    again = set_numbers(images, point, IntervalSettings("subject", resamples=400))
    assert again.intervals == over["subject"].intervals
    widths = {unit: np.diff(numbers.intervals["acer"])[0] for unit, numbers in over.items()}
    assert widths["subject"] > 1.5 * widths["image"]


def test_a_threshold_is_chosen_on_one_set_and_reported_on_another(random_set):
    development, reported = Presentations.of(random_set("dev", seed=1)), Presentations.of(random_set())
    point = choose_operating_point(development, "apcer=0.1", "data:dev", "f" * 16)
    assert point.is_chosen and (point.criterion, point.dataset) == ("apcer=0.1", "data:dev")
    values = (development.scores, development.labels, development.attack_types)
    expected = metrics.threshold_at(*values, "apcer=0.1")
    assert point.threshold_log_odds == expected and point.threshold == pytest.approx(1 / (1 + math.exp(-expected)))
    measured = measured_on_development_set(point, development)
    assert measured.metrics["apcer"] == metrics.apcer(*values, threshold_log_odds=expected) <= 0.1
    assert "hter" not in measured.metrics
    numbers = set_numbers(reported, measured, QUICK)
    accepted = np.mean(reported.scores[reported.labels == 0] >= expected)
    rejected = np.mean(reported.scores[reported.labels == 1] < expected)
    assert numbers.metrics["hter"] == pytest.approx((accepted + rejected) / 2)
    assert "chosen on data:dev by apcer=0.1; there APCER" in measured.sentence()


@pytest.mark.parametrize("label", [0, 1])
def test_no_threshold_from_a_set_of_one_class(random_set, label):
    alone = random_set("dev", labels=np.full(160, label), attack_types=["bonafide" if label else "print"] * 160)
    with pytest.raises(InputError, match="no threshold can be chosen on data:dev: it lacks"):
        choose_operating_point(Presentations.of(alone), "eer", "data:dev", "")


def test_what_an_absent_class_leaves_undefined_is_said_and_not_warned_of(random_set, recwarn):
    live = random_set(labels=np.ones(160, dtype=np.int64), attack_types=["bonafide"] * 160)
    numbers = set_numbers(Presentations.of(live), OperatingPoint.fixed(0.5, "model"), QUICK)
    assert math.isnan(numbers.metrics["acer"]) and numbers.metrics["bpcer"] >= 0 and numbers.attack_types == {}
    assert len(numbers.notes) == 1 and "no attacks" in numbers.notes[0]
    assert not [warning for warning in recwarn if issubclass(warning.category, metrics.UndefinedRateWarning)]


def test_an_interval_without_width_is_not_left_to_look_like_certainty(random_set):
    labels = random_set().labels
    separated = random_set(scores=20.0 * labels - 10)
    numbers = set_numbers(Presentations.of(separated), OperatingPoint.fixed(0.5, "given"), QUICK)
    assert numbers.intervals["acer"] == (0, 0) and numbers.intervals["bpcer"][1] > 0.04
    (note,) = numbers.notes
    assert "the same ACER, EER, AUC" in note and "doesn't say that the number is certain" in note


def test_attack_types_that_would_share_a_name_are_a_mistake(random_set):
    scored = random_set(types=("a b", "a_b"))
    with pytest.raises(InputError, match="two attack types"):
        set_numbers(Presentations.of(scored), OperatingPoint.fixed(0.5, "model"), QUICK)


@pytest.mark.parametrize("threshold", [0, 1, 1.5, -0.1, float("nan")])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(InputError, match="probability"):
        OperatingPoint.fixed(threshold, "given")


@pytest.mark.parametrize("settings", [{"confidence": 1}, {"confidence": 0}, {"resamples": 0}, {"seed": -1}])
def test_settings_outside_their_range_are_a_mistake(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        IntervalSettings(**settings)
