"""The learning curve: its lines hold the values that were logged, and drawing touches nothing else."""

import logging
import math
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image
from transformers import TrainerState

from patchnet_hf.training.learning_curve import FILE_NAME, LearningCurveCallback, learning_curve


def evaluation(name: str, epoch: float, acer: float) -> dict:
    return {f"eval_{name}_acer": acer, f"eval_{name}_images": 8, "epoch": epoch, "step": int(10 * epoch)}


HISTORY = [
    evaluation("total", 0.0, 0.5),
    *({"loss": 6.0 / n, "loss_classification": 2.5 / n, "loss_similarity": 1.0 / n, "learning_rate": 1e-3 / n,
       "acer": 0.4 / n, "epoch": n / 2, "step": 5 * n} for n in (1, 2, 3, 4)),
    evaluation("near", 1.0, 0.3),
    evaluation("far", 1.0, 0.1),
    evaluation("total", 1.0, 0.2),
    evaluation("near", 2.0, 0.4),
    evaluation("far", 2.0, math.nan),
    evaluation("total", 2.0, 0.25),
    {"train_runtime": 9.0, "epoch": 2.0, "step": 20},
    evaluation("total", 2.0, 0.01),
]  # fmt: skip


def lines_of(axes) -> dict[str, list[list[float]]]:
    """Points of each line by its label."""
    return {line.get_label(): np.asarray(line.get_xydata()).round(6).tolist() for line in axes.lines}


def test_lines_are_the_values_logged_over_their_epochs():
    losses, rates, speed = learning_curve(HISTORY).axes
    drawn = lines_of(losses)
    assert drawn["loss"] == [[0.5, 6], [1, 3], [1.5, 2], [2, 1.5]]
    assert drawn["classification"][0] == [0.5, 2.5] and drawn["similarity"][3] == [2, 0.25]
    drawn = lines_of(rates)
    assert drawn["training"] == [[0.5, 40], [1, 20], [1.5, 13.333333], [2, 10]]
    assert drawn["near"] == [[1, 30], [2, 40]]
    assert drawn["far"] == [[1, 10]], "what isn't defined is no point"
    assert drawn["all sets pooled"] == [[0, 50], [1, 20], [2, 25]]
    assert drawn["best: 20.00 %\n(epoch 1)"] == [[1, 20]]
    assert np.asarray(speed.lines[0].get_ydata()) == pytest.approx([1e-3, 5e-4, 1e-3 / 3, 2.5e-4])
    assert speed.get_xlabel() == "epoch" and rates.get_ylabel() == "ACER %"


def test_a_single_set_is_one_line():
    history = [evaluation(name, epoch, 0.3) for epoch in (1.0, 2.0) for name in ("val", "total")]
    _, rates, _ = learning_curve(history).axes
    assert [label for label in lines_of(rates) if not label.startswith("best")] == ["val"]


@pytest.mark.parametrize("history", [[], HISTORY[1:3], HISTORY[:1], [{"loss": 0.0, "loss_similarity": math.nan}]])
def test_a_short_history_is_drawn_without_a_warning(tmp_path, history, recwarn):
    learning_curve(history).savefig(tmp_path / "curve.png")
    assert not recwarn.list


def test_the_callback_writes_a_picture_at_the_end_and_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams), matplotlib.rcParams._get_backend_or_none()
    state = TrainerState(log_history=HISTORY, is_world_process_zero=True)
    LearningCurveCallback().on_train_end(SimpleNamespace(output_dir=str(tmp_path / "run")), state, None)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE_NAME]
    picture = np.asarray(Image.open(tmp_path / "run" / FILE_NAME).convert("L"))
    assert min(picture.shape) > 500 and picture.std() > 10
    assert (dict(matplotlib.rcParams), matplotlib.rcParams._get_backend_or_none()) == before


def test_a_picture_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    state = TrainerState(log_history=HISTORY, is_world_process_zero=True)
    with caplog.at_level(logging.WARNING):
        LearningCurveCallback().on_train_end(SimpleNamespace(output_dir=str(tmp_path / "file")), state, None)
    assert "can't be written" in caplog.text


def test_only_the_main_process_draws(tmp_path):
    state = TrainerState(log_history=HISTORY, is_world_process_zero=False)
    LearningCurveCallback().on_train_end(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert not list(tmp_path.iterdir())
