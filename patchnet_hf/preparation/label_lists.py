"""Lists in JSON that tell the labels of files: a path to a row of numbered attributes."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import InputError, did_you_mean
from .input_files import InputFile
from .patterns import compiled


@dataclass(frozen=True)
class LabelList:
    """
    One kind of list: where such files lie, and which numbers of a row mean what.

    Attributes:
        file: pattern over the list's relative path. The folder in front of what it matches is what the paths in the
            list are relative to.
        attributes: name to position in a row, from 0.
    """

    file: re.Pattern
    attributes: Mapping[str, int]

    @property
    def groups(self) -> list[str]:
        """What it tells of each file: its attributes, and what the pattern found in the list's own path."""
        return [*self.attributes, *(group for group in self.file.groupindex if group != "root")]

    @classmethod
    def parse(cls, given, where: str) -> "LabelList":
        """
        From its mapping in a YAML file; `where` names it in messages.

        Raises:
            InputError: a key is unknown or missing, or a value doesn't fit.
        """
        keys = ("file", "attributes")
        if not isinstance(given, Mapping):
            raise InputError(f"{where} is {given!r}; expected a mapping with {' and '.join(keys)}")
        for key in given:
            if key not in keys:
                raise InputError(f"{where}: unknown key {key!r}{did_you_mean(str(key), keys)}")
        if not isinstance(given.get("file"), str):
            raise InputError(f"{where}: file is {given.get('file')!r}; expected a regular expression")
        file = compiled(f"(?P<root>.*/|)(?:{given['file']})", f"{where}: file")
        attributes = given.get("attributes")
        if not isinstance(attributes, Mapping) or not all(
            isinstance(name, str) and isinstance(number, int) and not isinstance(number, bool) and number >= 0
            for name, number in attributes.items()
        ):
            raise InputError(f"{where}: attributes is {attributes!r}; expected names with positions in a row, from 0")
        if both := sorted(set(attributes) & set(file.groupindex)):
            raise InputError(f"{where}: {both[0]} is an attribute and a group of the file's pattern")
        return cls(file, dict(attributes))

    def read(self, file: InputFile) -> dict[str, dict[str, str]]:
        """
        What a list tells: relative path of a capture to its groups. Empty if the list isn't of this kind.

        Raises:
            InputError: it can't be read, or a row is too short.
        """
        match = self.file.fullmatch(file.name)
        if not match:
            return {}
        try:
            rows = json.loads(file.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file.path}: no readable JSON: {error}") from error
        if not isinstance(rows, dict):
            raise InputError(f"{file.path}: expected a mapping of paths to rows of attributes")
        of_list = {group: value for group, value in match.groupdict().items() if group != "root"}
        told = {}
        for path, row in rows.items():
            if not isinstance(row, list) or len(row) <= max(self.attributes.values(), default=0):
                raise InputError(
                    f"{file.path}: {path}: expected a row of more than {max(self.attributes.values(), default=0)} "
                    f"attributes"
                )
            attributes = {name: str(row[number]) for name, number in self.attributes.items()}
            told[match["root"] + path.lstrip("/")] = {**of_list, **attributes}
        return told


def read_label_lists(kinds: Iterable[LabelList], files: Iterable[InputFile]) -> dict[str, dict[str, str]]:
    """
    What all lists among `files` tell: relative path of a capture to its groups.

    Raises:
        InputError: a list can't be read, there is none, or two say different things of a file.
    """
    told: dict[str, dict[str, str]] = {}
    for kind in kinds:
        found = [(file, kind.read(file)) for file in files if kind.file.fullmatch(file.name)]
        if not found:
            raise InputError(f"no list is called {kind.file.pattern.removeprefix('(?P<root>.*/|)')}")
        for file, rows in found:
            for name, groups in rows.items():
                before = told.setdefault(name, {})
                for group, value in groups.items():
                    if before.setdefault(group, value) != value:
                        raise InputError(f"{file.path}: {name} has {group} {value}; another list says {before[group]}")
    return told
