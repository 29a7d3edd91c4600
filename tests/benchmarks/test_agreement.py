"""What counts as the same answers."""

import numpy as np
import pytest

from patchnet_hf.benchmarks.agreement import mismatch

EXPECTED = np.array([1.0, -2.0, 0.5, 3.0])


def test_answers_may_differ_by_their_share_of_the_scale():
    assert mismatch(EXPECTED, EXPECTED + 0.009, tolerance=0.001, scale=10) is None
    assert "by up to 0.011, where 0.01 is allowed" in mismatch(EXPECTED, EXPECTED + 0.011, tolerance=0.001, scale=10)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_no_number_is_no_answer(broken):
    assert "aren't numbers" in mismatch(EXPECTED, np.array([1.0, -2.0, 0.5, broken]), tolerance=0.1, scale=1000)


@pytest.mark.parametrize("given", [np.zeros(4), EXPECTED[::-1]])
def test_wide_tolerances_dont_pass_answers_that_say_nothing(given):
    assert "correlation" in mismatch(EXPECTED, given, tolerance=0.1, scale=100)
    assert mismatch(EXPECTED, EXPECTED * 0.8 + 1, tolerance=0.1, scale=100) is None


def test_nothing_is_said_of_the_order_of_answers_that_are_all_alike():
    alike = np.full(4, 2.0)
    assert mismatch(alike, alike + np.array([0.01, -0.01, 0, 0.01]), tolerance=0.1, scale=10) is None
