"""`compute_metrics` of a transformers `Trainer`: the numbers of :func:`presentation_attack_metrics`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .error_rates import comparison_value
from .report import presentation_attack_metrics


def compute_metrics(prediction: Any) -> dict[str, float]:
    """All numbers of one evaluation, at a threshold of 0.5: `Trainer(compute_metrics=compute_metrics)`.

    Args:
        prediction: a `transformers.EvalPrediction` or a pair `(predictions, label_ids)`; predictions are two-class
            logits of shape `(N, 2)`, spoof and live, or a tuple that starts with them; label_ids have shape `(N,)`,
            1 = bona fide, 0 = attack.

    Returns:
        What :func:`~patchnet_hf.metrics.presentation_attack_metrics` returns; the Trainer puts `eval_` before each.

    Raises:
        ValueError: the logits or labels have another shape, or can't be used.

    >>> compute_metrics(([[0.0, 3.0], [0.0, -1.0], [0.0, 1.0]], [1, 0, 0]))["apcer"]
    0.5
    """
    return _numbers_of(prediction)


def compute_metrics_with(
    attack_types: ArrayLike | None = None, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> Callable[[Any], dict[str, float]]:
    """A :func:`compute_metrics` with attack types and a threshold of one's own.

    A Trainer hands over neither: it has the types of the whole evaluation set from here, in the set's order (which the
    Trainer keeps). One set, one function; a Trainer with several sets wants :func:`compute_metrics`.

    Args:
        attack_types: strings of shape `(N,)` for the N images of the evaluation set, ignored for bona fides.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`.

    Raises:
        ValueError: the threshold is outside (0, 1).

    >>> numbers = compute_metrics_with(["", "print", "mask"], threshold=0.9)
    >>> numbers(([[0.0, 3.0], [0.0, -1.0], [0.0, 2.5]], [1, 0, 0]))["apcer_type_mask"]
    1.0
    """
    comparison_value(threshold, threshold_log_odds)  # an unusable one is found before the evaluation

    def compute_metrics_at(prediction: Any) -> dict[str, float]:
        return _numbers_of(prediction, attack_types, threshold, threshold_log_odds)

    return compute_metrics_at


def _numbers_of(prediction, attack_types=None, threshold=0.5, threshold_log_odds=None) -> dict[str, float]:
    predictions, labels = prediction[0], prediction[1]  # a Trainer may add inputs and losses
    logits = np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)
    if logits.ndim != 2 or logits.shape[1] != 2:
        raise ValueError(f"predictions have shape {logits.shape}, expected logits (N, 2): spoof, live")
    logits = logits.astype(np.float64, copy=False)
    return presentation_attack_metrics(
        logits[:, 1] - logits[:, 0], labels, attack_types, threshold, threshold_log_odds=threshold_log_odds
    )
