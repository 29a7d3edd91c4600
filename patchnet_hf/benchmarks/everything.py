"""The job behind `scripts/benchmark.py all`: all measurements with their defaults, one after the other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from .central_difference import measure_central_difference
from .data import DataSettings, default_workers, measure_data
from .inference import measure_inference
from .inference_settings import InferenceSettings
from .metrics import measure_metrics
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


def measure_all(
    scripts: Path, model: str | None = None, progress: Callable[[str], object] = lambda doing: None
) -> Iterator[tuple[str, Measurement]]:
    """
    Measures everything.

    Args:
        scripts: the folder of the scripts.
        model: whose answers are timed, a folder or an id of the Hub; `None`: ResNet-18 with random weights.
        progress: is told what is done next.

    Yields:
        The name of a command and its measurement, as soon as it is there.

    Raises:
        InputError: the model can't be loaded.
    """
    subject = Subject.random(BACKBONE) if model is None else Subject.load(model)
    patches = PATCHES if subject.processor.mode == "patches" else None
    jobs = {
        "startup": lambda told: measure_startup(scripts, progress=told),
        "metrics": lambda told: measure_metrics(progress=told),
        "central-difference": lambda told: measure_central_difference(),
        "infer": lambda told: measure_inference(subject, InferenceSettings(CAPTURES, patches), told),
        "data": lambda told: measure_data(DataSettings(workers=default_workers()), told),
        "train": lambda told: measure_training(progress=told),
    }
    for name, job in jobs.items():
        yield name, job(lambda doing, name=name: progress(f"{name}: {doing}"))
