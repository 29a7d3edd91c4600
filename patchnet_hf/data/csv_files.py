"""CSV lists of captures: finding them, and reading each row with its file and line."""

import codecs
import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, did_you_mean
from .schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS, LIVE

REQUIRED_COLUMNS = ("image_name", "label")
FACE_COLUMNS = ("face_x", "face_y", "face_w", "face_h")
OPTIONAL_COLUMNS = (
    "patch_type",
    "device",
    "material",
    "attack_type",
    "source",
    "subject",
    "session",
    "video",
    *FACE_COLUMNS,
)
DELIMITERS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}

FOLDER_LIST = "markup.csv"
SPLIT_LISTS = ("train.csv", "val.csv", "test.csv")
# A folder with one of these names holds a part of a dataset, so the dataset is named by the folder above it.
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "dev", "devel", "test", "testing"})

_SAMPLED_ROWS = 20


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One CSV list and the split that its rows go to."""

    split: str
    path: Path

    @property
    def folder(self) -> Path:
        """The folder that the list's `image_name`s are relative to."""
        return self.path.parent


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """How a CSV file is written: `columns` maps each known column to its position."""

    delimiter: str
    columns: dict[str, int]
    width: int | None
    """Number of columns that the header names; None without a header."""
    ignored: tuple[str, ...]
    """Names of columns that mean nothing here, in the header's spelling."""


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """What one usable row says about its capture; defaults are filled in, the image hasn't been looked at."""

    file: str
    line: int
    image_name: str
    label: int
    patch_type: str
    attack_type: str
    source: str
    subject: str | None = None
    session: str | None = None
    video: str | None = None
    device: str | None = None
    face_box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used, and why."""

    file: str
    line: int
    image_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def find_csv_files(arguments: Iterable[str | os.PathLike]) -> list[CsvFile]:
    """Turns `[SPLIT=]PATH` arguments into CSV lists, in the order given.

    A path to a folder means its `markup.csv`, else those of `train.csv`, `val.csv` and `test.csv` that are there.
    Without `SPLIT=`, `markup.csv` gives its split the folder's name and any other list its own name without `.csv`.

    Raises:
        InputError: when a path is missing, a folder has no such list, or a list is given twice for one split.
    """
    files: list[CsvFile] = []
    for argument in arguments:
        split, path = parse_csv_argument(os.fspath(argument))
        for found in _lists_at(path):
            file = CsvFile(split_name(split if split is not None else _natural_name(found)), found)
            if any(file.split == other.split and os.path.samefile(file.path, other.path) for other in files):
                raise InputError(f"--csv {argument}: {found} is given twice for split {file.split}")
            files.append(file)
    if not files:
        raise InputError("no CSV given: name at least one file or folder")
    return files


def parse_csv_argument(argument: str) -> tuple[str | None, Path]:
    """Splits `[SPLIT=]PATH`. A path that exists, or whose `=` comes after a folder, is taken as it stands.

    >>> parse_csv_argument("val=lists/dev.csv")
    ('val', PosixPath('lists/dev.csv'))
    >>> parse_csv_argument("lists/size=160/dev.csv")
    (None, PosixPath('lists/size=160/dev.csv'))
    """
    split, equals, path = argument.partition("=")
    if not equals or "/" in split or os.sep in split or os.path.exists(argument):
        return None, Path(argument)
    if not split.strip() or not path:
        raise InputError(f"--csv {argument}: expected PATH or SPLIT=PATH")
    return split.strip(), Path(path)


def split_name(name: str) -> str:
    """`name` as a split's name: every character that isn't a letter, digit or underscore becomes `_`.

    >>> split_name("oulu-npu protocol 1.4")
    'oulu_npu_protocol_1_4'
    """
    return re.sub(r"\W", "_", name) or "data"


def source_name(path: Path) -> str:
    """The name of the dataset that the CSV list `path` belongs to: its folder's, or the one above `train/`, `val/` …

    >>> source_name(Path("/data/nuaa/train.csv")), source_name(Path("/data/nuaa/train/markup.csv"))
    ('nuaa', 'nuaa')
    """
    folder = Path(os.path.abspath(path)).parent
    if folder.name.lower() in SPLIT_FOLDERS and folder.parent.name:
        folder = folder.parent
    return folder.name or path.stem


def read_layout(path: Path) -> CsvLayout:
    """Finds out how a CSV file is written: its delimiter, and which column stands where.

    A file has a header when its first row names one of our columns; otherwise its rows are `image_name,label`.

    Raises:
        InputError: when the file can't be read, has no rows or delimiter, or a header without our two columns.
    """
    samples = {delimiter: _sample(path, delimiter) for delimiter in DELIMITERS}
    if not samples[","]:
        raise InputError(f"{path}: the file is empty; expected rows of image_name,label")
    delimiter = max(DELIMITERS, key=lambda delimiter: _delimiter_score(samples[delimiter]))
    rows = samples[delimiter]
    names = [cell.lower() for cell in rows[0]]
    known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    if len(names) < 2 and not set(names) & set(known):
        raise InputError(
            f"{path}: the first row, {_shortened(rows[0][0])!r}, has one column; expected image_name and label "
            f"separated by {' or '.join(DELIMITERS.values())}"
        )
    has_header = bool(set(names) & set(known))
    if not has_header and all(re.fullmatch(r"[^\W\d][\w ]*", cell) for cell in rows[0]):
        # Only words, no file name and no number: a header of someone else's, which would fail row by row as data.
        raise InputError(f"{path}: the header has no column image_name or label; found: {', '.join(rows[0])}")
    if not has_header:
        extra = tuple(f"column {number} (no header)" for number in range(3, len(rows[0]) + 1))
        return CsvLayout(delimiter, {"image_name": 0, "label": 1}, None, extra)

    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        near = did_you_mean(missing[0], [name for name in names if name not in known])
        raise InputError(
            f"{path}: the header has no column {' and '.join(missing)}; found: {', '.join(rows[0])}{near}"
        )
    repeated = sorted({name for name in names if name in known and names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: the header names {', '.join(repeated)} more than once")
    face = [name for name in FACE_COLUMNS if name in names]
    if face and len(face) < len(FACE_COLUMNS):
        absent = [name for name in FACE_COLUMNS if name not in names]
        raise InputError(f"{path}: the header names {', '.join(face)} but not {', '.join(absent)}")
    if len(rows) < 2:
        raise InputError(f"{path}: no rows below the header")

    columns = {name: names.index(name) for name in known if name in names}
    ignored = [cell or f"column {number}" for number, cell in enumerate(rows[0], 1) if cell.lower() not in known]
    if "material" in columns and "device" not in columns:
        ignored.append("material (makes a patch type only together with device)")
    return CsvLayout(delimiter, columns, len(names), tuple(ignored))


def read_rows(path: Path, layout: CsvLayout | None = None) -> Iterator[CaptureRow | BadRow]:
    """Yields the rows of a CSV file in order, one at a time: usable ones and bad ones. Blank lines are passed over.

    Only what stands in the file is checked here; the images are not opened.

    Raises:
        InputError: what :func:`read_layout` raises, and when the text can't be read as CSV at all.
    """
    layout = layout or read_layout(path)
    source = source_name(path)
    records = read_records(path, layout.delimiter)
    if layout.width is not None:
        next(records)
    for first_line, last_line, cells in records:
        columns = layout.columns
        name = cells[columns["image_name"]] if columns["image_name"] < len(cells) else ""
        try:
            _check_width(cells, layout, first_line, last_line)
            values = {column: cells[position] for column, position in columns.items()}
            yield _capture_row(values, str(path), first_line, source)
        except ValueError as error:
            yield BadRow(str(path), first_line, name.splitlines()[0] if name else "", str(error))


def _capture_row(values: dict[str, str], file: str, line: int, default_source: str) -> CaptureRow:
    if not values["image_name"]:
        raise ValueError("image_name is empty")
    if values["label"] not in ("0", "1"):
        raise ValueError(f"label is {_shortened(values['label'])!r}, expected 0 (attack) or 1 (bona fide)")
    label = int(values["label"])
    return CaptureRow(
        file=file,
        line=line,
        image_name=values["image_name"],
        label=label,
        patch_type=_patch_type(values, label),
        attack_type=_attack_type(values.get("attack_type", ""), label),
        source=values.get("source") or default_source,
        face_box=parse_face_box([values.get(name, "") for name in FACE_COLUMNS]),
        **{name: values.get(name) or None for name in ("subject", "session", "video", "device")},
    )


def _patch_type(values: dict[str, str], label: int) -> str:
    if values.get("patch_type"):
        return values["patch_type"]
    if "device" in values and "material" in values:
        device, material = values["device"], values["material"]
        if device and material:
            return f"{device}/{material}"
        if device or material:
            given, absent = ("device", "material") if device else ("material", "device")
            raise ValueError(f"{given} without {absent}: a patch type needs both")
    return LABELS[label]


def _attack_type(text: str, label: int) -> str:
    is_bona_fide = re.sub(r"[\s_-]", "", text).lower() == BONA_FIDE
    if label == LIVE:
        if text and not is_bona_fide:
            raise ValueError(f"attack_type is {_shortened(text)!r} although label is 1 (bona fide)")
        return BONA_FIDE
    if is_bona_fide:
        raise ValueError(f"attack_type is {_shortened(text)!r} although label is 0 (attack)")
    return text or DEFAULT_ATTACK_TYPE


def parse_face_box(cells: Sequence[str]) -> tuple[int, int, int, int] | None:
    """The box `x, y, w, h` in four cells of a CSV file; `None` when all are empty.

    Raises:
        ValueError: they aren't four whole numbers.
    """
    if not any(cells):
        return None
    given = ", ".join(cell or "nothing" for cell in cells)
    try:
        # Tables that had a missing value somewhere come with every integer written as 12.0.
        x, y, w, h = (int(re.sub(r"\.0*$", "", cell)) for cell in cells)
    except ValueError:
        raise ValueError(f"face box is {_shortened(given)}; expected four whole numbers x, y, w, h") from None
    return x, y, w, h


def _check_width(cells: list[str], layout: CsvLayout, first_line: int, last_line: int) -> None:
    if last_line > first_line:
        raise ValueError(f"a quoted field runs on to line {last_line}: is a closing quote missing?")
    if layout.width is None:
        if len(cells) < 2:
            raise ValueError("one column, expected image_name and label")
    elif len(cells) < layout.width or any(cells[layout.width :]):
        raise ValueError(f"{len(cells)} columns, the header has {layout.width}")


def _lists_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"{path}: no such CSV file or folder{did_you_mean(path.name, siblings)}")
    if (path / FOLDER_LIST).is_file():
        return [path / FOLDER_LIST]
    found = [path / name for name in SPLIT_LISTS if (path / name).is_file()]
    if found:
        return found
    others = sorted(entry.name for entry in path.glob("*.csv")) or sorted(
        str(entry.relative_to(path)) for entry in path.glob(f"*/{FOLDER_LIST}")
    )
    shown = f"it has {', '.join(others[:10])}: name the one you mean" if others else "no CSV file is in it"
    raise InputError(f"{path}: looked for {FOLDER_LIST}, then for {', '.join(SPLIT_LISTS)} in this folder; {shown}")


def _natural_name(path: Path) -> str:
    return Path(os.path.abspath(path)).parent.name if path.name == FOLDER_LIST else path.stem


def _encoding(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def read_records(path: Path, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yields first line, last line and stripped cells of every record of a CSV file that isn't a blank line.

    Raises:
        InputError: when the file can't be read, or its text not as CSV.
    """
    line = 0
    try:
        with open(path, encoding=_encoding(path), newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            for cells in reader:
                first_line, line = line + 1, reader.line_num
                cells = [cell.strip() for cell in cells]
                if cells and cells != [""]:
                    yield first_line, line, cells
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeError as error:
        raise InputError(f"{path}:{_undecodable_line(path)}: not UTF-8 text; save the file as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}:{line + 1}: {error}: is a closing quote missing?") from error


def _undecodable_line(path: Path) -> int:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _sample(path: Path, delimiter: str) -> list[list[str]]:
    return [cells for _, (_, _, cells) in zip(range(_SAMPLED_ROWS), read_records(path, delimiter), strict=False)]


def _delimiter_score(rows: list[list[str]]) -> tuple[bool, int, int]:
    """How well a delimiter explains the first rows: a header with our names, labels in column 2, equal widths."""
    named = set(REQUIRED_COLUMNS) <= {cell.lower() for cell in rows[0]}
    labelled = sum(len(cells) > 1 and cells[1].lstrip("+-").isdigit() for cells in rows)
    even = sum(len(cells) == len(rows[0]) > 1 for cells in rows)
    return named, labelled, even


def _shortened(text: str, length: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
