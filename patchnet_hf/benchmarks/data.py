"""The job behind `scripts/benchmark.py data`: images a second from JPEG files to batches."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import datasets
import torch

from ..cards.markdown import table as markdown_table
from ..data.augmentation import Augmentation
from ..data.schema import LABELS
from ..data.views import TrainingViews
from ..errors import InputError
from ..models import PatchNetImageProcessor
from ..text_table import counted, text_table
from .captures import jpeg_captures
from .machine import Machine, torch_threads, usable_cores
from .memory import megabytes, peak_memory
from .reference_loader import ReferenceViews
from .timing import Timing, interleaved

REFERENCE = "the reference's way"
PATCHES, RESIZE = "recipe patches", "recipe resize"
PATCH_SIZE, RESIZED_PATCH_SIZE = 160, 224
SIZES = ((640, 480), (1920, 1080))
BATCH_SIZE, IMAGES, REPEATS = 16, 64, 9
HEADER = ("way", "images/s of a core", "times as fast", "memory, MB")


@dataclass(frozen=True)
class DataSettings:
    """
    What is measured.

    Attributes:
        sizes: `(width, height)` of the pictures in pixels.
        images: pictures of each size.
        workers: numbers of data workers; 0 is the process itself.
        repeats: timed passes over all pictures, of each way.
        augmentation: JSON file of transforms, which the reference's way applies as well.
    """

    sizes: tuple[tuple[int, int], ...] = SIZES
    images: int = IMAGES
    workers: tuple[int, ...] = (0, 1, 2)
    repeats: int = REPEATS
    augmentation: str = "configs/augmentation/medium2.json"

    def __post_init__(self):
        for name, values in (("images", (self.images,)), ("repeats", (self.repeats,)), ("size", sum(self.sizes, ()))):
            if min(values) < 1:
                raise InputError(f"{name} is {min(values)}; expected at least 1")
        if min(self.workers) < 0:
            raise InputError(f"workers is {min(self.workers)}; expected at least 0")
        if 0 not in self.workers:
            raise InputError("workers lack 0, the process itself, which the others are compared with")


@dataclass(frozen=True)
class SizeResult:
    """
    What was measured of pictures of one size.

    Attributes:
        width, height: in pixels.
        kilobytes: mean size of a file.
        timings: by number of workers and way, of passes over all pictures.
        memory: the most bytes that a pass of the process itself takes, by way; `None` where the system doesn't tell.
    """

    width: int
    height: int
    kilobytes: float
    timings: dict[int, dict[str, Timing]]
    memory: dict[str, int | None]


@dataclass(frozen=True)
class DataBenchmark:
    """A measurement of the data path."""

    settings: DataSettings
    machine: Machine
    results: tuple[SizeResult, ...]

    def images_per_second(self, result: SizeResult, workers: int, way: str) -> float:
        return self.settings.images / result.timings[workers][way].median

    def times_as_fast(self, result: SizeResult, way: str) -> float:
        """As the reference's way, in the process itself."""
        in_process = result.timings[0]
        return in_process[REFERENCE].median / in_process[way].median

    def as_json(self) -> dict:
        return {
            "benchmark": "data",
            "machine": self.machine.as_json(),
            "settings": asdict(self.settings),
            "sizes": [
                {
                    "width": result.width,
                    "height": result.height,
                    "kilobytes": result.kilobytes,
                    "workers": {
                        str(workers): {
                            way: {
                                "images_per_second": self.images_per_second(result, workers, way),
                                "seconds": [float(seconds) for seconds in timing.seconds],
                            }
                            for way, timing in of_workers.items()
                        }
                        for workers, of_workers in result.timings.items()
                    },
                    "times_as_fast": {way: self.times_as_fast(result, way) for way in result.timings[0]},
                    "memory_bytes": result.memory,
                }
                for result in self.results
            ],
        }

    def _parts(self, table: Callable[..., str]) -> Iterator[str]:
        yield self.machine.text()
        passes = counted(self.settings.repeats, "pass", "passes")
        for result in self.results:
            name = f"{result.width} x {result.height} pixels, {result.kilobytes:.0f} kB"
            rows = [
                [
                    way,
                    f"{self.images_per_second(result, 0, way):.0f}",
                    f"{self.times_as_fast(result, way):.2f}",
                    megabytes(result.memory[way]),
                ]
                for way in result.timings[0]
            ]
            yield f"{counted(self.settings.images, 'JPEG file')} of {name}, {passes} of each in turn:"
            yield table(HEADER, rows)
            others = [workers for workers in result.timings if workers]
            if others:
                header = ("images/s with", *(counted(workers, "worker") for workers in others))
                rows = [
                    [way, *(f"{self.images_per_second(result, workers, way):.0f}" for workers in others)]
                    for way in result.timings[0]
                ]
                yield table(header, rows)

    def text(self) -> str:
        """Tables for people."""
        return "\n\n".join(self._parts(text_table))

    def markdown(self) -> str:
        """Tables for a document."""
        return "\n\n".join(self._parts(markdown_table))


def measure_data(
    settings: DataSettings | None = None, progress: Callable[[str], object] = lambda doing: None
) -> DataBenchmark:
    """
    Measures how many images a second become batches of two views each: read, decoded, augmented, collated and
    normalised. The ways are the recipe `patches` on patches of 160, the recipe `resize` with views of 224, the same
    with an augmentation, and the reference's way, all from the same files (the first three from an Arrow dataset of
    them) and called in turn. In each process one thread computes.

    Raises:
        InputError: a number can't be used, or the augmentation.
    """
    settings = DataSettings() if settings is None else settings
    machine = Machine.here(1)
    results = []
    with tempfile.TemporaryDirectory() as folder, torch_threads(1), _opencv_threads(0):
        for width, height in settings.sizes:
            progress(f"making pictures of {width} x {height}")
            paths, captures = jpeg_captures(Path(folder, f"{width}x{height}"), width, height, settings.images)
            views = _views(paths, captures, settings.augmentation)
            timings = {}
            for workers in settings.workers:
                progress(f"{width} x {height}, {counted(workers, 'worker')}")
                loaders = {way: _loader(way_views, workers) for way, (way_views, _) in views.items()}
                calls = {way: _pass_over(loader, views[way][1]) for way, loader in loaders.items()}
                timings[workers] = interleaved(calls, settings.repeats, warm_up=1)
                if not workers:
                    memory = {way: peak_memory(call) for way, call in calls.items()}
                del calls, loaders
            size = sum(path.stat().st_size for path in paths) / len(paths) / 1000
            results.append(SizeResult(width, height, size, timings, memory))
    return DataBenchmark(settings, machine, tuple(results))


def _views(paths: Sequence[Path], captures: datasets.Dataset, augmentation: str) -> dict[str, tuple]:
    """Datasets of views by way, each with the processor that normalises its batches; `None`: they are already."""
    patches = PatchNetImageProcessor(patch_size=PATCH_SIZE)
    resize = PatchNetImageProcessor(mode="resize", patch_size=RESIZED_PATCH_SIZE)
    transforms = Augmentation.read(augmentation, RESIZED_PATCH_SIZE)
    augmented = f"{RESIZE}, {Path(augmentation).name}"
    return {
        REFERENCE: (ReferenceViews(paths, transforms.steps, RESIZED_PATCH_SIZE), None),
        PATCHES: (TrainingViews(captures, patches, LABELS), patches),
        RESIZE: (TrainingViews(captures, resize, LABELS), resize),
        augmented: (TrainingViews(captures, resize, LABELS, augmentation=transforms), resize),
    }


def _loader(views: torch.utils.data.Dataset, workers: int) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(views, BATCH_SIZE, num_workers=workers, persistent_workers=workers > 0)


def _pass_over(loader: torch.utils.data.DataLoader, processor: PatchNetImageProcessor | None) -> Callable[[], None]:
    def run() -> None:
        for batch in loader:
            if processor is not None:
                processor.normalize_views(batch["pixel_values"])

    return run


@contextmanager
def _opencv_threads(threads: int) -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def default_workers() -> tuple[int, ...]:
    """No worker, and 1, 2, 4 ... of them up to the cores that may be used."""
    numbers, workers = [0], 1
    while workers <= usable_cores():
        numbers.append(workers)
        workers *= 2
    return tuple(numbers)
