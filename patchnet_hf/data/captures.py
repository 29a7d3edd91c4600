"""From a row of a list to a capture: its image's bytes, seen to be an image, and its face box, seen to be within."""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from .csv_files import BadRow, CaptureRow
from .decoding import decode_image

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Capture:
    """A usable row together with its file's bytes."""

    row: CaptureRow
    path: str
    data: bytes
    digest: bytes


def read_capture(row: CaptureRow, folder: str | os.PathLike) -> Capture | BadRow:
    """Reads and decodes the image of `row`, whose name is relative to `folder`, and checks its face box."""
    try:
        path = image_path(row.image_name, folder)
        with open(path, "rb") as file:
            data = file.read()
        height, width = decode_image(data).shape[:2]
        if row.face_box is not None:
            check_face_box(row.face_box, width, height)
    except OSError as error:
        reason = f"image {row.image_name} can't be read: {error.strerror}"
    except ValueError as error:
        reason = f"image {row.image_name}: {error}"
    else:
        return Capture(row, path, data, hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest())
    return BadRow(row.file, row.line, row.image_name, reason)


def image_path(name: str, folder: str | os.PathLike) -> str:
    """The path of image `name` in `folder`.

    Raises:
        ValueError: with the reason, when there is no such file, or it isn't inside `folder` (an absolute path, `../`,
            or a symbolic link that leads out).
    """
    if "\0" in name:
        raise ValueError("the name contains a NUL character")
    if os.path.isabs(name) or name[1:3] in (":\\", ":/"):
        raise ValueError("an absolute path; expected one relative to the CSV's folder")
    normal = os.path.normpath(name)
    if normal == os.pardir or normal.startswith(os.pardir + os.sep):
        raise ValueError("the path leaves the CSV's folder")
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        hint = "; write / instead of \\" if "\\" in name and os.sep == "/" else ""
        raise ValueError(f"no such file{hint}")
    if os.path.isdir(path):
        raise ValueError("a folder, expected an image file")
    root = _real_folder(os.fspath(folder))
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise ValueError("a symbolic link leads out of the CSV's folder")
    return path


def check_face_box(box: Sequence[int], width: int, height: int) -> None:
    """Raises `ValueError` unless `box` = `[x, y, w, h]` has an area and lies within a `width` x `height` image."""
    x, y, w, h = box
    if w < 1 or h < 1:
        raise ValueError(f"face box {w} x {h} has no area")
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise ValueError(f"face box x={x} y={y} w={w} h={h} isn't within the image of {width} x {height} pixels")


@functools.lru_cache(maxsize=64)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
