"""Pictures of patches with their scores."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import InputError
from .scoring import CaptureScore

# Blue for live and red for attack are told apart by nearly everyone, green and red are not.
COLOR_MAP = "RdYlBu"
VERDICT_COLORS = {"live": "#1a5fa8", "spoof": "#b3261e"}
GAP = 6


def patch_sheet(views: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """
    Patches laid out in their grid with white gaps.

    Args:
        views: `(V, P, P, 3)` uint8, V a square number.

    Returns:
        The sheet `(S, S, 3)` uint8, and `(top, left)` of each patch in it.
    """
    grid, size = math.isqrt(len(views)), views.shape[1]
    side = grid * size + (grid + 1) * GAP
    sheet = np.full((side, side, 3), 255, dtype=np.uint8)
    corners = [
        (GAP + row * (size + GAP), GAP + column * (size + GAP)) for row in range(grid) for column in range(grid)
    ]
    for patch, (top, left) in zip(views, corners, strict=True):
        sheet[top : top + size, left : left + size] = patch
    return sheet, corners


def draw_patch_scores(scores: Sequence[CaptureScore], path: str | Path, columns: int = 4) -> None:
    """
    Writes a picture of captures, each as its grid of patches with the live probability of every patch.

    Args:
        scores: captures without errors.
        path: where to; the ending says the format (`.png`, `.pdf`, `.svg`).
        columns: captures side by side.

    Raises:
        InputError: the model gives no scores of single patches, or the file can't be written.
    """
    if unknown := next((score.path for score in scores if not score.patch_probabilities), None):
        raise InputError(f"{unknown}: the model gives no scores of single patches to draw")
    columns = min(columns, len(scores))
    rows = math.ceil(len(scores) / columns)
    figure = Figure(figsize=(3.1 * columns, 3.5 * rows), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colored = None
    for axis in axes:
        axis.axis("off")
    for axis, score in zip(axes, scores, strict=False):
        sheet, corners = patch_sheet(score.views)
        axis.imshow(sheet)
        size = score.views.shape[1]
        colored = axis.scatter([], [], c=[], cmap=COLOR_MAP, vmin=0, vmax=1)
        for (top, left), probability in zip(corners, score.patch_probabilities, strict=True):
            color = colored.cmap(probability)
            corner = (left - 2.5, top - 2.5)
            axis.add_patch(Rectangle(corner, size + 4, size + 4, fill=False, edgecolor=color, linewidth=3))
            axis.text(
                left + size / 2,
                top + size - 7,
                f"{probability:.2f}",
                ha="center",
                va="bottom",
                fontsize=8,
                color=_readable_on(color),
                bbox={"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none"},
            )
        axis.set_title(
            f"{_short(score)}\n{score.verdict}, P(live) = {score.probability:.3f}",
            fontsize=9,
            fontweight="bold",
            color=VERDICT_COLORS[score.verdict],
            parse_math=False,  # a name may have dollar signs
        )
    bar = figure.colorbar(colored, ax=list(axes), location="bottom", shrink=0.4, aspect=40, pad=0.02)
    bar.set_label("live probability of each patch")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from error


def _readable_on(color: tuple[float, ...]) -> str:
    """Black or white, whichever stands out from `color` (relative luminance of ITU-R BT.709)."""
    red, green, blue = color[:3]
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"


def _short(score: CaptureScore, length: int = 30) -> str:
    text = "/".join(score.path.parts[-3:]) + ("" if score.frame is None else f" [{score.frame}]")
    return text if len(text) <= length else "…" + text[-length + 1 :]
