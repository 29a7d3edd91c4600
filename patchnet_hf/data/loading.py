"""Captures of a run by the names that a command line or YAML gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets

from ..errors import InputError
from .filters import CaptureFilter, filter_captures
from .mixing import CaptureStream, filter_streams, mix_streams, source_stream
from .sources import Kind, find_source
from .uniting import unite_captures

__all__ = [
    "TRAIN_SPLIT",
    "RunCaptures",
    "Streaming",
    "load_captures",
    "load_run_captures",
    "load_split",
    "load_splits",
    "load_training_and_evaluation_sets",
    "unite_captures",
]

TRAIN_SPLIT = "train"


@dataclass(frozen=True)
class Streaming:
    """
    How training captures are streamed.

    Attributes:
        seed: of their order.
        buffer: captures that wait to be drawn from.
    """

    seed: int = 0
    buffer: int = 1000


@dataclass(frozen=True)
class RunCaptures:
    """
    The captures of a run.

    Attributes:
        training: that it trains on.
        sets: that it evaluates, by name.
        described: what `training` holds: itself, or all columns but the images of a stream.
        parts: what `training` is made of, by the names that were given, as far as it lies on disk as a dataset.
        streamed: the names of what doesn't.
    """

    training: datasets.Dataset | datasets.IterableDataset
    sets: dict[str, datasets.Dataset]
    described: datasets.Dataset
    parts: dict[str, datasets.Dataset]
    streamed: tuple[str, ...] = ()

    @property
    def is_stream(self) -> bool:
        """Whether the training captures are a stream."""
        return isinstance(self.training, datasets.IterableDataset)


def load_captures(place: str) -> datasets.DatasetDict:
    """All splits of a place with captures ([`~patchnet_hf.data.sources.find_source`]).

    Raises:
        InputError: there is none, it can't be read or reached, holds no captures, or a split is named.
    """
    source = find_source(place)
    if source.split is not None:
        raise InputError(f"{place} names a split; expected all of them: {source.place}")
    return source.splits()


def load_split(spec: str) -> tuple[str, datasets.Dataset]:
    """The split that `PLACE:SPLIT` or, where there is but one, `PLACE` stands for, with its name.

    Raises:
        InputError: as for [`load_captures`], or there is no such split, or several and none is named.
    """
    source = find_source(spec)
    splits = source.splits()
    name = source.split_among(splits)
    return name, splits[name]


def load_training_and_evaluation_sets(
    dataset: str | None,
    train: list[str] | None,
    evaluation: list[str] | None,
    train_filter: CaptureFilter | None = None,
    eval_filter: CaptureFilter | None = None,
) -> tuple[datasets.Dataset, dict[str, datasets.Dataset]]:
    """What [`load_run_captures`] trains on without streaming, and its evaluation sets by name."""
    captures = load_run_captures(dataset, train, evaluation, train_filter, eval_filter)
    return captures.training, captures.sets


def load_run_captures(
    dataset: str | None,
    train: list[str] | None,
    evaluation: list[str] | None,
    train_filter: CaptureFilter | None = None,
    eval_filter: CaptureFilter | None = None,
    streaming: Streaming | None = None,
) -> RunCaptures:
    """
    What a run trains on, and its evaluation sets by name.

    Args:
        dataset: a place whose split `train` is trained on, all others evaluated.
        train: instead, or to replace its `train`: list of `PLACE[:SPLIT]`, whose patch types are united by name.
        evaluation: instead, or to replace its other splits: list of `PLACE[:SPLIT]`. Sets of the same name are told
            apart by their folder.
        train_filter: which captures are trained on; by default all.
        eval_filter: which captures of the evaluation sets are evaluated; a set of which none is chosen is left out.
        streaming: read training captures as they come.

    Raises:
        InputError: nothing to train on, a missing place or split, two equal evaluation sets, or a filter that fits
            no capture.
    """
    if dataset is None and not train:
        raise InputError("nothing to train on: give --dataset DIR, or --train DIR:SPLIT (and --eval DIR:SPLIT)")
    splits = _splits_of(dataset, streaming) if dataset is not None else {}
    if evaluation:
        sets = load_splits(evaluation, "evaluation set")
    else:
        sets = {name: part for name, part in splits.items() if name != TRAIN_SPLIT}
    if eval_filter is not None:
        if not sets:
            raise InputError("eval_filter is given, but there is no evaluation set; give --eval DIR:SPLIT")
        sets = filter_captures(sets, eval_filter, "eval_filter")
    if streaming is not None:
        return _streamed(train or [f"{dataset}:{TRAIN_SPLIT}"], train_filter, sets, streaming)
    if train:
        parts = _by_spec(train, lambda spec: load_split(spec)[1])
    elif TRAIN_SPLIT in splits:
        parts = {f"{dataset}:{TRAIN_SPLIT}": splits[TRAIN_SPLIT]}
    else:
        raise InputError(f"{dataset} has no split {TRAIN_SPLIT!r} but {', '.join(splits)}; give --train DIR:SPLIT")
    training = unite_captures(list(parts.values()))
    if train_filter is not None:
        # Not united after the choice: patch types of chosen rows are renumbered by copying all images.
        (training,) = filter_captures({TRAIN_SPLIT: training}, train_filter, "train_filter").values()
        parts = filter_captures(parts, train_filter, "train_filter")
    return RunCaptures(training, sets, training, parts)


def _splits_of(dataset: str, streaming: Streaming | None) -> Mapping[str, datasets.Dataset]:
    """The splits of a place; where what is trained on comes as a stream, only the others are fetched."""
    source = find_source(dataset)
    if streaming is None or source.split is not None or source.kind in (Kind.ARROW, Kind.CSV):
        return load_captures(dataset)
    with source.reading():
        names = list(source.builder().as_streaming_dataset())
    return {name: load_split(f"{dataset}:{name}")[1] for name in names if name != TRAIN_SPLIT}


def _streamed(
    train: Sequence[str],
    train_filter: CaptureFilter | None,
    sets: dict[str, datasets.Dataset],
    streaming: Streaming,
) -> RunCaptures:
    parts: dict[str, CaptureStream] = _by_spec(train, lambda spec: source_stream(find_source(spec)))
    if train_filter is not None:
        parts = filter_streams(parts, train_filter, "train_filter")
    mixed = mix_streams(list(parts.values()), streaming.seed, streaming.buffer)
    stored = {spec: part.stored for spec, part in parts.items() if part.stored is not None}
    return RunCaptures(mixed.stream, sets, mixed.narrow, stored, tuple(spec for spec in parts if spec not in stored))


def _by_spec(specs: Sequence[str], load) -> dict:
    """What is loaded of each; what is named several times is there as often."""
    loaded = {}
    for spec in specs:
        number = specs[: len(loaded)].count(spec)
        loaded[spec if not number else f"{spec} ({number + 1})"] = load(spec)
    return loaded


def load_splits(specs: Sequence[str], noun: str = "set") -> dict[str, datasets.Dataset]:
    """
    Splits by name; those of the same name are told apart by as much of their folders as it takes.

    Args:
        specs: `PLACE[:SPLIT]` each.
        noun: what a message calls one of them.

    Raises:
        InputError: a missing place or split, or one that is given twice.
    """
    loaded = [(spec, *load_split(spec)) for spec in specs]
    splits = [name for _, name, _ in loaded]
    folders = [find_source(spec).folders for spec in specs]
    names = splits
    # As few parts of the folders as tell the sets apart.
    for depth in range(1, max(map(len, folders), default=0) + 1):
        if len(set(names)) == len(names):
            break
        names = [
            name if splits.count(name) == 1 else "_".join([*(part.strip("/") for part in folder[-depth:]), name])
            for name, folder in zip(splits, folders, strict=True)
        ]
    for number, (spec, name) in enumerate(zip(specs, names, strict=True)):
        if name in names[:number]:
            raise InputError(f"{specs[names.index(name)]} and {spec} are the same {noun}; leave one of them out")
    return {name: part for name, (_, _, part) in zip(names, loaded, strict=True)}
