"""What the numbers of an evaluation count: single images, or clips whose frames are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.summary import SUBJECT_COLUMNS, VIDEO_COLUMNS, keys_of
from ..errors import InputError
from ..metrics.clips import clip_scores
from .scored_set import ScoredSet

LEVELS = ("image", "clip")
UNITS = ("subject", "video", "image")


@dataclass(frozen=True)
class Presentations:
    """
    M images or clips of an evaluation set.

    Attributes:
        name: of the set.
        level: `"image"` or `"clip"`.
        scores: float64 of shape `(M,)`, live log-odds.
        labels: int64 of shape `(M,)`, 1 = bona fide, 0 = attack.
        attack_types: M names, `"bonafide"` for live captures.
        of_image: int64 of shape `(N,)`, the presentation that each of the set's N images belongs to.
        subjects, videos: M keys, `None` where the dataset names none; equal keys in two sets are the same person or
            clip.
    """

    name: str
    level: str
    scores: np.ndarray
    labels: np.ndarray
    attack_types: list[str]
    of_image: np.ndarray
    subjects: list[tuple | None]
    videos: list[tuple | None]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, scored: ScoredSet, level: str = "image") -> "Presentations":
        """
        The images of a scored set, or its clips: frames of the same source, subject, session and video.

        A clip's score is the mean of its frames' log-odds; an image without a video is a clip of its own.

        Raises:
            InputError: no image of the set has a video, or the frames of a clip have different labels or attack types.
        """
        subjects, videos = keys_of(scored.columns, SUBJECT_COLUMNS), keys_of(scored.columns, VIDEO_COLUMNS)
        if level == "image":
            alone = np.arange(len(scored))
            return cls(scored.name, level, scored.scores, scored.labels, scored.attack_types, alone, subjects, videos)
        check_clips(scored.columns, scored.name)
        # As text, which a message about a clip can show.
        names = [None if video is None else " / ".join(part or "-" for part in video) for video in videos]
        of_image = numbered([index if name is None else name for index, name in enumerate(names)])
        try:
            clips = clip_scores(scored.scores, scored.labels, scored.attack_types, names)
        except ValueError as error:
            raise InputError(f"{scored.name}: {error}") from error
        _, first = np.unique(of_image, return_index=True)
        return cls(
            scored.name,
            level,
            clips.scores,
            clips.labels,
            list(clips.attack_types),
            of_image,
            [subjects[index] for index in first],
            [videos[index] for index in first],
        )

    @classmethod
    def pooled(cls, parts: Sequence["Presentations"], name: str) -> "Presentations":
        """The presentations of all parts together. Clips of different parts stay apart, persons are one."""
        starts = np.cumsum([0, *map(len, parts[:-1])])
        return cls(
            name,
            parts[0].level,
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            [kind for part in parts for kind in part.attack_types],
            np.concatenate([start + part.of_image for start, part in zip(starts, parts, strict=True)]),
            [subject for part in parts for subject in part.subjects],
            [video for part in parts for video in part.videos],
        )

    def groups(self, unit: str) -> np.ndarray:
        """
        Int64 of shape `(M,)`: presentations with the same number are of the same subject, video or image.

        Raises:
            InputError: a presentation has no subject or video.
        """
        if unit == "image":
            return np.arange(len(self))
        keys = self.subjects if unit == "subject" else self.videos
        if unit == "video" and self.level == "clip":
            # A frame without a video is a clip of its own.
            return np.arange(len(self))
        if None in keys:
            raise InputError(
                f"intervals over {unit}s need the {unit} of every image; {keys.count(None)} of {len(keys)} of "
                f"{self.name} have none"
            )
        return numbered(keys)

    def default_unit(self) -> str:
        """What varies independently: subjects where all presentations have one, else videos, else images."""
        if None not in self.subjects:
            return "subject"
        return "video" if self.level == "clip" or None not in self.videos else "image"


def numbered(keys: Sequence) -> np.ndarray:
    """
    Equal numbers for equal keys, counted from 0 in the order of their first appearance.

    >>> numbered(["b", "a", "b"])
    array([0, 1, 0])
    """
    numbers: dict = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def check_clips(columns: Mapping[str, Sequence[str | None]], name: str) -> None:
    """
    Makes sure that a set has clips.

    Raises:
        InputError: no image of the set has a video.
    """
    if not any(columns["video"]):
        raise InputError(f"{name} names no videos, so it has no clips; give its CSV a column video, or --level image")


def check_unit(columns: Mapping[str, Sequence[str | None]], name: str, unit: str | None, level: str) -> None:
    """
    Makes sure that intervals can be over subjects, videos or images.

    Raises:
        InputError: images have no subject or video, or images were asked for where clips are counted.
    """
    if unit == "image" and level == "clip":
        raise InputError("intervals over images make no sense for clips; leave --intervals-over out, or say video")
    if unit in ("subject", "video") and not (unit == "video" and level == "clip"):
        missing = sum(not value for value in columns[unit])
        if missing:
            raise InputError(
                f"intervals over {unit}s need the {unit} of every image; {missing} of {len(columns[unit])} of {name} "
                "have none"
            )
