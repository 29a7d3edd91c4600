"""The job behind `scripts/benchmark.py metrics`: all numbers of a set of many scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import InputError
from ..metrics import metric_intervals, presentation_attack_metrics
from .machine import Machine
from .memory import megabytes, peak_memory
from .one_table import OneTable
from .timing import Timing, interleaved

SCORES, REPEATS = 10_000_000, 3
NUMBERS, INTERVALS = "all numbers", "their confidence intervals"
HEADER = ("what", "median s", "million scores/s", "memory, MB")
ATTACK_TYPES = np.array(["bonafide", "mask", "print", "replay"])
# Frames of a clip, which the intervals draw together.
FRAMES = 10
# Interval ends need few resamples to be timed, and each takes the same time.
RESAMPLES = 10


@dataclass(frozen=True)
class MetricsBenchmark(OneTable):
    """
    A measurement of the metrics.

    Attributes:
        scores: how many.
        machine: what it ran on.
        timings: by what is computed.
        memory: the most that it takes beyond the scores themselves, in bytes; `None` where the system doesn't tell.
    """

    header = HEADER

    scores: int
    machine: Machine
    timings: dict[str, Timing]
    memory: dict[str, int | None]

    def as_json(self) -> dict:
        return {
            "benchmark": "metrics",
            "machine": self.machine.as_json(),
            "scores": self.scores,
            "computed": {
                what: {
                    "median_seconds": timing.median,
                    "scores_per_second": self.scores / timing.median,
                    "memory_bytes": self.memory[what],
                    "seconds": [float(seconds) for seconds in timing.seconds],
                }
                for what, timing in self.timings.items()
            },
        }

    def cells(self) -> list[list[str]]:
        """Of the table."""
        return [
            [what, f"{timing.median:.2f}", f"{self.scores / timing.median / 1e6:.2f}", megabytes(self.memory[what])]
            for what, timing in self.timings.items()
        ]

    def title(self) -> str:
        return (
            f"{self.scores:,} scores of 3 attack types in clips of {FRAMES} frames, intervals by {RESAMPLES} resamples"
        )


def measure_metrics(
    scores: int = SCORES, repeats: int = REPEATS, progress: Callable[[str], object] = lambda doing: None
) -> MetricsBenchmark:
    """
    Measures how long it takes to compute all numbers of the metrics contract, and their confidence intervals.

    Args:
        scores: how many.
        repeats: timed computations of each.
        progress: is told what is done next.

    Raises:
        InputError: a number is too low.
    """
    for name, value, least in (("scores", scores, 100), ("repeats", repeats, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; expected at least {least}")
    progress(f"drawing {scores:,} scores")
    random = np.random.default_rng(0)
    kinds = random.integers(0, len(ATTACK_TYPES), scores)
    labels = (kinds == 0).astype(np.int64)
    log_odds = random.normal(np.where(labels == 1, 3.0, -3.0), 2.0)
    attack_types, clips = ATTACK_TYPES[kinds], np.arange(scores) // FRAMES
    # As our own callers hold them.
    columns = log_odds, labels, attack_types.tolist()
    calls = {
        NUMBERS: partial(presentation_attack_metrics, *columns),
        INTERVALS: partial(metric_intervals, *columns, clips, resamples=RESAMPLES),
    }
    machine = Machine.here(1)
    progress(f"computing, {repeats} times in turn")
    timings = interleaved(calls, repeats, warm_up=0)
    memory = {what: peak_memory(call) for what, call in calls.items()}
    return MetricsBenchmark(scores, machine, timings, memory)
