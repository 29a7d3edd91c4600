"""Whether the same image is trained on and evaluated, found without reading more of the images than it takes."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .views import reading_failure

T = TypeVar("T")

LISTED = 3
"""Shared images that a message names."""

_SAMPLE = 64
"""Bytes that are compared before whole images are: of their middle, and of their end."""


@dataclass(frozen=True)
class SharedImage:
    """An image that is trained on and evaluated, by the positions and names of both captures."""

    training: str
    position: int
    name: str
    evaluation: str
    other_position: int
    other_name: str

    def __str__(self) -> str:
        return (
            f"capture {self.position} of {self.training}{_named(self.name)} is capture {self.other_position} of "
            f"{self.evaluation}{_named(self.other_name)}"
        )


class StoredImages:
    """
    The files of the images of a dataset, of which sizes and pieces can be had without reading all.

    Args:
        dataset: of captures; also a choice of the rows of another.
        name: how the user knows it.

    Attributes:
        name: as given.
        sizes: int64 of shape `(N,)`, bytes of each file.

    Raises:
        InputError: a file that an image lies in isn't there.
    """

    def __init__(self, dataset: datasets.Dataset, name: str):
        self.name = name
        # Not by rows of the dataset: of a choice of rows that would copy every image.
        chunks = dataset.data.column("image").chunks
        self._data = [pc.struct_field(chunk, "bytes") for chunk in chunks]
        self._paths = [pc.struct_field(chunk, "path") for chunk in chunks]
        self._ends = np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)
        chosen = dataset._indices
        self._rows = np.arange(len(dataset)) if chosen is None else chosen.column(0).to_numpy()
        lengths = [pc.fill_null(pc.binary_length(part).cast(pa.int64()), -1).to_numpy(False) for part in self._data]
        self.sizes = np.concatenate([np.empty(0, dtype=np.int64), *lengths])[self._rows]
        for index in np.flatnonzero(self.sizes < 0).tolist():
            self.sizes[index] = self._from_file(index, lambda file: os.fstat(file.fileno()).st_size)

    def file(self, index: int) -> str:
        """Name or path of the file of an image; `""` where it has none."""
        chunk, position = self._place(index)
        return self._paths[chunk][position].as_py() or ""

    def sample(self, index: int) -> bytes:
        """Some bytes of the file, which tell most images of the same size apart."""
        size = int(self.sizes[index])
        starts = (size // 2, max(size - _SAMPLE, 0))
        stored = self._stored(index)
        if stored is not None:
            return b"".join(bytes(stored[start : start + _SAMPLE]) for start in starts)

        def read(file: BinaryIO) -> bytes:
            return b"".join(file.read(_SAMPLE) for start in starts if file.seek(start) == start)

        return self._from_file(index, read)

    def digest(self, index: int) -> bytes:
        """SHA-256 of the file."""
        stored = self._stored(index)
        if stored is not None:
            return hashlib.sha256(stored).digest()
        return self._from_file(index, lambda file: hashlib.file_digest(file, "sha256").digest())

    def _place(self, index: int) -> tuple[int, int]:
        row = int(self._rows[index])
        chunk = int(np.searchsorted(self._ends, row, side="right"))
        return chunk, row - (int(self._ends[chunk - 1]) if chunk else 0)

    def _stored(self, index: int) -> memoryview | None:
        """The bytes as they lie in the dataset, not copied; `None` where it holds a path."""
        chunk, position = self._place(index)
        buffer = self._data[chunk][position].as_buffer()
        return None if buffer is None else memoryview(buffer)

    def _from_file(self, index: int, read: Callable[[BinaryIO], T]) -> T:
        path = self.file(index)
        if not path:
            raise InputError(f"{self.name}: capture {index}: it has no image")
        try:
            with open(path, "rb", buffering=0) as file:
                return read(file)
        except OSError as error:
            raise InputError(f"{self.name}: capture {index} ({path}): {reading_failure(error)}") from error


def shared_images(
    training: Mapping[str, datasets.Dataset],
    evaluation: Mapping[str, datasets.Dataset],
    share: tuple[int, int] = (0, 1),
    gather: Callable[[list], list] = lambda values: values,
) -> list[SharedImage]:
    """
    The images that are in both, by the SHA-256 of their files.

    Only files whose size and some of whose bytes are those of another one are read whole; the sizes of images that lie
    in the dataset are known from their places in it.

    Args:
        training: what is trained on, by name.
        evaluation: what is evaluated, by name.
        share: number of this process, and of all that call this together: each reads its part.
        gather: hands every process the lists of all, one after the other.

    Returns:
        For each capture of `evaluation` whose image is trained on, in order, the first such capture.

    Raises:
        InputError: a file can't be read.
    """
    sides = _by_all(
        lambda: [
            [StoredImages(part, name) for name, part in side.items() if len(part)] for side in (training, evaluation)
        ],
        gather,
    )
    sizes = [np.unique(np.concatenate([*(images.sizes for images in side), [-1]])) for side in sides]
    common = np.intersect1d(*sizes)
    keys = [[(number, int(index)) for number, images in enumerate(side)
             for index in np.flatnonzero(np.isin(images.sizes, common))] for side in sides]  # fmt: skip
    for read in (StoredImages.sample, StoredImages.digest):
        known = [_read_by_all(side, keys[number], read, share, gather) for number, side in enumerate(sides)]
        both = set(known[0].values()) & set(known[1].values())
        keys = [[place for place in keys[number] if known[number][place] in both] for number in (0, 1)]
    first: dict = {}
    for place in keys[0]:
        first.setdefault(known[0][place], place)
    return [_shared(sides, first[known[1][place]], place) for place in keys[1]]


def check_no_shared_images(shared: Sequence[SharedImage], option: str = "allow_shared_images") -> None:
    """
    Makes sure that nothing is evaluated that is trained on.

    Args:
        shared: by [`shared_images`].
        option: that allows it.

    Raises:
        InputError: something is.
    """
    if not shared:
        return
    sets: dict[tuple[str, str], int] = {}
    for image in shared:
        sets[image.training, image.evaluation] = sets.get((image.training, image.evaluation), 0) + 1
    counted = ", ".join(f"{count} of {other} in {training}" for (training, other), count in sets.items())
    shown = "; ".join(map(str, shared[:LISTED]))
    more = f"; and {len(shared) - LISTED} more" if len(shared) > LISTED else ""
    number = f"{len(shared)} evaluated images are" if len(shared) > 1 else "an evaluated image is"
    raise InputError(
        f"{number} trained on, too ({counted}): {shown}{more}. Leave them out of one side, or go on by {option}: true"
    )


def _read_by_all(
    side: Sequence[StoredImages],
    places: Sequence[tuple[int, int]],
    read: Callable[[StoredImages, int], bytes],
    share: tuple[int, int],
    gather: Callable[[list], list],
) -> dict[tuple[int, int], tuple[int, bytes]]:
    """What `read` says of images, each of which one process reads, with their sizes."""
    own = places[share[0] :: share[1]]
    read_here = _by_all(lambda: [(place, read(side[place[0]], place[1])) for place in own], gather)
    found = dict(gather(read_here))
    return {place: (int(side[place[0]].sizes[place[1]]), found[place]) for place in places}


def _by_all(work: Callable[[], T], gather: Callable[[list], list]) -> T:
    """What `work` gives here; raises everywhere what it raises on any process."""
    result, failure = None, None
    try:
        result = work()
    except InputError as error:
        failure = str(error)
    failures = [reason for reason in gather([failure]) if reason]
    if failures:
        raise InputError(failures[0])
    return result


def _shared(sides: Sequence[Sequence[StoredImages]], place: tuple[int, int], other: tuple[int, int]) -> SharedImage:
    trained, evaluated = sides[0][place[0]], sides[1][other[0]]
    return SharedImage(
        trained.name, place[1], trained.file(place[1]), evaluated.name, other[1], evaluated.file(other[1])
    )


def _named(file: str) -> str:
    return f" ({file})" if file else ""
