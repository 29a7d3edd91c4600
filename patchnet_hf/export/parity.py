"""Whether a written graph gives what the model gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from ..errors import InputError
from ..inference.graph_outputs import GraphOutput
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorer import Scorer
from .captures import Capture

TOLERANCE = 1e-4
# Where ONNX Runtime and torch round a resized pixel to two sides of a half, the pixel differs by one.
RESIZING_TOLERANCE = 1e-3
# Where probabilities saturate, they agree whatever the network says; its log-odds don't.
LOG_ODDS_TOLERANCE = 100


@dataclass(frozen=True)
class Parity:
    """
    How far two scorers are apart on some captures.

    Attributes:
        captures: how many.
        score: largest difference of what the graph gives: probabilities (for logits, of theirs) or rescaled scores.
        log_odds: largest difference of the live log-odds; NaN where the graph's scores don't tell them.
    """

    captures: int
    score: float
    log_odds: float


def measure_parity(reference: Scorer, graph: OnnxScorer, captures: Sequence[Capture]) -> Parity:
    """
    Scores captures with both.

    Args:
        reference: the model.
        graph: made from it.
        captures: at least one.

    Raises:
        InputError: the graph can't score one.
    """
    expected, given = (
        scorer.score([scorer.prepare(capture.image, capture.face_box) for capture in captures])
        for scorer in (reference, graph)
    )
    pairs = [(expected.log_odds, given.log_odds)]
    if not np.isnan(given.patch_log_odds).all():
        pairs.append((expected.patch_log_odds, given.patch_log_odds))
    output = graph.output
    score = max(np.abs(_scores(output, a) - _scores(output, b)).max() for a, b in pairs)
    log_odds = max(np.abs(a - b).max() for a, b in pairs) if output.kind == "logits" else float("nan")
    return Parity(len(captures), float(score), float(log_odds))


def check_parity(parity: Parity, graph: OnnxScorer) -> None:
    """
    Makes sure that a graph of full precision gives what the model gives.

    Raises:
        InputError: it doesn't.
    """
    resizes = graph.takes_pictures and graph.processor.mode == "resize"
    tolerance = RESIZING_TOLERANCE if resizes else TOLERANCE
    if not parity.score <= tolerance or parity.log_odds > LOG_ODDS_TOLERANCE * tolerance:
        raise InputError(
            f"the exported graph's scores differ from the model's by up to {parity.score:.2g} (log-odds "
            f"{parity.log_odds:.2g}) on {parity.captures} captures, where {tolerance:g} is allowed: torch doesn't "
            f"export {graph.config.backbone} faithfully; another --opset may help"
        )


def _scores(output: GraphOutput, log_odds: np.ndarray) -> np.ndarray:
    return expit(log_odds) if output.kind == "logits" else output.values(log_odds)
