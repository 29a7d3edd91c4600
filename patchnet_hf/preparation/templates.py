"""Values that are made of what a pattern has found."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import InputError, did_you_mean

_GROUP = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Template:
    """
    A value of a layout: text with `{group}` in it, or a choice by what a group holds.

    Attributes:
        text: of a text; `None` of a choice.
        group: what a choice is by.
        choices: what the group holds, in lower case, to the value of then.

    >>> Template.parse("{phone}/{session}", ["phone", "session"], "here").fill({"phone": "1", "session": "2"})
    '1/2'
    >>> Template.parse({"file": {1: "live", 2: "print"}}, ["file"], "here").fill({"file": "2"})
    'print'
    """

    text: str | None = None
    group: str | None = None
    choices: Mapping[str, "Template"] | None = None

    @classmethod
    def parse(cls, given, groups: Collection[str], where: str) -> "Template":
        """
        A template as a YAML file holds it.

        Args:
            given: text, a whole number, or `{group: {value: text}}`.
            groups: names that may be used.
            where: names the value in messages.

        Raises:
            InputError: it is something else, or names another group.
        """
        if isinstance(given, Mapping):
            if len(given) != 1:
                raise InputError(f"{where} has {len(given)} keys; expected one, the group that the value depends on")
            ((group, choices),) = given.items()
            _check_group(group, groups, where)
            if not isinstance(choices, Mapping) or not choices:
                raise InputError(f"{where}: {group} is {choices!r}; expected a mapping of its values")
            return cls(
                group=group,
                choices={
                    _text(value, f"{where}: {group}").lower(): cls.parse(choice, groups, f"{where}: {group} {value}")
                    for value, choice in choices.items()
                },
            )
        text = _text(given, where)
        for group in _GROUP.findall(text):
            _check_group(group, groups, where)
        return cls(text=text)

    def fill(self, found: Mapping[str, str | None]) -> str | None:
        """
        The value; `None` where a group that it needs took no part in the match.

        Args:
            found: group to what it holds.

        Raises:
            ValueError: no choice is given for what the group holds.
        """
        if self.text is not None:
            needed = _GROUP.findall(self.text)
            if any(found.get(group) is None for group in needed):
                return None
            return _GROUP.sub(lambda match: found[match[1]], self.text)
        value = found.get(self.group)
        if value is None:
            return None
        choice = self.choices.get(value.lower())
        if choice is None:
            raise ValueError(f"{self.group} is {value!r}; the layout knows {', '.join(self.choices)}")
        return choice.fill(found)


def _check_group(group, groups: Collection[str], where: str) -> None:
    if group not in groups:
        known = f"expected {', '.join(groups)}" if groups else "its pattern has no named groups"
        raise InputError(f"{where}: {group!r} is no group of the pattern; {known}{did_you_mean(str(group), groups)}")


def _text(given, where: str) -> str:
    # A truth value is what YAML makes of yes and no without quotes.
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        raise InputError(
            f"{where} is {given!r}; expected text (in quotes, where YAML would take it for something else)"
        )
    return str(given)
