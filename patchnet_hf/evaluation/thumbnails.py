"""The images that a model was most wrong about, small enough for a page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from PIL import Image
from scipy.special import expit

from ..data.views import decode_capture, encoded_images
from ..models.image_processing_patchnet import PatchNetImageProcessor, crop_face
from .operating_point import OperatingPoint
from .presentations import Presentations
from .scored_set import ScoredSet
from .scores_file import shown_file

SIDE = 160
QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """
    An image of the report.

    Attributes:
        file: its name.
        attack_type: `"bonafide"` of a live capture.
        probability, log_odds: its score, at clip level its clip's.
        accepted: what was decided.
        is_error: whether that is wrong.
        width, height: of the picture in pixels.
        source: the picture as a `data:` address.
    """

    file: str
    attack_type: str
    probability: float
    log_odds: float
    accepted: bool
    is_error: bool
    width: int
    height: int
    source: str


def worst_images(
    presentations: Presentations,
    scored: ScoredSet,
    dataset: Dataset,
    processor: PatchNetImageProcessor,
    point: OperatingPoint,
    label: int,
    count: int,
) -> list[Thumbnail]:
    """
    The attacks with the highest scores, or the bona fides with the lowest, the worst first.

    Of a clip the worst frame is shown.

    Args:
        presentations: the images or clips of the set.
        scored: their images.
        dataset: where the images are, in the same order.
        processor: says which region of an image the model sees.
        point: the threshold.
        label: 1 for bona fides, 0 for attacks.
        count: how many at most.
    """
    sign = 1 if label else -1
    candidates = np.flatnonzero(presentations.labels == label)
    order = candidates[np.argsort(sign * presentations.scores[candidates], kind="stable")][:count]
    rows = encoded_images(dataset, ["image", "face_box"])
    found = []
    for index in order:
        frames = np.flatnonzero(presentations.of_image == index)
        frame = int(frames[np.argmin(sign * scored.scores[frames])])
        row, score = rows[frame], float(presentations.scores[index])
        accepted = score >= point.threshold_log_odds
        picture = thumbnail(seen_region(decode_capture(row["image"]), row["face_box"], processor))
        found.append(
            Thumbnail(
                shown_file(scored.files[frame]),
                scored.attack_types[frame],
                float(expit(score)),
                score,
                accepted,
                accepted != bool(label),
                *picture.size,
                data_address(picture),
            )
        )
    return found


def seen_region(image: np.ndarray, face_box, processor: PatchNetImageProcessor) -> np.ndarray:
    """The part of `image` `(H, W, 3)` uint8 that the views come from; in mode "resize" the view itself."""
    if processor.mode == "resize":
        return processor.views(image, face_box)[0]
    return crop_face(image, face_box, processor.face_expand)


def thumbnail(pixels: np.ndarray, side: int = SIDE) -> Image.Image:
    """`(H, W, 3)` uint8 with its longer side reduced to `side` pixels, never enlarged."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def data_address(picture: Image.Image) -> str:
    """A picture as the `data:` address of a JPEG.

    >>> data_address(Image.new("RGB", (2, 2)))[:27]
    'data:image/jpeg;base64,/9j/'
    """
    stream = io.BytesIO()
    picture.save(stream, "jpeg", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
