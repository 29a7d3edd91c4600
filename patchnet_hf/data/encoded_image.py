"""Image files of which a region alone is decoded, where that is faster than decoding all."""

import numpy as np

from .decoding import (
    Decoder,
    JpegHeader,
    crop_by_turbojpeg,
    decode_by_turbojpeg,
    decode_image,
    jpeg_orientation,
    oriented,
    read_jpeg_header,
    turbojpeg_is_available,
)

CROP_PAYS_BELOW = 1 / 8
"""Cutting blocks out of a JPEG reads them all and writes some again: faster than decoding all below this share."""

_BLOCK = 8
# Luma samples in a group of blocks (MCU) with one sample of each colour, for which TurboJPEG has a name.
_NAMED_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)})


class DecodedImage:
    """
    The pixels of an image, to be asked for regions as an [`EncodedImage`] is.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.

    Attributes:
        height, width: in pixels.
    """

    def __init__(self, pixels: np.ndarray):
        self._pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """
        The view `(bottom - top, right - left, 3)` of a part of the image.

        Raises:
            ValueError: the region is empty or not within the image.
        """
        _check_region(top, left, bottom, right, self.height, self.width)
        return self._pixels[top:bottom, left:right]


class EncodedImage:
    """
    The bytes of an image file, with its size known before its pixels are decoded.

    A region has the pixels that [`~patchnet_hf.data.decoding.decode_image`] gives at its place, to the last bit. Of a
    JPEG, the rows below the region aren't decoded (they stand last in the file), and of a large one whose region is
    small, only the blocks of the region are. All other images are decoded as a whole at once.

    What is broken below a region doesn't show in it; [`~patchnet_hf.data.conversion.convert_csv`] decodes all of every
    image once.

    Args:
        data: as for `decode_image`.
        decoder: as for `decode_image`; only libjpeg-turbo decodes regions.

    Attributes:
        height, width: in pixels, with the EXIF orientation applied.

    Raises:
        ValueError, InputError: as `decode_image`.
    """

    def __init__(self, data: bytes, decoder: Decoder = "auto"):
        self._data = data
        self._header = self._decoded = None
        if decoder != "opencv" and data.startswith(b"\xff\xd8") and turbojpeg_is_available():
            header = read_jpeg_header(data)
            # CMYK isn't libjpeg-turbo's to decode.
            self._header = header if len(header.sampling) in (1, 3) else None
        if self._header is None:
            self._decoded = DecodedImage(decode_image(data, decoder))
            self.height, self.width = self._decoded.height, self._decoded.width
            return
        self._orientation = jpeg_orientation(data, self._header)
        turned = self._orientation >= 5
        self.height, self.width = (header.width, header.height) if turned else (header.height, header.width)

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """
        The pixels `(bottom - top, right - left, 3)`, uint8 RGB, of a part of the upright image.

        Raises:
            ValueError: the region is empty or not within the image, or its data is corrupt.
        """
        if self._decoded is not None:
            return self._decoded.region(top, left, bottom, right)
        _check_region(top, left, bottom, right, self.height, self.width)
        stored = stored_region((top, left, bottom, right), self.height, self.width, self._orientation)
        return oriented(_decode_stored(self._data, self._header, *stored), self._orientation)


def stored_region(
    region: tuple[int, int, int, int], height: int, width: int, orientation: int
) -> tuple[int, int, int, int]:
    """
    Where a region of an upright image stands among the pixels of its file.

    Args:
        region: `(top, left, bottom, right)`.
        height, width: of the upright image.
        orientation: EXIF's, 1 to 8 (CIPA DC-008, 4.6.5.1.6).

    >>> stored_region((0, 0, 10, 20), 100, 80, 3)
    (90, 60, 100, 80)
    >>> stored_region((0, 0, 10, 20), 100, 80, 6)
    (60, 0, 80, 10)
    """
    top, left, bottom, right = region
    rows, columns = (top, bottom), (left, right)
    # What is counted from the other side in the file.
    if orientation in (3, 4, 7, 8):
        rows = height - bottom, height - top
    if orientation in (2, 3, 6, 7):
        columns = width - right, width - left
    if orientation >= 5:
        rows, columns = columns, rows
    return rows[0], columns[0], rows[1], columns[1]


def _decode_stored(data: bytes, header: JpegHeader, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    across = max(samples for samples, _ in header.sampling)
    down = max(samples for _, samples in header.sampling)
    # Of a gray image the sampling may be anything without a meaning; two blocks are a border in all that occurs.
    group_width, group_height = _BLOCK * max(across, 2), _BLOCK * max(down, 2)
    height, width = header.height, header.width
    # Colours are interpolated from the neighbouring blocks, so one more group on each side gives the same pixels.
    last_row = min(_up(bottom, group_height) + group_height, height)
    shortened = header.has_rows_in_order and last_row < height
    if shortened:
        data, height = _with_height(data, header, last_row), last_row
    first_row = max(_down(top, group_height) - group_height, 0)
    first_column = max(_down(left, group_width) - group_width, 0)
    last_column = min(_up(right, group_width) + group_width, width)
    cropped = (last_row - first_row) * (last_column - first_column)
    if _can_be_cropped(header) and cropped < CROP_PAYS_BELOW * height * width:
        data = crop_by_turbojpeg(data, first_row, first_column, last_row - first_row, last_column - first_column)
        top, bottom, left, right = top - first_row, bottom - first_row, left - first_column, right - first_column
    # The rows that are left out look like stray bytes before the end, which are harmless.
    return decode_by_turbojpeg(data, lenient=shortened)[top:bottom, left:right]


def _check_region(top: int, left: int, bottom: int, right: int, height: int, width: int) -> None:
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(f"region {top}:{bottom}, {left}:{right} isn't within an image of {height} x {width} pixels")


def _can_be_cropped(header: JpegHeader) -> bool:
    luma, *colours = header.sampling
    return not colours or (luma in _NAMED_SAMPLINGS and set(colours) == {(1, 1)})


def _with_height(data: bytes, header: JpegHeader, height: int) -> bytes:
    """A JPEG that says that it has fewer rows: its decoder stops after them."""
    position = header.frame_position
    return data[:position] + height.to_bytes(2, "big") + data[position + 2 :]


def _down(value: int, step: int) -> int:
    return value // step * step


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
