"""What a set of captures holds, in counts: what records of trainings and cards of datasets tell."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from datasets import Dataset

from .fingerprints import capture_digests, captures_fingerprint
from .schema import LIVE
from .simulated_mark import is_simulated
from .views import encoded_images, image_bytes

# Names of persons and clips are those of their own dataset: "1" of another one is somebody else.
SUBJECT_COLUMNS = ("source", "subject")
VIDEO_COLUMNS = ("source", "subject", "session", "video")


@dataclass(frozen=True)
class CaptureCounts:
    """
    How many captures a set has, of each kind.

    Attributes:
        captures, live, attacks: in all, and by class.
        attack_types, patch_types, sources, devices: name to captures, in alphabetical order; of attack types those of
            attacks alone. Captures of an unknown device are in none.
        subjects, videos: how many different ones are named.
        without_subject: captures that name none.
        face_boxes: captures that have one.
    """

    captures: int
    live: int
    attacks: int
    attack_types: dict[str, int] = field(default_factory=dict)
    patch_types: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    subjects: int = 0
    videos: int = 0
    without_subject: int = 0
    face_boxes: int = 0

    def as_json(self) -> dict:
        """All of it as a dictionary."""
        return asdict(self)


def count_captures(dataset: Dataset) -> CaptureCounts:
    """Counts the captures of a dataset of the data contract; reads no image."""
    columns = narrow_columns(dataset)
    live = np.asarray(columns["label"], dtype=np.int64) == LIVE
    names = dataset.features["patch_type"].names
    attacks = [kind for kind, of_live in zip(columns["attack_type"], live, strict=True) if not of_live]
    subjects = keys_of(columns, SUBJECT_COLUMNS)
    return CaptureCounts(
        captures=len(live),
        live=int(live.sum()),
        attacks=int((~live).sum()),
        attack_types=_counted(attacks),
        patch_types=_counted(names[number] for number in columns["patch_type"]),
        sources=_counted(columns["source"]),
        devices=_counted(columns["device"]),
        subjects=len(set(subjects) - {None}),
        videos=len(set(keys_of(columns, VIDEO_COLUMNS)) - {None}),
        without_subject=subjects.count(None),
        face_boxes=sum(box is not None for box in columns["face_box"]),
    )


def subjects_of(dataset: Dataset) -> set[tuple[str, str]]:
    """The persons that a dataset names, each with its source."""
    columns = dataset.select_columns(list(SUBJECT_COLUMNS)).with_format("arrow")[:].to_pydict()
    return set(keys_of(columns, SUBJECT_COLUMNS)) - {None}


def narrow_columns(dataset: Dataset) -> dict[str, list]:
    """All columns of the data contract but the images."""
    names = ["label", "patch_type", "attack_type", "source", "subject", "session", "video", "device", "face_box"]
    return dataset.select_columns(names).with_format("arrow")[:].to_pydict()


def keys_of(columns: Mapping[str, Sequence[str | None]], names: Sequence[str]) -> list[tuple | None]:
    """
    The values of several columns as one key for each row; `None` where the last column has none.

    >>> keys_of({"source": ["mine", "mine"], "subject": ["anna", None]}, ["source", "subject"])
    [('mine', 'anna'), None]
    """
    rows = zip(*(columns[name] for name in names), strict=True)
    return [row if row[-1] else None for row in rows]


@dataclass(frozen=True)
class FileDigests:
    """
    What the files of captures say.

    Attributes:
        captures: of each one's bytes and face box, in order ([`capture_digests`]).
        images: SHA-256 of each one's bytes.
        simulated: how many carry the mark of simulated captures.
    """

    captures: list[bytes]
    images: list[bytes]
    simulated: int

    @classmethod
    def joined(cls, parts: Iterable["FileDigests"]) -> "FileDigests":
        """Those of all parts, one after the other."""
        parts = list(parts)
        return cls(
            [digest for part in parts for digest in part.captures],
            [digest for part in parts for digest in part.images],
            sum(part.simulated for part in parts),
        )

    def fingerprint(self, dataset: Dataset) -> str:
        """The fingerprint of the dataset that these are of, which evaluations report for the same captures."""
        labels = np.asarray(dataset["label"][:], dtype=np.int64)
        return captures_fingerprint(self.captures, labels, list(dataset["attack_type"][:]))


def file_digests(dataset: Dataset, rows: range | None = None) -> FileDigests:
    """
    Reads the images of a dataset once, and decodes none.

    Args:
        dataset: of captures.
        rows: which of them; `None`: all.

    Raises:
        OSError: a file that an image lies in can't be read.
        ValueError: a capture has no image.
    """
    captures, images, simulated = [], [], 0
    encoded = encoded_images(dataset, ["image", "face_box"])
    for index in rows if rows is not None else range(len(dataset)):
        row = encoded[index]
        data = image_bytes(row["image"])
        of_image, of_capture = capture_digests(data, row["face_box"])
        images.append(of_image)
        captures.append(of_capture)
        simulated += is_simulated(data)
    return FileDigests(captures, images, simulated)


def _counted(values) -> dict[str, int]:
    counts = Counter(value for value in values if value)
    return {name: counts[name] for name in sorted(counts)}
