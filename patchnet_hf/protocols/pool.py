"""All captures of a protocol's datasets: their columns, and what tells one capture from another."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.filters import COLUMNS, CaptureColumns
from ..data.loading import load_captures, load_training_and_evaluation_sets
from ..data.sources import find_source
from ..errors import InputError

FINGERPRINT_DIGITS = 16
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Pool:
    """
    N captures, the datasets one after the other.

    Attributes:
        specs: the splits they come from, each `DIR:SPLIT`.
        captures: by the data contract.
        columns: their narrow columns.
        files: N names, as the CSV had them.
        sizes: int64 of shape `(N,)`, bytes of each picture; -1 where it lies in a file of its own.
    """

    specs: tuple[str, ...]
    captures: datasets.Dataset
    columns: CaptureColumns
    files: list[str]
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def part(self, rows: np.ndarray) -> datasets.Dataset:
        """The captures of a bool mask of shape `(N,)`."""
        return self.captures.select(np.flatnonzero(rows))

    def fingerprint(self, rows: np.ndarray) -> str:
        """
        Of the captures of a mask: their files' names and sizes and all columns, in their order.

        The pictures themselves aren't read, which would take as long as scoring them.
        """
        indices = np.flatnonzero(rows)
        digest = hashlib.sha256(json.dumps([self.files[index] for index in indices]).encode())
        digest.update(self.sizes[indices].astype("<i8").tobytes())
        boxes = self.captures.select_columns(["face_box"]).select(indices)
        digest.update(json.dumps(boxes["face_box"][:]).encode())
        for name in COLUMNS:
            codes, values = self.columns.codes[name][indices], self.columns.values[name]
            digest.update(json.dumps([name, *(values[code] for code in codes)]).encode())
        return digest.hexdigest()[:FINGERPRINT_DIGITS]

    def twins(self, first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
        """
        Captures of two masks with files of the same name and the same bytes: one capture listed twice.

        Reads pictures only where name and size agree, and each of them once.

        Returns:
            For each capture of `second` that is one of `first`, the two.
        """
        keys = [{index: self._key(index) for index in np.flatnonzero(rows).tolist()} for rows in (first, second)]
        in_both = set(keys[0].values()) & set(keys[1].values())
        candidates = [[index for index, key in part.items() if key in in_both] for part in keys]
        digests = self._digests(sorted({*candidates[0], *candidates[1]}))
        known = {(keys[0][index], digests[index]): index for index in candidates[0]}
        found = ((known.get((keys[1][index], digests[index])), index) for index in candidates[1])
        return [(one, other) for one, other in found if one is not None]

    def _key(self, index: int) -> tuple[str, int]:
        return os.path.basename(self.files[index]), int(self.sizes[index])

    def _digests(self, indices: Sequence[int]) -> dict[int, bytes]:
        """Of the bytes of these captures, or of the paths of those that lie in files of their own."""
        encoded = self.captures.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
        pictures = (row["image"] for row in encoded.select(indices))
        data = (picture["bytes"] or str(picture["path"]).encode() for picture in pictures)
        return {index: hashlib.sha256(item).digest() for index, item in zip(indices, data, strict=True)}


def load_pool(given: tuple[str, ...]) -> Pool:
    """
    The captures of all datasets of a protocol.

    Args:
        given: a folder, list or name on the Hub for all of its splits, or one of them with `:SPLIT`.

    Raises:
        InputError: a folder or split is missing or no dataset of captures, or a split is named twice.
    """
    specs: list[str] = []
    for spec in given:
        named = find_source(spec).split is not None or os.path.isfile(spec)
        specs += [spec] if named else [f"{spec.rstrip('/')}:{name}" for name in load_captures(spec)]
    for spec in specs:
        if specs.count(spec) > 1:
            raise InputError(f"datasets: {spec} is named twice")
    # As a fold's training will load them, to find now what it would stumble over.
    captures, _ = load_training_and_evaluation_sets(None, specs, specs)
    files, sizes = pictures(captures)
    return Pool(tuple(specs), captures, CaptureColumns([captures]), files, sizes)


def pictures(captures: datasets.Dataset) -> tuple[list[str], np.ndarray]:
    """Names of the pictures' files, and their sizes in bytes (-1: not in the dataset); reads no picture."""
    encoded = captures.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    files, sizes = [], [np.empty(0, dtype=np.int64)]
    for batch in encoded.with_format("arrow").iter(ROWS_AT_ONCE):
        for chunk in batch.column("image").chunks:
            files += [path or "" for path in pc.struct_field(chunk, "path").to_pylist()]
            lengths = pc.fill_null(pc.binary_length(pc.struct_field(chunk, "bytes")).cast(pa.int64()), -1)
            sizes.append(lengths.to_numpy(zero_copy_only=False))
    return files, np.concatenate(sizes)
