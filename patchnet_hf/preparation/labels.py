"""Labels and attack types from the names of folders."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from ..data.schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS, LIVE
from ..errors import InputError


class FolderLabels:
    """
    The label of a file from the folders that it lies in: whole components of its path count, never parts of them.

    `printer_room/live/a.jpg` is live, and no attack by print. A file's own name without its ending is a component as
    well (`subject1/live.mp4`). Case doesn't matter; `*` and `?` in a name stand for any characters and any character.

    Args:
        live: names of components that say bona fide.
        attacks: attack type to names that say it. Those of `"attack"` say only that it is an attack, so that another
            type beside them wins (`attack/print/a.jpg`).

    Raises:
        InputError: a name stands for two things, or there are none.
    """

    def __init__(self, live: Sequence[str], attacks: Mapping[str, Sequence[str]]):
        self.names: dict[str, list[str]] = {BONA_FIDE: [name.casefold() for name in live]}
        for attack_type, names in attacks.items():
            if attack_type.lower() in (BONA_FIDE, LABELS[LIVE]):
                raise InputError(f"--attack {attack_type}=…: that is no attack; use --live")
            self.names[attack_type] = [name.casefold() for name in names]
        if not any(self.names.values()):
            raise InputError("no folder names: say which are live (--live) and which are attacks (--attack)")
        self._patterns = {kind: [_pattern(name) for name in names] for kind, names in self.names.items()}
        meaning: dict[str, str] = {}
        for kind, names in self.names.items():
            for name in names:
                if meaning.setdefault(name, kind) != kind:
                    raise InputError(f"the folder name {name} is given for both {meaning[name]} and {kind}")

    @classmethod
    def parse(cls, live: Iterable[str], attacks: Iterable[str]) -> "FolderLabels":
        """
        From arguments `NAME,NAME` for bona fides, and `TYPE=NAME,NAME` or just `NAME,NAME` for attacks.

        >>> FolderLabels.parse(["live,real"], ["print=print,printed_photo", "spoof"]).names
        {'bonafide': ['live', 'real'], 'print': ['print', 'printed_photo'], 'attack': ['spoof']}
        """
        types: dict[str, list[str]] = {}
        for argument in attacks:
            attack_type, equals, names = argument.partition("=")
            if not equals:
                attack_type, names = DEFAULT_ATTACK_TYPE, argument
            if not attack_type.strip():
                raise InputError(f"--attack {argument}: expected TYPE=NAME,NAME or NAME,NAME")
            types.setdefault(attack_type.strip(), []).extend(_names(names, f"--attack {argument}"))
        return cls([name for argument in live for name in _names(argument, f"--live {argument}")], types)

    def __call__(self, name: str) -> str:
        """
        The attack type of a file, `"bonafide"` of a bona fide.

        Args:
            name: path relative to the tree, with `/`.

        Raises:
            ValueError: no component says it, or several say different things.
        """
        path = PurePosixPath(name)
        components = [*path.parts[:-1], path.stem]
        matches: dict[str, str] = {}
        for component in components:
            folded = component.casefold()
            for kind, patterns in self._patterns.items():
                if any(pattern.match(folded) for pattern in patterns):
                    matches.setdefault(kind, component)
        attacks = {kind: component for kind, component in matches.items() if kind != BONA_FIDE}
        if len(attacks) > 1:
            attacks.pop(DEFAULT_ATTACK_TYPE, None)
        if not matches:
            raise ValueError("no folder in its path says live or attack")
        if len(attacks) > 1 or (attacks and BONA_FIDE in matches):
            said = {**({BONA_FIDE: matches[BONA_FIDE]} if BONA_FIDE in matches else {}), **attacks}
            named = " and ".join(f"{component} ({kind})" for kind, component in said.items())
            raise ValueError(f"its path says both: {named}")
        return next(iter(attacks or matches))


def _pattern(name: str) -> re.Pattern:
    # Brackets are a part of the name here, not a choice of characters.
    return re.compile(fnmatch.translate(name.replace("[", "[[]")))


def _names(text: str, where: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{where}: a name is empty; expected NAME,NAME")
    if slashed := [name for name in names if "/" in name]:
        raise InputError(f"{where}: {slashed[0]} is no name of a folder; whole components of paths are compared")
    return names
