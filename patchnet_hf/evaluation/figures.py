"""The figures of an evaluation as SVG text for a web page."""

import io
import math
import re
import warnings
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from ..metrics import UndefinedRateWarning, det_curve
from ..metrics.plots import (
    LEGEND_COLUMNS,
    NAMES_INSIDE,
    draw_apcer_by_type,
    draw_det,
    draw_roc,
    draw_score_histograms,
)
from .numbers import SetNumbers
from .presentations import Presentations

# Inches of 72 units each: narrow enough that text stays legible when a telephone shows the figure at its full width.
WIDTH = 4.8
# Histograms of more rows are lower.
MANY_ROWS = 8


def det_svg(presentations: Sequence[Presentations], numbers: Sequence[SetNumbers], pooled: str | None) -> str:
    """The DET curves of all sets with their operating points, by the worst attack type."""
    curves = _curves(presentations, by_type=True)
    points = {of.name: (of.metrics["apcer"], of.metrics["bpcer"]) for of in numbers}
    figure = _curve_figure(len(curves))
    draw_det(figure.subplots(), curves, points, pooled)
    return svg_text(figure, "det")


def roc_svg(presentations: Sequence[Presentations], numbers: Sequence[SetNumbers], pooled: str | None) -> str:
    """The ROC curves of all sets with their operating points, of all attacks together."""
    curves = _curves(presentations, by_type=False)
    points = {of.name: (of.metrics["apcer_pooled"], of.metrics["bpcer"]) for of in numbers}
    figure = _curve_figure(len(curves))
    draw_roc(figure.subplots(), curves, points, pooled)
    return svg_text(figure, "roc")


def histograms_svg(presentations: Presentations, threshold_log_odds: float, name: str) -> str:
    """The scores of a set, by attack type; `name` is the figure's own on its page."""
    rows = len(
        {kind for kind, label in zip(presentations.attack_types, presentations.labels, strict=True) if not label}
    )
    rows += bool((presentations.labels == 1).any())
    height = 0.8 if rows <= MANY_ROWS else 0.5
    figure = Figure(figsize=(WIDTH, 0.75 + height * rows), layout="constrained")
    values = (presentations.scores, presentations.labels, presentations.attack_types)
    draw_score_histograms(figure.subplots(), *values, threshold_log_odds)
    return svg_text(figure, name)


def apcer_svg(numbers: Sequence[SetNumbers], pooled: str | None) -> str:
    """APCER of each attack type and set with its interval."""
    rates = {of.name: {kind: found.apcer for kind, found in of.attack_types.items()} for of in numbers}
    intervals = {of.name: {kind: (found.low, found.high) for kind, found in of.attack_types.items()} for of in numbers}
    types = len({kind for of_set in rates.values() for kind in of_set})
    marks = max(types, 1) * len(numbers)
    rows = 0.2 * max(marks, 2 * types, 3)
    figure = Figure(figsize=(WIDTH, 1.0 + rows + _legend_height(len(numbers))), layout="constrained")
    draw_apcer_by_type(figure.subplots(), rates, intervals, pooled)
    return svg_text(figure, "apcer")


def svg_text(figure: Figure, name: str) -> str:
    """
    A figure as an `<svg>` element that scales with its page and takes the page's font.

    Args:
        figure: to save.
        name: distinct on the page; begins all ids in the element, which would otherwise clash with other figures'.

    >>> text = svg_text(Figure(figsize=(2, 1)), "empty")
    >>> text.startswith('<svg '), 'viewBox="0 0 144 72"' in text, " width=" in text[:200]
    (True, True, False)
    """
    stream = io.StringIO()
    figure.patch.set_visible(False)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # Browsers have the characters of all names; only the width of such a name is a guess here.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg ") :].strip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r' (width|height|version|xmlns:xlink)="[^"]*"', "", opening)
    rest = re.sub(r'( id="|url\(#|xlink:href="#)', rf"\g<1>{name}-", rest)
    return f"{opening}>{rest.replace('xlink:href', 'href')}"


def _curve_figure(curves: int) -> Figure:
    return Figure(figsize=(WIDTH, WIDTH * 0.93 + _legend_height(curves)), layout="constrained")


def _legend_height(names: int) -> float:
    """Inches that a legend above a drawing takes, where it doesn't fit inside."""
    return 0.25 * math.ceil(names / LEGEND_COLUMNS) if names > NAMES_INSIDE else 0.0


def _curves(presentations: Sequence[Presentations], by_type: bool):
    with warnings.catch_warnings():
        # What a set lacks is said with its numbers.
        warnings.simplefilter("ignore", UndefinedRateWarning)
        return {
            part.name: det_curve(part.scores, part.labels, part.attack_types if by_type else None)
            for part in presentations
        }
