"""Choosing references from a dataset, the operating point of their scores, and trials of whether they help."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from torch.utils.data import DataLoader

from ..data.views import EvaluationViews
from ..errors import InputError, did_you_mean
from ..inference.references import References, ReferenceScorer, patch_type_directions, projected, similarity
from ..inference.scorers import TorchScorer, calibration_of
from ..metrics import acer, auc, eer, log_odds
from ..metrics.operating_point import Criterion, threshold_at
from .calibration import fit_settings
from .scored_set import ScoredSet

DRAWS = 20
NO_DEVICE = "all captures"


@dataclass(frozen=True)
class EmbeddedSet:
    """
    N captures as references see them.

    Attributes:
        name: of the set.
        scores: float64 of shape `(N,)`, the model's uncalibrated live log-odds.
        points: float64 of shape `(N, V, K)`, embeddings along the directions that tell patch types apart.
        labels: int64 of shape `(N,)`, 1 = bona fide.
        attack_types: N names.
        persons: N names; a capture whose subject isn't known counts as a person of its own.
        devices: N names.
    """

    name: str
    scores: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    attack_types: np.ndarray
    persons: np.ndarray
    devices: np.ndarray


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


def device_names(dataset: Dataset) -> np.ndarray:
    """The device of each capture; those without one are taken as of one device."""
    return np.asarray([device or NO_DEVICE for device in dataset["device"][:]])


def chosen_device_name(name: str, dataset: Dataset, device: str | None) -> str:
    """
    The device of a dataset that is meant.

    Args:
        name: of the dataset, for messages.
        dataset: Arrow dataset by the data contract.
        device: one of its column `device`; `None` where there is but one.

    Raises:
        InputError: the device isn't there, or there are several and none is named.
    """
    known = sorted(set(device_names(dataset).tolist()))
    if device is None and len(known) > 1:
        raise InputError(f"{name} has captures of {', '.join(known)}; --device says which to enrol")
    if device is not None and device not in known:
        hint = did_you_mean(device, known)
        raise InputError(f"{name} has no captures of device {device!r} but of {', '.join(known)}{hint}")
    return known[0] if device is None else device


def draw_rows(dataset: Dataset, name: str, count: int, attack_count: int, seed: int = 0) -> list[int]:
    """
    Positions of randomly chosen references among the captures of one device, live ones first.

    Args:
        dataset: Arrow dataset by the data contract.
        name: of the dataset, for messages.
        count, attack_count: how many live captures and attacks.
        seed: of the choice.

    Raises:
        InputError: there are too few captures.
    """
    rows, labels = np.arange(len(dataset)), np.asarray(dataset["label"][:])
    return _choose(rows, labels, count, attack_count, np.random.default_rng(seed), name).tolist()


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
        InputError: the dataset is empty, or a capture can't be decoded.
    """
    if not len(dataset):
        raise InputError(f"{name} has no captures")
    views = EvaluationViews(dataset, scorer.processor)
    basis, own = patch_type_directions(scorer), calibration_of(scorer)
    scores, points = [], []
    try:
        for batch in progress(DataLoader(views, batch_size, collate_fn=list)):
            scored = scorer.score(np.stack([item["pixel_values"] for item in batch]))
            scores.append(own.uncalibrate(scored.log_odds))
            points.append(projected(scored.embeddings, basis))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error
    persons = [subject or f"capture {index}" for index, subject in enumerate(dataset["subject"][:])]
    return EmbeddedSet(
        name,
        np.concatenate(scores),
        np.concatenate(points),
        views.labels,
        np.asarray(views.attack_types),
        np.asarray(persons),
        device_names(dataset),
    )


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
    for _ in range(number):
        choice = []
        for device in sorted(set(captures.devices.tolist())):
            rows = np.flatnonzero(captures.devices == device)
            where = f"{device} in {captures.name}"
            chosen = _choose(rows, captures.labels, count, attack_count, random, where)
            rest = rows[~np.isin(captures.persons[rows], captures.persons[chosen])]
            if len(set(captures.labels[rest].tolist())) < 2:
                raise InputError(f"{where}: all captures of one class are of the persons among the references")
            live, attacks = chosen[captures.labels[chosen] == 1], chosen[captures.labels[chosen] == 0]
            moved = similarity(captures.points[rest], captures.points[live], captures.points[attacks])
            choice.append(Draw(chosen, rest, captures.scores[rest] + factor * moved.mean(axis=-1)))
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
    rest = np.concatenate([draw.rest for draw in chosen])
    scores = np.concatenate([draw.scores for draw in chosen])
    types = captures.attack_types[rest].tolist()
    pooled = ScoredSet(captures.name, [], scores, captures.labels[rest], types, np.empty((0, 0)))
    settings = fit_settings(pooled, criterion)
    return replace(
        references,
        calibration=settings.calibration,
        decision_threshold=settings.threshold,
        developed_on=f"{captures.name}, {criterion}, {number} choices for each device",
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
        limit = threshold_at(development.scores, development.labels, development.attack_types, criterion)
        with_references = ReferenceScorer(scorer, references)
        threshold = log_odds(with_references.config.decision_threshold)
        limit_with = calibration_of(with_references).uncalibrate(threshold)
    counts = references.live_count, references.attack_count
    before, after, sizes = [], [], []
    for (draw,) in draws(captures, references.weight * config.scale, *counts, number, seed):
        labels, types = captures.labels[draw.rest], captures.attack_types[draw.rest]
        for numbers, scores, threshold in (
            (before, captures.scores[draw.rest], limit),
            (after, draw.scores, limit_with),
        ):
            error = acer(scores, labels, types, threshold_log_odds=float(threshold))
            numbers.append({"acer": error, "eer": eer(scores, labels), "auc": auc(scores, labels)})
        sizes.append(len(draw.rest))
    return Trial(_columns(before), _columns(after), np.asarray(sizes))


def _choose(
    rows: np.ndarray, labels: np.ndarray, count: int, attack_count: int, random: np.random.Generator, where: str
) -> np.ndarray:
    chosen = []
    for label, wanted, noun in ((1, count, "live captures"), (0, attack_count, "attacks")):
        held = rows[labels[rows] == label]
        if len(held) < wanted:
            raise InputError(f"{where} has {len(held)} {noun}, fewer than the {wanted} references asked for")
        chosen.append(random.choice(held, wanted, replace=False))
    return np.concatenate(chosen)


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
