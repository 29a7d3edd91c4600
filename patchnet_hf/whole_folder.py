"""Output folders that are whole or not there."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """
    A new folder beside `target` to write into; it becomes `target` when the block ends, and is gone if that fails.

    What was at `target` is replaced, and goes only once the new folder is in place: the caller has made sure that
    it may.

    Raises:
        InputError: the folder can't be made or written (no permission, a full disk).
    """
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    work = parent / f".{target.name}.{uuid.uuid4().hex[:8]}.unfinished"
    try:
        work.mkdir()
    except OSError as error:
        raise InputError(f"output {target}: can't write in {parent}: {error.strerror}") from error
    try:
        yield work
        _put_in_place(work, target)
    except OSError as error:
        # Trouble with what is read is reported where it is read: this is a full disk or the like.
        raise InputError(f"output {target}: can't be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(work: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        work.rename(target)
        return
    old = work.with_suffix(".replaced")
    target.rename(old)
    try:
        work.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)
