"""What all trained models have in common, whatever runs them: they score captures."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from ..metrics.calibration import UNCALIBRATED, PlattCalibration
from ..models import PatchNetConfig, PatchNetImageProcessor


class ViewScores(NamedTuple):
    """
    What a model says of B captures with V views each.

    Attributes:
        log_odds: float64 of shape `(B,)`, live log-odds of each capture, calibrated if the model is.
        patch_log_odds: float64 of shape `(B, V)`, those of each view alone; NaN where a graph doesn't give them.
        embeddings: float32 of shape `(B, V, D)`; `None` where a graph doesn't give them.
    """

    log_odds: np.ndarray
    patch_log_odds: np.ndarray
    embeddings: np.ndarray | None


class Scorer(ABC):
    """
    A trained model that scores captures.

    Attributes:
        name: the folder, file or Hub id that it was loaded by.
        config: its configuration, with the decision threshold and the calibration.
        processor: makes the views.
        prepare: takes an image `(H, W, 3)` uint8 RGB and a face box `(x, y, w, h)` or `None`, and gives what
            [`Scorer.score`] takes of a capture: its views, or the face itself where the model makes them. It can be
            sent to other processes.
        threshold_origin: whose the decision threshold is, `"model"` or `"references"`.
    """

    threshold_origin = "model"

    def __init__(self, name: str, config: PatchNetConfig, processor: PatchNetImageProcessor):
        self.name = name
        self.config = config
        self.processor = processor
        self.prepare: Callable[[np.ndarray, tuple[int, int, int, int] | None], np.ndarray] = processor.views

    @abstractmethod
    def score(self, captures: Sequence[np.ndarray]) -> ViewScores:
        """Scores of B captures as [`Scorer.prepare`] gives them, `(V, P, P, 3)` uint8 each; B may be 0."""

    @abstractmethod
    def description(self) -> dict[str, str]:
        """What it is, for a report: `model`, `runs_on`, and `weights_sha256` of the file that its scores come from."""


def live_log_odds(logits: np.ndarray) -> np.ndarray:
    """`(..., 2)` logits of spoof and live as log-odds `(...)`.

    >>> live_log_odds(np.array([[1.0, 3.0], [0.0, -2.0]]))
    array([ 2., -2.])
    """
    return logits[..., 1] - logits[..., 0]


def mean_log_odds(log_odds: np.ndarray) -> np.ndarray:
    """
    The log-odds of the mean probability over the last axis, without the saturation of probabilities.

    `log(mean p / mean (1 - p))` with `p = 1 / (1 + exp(-z))`; the model averages views in the same way.

    >>> mean_log_odds(np.array([[0.0, 0.0], [50.0, 50.0]]))
    array([ 0., 50.])
    """
    with np.errstate(invalid="ignore"):  # A NaN stays one, and whoever reads the scores says so.
        return logsumexp(-np.logaddexp(0.0, -log_odds), axis=-1) - logsumexp(-np.logaddexp(0.0, log_odds), axis=-1)


def calibration_of(scorer: Scorer) -> PlattCalibration:
    """The calibration in a model's configuration."""
    held = scorer.config.calibration
    return UNCALIBRATED if held is None else PlattCalibration(float(held["scale"]), float(held["bias"]))


def file_sha256(*paths: str | Path) -> str:
    """SHA-256 of a file, or of several one after the other, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
