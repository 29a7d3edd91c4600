"""What calibrating a model brought: its numbers before and after, as JSON and as text."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..json_files import finite
from ..metrics import PlattCalibration, calibration_quality, presentation_attack_metrics
from ..metrics.calibration import UNCALIBRATED
from ..metrics.operating_point import Criterion
from ..text_table import text_table
from .scored_set import ScoredSet

RESULT_FILE = "calibration.json"
DIAGRAM_FILE = "reliability.png"
FEW_CAPTURES = 20

COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("expected_calibration_error", "ECE", "{:.4f}".format),
    ("log_loss", "log-loss", "{:.4f}".format),
    ("brier_score", "Brier", "{:.4f}".format),
    *(
        (key, f"{key.upper()} %", lambda share: f"{100 * share:.2f}")
        for key in ("acer", "apcer", "bpcer", "eer", "auc")
    ),
)


@dataclass(frozen=True)
class Settings:
    """
    What turns raw log-odds into decisions.

    Attributes:
        calibration: of the live log-odds.
        threshold: a probability; a capture is accepted as live when its calibrated P(live) is at least this.
    """

    calibration: PlattCalibration
    threshold: float


@dataclass(frozen=True)
class CalibrationReport:
    """
    A model before and after its calibration.

    Attributes:
        development: name of the set that was fitted on, among `sets`.
        sets: all sets by name, with the model's raw log-odds as scores.
        before, after: as the model was given, and as it is now.
        criterion: that `after.threshold` was chosen by.
        prior: share of live captures that probabilities are calibrated for; `None`: that of the development set.
        bins: of the expected calibration error.
        model: what the model is, as [`Scorer.description`] has it.
    """

    development: str
    sets: dict[str, ScoredSet]
    before: Settings
    after: Settings
    criterion: Criterion
    prior: float | None
    bins: int
    model: dict[str, str]

    def numbers(self, name: str, settings: Settings) -> dict[str, float]:
        """The error rates of a set and the quality of its probabilities, under these settings."""
        scored = self.sets[name]
        scores = settings.calibration.calibrate(scored.scores)
        with warnings.catch_warnings():
            # Of the set's own EER threshold, which isn't used here; and that a set has one class is seen.
            warnings.simplefilter("ignore")
            rates = presentation_attack_metrics(scores, scored.labels, scored.attack_types, settings.threshold)
            quality = calibration_quality(scores, scored.labels, self.bins, self.prior)
        chosen = ("acer", "apcer", "bpcer", "eer", "auc")
        by_type = [key for key in rates if key.startswith("apcer_type_")]
        return {**quality._asdict(), **{key: rates[key] for key in (*chosen, *by_type)}}

    def as_json(self) -> dict:
        """All of it but the scores; a rate that isn't defined is `None`."""
        sets = {}
        for name, scored in self.sets.items():
            live = int(scored.labels.sum())
            sets[name] = {
                "captures": len(scored),
                "bona_fides": live,
                "attacks": len(scored) - live,
                "fingerprint": scored.fingerprint,
                "before": finite(self.numbers(name, self.before)),
                "after": finite(self.numbers(name, self.after)),
            }
        return {
            "model": self.model,
            "fitted_on": self.development,
            "criterion": str(self.criterion),
            "prior": self.prior,
            "bins": self.bins,
            "before": _settings_json(self.before),
            "after": _settings_json(self.after),
            "sets": sets,
        }


def calibration_table(report: CalibrationReport) -> str:
    """Two rows for each set: before, with the old threshold, and after, with the new one."""
    rows = []
    for name, scored in report.sets.items():
        for when, settings in (("before", report.before), ("after", report.after)):
            numbers = report.numbers(name, settings)
            cells = ["-" if np.isnan(numbers[key]) else shown(numbers[key]) for key, _, shown in COLUMNS]
            first = [name, str(len(scored)), f"{100 * scored.labels.mean():.1f}"] if when == "before" else [""] * 3
            rows.append([*first, when, *cells])
    return text_table(["set", "captures", "live %", "", *(title for _, title, _ in COLUMNS)], rows, left=(0, 3))


def calibration_summary(report: CalibrationReport) -> str:
    """The fitted numbers, and what they are for, in a few lines."""
    (scale, bias), threshold = report.after.calibration, report.after.threshold
    labels = report.sets[report.development].labels
    share = labels.mean() if report.prior is None else report.prior
    lines = [
        f"live log-odds: {scale:.4g} z {'+' if bias >= 0 else '-'} {abs(bias):.4g}, fitted on {report.development}; "
        f"probabilities are for {100 * share:.3g} % live captures",
        f"decision threshold: {report.before.threshold:.4g} -> {threshold:.4g} ({report.criterion} on "
        f"{report.development})",
    ]
    live = int(labels.sum())
    if min(live, len(labels) - live) < FEW_CAPTURES:
        lines.append(
            f"few captures: {report.development} has {live} live ones and {len(labels) - live} attacks; what is "
            "fitted on so few says little of others"
        )
    if len(report.sets) == 1:
        lines.append("these rates are of the set that was fitted on: --test DIR:SPLIT reports on one that wasn't")
    else:
        lines.append(f"the rates of {report.development} look better than they are: it is what was fitted on")
    return "\n".join(lines)


def _settings_json(settings: Settings) -> dict:
    calibration = None if settings.calibration == UNCALIBRATED else settings.calibration._asdict()
    return {"calibration": calibration, "decision_threshold": settings.threshold}
