"""Image files to RGB pixels: libjpeg-turbo for JPEG where it is installed, else OpenCV, with the same pixels.

Patch types show in fine texture, so the decoder must not make a difference. For baseline and progressive JPEG with any
chroma subsampling, libjpeg-turbo, OpenCV and Pillow (which `datasets.Image()` uses) return equal pixels: all three use
the accurate inverse DCT and smooth chroma upsampling. The tests compare them bit for bit.
"""

import contextlib
import functools
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import turbojpeg

from ..errors import InputError
from .regions import UPRIGHT, Region, known_orientation, upright

Decoder = Literal["auto", "turbojpeg", "opencv"]
DECODERS = ("auto", "turbojpeg", "opencv")

MAX_PIXELS = 178_956_970
"""Larger images are refused; Pillow, through which `datasets` reads them, draws the line at the same place."""

# Formats where OpenCV's pixels equal Pillow's. TIFF is not among them: OpenCV multiplies colours with alpha there.
_OPENCV_FORMATS = frozenset({"PNG", "WEBP", "BMP", "DIB"})
_INSTALL_HINT = "install it with `apt-get install libturbojpeg0` or `brew install jpeg-turbo`"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_TAG = 0x0112
_BLOCK = 8
# Luma samples in a group of blocks with one sample of each colour, for which TurboJPEG has a name.
_CROPPED_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)})
# A marker that isn't a stuffed 0xFF data byte, a restart marker, or padding: what ends entropy-coded data.
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
# libjpeg's warnings of harmless oddities of encoders; all others mean that pixels are missing or garbage. By their
# words and not by the error code, which after a warning is that of a warning even where decoding has failed.
_HARMLESS_JPEG_WARNINGS = (
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Invalid SOS parameters for sequential",
    "Unknown Adobe color transform",
    "bad ICC marker",
)


def decode_image(data: bytes, decoder: Decoder = "auto") -> np.ndarray:
    """Decodes the bytes of an image file.

    Args:
        data: JPEG, PNG, WebP, BMP or another format that Pillow reads; of an animation, the first frame.
        decoder: what decodes JPEG. "auto" is libjpeg-turbo, or OpenCV (with a warning) where that isn't installed.

    Returns:
        RGB, uint8, shape `(H, W, 3)`, writable, with the EXIF orientation applied (so `(H, W)` is the image as it is
        seen, as with `datasets.Image()`). Gray becomes three equal channels, alpha is dropped, of 16-bit samples the
        upper byte stays, CMYK is converted as Pillow does.

    Raises:
        ValueError: with the reason, when the data isn't an image, is corrupt or is cut off anywhere before its end.
            A JPEG whose data stops early although its end marker is there shows as corrupt only to libjpeg-turbo.
        InputError: when `decoder` isn't known, or is "turbojpeg" where the library isn't installed.
    """
    if decoder not in DECODERS:
        raise InputError(f"decoder is {decoder!r}, expected one of {', '.join(DECODERS)}")
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(b"\xff\xd8"):
        return _decode_jpeg(data, decoder)
    return _decode_other(data)


def turbojpeg_is_available() -> bool:
    """Whether the libjpeg-turbo library that PyTurboJPEG binds is installed on this machine."""
    return _turbojpeg() is not None


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV from logging to stderr about files that :func:`decode_image` reports by a `ValueError` anyway."""
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, OpenCV 4
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)


class _HarmlessJpegWarning(ValueError):
    """libjpeg-turbo stopped at something harmless."""


class _StrictTurboJPEG(turbojpeg.TurboJPEG):
    """PyTurboJPEG only *warns* when pixels are missing, and warns as loudly about harmless oddities."""

    # The mangled name is PyTurboJPEG 1's one place for what libjpeg-turbo reports; setup.cfg keeps us on version 1.
    def _TurboJPEG__report_error(self, handle):
        message = self._TurboJPEG__get_error_string(handle)
        if any(text in message for text in _HARMLESS_JPEG_WARNINGS):
            raise _HarmlessJpegWarning(message)
        raise ValueError(message)


class _LenientTurboJPEG(_StrictTurboJPEG):
    """Of several warnings it hears the last one; one that is harmless it passes over."""

    def _TurboJPEG__report_error(self, handle):
        with contextlib.suppress(_HarmlessJpegWarning):
            super()._TurboJPEG__report_error(handle)


@functools.cache
def _turbojpeg() -> tuple[_StrictTurboJPEG, _LenientTurboJPEG] | None:
    # The wrappers keep no state between calls (each has its own handle), so threads and forked workers may share them.
    try:
        return _StrictTurboJPEG(), _LenientTurboJPEG()
    except (RuntimeError, OSError):
        return None


@functools.cache
def _warn_that_turbojpeg_is_missing() -> None:
    warnings.warn(
        f"libjpeg-turbo was not found, so JPEG files are decoded by OpenCV: same pixels, slower; {_INSTALL_HINT}",
        RuntimeWarning,
        stacklevel=4,
    )


@dataclass(frozen=True)
class JpegHeader:
    """What the segments of a JPEG say of its pixels as they are stored, before they are turned upright."""

    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    """Of each component: samples across and down in a group of blocks (MCU), `((2, 2), (1, 1), (1, 1))` for 4:2:0."""
    frame_position: int
    """Where in the file the two bytes of the height stand."""
    has_rows_in_order: bool
    """Whether one scan holds all components from top to bottom, so that rows can be decoded without those below."""
    has_metadata: bool
    """Whether there is EXIF or XMP, which may hold an orientation."""

    @property
    def group_size(self) -> tuple[int, int]:
        """Width and height in pixels of a group of blocks (MCU), the least that can be cut out."""
        if len(self.sampling) == 1:
            # The blocks of a single component stand one by one, whatever its sampling says.
            return _BLOCK, _BLOCK
        across, down = (max(samples) for samples in zip(*self.sampling, strict=True))
        return _BLOCK * across, _BLOCK * down

    @property
    def can_be_cropped(self) -> bool:
        """Whether it is of a sampling that libjpeg-turbo cuts parts out of."""
        luma, *colours = self.sampling
        return not colours or (luma in _CROPPED_SAMPLINGS and set(colours) == {(1, 1)})


def _decode_jpeg(data: bytes, decoder: Decoder) -> np.ndarray:
    header = read_jpeg_header(data)
    if len(header.sampling) == 4:
        # The decoders disagree about CMYK by one grey level, so both leave it to the one that `datasets` uses.
        return _pillow_pixels(_open(data))
    if decoder != "opencv" and turbojpeg_is_available():
        pixels = decode_by_turbojpeg(data)
    elif decoder == "turbojpeg":
        raise InputError(f"decoder is 'turbojpeg', but libjpeg-turbo was not found; {_INSTALL_HINT}")
    else:
        if decoder == "auto":
            _warn_that_turbojpeg_is_missing()
        pixels = _opencv_pixels(data, "JPEG")
    return np.ascontiguousarray(upright(pixels, jpeg_orientation(data, header)))


def decode_by_turbojpeg(data: bytes, lenient: bool = False) -> np.ndarray:
    """The pixels `(H, W, 3)` of a gray or RGB JPEG as they are stored; libjpeg-turbo has to be there.

    Args:
        data: of the file.
        lenient: passes over broken data that something harmless comes after.

    Raises:
        ValueError: the data is corrupt.
    """
    strict_library, lenient_library = _turbojpeg()
    to_rgb = {"pixel_format": turbojpeg.TJPF_RGB}
    try:
        if not lenient:
            with contextlib.suppress(_HarmlessJpegWarning):
                flags = turbojpeg.TJFLAG_ACCURATEDCT | turbojpeg.TJFLAG_STOPONWARNING
                return strict_library.decode(data, flags=flags, **to_rgb)
        return lenient_library.decode(data, flags=turbojpeg.TJFLAG_ACCURATEDCT, **to_rgb)
    except (ValueError, OSError) as error:
        raise ValueError(f"the JPEG data is corrupt: {error}") from error


def crop_by_turbojpeg(data: bytes, part: Region, with_metadata: bool = False) -> bytes:
    """
    A JPEG of a part of another one, with its coefficients and quantisation tables.

    Args:
        data: of the file.
        part: of its pixels as they are stored, from borders of groups of blocks ([`JpegHeader.group_size`]) to such
            borders or the end of the image.
        with_metadata: whether EXIF, colour profile and comments stay.

    Raises:
        ValueError: the data is corrupt.
    """
    place = part.left, part.top, part.width, part.height
    try:
        # With `preserve`, blocks that reach over the right and lower border stay, too.
        return _turbojpeg()[1].crop(data, *place, preserve=True, copynone=not with_metadata)
    except (ValueError, OSError) as error:
        raise ValueError(f"the JPEG data can't be cropped without loss: {error}") from error


def jpeg_orientation(data: bytes, header: JpegHeader) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where there is none.

    Raises:
        ValueError: its metadata are corrupt.
    """
    return known_orientation(_orientation(_open(data))) if header.has_metadata else UPRIGHT


def _decode_other(data: bytes) -> np.ndarray:
    if data.startswith(_PNG_SIGNATURE):
        _check_png_is_whole(data)
    image = _open(data)
    _check_size(*image.size)
    if image.format not in _OPENCV_FORMATS:
        return _pillow_pixels(image)
    pixels = _opencv_pixels(data, image.format)
    # Asking Pillow for a PNG's EXIF decodes all of it, so this is asked only where there is any.
    may_turn = image.format != "PNG" or any(name in data for name in (b"eXIf", b"exif", b"XML:com.adobe.xmp"))
    return np.ascontiguousarray(upright(pixels, known_orientation(_orientation(image)))) if may_turn else pixels


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walks over a JPEG's segments up to its end marker, so that a file that was cut off shows whoever decodes it.

    Raises:
        ValueError: it was cut off, is corrupt, holds no image, or one that is too large.
    """
    truncated = ValueError("the JPEG file is truncated: it stops before its end marker")
    frame: tuple[int, int, tuple[tuple[int, int], ...]] | None = None
    frame_marker = frame_position = scans = 0
    components_of_scan = None
    has_metadata = False
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise truncated
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        position += 2
        if marker == 0xD9:
            break
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:  # no segment follows
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if position + max(length, 2) > len(data):
            raise truncated
        if length < 2:
            raise ValueError(f"the JPEG data is corrupt: a segment of {length} bytes")
        segment = data[position + 2 : position + length]
        position += length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) >= 6:
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            sampling = tuple((byte >> 4, byte & 15) for byte in segment[7 : 6 + 3 * segment[5] : 3])
            frame, frame_marker, frame_position = (width, height, sampling), marker, position - len(segment) + 1
        elif marker == 0xE1:
            has_metadata = True
        elif marker == 0xDA:
            scans += 1
            components_of_scan = segment[0] if segment else 0
            after_scan = _MARKER_AFTER_SCAN.search(data, position)
            if after_scan is None:
                raise truncated
            position = after_scan.start()
    if frame is None or not scans:
        raise ValueError("the JPEG file holds no image data")
    _check_size(*frame[:2])
    # Huffman-coded sequential frames; the others are progressive, lossless or arithmetic.
    in_order = frame_marker in (0xC0, 0xC1) and scans == 1 and components_of_scan == len(frame[2])
    return JpegHeader(*frame, frame_position, has_rows_in_order=in_order, has_metadata=has_metadata)


def _check_png_is_whole(data: bytes) -> None:
    # OpenCV reports this as well, but only after libpng has written to stderr.
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND" and position <= len(data):
            return
    raise ValueError("the PNG file is truncated: it stops before its end chunk")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"the image is {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image is {width} x {height} pixels, more than the {MAX_PIXELS} that are accepted")


def _open(data: bytes) -> PIL.Image.Image:
    try:
        return PIL.Image.open(io.BytesIO(data))
    except PIL.UnidentifiedImageError:
        raise ValueError("not an image, or of a format that isn't known") from None
    except Exception as error:  # Pillow's readers raise almost anything on broken data
        raise ValueError(f"the image can't be read: {error}") from error


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:  # as above; `datasets` couldn't read this image either
        raise ValueError(f"the image's EXIF data is corrupt: {error}") from error


def _opencv_pixels(data: bytes, image_format: str) -> np.ndarray:
    try:
        # The orientation is ours to apply: OpenCV knows it in fewer formats than `datasets` does.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"the {image_format} data is corrupt: {error.err}") from error
    if pixels is None:
        raise ValueError(f"the {image_format} data is corrupt or truncated")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _pillow_pixels(image: PIL.Image.Image) -> np.ndarray:
    image_format = image.format
    try:
        image.load()
        # After loading, because Pillow turns TIFF images by itself then.
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            # Pillow would clip 16-bit gray at 255 instead of scaling it.
            gray = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ValueError(f"{image_format} with 32 bits a sample isn't supported")
        return np.array(image.convert("RGB"))
    except ValueError:
        raise
    except Exception as error:  # as in `_open`
        raise ValueError(f"the {image_format} data is corrupt or truncated: {error}") from error
