"""The folder that an export is written to."""

import json
import os
from pathlib import Path

from ..errors import InputError
from ..inference.scorers import CONFIG_FILE, GRAPH_FILE, PROCESSOR_FILE

RECORD_FILE = "export.json"
# What transformers saves beside the settings: without this package they are loaded by their own code.
CODE_FILES = ("configuration_patchnet.py", "image_processing_patchnet.py")
FILES = (GRAPH_FILE, CONFIG_FILE, PROCESSOR_FILE, *CODE_FILES, RECORD_FILE)


def check_output(output: str | os.PathLike, overwrite: bool = False) -> None:
    """
    Makes sure that an export may be written to a folder.

    Raises:
        InputError: it holds something else, or an export that isn't to be overwritten, or can't be written.
    """
    folder = Path(os.path.realpath(output))
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_export(folder):
            raise InputError(
                f"output {output}: the folder isn't empty and holds no export; name a new or empty folder"
            )
        if not overwrite:
            raise InputError(
                f"output {output}: an export is there already; name a new folder, or replace it by --overwrite"
            )
        if foreign := sorted(entry.name for entry in folder.iterdir() if entry.name not in FILES):
            raise InputError(
                f"output {output}: beside the export there is {', '.join(foreign[:5])}"
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


def _is_export(folder: Path) -> bool:
    """Whether a folder's `export.json` is of an export."""
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"graph", "model"} <= content.keys()
