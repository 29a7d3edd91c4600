"""Rectangles around faces: grown, put on blocks, and turned between an image as it is stored and as it is seen."""

import math
from dataclasses import dataclass

import numpy as np

FaceBox = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

# EXIF orientation: whether the stored image is transposed, then mirrored left to right, then top to bottom.
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


def face_box_in(box: tuple[float, float, float, float], width: int, height: int) -> FaceBox:
    """
    A box in whole pixels, clipped to the image that it belongs to.

    Args:
        box: left, top, right, bottom.
        width, height: of the image in pixels.

    Raises:
        ValueError: it has no area, or less than half of it lies in the image: it is another image's or in other units.

    >>> face_box_in((-2.5, 10.2, 20.0, 40.0), 100, 100)
    (0, 10, 20, 30)
    """
    left, top, right, bottom = box
    shown = f"face box from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
    if right <= left or bottom <= top:
        raise ValueError(f"{shown} has no area")
    region = Region(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)).clipped(width, height)
    inside = max(min(right, width) - max(left, 0), 0) * max(min(bottom, height) - max(top, 0), 0)
    if inside < 0.5 * (right - left) * (bottom - top):
        raise ValueError(f"{shown} isn't within the image of {width} x {height} pixels")
    return region.left, region.top, region.width, region.height


def grown(box: FaceBox, factor: float) -> Region:
    """
    The box with its sides multiplied by `factor` about its centre, as the model's own `face_region` does it, but not
    clipped to an image.

    >>> grown((40, 40, 20, 20), 1.5)
    Region(left=35, top=35, right=65, bottom=65)
    """
    x, y, w, h = box
    center_x, center_y = x + w / 2, y + h / 2
    half_width, half_height = w * factor / 2, h * factor / 2
    return Region(
        round(center_x - half_width),
        round(center_y - half_height),
        round(center_x + half_width),
        round(center_y + half_height),
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
