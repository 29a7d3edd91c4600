"""Face boxes: checked against their image, and grown."""

import math

from ..data.regions import Region

FaceBox = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


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
