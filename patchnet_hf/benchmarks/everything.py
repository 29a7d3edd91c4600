"""The job behind `scripts/benchmark.py all`: all measurements with their defaults, one after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .central_difference import measure_central_difference
from .data import DataSettings, default_workers, measure_data
from .inference import measure_inference
from .metrics import measure_metrics
from .startup import measure_startup
from .subject import Subject
from .training import measure_training

BACKBONE = "resnet18"


class Measurement(Protocol):
    """What each of them gives."""

    def as_json(self) -> dict: ...

    def text(self) -> str: ...

    def markdown(self) -> str: ...


@dataclass(frozen=True)
class AllBenchmarks:
    """Measurements by the name of their command."""

    measurements: Mapping[str, Measurement]

    def as_json(self) -> dict:
        return {"benchmark": "all", **{name: one.as_json() for name, one in self.measurements.items()}}

    def text(self) -> str:
        """All tables for people."""
        return "\n\n\n".join(f"{name}: {one.text()}" for name, one in self.measurements.items())

    def markdown(self) -> str:
        """All tables for a document."""
        return "\n\n".join(f"### {name}\n\n{one.markdown()}" for name, one in self.measurements.items())


def measure_all(model: str | None = None, progress: Callable[[str], object] = lambda doing: None) -> AllBenchmarks:
    """
    Measures everything.

    Args:
        model: whose answers are timed, a folder or an id of the Hub; `None`: ResNet-18 with random weights.
        progress: is told what is done next.

    Raises:
        InputError: the model can't be loaded.
    """
    subject = Subject.random(BACKBONE) if model is None else Subject.load(model)
    jobs = {
        "startup": lambda progress: measure_startup(progress=progress),
        "metrics": lambda progress: measure_metrics(progress=progress),
        "central-difference": lambda progress: measure_central_difference(),
        "infer": lambda progress: measure_inference(subject, progress=progress),
        "data": lambda progress: measure_data(DataSettings(workers=default_workers()), progress),
        "train": lambda progress: measure_training(progress=progress),
    }
    return AllBenchmarks(
        {name: job(lambda doing, name=name: progress(f"{name}: {doing}")) for name, job in jobs.items()}
    )
