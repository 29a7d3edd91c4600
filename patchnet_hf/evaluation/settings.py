"""What a user can ask of an evaluation."""

from dataclasses import dataclass, field

from ..errors import InputError
from ..metrics.operating_point import Criterion
from .numbers import IntervalSettings
from .operating_point import OperatingPoint
from .presentations import LEVELS, UNITS

DEFAULT_CRITERION = "eer"


@dataclass(frozen=True)
class EvaluationSettings:
    """
    How sets are evaluated.

    Attributes:
        threshold: a probability; `None`: the model's own, unless `threshold_on` is given.
        threshold_on: `DIR[:SPLIT]` to choose the threshold on.
        criterion: by which, `"eer"`, `"apcer=SHARE"` or `"bpcer=SHARE"`; `None`: equal error rates.
        level: `"image"`, or `"clip"`: scores averaged over each video.
        intervals: of the confidence intervals.
        batch_size: captures in one pass.
        workers: processes that read and decode; 0 for none.
        thumbnails: worst images of each class and set in the report.

    Raises:
        InputError: values that don't go together or are outside their range.
    """

    threshold: float | None = None
    threshold_on: str | None = None
    criterion: str | None = None
    level: str = "image"
    intervals: IntervalSettings = field(default_factory=IntervalSettings)
    batch_size: int = 8
    workers: int = 0
    thumbnails: int = 8

    def __post_init__(self):
        if self.threshold is not None and self.threshold_on is not None:
            raise InputError("both --threshold and --threshold-on are given; a threshold is fixed or chosen")
        if self.criterion is not None and self.threshold_on is None:
            raise InputError(
                "--criterion says how to choose a threshold; name the set to choose it on by --threshold-on"
            )
        if self.threshold is not None:
            OperatingPoint.fixed(self.threshold, "given")
        if self.criterion is not None:
            try:
                Criterion.parse(self.criterion)
            except ValueError as error:
                raise InputError(str(error)) from error
        if self.level not in LEVELS:
            raise InputError(f"level is {self.level!r}; expected one of {', '.join(LEVELS)}")
        if self.intervals.over not in (None, *UNITS):
            raise InputError(f"intervals can't be over {self.intervals.over!r}; expected one of {', '.join(UNITS)}")
        for name, value, least in (
            ("batch size", self.batch_size, 1),
            ("workers", self.workers, 0),
            ("thumbnails", self.thumbnails, 0),
        ):
            if value < least:
                raise InputError(f"{name} is {value}; expected at least {least}")
