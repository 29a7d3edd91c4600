"""Scores of clips: against a loop over clips, in order, and what can't be one clip."""

import numpy as np
import pandas
import pytest

from patchnet_hf.metrics import acer, clip_scores

generator = np.random.default_rng(3)
CLIPS = generator.integers(0, 40, 500)
LABELS = CLIPS % 3 == 0
TYPES = np.where(LABELS, "bonafide", np.where(CLIPS % 2, "print", "mask"))
SCORES = generator.normal(2.0 * LABELS, 2.0)


def test_a_clip_is_the_mean_of_its_frames_log_odds():
    result = clip_scores(SCORES, LABELS, TYPES, CLIPS)
    assert result.clips.tolist() == list(dict.fromkeys(CLIPS.tolist()))
    for index, clip in enumerate(result.clips):
        rows = clip == CLIPS
        assert result.scores[index] == pytest.approx(SCORES[rows].mean(), abs=1e-12)
        assert (result.labels[index], result.attack_types[index]) == (LABELS[rows][0], TYPES[rows][0])
        assert result.frames[index] == rows.sum()
    assert result.frames.sum() == 500
    assert 0.0 <= acer(*result[:3]) <= 1.0


@pytest.mark.parametrize("missing", [None, float("nan"), pandas.NA])
def test_rows_of_no_clip_are_clips_of_their_own(missing):
    result = clip_scores([1.0, 2.0, 4.0, 6.0], [1, 0, 0, 0], None, [missing, "a", missing, "a"])
    assert result.clips.tolist() == [None, "a", None]
    assert result.scores.tolist() == [1.0, 4.0, 4.0]
    assert result.frames.tolist() == [1, 2, 1]
    assert result.labels.tolist() == [1, 0, 0]
    assert result.attack_types is None


def test_types_of_bona_fides_may_be_missing_and_differ():
    result = clip_scores([1.0, 2.0, 3.0], [1, 1, 0], [None, "x", "print"], ["a", "a", "b"])
    assert result.attack_types.tolist() == [None, "print"]


@pytest.mark.parametrize(
    ("labels", "types", "scores", "message"),
    [
        ([1, 1, 0], None, [0.0] * 3, r"clip 'b' has two labels: 1 in row 1 and 0 in row 2, counted from 0"),
        ([1, 0, 0], ["", "print", "mask"], [0.0] * 3, r"clip 'b' has two attack types: 'print' in row 1 and 'mask'"),
        ([1, 0, 0], None, [0.0, np.inf, -np.inf], r"clip 'b' has scores of both inf and -inf"),
    ],
)
def test_what_cannot_be_one_clip_is_refused_by_its_name(labels, types, scores, message):
    with pytest.raises(ValueError, match=message):
        clip_scores(scores, labels, types, ["a", "b", "b"])


def test_a_column_of_another_length_and_names_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"clips have shape \(1,\), expected one per score: \(2,\)"):
        clip_scores([0.0, 1.0], [1, 0], None, ["a"])
    with pytest.raises(ValueError, match="clips must be strings or numbers"):
        clip_scores([0.0, 1.0], [1, 0], None, [["a"], None])


def test_an_infinite_frame_makes_an_infinite_clip():
    assert clip_scores([np.inf, 1.0], [1, 1], None, ["a", "a"]).scores.tolist() == [np.inf]


def test_an_empty_set_has_no_clips():
    assert all(len(column) == 0 for column in clip_scores([], [], [], []))
