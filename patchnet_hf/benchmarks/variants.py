"""Ways to run a model on a batch, all with the same answers."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from subprocess import SubprocessError

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from ..errors import InputError, first_line
from ..export.exporter import export_graph
from ..export.options import GraphOptions
from ..export.quantization import quantize_graph
from ..export.reference import check_packages
from ..inference.onnx_scorer import OnnxScorer
from .pictures import noise_pictures
from .subject import Subject

# By which live log-odds may differ from those of PyTorch in float32 on the processor, as a share of the scale of the
# head: the cosines, on which everything rests, differ by half as much. Rounding alone comes to 1e-7 of the scale in
# float32, to 0.002 in bfloat16, and in int8 to 0.002 to 0.03, by the backbone. On a GPU PyTorch's
# convolutions of float32 round to TF32, which is eight times as fine as bfloat16.
EXACT, TF32, BFLOAT16, INT8 = 5e-4, 5e-3, 0.02, 0.1
# Pictures that int8 is calibrated on. They change its answers, not its time.
CALIBRATED = 16
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Unavailable(Exception):
    """A variant can't run here; the message says why."""


@dataclass(frozen=True, eq=False)
class Batch:
    """
    B captures, as each variant takes them.

    Attributes:
        pictures: B pictures.
        pixel_values: `(B, V, 3, P, P)` float32, their normalised patches, on the device that computes, laid out in its
            memory as the image processor lays them out (the channels last).
        contiguous: the same, one plane after the other, as ONNX Runtime takes them.
    """

    pictures: list[Image.Image]
    pixel_values: Tensor

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], subject: Subject, device: str = "cpu") -> "Batch":
        """Of `(H, W, 3)` uint8 pictures."""
        views = np.stack([subject.processor.views(picture) for picture in pictures])
        pixel_values = subject.processor.normalize_views(views).to(device)
        return cls([Image.fromarray(picture) for picture in pictures], pixel_values)

    @cached_property
    def contiguous(self) -> Tensor:
        return self.pixel_values.contiguous()


@dataclass(frozen=True, eq=False)
class Variant:
    """
    A way to run a model.

    Attributes:
        run: takes a batch and gives what this way gives, once it is there; this is what is timed.
        log_odds: makes live log-odds `(B,)` of that.
        tolerance: by which they may differ from PyTorch's in float32, as a share of the scale of the head.
    """

    run: Callable[[Batch], object]
    log_odds: Callable[[object], np.ndarray]
    tolerance: float = EXACT


class VariantMaker:
    """
    Makes the variants of a model: a method for each, by its name on the command line.

    Each may raise [`Unavailable`], and so may a variant when it first runs.

    Args:
        subject: the model, on the processor, where it stays.
        threads: of ONNX Runtime; those of PyTorch belong to the process.
        folder: for graphs.
        device: `"cpu"` or `"cuda"`, what computes.
    """

    def __init__(self, subject: Subject, threads: int, folder: Path, device: str = "cpu"):
        self.subject = subject
        self.threads = threads
        self.folder = folder
        self.device = device
        self.model = subject.model if device == "cpu" else deepcopy(subject.model).to(device)
        self.exact = EXACT if device == "cpu" else TF32

    def eager(self) -> Variant:
        return Variant(_in_torch(self._logits), log_odds_of, self.exact)

    def bf16(self) -> Variant:
        def logits(pixel_values: Tensor) -> Tensor:
            with torch.autocast(self.device, torch.bfloat16):
                return self._logits(pixel_values)

        return Variant(_in_torch(logits), log_odds_of, BFLOAT16)

    def compile(self) -> Variant:
        """What is compiled, when it first runs, is for the shape of that batch alone."""
        torch.compiler.reset()
        compiled = torch.compile(self._logits, dynamic=False)

        def logits(pixel_values: Tensor) -> Tensor:
            try:
                return compiled(pixel_values)
            # Without a compiler of C++ or of GPU code, each part that misses it says so in its own way.
            except (OSError, RuntimeError, SubprocessError) as error:
                raise Unavailable(f"it can't be compiled: {first_line(error)}") from error

        return Variant(_in_torch(logits), log_odds_of, self.exact)

    def onnx(self) -> Variant:
        return self._of_graph(self._graph.path, self.exact)

    def int8(self) -> Variant:
        graph, path = self._graph, self.folder / "int8.onnx"
        if not path.exists():
            captures = (self.subject.processor.views(picture) for picture in noise_pictures(CALIBRATED, seed=1))
            feeds = (feed for capture in captures for feed in graph.feeds([capture]))
            try:
                quantize_graph(graph.path, path, graph.metadata, feeds)
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
                model=self.model,
                image_processor=self.subject.processor,
                device=self.device,
            )
        finally:
            transformers_logging.set_verbosity(before)

        def run(batch: Batch) -> list[list[dict]]:
            if len(batch.pictures) == 1:
                return [classify(batch.pictures[0])]
            return classify(batch.pictures, batch_size=len(batch.pictures))

        return Variant(run, _log_odds_of_labels, self.exact)

    def _logits(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values, return_dict=True).logits

    @cached_property
    def _graph(self) -> OnnxScorer:
        """What `scripts/export_onnx.py` makes where nothing else is asked for."""
        path = self.folder / "float32.onnx"
        try:
            check_packages()
            self._check_provider()
            export_graph(self.subject.model, self.subject.processor, path, GraphOptions())
            return OnnxScorer(path.name, path, threads=self.threads)
        except InputError as error:
            raise Unavailable(str(error)) from error
        except RuntimeError as error:
            raise Unavailable(f"torch can't export it: {first_line(error)}") from error

    def _check_provider(self) -> None:
        import onnxruntime

        if PROVIDERS[self.device] not in onnxruntime.get_available_providers():
            raise Unavailable("the ONNX Runtime that is installed computes on the processor alone")

    def _of_graph(self, path: Path, tolerance: float) -> Variant:
        session = self._session(path)

        def run(batch: Batch) -> np.ndarray:
            # The patches are read where they lie, on a GPU too, as by PyTorch.
            values, binding = batch.contiguous, session.io_binding()
            shape = tuple(values.shape)
            binding.bind_input("pixel_values", self.device, 0, np.float32, shape, values.data_ptr())
            binding.bind_output("logits", self.device)
            session.run_with_iobinding(binding)
            return binding.copy_outputs_to_cpu()[0]

        return Variant(run, log_odds_of, tolerance)

    def _session(self, path: Path):
        if self.device == "cpu":
            return OnnxScorer(path.name, path, threads=self.threads).session
        import onnxruntime

        wanted = PROVIDERS[self.device]
        session = onnxruntime.InferenceSession(str(path), providers=[wanted, PROVIDERS["cpu"]])
        # Where a library of CUDA is missing, ONNX Runtime takes the processor instead.
        if session.get_providers()[0] != wanted:
            raise Unavailable("ONNX Runtime can't use the GPU: a library of CUDA that it needs is missing")
        return session


def log_odds_of(logits: Tensor | np.ndarray) -> np.ndarray:
    """Live log-odds `(B,)` float64 of logits `(B, 2)`."""
    logits = logits.cpu().numpy() if isinstance(logits, Tensor) else logits
    return np.diff(logits.astype(np.float64))[:, 0]


def _in_torch(logits: Callable[[Tensor], Tensor]) -> Callable[[Batch], Tensor]:
    @torch.inference_mode()
    def run(batch: Batch) -> Tensor:
        answer = logits(batch.pixel_values)
        if answer.is_cuda:
            torch.cuda.synchronize(answer.device)
        return answer

    return run


def _log_odds_of_labels(answers: list[list[dict]]) -> np.ndarray:
    scores = [{answer["label"]: answer["score"] for answer in of_capture} for of_capture in answers]
    with np.errstate(divide="ignore"):
        return np.array([np.log(of_capture["live"]) - np.log(of_capture["spoof"]) for of_capture in scores])
