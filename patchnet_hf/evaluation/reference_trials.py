"""Trials of references: random choices of a device's captures as references, scored on other persons' captures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from ..errors import InputError
from ..inference.references import References, ReferenceScorer, patch_type_directions, projected, similarity
from ..inference.scorer import Scorer, ViewScores, calibration_of
from ..inference.scorers import TorchScorer
from ..metrics import acer, auc, eer, log_odds
from ..metrics.operating_point import Criterion, threshold_at
from ..text_table import text_table
from .calibration import fit_settings, uncalibrated
from .scored_set import ScoredSet
from .scoring import score_dataset

DRAWS = 20


@dataclass(frozen=True)
class EmbeddedSet:
    """
    N captures as references see them.

    Attributes:
        scored: with the model's uncalibrated log-odds.
        points: float64 of shape `(N, V, K)`, embeddings along the directions that tell patch types apart.
    """

    scored: ScoredSet
    points: np.ndarray

    @property
    def persons(self) -> np.ndarray:
        """N names; a capture whose subject isn't known counts as a person of its own."""
        subjects = self.scored.columns["subject"]
        return np.asarray([subject or f"capture {index}" for index, subject in enumerate(subjects)])

    @property
    def devices(self) -> np.ndarray:
        """N names; captures without a device are taken as of one, called `""`."""
        return np.asarray([device or "" for device in self.scored.columns["device"]])


class Draw(NamedTuple):
    """One random choice of references of a device, and the captures of that device by other persons.

    Attributes:
        references: positions in the set.
        rest: positions in the set; nobody in them is among the references.
        scores: float64, uncalibrated log-odds of `rest` with these references.
    """

    references: np.ndarray
    rest: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Trial:
    """
    Error rates of many random choices of references on the captures of other persons, one entry for each choice.

    Attributes:
        before, after: shares by name (`acer`, `eer`, `auc`): the model alone, and with references.
        captures: how many captures were scored each time.
    """

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    captures: np.ndarray


class _PointsKeeper(Scorer):
    """A model that keeps the `points` of what it has scored."""

    def __init__(self, scorer: TorchScorer):
        super().__init__(scorer.name, scorer.config, scorer.processor)
        self.scorer = scorer
        self.points = []
        self._basis = patch_type_directions(scorer)

    def score(self, captures: Sequence[np.ndarray]) -> ViewScores:
        scored = self.scorer.score(captures)
        self.points.append(projected(scored.embeddings, self._basis))
        return scored

    def description(self) -> dict[str, str]:
        return self.scorer.description()


def embed_dataset(
    scorer: TorchScorer,
    dataset: Dataset,
    name: str,
    batch_size: int = 8,
    progress: Callable[[Iterable], Iterable] = iter,
) -> EmbeddedSet:
    """
    Scores and embeddings of all captures of a dataset.

    Raises:
        InputError: as for [`score_dataset`].
    """
    keeper = _PointsKeeper(scorer)
    with uncalibrated(scorer):
        scored = score_dataset(keeper, dataset, name, batch_size, progress=progress)
    return EmbeddedSet(scored, np.concatenate(keeper.points))


def choose_references(
    rows: np.ndarray, labels: np.ndarray, count: int, attack_count: int, random: np.random.Generator, name: str
) -> np.ndarray:
    """
    Some of `rows` at random, live ones first.

    Args:
        rows: positions in a set.
        labels: of all its captures, 1 = bona fide, 0 = attack.
        count, attack_count: how many live captures and attacks.
        random: of the choice.
        name: of the captures, for messages.

    Raises:
        InputError: there are too few.
    """
    chosen = []
    for label, wanted, noun in ((1, count, "live captures"), (0, attack_count, "attacks")):
        held = rows[labels[rows] == label]
        if len(held) < wanted:
            raise InputError(f"{name} has {len(held)} {noun}, fewer than the {wanted} references asked for")
        chosen.append(random.choice(held, wanted, replace=False))
    return np.concatenate(chosen)


def draws(
    captures: EmbeddedSet, factor: float, count: int, attack_count: int, number: int, seed: int = 0
) -> Iterator[list[Draw]]:
    """
    Random choices of references of each device, as if it had been enrolled with them.

    Args:
        captures: a set with one or more devices.
        factor: of the similarity, `references.weight * config.scale`.
        count, attack_count: live references and attacks of each choice.
        number: of choices.
        seed: of the choices.

    Yields:
        One [`Draw`] for each device.

    Raises:
        InputError: a device has too few captures, or none of other persons.
    """
    random = np.random.default_rng(seed)
    scored, points, persons, devices = captures.scored, captures.points, captures.persons, captures.devices
    for _ in range(number):
        choice = []
        for device in np.unique(devices):
            rows = np.flatnonzero(devices == device)
            where = f"{device} in {scored.name}" if device else scored.name
            chosen = choose_references(rows, scored.labels, count, attack_count, random, where)
            rest = rows[~np.isin(persons[rows], persons[chosen])]
            if len(set(scored.labels[rest].tolist())) < 2:
                raise InputError(f"{where}: all captures of one class are of the persons among the references")
            live, attacks = chosen[scored.labels[chosen] == 1], chosen[scored.labels[chosen] == 0]
            moved = similarity(points[rest], points[live], points[attacks])
            choice.append(Draw(chosen, rest, scored.scores[rest] + factor * moved.mean(axis=-1)))
        yield choice


def develop(
    references: References, captures: EmbeddedSet, scale: float, criterion: Criterion, number: int = DRAWS
) -> References:
    """
    References with a calibration and a decision threshold of their own, chosen on a development set.

    Each device of the set is enrolled `number` times with as many random captures as `references` has, and the other
    persons' captures of it are scored. On all these scores scale, bias and threshold are fitted as for a model.

    Args:
        references: of the device to come, which need not be in the set.
        captures: the development set.
        scale: of the model's configuration.
        criterion: of the threshold.
        number: of random choices for each device.

    Raises:
        InputError: a device has too few captures, or the scores can't be calibrated.
    """
    chosen = [
        draw
        for choice in draws(
            captures, references.weight * scale, references.live_count, references.attack_count, number
        )
        for draw in choice
    ]
    scored, rest = captures.scored, np.concatenate([draw.rest for draw in chosen])
    scores = np.concatenate([draw.scores for draw in chosen])
    types = np.asarray(scored.attack_types)[rest]
    settings = fit_settings(scored.name, scores, scored.labels[rest], types, criterion)
    return replace(
        references,
        calibration=settings.calibration,
        decision_threshold=settings.threshold,
        developed_on=f"{scored.name}, {criterion}, {number} choices for each device",
    )


def try_references(
    scorer: TorchScorer,
    references: References,
    captures: EmbeddedSet,
    criterion: Criterion,
    development: EmbeddedSet | None = None,
    number: int = DRAWS,
    seed: int = 0,
) -> Trial:
    """
    What such references bring on a set: as many as in `references`, of a device of the set, chosen at random again and
    again; the captures of all persons among them are left out of what is reported.

    Both are reported at a threshold that `captures` had no part in: of the model alone the one that meets `criterion`
    on `development`, with references the one in them. Without a development set it is the model's own for both.

    Args:
        scorer: the model.
        references: say how many, their weight and their operating point.
        captures: of one device.
        criterion: of the model's threshold on `development`.
        development: the set that `references` were developed on.
        number, seed: of the choices.

    Raises:
        InputError: there are too few captures.
    """
    own, config = calibration_of(scorer), scorer.config
    limit = own.uncalibrate(log_odds(config.decision_threshold))
    limit_with = limit
    if development is not None:
        known = development.scored
        limit = threshold_at(known.scores, known.labels, known.attack_types, criterion)
        with_references = ReferenceScorer(scorer, references)
        threshold = log_odds(with_references.config.decision_threshold)
        limit_with = calibration_of(with_references).uncalibrate(threshold)
    counts = references.live_count, references.attack_count
    scored, all_types = captures.scored, np.asarray(captures.scored.attack_types)
    before, after, sizes = [], [], []
    for (draw,) in draws(captures, references.weight * config.scale, *counts, number, seed):
        labels, types = scored.labels[draw.rest], all_types[draw.rest]
        for numbers, scores, threshold in (
            (before, scored.scores[draw.rest], limit),
            (after, draw.scores, limit_with),
        ):
            error = acer(scores, labels, types, threshold_log_odds=float(threshold))
            numbers.append({"acer": error, "eer": eer(scores, labels), "auc": auc(scores, labels)})
        sizes.append(len(draw.rest))
    return Trial(_columns(before), _columns(after), np.asarray(sizes))


def trial_table(trial: Trial, references: References, compared_at: str) -> str:
    """Mean and standard deviation over choices, of the model alone and with references, and of the difference.

    Args:
        trial: what is shown.
        references: that it was of.
        compared_at: where the thresholds are from, in words.
    """
    rows = []
    for name in ("acer", "eer", "auc"):
        before, after = 100 * trial.before[name], 100 * trial.after[name]
        cells = [f"{values.mean():.2f} ± {values.std():.2f}" for values in (before, after)]
        change = after - before
        rows.append([f"{name.upper()} %", *cells, f"{change.mean():+.2f} ± {change.std():.2f}"])
    table = text_table(["", "model alone", "with references", "change"], rows)
    sizes = trial.captures
    captures = f"{sizes.min()} to {sizes.max()}" if sizes.min() < sizes.max() else str(sizes.min())
    return (
        f"{len(sizes)} choices of {references.live_count} live and {references.attack_count} attack references, mean "
        f"and standard deviation over them,\non {captures} captures of other persons; ACER at "
        f"{compared_at}\n\n{table}"
    )


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
