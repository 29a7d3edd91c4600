"""The course of a training as a picture."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from transformers import TrainerCallback

from ..metrics.plots import LINE_STYLES, SET_COLORS
from ..whole_file import whole_file
from .history import POOLED, best_so_far, evaluations, of_training

logger = logging.getLogger(__name__)

FILE_NAME = "learning_curve.png"
BEST_COLOR = "#D55E00"
TRAINING_COLOR = "0.6"
LOSSES = (("loss", "loss", "black"), ("loss_classification", "classification", "#0072B2"),
          ("loss_similarity", "similarity", "#E69F00"))  # fmt: skip


def learning_curve(log_history: Sequence[Mapping]) -> Figure:
    """
    Losses, ACER and learning rate of a training over its epochs.

    Args:
        log_history: `trainer.state.log_history`.

    Returns:
        A figure of three panels: the training loss and its unweighted parts; the ACER in percent of the training
        batches, of each evaluation set and of all of them pooled, with the best of the latter marked; the learning
        rate. Nothing outside of the figure is touched: no backend is chosen and no window opened.
    """
    figure = Figure(figsize=(9, 10), dpi=110, layout="constrained")
    losses, rates, speed = figure.subplots(3, 1, sharex=True, height_ratios=[3, 4, 1.5])
    logs = of_training(log_history)
    _draw_losses(losses, logs)
    _draw_rates(rates, logs)
    _draw_line(speed, _points(logs, "learning_rate"), color="black")
    speed.set_ylabel("learning rate")
    speed.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    speed.set_ylim(bottom=0)
    speed.set_xlabel("epoch")
    speed.xaxis.set_major_locator(MaxNLocator(integer=True))
    speed.set_xlim(left=0)
    for axes in (losses, rates, speed):
        axes.grid(True, color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        elif not axes.lines:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", va="center", color="0.5")
    return figure


def _draw_losses(axes: Axes, logs: Sequence[Mapping]) -> None:
    axes.set_title("training loss", loc="left")
    values = []
    for key, label, color in LOSSES:
        points = _points(logs, key)
        values += [value for _, value in points]
        _draw_line(axes, points, label=label, color=color)
    if values and min(values) > 0:
        # The parts lie far apart, and all of them fall by orders of magnitude.
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.set_ylabel("loss")


def _draw_rates(axes: Axes, logs: Sequence[Mapping]) -> None:
    axes.set_title("average classification error rate (ACER)", loc="left")
    axes.set_ylabel("ACER %")
    _draw_line(axes, _percent(_points(logs, "acer")), label="training", color=TRAINING_COLOR, linewidth=1.2)
    found = evaluations(logs)
    names = list(dict.fromkeys(entry.name for entry in found))
    # The only set and the pool of it are one line.
    names = [name for name in names if name != POOLED or len(names) != 2]
    if POOLED in names:
        # First and thicker, so that a set that agrees with it still shows on top.
        points = _acer_of(found, POOLED)
        _draw_line(axes, points, label="all sets pooled", color="black", linewidth=3.2, marker="o")
    for number, name in enumerate(name for name in names if name != POOLED):
        style = LINE_STYLES[number // len(SET_COLORS) % len(LINE_STYLES)]
        points = _acer_of(found, name)
        _draw_line(axes, points, label=name, color=SET_COLORS[number % len(SET_COLORS)], linestyle=style, marker="o")
    best = best_so_far(logs).get("acer")
    if best is not None:
        label = f"best: {100 * best.value:.2f} %\n(epoch {best.epoch:.4g})"
        point = ([best.epoch], [100 * best.value])
        axes.plot(*point, "*", markersize=16, color=BEST_COLOR, markeredgecolor="white", label=label, zorder=5)
    if axes.lines:
        axes.set_ylim(bottom=0 - 0.02 * axes.get_ylim()[1])


def _points(logs: Iterable[Mapping], key: str) -> list[tuple[float, float]]:
    """Epoch and value of every log of training that has `key`; a value that isn't finite makes no point."""
    found = ((log.get("epoch", 0.0), float(log[key])) for log in logs if key in log)
    return [(epoch, value) for epoch, value in found if math.isfinite(value)]


def _acer_of(found, name: str) -> list[tuple[float, float]]:
    return _percent(
        _points([{"epoch": entry.epoch, **entry.numbers} for entry in found if entry.name == name], "acer")
    )


def _percent(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(epoch, 100 * share) for epoch, share in points]


def _draw_line(axes: Axes, points: list[tuple[float, float]], marker: str | None = None, **style) -> None:
    if not points:
        return
    # A single point would be no line.
    marker = "o" if len(points) == 1 else marker
    axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, **{"linewidth": 1.6, **style})


class LearningCurveCallback(TrainerCallback):
    """
    Writes `learning_curve.png` into the run's folder when training ends; the main process alone.

    Callbacks run in the order they were added: one that sends the picture must be added after this one. A picture that
    can't be written is said and doesn't end the run, which has its model still to save.
    """

    def on_train_end(self, args, state, control, **kwargs):
        """Draws what was logged."""
        if not state.is_world_process_zero:
            return
        path = Path(args.output_dir) / FILE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                learning_curve(state.log_history).savefig(unfinished, format="png")
        except OSError as error:
            logger.warning("the learning curve %s can't be written: %s", path, error)


__all__ = ["FILE_NAME", "LearningCurveCallback", "learning_curve"]
