"""Times of things to compare, measured in turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """
    Times of one thing.

    Attributes:
        seconds: float64 `(N,)`, of each call, in order.
    """

    seconds: np.ndarray

    @property
    def median(self) -> float:
        """In seconds."""
        return float(np.median(self.seconds))

    def percentile(self, percent: float) -> float:
        """In seconds; 95 for the time that 95 % of the calls keep below."""
        return float(np.percentile(self.seconds, percent))


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int = 20, warm_up: int = 3) -> dict[str, Timing]:
    """
    Times several things in turn: one call of each, then again, so that what slows the machine for a while slows all.

    Args:
        calls: what to time, by name. A call whose work goes on behind its back, as on a GPU, waits for it itself.
        repeats: timed calls of each.
        warm_up: calls of each before, which aren't timed.

    Returns:
        Times by name.

    Raises:
        ValueError: `repeats` is below 1 or `warm_up` below 0.

    >>> timings = interleaved({"short": lambda: time.sleep(0.001), "long": lambda: time.sleep(0.03)}, repeats=3)
    >>> timings["long"].median > timings["short"].median
    True
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"repeats is {repeats}, warm_up {warm_up}; expected at least 1 and at least 0")
    seconds = {name: np.empty(repeats) for name in calls}
    for call in calls.values():
        for _ in range(warm_up):
            call()
    for turn in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name][turn] = time.perf_counter() - start
    return {name: Timing(times) for name, times in seconds.items()}
