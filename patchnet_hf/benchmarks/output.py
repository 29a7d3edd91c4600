"""What the scripts that measure say while they do, and the file that they write every number to."""

import json
import shlex
import sys
from pathlib import Path

from ..errors import InputError
from ..whole_file import whole_file


def check_json(file: str | None) -> None:
    """
    Says before a long measurement what would stop it at its end.

    Raises:
        InputError: `file`, if one is given, is a folder or would be in none.
    """
    if file is not None and (Path(file).is_dir() or not Path(file).resolve().parent.is_dir()):
        raise InputError(f"--json {file} can't be written: expected a file in a folder that exists")


def write_json(numbers: dict, file: str | None, script: str) -> None:
    """
    Writes a measurement, and the command that made it.

    Args:
        numbers: of the measurement.
        file: to write; `None` for none.
        script: by the name that it has in the project: where it lies on this machine is nobody's business.

    Raises:
        InputError: the file can't be written.
    """
    if file is None:
        return
    command = shlex.join(["python", f"scripts/{script}", *sys.argv[1:]])
    text = json.dumps({"command": command, **numbers}, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        with whole_file(Path(file)) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {file} can't be written: {error.strerror}") from error


def show_progress(doing: str) -> None:
    """Says what is done next, only for who watches."""
    if sys.stderr.isatty():
        print(f"\033[K{doing} ...", end="\r", file=sys.stderr, flush=True)
