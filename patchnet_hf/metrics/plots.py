"""Error rates and scores as drawings on matplotlib Axes that the caller makes and saves.

Nothing outside of the given Axes is touched: no backend is chosen and no window opened. Rates are shares in [0, 1] and
drawn in percent; scores and thresholds are live log-odds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from numpy.typing import ArrayLike
from scipy.special import ndtri

from .error_rates import split_by_class
from .ranking import DetCurve

# Okabe and Ito's colours, told apart by nearly everyone (https://jfly.uni-koeln.de/color/); then other line styles.
SET_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
BONA_FIDE_COLOR = "#0072B2"
ATTACK_COLOR = "0.6"
ERROR_COLOR = "#D55E00"
POOLED_COLOR = "black"
BONA_FIDE_NAME = "bona fide"

# Where a normal deviate axis may begin and end, and where it has ticks.
LOWEST_RATES = (0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 1e-5, 1e-6)
HIGHEST_RATES = (0.6, 0.9, 0.99, 0.999)
RATE_TICKS = (1e-6, 1e-5, 1e-4, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
# A line of a curve is nowhere further than this share of the axis from the curve of all points.
CELLS = 2000
BINS = 60
# Legends of more names stand above their drawing.
NAMES_INSIDE = 4
LEGEND_COLUMNS = 3
NAME_LENGTH = 20


def draw_det(
    axes: Axes,
    curves: Mapping[str, DetCurve],
    points: Mapping[str, tuple[float, float]] | None = None,
    pooled: str | None = None,
) -> None:
    """
    Detection error trade-off of one or more sets on normal deviate axes (ISO/IEC 19795-1, Martin et al. 1997).

    Both axes are `ndtri(rate)`, on which normally distributed scores make a straight line. A rate of 0 or 1, which
    lies at infinity there, is drawn at the border. The dotted diagonal is where both rates are equal.

    Args:
        axes: to draw on.
        curves: name of a set to its curve ([`det_curve`]); a set without bona fides or without attacks is left out.
        points: name of a set to `(apcer, bpcer)` at the operating point, marked on its curve.
        pooled: name of the set that is all others together, drawn in black.

    >>> from matplotlib.figure import Figure
    >>> from patchnet_hf.metrics import det_curve
    >>> axes = Figure().subplots()
    >>> draw_det(axes, {"val": det_curve([2.0, 1.0, 1.5, 0.0], [1, 1, 0, 0])}, {"val": (0.5, 0.0)})
    >>> axes.get_xlabel(), len(axes.get_legend_handles_labels()[1])
    ('APCER of the worst attack type (%)', 1)
    """
    curves = _defined(curves)
    points = {name: point for name, point in (points or {}).items() if name in curves}
    low, high = _rate_limits(curves.values(), points.values())
    ends = ndtri([low, high])
    axes.plot(ends, ends, ":", color="0.6", linewidth=1, zorder=1)
    for name, style in set_styles(curves, pooled).items():
        x, y = (_deviates(rates, low, high) for rates in (curves[name].apcer, curves[name].bpcer))
        _draw_curve(axes, x, y, tuple(ends), tuple(ends), label=shown_name(name), **style)
        if name in points:
            _mark(axes, *_deviates(np.array(points[name]), low, high), style["color"])
    ticks = [rate for rate in RATE_TICKS if low <= rate <= high]
    for axis, set_limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        axis.set_major_locator(FixedLocator(ndtri(ticks)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, position: f"{100 * ticks[position]:g}"))
        set_limits(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel("APCER of the worst attack type (%)")
    axes.set_ylabel("BPCER (%)")
    _finish(axes, loc="upper right")


def draw_roc(
    axes: Axes,
    curves: Mapping[str, DetCurve],
    points: Mapping[str, tuple[float, float]] | None = None,
    pooled: str | None = None,
) -> None:
    """
    Receiver operating characteristic of one or more sets: bona fides accepted against attacks accepted.

    The area under a line is the set's AUC when its curve is that of all attacks together (`det_curve` without attack
    types). The dotted diagonal is what scores that tell nothing give.

    Args:
        axes: to draw on.
        curves: name of a set to its curve ([`det_curve`]); a set without bona fides or without attacks is left out.
        points: name of a set to `(apcer_pooled, bpcer)` at the operating point, marked on its curve.
        pooled: name of the set that is all others together, drawn in black.

    >>> from matplotlib.figure import Figure
    >>> from patchnet_hf.metrics import det_curve
    >>> axes = Figure().subplots()
    >>> draw_roc(axes, {"val": det_curve([2.0, 1.0, 1.5, 0.0], [1, 1, 0, 0])})
    >>> axes.get_ylabel()
    'bona fides accepted (%)'
    """
    curves = _defined(curves)
    axes.plot([0, 1], [0, 1], ":", color="0.6", linewidth=1, zorder=1)
    for name, style in set_styles(curves, pooled).items():
        _draw_curve(axes, curves[name].apcer, 1 - curves[name].bpcer, (0, 1), (0, 1), label=shown_name(name), **style)
        if points and name in points:
            apcer, bpcer = points[name]
            _mark(axes, apcer, 1 - bpcer, style["color"])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel("attacks accepted, all types together (%)")
    axes.set_ylabel("bona fides accepted (%)")
    _finish(axes, loc="lower right")


def draw_score_histograms(
    axes: Axes,
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    threshold_log_odds: float = 0.0,
    bins: int = BINS,
) -> None:
    """
    The scores of one set, a histogram for the bona fides and for each attack type above one another.

    Each is as high as its own highest bar, so that a rare type shows as well as a frequent one. The threshold is a
    border of bars; those on its wrong side, rejected bona fides and accepted attacks, have another colour.

    Args:
        axes: to draw on.
        scores: shape `(N,)`, live log-odds; infinite ones are drawn at the ends.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        threshold_log_odds: the operating point.
        bins: number of bars over the range of the scores.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> draw_score_histograms(axes, [3.0, -1.0, -2.0, 1.0], [1, 1, 0, 0], ["", "", "print", "mask"])
    >>> [text.get_text() for text in axes.texts]
    ['1 of 2 rejected', '1 of 1 accepted', '0 of 1 accepted']
    """
    by_class = split_by_class(scores, labels, attack_types)
    groups = {name: values for name, values in [(BONA_FIDE_NAME, by_class.bona_fides)] if values.size}
    groups.update(by_class.attacks)
    edges = _edges(np.asarray(scores, dtype=np.float64), threshold_log_odds, bins)
    middles = (edges[:-1] + edges[1:]) / 2
    # From the top down, as they would be read.
    for row, values in enumerate(groups.values()):
        live = row == 0 and bool(by_class.bona_fides.size)
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        base = float(len(groups) - 1 - row)
        heights = base + 0.72 * counts / max(counts.max(), 1)
        wrong = middles < threshold_log_odds if live else middles > threshold_log_odds
        for part, color in ((~wrong, BONA_FIDE_COLOR if live else ATTACK_COLOR), (wrong, ERROR_COLOR)):
            axes.stairs(np.where(part, heights, base), edges, baseline=base, fill=True, color=color, linewidth=0)
        axes.axhline(base, color="0.75", linewidth=0.8, zorder=0.5)
        errors = np.sum(values < threshold_log_odds) if live else np.sum(values >= threshold_log_odds)
        said = f"{errors} of {values.size} {'rejected' if live else 'accepted'}"
        axes.annotate(
            said,
            (1, base + 0.74),
            xycoords=axes.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize="small",
            color=ERROR_COLOR if errors else "0.35",
        )
    if np.isfinite(threshold_log_odds):
        axes.axvline(threshold_log_odds, color="black", linewidth=1.2, linestyle="--")
    axes.set_yticks(np.arange(len(groups))[::-1] + 0.35, list(map(shown_name, groups)), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.04, len(groups) + 0.05)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("score: live log-odds")
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_apcer_by_type(
    axes: Axes,
    rates: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    pooled: str | None = None,
) -> None:
    """
    APCER of each attack type, a mark for each set with its confidence interval as whiskers.

    Args:
        axes: to draw on.
        rates: name of a set to attack type to its APCER.
        intervals: name of a set to attack type to `(low, high)`.
        pooled: name of the set that is all others together, drawn in black.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> draw_apcer_by_type(axes, {"val": {"print": 0.05, "mask": 0.0}}, {"val": {"print": (0.01, 0.12)}})
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['mask', 'print']
    """
    types = sorted({kind for of_set in rates.values() for kind in of_set})
    spread = 0.5 if len(rates) > 1 else 0.0
    offsets = np.linspace(-spread / 2, spread / 2, len(rates)) if len(rates) > 1 else [0.0]
    for number, (name, style) in enumerate(set_styles(rates, pooled).items()):
        here = [(row, kind) for row, kind in enumerate(types) if np.isfinite(rates[name].get(kind, np.nan))]
        if not here:
            continue
        values = np.array([rates[name][kind] for _, kind in here])
        rows = np.array([row for row, _ in here]) + offsets[number]
        known = (intervals or {}).get(name, {})
        ends = np.array([known.get(kind, (value, value)) for (_, kind), value in zip(here, values, strict=True)])
        whiskers = np.clip([values - ends[:, 0], ends[:, 1] - values], 0, None)
        marker, color = MARKERS[number % len(MARKERS)], style["color"]
        axes.errorbar(
            values, rows, xerr=whiskers, fmt=marker, color=color, label=shown_name(name), capsize=3, markersize=6,
            linewidth=1.5,
        )  # fmt: skip
    axes.set_yticks(range(len(types)), list(map(shown_name, types)), parse_math=False)
    axes.set_ylim(max(len(types), 1) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{100 * value:.6g}"))
    reach = axes.get_xlim()[1]
    axes.set_xlim(-0.02 * reach, min(max(reach, 0.05), 1.02))
    axes.set_xlabel("APCER (%)")
    axes.tick_params(axis="y", length=0)
    # Above, because whiskers may be anywhere.
    _finish(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=LEGEND_COLUMNS, fontsize="small")


def shown_name(name: str, length: int = NAME_LENGTH) -> str:
    """
    A name on one line and short enough to leave room for what is drawn; both of its ends are kept.

    >>> shown_name("print"), shown_name("a mask of\\nsilicone, made by hand", 16)
    ('print', 'a mask o… by hand')
    """
    name = " ".join(name.split())
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2) :]}"


def set_styles(names: Sequence[str] | Mapping[str, object], pooled: str | None = None) -> dict[str, dict]:
    """
    Colour, line style and width of each set, the same in all drawings of the same sets.

    >>> styles = set_styles(["val", "total"], pooled="total")
    >>> styles["val"]["color"], styles["total"]["color"]
    ('#0072B2', 'black')
    """
    styles, number = {}, 0
    for name in names:
        if name == pooled:
            styles[name] = {"color": POOLED_COLOR, "linestyle": "-", "linewidth": 1.2}
            continue
        line = LINE_STYLES[number // len(SET_COLORS) % len(LINE_STYLES)]
        styles[name] = {"color": SET_COLORS[number % len(SET_COLORS)], "linestyle": line, "linewidth": 2.0}
        number += 1
    return styles


def thinned(x: np.ndarray, y: np.ndarray, x_range: tuple[float, float], y_range: tuple[float, float],
            cells: int = CELLS) -> np.ndarray:  # fmt: skip
    """
    Which points of a line are worth drawing: one that falls into the same cell of a fine grid as both its neighbours
    isn't.

    A drawing of ten million points would be as many coordinates in a file; so there are at most four for each of
    `cells`, and the line stays within a cell of the full one.

    Args:
        x, y: shape `(K,)`, finite, each monotonous.
        x_range, y_range: of the axes, in the units of `x` and `y`.
        cells: along each axis.

    Returns:
        Ascending indices, the first and last point among them.

    >>> thinned(np.array([0.0, 0.1, 0.101, 0.102, 1.0]), np.zeros(5), (0, 1), (0, 1), cells=10)
    array([0, 1, 3, 4])
    """
    moved = np.zeros(max(len(x) - 1, 0), dtype=bool)
    for values, (low, high) in ((x, x_range), (y, y_range)):
        cell = np.round((values - low) * (cells / (high - low))).astype(np.int64)
        moved |= cell[1:] != cell[:-1]
    keep = np.ones(len(x), dtype=bool)
    keep[1:-1] = moved[1:] | moved[:-1]
    return np.flatnonzero(keep)


def _draw_curve(axes: Axes, x, y, x_range, y_range, **style) -> None:
    drawn = thinned(x, y, x_range, y_range)
    # At the border, where rates of 0 and 1 are, half of the line would be cut off.
    axes.plot(x[drawn], y[drawn], clip_on=False, **style)


def _mark(axes: Axes, x: float, y: float, color: str) -> None:
    axes.plot([x], [y], "o", color=color, markeredgecolor="white", markeredgewidth=1.2, markersize=9, clip_on=False,
              zorder=4)  # fmt: skip


def _finish(axes: Axes, **legend) -> None:
    axes.grid(True, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", va="center", color="0.5")
    elif len(names) > 1:
        if len(names) > NAMES_INSIDE:
            # They would hide the curves.
            legend = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": LEGEND_COLUMNS, "fontsize": "small"}
        drawn = axes.legend(handles, names, frameon=True, framealpha=0.9, edgecolor="0.9", **legend)
        for text in drawn.get_texts():
            text.set_parse_math(False)


def _defined(curves: Mapping[str, DetCurve]) -> dict[str, DetCurve]:
    return {
        name: curve
        for name, curve in curves.items()
        if len(curve.thresholds) > 1 and not (np.isnan(curve.apcer).any() or np.isnan(curve.bpcer).any())
    }


def _rate_limits(curves, points) -> tuple[float, float]:
    """Where normal deviate axes begin and end so that all that matters of the curves and points is between."""
    steps = [rates[rates > 0].min() for curve in curves for rates in (curve.apcer, curve.bpcer)]
    smallest = min(steps, default=0.01)
    low = next((rate for rate in LOWEST_RATES if rate <= smallest), LOWEST_RATES[-1])
    crossings = [np.minimum(np.maximum(curve.apcer, curve.bpcer).min() * 1.2, 1.0) for curve in curves]
    largest = max([*crossings, *(max(point) for point in points)], default=0.0)
    return low, next((rate for rate in HIGHEST_RATES if rate >= largest), HIGHEST_RATES[-1])


def _deviates(rates: np.ndarray, low: float, high: float) -> np.ndarray:
    return ndtri(np.clip(rates, low, high))


def _edges(scores: np.ndarray, threshold: float, bins: int) -> np.ndarray:
    """Borders of equally wide bars over all finite scores and the threshold, which is one of them."""
    finite = np.append(scores[np.isfinite(scores)], [threshold] if np.isfinite(threshold) else [])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    width = (high - low) / bins or 1.0
    start = threshold if np.isfinite(threshold) else low
    first = np.floor((low - start) / width)
    last = max(np.floor((high - start) / width) + 1, first + 1)
    return start + width * np.arange(first, last + 1)
