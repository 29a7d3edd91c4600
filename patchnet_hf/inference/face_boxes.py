"""Where the face is in each of many photographs, from a CSV file."""

import os
from pathlib import Path

from ..data.csv_files import DELIMITERS, FACE_COLUMNS, parse_face_box, read_records
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
        InputError: the file can't be read, lacks a column, names no file, has a box that isn't four whole numbers, or
            two for a file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._boxes: dict[Path, FaceBox | None] = {}
        delimiter, header = _header(self.path)
        places = [header.index(name) for name in COLUMNS]
        for line, _, cells in list(read_records(self.path, delimiter))[1:]:
            if len(cells) < len(header) or any(cells[len(header) :]):
                raise InputError(f"{path}:{line}: {len(cells)} columns, the header has {len(header)}")
            name, *box_cells = (cells[place] for place in places)
            if not name:
                raise InputError(f"{path}:{line}: image_name is empty")
            try:
                box = parse_face_box(box_cells)
            except ValueError as error:
                raise InputError(f"{path}:{line}: {error}") from error
            if self._boxes.setdefault(Path(os.path.abspath(self.path.parent / name)), box) != box:
                raise InputError(f"{path}:{line}: {name} has another box above")
        if not self._boxes:
            raise InputError(f"{path}: no rows below the header")

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


def _header(path: Path) -> tuple[str, list[str]]:
    """The delimiter that finds most of our columns in the first row, and that row's names in lower case."""
    expected = f"expected a header with {', '.join(COLUMNS)}"
    rows = {delimiter: next(read_records(path, delimiter), (0, 0, []))[2] for delimiter in DELIMITERS}
    names = {delimiter: [cell.lower() for cell in row] for delimiter, row in rows.items()}
    delimiter = max(names, key=lambda delimiter: len(set(COLUMNS) & set(names[delimiter])))
    if not names[delimiter]:
        raise InputError(f"{path}: the file is empty; {expected}")
    if missing := [name for name in COLUMNS if name not in names[delimiter]]:
        raise InputError(f"{path}: the header has no column {', '.join(missing)}; {expected}")
    return delimiter, names[delimiter]
