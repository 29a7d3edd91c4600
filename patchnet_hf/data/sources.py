"""Where captures come from: what a name on the command line or in YAML stands for, and its splits."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import HfHubHTTPError

from ..errors import InputError, did_you_mean, first_line
from .adaptation import as_captures
from .csv_cache import converted_lists
from .csv_files import FOLDER_LIST, SPLIT_LISTS, source_name
from .schema import check_schema

SPLITS_FILE, SINGLE_FILE = "dataset_dict.json", "dataset_info.json"
# Files that hold captures only for `load_dataset`, which takes their folder.
_DATA_FILES = (".parquet", ".arrow", ".json", ".jsonl", ".zip", ".tar", ".gz", ".jpg", ".jpeg", ".png")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LISTED = 5


class Kind(Enum):
    """What a place with captures is."""

    ARROW = "a converted dataset"
    CSV = "CSV lists"
    FOLDER = "a folder for load_dataset"
    HUB = "a dataset of the Hub"


@dataclass(frozen=True)
class Source:
    """
    A place with captures.

    Attributes:
        spec: as the user wrote it.
        place: a path, or the name of a dataset on the Hub.
        kind: of place.
        split: that is meant; `None`: all, or the only one.
        revision: branch, tag or commit, of a dataset on the Hub.
    """

    spec: str
    place: str
    kind: Kind
    split: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """What captures that name no source come from."""
        if self.kind is Kind.HUB:
            return self.place
        return source_name(Path(self.place) if Path(self.place).is_file() else Path(self.place, FOLDER_LIST))

    @property
    def folders(self) -> tuple[str, ...]:
        """What tells it from others with splits of the same name, the innermost last."""
        path = PurePath(self.place)
        return path.parent.parts if self.kind is Kind.CSV and Path(self.place).is_file() else path.parts

    def splits(self) -> datasets.DatasetDict:
        """
        All its splits, by the data contract.

        CSV lists are converted once, into the cache of `datasets`, and hold paths instead of images.

        Raises:
            InputError: it can't be read or reached, or holds no captures.
        """
        if self.kind is Kind.ARROW:
            return load_converted(self.place)
        if self.kind is Kind.CSV:
            return converted_lists(self.place)
        with self.reading():
            found = datasets.load_dataset(self.place, revision=self.revision, **self._files_of_split())
        self.check_columns(found)
        adapted = {name: as_captures(part, self.name, f"{self.place}, split {name}") for name, part in found.items()}
        return datasets.DatasetDict(adapted)

    def check_columns(self, splits: Mapping[str, datasets.Dataset | datasets.IterableDataset]) -> None:
        """
        Makes sure that what `datasets` reads of a folder isn't just a list of captures under a name of its own.

        Raises:
            InputError: it is.
        """
        lists = sorted(path for path in Path(self.place).glob("*.csv") if _is_list(path))
        known = [part.features or () for part in splits.values()]
        if self.kind is Kind.FOLDER and lists and not all({"image", "label"} <= set(names) for names in known):
            raise InputError(
                f"{self.place} holds lists of captures, but none called {FOLDER_LIST} or {', '.join(SPLIT_LISTS)}; "
                f"name the list itself: {' or '.join(map(str, lists[:_LISTED]))}"
            )

    def builder(self, **options) -> datasets.DatasetBuilder:
        """
        What `datasets` reads a folder or a dataset of the Hub by.

        Raises:
            InputError: it can't be read or reached.
        """
        with self.reading():
            return datasets.load_dataset_builder(self.place, revision=self.revision, **options)

    def split_among(self, names: Iterable[str]) -> str:
        """
        Which of these splits it is that is meant.

        Raises:
            InputError: it has no such split, or several and none is named.
        """
        names = list(names)
        if self.split is None and len(names) > 1:
            raise InputError(f"{self.place} has splits {', '.join(names)}; name one of them as {self.place}:SPLIT")
        name = names[0] if self.split is None and names else self.split
        if name not in names:
            near = did_you_mean(str(name), names)
            raise InputError(f"{self.place} has no split {name!r} but {', '.join(names) or 'none'}{near}")
        return name

    def _files_of_split(self) -> dict:
        """Options that make `load_dataset` fetch the files of one split alone, where files are all that it is."""
        if self.split is None:
            return {}
        builder = self.builder()
        files = dict(builder.config.data_files or {})
        if not hasattr(builder.config, "columns") or self.split not in files or len(files) == 1:
            return {}
        # The sizes of the other splits, which the card tells, are missing then.
        return {"data_files": {self.split: list(files[self.split])}, "verification_mode": "no_checks"}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """
        A block that reads from it through `datasets`.

        Raises:
            InputError: whatever it failed by, in one line.
        """
        try:
            yield
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, DatasetsError, pa.ArrowException, *_errors_of_the_hub()) as error:
            raise InputError(self._failure(error)) from error

    def _failure(self, error: BaseException) -> str:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if self.kind is Kind.FOLDER:
            return (
                f"{self.place} holds no {SPLITS_FILE} (a converted dataset), no {FOLDER_LIST} nor "
                f"{', '.join(SPLIT_LISTS)} (lists of captures), and nothing that datasets.load_dataset reads: "
                f"{first_line(cause)[:300]}"
            )
        known = [entry.name for entry in Path(self.place).parent.iterdir()] if Path(self.place).parent.is_dir() else []
        told = first_line(error if isinstance(error, (DatasetNotFoundError, ConnectionError)) else cause)[:300]
        login = "; log in by `hf auth login`, or set HF_TOKEN" if isinstance(error, DatasetNotFoundError) else ""
        offline = "; unset HF_HUB_OFFLINE" if "OfflineModeIsEnabled" in told else ""
        return (
            f"{self.place} doesn't exist here{did_you_mean(Path(self.place).name, known)}; as a dataset of the Hub it "
            f"can't be read: {told.rstrip('.')}{login}{offline}"
        )


def find_source(spec: str) -> Source:
    """
    What `PLACE[:SPLIT]` stands for: the first of these that is there.

    A folder written by `scripts/convert_dataset.py` or `DatasetDict.save_to_disk`; a CSV list, or a folder with lists
    as that script takes them; another folder, for `datasets.load_dataset`; or `OWNER/NAME[@REVISION]`, a dataset of
    the Hub, which isn't asked yet.

    Raises:
        InputError: there is nothing of that name, or a file or folder that isn't any of these.
    """
    place, split = spec, None
    if not Path(spec).exists() and ":" in spec:
        head, _, tail = spec.rpartition(":")
        if head and "/" not in tail and "\\" not in tail:
            place, split = head, tail
    path = Path(place)
    if path.is_file():
        if path.suffix.lower() in _DATA_FILES:
            raise InputError(f"{place} is a single file; name its folder, as datasets.load_dataset reads it")
        return Source(spec, place, Kind.CSV, split)
    if path.is_dir():
        return Source(spec, place, _kind_of_folder(path, place), split)
    name, _, revision = place.partition("@")
    if _HUB_NAME.fullmatch(name) and path.suffix.lower() not in (".csv", ".tsv", ".txt", *_DATA_FILES):
        return Source(spec, name, Kind.HUB, split, revision or None)
    known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise InputError(
        f"{place} doesn't exist{did_you_mean(path.name, known)}; expected a folder written by "
        "scripts/convert_dataset.py, a CSV list or a folder with lists, a folder for datasets.load_dataset, or "
        "OWNER/NAME on the Hub"
    )


def load_converted(folder: str) -> datasets.DatasetDict:
    """All splits of a folder written by `scripts/convert_dataset.py`.

    Raises:
        InputError: the folder is missing, is no saved `DatasetDict`, can't be read, or lacks the contract's columns.
    """
    if not Path(folder).is_dir():
        raise InputError(f"dataset folder {folder} doesn't exist; scripts/convert_dataset.py makes one from CSV files")
    _refuse_single(Path(folder), folder)
    if not (Path(folder) / SPLITS_FILE).is_file():
        raise InputError(
            f"{folder} holds no converted dataset (no {SPLITS_FILE}); scripts/convert_dataset.py --csv {folder} "
            "--output DIR makes one from CSV files"
        )
    try:
        splits = datasets.load_from_disk(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds a dataset that can't be read: {' '.join(str(error).split())}") from error
    check_schema(splits, folder)
    return splits


def _errors_of_the_hub() -> tuple[type[Exception], ...]:
    # From huggingface_hub 1 on, errors of its client are no OSErrors.
    return HfHubHTTPError, *(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)


def _kind_of_folder(path: Path, place: str) -> Kind:
    _refuse_single(path, place)
    if (path / SPLITS_FILE).is_file():
        return Kind.ARROW
    if any((path / name).is_file() for name in (FOLDER_LIST, *SPLIT_LISTS)):
        return Kind.CSV
    # `load_dataset` would take all that lies below, whatever it is, for one dataset.
    for name, noun in ((SPLITS_FILE, "converted datasets"), (FOLDER_LIST, "lists of captures")):
        if below := sorted(entry.parent.name for entry in path.glob(f"*/{name}")):
            shown = f"{', '.join(below[:_LISTED])}{' …' if len(below) > _LISTED else ''}"
            raise InputError(f"{place} holds no {name} itself but folders with {noun}: {shown}; name the one you mean")
    return Kind.FOLDER


def _is_list(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return "image_name" in file.readline().strip().split(",")


def _refuse_single(path: Path, place: str) -> None:
    if (path / SINGLE_FILE).is_file() and (path / "state.json").is_file():
        raise InputError(
            f"{place} holds a single Dataset without splits; save it as one of them: "
            "DatasetDict(train=dataset).save_to_disk(DIR)"
        )
