"""All captures of a protocol's datasets: their columns, and what tells one capture from another."""

import hashlib
import json
import os
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.filters import COLUMNS, CaptureColumns
from ..data.loading import load_captures, load_training_and_evaluation_sets
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
        Pairs of captures of two masks with files of the same name and the same bytes: one capture listed twice.
        """
        known: dict[tuple[str, int], list[int]] = {}
        for index in np.flatnonzero(first):
            known.setdefault(self._key(index), []).append(int(index))
        candidates = [
            (other, int(index)) for index in np.flatnonzero(second) for other in known.get(self._key(index), ())
        ]
        return [pair for pair in candidates if pair[0] == pair[1] or self._bytes(pair[0]) == self._bytes(pair[1])]

    def _key(self, index: int) -> tuple[str, int]:
        return os.path.basename(self.files[index]), int(self.sizes[index])

    def _bytes(self, index: int) -> bytes | str:
        image = self._encoded[index]["image"]
        return image["path"] if image["bytes"] is None else image["bytes"]

    @property
    def _encoded(self) -> datasets.Dataset:
        return self.captures.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))


def load_pool(given: tuple[str, ...]) -> Pool:
    """
    The captures of all datasets of a protocol.

    Args:
        given: `DIR` for all splits of a folder, or `DIR:SPLIT`.

    Raises:
        InputError: a folder or split is missing or no dataset of captures, or a split is named twice.
    """
    specs: list[str] = []
    for spec in given:
        splits = [f"{spec.rstrip('/')}:{name}" for name in load_captures(spec)] if os.path.isdir(spec) else [spec]
        specs += splits
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
