"""The folder that an export is written to."""

import json
import os
from pathlib import Path

from ..file_names import CONFIG_FILE, PROCESSOR_FILE
from ..inference.scorers import GRAPH_FILE
from ..whole_folder import check_output_folder

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
    check_output_folder(output, "an export", FILES, _is_export, overwrite)


def _is_export(folder: Path) -> bool:
    """Whether a folder's `export.json` is of an export."""
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"graph", "model"} <= content.keys()
