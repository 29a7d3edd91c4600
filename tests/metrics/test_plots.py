"""Drawings show the numbers they are given, however many, and touch nothing but their Axes."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtri
from sklearn.metrics import roc_auc_score

from patchnet_hf.metrics import apcer_by_type, det_curve
from patchnet_hf.metrics.plots import (
    ERROR_COLOR,
    draw_apcer_by_type,
    draw_det,
    draw_roc,
    draw_score_histograms,
    set_styles,
    thinned,
)


def captures(count: int, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    types = np.where(labels == 1, "bonafide", random.choice(["mask", "print", "replay"], count))
    return random.normal(3.0 * labels, 1.5), labels, types


def line_named(axes, name):
    return next(line for line in axes.lines if line.get_label() == name)


def test_the_roc_line_encloses_the_auc():
    scores, labels, _ = captures(5000)
    axes = Figure().subplots()
    draw_roc(axes, {"val": det_curve(scores, labels)})
    x, y = line_named(axes, "val").get_data()
    assert np.trapezoid(y[::-1], x[::-1]) == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


def test_det_axes_are_normal_deviates_and_the_operating_point_is_marked():
    scores, labels, types = captures(2000)
    axes = Figure().subplots()
    curve = det_curve(scores, labels, types)
    draw_det(axes, {"val": curve}, {"val": (0.1, 0.02)})
    marked = axes.lines[-1].get_xydata()[0]
    np.testing.assert_allclose(marked, ndtri([0.1, 0.02]))
    x, y = line_named(axes, "val").get_data()
    middle = len(curve.thresholds) // 2
    nearest = np.hypot(x - ndtri(curve.apcer[middle]), y - ndtri(curve.bpcer[middle])).min()
    assert nearest < 2 * np.ptp(axes.get_xlim()) / 2000
    axes.figure.canvas.draw()
    ticks = [float(label.get_text()) for label in axes.get_xticklabels()]
    np.testing.assert_allclose(ndtri(np.array(ticks) / 100), axes.get_xticks())


def test_ten_million_points_make_a_small_drawing_that_looks_the_same():
    random = np.random.default_rng(0)
    x = np.linspace(0, 1, 10_000_000)
    y = 1 - np.sort(random.beta(0.1, 0.5, x.size))[::-1]
    kept = thinned(x, y, (0, 1), (0, 1))
    assert kept.size < 10_000 and kept[0] == 0 and kept[-1] == x.size - 1
    # Between kept points the straight line stays within a cell of every point left out.
    assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() < 1 / 1000
    axes = Figure().subplots()
    draw_roc(axes, {"val": det_curve(*captures(300_000)[:2])})
    stream = io.BytesIO()
    axes.figure.savefig(stream, format="svg")
    assert len(stream.getvalue()) < 100_000


def test_histograms_count_every_score_on_its_side_of_the_threshold():
    scores, labels, types = captures(3000)
    threshold = float(np.sort(scores)[1500])  # an image lies exactly at the threshold, and is accepted
    axes = Figure().subplots()
    draw_score_histograms(axes, scores, labels, types, threshold)
    said = [text.get_text() for text in axes.texts]
    rejected = int(np.sum(scores[labels == 1] < threshold))
    assert said[0] == f"{rejected} of {np.sum(labels)} rejected"
    for text, kind in zip(said[1:], ("mask", "print", "replay"), strict=True):
        of_kind = scores[types == kind]
        assert text == f"{np.sum(of_kind >= threshold)} of {of_kind.size} accepted"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bona fide", "mask", "print", "replay"]
    wrong = [patch for patch in axes.patches if patch.get_facecolor() == matplotlib.colors.to_rgba(ERROR_COLOR)]
    # Bars of the wrong colour: those of the bona fides below the threshold, those of the attacks above it.
    for row, patch in enumerate(wrong):
        heights, edges, base = patch.get_data()
        here = edges[:-1][heights > base]
        assert here.size and ((here < threshold).all() if row == 0 else (here >= threshold).all())


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([1.0, 1.0], [1, 0], 1.0),
        ([np.inf, -np.inf, 0.5], [1, 0, 0], 0.0),
        ([2.0, 3.0], [1, 1], 0.0),
        ([2.0, 3.0], [0, 0], 50.0),
        ([np.inf, -np.inf], [1, 0], np.inf),
        ([2.0, -3.0], [1, 0], -np.inf),
    ],
)
def test_odd_sets_can_be_drawn(scores, labels, threshold):
    figure = Figure()
    det, roc, histograms = figure.subplots(1, 3)
    with np.errstate(all="raise"):
        draw_score_histograms(histograms, scores, labels, None, threshold)
    curve = det_curve(scores, labels) if 0 < sum(labels) < len(labels) else None
    if curve is not None:
        draw_det(det, {"val": curve}, {"val": (0.0, 1.0)})
        draw_roc(roc, {"val": curve}, {"val": (0.0, 1.0)})
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.filterwarnings("ignore::patchnet_hf.metrics.UndefinedRateWarning")
def test_a_set_without_a_class_is_left_out_of_curves():
    one_class = det_curve([1.0, 2.0], [1, 1])
    for draw in (draw_det, draw_roc):
        axes = Figure().subplots()
        draw(axes, {"live": one_class})
        assert [text.get_text() for text in axes.texts] == ["not defined"]
        draw(axes, {"live": one_class, "val": det_curve([1.0, 2.0], [1, 0])})
        assert axes.get_legend_handles_labels()[1] == ["val"]


def test_rates_and_whiskers_of_attack_types():
    sets = {"one": captures(400), "two": captures(400, 1)}
    rates = {name: apcer_by_type(*values) for name, values in sets.items()}
    del rates["two"]["mask"]
    intervals = {name: {kind: (rate / 2, rate + 0.1) for kind, rate in of.items()} for name, of in rates.items()}
    axes = Figure().subplots()
    draw_apcer_by_type(axes, rates, intervals)
    for container, (name, of_set) in zip(axes.containers, rates.items(), strict=True):
        assert container.get_label() == name
        marks, _, (whiskers,) = container.lines
        np.testing.assert_allclose(marks.get_xdata(), list(of_set.values()))
        ends = [segment[:, 0] for segment in whiskers.get_segments()]
        np.testing.assert_allclose(ends, list(intervals[name].values()))
    # Attack types are read from the top down.
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mask", "print", "replay"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_a_set_keeps_its_style_and_many_sets_are_told_apart():
    styles = set_styles([*map(str, range(20)), "total"], pooled="total")
    drawn = {(style["color"], style["linestyle"]) for style in styles.values()}
    assert len(drawn) == 21 and styles["total"]["color"] == "black"


def test_names_are_drawn_as_they_are_but_short():
    odd = ["$\\frac{$", "new\nline", "a very long name of a mask, " * 4]
    scores, labels, _ = captures(300)
    axes = Figure(figsize=(20, 4), layout="constrained").subplots(1, 4)
    draw_score_histograms(axes[0], scores, labels, [odd[index % 3] for index in range(300)])
    draw_apcer_by_type(axes[1], {name: dict.fromkeys(odd, 0.5) for name in odd})
    curves = dict.fromkeys(odd, det_curve(scores, labels))
    draw_det(axes[2], curves)
    draw_roc(axes[3], curves)
    axes[0].figure.savefig(io.BytesIO(), format="svg")
    shown = [text.get_text() for axis in axes[:2] for text in axis.get_yticklabels()]
    shown += [text.get_text() for axis in axes[1:] for text in axis.get_legend().get_texts()]
    assert shown.count("$\\frac{$") == shown.count("new line") == 5
    assert max(map(len, shown)) <= 21


def test_a_legend_of_many_sets_hides_no_curve():
    scores, labels, _ = captures(300)
    for draw in (draw_det, draw_roc):
        figure = Figure(figsize=(5, 6), layout="constrained")
        axes = figure.subplots()
        draw(axes, {f"set {number}": det_curve(scores, labels) for number in range(8)})
        figure.savefig(io.BytesIO(), format="svg")
        assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1


def test_drawing_leaves_matplotlibs_settings_alone():
    before = dict(matplotlib.rcParams)
    axes = Figure().subplots(1, 4)
    values = captures(100)
    draw_det(axes[0], {"val": det_curve(*values)})
    draw_roc(axes[1], {"val": det_curve(*values)})
    draw_score_histograms(axes[2], *values)
    draw_apcer_by_type(axes[3], {"val": apcer_by_type(*values)})
    assert dict(matplotlib.rcParams) == before
