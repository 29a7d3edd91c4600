"""Bootstrap over groups: against resamples written out row by row, and for how often it covers the truth."""

import math
import warnings
from unittest import mock

import numpy as np
import pytest

from patchnet_hf import metrics
from patchnet_hf.metrics import UndefinedRateWarning, bootstrap, bootstrap_intervals
from patchnet_hf.metrics.bootstrap import drawn_counts, strata_of_groups


def clustered_set(seed, groups=12, images=300):
    """Groups of several compositions: live and every attack, live only, print only; scores with ties."""
    generator = np.random.default_rng(seed)
    group = generator.integers(0, groups, images)
    labels = (generator.random(images) < 0.5).astype(int)
    labels[group < 3] = 1
    labels[(group >= 3) & (group < 6)] = 0
    types = generator.choice(["print", "replay", "mask"], images)
    types[(group >= 3) & (group < 6)] = "print"
    scores = np.round(generator.normal(1.5 * labels + generator.normal(size=groups)[group], 1.0), 1)
    return scores, labels, types, np.array([f"person {number}" for number in group])


def written_out(scores, labels, types, groups, threshold, resamples, seed):
    """Every number of every resample, from the rows of the drawn groups one after the other."""
    names = list(dict.fromkeys(groups.tolist()))
    rows_of = {name: np.flatnonzero(groups == name) for name in names}
    composition = {
        name: frozenset((int(labels[row]), types[row] if labels[row] == 0 else "") for row in rows_of[name])
        for name in names
    }
    # Strata as the docstring says, numbered in any order.
    strata = {
        name: composition[name]
        if sum(other == composition[name] for other in composition.values()) > 1
        else frozenset(label for label, _ in composition[name])
        for name in names
    }
    found = strata_of_groups(
        np.array(
            [
                0 if label else 1 + sorted(set(types[labels == 0])).index(kind)
                for label, kind in zip(labels, types, strict=True)
            ]
        ),
        np.array([names.index(name) for name in groups]),
        len(names),
    )
    for one in range(len(names)):
        for other in range(len(names)):
            assert (found[one] == found[other]) == (strata[names[one]] == strata[names[other]])
    results = []
    for counts in np.concatenate(list(drawn_counts(found, resamples, seed, 7))):
        drawn = np.concatenate([np.tile(rows_of[name], count) for name, count in zip(names, counts, strict=True)])
        s, y, t = scores[drawn], labels[drawn], types[drawn]
        results.append(
            {
                "apcer": metrics.apcer(s, y, t, threshold),
                "apcer_pooled": metrics.apcer_pooled(s, y, threshold),
                "bpcer": metrics.bpcer(s, y, threshold),
                "acer": metrics.acer(s, y, t, threshold),
                "acer_pooled": metrics.acer_pooled(s, y, threshold),
                "eer": metrics.eer(s, y),
                "auc": metrics.auc(s, y),
            }
        )
    return results


@pytest.mark.parametrize("seed", range(4))
def test_the_intervals_are_those_of_resamples_written_out(seed):
    scores, labels, types, groups = clustered_set(seed)
    if seed == 3:  # two compositions that one group alone has
        types[(groups == "person 7") & (labels == 0)] = "cut"
        types[(groups == "person 8") & (labels == 0)] = "mask"
    results = written_out(scores, labels, types, groups, 0.6, 60, seed)
    intervals = bootstrap_intervals(scores, labels, types, groups, 0.6, resamples=60, confidence=0.9, seed=seed)
    assert list(intervals) == list(results[0])
    for name, interval in intervals.items():
        expected = np.quantile([result[name] for result in results], [0.05, 0.95])
        assert interval == pytest.approx(tuple(expected), abs=1e-12), name
        assert interval[0] < interval[1]


def test_how_many_resamples_are_computed_at_once_does_not_matter():
    scores, labels, types, groups = clustered_set(5)
    expected = bootstrap_intervals(scores, labels, types, groups, resamples=50)
    for numbers in (1, 1000):
        with mock.patch.object(bootstrap, "_NUMBERS_AT_ONCE", numbers):
            assert bootstrap_intervals(scores, labels, types, groups, resamples=50) == expected


def test_draws_keep_to_the_strata_and_follow_the_seed():
    strata = np.array([2, 0, 1, 0, 2, 2, 0])
    counts = np.concatenate(list(drawn_counts(strata, 4000, 0, 500)))
    assert counts.shape == (4000, 7)
    for stratum, size in enumerate([3, 1, 3]):
        assert (counts[:, strata == stratum].sum(axis=1) == size).all()
    # Each of three is drawn three times in three, on average, with the variance of a multinomial.
    assert counts[:, strata == 0].mean(axis=0) == pytest.approx(np.ones(3), abs=0.05)
    assert counts[:, strata == 0].var(axis=0) == pytest.approx(np.full(3, 2 / 3), abs=0.05)
    assert np.array_equal(counts, np.concatenate(list(drawn_counts(strata, 4000, 0, 1))))
    assert not np.array_equal(counts, np.concatenate(list(drawn_counts(strata, 4000, 1, 500))))


def simulated_people(generator, people=50, frames=10):
    """People whose captures are alike: half of the variance of a score is the person's."""
    person = np.repeat(np.arange(people), 2 * frames)
    labels = np.tile(np.repeat([0, 1], frames), people)
    of_person = generator.normal(size=(people, 2)).ravel()
    scores = 2.0 * labels - 1.0 + np.repeat(of_person, frames) + generator.normal(size=person.size)
    return scores, labels, person


def test_over_people_it_covers_the_truth_and_over_frames_it_does_not():
    # A score is normal with mean -1 or 1 and variance 2, so everything is known exactly.
    truth = {
        "acer_pooled": 0.5 * math.erfc(0.5),
        "eer": 0.5 * math.erfc(0.5),
        "auc": 1 - 0.5 * math.erfc(1 / math.sqrt(2)),
    }
    generator = np.random.default_rng(0)
    covered = {(kind, name): 0 for kind in ("people", "frames") for name in truth}
    trials = 150
    for trial in range(trials):
        scores, labels, person = simulated_people(generator)
        for kind, groups in (("people", person), ("frames", None)):
            intervals = bootstrap_intervals(scores, labels, groups=groups, resamples=200, seed=trial)
            for name, value in truth.items():
                low, high = intervals[name]
                covered[kind, name] += low <= value <= high
    for name in truth:
        # 95 percent of 150 is 142.5 with a standard deviation of 2.7; the frames' interval is 2.3 times too narrow.
        assert covered["people", name] >= 0.89 * trials
        assert covered["frames", name] <= 0.75 * trials


def test_without_groups_every_image_is_its_own_as_are_images_whose_group_is_missing():
    scores, labels, types, _ = clustered_set(6)
    expected = bootstrap_intervals(scores, labels, types, resamples=50)
    for groups in ([None] * 300, list(range(300)), [float("nan")] * 300, [str(n) for n in range(300)]):
        assert bootstrap_intervals(scores, labels, types, groups, resamples=50) == expected


def test_numbers_of_one_threshold_are_about_that_threshold():
    scores, labels, types, groups = clustered_set(7)
    by_log_odds = bootstrap_intervals(scores, labels, types, groups, threshold_log_odds=math.log(4), resamples=50)
    assert by_log_odds == bootstrap_intervals(scores, labels, types, groups, 0.8, resamples=50)
    assert by_log_odds != bootstrap_intervals(scores, labels, types, groups, 0.5, resamples=50)


def test_more_confidence_is_a_wider_interval_and_the_number_is_inside():
    scores, labels, types, groups = clustered_set(8)
    narrow = bootstrap_intervals(scores, labels, types, groups, confidence=0.5)
    wide = bootstrap_intervals(scores, labels, types, groups, confidence=0.99)
    for name in ("acer_pooled", "eer", "auc"):
        function = getattr(metrics, name)
        assert wide[name][0] < narrow[name][0] < function(scores, labels) < narrow[name][1] < wide[name][1]


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([1, 1, 1, 1], None, "no attacks .* in a set of 4 images: the bootstrap intervals are NaN"),
        ([0, 0, 0, 0], None, "no bona fides"),
        ([1, 0, 0, 0], None, r"the bona fides are of 1 group\(s\), too few"),
        ([1, 1, 0, 0], ["a", "b", "c", "c"], r"the attacks are of 1 group\(s\), too few"),
        ([1, 0, 1, 0], ["a"] * 4, r"the bona fides are of 1 group\(s\), too few"),
    ],
)
def test_a_class_of_one_group_or_none_tells_nothing_about_others(labels, groups, message):
    with pytest.warns(UndefinedRateWarning, match=message) as seen:
        intervals = bootstrap_intervals([0.0, 1.0, 2.0, 3.0], labels, groups=groups)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert all(math.isnan(bound) for interval in intervals.values() for bound in interval)


def test_infinite_and_equal_scores_have_an_order_like_any_others():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        intervals = bootstrap_intervals([np.inf, np.inf, -np.inf, -np.inf], [1, 1, 0, 0])
        assert intervals["auc"] == (1.0, 1.0) and intervals["eer"] == (0.0, 0.0)
        intervals = bootstrap_intervals([5.0] * 4, [1, 1, 0, 0])
        assert intervals["auc"] == (0.5, 0.5) and intervals["eer"] == (0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resamples": 0}, "resamples must be a whole number of at least 1, got 0"),
        ({"resamples": 10.5}, "resamples must be a whole number"),
        ({"confidence": 95}, r"confidence must be a share in \(0, 1\), such as 0.95"),
        ({"groups": ["a"]}, r"groups have shape \(1,\), expected one per score: \(4,\)"),
        ({"groups": [["a"], ["b"], ["c"], None]}, "groups must be strings or numbers"),
        ({"threshold": 1.0}, "a threshold must be a probability"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals([0.0, 1.0, 2.0, 3.0], [1, 1, 0, 0], **arguments)
