"""Output folders that are whole or not there."""

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def check_output_folder(
    output: str | os.PathLike,
    kind: str,
    files: Collection[str],
    is_one: Callable[[Path], bool],
    overwrite: bool = False,
) -> None:
    """
    Makes sure that results of a kind may be written to a folder.

    Args:
        kind: with its article, `"an evaluation"`.
        files: names of what such a folder holds.
        is_one: whether a folder holds such results.
        overwrite: whether they may be replaced.

    Raises:
        InputError: it holds something else, or results that aren't to be overwritten, or can't be written.
    """
    noun = kind.partition(" ")[2]
    folder = Path(os.path.realpath(output))
    if folder.is_dir() and any(folder.iterdir()):
        if not is_one(folder):
            raise InputError(
                f"output {output}: the folder isn't empty and holds no {noun}; name a new or empty folder"
            )
        if not overwrite:
            raise InputError(
                f"output {output}: {kind} is there already; name a new folder, or replace it by --overwrite"
            )
        if foreign := sorted(entry.name for entry in folder.iterdir() if entry.name not in files):
            raise InputError(
                f"output {output}: beside the {noun} there is {', '.join(foreign[:5])}"
                f"{' …' if len(foreign) > 5 else ''}, which overwriting would delete; name another folder"
            )
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"output {output}: a file stands there; name a new folder")
    parent = folder.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"output {output}: {parent.name} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"output {output}: can't write in the folder that it would be in: no permission")


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
