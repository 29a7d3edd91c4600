"""Where the face is in each of many photographs, from a CSV file."""

import csv
import os
from pathlib import Path

import pandas as pd

from ..data.csv_files import DELIMITERS, FACE_COLUMNS
from ..errors import InputError

FaceBox = tuple[int, int, int, int]
COLUMNS = ("image_name", *FACE_COLUMNS)


class FaceBoxes:
    """
    Face boxes of files, from a CSV file with the columns `image_name,face_x,face_y,face_w,face_h`.

    Paths are relative to the CSV's folder, as in the lists of datasets; other columns are passed over, so such a list
    serves as it is. A row with empty box cells says that the file is a face crop.

    Args:
        path: the CSV file, with a header and one of the delimiters of datasets' lists.

    Raises:
        InputError: the file can't be read, lacks a column, has a box that isn't four whole numbers, or two for a file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._boxes: dict[Path, FaceBox | None] = {}
        for number, row in enumerate(_rows(self.path).itertuples(index=False), 2):
            if not row[0]:
                continue
            file = Path(os.path.abspath(self.path.parent / row[0]))
            box = _box(row[1:], f"{path}:{number}")
            if self._boxes.setdefault(file, box) != box:
                raise InputError(f"{path}:{number}: {row[0]} has another box above")

    @property
    def files(self) -> list[Path]:
        """The files that the CSV names, in its order, relative to the working directory where they lie in it."""
        here = Path.cwd()
        return [file.relative_to(here) if file.is_relative_to(here) else file for file in self._boxes]

    def __call__(self, file: Path) -> FaceBox | None:
        """The box of a file.

        Raises:
            ValueError: the CSV has no row for it.
        """
        try:
            return self._boxes[Path(os.path.abspath(file))]
        except KeyError:
            raise ValueError(f"{self.path} has no row for it") from None


def _rows(path: Path) -> pd.DataFrame:
    expected = f"expected a header with {', '.join(COLUMNS)}"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        delimiter = max(DELIMITERS, key=header.count)
        table = pd.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8-sig",
                            skipinitialspace=True, skip_blank_lines=False, quoting=csv.QUOTE_MINIMAL)  # fmt: skip
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        # pandas' own errors and those of text that isn't UTF-8 are all of this class.
        raise InputError(f"{path} can't be read as CSV: {str(error).splitlines()[0]}; {expected}") from error
    table.columns = table.columns.str.strip().str.lower()
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"{path}: the header has no column {', '.join(missing)}; {expected}")
    return table[list(COLUMNS)].apply(lambda column: column.str.strip())


def _box(cells: tuple[str, ...], where: str) -> FaceBox | None:
    if not any(cells):
        return None
    try:
        # Tables that had a missing value somewhere come with every integer written as 12.0.
        x, y, w, h = (int(cell.removesuffix(".0")) for cell in cells)
    except ValueError:
        given = ", ".join(cell or "nothing" for cell in cells)
        raise InputError(f"{where}: face box is {given}; expected four whole numbers x, y, w, h") from None
    return x, y, w, h
