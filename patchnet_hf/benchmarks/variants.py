"""Ways to run a model on a batch, all with the same answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from ..errors import InputError
from ..export.exporter import export_graph
from ..export.options import GraphOptions
from ..export.quantization import quantize_graph
from ..export.reference import check_packages
from ..inference.onnx_scorer import OnnxScorer
from .subject import Subject

# By which live log-odds may differ from those of PyTorch in float32, as a share of the scale of the head: the
# cosines, on which everything rests, differ by half as much. Rounding alone comes to 1e-7 of the scale in float32,
# to 0.002 in bfloat16, and in int8 to 0.002 to 0.03, by the backbone.
EXACT, BFLOAT16, INT8 = 5e-4, 0.02, 0.1


class Unavailable(Exception):
    """A variant can't run here; the message says why."""


@dataclass(frozen=True, eq=False)
class Batch:
    """
    B captures, as each variant takes them.

    Attributes:
        pictures: B pictures.
        pixel_values: `(B, V, 3, P, P)` float32, their normalised patches.
        array: the same as an array in memory order.
    """

    pictures: list[Image.Image]
    pixel_values: Tensor
    array: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], subject: Subject) -> "Batch":
        """Of `(H, W, 3)` uint8 pictures."""
        views = np.stack([subject.processor.views(picture) for picture in pictures])
        pixel_values = subject.processor.normalize_views(views)
        images = [Image.fromarray(picture) for picture in pictures]
        return cls(images, pixel_values, np.ascontiguousarray(pixel_values.numpy()))


@dataclass(frozen=True, eq=False)
class Variant:
    """
    A way to run a model.

    Attributes:
        run: takes a batch and gives what this way gives; this is what is timed.
        log_odds: makes live log-odds `(B,)` of that.
        tolerance: by which they may differ from PyTorch's in float32, as a share of the scale of the head.
    """

    run: Callable[[Batch], object]
    log_odds: Callable[[object], np.ndarray]
    tolerance: float = EXACT


class Workshop:
    """
    Makes variants of a model.

    Args:
        subject: the model.
        threads: of ONNX Runtime; those of PyTorch belong to the process.
        folder: for graphs.
        calibration: pictures `(H, W, 3)` uint8 to calibrate int8 on.
    """

    def __init__(self, subject: Subject, threads: int, folder: Path, calibration: Sequence[np.ndarray]):
        self.subject = subject
        self.threads = threads
        self.folder = folder
        self.calibration = calibration

    def eager(self) -> Variant:
        return Variant(_in_torch(self._logits), _of_logits)

    def bf16(self) -> Variant:
        def logits(pixel_values: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self._logits(pixel_values)

        return Variant(_in_torch(logits), _of_logits, BFLOAT16)

    def compile(self) -> Variant:
        """What is compiled, when it first runs, is for the shape of that batch alone."""
        torch.compiler.reset()
        compiled = torch.compile(self._logits, dynamic=False)

        def logits(pixel_values: Tensor) -> Tensor:
            try:
                return compiled(pixel_values)
            except TorchDynamoException as error:
                raise Unavailable(f"it can't be compiled: {first_line(error)}") from error

        return Variant(_in_torch(logits), _of_logits)

    def onnx(self) -> Variant:
        return self._of_graph(self._graph.path)

    def int8(self) -> Variant:
        path = self.folder / "int8.onnx"
        if not path.exists():
            feeds = (feed for views in self._calibration_views() for feed in self._graph.feeds([views], whole=True))
            try:
                quantize_graph(self._graph.path, path, self._graph.metadata, feeds)
            except ValueError as error:
                raise Unavailable(f"it can't be quantised: {first_line(error)}") from error
        return self._of_graph(path, INT8)

    def pipeline(self) -> Variant:
        """Takes pictures, not patches: the image processor and what transformers does around it are in its time."""
        before = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        try:
            classify = pipeline(
                "image-classification",
                model=self.subject.model,
                image_processor=self.subject.processor,
                device="cpu",
            )
        finally:
            transformers_logging.set_verbosity(before)

        def run(batch: Batch) -> list[list[dict]]:
            if len(batch.pictures) == 1:
                return [classify(batch.pictures[0])]
            return classify(batch.pictures, batch_size=len(batch.pictures))

        return Variant(run, _of_labels)

    def _logits(self, pixel_values: Tensor) -> Tensor:
        return self.subject.model(pixel_values, return_dict=True).logits

    def _calibration_views(self) -> Iterator[np.ndarray]:
        return (self.subject.processor.views(picture) for picture in self.calibration)

    @cached_property
    def _graph(self) -> OnnxScorer:
        path = self.folder / "float32.onnx"
        try:
            check_packages()
            export_graph(self.subject.model, self.subject.processor, path, GraphOptions())
        except InputError as error:
            raise Unavailable(str(error)) from error
        except RuntimeError as error:
            raise Unavailable(f"torch can't export it: {first_line(error)}") from error
        return OnnxScorer(path.name, path, threads=self.threads)

    def _of_graph(self, path: Path, tolerance: float = EXACT) -> Variant:
        session = OnnxScorer(path.name, path, threads=self.threads).session
        return Variant(lambda batch: session.run(["logits"], {"pixel_values": batch.array})[0], _of_logits, tolerance)


MAKERS: Mapping[str, Callable[[Workshop], Variant]] = {
    "eager": Workshop.eager,
    "bf16": Workshop.bf16,
    "compile": Workshop.compile,
    "onnx": Workshop.onnx,
    "int8": Workshop.int8,
    "pipeline": Workshop.pipeline,
}


def first_line(error: Exception) -> str:
    """Of an error's message, or its type where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _in_torch(logits: Callable[[Tensor], Tensor]) -> Callable[[Batch], Tensor]:
    @torch.inference_mode()
    def run(batch: Batch) -> Tensor:
        return logits(batch.pixel_values)

    return run


def _of_logits(logits: Tensor | np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    return logits[:, 1] - logits[:, 0]


def _of_labels(answers: list[list[dict]]) -> np.ndarray:
    scores = [{answer["label"]: answer["score"] for answer in of_capture} for of_capture in answers]
    return np.array([np.log(of_capture["live"]) - np.log(of_capture["spoof"]) for of_capture in scores])
