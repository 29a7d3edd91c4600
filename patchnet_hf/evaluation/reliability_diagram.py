"""Reliability diagrams: what share of captures is live, by the P(live) that the model gave them."""

from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.special import expit

from ..metrics import reliability_curve
from ..metrics.calibration import error_of_curve
from ..metrics.intervals import wilson_interval
from .calibration_report import CalibrationReport, Settings
from .scored_set import ScoredSet

LIVE_COLOR, ATTACK_COLOR, CURVE_COLOR, THRESHOLD_COLOR = "#0072B2", "#D55E00", "black", "0.35"


def draw_reliability(report: CalibrationReport, file: BinaryIO) -> None:
    """
    Writes a PNG with a row for each set and a column before and after calibration.

    Each panel has the observed share of live captures against the predicted one, by bins of P(live), with 95 percent
    intervals (Wilson; left out where a prior weights the classes), and under it how many captures of each class are
    in each bin. On the diagonal a model is calibrated.
    """
    rows = len(report.sets)
    figure = Figure(figsize=(9.5, 5.4 * rows + 0.3), dpi=110, layout="constrained")
    grid = figure.add_gridspec(2 * rows, 2, height_ratios=[3, 1.2] * rows)
    columns = (("before", report.before), ("after", report.after))
    for row, (name, scored) in enumerate(report.sets.items()):
        shared = None
        for column, (when, settings) in enumerate(columns):
            upper = figure.add_subplot(grid[2 * row, column])
            lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper, sharey=shared)
            shared = lower
            fitted = " (fitted on)" if name == report.development else ""
            _draw_curve(upper, scored, settings, report.bins, report.prior, f"{name}{fitted}, {when}")
            _draw_counts(lower, scored, settings, report.bins)
            if column == 0:
                upper.set_ylabel("share that is live")
                lower.set_ylabel("captures")
            lower.set_xlabel("P(live)")
    keys = [axes.get_legend_handles_labels() for axes in (upper, lower)]
    handles, labels = [[*of_upper, *of_lower] for of_upper, of_lower in zip(*keys, strict=True)]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9, markerscale=0.6)
    figure.savefig(file, format="png")


def _draw_curve(axes: Axes, scored: ScoredSet, settings: Settings, bins: int, prior: float | None, title: str) -> None:
    curve = reliability_curve(settings.calibration.calibrate(scored.scores), scored.labels, bins, prior)
    filled = curve.counts > 0
    predicted, observed, counts = curve.predicted[filled], curve.observed[filled], curve.counts[filled]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="a calibrated model")
    spread = None
    if prior is None:
        low, high = wilson_interval(np.rint(observed * counts), counts)
        spread = np.maximum([observed - low, high - observed], 0)
    axes.errorbar(predicted, observed, spread, fmt="none", ecolor="0.45", elinewidth=1)
    # Bins of one capture and of fifty must not look alike.
    label = "observed" + (" with 95 % interval" if prior is None else "") + " (area: captures)"
    axes.scatter(
        predicted, observed, 300 * counts / counts.sum() + 12, color=CURVE_COLOR, zorder=3, clip_on=False, label=label
    )
    axes.axvline(settings.threshold, color=THRESHOLD_COLOR, linestyle="--", linewidth=1, label="decision threshold")
    axes.set_title(f"{title}: ECE {error_of_curve(curve):.3f}", fontsize=11)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(labelbottom=False)
    _plain(axes)


def _draw_counts(axes: Axes, scored: ScoredSet, settings: Settings, bins: int) -> None:
    probabilities = expit(settings.calibration.calibrate(scored.scores))
    edges = np.linspace(0, 1, bins + 1)
    classes = [probabilities[scored.labels == 1], probabilities[scored.labels == 0]]
    axes.hist(classes, edges, stacked=True, color=[LIVE_COLOR, ATTACK_COLOR], label=["live", "attack"])
    axes.axvline(settings.threshold, color=THRESHOLD_COLOR, linestyle="--", linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(True, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
