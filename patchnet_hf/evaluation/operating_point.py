"""The threshold of an evaluation: given, the model's own, or chosen on a set that isn't reported."""

import warnings
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import expit

from ..errors import InputError
from ..metrics import UndefinedRateWarning, log_odds
from ..metrics.operating_point import Criterion, threshold_at
from ..text_table import percent, shown_threshold
from .presentations import Presentations

__all__ = ["OperatingPoint", "choose_operating_point", "shown_threshold"]


@dataclass(frozen=True)
class OperatingPoint:
    """
    A threshold and where it is from.

    Attributes:
        threshold: a probability; a chosen one may be 1.0 in float64 where the log-odds are above 36.7.
        threshold_log_odds: what scores are compared with.
        origin: `"model"`: its configuration; `"references"`: their file; `"given"`: by the user; `"chosen"`: on
            `dataset`, by `criterion`.
        criterion: `"eer"`, `"apcer=0.05"` or `"bpcer=0.01"`.
        dataset: the set it was chosen on, as the user wrote it.
        fingerprint: of that set.
        metrics: of that set at this threshold.
    """

    threshold: float
    threshold_log_odds: float
    origin: Literal["model", "references", "given", "chosen"]
    criterion: str | None = None
    dataset: str | None = None
    fingerprint: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def fixed(cls, threshold: float, origin: Literal["model", "references", "given"]) -> "OperatingPoint":
        """
        A threshold known beforehand.

        Raises:
            InputError: it's no probability in (0, 1).
        """
        try:
            return cls(float(threshold), log_odds(threshold), origin)
        except ValueError as error:
            raise InputError(str(error)) from error

    @property
    def is_chosen(self) -> bool:
        """Whether data decided it."""
        return self.origin == "chosen"

    def sentence(self) -> str:
        """How it came about, in one line."""
        value = f"threshold {shown_threshold(self.threshold)} (log-odds {self.threshold_log_odds:.4f})"
        if self.origin == "model":
            return f"{value}: the model's own decision_threshold"
        if self.origin == "references":
            return f"{value}: the references' own decision_threshold"
        if self.origin == "given":
            return f"{value}: given"
        rates = ", ".join(
            f"{name.upper()} {percent(self.metrics[name])} %"
            for name in ("apcer", "bpcer", "eer")
            if name in self.metrics
        )
        return f"{value}: chosen on {self.dataset} by {self.criterion}; there {rates}"


def choose_operating_point(
    presentations: Presentations, criterion: Criterion | str, dataset: str, fingerprint: str
) -> OperatingPoint:
    """
    The threshold that meets a criterion on a development set, which must not be among the sets that are reported.

    Args:
        presentations: of the development set.
        criterion: a [`Criterion`], or its text.
        dataset: how the user calls the set.
        fingerprint: of the set.

    Raises:
        InputError: the criterion can't be read, or the set lacks bona fides or attacks.
    """
    try:
        asked = Criterion.parse(criterion) if isinstance(criterion, str) else criterion
        with warnings.catch_warnings():
            # It becomes an error below.
            warnings.simplefilter("ignore", UndefinedRateWarning)
            chosen = threshold_at(presentations.scores, presentations.labels, presentations.attack_types, asked)
    except ValueError as error:
        raise InputError(f"no threshold can be chosen on {dataset}: {error}") from error
    if np.isnan(chosen):
        raise InputError(f"no threshold can be chosen on {dataset}: it lacks bona fides or attacks")
    return OperatingPoint(
        float(expit(chosen)), float(chosen), "chosen", str(asked), dataset=dataset, fingerprint=fingerprint
    )
