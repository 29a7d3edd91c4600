"""Live probabilities of image files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from ..data.decoding import decode_image
from ..errors import InputError
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from ..models.modeling_patchnet import live_spoof_logits


@dataclass(frozen=True)
class CaptureScore:
    """
    What the model says of one image file.

    Attributes:
        path: the file.
        probability: P(live), calibrated if the model is; `None` when the file can't be used.
        log_odds: live log-odds, `log(P(live) / P(spoof))`.
        verdict: `"live"` when `probability` reaches the model's decision threshold, else `"spoof"`.
        patch_probabilities: P(live) of each patch of the grid, row by row.
        views: `(V, P, P, 3)` uint8, the patches themselves.
        error: why the file can't be used, else `None`.
    """

    path: Path
    probability: float | None = None
    log_odds: float | None = None
    verdict: str | None = None
    patch_probabilities: tuple[float, ...] = ()
    views: np.ndarray | None = None
    error: str | None = None

    def as_json(self) -> dict:
        """What is worth keeping of it, without the pixels."""
        if self.error is not None:
            return {"file": str(self.path), "error": self.error}
        return {
            "file": str(self.path),
            "verdict": self.verdict,
            "live_probability": self.probability,
            "live_log_odds": self.log_odds,
            "patch_live_probabilities": list(self.patch_probabilities),
        }


def load_model(folder: str) -> tuple[PatchNetForImageClassification, PatchNetImageProcessor]:
    """A trained model in evaluation mode and its image processor, from a folder.

    Raises:
        InputError: the folder is missing, holds no PatchNet model, or its weights are broken or don't fit: scores of
            weights that were filled at random look like any others.
    """
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} holds no model (no config.json); scripts/train.py --output_dir {folder} makes one")
    try:
        settings, _ = PatchNetConfig.get_config_dict(folder, local_files_only=True)
        if settings.get("model_type") != PatchNetConfig.model_type:
            raise InputError(f"{folder} holds a model of type {settings.get('model_type')!r}, not a PatchNet model")
        model, loading = PatchNetForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        processor = PatchNetImageProcessor.from_pretrained(folder, local_files_only=True)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder} can't be loaded as a PatchNet model: {reason}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, loading[kind])):
            raise InputError(f"the weights in {folder} don't fit the model: {kind.replace('_', ' ')} {keys[0]} ...")
    return model.eval(), processor


@torch.inference_mode()
def score_files(
    model: PatchNetForImageClassification,
    processor: PatchNetImageProcessor,
    paths: Iterable[str | Path],
    batch_size: int = 8,
) -> Iterator[CaptureScore]:
    """
    Scores face crops, in their order; a file that can't be read yields its error and the rest goes on.

    Args:
        model: in evaluation mode.
        processor: makes the views.
        paths: image files; each whole image is the face crop.
        batch_size: images in one pass.

    Raises:
        InputError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}; expected at least 1")
    paths = iter(paths)
    while batch := list(islice(paths, batch_size)):
        readable: dict[Path, np.ndarray] = {}
        errors: dict[Path, str] = {}
        for path in map(Path, batch):
            try:
                readable[path] = processor.views(decode_image(path.read_bytes()))
            except OSError as error:
                errors[path] = error.strerror or str(error)
            except ValueError as error:
                errors[path] = str(error)
        scores = dict(zip(readable, _score_views(model, processor, list(readable.values())), strict=True))
        for path in map(Path, batch):
            if path in errors:
                yield CaptureScore(path, error=errors[path])
            else:
                log_odds, of_patches = scores[path]
                probability = float(1 / (1 + np.exp(-log_odds)))
                verdict = "live" if probability >= model.config.decision_threshold else "spoof"
                yield CaptureScore(path, probability, log_odds, verdict, of_patches, readable[path])


def _score_views(model, processor, views: list[np.ndarray]) -> list[tuple[float, tuple[float, ...]]]:
    """Live log-odds of each capture and P(live) of each of its patches."""
    if not views:
        return []
    output = model(processor.normalize_views(np.stack(views)).to(model.device))
    log_odds = (output.logits[:, 1] - output.logits[:, 0]).double().tolist()
    by_patch = output.patch_type_logits.flatten(0, 1).unsqueeze(1)
    of_patches = model.calibrate(live_spoof_logits(by_patch, model.classifier.live_mask)).softmax(-1)[:, 1]
    of_patches = of_patches.reshape(len(views), -1).tolist()
    return [(score, tuple(patches)) for score, patches in zip(log_odds, of_patches, strict=True)]
