"""Trained models as scorers, whatever runs them: PyTorch weights of a folder or the Hub, or an ONNX graph."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers.utils import cached_file, logging

from ..errors import InputError, first_line
from ..file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from ..models.modeling_patchnet import live_spoof_logits
from ..models.weights_patchnet import check_safetensors
from ..process_memory import keep_freed_memory
from .onnx_scorer import OnnxScorer
from .scorer import Scorer, ViewScores, file_sha256, live_log_odds

GRAPH_FILE = "model.onnx"
# What the Hub allows as a model's id: a name, or an owner and a name.
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


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
    def score(self, captures: Sequence[np.ndarray]) -> ViewScores:
        """As [`Scorer.score`]."""
        views = np.asarray(captures)
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


def load_scorer(model: str, revision: str | None = None, device: str = "auto") -> Scorer:
    """
    A trained model, ready to score.

    Where PyTorch computes on the processor, the process keeps from now on what memory it frees.

    Args:
        model: a folder that holds a PatchNet model or an exported one (`model.onnx`), an `.onnx` file, or a model id
            of the Hub. A graph without the metadata of `scripts/export_onnx.py` needs `config.json` and
            `preprocessor_config.json` beside it.
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
    device = chosen_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    return TorchScorer(model, network.to(device), processor, weights)


def _onnx_scorer(model: str, graph: Path) -> OnnxScorer:
    beside = all((graph.parent / name).is_file() for name in (CONFIG_FILE, PROCESSOR_FILE))
    settings = load_settings(str(graph.parent), model) if beside else (None, None)
    return OnnxScorer(model, graph, *settings)


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
                f"{shown} is neither a folder here nor a model that the Hub gives: {first_line(error)} (a private one "
                "needs a token that is valid: `hf auth login`, or HF_TOKEN)"
            ) from error
        raise InputError(f"{shown} can't be loaded as a PatchNet model: {first_line(error)}") from error
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
            check_safetensors(source, revision=revision)
            cached_file(source, WEIGHTS_FILE, revision=revision)
        with _quiet_transformers():
            model, loading = PatchNetForImageClassification.from_pretrained(
                source, local_files_only=local, revision=revision, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{source} can't be loaded as a PatchNet model: {first_line(error)}") from error
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
