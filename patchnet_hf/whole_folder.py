"""Output folders that are whole or not there."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

LOCK_FILE, REPLACED_FOLDER, FINISHED_FOLDER = "lock", "replaced", "finished"


class Unfinished(InputError):
    """What ended work in a [`resumable_folder`] that can go on."""


def check_output_folder(
    output: str | os.PathLike,
    kind: str,
    files: Collection[str],
    is_one: Callable[[Path], bool],
    overwrite: bool = False,
    foreign_entries: Callable[[Path], list[str]] | None = None,
) -> None:
    """
    Makes sure that results of a kind may be written to a folder.

    Args:
        kind: with its article, `"an evaluation"`.
        files: names of what such a folder holds.
        is_one: whether a folder holds such results.
        overwrite: whether they may be replaced.
        foreign_entries: names what in such a folder isn't a part of it; by default all that isn't among `files`.

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
        if foreign_entries is None:
            foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in files)
        else:
            foreign = foreign_entries(folder)
        if foreign:
            raise InputError(
                f"output {output}: beside the {noun} there is {', '.join(foreign[:5])}"
                f"{' …' if len(foreign) > 5 else ''}, which overwriting would delete; name another folder"
            )
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"output {output}: a file stands there; name a new folder")
    parent = _existing_parent(folder)
    if not parent.is_dir():
        raise InputError(f"output {output}: {parent.name} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"output {output}: can't write in the folder that it would be in: no permission")


@contextmanager
def whole_folder(target: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """
    A new folder beside `target` to write into; it becomes `target` when the block ends, and is gone if that fails.

    What was at `target` is replaced, and goes only once the new folder is in place: the caller has made sure that
    it may.

    Args:
        target: of the folder.
        check: raises when what stands at `target` when the block ends mustn't be replaced.

    Raises:
        InputError: the folder can't be made or written (no permission, a full disk).
    """
    parent = _existing_parent(target)
    work = parent / f".{target.name}.{uuid.uuid4().hex[:8]}.unfinished"
    try:
        work.mkdir()
    except OSError as error:
        raise InputError(f"output {target}: can't write in {parent}: {error.strerror}") from error
    try:
        yield work
        check()
        _put_in_place(work, target, replaced=work.with_suffix(".replaced"))
    except OSError as error:
        # Trouble with what is read is reported where it is read: this is a full disk or the like.
        raise InputError(f"output {target}: can't be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def resumable_folder(target: Path, check: Callable[[], object] = lambda: None, resumes: bool = True) -> Iterator[Path]:
    """
    A folder beside `target` to work in, that outlives the process that is killed while it works.

    The next block for the same target gets it with what lies in it, and has to know what of that is whole. What the
    block writes to [`FINISHED_FOLDER`] in it becomes `target` when the block ends. The folder is gone then, and when
    the block fails; Ctrl-C, a full disk, [`Unfinished`] and the end of the process leave it.

    Args:
        target: of what is written.
        check: raises when what stands at `target` when the block ends mustn't be replaced.
        resumes: whether work goes on; if not, the folder is empty at the beginning, and gone at the end.

    Raises:
        InputError: the folder can't be made or written, or another process works in it.
    """
    parent = _existing_parent(target)
    # By its whole path: of two targets with one name the folders above may not be there yet.
    place = hashlib.blake2b(str(target).encode(), digest_size=4).hexdigest()
    work = parent / f".{target.name}.{place}.unfinished"
    try:
        work.mkdir(exist_ok=True)
        lock = FileLock(work / LOCK_FILE, blocking=False)
        lock.acquire()
    except Timeout:
        raise InputError(f"output {target}: another process is writing it") from None
    except OSError as error:
        raise InputError(f"output {target}: can't write in {parent}: {error.strerror}") from error
    keep = False
    try:
        if (work / REPLACED_FOLDER).exists() and not target.exists():
            # A process was killed when it had taken away the old and not yet put in place the new.
            (work / REPLACED_FOLDER).rename(target)
        if not resumes:
            for entry in work.iterdir():
                if entry.name != LOCK_FILE:
                    shutil.rmtree(entry)
        yield work
        check()
        _put_in_place(work / FINISHED_FOLDER, target, replaced=work / REPLACED_FOLDER)
    except OSError as error:
        keep = resumes
        goes_on = "; what is done so far is kept: make room, and the same command goes on" if keep else ""
        raise InputError(f"output {target}: can't be written: {error}{goes_on}") from error
    except (KeyboardInterrupt, SystemExit, Unfinished):
        keep = resumes
        raise
    finally:
        if not keep:
            # Under another name, so that nobody takes it over while it goes.
            gone = work.with_name(f"{work.name}.{uuid.uuid4().hex[:8]}")
            with suppress(OSError):
                work.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
        lock.release()


def _existing_parent(target: Path) -> Path:
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    return parent


def _put_in_place(work: Path, target: Path, replaced: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        work.rename(target)
        return
    shutil.rmtree(replaced, ignore_errors=True)
    target.rename(replaced)
    try:
        work.rename(target)
    except BaseException:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced)
