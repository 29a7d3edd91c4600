"""Versions of what numbers were computed with."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from . import __version__


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of this package, of Python, and of those of the libraries that are installed."""
    found = {"patchnet_hf": __version__, "python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
