"""Names of the files that are written: those of the input, made safe for every system, and each one once."""

import re
import unicodedata
from pathlib import PurePosixPath

IMAGES = "images"
# Characters that a CSV line, Windows or a URL would trip over.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\ufffd]')


class OutputNames:
    """
    Gives out names that are different on systems that ignore case or the way in which accents are written, too.

    >>> names = OutputNames()
    >>> names.image("live/a.bmp", ".png"), names.image("live/a.png", ".png"), names.folder("live/b.avi")
    ('images/live/a.png', 'images/live/a.png.png', 'images/live/b')
    """

    def __init__(self):
        self._taken: set[str] = set()
        self._last_folder = ""

    def image(self, name: str, suffix: str) -> str:
        """
        The name of an image.

        Args:
            name: of the input file, relative with `/`.
            suffix: ending of the new name.
        """
        path = PurePosixPath(_safe(name))
        return self._free(str(path.with_suffix("")), str(path), suffix)

    def folder(self, name: str) -> str:
        """The name of a folder for the frames of a video."""
        path = PurePosixPath(_safe(name))
        return self._free(str(path.with_suffix("")), str(path), "")

    def _free(self, short: str, long: str, suffix: str) -> str:
        # Trees that have a folder of this name already keep their names.
        short, long = (name.removeprefix(f"{IMAGES}/") for name in (short, long))
        candidate, number = f"{IMAGES}/{short}{suffix}", 1
        while _key(candidate) in self._taken:
            candidate = f"{IMAGES}/{long}{f'-{number}' if number > 1 else ''}{suffix}"
            number += 1
        self._taken.add(_key(candidate))
        # A folder of frames must not be one that images lie in, whose names might be those of its frames.
        folder = candidate.rpartition("/")[0]
        if folder != self._last_folder:
            self._taken.update(_key(str(parent)) for parent in PurePosixPath(candidate).parents)
            self._last_folder = folder
        return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe(name: str) -> str:
    # Spaces and dots at the end of a folder's name are lost on Windows, and spaces at the ends of a CSV cell.
    parts = [_UNSAFE.sub("_", part) for part in name.split("/")]
    return "/".join(part if part == part.rstrip(" .") else part.rstrip(" .") + "_" for part in parts)
