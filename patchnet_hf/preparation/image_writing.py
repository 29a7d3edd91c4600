"""One image as it goes into the prepared folder: as it is, cut around the face, or encoded again where asked to."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import PIL.Image

from ..data.decoding import decode_image
from ..data.regions import Region, known_orientation, upright
from .box_files import Box
from .face_boxes import FaceBox, face_box_in, grown
from .jpeg_crop import JPEG_START, crop_jpeg

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG = "png"
BORDERS = ("clip", "replicate")
DEFAULT_EXPAND = 1.3
# Crops of decoded images begin at even pixels, as those of JPEG files do at their blocks, so that rounding the grown
# box in the crop gives the same pixels as in the whole image.
_GRID = 2
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class ImageSettings:
    """
    What becomes of an image.

    Attributes:
        keep_images: whole images, with the box as columns, instead of crops.
        expand: factor on the sides of the box for a crop.
        border: where the grown box leaves the image: `"clip"` it, or `"replicate"` the image's outermost pixels.
        reencode: quality of a JPEG file to encode to, `"png"`, or `None` to change no pixel.
    """

    keep_images: bool = False
    expand: float = DEFAULT_EXPAND
    border: Literal["clip", "replicate"] = "clip"
    reencode: int | Literal["png"] | None = None


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """
    What is written.

    Attributes:
        data: the bytes of the file.
        face_box: in its pixels, as it is seen; `None` when it is a face crop already.
    """

    data: bytes
    face_box: FaceBox | None


BoxOf = Callable[[np.ndarray], Box | None]


def prepare_image(data: bytes, box_of: BoxOf | None, settings: ImageSettings) -> PreparedImage:
    """
    An image file, prepared.

    Args:
        data: the file.
        box_of: tells the face box of the decoded image; `None` where images are face crops already.

    Raises:
        ValueError: the file is no image or corrupt, or there is no box for it.
    """
    pixels = decode_image(data)
    box = _face_box(pixels, box_of)
    if settings.reencode is not None:
        return _from_pixels(pixels, box, settings)
    if box is None or settings.keep_images:
        return PreparedImage(data, box)
    if data.startswith(JPEG_START) and settings.border == "clip":
        height, width = pixels.shape[:2]
        cropped, shown = crop_jpeg(data, grown(box, settings.expand).clipped(width, height))
        return PreparedImage(cropped, _moved(box, shown))
    return _from_pixels(_stored_png(data) if data.startswith(PNG_START) else pixels, box, settings)


def prepare_frame(pixels: np.ndarray, box_of: BoxOf | None, settings: ImageSettings) -> PreparedImage:
    """
    A frame of a video, prepared: a PNG file unless it is to be encoded as JPEG.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.

    Raises:
        ValueError: there is no box for it.
    """
    return _from_pixels(pixels, _face_box(pixels, box_of), settings)


def output_suffix(suffix: str, settings: ImageSettings, has_boxes: bool) -> str:
    """
    The ending of a prepared file's name.

    Args:
        suffix: of the image's name, or `""` of a frame of a video.

    >>> output_suffix(".bmp", ImageSettings(), True), output_suffix(".JPG", ImageSettings(), True)
    ('.png', '.JPG')
    """
    if settings.reencode is not None:
        return ".png" if settings.reencode == PNG else ".jpg"
    cropped = has_boxes and not settings.keep_images
    if not suffix or (cropped and suffix.lower() not in (".jpg", ".jpeg", ".png")):
        return ".png"
    return suffix


def encode(pixels: np.ndarray, reencode: int | str | None) -> bytes:
    """
    Pixels as the bytes of a JPEG file of this quality with full colour resolution, or of a PNG file.

    Args:
        pixels: `(H, W)`, `(H, W, 3)` RGB or `(H, W, 4)` RGBA; uint8, or uint16 for PNG.
    """
    if reencode in (None, PNG):
        code = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(pixels.shape[2] if pixels.ndim == 3 else 1)
        done, encoded = cv2.imencode(".png", pixels if code is None else cv2.cvtColor(pixels, code))
        if not done:
            raise ValueError("the image can't be encoded as PNG")
        return encoded.tobytes()
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "jpeg", quality=reencode, subsampling=0)
    return stream.getvalue()


def _face_box(pixels: np.ndarray, box_of: BoxOf | None) -> FaceBox | None:
    box = None if box_of is None else box_of(pixels)
    return None if box is None else face_box_in(box, pixels.shape[1], pixels.shape[0])


def _from_pixels(pixels: np.ndarray, box: FaceBox | None, settings: ImageSettings) -> PreparedImage:
    if box is None or settings.keep_images:
        return PreparedImage(encode(pixels, settings.reencode), box)
    height, width = pixels.shape[:2]
    region = grown(box, settings.expand).on_blocks(_GRID, _GRID)
    inside = region.clipped(width, height)
    crop = pixels[inside.top : inside.bottom, inside.left : inside.right]
    if settings.border == "replicate":
        missing = [
            (inside.top - region.top, region.bottom - inside.bottom),
            (inside.left - region.left, region.right - inside.right),
        ]
        crop = np.pad(crop, missing + [(0, 0)] * (crop.ndim - 2), mode="edge")
        inside = region
    return PreparedImage(encode(np.ascontiguousarray(crop), settings.reencode), _moved(box, inside))


def _moved(box: FaceBox, region: Region) -> FaceBox:
    """A box in the pixels of a crop."""
    x, y, w, h = box
    return x - region.left, y - region.top, w, h


def _stored_png(data: bytes) -> np.ndarray:
    """All channels and bits of a PNG file, upright."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    with PIL.Image.open(io.BytesIO(data)) as image:
        orientation = known_orientation(image.getexif().get(_ORIENTATION_TAG))
    return upright(pixels, orientation)
