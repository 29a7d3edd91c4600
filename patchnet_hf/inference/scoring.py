"""Live probabilities of image files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.special import expit

from ..data.decoding import decode_image
from ..errors import InputError
from .scorers import Scorer


@dataclass(frozen=True)
class CaptureScore:
    """
    What the model says of one image file.

    Attributes:
        path: the file.
        probability: P(live), calibrated if the model is; `None` when the file can't be used.
        log_odds: live log-odds, `log(P(live) / P(spoof))`.
        verdict: `"live"` when `probability` reaches the model's decision threshold, else `"spoof"`.
        patch_probabilities: P(live) of each patch of the grid, row by row.
        views: `(V, P, P, 3)` uint8, the patches themselves.
        error: why the file can't be used, else `None`.
    """

    path: Path
    probability: float | None = None
    log_odds: float | None = None
    verdict: str | None = None
    patch_probabilities: tuple[float, ...] = ()
    views: np.ndarray | None = None
    error: str | None = None

    def as_json(self) -> dict:
        """What is worth keeping of it, without the pixels."""
        if self.error is not None:
            return {"file": str(self.path), "error": self.error}
        return {
            "file": str(self.path),
            "verdict": self.verdict,
            "live_probability": self.probability,
            "live_log_odds": self.log_odds,
            "patch_live_probabilities": list(self.patch_probabilities),
        }


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
    if batch_size < 1:
        raise InputError(f"batch size is {batch_size}; expected at least 1")
    paths = iter(paths)
    while batch := list(islice(paths, batch_size)):
        readable: dict[Path, np.ndarray] = {}
        errors: dict[Path, str] = {}
        for path in map(Path, batch):
            try:
                readable[path] = scorer.processor.views(decode_image(path.read_bytes()))
            except OSError as error:
                errors[path] = error.strerror or str(error)
            except ValueError as error:
                errors[path] = str(error)
        scores = scorer.score(np.stack(list(readable.values()))) if readable else None
        position = {path: index for index, path in enumerate(readable)}
        for path in map(Path, batch):
            if path in errors:
                yield CaptureScore(path, error=errors[path])
            else:
                log_odds = float(scores.log_odds[position[path]])
                probability = float(expit(log_odds))
                verdict = "live" if probability >= scorer.config.decision_threshold else "spoof"
                of_patches = tuple(expit(scores.patch_log_odds[position[path]]).tolist())
                yield CaptureScore(path, probability, log_odds, verdict, of_patches, readable[path])
