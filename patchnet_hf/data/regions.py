"""Rectangles in images: put on blocks, and turned between an image as it is stored and as it is seen."""

from dataclasses import dataclass

import numpy as np

# EXIF orientation (CIPA DC-008, 4.6.5.1.6): whether the stored image is transposed, then mirrored left to right, then
# top to bottom.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
UPRIGHT = 1


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    def clipped(self, width: int, height: int) -> "Region":
        """What of it lies in an image of `width` x `height` pixels."""
        return Region(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    def padded(self, margin: int) -> "Region":
        """With `margin` more pixels on each side."""
        return Region(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def moved(self, right: int, down: int) -> "Region":
        """At another place."""
        return Region(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def on_blocks(self, width: int, height: int) -> "Region":
        """
        Grown outwards to whole blocks of `width` x `height` pixels.

        >>> Region(5, 17, 30, 32).on_blocks(16, 8)
        Region(left=0, top=16, right=32, bottom=32)
        """
        return Region(
            self.left // width * width,
            self.top // height * height,
            -(-self.right // width) * width,
            -(-self.bottom // height) * height,
        )


def stored_region(region: Region, orientation: int, width: int, height: int) -> Region:
    """
    Where a region of an image as it is seen lies in the image as it is stored.

    Args:
        region: in an image that is seen with `width` x `height` pixels.
        orientation: EXIF's, 1 to 8.
    """
    transposed, mirrored, flipped = _TURNS[orientation]
    left, right = (width - region.right, width - region.left) if mirrored else (region.left, region.right)
    top, bottom = (height - region.bottom, height - region.top) if flipped else (region.top, region.bottom)
    return Region(top, left, bottom, right) if transposed else Region(left, top, right, bottom)


def seen_region(region: Region, orientation: int, width: int, height: int) -> Region:
    """
    Where a region of an image as it is stored lies in the image as it is seen.

    Args:
        region: in the stored image.
        orientation: EXIF's, 1 to 8.
        width, height: of the image as it is seen.

    >>> seen_region(stored_region(Region(1, 2, 30, 40), 6, 100, 50), 6, 100, 50)
    Region(left=1, top=2, right=30, bottom=40)
    """
    transposed, mirrored, flipped = _TURNS[orientation]
    if transposed:
        region = Region(region.top, region.left, region.bottom, region.right)
    left, right = (width - region.right, width - region.left) if mirrored else (region.left, region.right)
    top, bottom = (height - region.bottom, height - region.top) if flipped else (region.top, region.bottom)
    return Region(left, top, right, bottom)


def is_transposed(orientation: int) -> bool:
    """Whether width and height of the stored image are those of the seen image the other way round."""
    return _TURNS[orientation][0]


def known_orientation(value) -> int:
    """An orientation as EXIF holds it; anything but 1 to 8 means upright, as for decoders."""
    return value if value in _TURNS else UPRIGHT


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A stored image `(H, W)` or `(H, W, C)` as it is seen."""
    transposed, mirrored, flipped = _TURNS[orientation]
    if transposed:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1]
