"""Times of things to compare, measured in turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

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
    return in_turn({name: partial(_seconds, call) for name, call in calls.items()}, repeats, warm_up)


def in_turn(
    measures: Mapping[str, Callable[[], float]],
    repeats: int,
    warm_up: int = 0,
    progress: Callable[[str], object] = lambda doing: None,
) -> dict[str, Timing]:
    """
    As [`interleaved`], of things that take their own time, because not all of a call is to be counted.

    Args:
        measures: by name; each does its work once and returns the seconds that count.
        repeats, warm_up: as there.
        progress: is told what is measured next.

    Raises:
        ValueError: as there.

    >>> in_turn({"half": lambda: 0.5}, repeats=2)["half"].median
    0.5
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"repeats is {repeats}, warm_up {warm_up}; expected at least 1 and at least 0")
    seconds = {name: np.empty(repeats) for name in measures}
    for name, measure in measures.items():
        for _ in range(warm_up):
            progress(f"warming up: {name}")
            measure()
    for turn in range(repeats):
        for name, measure in measures.items():
            progress(f"{turn + 1} of {repeats}: {name}")
            seconds[name][turn] = measure()
    return {name: Timing(times) for name, times in seconds.items()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
