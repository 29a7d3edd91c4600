"""Face boxes in small text files next to their images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, did_you_mean

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of an image as it is seen."""

CORNERS = "left top right bottom"
CORNER_AND_SIZE = "x y w h"
FORMATS = (CORNERS, CORNER_AND_SIZE)


@dataclass(frozen=True)
class BoxFiles:
    """
    How boxes are written.

    Attributes:
        file: name of the file next to the image, with `{stem}` for the image's name without its ending.
        format: what its first four numbers are, one of `FORMATS`.
        more: how many further numbers there may be, such as a score.
        scaled_to: width and height that the image is thought to have; `None`: its own.
    """

    file: str = "{stem}.txt"
    format: str = CORNERS
    more: int = 0
    scaled_to: float | None = None

    @classmethod
    def parse(cls, given, where: str) -> "BoxFiles":
        """
        From its mapping in a YAML file; `where` names it in messages.

        Raises:
            InputError: a key is unknown or missing, or a value doesn't fit.
        """
        keys = ("file", "format", "scaled_to")
        if not isinstance(given, Mapping):
            raise InputError(f"{where} is {given!r}; expected a mapping with {', '.join(keys)}")
        for key in given:
            if key not in keys:
                raise InputError(f"{where}: unknown key {key!r}{did_you_mean(str(key), keys)}")
        file = given.get("file", cls.file)
        if not isinstance(file, str) or "{stem}" not in file or "/" in file:
            raise InputError(f"{where}: file is {file!r}; expected a file name with {{stem}}")
        names = str(given.get("format", cls.format)).split()
        numbers, more = " ".join(names[:4]), len(names[4:])
        if numbers not in FORMATS:
            raise InputError(f"{where}: format is {' '.join(names)!r}; expected {' or '.join(map(repr, FORMATS))}")
        scaled_to = given.get("scaled_to")
        if scaled_to is not None and (isinstance(scaled_to, bool) or not isinstance(scaled_to, int | float)):
            raise InputError(f"{where}: scaled_to is {scaled_to!r}; expected a number of pixels")
        return cls(file, numbers, more, scaled_to)

    def path(self, image: Path) -> Path:
        """Where the box of an image is."""
        return image.with_name(self.file.replace("{stem}", image.stem))

    def read(self, image: Path, width: int, height: int) -> Box:
        """
        The box of an image of `width` x `height` pixels.

        Raises:
            ValueError: there is no such file, or it holds something else.
        """
        path = self.path(image)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ValueError(f"no face box: {path.name} isn't next to it") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"face box {path.name} can't be read: {error}") from error
        try:
            numbers = [float(word) for word in text.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if not 4 <= len(numbers) <= 4 + self.more or not all(map(math.isfinite, numbers)):
            shown = " ".join(text.split())[:60]
            raise ValueError(f"face box {path.name} holds {shown!r}; expected four numbers: {self.format}")
        across, down = (width / self.scaled_to, height / self.scaled_to) if self.scaled_to else (1, 1)
        first, second, third, fourth = numbers[:4]
        if self.format == CORNER_AND_SIZE:
            third, fourth = first + third, second + fourth
        return first * across, second * down, third * across, fourth * down
