"""A sheet of samples by label, attack type and device, on which a wrong label shows at a glance."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..data.decoding import decode_image
from ..data.schema import LABELS, LIVE
from ..inference.pictures import VERDICT_COLORS
from .rows import PreparedRow

SIDE = 160
MOST_KINDS = 24
_BOX_COLOR = "#ffd24d"


def draw_overview(rows: Sequence[PreparedRow], folder: Path, path: Path, samples: int) -> None:
    """
    Draws a row of pictures for each label, attack type, material and device, bona fides first, with the face boxes.

    Args:
        rows: of all lists.
        folder: that the images' names are relative to.
        path: of the picture.
        samples: pictures in a row at most, spread evenly over the captures in their order.
    """
    kinds: dict[tuple, list[PreparedRow]] = defaultdict(list)
    for row in rows:
        known = row.description
        kinds[known.label != LIVE, known.attack_type, known.material, known.device or ""].append(row)
    shown = sorted(kinds.items())[:MOST_KINDS]
    columns = min(samples, max(len(of_kind) for _, of_kind in shown))
    figure = Figure(figsize=(1.9 + 1.55 * columns, 1.75 * len(shown) + 0.5), layout="constrained", dpi=110)
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, ((is_attack, attack_type, material, device), of_kind) in zip(axes, shown, strict=True):
        color = VERDICT_COLORS["spoof" if is_attack else "live"]
        chosen = np.unique(np.linspace(0, len(of_kind) - 1, columns).round().astype(int))
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        for axis, index in zip(line, chosen, strict=False):
            _draw(axis, of_kind[index], folder, color)
        kind = attack_type if is_attack else LABELS[LIVE]
        label = [kind, "" if material == kind else material, device, str(len(of_kind))]
        line[0].set_ylabel(
            "\n".join(filter(None, label)),
            rotation=0, ha="right", va="center", color=color, fontsize=9, parse_math=False,
        )  # fmt: skip
    hidden = len(kinds) - len(shown)
    title = "blue: live, red: attack; beside each row its attack type, material, device and number of images"
    figure.suptitle(title + (f"; {hidden} more kinds are not shown" if hidden else ""), fontsize=9)
    figure.savefig(path)


def _draw(axis, row: PreparedRow, folder: Path, color: str) -> None:
    image = decode_image((folder / row.image_name).read_bytes())
    step = max(max(image.shape[:2]) // (2 * SIDE), 1)
    axis.imshow(image[::step, ::step], extent=(0, image.shape[1], image.shape[0], 0))
    axis.spines[:].set(visible=True, color=color, linewidth=2)
    if row.face_box is not None:
        x, y, w, h = row.face_box
        axis.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=_BOX_COLOR, linewidth=1))
    who = row.description.video or row.description.subject or Path(row.image_name).stem
    axis.set_xlabel(who if len(who) <= 22 else "…" + who[-21:], fontsize=6, parse_math=False)
