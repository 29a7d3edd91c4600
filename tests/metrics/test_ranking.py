"""Ranking numbers: against scikit-learn, against every threshold tried by hand, with ties and at saturation."""

import math
import warnings

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from patchnet_hf.metrics import (
    UndefinedRateWarning,
    acer_pooled,
    apcer,
    apcer_pooled,
    auc,
    bpcer,
    bpcer_at_apcer,
    det_curve,
    eer,
    eer_threshold,
    eer_threshold_log_odds,
)


def random_set(seed, images=400, decimals=None, attack_share=0.6):
    """Scores, labels and attack types; `decimals` rounds the scores, so that many are equal."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(images) > attack_share).astype(int)
    scores = generator.normal(1.5 * labels, 1.0)
    types = generator.choice(["print", "replay", "mask"], images, p=[0.6, 0.3, 0.1])
    scores = scores + 0.7 * (types == "mask") * (labels == 0)
    return scores if decimals is None else np.round(scores, decimals), labels, types


SETS = [
    random_set(0),
    random_set(1, decimals=1),
    random_set(2, decimals=0),
    random_set(3, images=31, decimals=0, attack_share=0.9),
    random_set(4, images=40, decimals=1, attack_share=0.2),
]
each_set = pytest.mark.parametrize(("scores", "labels", "types"), SETS)


def operating_points(scores, labels, types):
    """(worst APCER, pooled APCER, BPCER) at every threshold, the last of which rejects everything."""
    points = []
    for threshold in [*sorted(set(scores.tolist())), None]:
        accepted = np.zeros(len(scores), bool) if threshold is None else scores >= threshold
        by_type = [np.mean(accepted[(labels == 0) & (types == kind)]) for kind in set(types[labels == 0])]
        points.append((max(by_type), np.mean(accepted[labels == 0]), np.mean(~accepted[labels == 1])))
    return points


@each_set
def test_auc_is_that_of_scikit_learn(scores, labels, types):
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@each_set
def test_auc_counts_pairs_and_half_of_the_ties(scores, labels, types):
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    assert auc(scores, labels) == pytest.approx(np.mean((difference > 0) + 0.5 * (difference == 0)), abs=1e-12)


def test_auc_of_perfect_reversed_and_constant_scores():
    assert auc([3, 2, 1, 0], [1, 1, 0, 0]) == 1.0
    assert auc([3, 2, 1, 0], [0, 0, 1, 1]) == 0.0
    assert auc([5, 5, 5], [1, 0, 0]) == 0.5


@each_set
def test_eer_is_the_crossing_of_scikit_learns_roc_curve_with_its_antidiagonal(scores, labels, types):
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    # Walked along by arc length, because the curve has vertical pieces.
    step = np.abs(np.diff(false_positive_rate)) + np.abs(np.diff(true_positive_rate))
    position = np.concatenate([[0.0], np.cumsum(step)])
    crossing = brentq(
        lambda at: 1 - np.interp(at, position, true_positive_rate) - np.interp(at, position, false_positive_rate),
        0.0,
        position[-1],
        xtol=1e-14,
    )
    assert eer(scores, labels) == pytest.approx(np.interp(crossing, position, false_positive_rate), abs=1e-10)


@each_set
def test_eer_threshold_is_the_nearest_of_all_thresholds(scores, labels, types):
    points = operating_points(scores, labels, types)[:-1]
    smallest = min(abs(pooled - rejected) for _, pooled, rejected in points)
    # The higher of equally near thresholds: the last in ascending order.
    _, expected_apcer, expected_bpcer = [p for p in points if abs(p[1] - p[2]) <= smallest + 1e-12][-1]
    threshold = eer_threshold(scores, labels)
    assert apcer_pooled(scores, labels, threshold) == pytest.approx(expected_apcer, abs=1e-12)
    assert bpcer(scores, labels, threshold) == pytest.approx(expected_bpcer, abs=1e-12)
    in_log_odds = eer_threshold_log_odds(scores, labels)
    assert apcer_pooled(scores, labels, threshold_log_odds=in_log_odds) == pytest.approx(expected_apcer, abs=1e-12)
    assert bpcer(scores, labels, threshold_log_odds=in_log_odds) == pytest.approx(expected_bpcer, abs=1e-12)


@each_set
def test_eer_lies_between_the_two_rates_that_straddle_it(scores, labels, types):
    points = operating_points(scores, labels, types)
    after = next(index for index, (_, pooled, rejected) in enumerate(points) if pooled <= rejected)
    (_, apcer_before, bpcer_before), (_, apcer_after, bpcer_after) = points[after - 1], points[after]
    assert max(apcer_after, bpcer_before) - 1e-12 <= eer(scores, labels) <= min(apcer_before, bpcer_after) + 1e-12


def test_eer_counted_by_hand():
    # At the threshold 2.5 one of three attacks is accepted and one of three bona fides rejected.
    assert eer([3.0, 2.6, 1.0, 2.5, 0.0, -1.0], [1, 1, 1, 0, 0, 0]) == pytest.approx(1 / 3)
    # From (apcer 1/2, bpcer 0) to (0, 1/3): the line meets apcer = bpcer at 1/5.
    assert eer([3.0, 2.0, 1.0, 1.0, 0.0], [1, 1, 1, 0, 0]) == pytest.approx(1 / 5)


def test_eer_of_perfect_reversed_and_constant_scores():
    assert eer([3, 2, 1, 0], [1, 1, 0, 0]) == 0.0
    assert eer([3, 2, 1, 0], [0, 0, 1, 1]) == 1.0
    assert eer([5, 5, 5], [1, 0, 0]) == 0.5


def test_eer_threshold_of_separated_classes_is_the_middle_between_them():
    assert eer_threshold_log_odds([5.0, 3.0, -1.0, -4.0], [1, 1, 0, 0]) == 1.0
    assert eer_threshold([5.0, 3.0, -1.0, -4.0], [1, 1, 0, 0]) == pytest.approx(1 / (1 + math.exp(-1)))


def test_of_two_equally_near_thresholds_the_one_that_accepts_fewer_attacks_is_taken():
    # Accepting from 0 on: apcer 1/2, bpcer 0; from 1 on: apcer 0, bpcer 1/2.
    scores, labels = [1.0, 0.0, 0.0, -1.0], [1, 1, 0, 0]
    assert eer(scores, labels) == 0.25
    assert eer_threshold_log_odds(scores, labels) == 0.5
    assert apcer_pooled(scores, labels, eer_threshold(scores, labels)) == 0.0


@pytest.mark.parametrize("score", [-np.inf, -800.0, 0.0, 30.0])
def test_eer_threshold_of_constant_scores_accepts_them(score):
    in_log_odds = eer_threshold_log_odds([score, score], [1, 0])
    assert bpcer([score], [1], threshold_log_odds=in_log_odds) == 0.0


@pytest.mark.parametrize(
    ("offset", "spread"), [(-700.0, 0.01), (-60.0, 0.01), (0.0, 1e-6), (20.0, 0.01), (28.0, 0.1), (32.0, 1.0)]
)
def test_eer_threshold_as_a_probability_reproduces_the_operating_point(offset, spread):
    for seed in range(20):
        generator = np.random.default_rng(seed)
        scores = offset + spread * np.round(generator.normal(size=40), 1)
        labels = np.arange(40) % 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            threshold = eer_threshold(scores, labels)
        in_log_odds = eer_threshold_log_odds(scores, labels)
        assert 0.0 < threshold < 1.0
        assert apcer_pooled(scores, labels, threshold) == apcer_pooled(scores, labels, threshold_log_odds=in_log_odds)
        assert bpcer(scores, labels, threshold) == bpcer(scores, labels, threshold_log_odds=in_log_odds)


@pytest.mark.parametrize(
    ("low", "high"),
    [(35.41224600193009, 35.64058562824288), (31.857639858308975, 31.866283159788576), (25.4793902, 25.4794024)],
)
def test_where_probabilities_are_sparse_the_one_between_two_scores_is_found(low, high):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threshold = eer_threshold([high, low], [1, 0])
    assert acer_pooled([high, low], [1, 0], threshold) == 0.0


def test_neighbouring_floats_are_told_apart_in_log_odds():
    for value in (0.0, 1e-310, 1.0, 45.0, 1.7e308):
        scores = [np.nextafter(value, np.inf), value]
        in_log_odds = eer_threshold_log_odds(scores, [1, 0])
        assert acer_pooled(scores, [1, 0], threshold_log_odds=in_log_odds) == 0.0


def test_saturated_log_odds_are_ranked_where_their_probabilities_are_equal():
    scores, labels = np.array([80.0, 70.0, 60.0, 50.0]), [1, 1, 0, 0]
    assert len(set(1 / (1 + np.exp(-scores)))) == 1
    assert auc(scores, labels) == 1.0
    assert eer(scores, labels) == 0.0
    assert bpcer_at_apcer(scores, labels, percent=1) == 0.0
    assert eer_threshold_log_odds(scores, labels) == 65.0


@pytest.mark.parametrize(
    ("scores", "nearest"),
    # Above, below, and between two neighbouring probabilities.
    [
        ([80.0, 60.0], 1 - 2**-53),
        ([-750.0, -760.0], 5e-324),
        ([30.001, 30.0], pytest.approx(1 - math.exp(-30.0005), abs=2**-53)),
    ],
)
def test_an_operating_point_beyond_every_probability_is_said_to_be_so(scores, nearest):
    with pytest.warns(RuntimeWarning, match="use eer_threshold_log_odds") as seen:
        assert eer_threshold(scores, [1, 0]) == nearest
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_infinite_scores_are_the_highest_and_the_lowest():
    scores, labels = [np.inf, 2.0, 2.0, -np.inf], [1, 1, 0, 0]
    assert auc(scores, labels) == auc([9.0, 2.0, 2.0, -9.0], labels) == 0.875
    assert eer(scores, labels) == eer([9.0, 2.0, 2.0, -9.0], labels)
    assert eer_threshold_log_odds([np.inf, -np.inf], [1, 0]) == 0.0
    assert eer_threshold_log_odds([3.0, -np.inf], [1, 0]) == 2.0
    assert eer_threshold_log_odds([np.inf, 3.0], [1, 0]) == 4.0
    assert auc([np.inf, np.inf], [1, 0]) == eer([-np.inf, -np.inf], [1, 0]) == 0.5
    assert bpcer_at_apcer([np.inf, np.inf], [1, 0], percent=1) == 1.0
    assert bpcer_at_apcer([-np.inf, -np.inf], [1, 0], percent=100) == 0.0


@each_set
@pytest.mark.parametrize("percent", [0, 1, 5, 10, 12.5, 50, 100])
def test_bpcer_at_apcer_is_the_best_of_all_thresholds(scores, labels, types, percent):
    points = operating_points(scores, labels, types)
    assert bpcer_at_apcer(scores, labels, types, percent) == pytest.approx(
        min(rejected for worst, _, rejected in points if worst <= percent / 100 + 1e-12), abs=1e-12
    )
    assert bpcer_at_apcer(scores, labels, percent=percent) == pytest.approx(
        min(rejected for _, pooled, rejected in points if pooled <= percent / 100 + 1e-12), abs=1e-12
    )


def test_bpcer_at_apcer_is_bound_by_the_worst_type():
    # Ten masks and ninety prints: one mask accepted is 1 % of all attacks and 10 % of the masks.
    scores = [0.0] * 2 + [-1.0] * 90 + [1.0] + [-1.0] * 9
    labels = [1] * 2 + [0] * 100
    types = ["bonafide"] * 2 + ["print"] * 90 + ["mask"] * 10
    assert bpcer_at_apcer(scores, labels, percent=1) == 0.0
    assert bpcer_at_apcer(scores, labels, types, percent=5) == 1.0
    assert bpcer_at_apcer(scores, labels, types, percent=10) == 0.0


def test_a_percentage_that_is_exactly_reached_is_allowed():
    # 3000 * 2.3 / 100 is just under 69 in float64.
    scores = np.concatenate([[0.0], np.full(69, 1.0), np.full(2931, -1.0)])
    labels = np.array([1] + [0] * 3000)
    assert bpcer_at_apcer(scores, labels, percent=2.3) == 0.0
    scores[-1] = 1.0
    assert bpcer_at_apcer(scores, labels, percent=2.3) == 1.0


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_a_percentage_is_between_zero_and_a_hundred(percent):
    with pytest.raises(ValueError, match="percent must be a number from 0 to 100"):
        bpcer_at_apcer([1.0, 0.0], [1, 0], percent=percent)


@each_set
def test_det_curve_gives_the_rates_at_each_of_its_thresholds(scores, labels, types):
    curve = det_curve(scores, labels, types)
    expected = operating_points(scores, labels, types)
    np.testing.assert_array_equal(curve.thresholds[:-1], np.unique(scores))
    assert curve.thresholds[-1] == np.inf
    np.testing.assert_allclose(curve.apcer, [worst for worst, _, _ in expected], atol=1e-12)
    np.testing.assert_allclose(curve.bpcer, [rejected for _, _, rejected in expected], atol=1e-12)
    middle = curve.thresholds[len(curve.thresholds) // 2]
    assert apcer(scores, labels, types, threshold_log_odds=middle) == curve.apcer[len(curve.thresholds) // 2]


@each_set
def test_det_curve_is_the_roc_curve_of_scikit_learn(scores, labels, types):
    curve = det_curve(scores, labels)
    false_positive_rate, true_positive_rate, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.thresholds, thresholds[::-1])
    np.testing.assert_allclose(curve.apcer, false_positive_rate[::-1], atol=1e-12)
    np.testing.assert_allclose(1 - curve.bpcer, true_positive_rate[::-1], atol=1e-12)


@each_set
def test_the_order_of_images_does_not_matter(scores, labels, types):
    order = np.random.default_rng(9).permutation(len(scores))
    shuffled = scores[order], labels[order]
    for number in (auc, eer, eer_threshold, eer_threshold_log_odds, bpcer_at_apcer):
        assert number(*shuffled) == number(scores, labels)
    assert bpcer_at_apcer(*shuffled, types[order], 5) == bpcer_at_apcer(scores, labels, types, 5)


@each_set
def test_only_the_ranking_matters(scores, labels, types):
    for number in (auc, eer, bpcer_at_apcer):
        assert number(0.5 * scores - 3.0, labels) == number(scores, labels)


@pytest.mark.parametrize("number", [auc, eer, eer_threshold, eer_threshold_log_odds, bpcer_at_apcer])
@pytest.mark.parametrize(
    ("scores", "labels", "absent"),
    [
        ([1.0, 2.0], [1, 1], "no attacks"),
        ([1.0, 2.0], [0, 0], "no bona fides"),
        ([], [], r"no bona fides \(label 1\) and no attacks"),
    ],
)
def test_an_absent_class_gives_nan_with_one_warning_that_names_it(number, scores, labels, absent):
    with pytest.warns(UndefinedRateWarning, match=f"{absent} .*{number.__name__} is NaN") as seen:
        value = number(scores, labels)
    assert math.isnan(value)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_det_curve_without_a_class_has_the_rates_of_the_other():
    with pytest.warns(UndefinedRateWarning, match="no attacks"):
        curve = det_curve([1.0, 2.0], [1, 1])
    assert np.isnan(curve.apcer).all()
    np.testing.assert_array_equal(curve.bpcer, [0.0, 0.5, 1.0])
    with pytest.warns(UndefinedRateWarning, match="no bona fides"):
        curve = det_curve([1.0, 2.0], [0, 0])
    assert np.isnan(curve.bpcer).all()
    np.testing.assert_array_equal(curve.apcer, [1.0, 0.5, 0.0])


@pytest.mark.parametrize("number", [auc, eer, eer_threshold, eer_threshold_log_odds, bpcer_at_apcer, det_curve])
def test_unusable_input_is_refused(number):
    with pytest.raises(ValueError, match="scores must not be NaN"):
        number([1.0, float("nan")], [1, 0])
    with pytest.raises(ValueError, match="labels have shape"):
        number([1.0, 2.0], [1, 0, 0])


def test_numbers_are_python_floats():
    for number in (auc, eer, eer_threshold, eer_threshold_log_odds, bpcer_at_apcer):
        assert type(number(np.array([1.0, 0.0], dtype=np.float32), np.array([1, 0]))) is float
