"""The error that means "the user can mend this"."""

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """What was given can't be used; the message says what, where, and what was expected.

    Command lines print the message without a traceback and exit with code 2
    (:func:`patchnet_hf.command_line.run_command`); library users catch it as a `ValueError`.

    Attributes:
        shared: whether all processes of a training raise it alike, so that one of them is enough to say it.
    """

    shared = False

    def __init__(self, message: object = ""):
        message = str(message)
        # A DataLoader hands on an error of its worker by its class, with the worker's traceback as the message, whose
        # last part is what was said.
        if re.match(r"Caught \w+ in ", message):
            said = re.split(rf"^[\w.]*\b{type(self).__name__}: ", message, flags=re.MULTILINE)
            message = said[-1].rstrip("\n") if len(said) > 1 else message
        super().__init__(message)


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """A phrase naming the known names nearest to `name`, or `""` when none is near.

    >>> did_you_mean("learning_rat", ["learning_rate", "seed"])
    '; did you mean learning_rate?'
    >>> did_you_mean("zzz", ["learning_rate"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, and the next where the first only announces it.

    >>> first_line(OSError("it failed\\nTraceback ..."))
    'it failed'
    >>> first_line(OSError("There was a connection error:\\n401 Client Error\\n\\nInvalid token"))
    'There was a connection error: 401 Client Error'
    >>> first_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
