"""Trained models as scorers of views, whatever runs them: PyTorch weights of a folder or the Hub, or an ONNX graph."""

import glob
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from scipy.special import logsumexp
from transformers.utils import cached_file, logging

from ..errors import InputError
from ..metrics.calibration import UNCALIBRATED, PlattCalibration
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from ..models.modeling_patchnet import live_spoof_logits

WEIGHTS_FILE = "model.safetensors"
GRAPH_FILE = "model.onnx"
CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"
# What the Hub allows as a model's id: a name, or an owner and a name.
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class ViewScores(NamedTuple):
    """
    What a model says of B captures with V views each.

    Attributes:
        log_odds: float64 of shape `(B,)`, live log-odds of each capture, calibrated if the model is.
        patch_log_odds: float64 of shape `(B, V)`, those of each view alone; NaN where a graph doesn't give them.
        embeddings: float32 of shape `(B, V, D)`; `None` where a graph doesn't give them.
    """

    log_odds: np.ndarray
    patch_log_odds: np.ndarray
    embeddings: np.ndarray | None


class Scorer(ABC):
    """
    A trained model that scores captures by their views.

    Attributes:
        name: the folder, file or Hub id that it was loaded by.
        config: its configuration, with the decision threshold and the calibration.
        processor: makes the views.
        threshold_origin: whose the decision threshold is, `"model"` or `"references"`.
    """

    threshold_origin = "model"

    def __init__(self, name: str, config: PatchNetConfig, processor: PatchNetImageProcessor):
        self.name = name
        self.config = config
        self.processor = processor

    @abstractmethod
    def score(self, views: np.ndarray) -> ViewScores:
        """Scores of `(B, V, P, P, 3)` uint8 views, V views of each capture; B may be 0."""

    @abstractmethod
    def description(self) -> dict[str, str]:
        """What it is, for a report: `model`, `runs_on`, and `weights_sha256` of the file that its scores come from."""


class TorchScorer(Scorer):
    """
    A model in PyTorch, in float32.

    Args:
        model: put into evaluation mode, on its device.
        weights: the file that the weights were read from.
    """

    def __init__(
        self,
        name: str,
        model: PatchNetForImageClassification,
        processor: PatchNetImageProcessor,
        weights: str | Path | None = None,
    ):
        super().__init__(name, model.config, processor)
        self.model = model.eval()
        self.weights = weights

    @torch.inference_mode()
    def score(self, views: np.ndarray) -> ViewScores:
        """As [`Scorer.score`]."""
        if not len(views):
            return ViewScores(np.empty(0), np.empty(views.shape[:2]), np.empty((*views.shape[:2], 0), np.float32))
        output = self.model(self.processor.normalize_views(torch.from_numpy(views).to(self.model.device)))
        by_patch = output.patch_type_logits.flatten(0, 1).unsqueeze(1)
        of_patches = self.model.calibrate(live_spoof_logits(by_patch, self.model.classifier.live_mask))
        return ViewScores(
            live_log_odds(output.logits.double().cpu().numpy()),
            live_log_odds(of_patches.double().cpu().numpy()).reshape(views.shape[:2]),
            output.embeddings.float().cpu().numpy(),
        )

    def description(self) -> dict[str, str]:
        """As [`Scorer.description`]."""
        weights = {} if self.weights is None else {"weights_sha256": file_sha256(self.weights)}
        return {"model": self.name, "runs_on": f"PyTorch {torch.__version__}, {self.model.device}", **weights}


class OnnxScorer(Scorer):
    """
    An exported graph in ONNX Runtime on the processor.

    Its input is `pixel_values`, `(B, 3, P, P)` or `(B, V, 3, P, P)`, its first output or the one called `logits` is
    `(B, 2)`, spoof and live. A graph of single patches, or with any number of views, sees each patch alone and the
    patches are averaged here, as the model does.

    Args:
        path: the graph.

    Raises:
        InputError: onnxruntime isn't installed, or the graph can't be loaded or has other inputs or outputs.
    """

    def __init__(self, name: str, path: str | Path, config: PatchNetConfig, processor: PatchNetImageProcessor):
        super().__init__(name, config, processor)
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise InputError(f"{path} needs ONNX Runtime: pip install 'patchnet_hf[onnx]'") from error
        self.path = Path(path)
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
            raise InputError(f"{path} can't be loaded as an ONNX graph: {str(error).splitlines()[0]}") from error
        self._runtime = onnxruntime.__version__
        inputs, outputs = self.session.get_inputs(), [output.name for output in self.session.get_outputs()]
        if len(inputs) != 1 or len(inputs[0].shape) not in (4, 5) or inputs[0].type != "tensor(float)":
            found = "; ".join(f"{node.name} {node.type} {node.shape}" for node in inputs)
            raise InputError(f"{path} has inputs {found}; expected pixel_values, float, of 4 or 5 dimensions")
        self._input = inputs[0]
        self._output = "logits" if "logits" in outputs else outputs[0]
        self._types = "patch_type_logits" if "patch_type_logits" in outputs else None
        batch, self._views = self._input.shape[0], self._input.shape[1] if len(self._input.shape) == 5 else 1
        self._batch = batch if isinstance(batch, int) else None
        # A graph for a fixed number of views averages them itself.
        self._whole = isinstance(self._views, int) and self._views > 1

    def score(self, views: np.ndarray) -> ViewScores:
        """
        As [`Scorer.score`].

        Raises:
            InputError: the graph is for another number or size of views.
        """
        pixel_values = self.processor.normalize_views(views).numpy()
        captures, count = views.shape[:2]
        if not captures:
            return ViewScores(np.empty(0), np.empty((0, count)), None)
        if self._whole:
            logits, types = self._run(pixel_values)
            of_patches = np.full((captures, count), np.nan)
            if types is not None:
                of_patches = calibration_of(self).calibrate(self._log_odds_of_types(types.astype(np.float64)))
            return ViewScores(live_log_odds(logits.astype(np.float64)), of_patches, None)
        patches = pixel_values.reshape(captures * count, *pixel_values.shape[2:])
        logits, _ = self._run(patches[:, None] if len(self._input.shape) == 5 else patches)
        of_patches = live_log_odds(logits.astype(np.float64)).reshape(captures, count)
        calibration = calibration_of(self)
        averaged = calibration.calibrate(mean_log_odds(calibration.uncalibrate(of_patches)))
        return ViewScores(averaged, of_patches, None)

    def _run(self, pixel_values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        names = [self._output] + ([self._types] if self._types else [])
        size = self._batch or len(pixel_values)
        results = []
        try:
            for start in range(0, len(pixel_values), size):
                batch = np.ascontiguousarray(pixel_values[start : start + size])
                # A graph for a fixed batch takes no fewer: the last one is filled up, and the filling dropped.
                filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
                results.append([part[: len(batch)] for part in self.session.run(names, {self._input.name: filled})])
        except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
            raise InputError(
                f"{self.path} can't score views of shape {pixel_values.shape}; its input is {self._input.shape}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        logits, *types = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return logits, types[0] if types else None

    def _log_odds_of_types(self, patch_type_logits: np.ndarray) -> np.ndarray:
        live = np.zeros(patch_type_logits.shape[-1], dtype=bool)
        live[self.config.live_patch_type_ids] = True
        return logsumexp(patch_type_logits[..., live], axis=-1) - logsumexp(patch_type_logits[..., ~live], axis=-1)

    def description(self) -> dict[str, str]:
        """As [`Scorer.description`]."""
        return {
            "model": self.name,
            "runs_on": f"ONNX Runtime {self._runtime}, cpu",
            "weights_sha256": file_sha256(self.path, *self._weights_beside()),
        }

    def _weights_beside(self) -> list[Path]:
        """`model.onnx.data` or `model.onnx_data`, where exporters put the weights of large or all graphs."""
        return sorted(self.path.parent.glob(glob.escape(self.path.name) + "[._]data"))


def live_log_odds(logits: np.ndarray) -> np.ndarray:
    """`(..., 2)` logits of spoof and live as log-odds `(...)`.

    >>> live_log_odds(np.array([[1.0, 3.0], [0.0, -2.0]]))
    array([ 2., -2.])
    """
    return logits[..., 1] - logits[..., 0]


def mean_log_odds(log_odds: np.ndarray) -> np.ndarray:
    """
    The log-odds of the mean probability over the last axis, without the saturation of probabilities.

    `log(mean p / mean (1 - p))` with `p = 1 / (1 + exp(-z))`; the model averages views in the same way.

    >>> mean_log_odds(np.array([[0.0, 0.0], [50.0, 50.0]]))
    array([ 0., 50.])
    """
    return logsumexp(-np.logaddexp(0.0, -log_odds), axis=-1) - logsumexp(-np.logaddexp(0.0, log_odds), axis=-1)


def calibration_of(scorer: Scorer) -> PlattCalibration:
    """The calibration in a model's configuration."""
    held = scorer.config.calibration
    return UNCALIBRATED if held is None else PlattCalibration(float(held["scale"]), float(held["bias"]))


def file_sha256(*paths: str | Path) -> str:
    """SHA-256 of a file, or of several one after the other, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def load_scorer(model: str, revision: str | None = None, device: str = "auto") -> Scorer:
    """
    A trained model, ready to score.

    Args:
        model: a folder that holds a PatchNet model or an exported one (`model.onnx`, with `config.json` and
            `preprocessor_config.json` beside it), an `.onnx` file in such a folder, or a model id of the Hub.
        revision: branch, tag or commit, of a model of the Hub.
        device: `"cpu"`, `"cuda"`, or `"auto"`: a GPU where there is one. Graphs run on the processor.

    Raises:
        InputError: there is no such model, it isn't a PatchNet, its weights are broken or don't fit, or there is no
            such device.
    """
    path = Path(model)
    if path.suffix == ".onnx" and not path.is_dir():
        if not path.is_file():
            raise InputError(f"{model} doesn't exist; expected an exported graph")
        return _onnx_scorer(model, path)
    if path.is_dir() and not (path / WEIGHTS_FILE).is_file() and (graph := graph_in(path)) is not None:
        return _onnx_scorer(model, graph)
    network, processor = load_model(model, revision)
    weights = path / WEIGHTS_FILE if path.is_dir() else cached_file(model, WEIGHTS_FILE, revision=revision)
    return TorchScorer(model, network.to(chosen_device(device)), processor, weights)


def _onnx_scorer(model: str, graph: Path) -> OnnxScorer:
    for name in (CONFIG_FILE, PROCESSOR_FILE):
        if not (graph.parent / name).is_file():
            raise InputError(
                f"{graph} has no {name} beside it; an exported graph needs {CONFIG_FILE} and {PROCESSOR_FILE}"
            )
    return OnnxScorer(model, graph, *load_settings(str(graph.parent), model))


def graph_in(folder: Path) -> Path | None:
    """The exported graph of a folder, if it holds one.

    Raises:
        InputError: it holds several, none of them called `model.onnx`.
    """
    graphs = sorted(folder.glob("*.onnx"))
    if folder / GRAPH_FILE in graphs:
        return folder / GRAPH_FILE
    if len(graphs) > 1:
        raise InputError(f"{folder} holds several graphs; name one of them: {', '.join(map(str, graphs))}")
    return graphs[0] if graphs else None


def chosen_device(device: str) -> torch.device:
    """The device that `device` (`"auto"`, `"cpu"`, `"cuda"`) stands for here.

    Raises:
        InputError: there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here; leave --device out, or say --device cpu")
    return torch.device(device)


def load_settings(
    source: str, shown: str, revision: str | None = None
) -> tuple[PatchNetConfig, PatchNetImageProcessor]:
    """Configuration and image processor of a model, which a message calls `shown`.

    Raises:
        InputError: they are missing, broken, or of another type of model.
    """
    local = Path(source).exists()
    if local and not (Path(source) / CONFIG_FILE).is_file():
        raise InputError(f"{shown} holds no model (no config.json); scripts/train.py --output_dir {shown} makes one")
    if not local and not HUB_ID.fullmatch(source):
        raise InputError(f"{shown} doesn't exist; expected the folder of a model, or a model id of the Hub")
    try:
        settings, _ = PatchNetConfig.get_config_dict(source, local_files_only=local, revision=revision)
        if settings.get("model_type") != PatchNetConfig.model_type:
            raise InputError(f"{shown} holds a model of type {settings.get('model_type')!r}, not a PatchNet model")
        config = PatchNetConfig.from_dict(settings)
        processor = PatchNetImageProcessor.from_pretrained(source, local_files_only=local, revision=revision)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if not local:
            raise InputError(
                f"{shown} is neither a folder here nor a model that the Hub gives: {_first_line(error)}"
            ) from error
        raise InputError(f"{shown} can't be loaded as a PatchNet model: {_first_line(error)}") from error
    return config, processor


def load_model(
    source: str, revision: str | None = None
) -> tuple[PatchNetForImageClassification, PatchNetImageProcessor]:
    """A trained model in evaluation mode and its image processor, from a folder or the Hub.

    Raises:
        InputError: the model is missing, is no PatchNet, or its weights are broken or don't fit: scores of weights
            that were filled at random look like any others.
    """
    _, processor = load_settings(source, source, revision)
    local = Path(source).exists()
    try:
        if not local:  # Before it is quiet: a download keeps its progress bar.
            cached_file(source, WEIGHTS_FILE, revision=revision)
        with _quiet_transformers():
            model, loading = PatchNetForImageClassification.from_pretrained(
                source, local_files_only=local, revision=revision, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{source} can't be loaded as a PatchNet model: {_first_line(error)}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, loading[kind])):
            raise InputError(f"the weights in {source} don't fit the model: {kind.replace('_', ' ')} {keys[0]} ...")
    return model.eval(), processor


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without transformers' bar over the weights, and without its words on those that don't fit: we say that."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
