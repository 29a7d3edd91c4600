"""The captures that an export is calibrated on and checked with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from ..data.fingerprints import image_digests
from ..data.loading import load_split
from ..data.schema import LIVE, SPOOF
from ..data.views import decode_capture, encoded_images, reading_capture
from ..errors import InputError
from .settings import CAPTURES, ExportSettings


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
    with reading_capture(row["image"], f"{name}: capture {index}"):
        return Capture(decode_capture(row["image"]), row["face_box"])


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


@dataclass(frozen=True)
class ExportData:
    """
    The captures of an export.

    Attributes:
        given: `DIR[:SPLIT]` of what is compared.
        name: of it.
        compared: its captures, without those that were drawn.
        left_out: how many of it were drawn and therefore aren't compared.
        calibrated_on: `DIR[:SPLIT]` that captures were drawn from.
        drawn: those captures; none where nothing is calibrated.
    """

    given: str
    name: str
    compared: Dataset
    left_out: int = 0
    calibrated_on: str | None = None
    drawn: Dataset | None = None

    def drawn_counts(self) -> dict[str, int]:
        """How many captures of each attack type were drawn."""
        return dict(sorted(Counter(self.drawn["attack_type"][:]).items()))


def load_export_data(settings: ExportSettings) -> ExportData | None:
    """
    The captures that an export asks for; `None` where it asks for none.

    Raises:
        InputError: a set is missing or broken, has fewer captures than are to be drawn, or what is left to compare
            lacks a class.
    """
    if settings.dataset is None:
        return None
    name, dataset = load_split(settings.dataset)
    data = ExportData(settings.dataset, name, dataset)
    if settings.quantize:
        data = _with_drawn(data, settings)
    labels = set(data.compared["label"][:])
    if missing := [noun for label, noun in ((LIVE, "live captures"), (SPOOF, "attacks")) if label not in labels]:
        kept = f" beside the {data.left_out} captures to calibrate on" if data.left_out else ""
        raise InputError(f"{settings.dataset} has no {' and no '.join(missing)}{kept} to compare the graph on")
    return data


def _with_drawn(data: ExportData, settings: ExportSettings) -> ExportData:
    """`data` with captures to calibrate on, which are kept out of what is compared."""
    source = settings.calibrate_on or settings.dataset
    dataset = load_split(settings.calibrate_on)[1] if settings.calibrate_on else data.compared
    most = len(dataset) if settings.calibrate_on else len(dataset) // 2
    count = settings.captures or min(CAPTURES, max(most, 1))
    if count > len(dataset) or not len(dataset):
        raise InputError(f"{source} has {len(dataset)} captures, not the {count} to calibrate on")
    drawn = dataset.select(draw_evenly(dataset["attack_type"][:], count, settings.seed))
    # By their bytes: the sets may share captures under other names.
    known = set(image_digests(drawn, source))
    digests = image_digests(data.compared, settings.dataset)
    kept = [index for index, digest in enumerate(digests) if digest not in known]
    return replace(
        data,
        compared=data.compared.select(kept),
        left_out=len(digests) - len(kept),
        calibrated_on=source,
        drawn=drawn,
    )
