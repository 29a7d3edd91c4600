"""ISO/IEC 30107-3 numbers as pure numpy functions; imports nothing else of this package."""

from .bootstrap import bootstrap_intervals
from .calibration import (
    CalibrationQuality,
    PlattCalibration,
    ReliabilityCurve,
    brier_score,
    calibration_quality,
    expected_calibration_error,
    fit_platt,
    reliability_curve,
)
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
    "CalibrationQuality",
    "ClipScores",
    "Criterion",
    "DetCurve",
    "PlattCalibration",
    "ReliabilityCurve",
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
    "brier_score",
    "calibration_quality",
    "clip_scores",
    "compute_metrics",
    "compute_metrics_with",
    "det_curve",
    "eer",
    "eer_threshold",
    "eer_threshold_log_odds",
    "expected_calibration_error",
    "f_score",
    "fit_platt",
    "hter",
    "log_loss",
    "log_odds",
    "metric_intervals",
    "precision",
    "presentation_attack_metrics",
    "probability_threshold_at",
    "recall",
    "reliability_curve",
    "specificity",
    "threshold_at",
    "wilson_interval",
]
