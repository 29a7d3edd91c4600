"""Live probabilities of images, clips and cameras."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from ..errors import InputError
from ..text_table import text_table
from .liveness_map import LivenessMap
from .scorer import Scorer
from .sources import Frame, Source, read_frames

FRAMES = 9


@dataclass(frozen=True, eq=False)
class CaptureScore:
    """
    What the model says of one image file, of a clip, or of a frame of it.

    Attributes:
        path: the file.
        probability: P(live), calibrated if the model is; `None` when the file can't be used.
        log_odds: live log-odds, `log(P(live) / P(spoof))`; of a clip, the mean over its frames.
        verdict: `"live"` when `probability` reaches the model's decision threshold, else `"spoof"`.
        patch_probabilities: P(live) of each patch of the grid, row by row; empty for a clip, and where a graph doesn't
            give them.
        views: `(V, P, P, 3)` uint8, the patches themselves.
        error: why the file can't be used, else `None`.
        frame: number of the frame in its clip.
        frames: the scores of a clip's frames.
        image: `(H, W, 3)` uint8, the picture itself where it was asked for.
        face_box: `(x, y, w, h)` in the picture, where it is no face crop.
        liveness: the score of every patch position, where it was asked for.
        overlay: the file with the picture of it.
    """

    path: Path
    probability: float | None = None
    log_odds: float | None = None
    verdict: str | None = None
    patch_probabilities: tuple[float, ...] = ()
    views: np.ndarray | None = None
    error: str | None = None
    frame: int | None = None
    frames: tuple["CaptureScore", ...] = ()
    image: np.ndarray | None = None
    face_box: tuple[int, int, int, int] | None = None
    liveness: LivenessMap | None = None
    overlay: Path | None = None

    @property
    def pictures(self) -> tuple["CaptureScore", ...]:
        """The scored pictures: the frames of a clip, or the image file itself; none where it can't be used."""
        return () if self.error is not None else self.frames or (self,)

    def without_pixels(self) -> "CaptureScore":
        """What is left when the pixels are let go."""
        return replace(self, views=None, image=None, frames=tuple(frame.without_pixels() for frame in self.frames))

    def as_json(self) -> dict:
        """What is worth keeping of it, without the pixels."""
        if self.error is not None:
            return {"file": str(self.path), "error": self.error}
        named = {"file": str(self.path)} if self.frame is None else {"frame": self.frame}
        decided = {"verdict": self.verdict, "live_probability": self.probability, "live_log_odds": self.log_odds}
        if self.frames:
            return named | decided | {"frames": [frame.as_json() for frame in self.frames]}
        seen = {"patch_live_probabilities": list(self.patch_probabilities)}
        if self.liveness is not None:
            seen |= {"overlay": str(self.overlay), "liveness_map": self.liveness.as_json()}
        return named | decided | seen


def score_files(scorer: Scorer, paths: Iterable[str | Path], batch_size: int = 8) -> Iterator[CaptureScore]:
    """
    Scores face crops, in their order; a file that can't be read yields its error and the rest goes on.

    Args:
        scorer: makes the views and scores them.
        paths: image files; each whole image is the face crop.
        batch_size: images in one pass.

    Raises:
        InputError: `batch_size` is below 1.
    """
    return score_sources(scorer, (Source(Path(path)) for path in paths), batch_size)


def score_sources(
    scorer: Scorer,
    sources: Iterable[Source],
    batch_size: int = 8,
    frames: int = FRAMES,
    face_box: Callable[[Path], tuple[int, int, int, int] | None] | None = None,
    keep_images: bool = False,
) -> Iterator[CaptureScore]:
    """
    Scores sources, in their order; one that can't be read yields its error and the rest goes on.

    Args:
        scorer: makes the views and scores them.
        sources: what to score.
        batch_size: pictures in one pass.
        frames: pictures taken of a clip or camera; its log-odds are their mean.
        face_box: gives the box of the face in a file, or `None` for a face crop; raises `ValueError` where it doesn't
            know. Default: all are face crops.
        keep_images: the scores carry the pictures.

    Raises:
        InputError: `batch_size` or `frames` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}; expected at least 1")
    if frames < 1:
        raise InputError(f"the number of frames is {frames}; expected at least 1")
    return _scores(scorer, sources, batch_size, frames, face_box or (lambda path: None), keep_images)


def _scores(scorer, sources, batch_size, frames, face_box, keep_images) -> Iterator[CaptureScore]:
    waiting: list[_Read] = []
    for source in sources:
        waiting.append(_read(scorer, source, frames, face_box))
        if sum(len(read.frames) for read in waiting) >= batch_size or len(waiting) >= 10 * batch_size:
            yield from _scored(scorer, waiting, batch_size, keep_images)
            waiting = []
    yield from _scored(scorer, waiting, batch_size, keep_images)


@dataclass(frozen=True, eq=False)
class _Read:
    """A source that has been read, or why it couldn't be."""

    path: Path
    frames: list[Frame]
    prepared: list[np.ndarray]
    face_box: tuple[int, int, int, int] | None = None
    error: str | None = None


def _read(scorer: Scorer, source: Source, count: int, face_box) -> _Read:
    try:
        frames, box = read_frames(source, count), face_box(source.path)
        return _Read(source.path, frames, [scorer.prepare(frame.image, box) for frame in frames], box)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    return _Read(source.path, [], [], error=" ".join(reason.split()))


def _scored(scorer: Scorer, waiting: list[_Read], batch_size: int, keep_images: bool) -> Iterator[CaptureScore]:
    prepared = [capture for read in waiting for capture in read.prepared]
    passes = [scorer.score(prepared[at : at + batch_size]) for at in range(0, len(prepared), batch_size)]
    rows = ((one.log_odds[row], one.patch_log_odds[row]) for one in passes for row in range(len(one.log_odds)))
    for read in waiting:
        if read.error is not None:
            yield CaptureScore(read.path, error=read.error)
            continue
        threshold = scorer.config.decision_threshold
        pictures = []
        for frame, own in zip(read.frames, read.prepared, strict=True):
            log_odds, of_patches = next(rows)
            known = () if np.isnan(of_patches).any() else tuple(expit(of_patches).tolist())
            pictures.append(
                CaptureScore(
                    read.path,
                    **_decision(log_odds, threshold),
                    patch_probabilities=known,
                    # A model that takes the whole face makes its views itself.
                    views=own if own.ndim == 4 else scorer.processor.views(frame.image, read.face_box),
                    frame=frame.number,
                    image=frame.image if keep_images else None,
                    face_box=read.face_box,
                )
            )
        if any(np.isnan(picture.log_odds) for picture in pictures):
            yield CaptureScore(read.path, error="its score is not a number: the model is broken")
        elif pictures[0].frame is None:
            yield pictures[0]
        else:
            mean = np.mean([picture.log_odds for picture in pictures])
            yield CaptureScore(read.path, **_decision(mean, threshold), frames=tuple(pictures), face_box=read.face_box)


def _decision(log_odds: float, threshold: float) -> dict:
    probability = float(expit(log_odds))
    verdict = "live" if probability >= threshold else "spoof"
    return {"probability": probability, "log_odds": float(log_odds), "verdict": verdict}


def score_table(scores: Iterable[CaptureScore]) -> str:
    """Verdicts as a table for people, with the reason in place of scores where there are none."""
    scores, note = list(scores), ["note"]
    notes = [_note(score) for score in scores]
    if not any(notes):
        note, notes = [], [None] * len(scores)
    rows = []
    for score, remark in zip(scores, notes, strict=True):
        numbers = ["-", "-", "-"]
        if score.error is None:
            numbers = [score.verdict, f"{score.probability:.4f}", f"{score.log_odds:+.2f}"]
        rows.append([str(score.path), *numbers, *([remark] if note else [])])
    return text_table(["input", "verdict", "P(live)", "log-odds", *note], rows, left=(0, 1, 4))


def _note(score: CaptureScore) -> str:
    count = len(score.frames)
    return f"{count} frame{'s' * (count > 1)}" if count else score.error or ""
