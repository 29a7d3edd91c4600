"""The job behind `scripts/benchmark.py infer`: the same batches by every way to run a model, in turn."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..errors import InputError
from .inference_result import Comparison, InferenceBenchmark, Row
from .inference_settings import BASELINE, InferenceSettings
from .machine import Machine, torch_threads
from .pictures import noise_pictures
from .subject import Subject
from .timing import interleaved
from .variants import EXACT, MAKERS, Batch, Unavailable, Variant, Workshop

# Pictures that every variant's answers are checked on, and that int8 is calibrated on.
CHECKED, CALIBRATED = 8, 16
# Answers of reduced precision may be off by more than they differ by between pictures; they still rise and fall
# with the right ones. Answers that all lie this close together say nothing about that.
LEAST_CORRELATION, CONSTANT = 0.9, 1e-3
PROCESSOR = "image processor"

Progress = Callable[[str], None]


def measure_inference(
    subject: Subject,
    settings: InferenceSettings | None = None,
    makers: Mapping[str, Callable[[Workshop], Variant]] = MAKERS,
    progress: Progress = lambda doing: None,
) -> InferenceBenchmark:
    """
    Measures how fast a model answers, by each way to run it.

    A way is timed only once its answers have been found to be those of PyTorch in float32; what can't run here, or
    answers otherwise, is reported with the reason.

    Args:
        subject: the model.
        settings: what is compared.
        makers: make the variants, by name.
        progress: is told what is done next.

    Raises:
        InputError: the image processor makes no such number of patches, or the model can't take them.
    """
    settings = settings or InferenceSettings()
    grids = [math.isqrt(count) for count in settings.patches or (subject.patches,)]
    if subject.processor.mode != "patches" and grids != [1]:
        raise InputError("patches can't be chosen: the model's image processor resizes a face to a single one")
    threads = settings.used_threads
    machine = Machine.here(threads)
    comparisons = []
    with torch_threads(threads), TemporaryDirectory() as folder:
        for grid in grids:
            gridded = subject.gridded(grid)
            work = Path(folder) / str(grid)
            work.mkdir(exist_ok=True)
            workshop = Workshop(gridded, threads, work, noise_pictures(CALIBRATED, seed=1))
            for captures in settings.captures:
                bench = _Bench(workshop, captures, settings, makers, progress)
                comparisons.append(bench.comparison())
    return InferenceBenchmark(subject, settings, machine, tuple(comparisons))


class _Bench:
    """All variants on batches of one shape."""

    def __init__(
        self,
        workshop: Workshop,
        captures: int,
        settings: InferenceSettings,
        makers: Mapping[str, Callable[[Workshop], Variant]],
        progress: Progress,
    ):
        self.workshop = workshop
        self.settings = settings
        self.makers = makers
        self.progress = progress
        pictures = noise_pictures(captures * math.ceil(CHECKED / captures))
        self.batches = [
            Batch.of(pictures[start : start + captures], workshop.subject)
            for start in range(0, len(pictures), captures)
        ]

    def comparison(self) -> Comparison:
        found, variants = {}, {}
        batch, processor = self.batches[0], self.workshop.subject.processor
        expected = self._expected()
        for name in self.settings.compared:
            self.progress(f"checking {name}")
            try:
                variant = self.makers[name](self.workshop)
                with _quiet_compiler():
                    given = answers(variant, self.batches)
            except Unavailable as error:
                found[name] = Row(name, reason=str(error))
                continue
            difference = float(np.abs(given - expected).max())
            reason = mismatch(expected, given, variant.tolerance, self.workshop.subject.model.config.scale)
            found[name] = Row(name, difference=difference, reason=reason)
            if reason is None:
                variants[name] = variant
        calls = {name: lambda variant=variant: variant.run(batch) for name, variant in variants.items()}
        calls[PROCESSOR] = lambda: processor(batch.pictures, return_tensors="pt")
        self.progress(f"timing {len(calls)} calls, {self.settings.repeats} times in turn")
        timings = interleaved(calls, self.settings.repeats, self.settings.warm_up)
        rows = [Row(row.variant, timings.get(name), row.difference, row.reason) for name, row in found.items()]
        views = batch.pixel_values.shape[1]
        return Comparison(len(batch.pictures), views, tuple(rows), timings[PROCESSOR])

    def _expected(self) -> np.ndarray:
        try:
            return answers(MAKERS[BASELINE](self.workshop), self.batches)
        except (AssertionError, RuntimeError, ValueError) as error:
            size = self.workshop.subject.processor.patch_size
            backbone = self.workshop.subject.model.config.backbone
            raise InputError(f"{backbone} can't take patches of {size} x {size}: {error}") from error


def answers(variant: Variant, batches: Sequence[Batch]) -> np.ndarray:
    """Live log-odds `(N,)` of all captures of some batches, in float64.

    Raises:
        Unavailable: the variant can't run here.
    """
    return np.concatenate([variant.log_odds(variant.run(batch)) for batch in batches])


def mismatch(expected: np.ndarray, given: np.ndarray, tolerance: float, scale: float) -> str | None:
    """
    Why answers are not those of PyTorch in float32, or `None` where they are.

    Args:
        expected, given: live log-odds `(N,)` of the same captures.
        tolerance: by which they may differ, as a share of `scale`.
        scale: of the head.

    >>> mismatch(np.array([1.0, -1.0]), np.array([1.01, -1.0]), tolerance=5e-4, scale=30.0)
    >>> mismatch(np.array([1.0, -1.0]), np.array([-1.0, 1.0]), tolerance=5e-4, scale=30.0)
    "its answers are wrong: log-odds differ from PyTorch's by up to 2, where 0.015 is allowed"
    """
    difference = np.abs(given - expected).max()
    allowed = tolerance * scale
    if not difference <= allowed:
        return (
            f"its answers are wrong: log-odds differ from PyTorch's by up to {difference:.2g}, where {allowed:.2g} is "
            "allowed"
        )
    if tolerance > EXACT and np.ptp(expected) > CONSTANT:
        correlation = np.corrcoef(expected, given)[0, 1] if np.ptp(given) > 0 else 0.0
        if correlation < LEAST_CORRELATION:
            return (
                f"its answers are wrong: their correlation with PyTorch's is {correlation:.2f}, where "
                f"{LEAST_CORRELATION} is expected"
            )
    return None


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Without the compiler's word that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
