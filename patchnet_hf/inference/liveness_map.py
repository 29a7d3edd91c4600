"""The live score of every patch position over a face, in one pass of the backbone where that is possible."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from ..errors import InputError
from ..models.image_processing_patchnet import face_region, pad_to_patch
from ..models.modeling_patchnet import live_spoof_logits
from .scorer import Scorer, live_log_odds
from .scorers import TorchScorer

METHODS = ("auto", "dense", "patches")
# The test input: longer than the receptive fields of common networks by this, which steps of 1, 2, 3 ... 128 divide.
PROBE_LENGTH = 1920
PROBE_CHANGED = 256
# Local networks differ by rounding, 2e-7; the weakest influence from afar seen in 38 of timm's by 1.8e-4.
PROBE_TOLERANCE = 1e-5
# A dense pass sees at most this many pixels a side, so that a photograph of many megapixels fits into memory.
LARGEST_SIDE = 1024
PATCHES_IN_A_PASS = 64
# Where the network gives no step of its own, a quarter of a patch, and no more positions a side than this.
STEPS_IN_A_PATCH = 4
MOST_SEPARATE = 16
# Below this many positions, checking the dense pass costs as much as scoring them one by one.
FEWEST_DENSE = 10


@dataclass(frozen=True, eq=False)
class LivenessMap:
    """
    Calibrated live log-odds of every patch position over a face.

    Attributes:
        log_odds: float64 of shape `(R, C)`.
        tops, lefts: `(R,)` and `(C,)` int, where the patches start, in pixels of the image; outside of the face where
            that is smaller than a patch and was padded.
        patch_size: side of a patch in pixels.
        region: `(top, left, bottom, right)` of the face in the image.
        method: `"dense"`, or `"patches"` when each patch was scored by itself.
        shift: what was added to the log-odds of the dense pass, the mean difference to a few patches scored by
            themselves; 0 for `"patches"`.
        deviation: the largest difference in log-odds to those patches that is left after the shift; 0 for `"patches"`.
    """

    log_odds: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    patch_size: int
    region: tuple[int, int, int, int]
    method: Literal["dense", "patches"]
    shift: float = 0.0
    deviation: float = 0.0

    def over_region(self) -> np.ndarray:
        """
        P(live) for each pixel of the face: the mean of P(live) over the patches that cover it.

        The few pixels at the borders that no patch covers are taken to the nearest patches.

        Returns:
            float64 of the region's shape `(bottom - top, right - left)`.
        """
        top, left, bottom, right = self.region
        rows = _coverage(self.tops - top, self.patch_size, bottom - top)
        columns = _coverage(self.lefts - left, self.patch_size, right - left)
        return rows.T @ expit(self.log_odds) @ columns

    def as_json(self) -> dict:
        """Everything of it as JSON values."""
        return {
            "method": self.method,
            "patch_size": self.patch_size,
            "tops": self.tops.tolist(),
            "lefts": self.lefts.tolist(),
            "live_log_odds": np.round(self.log_odds, 4).tolist(),
            "shift": self.shift,
            "deviation": self.deviation,
        }


class LivenessMapper:
    """
    Makes the [`LivenessMap`]s of a model.

    A convolutional backbone is run once over the whole face, and every patch-sized window of its feature map goes
    through pooling and head: each pixel is looked at once, not once for every patch that covers it. That is valid
    where a feature depends on its neighbourhood alone and not on where that lies. Transformers, squeeze-and-excite
    and the like break this, so [`feature_step`] tries the network itself out, once; where it fails, patches are
    scored by themselves.

    What remains is zero padding: at the border of a patch that is scored by itself, convolutions see zeros, in the
    dense pass the neighbouring pixels. Most of the effect is the same for all patches of a face. So five positions,
    the corners and the centre, are scored by themselves too, and the whole map is moved by the mean difference.

    Args:
        scorer: the model, whose processor has mode "patches".
        method: `"dense"`, `"patches"` (every patch by itself), or `"auto"`: dense where the backbone allows.
        stride: pixels between positions. Default: the backbone's own step in the dense method (32 for ResNets),
            else a quarter of a patch, or more where that gives over 16 positions a side. A stride below the
            backbone's step takes several dense passes, shifted against each other.

    Raises:
        InputError: the model looks at whole faces (mode "resize"), the stride is below 1, or the method is "dense"
            and the backbone doesn't allow it.
    """

    def __init__(self, scorer: Scorer, method: str = "auto", stride: int | None = None):
        if scorer.processor.mode != "patches":
            raise InputError(
                f'{scorer.name} looks at the whole face once (mode "{scorer.processor.mode}"), so it has no scores of '
                "patch positions to draw a liveness map from"
            )
        if method not in METHODS:
            raise InputError(f"the method of the liveness map is {method!r}; expected one of {', '.join(METHODS)}")
        if stride is not None and stride < 1:
            raise InputError(f"the stride of the liveness map is {stride}; expected at least 1 pixel")
        self.scorer = scorer
        self.patch_size = scorer.processor.patch_size
        self.stride = stride
        self.step, refusal = None, "only a model in PyTorch, without references, can be run over a whole face"
        if isinstance(scorer, TorchScorer):
            self.step, refusal = feature_step(
                scorer.model.patchnet.backbone, self.patch_size, scorer.config.num_channels
            )
        if method == "dense" and self.step is None:
            raise InputError(f"{scorer.name} has no dense liveness map: {refusal}; leave the method to auto")
        self.method = "patches" if self.step is None else method.replace("auto", "dense")

    def __call__(self, image: np.ndarray, face_box=None) -> LivenessMap:
        """
        The liveness map of a picture.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            face_box: `(x, y, w, h)` in pixels of `image`, or `None` for a face crop.

        Raises:
            ValueError: the box lies outside the image.
            InputError: the model gives no scores of single patches.
        """
        region = face_region(*image.shape[:2], face_box, self.scorer.processor.face_expand)
        top, left, bottom, right = region
        face = pad_to_patch(image[top:bottom, left:right], self.patch_size)
        padded = [max(self.patch_size - side, 0) // 2 for side in (bottom - top, right - left)]
        stride = self.stride or self._default_stride(face)
        rows, columns = (positions(length, self.patch_size, stride) for length in face.shape[:2])
        shift = deviation = 0.0
        if self.method == "dense" and len(rows) * len(columns) >= FEWEST_DENSE:
            method, log_odds = "dense", self._dense(face, rows, columns)
            checked = _corners_and_centre(len(rows), len(columns))
            separate = self._separate(face, [(rows[row], columns[column]) for row, column in checked])
            differences = separate - np.array([log_odds[position] for position in checked])
            shift = float(differences.mean())
            log_odds, deviation = log_odds + shift, float(np.abs(differences - shift).max())
        else:
            method = "patches"
            corners = [(row, column) for row in rows for column in columns]
            log_odds = self._separate(face, corners).reshape(len(rows), len(columns))
        tops, lefts = rows + (top - padded[0]), columns + (left - padded[1])
        return LivenessMap(log_odds, tops, lefts, self.patch_size, region, method, shift, deviation)

    def _default_stride(self, face: np.ndarray) -> int:
        if self.step is not None:
            return self.step
        spare = max(face.shape[:2]) - self.patch_size
        return max(self.patch_size // STEPS_IN_A_PATCH, -(-spare // (MOST_SEPARATE - 1)), 1)

    @torch.inference_mode()
    def _dense(self, face: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        model = self.scorer.model
        pixels = self.scorer.processor.normalize_views(torch.from_numpy(face.copy()).to(model.device))
        log_odds = np.empty((len(rows), len(columns)))
        for row_numbers in _passes(rows, self.step, self.patch_size):
            for column_numbers in _passes(columns, self.step, self.patch_size):
                # From the first to the end of the last patch: sizes that networks round in the same way as a patch's.
                part = pixels[
                    :,
                    rows[row_numbers[0]] : rows[row_numbers[-1]] + self.patch_size,
                    columns[column_numbers[0]] : columns[column_numbers[-1]] + self.patch_size,
                ]
                windows = self._windows(
                    part[None],
                    (rows[row_numbers] - rows[row_numbers[0]]) // self.step,
                    (columns[column_numbers] - columns[column_numbers[0]]) // self.step,
                )
                # Scored pass by pass: at a stride of one pixel the features of all positions would fill the memory.
                types = model.classifier(model.patchnet.embed(windows.flatten(0, 1)))
                logits = model.calibrate(live_spoof_logits(types.unsqueeze(1), model.classifier.live_mask))
                of_windows = live_log_odds(logits.double().cpu().numpy()).reshape(windows.shape[:2])
                log_odds[np.ix_(row_numbers, column_numbers)] = of_windows
        return log_odds

    def _windows(self, pixels: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Pooled features `(R, C, F)` of the windows that start at these cells of the feature map of `pixels`."""
        backbone = self.scorer.model.patchnet.backbone
        cells = backbone.forward_features(pixels)
        height, width = (size - last for size, last in zip(cells.shape[-2:], (rows[-1], columns[-1]), strict=True))
        pooled = []
        for row in rows:
            # (1, F, h, C, w) -> (C, F, h, w)
            of_row = cells[:, :, row : row + height].unfold(3, width, 1)[0, :, :, torch.as_tensor(columns)]
            pooled.append(backbone.forward_head(of_row.permute(2, 0, 1, 3)))
        return torch.stack(pooled)

    def _separate(self, face: np.ndarray, corners: list[tuple[int, int]]) -> np.ndarray:
        """Live log-odds `(N,)` of the patches at N corners, each scored by itself."""
        # A graph may be for whole captures only: it gets them filled with patches, and gives the score of each.
        views = 1 if isinstance(self.scorer, TorchScorer) else self.scorer.processor.grid**2
        each, log_odds = views * max(PATCHES_IN_A_PASS // views, 1), []
        for start in range(0, len(corners), each):
            patches = np.stack(
                [
                    face[top : top + self.patch_size, left : left + self.patch_size]
                    for top, left in corners[start : start + each]
                ]
            )
            missing = -len(patches) % views
            filled = np.concatenate([patches, np.repeat(patches[-1:], missing, axis=0)])
            scores = self.scorer.score(filled.reshape(-1, views, *patches.shape[1:])).patch_log_odds
            log_odds.append(scores.reshape(-1)[: len(patches)])
        log_odds = np.concatenate(log_odds)
        if np.isnan(log_odds).any():
            raise InputError(
                f"{self.scorer.name} gives no scores of single patches, so it has no liveness map; export it for "
                "single patches, or with the output patch_type_logits"
            )
        return log_odds


def positions(length: int, patch_size: int, stride: int) -> np.ndarray:
    """
    Starts of patches `stride` pixels apart in `length` pixels; what is left over is shared by both ends.

    >>> positions(256, 112, 32)
    array([  8,  40,  72, 104, 136])
    >>> positions(40, 40, 32)
    array([0])
    """
    spare = length - patch_size
    return np.arange(spare % stride // 2, spare + 1, stride)


@torch.inference_mode()
def feature_step(backbone: nn.Module, patch_size: int, channels: int = 3) -> tuple[int | None, str]:
    """
    The step in pixels between neighbouring features, if features are local and the same everywhere; else why not.

    Names of architectures say little (there are ResNets with squeeze-and-excite and ConvNeXts with global response
    normalisation), so the network is tried out with its weights, in both directions: the features of a strip of noise
    and of the same strip moved by one step, whose ends are changed, must agree in the middle. A network with a fixed
    input size or a position table, and one that looks far away (attention, squeeze-and-excite), fails. The middle
    lies 700 pixels from the changed ends, so a network whose receptive field reaches further fails as well if that
    influence is felt, and its patches are scored by themselves, which is never wrong.

    Args:
        backbone: a timm model without classifier, in evaluation mode.
        patch_size: side of the patches.
        channels: of the input.

    Returns:
        The step and `""`, or `None` and the reason.
    """
    parameter = next(backbone.parameters())
    random = torch.Generator().manual_seed(0)

    def noise(width: int) -> Tensor:
        return torch.randn(1, channels, patch_size, width, generator=random).to(parameter)

    try:
        patch = noise(patch_size)
        cells = backbone.forward_features(patch)
        if cells.ndim != 4 or cells.shape[1] != backbone.num_features or cells.shape[-1] != cells.shape[-2]:
            return None, f"its features of a patch have shape {tuple(cells.shape)}, which is no map"
        if not torch.allclose(backbone.forward_head(cells), backbone(patch), atol=1e-4, rtol=1e-4):
            return None, "its features and head don't make up the whole network"
        size = cells.shape[-1]
        for turned in (False, True):
            strip = noise(patch_size + PROBE_LENGTH + PROBE_CHANGED)
            here = _features(backbone, strip[..., : patch_size + PROBE_LENGTH], turned)
            steps = here.shape[-1] - size
            if steps < 1 or PROBE_LENGTH % steps or PROBE_LENGTH // steps > PROBE_CHANGED:
                return None, "its features don't lie a whole number of pixels apart"
            step = PROBE_LENGTH // steps
            moved = strip[..., step : step + patch_size + PROBE_LENGTH].clone()
            for end in (moved[..., :PROBE_CHANGED], moved[..., -PROBE_CHANGED:]):
                end.mul_(3).add_(1)
            there = _features(backbone, moved, turned)
            middle = here.shape[-1] // 2
            expected = here[..., middle + 1]
            difference = (there[..., middle] - expected).abs().max()
            if not difference <= PROBE_TOLERANCE * expected.abs().max() or not expected.any():
                return None, "its features depend on more than their neighbourhood"
    except Exception as error:  # Each architecture of timm has its own way to refuse an input size.
        return None, f"its backbone takes no other input than a patch ({type(error).__name__})"
    return step, ""


def _features(backbone: nn.Module, strip: Tensor, turned: bool) -> Tensor:
    """The feature map of a strip, or of the strip turned upright with its map turned back."""
    return backbone.forward_features(strip.mT).mT if turned else backbone.forward_features(strip)


def _passes(starts: np.ndarray, step: int, patch_size: int) -> Iterator[np.ndarray]:
    """The numbers of those positions that one dense pass can serve: whole steps apart, and not too far."""
    most = max((LARGEST_SIDE - patch_size) // step, 0)
    for phase in np.unique(starts % step):
        numbers = np.flatnonzero(starts % step == phase)
        while len(numbers):
            near = starts[numbers] - starts[numbers[0]] <= most * step
            yield numbers[near]
            numbers = numbers[~near]


def _corners_and_centre(rows: int, columns: int) -> list[tuple[int, int]]:
    corners = {(row, column) for row in (0, rows - 1) for column in (0, columns - 1)}
    return sorted(corners | {(rows // 2, columns // 2)})


def _coverage(starts: np.ndarray, patch_size: int, length: int) -> np.ndarray:
    """`(N, length)`: for each pixel, the share that each of N patches has in it."""
    pixels = np.arange(length)
    ends = starts + patch_size
    covers = (pixels >= starts[:, None]) & (pixels < ends[:, None])
    covers[0, pixels < starts[0]] = True
    covers[-1, pixels >= ends[-1]] = True
    if not covers.any(axis=0).all():  # A stride above the patch size leaves gaps.
        nearest = np.abs(pixels - (starts[:, None] + patch_size / 2)).argmin(axis=0)
        gaps = ~covers.any(axis=0)
        covers[nearest[gaps], pixels[gaps]] = True
    return covers / covers.sum(axis=0)
