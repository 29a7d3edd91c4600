"""Times are taken in turn, after a warm-up that isn't counted."""

import pytest

from patchnet_hf.benchmarks.timing import interleaved


def test_calls_take_turns_after_their_warm_up():
    order = []
    timings = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warm_up=2)
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_percentiles_lie_in_order():
    timing = interleaved({"a": lambda: sum(range(1000))}, repeats=50)["a"]
    assert 0 < timing.percentile(0) <= timing.median <= timing.percentile(95) <= timing.percentile(100)


@pytest.mark.parametrize(("repeats", "warm_up"), [(0, 1), (1, -1)])
def test_nothing_to_time_is_an_error(repeats, warm_up):
    with pytest.raises(ValueError, match="repeats is"):
        interleaved({"a": int}, repeats, warm_up)
