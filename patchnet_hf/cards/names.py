"""Names that may be published: of folders and datasets without where they lie."""

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath


def folder_name(path: str) -> str:
    """
    The last part of a path, whichever system's it is.

    >>> folder_name("/home/anna/runs/demo/"), folder_name("C:\\\\Users\\\\anna\\\\demo"), folder_name("../..")
    ('demo', 'demo', 'folder')
    """
    kind = PureWindowsPath if "\\" in path or PureWindowsPath(path).drive else PurePosixPath
    name = kind(path).name
    return name if name not in ("", ".", "..", "~") else "folder"


def dataset_name(spec: str) -> str:
    """
    `DIR[:SPLIT]` without the folders that DIR lies in.

    >>> dataset_name("/home/anna/data/mine:val"), dataset_name("mine"), dataset_name("C:\\\\data\\\\mine:val")
    ('mine:val', 'mine', 'mine:val')
    """
    folder, colon, split = spec.rpartition(":")
    if not colon or "/" in split or "\\" in split:
        folder, colon, split = spec, "", ""
    return f"{folder_name(folder)}{colon}{split}"


def without_paths(value):
    """
    `value` with the last part alone of every text in it that is a path from the root, a home or a parent folder.

    >>> without_paths({"weights": "/home/anna/x.bin", "kinds": ["a/b", "~/y", "../z"]})
    {'weights': 'x.bin', 'kinds': ['a/b', 'y', 'z']}
    """
    if isinstance(value, Mapping):
        return {str(key): without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and _leads_somewhere(value):
        return folder_name(value)
    return value


def _leads_somewhere(text: str) -> bool:
    absolute = PurePosixPath(text).is_absolute() or bool(PureWindowsPath(text).drive and PureWindowsPath(text).root)
    return absolute or text.startswith(("~", "../", "..\\", "\\\\", "file:"))
