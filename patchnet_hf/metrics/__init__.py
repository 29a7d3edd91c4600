"""ISO/IEC 30107-3 numbers as pure numpy functions; imports nothing else of this package."""

from .bootstrap import bootstrap_intervals
from .clips import ClipScores, clip_scores
from .detection import f_score, precision, recall, specificity
from .error_rates import (
    UndefinedRateWarning,
    acer,
    acer_pooled,
    apcer,
    apcer_by_type,
    apcer_pooled,
    bpcer,
    hter,
    log_odds,
)
from .eval_prediction import compute_metrics, compute_metrics_with
from .intervals import wilson_interval
from .operating_point import Criterion, probability_threshold_at, threshold_at
from .ranking import DetCurve, auc, bpcer_at_apcer, det_curve, eer, eer_threshold, eer_threshold_log_odds
from .report import log_loss, metric_intervals, presentation_attack_metrics

__all__ = [
    "ClipScores",
    "Criterion",
    "DetCurve",
    "UndefinedRateWarning",
    "acer",
    "acer_pooled",
    "apcer",
    "apcer_by_type",
    "apcer_pooled",
    "auc",
    "bootstrap_intervals",
    "bpcer",
    "bpcer_at_apcer",
    "clip_scores",
    "compute_metrics",
    "compute_metrics_with",
    "det_curve",
    "eer",
    "eer_threshold",
    "eer_threshold_log_odds",
    "f_score",
    "hter",
    "log_loss",
    "log_odds",
    "metric_intervals",
    "precision",
    "presentation_attack_metrics",
    "probability_threshold_at",
    "recall",
    "specificity",
    "threshold_at",
    "wilson_interval",
]
