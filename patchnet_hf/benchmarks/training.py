"""The job behind `scripts/benchmark.py train`: steps of the same training by different ways, in turn."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import datasets
import torch
from transformers.utils import logging as transformers_logging

from ..text_table import counted
from ..training.compilation import check_compiler
from .captures import jpeg_captures
from .machine import Machine, torch_threads
from .memory import megabytes
from .one_table import OneTable
from .own_process import OwnProcess
from .subject import Subject
from .timing import Timing, in_turn
from .training_settings import BARE, FILES, REFERENCE, WAYS, TrainingSettings
from .training_ways import BATCHES, TrainingWays

HEADER = ("way", "ms a step", "captures/s", "times as fast", "of the bare loop", "memory, MB")


@dataclass(frozen=True)
class TrainingBenchmark(OneTable):
    """
    A measurement of training.

    Attributes:
        settings: what was compared.
        precision: that all but the reference's way and the bare loop in float32 computed in.
        subject: the network, in one line.
        machine: what it ran on.
        timings: of a step, by way.
        memory: the most that a way takes in bytes, by way; `None` where the system doesn't tell.
    """

    header = HEADER

    settings: TrainingSettings
    precision: str
    subject: str
    machine: Machine
    timings: dict[str, Timing]
    memory: dict[str, int | None]

    def times_as_fast(self, way: str) -> float:
        """As the reference's way: the quotient of the medians."""
        return self.timings[REFERENCE].median / self.timings[way].median

    def share_of_bare_loop(self, way: str) -> float:
        """Of the bare loop's speed: the quotient of the medians."""
        return self.timings[BARE].median / self.timings[way].median

    def captures_per_second(self, way: str) -> float:
        return self.settings.batch_size / self.timings[way].median

    def as_json(self) -> dict:
        return {
            "benchmark": "train",
            "machine": self.machine.as_json(),
            "model": self.subject,
            "settings": asdict(self.settings) | {"precision": self.precision},
            "ways": {
                way: {
                    "median_ms": 1000 * timing.median,
                    "captures_per_second": self.captures_per_second(way),
                    "times_as_fast": self.times_as_fast(way),
                    "share_of_bare_loop": self.share_of_bare_loop(way),
                    "memory_bytes": self.memory[way],
                    "ms": [1000 * float(seconds) for seconds in timing.seconds],
                }
                for way, timing in self.timings.items()
            },
        }

    def cells(self) -> list[list[str]]:
        """Of the table."""
        return [
            [
                self._name(way),
                f"{1000 * timing.median:.1f}",
                f"{self.captures_per_second(way):.1f}",
                f"{self.times_as_fast(way):.2f}",
                f"{self.share_of_bare_loop(way):.2f}",
                megabytes(self.memory[way]),
            ]
            for way, timing in self.timings.items()
        ]

    def title(self) -> str:
        settings = self.settings
        turns = f"{counted(settings.repeats, 'turn')} of {counted(settings.timed_steps, 'step')} each"
        width, height = settings.size
        compiled = ", compiled" if settings.compile else ""
        return (
            f"{counted(settings.batch_size, 'capture')} of 2 views in a step, {self.precision}{compiled}, {turns}; "
            f"JPEG captures of {width} x {height} pixels. Each way in a process of its own; memory: what that takes "
            "beyond what it held, without workers"
        )

    def text(self) -> str:
        """A table for people."""
        return f"{self.subject}\n{super().text()}"

    def markdown(self) -> str:
        """A table for a document."""
        return f"{self.subject}.\n{super().markdown()}"

    def _name(self, way: str) -> str:
        if way == FILES:
            return f"{WAYS[way]}, {counted(self.settings.workers, 'worker')}"
        return WAYS[way]


def measure_training(
    settings: TrainingSettings | None = None, progress: Callable[[str], object] = lambda doing: None
) -> TrainingBenchmark:
    """
    Measures how long a step of training takes: by the way of the reference, by the bare loop that is the limit of the
    machine, and by the Trainer, from views in memory and from JPEG captures.

    Args:
        settings: what is compared.
        progress: is told what is done next.

    Raises:
        InputError: the backbone is unknown, refuses its arguments or doesn't take patches of this size; or the device
            can't compute in the precision; or there is no compiler.
    """
    settings = TrainingSettings() if settings is None else settings
    subject = Subject.random(settings.backbone, settings.backbone_kwargs or None, settings.patch_size)
    subject.check_patches()
    machine = Machine.here(settings.used_threads, settings.device)
    with torch_threads(settings.used_threads), _quiet(), tempfile.TemporaryDirectory() as folder:
        if settings.compile:
            check_compiler(settings.device)
        progress("making captures")
        count = BATCHES * settings.batch_size
        _, captures = jpeg_captures(Path(folder, "captures"), *settings.size, count)
        precision = TrainingWays(subject.model, captures, settings, Path(folder, "run")).arguments().precision_name
        progress("starting a process for each way")
        with ExitStack() as ended:
            processes = {
                way: ended.enter_context(closing(OwnProcess(_make_ways, captures, settings, Path(folder, way))))
                for way in WAYS
            }
            calls = {way: partial(process.call, way) for way, process in processes.items()}
            timings = in_turn(calls, settings.repeats, progress=progress)
            memory = {}
            for way, process in processes.items():
                progress(f"memory: {way}")
                memory[way] = process.call("memory", way)
    return TrainingBenchmark(settings, precision, subject.text(), machine, timings, memory)


def _make_ways(captures: datasets.Dataset, settings: TrainingSettings, folder: Path) -> TrainingWays:
    """In the process of a way: it ends with the measurement, and nothing has to be put back."""
    torch.set_num_threads(settings.used_threads)
    transformers_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    subject = Subject.random(settings.backbone, settings.backbone_kwargs or None, settings.patch_size)
    return TrainingWays(subject.model, captures, settings, folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without bars and hints, and with the environment as it was: the Trainer leaves its precision there."""
    environment, verbosity = dict(os.environ), transformers_logging.get_verbosity()
    bars = datasets.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
