"""Image files of which a region alone is decoded, where that is faster than decoding all."""

import numpy as np

from .decoding import (
    Decoder,
    JpegHeader,
    crop_by_turbojpeg,
    decode_by_turbojpeg,
    decode_image,
    jpeg_orientation,
    read_jpeg_header,
    turbojpeg_is_available,
)
from .regions import Region, is_transposed, stored_region, upright

CROP_PAYS_BELOW = 1 / 8
"""Cutting blocks out of a JPEG reads them all and writes some again: faster than decoding all below this share."""


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

    What is broken below a region of a JPEG doesn't show in it. Data that are missing in it or above it are an error
    where the region reaches the last row; elsewhere they may show in the pixels alone, which are moved, because
    libjpeg tells that data ended early when it gets to the end of the file. Decoding all of an image shows it, which
    [`~patchnet_hf.data.conversion.convert_csv`] does once with every image, and so does an evaluation. Damage after
    which there are still enough data for all rows shows nowhere: a JPEG has no checksums.

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
        turned = is_transposed(self._orientation)
        self.height, self.width = (header.width, header.height) if turned else (header.height, header.width)

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """
        The pixels `(bottom - top, right - left, 3)`, uint8 RGB, of a part of the upright image.

        Raises:
            ValueError: the region is empty or not within the image, or its data is found to be corrupt.
        """
        if self._decoded is not None:
            return self._decoded.region(top, left, bottom, right)
        _check_region(top, left, bottom, right, self.height, self.width)
        stored = stored_region(Region(left, top, right, bottom), self._orientation, self.width, self.height)
        return upright(_decode_stored(self._data, self._header, stored), self._orientation)


def _decode_stored(data: bytes, header: JpegHeader, wanted: Region) -> np.ndarray:
    group_width, group_height = header.group_size
    height = header.height
    # Colours are interpolated from the neighbouring blocks, so one more group on each side gives the same pixels.
    around = Region(
        wanted.left - group_width, wanted.top - group_height, wanted.right + group_width, wanted.bottom + group_height
    )
    around = around.on_blocks(group_width, group_height).clipped(header.width, header.height)
    shortened = header.has_rows_in_order and around.bottom < height
    if shortened:
        data, height = _with_height(data, header, around.bottom), around.bottom
    if header.can_be_cropped and around.width * around.height < CROP_PAYS_BELOW * height * header.width:
        data = crop_by_turbojpeg(data, around)
        wanted = wanted.moved(-around.left, -around.top)
    # The rows that are left out look like stray bytes before the end, which are harmless.
    pixels = decode_by_turbojpeg(data, lenient=shortened)
    return pixels[wanted.top : wanted.bottom, wanted.left : wanted.right]


def _check_region(top: int, left: int, bottom: int, right: int, height: int, width: int) -> None:
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(f"region {top}:{bottom}, {left}:{right} isn't within an image of {height} x {width} pixels")


def _with_height(data: bytes, header: JpegHeader, height: int) -> bytes:
    """A JPEG that says that it has fewer rows: its decoder stops after them."""
    position = header.frame_position
    return data[:position] + height.to_bytes(2, "big") + data[position + 2 :]
