"""The job behind scripts/evaluate.py: sets scored and measured at one operating point."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from datasets import Dataset

from ..inference.scorer import Scorer
from .numbers import SetNumbers, measured_on_development_set, set_numbers
from .operating_point import OperatingPoint, choose_operating_point
from .presentations import Presentations
from .scored_set import ScoredSet
from .scoring import score_dataset
from .sets import POOLED, EvaluationData
from .settings import EvaluationSettings

Progress = Callable[[Iterable, str], Iterable]


@dataclass(frozen=True)
class Evaluation:
    """
    All that was found, ready to be written or printed.

    Attributes:
        point: the threshold.
        sets: numbers of each set.
        total: those of all sets pooled; those of the only set where there is but one.
        scored, presentations: what they were computed from, by set.
        pooled: the presentations of all sets.
        data: the sets.
        settings: as given.
        scorer: what scored them.
        command: that asked for it, as text.
        date: when, in UTC.
    """

    point: OperatingPoint
    sets: dict[str, SetNumbers]
    total: SetNumbers
    scored: dict[str, ScoredSet]
    presentations: dict[str, Presentations]
    pooled: Presentations
    data: EvaluationData
    settings: EvaluationSettings
    scorer: Scorer
    command: str
    date: str

    @property
    def shown(self) -> list[SetNumbers]:
        """Every set, and the total where there are several."""
        return [*self.sets.values(), *([self.total] if len(self.sets) > 1 else [])]

    @property
    def pooled_name(self) -> str | None:
        """The name of the total where there are several sets."""
        return POOLED if len(self.sets) > 1 else None


def evaluate(
    scorer: Scorer,
    data: EvaluationData,
    settings: EvaluationSettings | None = None,
    command: str = "",
    progress: Progress = lambda batches, name: batches,
) -> Evaluation:
    """
    Scores all sets and measures them at one operating point.

    Args:
        scorer: makes the views and scores them.
        data: from [`load_evaluation_data`].
        settings: of the evaluation.
        command: that asked for it, for the record.
        progress: wraps the iteration over the batches of a set, whose name it's given.

    Raises:
        InputError: a capture can't be decoded, a score is NaN, or no threshold can be chosen.
    """
    settings = settings or EvaluationSettings()
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def scored_as(dataset: Dataset, name: str) -> ScoredSet:
        return score_dataset(
            scorer, dataset, name, settings.batch_size, settings.workers, lambda batches: progress(batches, name)
        )

    point = find_operating_point(scorer, data.development, settings, scored_as)
    scored = {name: scored_as(dataset, name) for name, dataset in data.sets.items()}
    presentations = {name: Presentations.of(part, settings.level) for name, part in scored.items()}
    pooled = Presentations.pooled(list(presentations.values()), POOLED)
    total = set_numbers(pooled, point, settings.intervals)
    if data.repeated:
        note = f"images that are in more than one set, and count in each: {data.repeated}"
        total = replace(total, notes=[*total.notes, note])
    return Evaluation(
        point,
        {name: set_numbers(part, point, settings.intervals) for name, part in presentations.items()},
        total,
        scored,
        presentations,
        pooled,
        data,
        settings,
        scorer,
        command,
        date,
    )


def find_operating_point(
    scorer: Scorer,
    development: Dataset | None,
    settings: EvaluationSettings,
    scored_as: Callable[[Dataset, str], ScoredSet],
) -> OperatingPoint:
    """
    The threshold that the settings ask for.

    Raises:
        InputError: none can be chosen on the development set.
    """
    if settings.threshold is not None:
        return OperatingPoint.fixed(settings.threshold, "given")
    if settings.threshold_on is None or development is None:
        return OperatingPoint.fixed(scorer.config.decision_threshold, scorer.threshold_origin)
    scored = scored_as(development, settings.threshold_on)
    presentations = Presentations.of(scored, settings.level)
    point = choose_operating_point(presentations, settings.chosen_by, settings.threshold_on, scored.fingerprint)
    return measured_on_development_set(point, presentations)
