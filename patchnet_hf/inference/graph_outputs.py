"""What an exported graph may give for a capture: its logits, its live probability, or a rescaled score."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

OUTPUTS = ("logits", "probability", "linear", "sigmoid")
# Of the absolute log-odds that a rescaling was fitted on.
PERCENTILE = 95.0
# Where the sigmoid puts that percentile; the linear rescaling puts it at 0 and 1.
SIGMOID_REACH = 0.95


@dataclass(frozen=True)
class GraphOutput:
    """
    What a graph gives in place of the live log-odds z, and how it is read back.

    - `"logits"`: `(B, 2)`, spoof and live.
    - `"probability"`: P(live) = 1 / (1 + exp(-z)), `(B,)`.
    - `"linear"`: a score `(B,)`, z from `-reach` to `reach` mapped to 0 to 1 and cut off there.
    - `"sigmoid"`: a score `(B,)`, `1 / (1 + exp(-k z))` with k such that `reach` gives 0.95.

    The scores are spread more evenly over 0 to 1 than probabilities are, in the same order; they are no probabilities.

    Args:
        kind: one of these.
        reach: in log-odds, of a score; the 95th percentile of |z| over a dataset, see [`fit_reach`].

    Raises:
        ValueError: there is no such kind, or a score comes without a positive reach.
    """

    kind: str = "logits"
    reach: float | None = None

    def __post_init__(self):
        if self.kind not in OUTPUTS:
            raise ValueError(f"the output is {self.kind!r}; expected one of {', '.join(OUTPUTS)}")
        if self.rescaled and not (self.reach and math.isfinite(self.reach) and self.reach > 0):
            raise ValueError(f"the reach of output {self.kind} is {self.reach}; expected a positive number")

    @property
    def rescaled(self) -> bool:
        """Whether it is a score that is neither logits nor a probability."""
        return self.kind in ("linear", "sigmoid")

    @property
    def name(self) -> str:
        """Of the graph's output for a capture."""
        return {"logits": "logits", "probability": "live_probability"}.get(self.kind, "live_score")

    @property
    def patch_name(self) -> str:
        """Of the graph's output for the single patches of a capture."""
        return {"logits": "patch_logits", "probability": "patch_live_probabilities"}.get(
            self.kind, "patch_live_scores"
        )

    @property
    def slope(self) -> float:
        """k: the factor on the log-odds, of the sigmoid; 1 for a probability."""
        return math.log(SIGMOID_REACH / (1 - SIGMOID_REACH)) / self.reach if self.kind == "sigmoid" else 1.0

    def value(self, log_odds: float) -> float:
        """
        What the graph gives at these log-odds; for `"logits"`, whose two numbers only differ in them, the log-odds.

        >>> GraphOutput("linear", 10.0).value(5.0), GraphOutput("linear", 10.0).value(-40.0)
        (0.75, 0.0)
        >>> round(GraphOutput("sigmoid", 10.0).value(10.0), 6)
        0.95
        """
        return float(self.values(np.float64(log_odds)))

    def values(self, log_odds: np.ndarray) -> np.ndarray:
        """[`GraphOutput.value`] of log-odds `(...)`, in float64."""
        log_odds = np.asarray(log_odds, dtype=np.float64)
        if self.kind == "logits":
            return log_odds
        if self.kind == "linear":
            return np.clip(0.5 + log_odds / (2 * self.reach), 0.0, 1.0)
        return expit(self.slope * log_odds)

    def told(self, log_odds: np.ndarray) -> np.ndarray:
        """
        What is left of log-odds `(...)` in what a graph gives, in float32.

        >>> GraphOutput("linear", 10.0).told(np.array([5.0, 40.0]))
        array([ 5., 10.])
        """
        return log_odds if self.kind == "logits" else self.log_odds(self.values(log_odds).astype(np.float32))

    def log_odds(self, values: np.ndarray) -> np.ndarray:
        """
        Live log-odds `(...)` in float64 of what a graph gave, `(..., 2)` logits or `(...)` others.

        Where float32 has rounded a probability to 0 or 1, or a rescaling has cut off, they are the last log-odds that
        are told apart: captures beyond share one score.

        >>> GraphOutput("probability").log_odds(np.float32([0.5, 1.0])).round(2)
        array([ 0.  , 16.64])
        """
        values = np.asarray(values)
        if self.kind == "logits":
            return values[..., 1].astype(np.float64) - values[..., 0].astype(np.float64)
        if self.kind == "linear":
            return (values.astype(np.float64) - 0.5) * 2 * self.reach
        lowest, highest = np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg
        probabilities = np.clip(values.astype(np.float64), lowest, highest)
        # A NaN stays one: a broken graph must not pass for an undecided one.
        return (np.log(probabilities) - np.log1p(-probabilities)) / self.slope


def fit_reach(log_odds: np.ndarray) -> float:
    """
    The reach of a rescaling: the 95th percentile of the absolute live log-odds of a dataset.

    Args:
        log_odds: `(N,)`, at least one.

    Raises:
        ValueError: there are none, one is NaN, or all are 0.

    >>> fit_reach(np.array([-10.0, 20.0, -30.0, 5.0, 1.0]))
    28.0
    """
    log_odds = np.asarray(log_odds, dtype=np.float64)
    if not log_odds.size or np.isnan(log_odds).any():
        raise ValueError("a rescaling needs at least one score, and no NaN")
    reach = float(np.percentile(np.abs(log_odds), PERCENTILE))
    if not reach > 0:
        raise ValueError("all scores are 0; there is nothing to rescale")
    return reach
