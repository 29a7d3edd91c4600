"""Wilson's interval: against SciPy's, against its defining equation, and for coverage."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from patchnet_hf.metrics import wilson_interval


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("errors", "total"), [(0, 1), (1, 1), (0, 50), (1, 50), (25, 50), (50, 50), (3, 100000)])
def test_it_is_that_of_scipy(errors, total, confidence):
    expected = binomtest(errors, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(errors, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_both_ends_are_one_standard_error_times_the_quantile_away_from_the_rate():
    # What Wilson solved for: |p - bound| = z sqrt(bound (1 - bound) / n), the error at the bound and not at p.
    z = norm.ppf(0.975)
    for bound in wilson_interval(7, 40):
        assert abs(7 / 40 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 40))


def test_nothing_and_everything_wrong_end_exactly_at_zero_and_one():
    for total in range(1, 300):
        assert wilson_interval(0, total)[0] == 0.0
        assert wilson_interval(total, total)[1] == 1.0
        assert 0.0 < wilson_interval(0, total)[1] < 1.0


def test_arrays_are_intervals_item_by_item():
    errors, totals = np.array([[0, 3, 9], [1, 2, 0]]), np.array([10, 20, 0])
    errors[0, 2] = 0
    low, high = wilson_interval(errors, totals)
    assert low.shape == high.shape == (2, 3)
    for at in np.ndindex(2, 2):
        assert (low[at], high[at]) == wilson_interval(int(errors[at]), int(totals[at[1]]))
    assert np.isnan(low[:, 2]).all() and np.isnan(high[:, 2]).all()
    assert all(math.isnan(bound) for bound in wilson_interval(0, 0))


def test_it_covers_the_true_rate_as_often_as_it_says():
    # Exactly, from the binomial distribution; the coverage of a discrete rate swings around what is asked for.
    rates = np.linspace(0.05, 0.95, 91)
    counts = np.arange(101)
    low, high = wilson_interval(counts, 100)
    covered = [binom.pmf(counts, 100, rate)[(low <= rate) & (rate <= high)].sum() for rate in rates]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.005)
    assert min(covered) > 0.92


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 5), r"errors must be counts from 0 to total; got -1 of 5"),
        ((6, 5), r"got 6 of 5"),
        (([1, 6], 5), r"got 6 of 5 at index 1"),
        ((float("nan"), 5), r"got nan of 5"),
        ((1, float("inf")), r"got 1 of inf"),
        ((["many"], 5), r"must be counts"),
        (([1, 2], [3, 4, 5]), r"shapes that go together"),
        ((1, 5, 95), r"confidence must be a share in \(0, 1\), such as 0.95 for 95 percent; got 95"),
        ((1, 5, 1.0), r"confidence"),
        ((1, 5, None), r"confidence"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)
