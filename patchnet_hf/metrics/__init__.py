"""ISO/IEC 30107-3 numbers as pure numpy functions; imports nothing else of this package."""

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
from .detection import f_score, precision, recall, specificity
from .error_rates import (
    UndefinedRateWarning,
    acer,
    acer_pooled,
    apcer,
    apcer_by_type,
    apcer_pooled,
    bpcer,
    log_odds,
)
from .ranking import DetCurve, auc, bpcer_at_apcer, det_curve, eer, eer_threshold, eer_threshold_log_odds
from .report import log_loss, presentation_attack_metrics

__all__ = [
    "CalibrationQuality",
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
    "bpcer",
    "bpcer_at_apcer",
    "brier_score",
    "calibration_quality",
    "det_curve",
    "eer",
    "eer_threshold",
    "eer_threshold_log_odds",
    "expected_calibration_error",
    "f_score",
    "fit_platt",
    "log_loss",
    "log_odds",
    "precision",
    "presentation_attack_metrics",
    "recall",
    "reliability_curve",
    "specificity",
]
