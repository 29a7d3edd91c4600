"""What a user can ask of a preparation."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .box_sources import BoxSource, DetectedBoxes, ListedBoxes, TextBoxes
from .descriptions import Description, describe
from .image_writing import BORDERS, DEFAULT_EXPAND, PNG, ImageSettings
from .labels import FolderLabels
from .layouts import Layout, find_layout, load_layout
from .patterns import PathPatterns
from .splitting import DEFAULT_GROUPING, GROUPINGS, SplitShares

BY_FOLDERS = "folders"
NO_SPLIT = "none"
NO_BOXES = "none"
TEXT_BOXES = "txt"


class PathMeanings:
    """
    What paths say by the names of folders and by patterns, where no layout is known.

    Args:
        labels: tells the attack type.
        patterns: tell device, subject, session, video and material.
    """

    def __init__(self, labels: FolderLabels, patterns: PathPatterns):
        self.labels, self.patterns = labels, patterns

    def __call__(self, name: str) -> Description:
        """
        Raises:
            ValueError: the path says nothing, or two things.
        """
        return describe(attack_type=self.labels(name), **self.patterns(name))

    def as_json(self) -> dict:
        """The names and patterns."""
        return {"names": self.labels.names, "patterns": [pattern.pattern for pattern in self.patterns.patterns]}


@dataclass(frozen=True)
class PreparationSettings:
    """
    How a tree is prepared.

    Attributes:
        input: the tree's folder.
        output: the folder to write.
        meanings: what paths say: `PathMeanings` or a layout.
        source: name of the dataset; `None`: the layout's, or the input folder's.
        boxes: where face boxes are known from; `None`: images are face crops already, or are kept whole.
        images: what becomes of each image.
        frames: frames of each video.
        split: shares, `"folders"` (of the layout, or folders called train, val, test and alike) or `"none"`; `None`:
            the layout's if it has splits.
        on_error: `"stop"` with all bad files, or `"skip"` them.
        overwrite: whether a prepared dataset at `output` is replaced.
        workers: threads; `None`: one for each processor, at most 8.
        samples: pictures of each kind in the overview.

    Raises:
        InputError: a value is outside its range.
    """

    input: str | os.PathLike
    output: str | os.PathLike
    meanings: Layout | PathMeanings | Callable[[str], Description]
    source: str | None = None
    boxes: BoxSource | None = None
    images: ImageSettings = field(default_factory=ImageSettings)
    frames: int = 10
    split: SplitShares | Literal["folders", "none"] | None = None
    on_error: Literal["stop", "skip"] = "stop"
    overwrite: bool = False
    workers: int | None = None
    samples: int = 8

    def __post_init__(self):
        images = self.images
        if not images.expand >= 1:
            raise InputError(f"--expand is {images.expand}; expected a factor on the box's sides of at least 1")
        if images.border not in BORDERS:
            raise InputError(f"--border is {images.border!r}; expected one of {', '.join(BORDERS)}")
        if isinstance(images.reencode, int) and not 1 <= images.reencode <= 100:
            raise InputError(f"--reencode is {images.reencode}; expected a quality from 1 to 100, or {PNG}")
        for name, value, least in (("--frames", self.frames, 1), ("--workers", self.workers, 1)):
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; expected at least {least}")
        if self.samples < 1:
            raise InputError(f"--samples is {self.samples}; expected at least 1")

    @property
    def source_name(self) -> str:
        """Name of the dataset."""
        if self.source:
            return self.source
        return self.meanings.name if isinstance(self.meanings, Layout) else Path(os.path.realpath(self.input)).name

    @property
    def crops(self) -> bool:
        """Whether faces are cut out."""
        return self.boxes is not None and not self.images.keep_images


def parse_reencode(text: str | None) -> int | Literal["png"] | None:
    """
    A `--reencode` argument.

    Raises:
        InputError: it is neither a whole number nor `png`.
    """
    if text is None or text.lower() == PNG:
        return text and PNG
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--reencode is {text!r}; expected a quality from 1 to 100, or {PNG}") from None


def parse_split(
    text: str | None, group_by: str | None, seed: int | None
) -> SplitShares | Literal["folders", "none"] | None:
    """
    A `--split` argument, with what goes with shares.

    Raises:
        InputError: it is none, or `--group-by` or `--seed` is given without shares.
    """
    if text is None or text in (BY_FOLDERS, NO_SPLIT):
        for name, value in (("--group-by", group_by), ("--seed", seed)):
            if value is not None:
                raise InputError(f"{name} goes with --split SPLIT=SHARE,…")
        return text
    group_by = group_by or DEFAULT_GROUPING
    if group_by not in GROUPINGS:
        raise InputError(f"--group-by is {group_by!r}; expected one of {', '.join(GROUPINGS)}")
    if seed is not None and seed < 0:
        raise InputError(f"--seed is {seed}; expected 0 or more")
    return SplitShares.parse(text, group_by, seed or 0)


def choose_meanings(
    layout: str | None, folder: str | os.PathLike, live: list[str], attacks: list[str], patterns: list[str]
) -> Layout | PathMeanings:
    """
    What paths say, from `--layout` or from `--live`, `--attack` and `--pattern`.

    Args:
        folder: where named layouts are.

    Raises:
        InputError: both or neither are given, or one can't be used.
    """
    if layout is not None:
        if live or attacks or patterns:
            raise InputError("--layout says what paths mean; --live, --attack and --pattern go without it")
        return load_layout(find_layout(layout, folder))
    if not live and not attacks:
        raise InputError(
            "say what the files show: --layout NAME for a known dataset, or the names of folders by --live NAME,NAME "
            "and --attack TYPE=NAME,NAME"
        )
    return PathMeanings(FolderLabels.parse(live, attacks), PathPatterns(patterns))


def choose_boxes(boxes: list[str] | None, detect: bool, meanings: Layout | PathMeanings) -> BoxSource | None:
    """
    Where face boxes come from, by `--boxes` and `--detect`; otherwise from the layout's box files, if it has any.

    Raises:
        InputError: both are given, or a source can't be used.
    """
    if detect:
        if boxes:
            raise InputError("--boxes and --detect are both given; boxes are known or searched for")
        return DetectedBoxes()
    if not boxes:
        of_layout = meanings.boxes if isinstance(meanings, Layout) else None
        return None if of_layout is None else TextBoxes(of_layout)
    if boxes == [NO_BOXES]:
        return None
    if boxes == [TEXT_BOXES]:
        return TextBoxes()
    for name in (NO_BOXES, TEXT_BOXES):
        if name in boxes:
            raise InputError(f"--boxes {' '.join(boxes)}: {name} goes alone")
    return ListedBoxes(boxes)


def choose_images(
    boxes: BoxSource | None, keep_images: bool, expand: float | None, border: str | None, reencode: str | None
) -> ImageSettings:
    """
    What becomes of images, by the options of the command line; `None` where one isn't given.

    Raises:
        InputError: an option has no meaning beside the others, or a value can't be used.
    """
    crop_options = [("--expand", expand), ("--border", border)]
    for name, value in [*crop_options, ("--keep-images", keep_images or None)]:
        if value is not None and boxes is None:
            raise InputError(f"{name} goes with --boxes or --detect; without boxes images are kept as they are")
    for name, value in crop_options:
        if value is not None and keep_images:
            raise InputError(f"{name} is for crops; --keep-images makes none")
    return ImageSettings(
        keep_images=keep_images,
        expand=DEFAULT_EXPAND if expand is None else expand,
        border=border or BORDERS[0],
        reencode=parse_reencode(reencode),
    )
