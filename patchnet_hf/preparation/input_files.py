"""The images and videos in a tree of folders, and what else lies there."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..inference.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES

# What file managers and archives leave behind, beside names that begin with a dot.
HIDDEN_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class InputFile:
    """
    A file of the tree.

    Attributes:
        path: where it is.
        name: its path relative to the tree, with `/` between folders; bytes that are no UTF-8 show as `\\ufffd`.
        kind: told by the end of the name; `"other"` is neither an image nor a video.
    """

    path: Path
    name: str
    kind: Literal["image", "video", "other"]


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that can't be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass
class InputFiles:
    """
    What a tree holds, sorted by name.

    Attributes:
        captures: images and videos.
        others: further files, such as lists and boxes.
        bad: symbolic links that lead nowhere or in a circle, and folders that can't be read.
        hidden: how many files and folders were left out because they are hidden.
    """

    captures: list[InputFile] = field(default_factory=list)
    others: list[InputFile] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)
    hidden: int = 0

    @property
    def passed_over(self) -> dict[str, int]:
        """How many files aren't captures, by the end of their name, and how many were hidden."""
        counts = Counter(Path(file.name).suffix.lower() or "without suffix" for file in self.others)
        return {**dict(sorted(counts.items())), **({HIDDEN: self.hidden} if self.hidden else {})}


def find_input_files(folder: str | os.PathLike) -> InputFiles:
    """
    All files below a folder. Symbolic links are followed.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "a file; expected a folder" if root.exists() else "no such folder"
        raise InputError(f"input {folder}: {what}")
    found = InputFiles()
    _walk(root, "", (os.path.realpath(root),), found)
    return found


def _walk(folder: Path, prefix: str, above: tuple[str, ...], found: InputFiles) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.bad.append(BadFile(prefix or ".", f"the folder can't be read: {error.strerror}"))
        return
    for entry in entries:
        name = prefix + entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if entry.name.startswith(".") or entry.name.lower() in HIDDEN_NAMES:
            found.hidden += 1
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in above:
                found.bad.append(BadFile(name, "a symbolic link leads back to a folder above it"))
            else:
                _walk(Path(entry.path), f"{name}/", (*above, real), found)
        elif not entry.is_file():
            reason = "a symbolic link leads nowhere" if entry.is_symlink() else "not a file"
            found.bad.append(BadFile(name, reason))
        else:
            suffix = Path(entry.name).suffix.lower()
            kind = "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else "other"
            (found.others if kind == "other" else found.captures).append(InputFile(Path(entry.path), name, kind))
