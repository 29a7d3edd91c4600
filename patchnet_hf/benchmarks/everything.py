"""The job behind `scripts/benchmark.py all`: all measurements with their defaults, one after the other."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from .central_difference import measure_central_difference
from .data import DataSettings, default_workers, measure_data
from .inference import measure_inference
from .inference_settings import InferenceSettings
from .metrics import measure_metrics
from .own_process import OwnProcess
from .startup import measure_startup
from .subject import Subject
from .training import measure_training

BACKBONE = "resnet18"
CAPTURES, PATCHES = (1, 8), (1, 9)


class Measurement(Protocol):
    """What each of them gives."""

    def as_json(self) -> dict: ...

    def text(self) -> str: ...

    def markdown(self) -> str: ...


def quiet(doing: str) -> None:
    """Tells nobody what is done next."""


def measure_all(
    scripts: Path, model: str | None = None, progress: Callable[[str], object] = quiet
) -> Iterator[tuple[str, Measurement]]:
    """
    Measures everything, each part in a process of its own, as its command alone would.

    Args:
        scripts: the folder of the scripts.
        model: whose answers are timed, a folder or an id of the Hub; `None`: ResNet-18 with random weights.
        progress: is told what is done next; a function of a module.

    Yields:
        The name of a command and its measurement, as soon as it is there.

    Raises:
        InputError: the model can't be loaded.
    """
    if model is not None:
        # Whether it can be loaded is better known before a quarter of an hour has passed.
        Subject.load(model)
    for name in Measurements.NAMES:
        with closing(OwnProcess(Measurements, scripts, model, progress)) as process:
            yield name, process.call("measure", name)


class Measurements:
    """
    All measurements with their defaults, by the names of their commands.

    Args:
        scripts, model, progress: as [`measure_all`] has them.
    """

    NAMES = ("startup", "metrics", "central-difference", "infer", "data", "train")

    def __init__(self, scripts: Path, model: str | None, progress: Callable[[str], object]):
        self.scripts = scripts
        self.model = model
        self.progress = progress

    def measure(self, name: str) -> Measurement:
        def told(doing: str) -> None:
            self.progress(f"{name}: {doing}")

        return {
            "startup": lambda: measure_startup(self.scripts, progress=told),
            "metrics": lambda: measure_metrics(progress=told),
            "central-difference": measure_central_difference,
            "infer": lambda: self._inference(told),
            "data": lambda: measure_data(DataSettings(workers=default_workers()), told),
            "train": lambda: measure_training(progress=told),
        }[name]()

    def _inference(self, told: Callable[[str], object]) -> Measurement:
        subject = _subject(self.model)
        patches = PATCHES if subject.processor.mode == "patches" else None
        return measure_inference(subject, InferenceSettings(CAPTURES, patches), told)


def _subject(model: str | None) -> Subject:
    return Subject.random(BACKBONE) if model is None else Subject.load(model)
