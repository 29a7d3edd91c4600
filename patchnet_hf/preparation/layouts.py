"""How a known dataset lays out its files, read from a YAML file."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, did_you_mean
from ..yaml_files import read_yaml_mapping
from .box_files import BoxFiles
from .descriptions import PATH_COLUMNS, Description, describe
from .label_lists import LabelList
from .patterns import compiled
from .templates import Template

KEYS = ("name", "description", "files", "ignore", "lists", "boxes")
VALUES = ("label", "attack_type", "material", *PATH_COLUMNS, "split")
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class LayoutEntry:
    """Files of one kind: a pattern over the whole relative path, and what it says of them."""

    path: re.Pattern
    values: Mapping[str, Template]

    def describe(self, found: Mapping[str, str | None]) -> Description:
        """
        Raises:
            ValueError: what the pattern has found makes no description.
        """
        filled = {name: template.fill(found) for name, template in self.values.items()}
        return describe(**filled)


@dataclass(frozen=True)
class Layout:
    """
    Where a dataset has its files and what their paths mean.

    Attributes:
        name: of the dataset.
        entries: kinds of files; the first whose pattern matches counts.
        ignored: patterns of images and videos that are no captures.
        lists: JSON files that tell more of each file.
        boxes: files of face boxes, or `None`.
    """

    name: str
    entries: tuple[LayoutEntry, ...]
    ignored: tuple[re.Pattern, ...] = ()
    lists: tuple[LabelList, ...] = ()
    boxes: BoxFiles | None = None
    listed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def has_splits(self) -> bool:
        """Whether it says which split a file belongs to."""
        return any("split" in entry.values for entry in self.entries)

    def ignores(self, name: str) -> bool:
        """Whether a file is no capture; `name` is its relative path."""
        return any(pattern.fullmatch(name) for pattern in self.ignored)

    def __call__(self, name: str) -> Description:
        """
        What the layout says of a file.

        Args:
            name: path relative to the tree, with `/`.

        Raises:
            ValueError: no pattern matches, or what it has found isn't known.
        """
        for entry in self.entries:
            if match := entry.path.fullmatch(name):
                more = {}
                if self.lists:
                    if name not in self.listed:
                        raise ValueError(f"no list of {self.name} names it")
                    more = self.listed[name]
                return entry.describe({**match.groupdict(), **more})
        raise ValueError(f"no pattern of {self.name} matches its path")


def find_layout(name: str, folder: str | Path) -> Path:
    """
    The file of a layout: a path to a YAML file, or the name of one in `folder`.

    Raises:
        InputError: there is none; names those there are.
    """
    if name.endswith(YAML_SUFFIXES):
        return Path(name)
    path = Path(folder, f"{name}.yaml")
    if not path.is_file() or "/" in name:
        known = sorted(file.stem for file in Path(folder).glob("*.yaml"))
        raise InputError(
            f"no layout {name}; expected one of {', '.join(known)}, or a path to a YAML file"
            f"{did_you_mean(name, known)}"
        )
    return path


def load_layout(path: str | Path) -> Layout:
    """
    Reads and checks a layout.

    Raises:
        InputError: the file can't be read, a key is unknown or missing, or a value doesn't fit.
    """
    return parse_layout(read_yaml_mapping(path, "layout"), str(path))


def parse_layout(given: Mapping, where: str) -> Layout:
    """
    A layout from its mapping; `where` names it in messages.

    Raises:
        InputError: as for [`load_layout`].

    >>> files = [{"path": r"(?P<kind>live|print)/.*", "attack_type": "{kind}"}]
    >>> layout = parse_layout({"name": "x", "files": files}, "x.yaml")
    >>> layout("print/1.jpg").attack_type
    'print'
    """
    _check_keys(given, KEYS, where)
    for key in ("name", "files"):
        if key not in given:
            raise InputError(f"{where}: {key} is missing")
    lists = tuple(
        LabelList.parse(item, f"{where}: list {number}") for number, item in enumerate(_list(given, "lists", where), 1)
    )
    listed_groups = {group for each in lists for group in each.groups}
    entries = tuple(
        _entry(item, listed_groups, f"{where}: files {number}")
        for number, item in enumerate(_list(given, "files", where), 1)
    )
    if not entries:
        raise InputError(f"{where}: files is empty; expected a list of patterns with what they say")
    if len({"split" in entry.values for entry in entries}) > 1:
        raise InputError(f"{where}: split is given for some files and not for others")
    return Layout(
        name=str(given["name"]),
        entries=entries,
        ignored=tuple(path_pattern(item, f"{where}: ignore") for item in _list(given, "ignore", where)),
        lists=lists,
        boxes=BoxFiles.parse(given["boxes"], f"{where}: boxes") if "boxes" in given else None,
    )


def path_pattern(given, where: str) -> re.Pattern:
    """A pattern over a whole path; it may have more folders in front, so that any folder above the dataset will do."""
    if not isinstance(given, str):
        raise InputError(f"{where} is {given!r}; expected a regular expression")
    compiled(given, where)
    return compiled(f"(?:.*/)?(?:{given})", where)


def _entry(given, listed_groups: Collection[str], where: str) -> LayoutEntry:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}; expected a mapping with path")
    _check_keys(given, ("path", *VALUES), where)
    if "path" not in given:
        raise InputError(f"{where}: path is missing")
    path = path_pattern(given["path"], f"{where}: path")
    if both := sorted(set(path.groupindex) & set(listed_groups)):
        raise InputError(f"{where}: {both[0]} is a group of the path and of a list")
    if "label" not in given and "attack_type" not in given:
        raise InputError(f"{where}: neither label nor attack_type is given")
    groups = [*path.groupindex, *sorted(listed_groups)]
    values = {name: Template.parse(given[name], groups, f"{where}: {name}") for name in VALUES if name in given}
    return LayoutEntry(path, values)


def _check_keys(given: Mapping, known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise InputError(
                f"{where}: unknown key {key!r}; expected {', '.join(known)}{did_you_mean(str(key), known)}"
            )


def _list(given: Mapping, key: str, where: str) -> list:
    items = given.get(key, [])
    if not isinstance(items, list):
        raise InputError(f"{where}: {key} is {items!r}; expected a list")
    return items
