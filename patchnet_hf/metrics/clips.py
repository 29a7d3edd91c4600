"""Scores of clips: one for all frames of a video."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .columns import number_groups, objects_at
from .error_rates import check_rows


class ClipScores(NamedTuple):
    """One entry per clip, in order of first appearance; C is the number of clips.

    Attributes:
        scores: float64 of shape `(C,)`, the mean log-odds of the clip's frames.
        labels: int64 of shape `(C,)`, 1 = bona fide, 0 = attack.
        attack_types: objects of shape `(C,)`, strings, or what a bona fide had; None when no types were given.
        clips: objects of shape `(C,)`, the names; None for a row that was of no clip.
        frames: int64 of shape `(C,)`, how many rows each clip has.
    """

    scores: np.ndarray
    labels: np.ndarray
    attack_types: np.ndarray | None
    clips: np.ndarray
    frames: np.ndarray


def clip_scores(scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None, clips: ArrayLike) -> ClipScores:
    """Average the log-odds of the frames of each clip.

    A clip's score is `mean over its frames of log(P(live) / P(spoof))`: of the log-odds and not of the probabilities,
    which saturate, so that one overconfident frame would outvote all others.

    Args:
        scores: shape `(N,)`, live log-odds of frames.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; or None.
        clips: shape `(N,)`, a name (or number) for each row. A row whose clip is missing (None, NaN) is a clip of its
            own.

    Returns:
        A :class:`ClipScores`, whose first three fields are what all other functions take.

    Raises:
        ValueError: an argument has the wrong shape, length or range; a clip has two labels or two attack types, or
            scores of both `inf` and `-inf`; says which.

    >>> clip_scores([4.0, 2.0, -3.0, -1.0], [1, 1, 0, 0], None, ["a", "a", "b", None])
    ClipScores(scores=array([ 3., -3., -1.]), labels=array([1, 0, 0]), attack_types=None, \
clips=array(['a', 'b', None], dtype=object), frames=array([2, 1, 1]))
    """
    rows = check_rows(scores, labels, attack_types)
    clip, first = number_groups(clips, rows.scores.size, "clips")
    names = objects_at(clips, first)
    for what, values in (("labels", 1 - rows.is_attack), ("attack types", rows.type_numbers())):
        differs = values != values[first][clip]
        if differs.any():
            row = int(np.argmax(differs))
            found = values[[first[clip[row]], row]].tolist()
            one, other = found if what == "labels" else [rows.types[number] for number in found]
            raise ValueError(
                f"clip {names[clip[row]]!r} has two {what}: {one!r} in row {first[clip[row]]} and {other!r} in row "
                f"{row}, counted from 0"
            )
    frames = np.bincount(clip, minlength=first.size)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(clip, rows.scores, minlength=first.size) / frames
    undefined = np.isnan(mean)
    if undefined.any():
        raise ValueError(f"clip {names[np.argmax(undefined)]!r} has scores of both inf and -inf, which have no mean")
    types = None if attack_types is None else objects_at(attack_types, first)
    return ClipScores(mean, 1 - rows.is_attack[first], types, names, frames)
