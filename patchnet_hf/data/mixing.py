"""Streams of captures from several sources: read as they come, filtered, shuffled, and mixed to one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa

from ..errors import InputError
from .adaptation import NARROW_COLUMNS, Adaptation, follows_contract
from .filters import CaptureColumns, CaptureFilter
from .schema import capture_features
from .sources import Kind, Source
from .uniting import undecoded, unite_captures, unite_streams, unread

SHARDS = 64
"""That a dataset on disk is dealt out to, for the workers of a loader to share."""

_ROWS_AT_ONCE = 1000
# Of a stream that is changed on its way this many images lie in memory.
_ROWS_ADAPTED_AT_ONCE = 16


@dataclass(frozen=True)
class CaptureStream:
    """
    A stream of captures together with what it holds besides images.

    Attributes:
        stream: by the data contract.
        narrow: all columns but the images, in the stream's unshuffled order; read beforehand.
        stored: the same captures, where they lie on disk as a dataset.
    """

    stream: datasets.IterableDataset
    narrow: datasets.Dataset
    stored: datasets.Dataset | None = None

    @classmethod
    def stored_in(cls, dataset: datasets.Dataset) -> "CaptureStream":
        """The captures of a dataset as a stream."""
        stream = dataset.to_iterable_dataset(num_shards=max(min(SHARDS, len(dataset)), 1))
        return cls(stream, dataset.select_columns(list(NARROW_COLUMNS)), dataset)


def source_stream(source: Source) -> CaptureStream:
    """
    A split of a source as a stream: the one that it names, or its only one.

    The columns of the data contract but the images are read at once, of Parquet files they alone.

    Raises:
        InputError: it can't be read, has no such split, or holds no captures.
    """
    if source.kind in (Kind.ARROW, Kind.CSV):
        splits = source.splits()
        return CaptureStream.stored_in(splits[source.split_among(splits)])
    builder = source.builder()
    with source.reading():
        found = builder.as_streaming_dataset()
        source.check_columns(found)
        split = source.split_among(found)
        return _streamed(source, split, found[split], hasattr(builder.config, "columns"))


def _streamed(source: Source, split: str, stream: datasets.IterableDataset, has_columns: bool) -> CaptureStream:
    where = f"{source.place}, split {split}"
    if stream.features is None:
        # Of files that don't tell: by their first rows.
        stream = stream.cast(unread(stream)._resolve_features().features)
    known = follows_contract(stream.features)
    adaptation = Adaptation.of(stream.features, source.name, where)
    columns = adaptation.columns
    schema = pa.schema([stream.features.arrow_schema.field(name) for name in columns])
    if has_columns:
        # Of Parquet files no more than these is fetched.
        table = _read_batches(source.builder(columns=columns).as_streaming_dataset()[split], schema)
    else:
        # By rows: in Arrow's form rows without a value would have a type of their own.
        table = pa.Table.from_pylist(list(unread(stream).select_columns(columns)), schema)
    if not known:
        adaptation = adaptation.with_patch_types(table)
        stream = undecoded(stream.select_columns(["image", *adaptation.columns]))
        features = capture_features(adaptation.patch_types)
        features["image"] = datasets.Image(decode=False)
        # Cast afterwards: early releases of `datasets` can't filter what was mapped to features.
        stream = stream.map(
            _adapted,
            batched=True,
            batch_size=_ROWS_ADAPTED_AT_ONCE,
            input_columns=adaptation.columns,
            fn_kwargs={"adaptation": adaptation},
        ).cast(features)
    return CaptureStream(stream, adaptation.narrow(table))


def _read_batches(stream: datasets.IterableDataset, schema: pa.Schema) -> pa.Table:
    """All rows of a stream of columns of these types."""
    tables = [pa.table(batch) for batch in stream.with_format("arrow").iter(_ROWS_AT_ONCE)]
    return pa.concat_tables([table.select(schema.names).cast(schema) for table in tables] or [schema.empty_table()])


def _adapted(*columns: list, adaptation: Adaptation) -> dict[str, list]:
    kinds = adaptation.given.arrow_schema
    table = {
        name: pa.array(values, kinds.field(name).type)
        for name, values in zip(adaptation.columns, columns, strict=True)
    }
    return {name: column.to_pylist() for name, column in adaptation.adapted(table).items()}


def filter_streams(
    parts: Mapping[str, CaptureStream], chosen: CaptureFilter, where: str = "filter"
) -> dict[str, CaptureStream]:
    """
    The chosen captures of each part; parts of which none is chosen are left out.

    Raises:
        InputError: as for [`CaptureFilter.mask`], over all parts together.
    """
    mask = chosen.mask(CaptureColumns([part.narrow for part in parts.values()]), where)
    ends = np.cumsum([len(part.narrow) for part in parts.values()])
    columns = sorted({name for conditions in chosen.alternatives for name in conditions})
    filtered = {}
    for (name, part), rows in zip(parts.items(), np.split(mask, ends[:-1]), strict=True):
        if not rows.any():
            continue
        indices = np.flatnonzero(rows)
        narrow = part.narrow.select(indices)
        values = narrow.select_columns(columns).with_format("arrow")[:].to_pylist()
        keys = {tuple(row[column] for column in columns) for row in values}
        stream = undecoded(part.stream).filter(_is_among, input_columns=columns, fn_kwargs={"keys": keys})
        # Not the stream of the chosen rows: `datasets` would write a copy of them first, with all their images.
        stored = None if part.stored is None else part.stored.select(indices)
        filtered[name] = CaptureStream(stream, narrow, stored)
    return filtered


def _is_among(*values, keys: set[tuple]) -> bool:
    return values in keys


def mix_streams(parts: Sequence[CaptureStream], seed: int, buffer: int) -> CaptureStream:
    """
    One stream of all captures of several, each of them once in a pass, shuffled.

    The streams are drawn from in proportion to their captures; what a buffer of captures holds is shuffled, and so
    are the shards that a stream comes in.

    Args:
        parts: patch types are united by name.
        seed: of the order, together with the pass.
        buffer: captures that wait in memory, as encoded bytes, to be drawn from.

    Raises:
        InputError: there is no capture.
    """
    parts = [part for part in parts if len(part.narrow)]
    if not parts:
        raise InputError("the training set is empty")
    streams = unite_streams([part.stream for part in parts])
    if len(streams) == 1:
        (mixed,) = streams
    else:
        sizes = np.array([len(part.narrow) for part in parts])
        mixed = datasets.interleave_datasets(
            [stream.select_columns(list(capture_features())) for stream in streams],
            probabilities=(sizes / sizes.sum()).tolist(),
            seed=seed,
            stopping_strategy="all_exhausted_without_replacement",
        )
    return CaptureStream(mixed.shuffle(seed=seed, buffer_size=buffer), unite_captures([part.narrow for part in parts]))
