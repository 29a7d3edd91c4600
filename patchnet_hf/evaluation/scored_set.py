"""The scores of an evaluation set, with all that metrics, tables and reports need to know of its captures."""

from dataclasses import dataclass, field

import numpy as np

COLUMNS = ("patch_type", "source", "subject", "session", "video", "device")
"""What is kept of a capture besides its file, label and attack type; values are text or `None`."""


@dataclass(frozen=True)
class ScoredSet:
    """
    N scored captures, in their dataset's order.

    Attributes:
        name: of the set.
        files: N names, as the CSV had them.
        scores: float64 of shape `(N,)`, live log-odds, calibrated if the model is.
        labels: int64 of shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: N names, `"bonafide"` for live captures.
        patch_scores: float64 of shape `(N, V)`, live log-odds of each view.
        columns: N values of each of `COLUMNS`.
        fingerprint: of the captures' bytes, face boxes, labels and attack types in their order: equal for the same
            data, however it's stored.
    """

    name: str
    files: list[str]
    scores: np.ndarray
    labels: np.ndarray
    attack_types: list[str]
    patch_scores: np.ndarray
    columns: dict[str, list[str | None]] = field(default_factory=dict)
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.scores)
