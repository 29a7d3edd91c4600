"""Rows of the CSV lists of a prepared dataset."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.csv_files import FACE_COLUMNS
from .descriptions import Description
from .face_boxes import FaceBox

ALWAYS = ("image_name", "label", "patch_type", "attack_type", "source")
WHERE_KNOWN = ("device", "subject", "session", "video", *FACE_COLUMNS)


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """
    A capture of the prepared dataset.

    Attributes:
        image_name: of its file, relative to the folder, with `/`.
        description: what is known of it.
        source: name of the dataset.
        face_box: in pixels of the file.
        origin: relative path of the file that it was made from.
    """

    image_name: str
    description: Description
    source: str
    face_box: FaceBox | None
    origin: str

    def cells(self) -> dict[str, str]:
        """Column to text, `""` where nothing is known."""
        known = self.description
        cells = {
            "image_name": self.image_name,
            "label": str(known.label),
            "patch_type": known.patch_type,
            "attack_type": known.attack_type,
            "source": self.source,
            **{name: getattr(known, name) or "" for name in WHERE_KNOWN[:4]},
        }
        box = self.face_box or ("",) * 4
        return {**cells, **{name: str(value) for name, value in zip(FACE_COLUMNS, box, strict=True)}}


def write_rows(path: Path, rows: Sequence[PreparedRow]) -> None:
    """Writes a list; columns of which nothing is known are left out."""
    cells = [row.cells() for row in rows]
    columns = [*ALWAYS, *(name for name in WHERE_KNOWN if any(row[name] for row in cells))]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
