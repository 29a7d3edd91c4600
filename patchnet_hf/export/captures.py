"""The captures that an export is calibrated on and checked with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from ..data.views import decode_capture, encoded_images
from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Capture:
    """A picture `(H, W, 3)` uint8 RGB and the box `(x, y, w, h)` of its face, `None` for a face crop."""

    image: np.ndarray
    face_box: Sequence[int] | None = None


def random_captures(patch_size: int, seed: int = 0) -> list[Capture]:
    """Eight pictures of noise, smooth and rough, dark and bright, from larger than a patch down to a single line."""
    generator = np.random.default_rng(seed)
    side = patch_size
    sizes = [(side, side), (2 * side + 5, side + 3), (side + 31, 3 * side), (side // 2 + 1, side)]
    sizes += [(side, 1), (1, 2 * side), (side // 3 + 1, side // 2 + 1), (3 * side, 3 * side)]
    captures = []
    for height, width in sizes:
        rough = generator.normal(size=(height, width, 3)) * generator.uniform(1, 60)
        grey = generator.uniform(30, 220, size=3)
        slope = np.linspace(-1, 1, height)[:, None, None] * generator.uniform(-80, 80, size=3)
        captures.append(Capture((rough + grey + slope).round().clip(0, 255).astype(np.uint8)))
    return captures


def read_capture(dataset: Dataset, name: str, index: int) -> Capture:
    """
    One capture of a dataset.

    Raises:
        InputError: it can't be decoded.
    """
    row = encoded_images(dataset, ["image", "face_box"])[int(index)]
    try:
        return Capture(decode_capture(row["image"]), row["face_box"])
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: capture {index} ({row['image']['path']}): {error}") from error


def draw_evenly(attack_types: Sequence[str], count: int, seed: int = 0) -> list[int]:
    """
    Captures drawn at random, as many of each attack type (and of live captures) as there are, as evenly as they can.

    Args:
        attack_types: of N captures, `"bonafide"` for live ones.
        count: how many to draw, at most N.
        seed: of the draw.

    Returns:
        Their positions, in order.

    >>> draw_evenly(["print", "bonafide", "bonafide", "bonafide", "replay"], 3) in ([0, 1, 4], [0, 2, 4], [0, 3, 4])
    True
    """
    shuffled = np.random.default_rng(seed).permutation(len(attack_types))
    turns: dict[str, int] = {}
    ranked = []
    for index in shuffled:
        kind = attack_types[index]
        # The n-th of every type comes before the (n + 1)-th of any.
        ranked.append((turns.get(kind, 0), len(ranked), int(index)))
        turns[kind] = turns.get(kind, 0) + 1
    return sorted(index for _, _, index in sorted(ranked)[:count])
