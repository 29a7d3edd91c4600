"""CSV lists that are given where a dataset is expected: converted once, without their images, into the cache."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import datasets
import pyarrow as pa
from filelock import FileLock

from ..errors import InputError
from .conversion import convert_csv
from .csv_files import BadRow, CsvFile, find_csv_files, read_rows
from .schema import capture_features, check_schema
from .shards import file_state

CACHE_FOLDER = "patchnet_hf"


def converted_lists(path: str | os.PathLike) -> datasets.DatasetDict:
    """
    The captures of a CSV list, or of the lists of a folder, as a dataset that holds the paths of their images.

    It is kept below the cache folder of `datasets` (`HF_DATASETS_CACHE`) and taken from there as long as the lists and
    the sizes and times of change of all their images stay the same. Of several processes that ask for it one
    converts, and the others wait.

    Args:
        path: as [`~patchnet_hf.data.csv_files.find_csv_files`] takes it.

    Raises:
        InputError: a list or the cache can't be used, or rows are bad.
    """
    target = Path(datasets.config.HF_DATASETS_CACHE) / CACHE_FOLDER / _key(find_csv_files([path]))
    failure = target.with_name(f"{target.name}.failure")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        asked = time.time()
        with FileLock(target.with_name(f"{target.name}.lock")):
            kept = _kept_in(target)
            if kept is None:
                # One that failed while this process was waiting would fail again.
                if failure.is_file() and failure.stat().st_mtime >= asked:
                    raise InputError(failure.read_text(encoding="utf-8"))
                try:
                    convert_csv([path], target, embed=False)
                except InputError as error:
                    failure.write_text(str(error), encoding="utf-8")
                    raise
                failure.unlink(missing_ok=True)
                kept = datasets.load_from_disk(str(target))
            return kept
    except OSError as error:
        raise InputError(
            f"{path}: its captures can't be kept in {target.parent}: {error}; HF_DATASETS_CACHE names another folder"
        ) from error


def _kept_in(target: Path) -> datasets.DatasetDict | None:
    """What was converted before; one that is damaged is removed."""
    if not target.is_dir():
        return None
    try:
        kept = datasets.load_from_disk(str(target))
        check_schema(kept, str(target))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        shutil.rmtree(target)
        return None
    return kept


def _key(files: list[CsvFile]) -> str:
    """Of all that the converted dataset depends on; reads the lists, and no image."""
    content = hashlib.blake2b(digest_size=16)
    content.update(repr(capture_features()).encode())
    for file in files:
        content.update(f"{file.split} {os.path.abspath(file.path)}\n".encode())
        content.update(file.path.read_bytes())
        for row in read_rows(file.path):
            content.update(repr(None if isinstance(row, BadRow) else file_state(row)).encode())
    return content.hexdigest()
