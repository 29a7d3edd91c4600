"""Patterns with named groups over the paths of files."""

import re
from collections.abc import Collection, Sequence

from ..errors import InputError, did_you_mean
from .descriptions import PATH_COLUMNS

GROUPS = (*PATH_COLUMNS, "material")


def compiled(pattern: str, where: str) -> re.Pattern:
    """
    A pattern that ignores case.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"{where}: {pattern} is no regular expression: {error}") from error


class PathPatterns:
    """
    Device, subject, session, video and material of a file, from patterns over its relative path.

    A pattern may match anywhere in the path. The first that matches counts.

    Args:
        patterns: regular expressions with groups called as `GROUPS`.

    Raises:
        InputError: one is no regular expression, or has no named group, or one of another name.

    >>> PathPatterns([r"(?P<subject>\\d+)_(?P<device>\\w+)_.*"])("live/007_phone_2.jpg")
    {'subject': '007', 'device': 'phone'}
    """

    def __init__(self, patterns: Sequence[str]):
        self.patterns = [compiled(pattern, "--pattern") for pattern in patterns]
        for pattern in self.patterns:
            check_groups(pattern, GROUPS, "--pattern")
            if not pattern.groupindex:
                raise InputError(
                    f"--pattern: {pattern.pattern} has no named group; expected (?P<NAME>…) with NAME one of "
                    f"{', '.join(GROUPS)}"
                )

    def __call__(self, name: str) -> dict[str, str]:
        """
        Column to value; a group that took no part has none.

        Raises:
            ValueError: no pattern matches.
        """
        if not self.patterns:
            return {}
        for pattern in self.patterns:
            if match := pattern.search(name):
                return {column: value for column, value in match.groupdict().items() if value}
        raise ValueError("no --pattern matches its path")


def check_groups(pattern: re.Pattern, known: Collection[str], where: str) -> None:
    """
    Raises:
        InputError: the pattern has a group of another name.
    """
    for group in pattern.groupindex:
        if group not in known:
            raise InputError(
                f"{where}: {pattern.pattern} has a group {group}; expected {', '.join(known)}"
                f"{did_you_mean(group, known)}"
            )
