"""What is to be scored: image files, folders, globs, video clips and a camera, and the frames that they give."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np

from ..data.decoding import decode_image, quiet_opencv

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"})
Kept = TypeVar("Kept")
# Cameras set their exposure during the first frames; the ones used lie some frames apart.
CAMERA_WARM_UP = 10
CAMERA_STEP = 3


@dataclass(frozen=True)
class Source:
    """
    One thing to give a verdict on.

    Attributes:
        path: the file; of a camera, `camera N`.
        kind: what it is.
        camera: number of the camera.
        error: why there is nothing to read, else `None`.
    """

    path: Path
    kind: Literal["image", "video", "camera"] = "image"
    camera: int | None = None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """
    A picture of a source.

    Attributes:
        image: `(H, W, 3)` uint8 RGB.
        number: its place in the clip, from 0; `None` for an image file.
    """

    image: np.ndarray
    number: int | None = None


def find_sources(arguments: Iterable[str | os.PathLike]) -> list[Source]:
    """
    The sources that paths and globs name, in the order given.

    A folder stands for all images and clips in it and the folders below it, sorted, without hidden ones. A glob is
    expanded here where no file is called so: shells of Windows leave that to the program. `**` stands for any folders,
    and a file that it reaches in several ways is there once.
    What is empty or missing becomes a source with an `error`, so that the rest can go on.
    """
    sources: list[Source] = []
    for argument in map(os.fspath, arguments):
        if os.path.exists(argument) or not glob.has_magic(argument):
            sources += _sources_at(Path(argument))
        else:
            sources += _sources_matching(argument)
    return sources


def camera_source(number: int) -> Source:
    """The camera that OpenCV knows by this number."""
    return Source(Path(f"camera {number}"), "camera", number)


def _sources_at(path: Path) -> list[Source]:
    if not path.is_dir():
        return [Source(path, _kind(path))]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(folder, name) for name in names if not name.startswith(".")]
        found += [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not found:
        return [Source(path, error="the folder holds no images or videos")]
    return [Source(file, _kind(file)) for file in sorted(found)]


def _sources_matching(pattern: str) -> list[Source]:
    found = [source for match in sorted(glob.glob(pattern, recursive=True)) for source in _sources_at(Path(match))]
    # `**` matches a folder, what is in it, and empty folders between.
    usable = list(dict.fromkeys(source for source in found if source.error is None))
    return usable or found[:1] or [Source(Path(pattern), error="no file matches")]


def _kind(path: Path) -> Literal["image", "video"]:
    return "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"


def read_frames(source: Source, count: int) -> list[Frame]:
    """
    The frames of a source: one of an image, at most `count` of a clip or camera.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no image or clip, is corrupt, or there is no such camera.
    """
    if source.error is not None:
        raise ValueError(source.error)
    if source.kind == "image":
        return [Frame(decode_image(source.path.read_bytes()))]
    if source.kind == "camera":
        with _opened(source.camera) as capture:
            if not capture.isOpened():
                raise ValueError("there is no such camera, or another program uses it")
            return camera_frames(capture, count)
    # OpenCV only says that it can't; the operating system says why.
    with open(source.path, "rb") as file:
        if not file.read(1):
            raise ValueError("the file is empty")
    return video_frames(source.path, count)


def video_frames(path: Path, count: int, keep: Callable[[Frame], Kept] = lambda frame: frame) -> list[Kept]:
    """
    `count` frames spread evenly over a clip, the middles of as many equal parts; all frames of a shorter one.

    Frames are counted by decoding from the start: seeking lands elsewhere with some codecs.

    Args:
        path: of the clip.
        count: how many at most.
        keep: called with each frame as it is decoded; what it returns is kept in its place. Where a clip turns out to
            be shorter than it says, it is called again for other frames, and what it returned before isn't kept.

    Raises:
        ValueError: the clip can't be decoded.
    """
    with _opened(str(path)) as capture:
        stated = _stated_length(capture)
        wanted = evenly_spread(stated, count)
        kept, length = _frames_at(capture, wanted, keep)
        if wanted and len(kept) == len(wanted):
            return kept
        # The container states no length, or more than can be decoded: what can be decoded counts.
        while capture.isOpened() and capture.grab():
            length += 1
    if not length:
        raise ValueError("not a video, corrupt, or of a codec that OpenCV can't decode here")
    with _opened(str(path)) as capture:
        return _frames_at(capture, evenly_spread(length, count), keep)[0]


def stated_length(path: Path) -> int:
    """How many frames a clip says that it has; 0 where it doesn't say it or can't be opened."""
    with _opened(str(path)) as capture:
        return _stated_length(capture)


def _stated_length(capture: cv2.VideoCapture) -> int:
    return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if capture.isOpened() else 0


def camera_frames(capture: cv2.VideoCapture, count: int) -> list[Frame]:
    """
    `count` frames of an opened camera, a few frames apart, after those in which it sets its exposure.

    Raises:
        ValueError: the camera gives no frames.
    """
    numbers = [CAMERA_WARM_UP + CAMERA_STEP * index for index in range(count)]
    frames, _ = _frames_at(capture, numbers, lambda frame: frame)
    if len(frames) < count:
        raise ValueError(f"the camera gave {len(frames)} of {count} frames")
    return frames


def evenly_spread(length: int, count: int) -> list[int]:
    """
    The middles of `count` equal parts of `length` frames, or all frames where there are fewer.

    >>> evenly_spread(100, 4)
    [12, 37, 62, 87]
    >>> evenly_spread(3, 9)
    [0, 1, 2]
    """
    count = min(count, length)
    return [(2 * index + 1) * length // (2 * count) for index in range(count)]


def _frames_at(capture: cv2.VideoCapture, numbers: list[int], keep: Callable[[Frame], Kept]) -> tuple[list[Kept], int]:
    """
    What is kept of the frames with these ascending numbers, as far as the capture gives them, and how many frames were
    gone through.
    """
    kept, passed = [], 0
    for number in numbers:
        while passed <= number and capture.grab():
            passed += 1
        taken, pixels = capture.retrieve() if passed > number else (False, None)
        if not taken:
            break
        kept.append(keep(Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), number)))
    return kept, passed


@contextmanager
def _opened(source: str | int) -> Iterator[cv2.VideoCapture]:
    """A capture that says nothing on stderr: what is wrong is raised by those who read from it."""
    variable = "OPENCV_FFMPEG_LOGLEVEL"  # FFmpeg's own log; OpenCV reads this when it first opens a video.
    before = os.environ.get(variable)
    os.environ.setdefault(variable, "-8")
    try:
        with quiet_opencv():
            # The same decoder on every system, and none that writes about broken files by itself.
            backend = cv2.CAP_FFMPEG if isinstance(source, str) and _has_ffmpeg() else cv2.CAP_ANY
            capture = cv2.VideoCapture(source, backend)
            try:
                yield capture
            except cv2.error as error:
                raise ValueError(f"the video can't be decoded: {error.err}") from error
            finally:
                capture.release()
    finally:
        if before is None:
            del os.environ[variable]


def _has_ffmpeg() -> bool:
    return cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
