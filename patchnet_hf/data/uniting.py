"""Captures of several datasets under one list of patch types."""

import copy
import functools
from collections.abc import Sequence

import datasets
import numpy as np

from ..errors import InputError
from .schema import check_schema


def unite_captures(parts: list[datasets.Dataset]) -> datasets.Dataset:
    """All parts one after the other, their patch types united by name; no capture is copied."""
    if len(parts) == 1:
        return parts[0]
    if len({tuple(part.features["patch_type"].names) for part in parts}) == 1:
        return datasets.concatenate_datasets(parts)
    names = sorted({name for part in parts for name in part.features["patch_type"].names})
    united = datasets.ClassLabel(names=names)
    renumbered = []
    for part in parts:
        ids = np.array([names.index(name) for name in part.features["patch_type"].names])
        column = ids[np.asarray(part["patch_type"][:])]
        renumbered.append(part.remove_columns("patch_type").add_column("patch_type", column, feature=united))
    return datasets.concatenate_datasets(renumbered)


def unite_streams(streams: Sequence[datasets.IterableDataset]) -> list[datasets.IterableDataset]:
    """
    The streams with the same patch types, united by name and in the same order; images are left as bytes.

    Raises:
        InputError: there are none, or one doesn't follow the data contract.
    """
    if not streams:
        raise InputError("there are no streams")
    for number, stream in enumerate(streams):
        check_schema(stream, f"stream {number}")
    known = [stream.features["patch_type"].names for stream in streams]
    streams = [undecoded(stream) for stream in streams]
    if all(names == known[0] for names in known):
        return streams
    united = sorted({name for names in known for name in names})
    renumbered = []
    for names, stream in zip(known, streams, strict=True):
        features = datasets.Features({**stream.features, "patch_type": datasets.ClassLabel(names=united)})
        renumber = functools.partial(_renumbered, ids=[united.index(name) for name in names])
        # Cast afterwards: early releases of `datasets` can't filter what was mapped to features.
        renumbered.append(stream.map(renumber, input_columns=["patch_type"]).cast(features))
    return renumbered


def undecoded(stream: datasets.IterableDataset) -> datasets.IterableDataset:
    """
    `stream` with its images left as encoded bytes.

    That has to come before its rows are filtered or mapped, which would decode every image.
    """
    # Casting once more to the same makes streams that early releases of `datasets` can't filter.
    return stream.cast_column("image", datasets.Image(decode=False)) if stream.features["image"].decode else stream


def unread(stream: datasets.IterableDataset) -> datasets.IterableDataset:
    """A copy of a stream to read; one that was read itself can't be joined to others any more."""
    return copy.deepcopy(stream)


def _renumbered(patch_type: int, ids: list[int]) -> dict:
    return {"patch_type": ids[patch_type]}
