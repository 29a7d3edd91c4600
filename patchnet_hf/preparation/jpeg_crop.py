"""Parts of JPEG files without decoding them: the quantisation tables and coefficients stay those of the camera."""

import functools
import io
from dataclasses import dataclass

import PIL.Image
import turbojpeg

from ..data.decoding import turbojpeg_is_available
from ..errors import InputError
from .regions import Region, is_transposed, known_orientation, seen_region, stored_region

JPEG_START = b"\xff\xd8"
_BLOCK = 8
# Where chroma is stored at half resolution, decoders compute a pixel's colour from the pixels next to it. With these
# in the crop, all pixels of the region itself decode as they did before.
_CHROMA_REACH = 2
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """
    What a JPEG's frame header says of its stored image.

    Attributes:
        width, height: in pixels.
        block_width, block_height: of the smallest part that can be cut out (MCU) in pixels.
        has_subsampling: whether a component has a lower resolution than another.
    """

    width: int
    height: int
    block_width: int
    block_height: int
    has_subsampling: bool


def check_that_jpegs_can_be_cropped() -> None:
    """
    Raises:
        InputError: libjpeg-turbo isn't installed.
    """
    if not turbojpeg_is_available():
        raise InputError(
            "cropping JPEG files without loss needs libjpeg-turbo: install it with `apt-get install libturbojpeg0` or "
            "`brew install jpeg-turbo`; or keep whole images (--keep-images), or decode and encode again (--reencode)"
        )


def crop_jpeg(data: bytes, region: Region) -> tuple[bytes, Region]:
    """
    The part of a JPEG file around a region, grown outwards to whole blocks.

    Every block of coefficients is one of the original's, under the same quantisation tables. EXIF (so that a turned
    image stays turned as it was), colour profile and comments are kept. A progressive file becomes a baseline one.

    Args:
        data: the file.
        region: in the image as it is seen, within it.

    Returns:
        The new file, and the region that it shows, in the original image as it is seen.

    Raises:
        ValueError: the file isn't one that can be cropped so.
    """
    frame = read_frame(data)
    orientation = _orientation(data)
    size = (frame.height, frame.width) if is_transposed(orientation) else (frame.width, frame.height)
    wanted = stored_region(region, orientation, *size)
    if frame.has_subsampling:
        wanted = wanted.padded(_CHROMA_REACH).clipped(frame.width, frame.height)
    part = wanted.on_blocks(frame.block_width, frame.block_height).clipped(frame.width, frame.height)
    try:
        (cropped,) = _library().crop_multiple(data, [(part.left, part.top, part.width, part.height)])
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the JPEG file can't be cropped without loss: {error}") from error
    return cropped, seen_region(part, orientation, *size)


def read_frame(data: bytes) -> JpegFrame:
    """
    Size and sampling of a JPEG file.

    Raises:
        ValueError: it has no frame header.
    """
    position = len(JPEG_START)
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 9:
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            position += 1
            continue
        if marker in (0xD9, 0xDA):
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (5, 7))
            components = data[position + 10 : position + 10 + 3 * data[position + 9]]
            factors = [divmod(components[at], 16) for at in range(1, len(components), 3)]
            return _frame(width, height, factors)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ValueError("the JPEG file has no frame header")


def _frame(width: int, height: int, factors: list[tuple[int, int]]) -> JpegFrame:
    # A single component's blocks stand one by one whatever its factors say.
    across, down = (max(factor) for factor in zip(*factors, strict=True)) if len(factors) > 1 else (1, 1)
    return JpegFrame(width, height, _BLOCK * across, _BLOCK * down, len(set(factors)) > 1)


def _orientation(data: bytes) -> int:
    with PIL.Image.open(io.BytesIO(data)) as image:
        return known_orientation(image.getexif().get(_ORIENTATION_TAG))


class _QuietTurboJPEG(turbojpeg.TurboJPEG):
    """Warnings of libjpeg-turbo are left to those who decode the file; here only failures count."""

    # The mangled name is PyTurboJPEG 1's one place for what libjpeg-turbo reports; setup.cfg keeps us on version 1.
    def _TurboJPEG__report_error(self, handle):
        code = self._TurboJPEG__get_error_code
        if code is None or code(handle) != turbojpeg.TJERR_WARNING:
            raise ValueError(self._TurboJPEG__get_error_string(handle))


@functools.cache
def _library() -> _QuietTurboJPEG:
    # Keeps no state between calls, so that threads may share it.
    return _QuietTurboJPEG()
