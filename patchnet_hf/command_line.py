"""What all scripts share: a parser that names the nearest option, and one line instead of a traceback."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

from .errors import InputError, did_you_mean, first_line

EXIT_BAD_INPUT = 2
# How PyTorch's errors say so: on the processor, on GPUs, and those of data workers.
_LACK_OF_MEMORY = ("DefaultCPUAllocator: ", "out of memory", "Caught MemoryError in ")


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that answers a wrong option with one line (and the nearest known option), exit code 2."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            asked = self._chosen(parsed)
            asked.error(unknown_option_message(asked, unknown[0]))
        return parsed

    def _chosen(self, parsed: argparse.Namespace) -> "CommandParser":
        """The parser of the command that was given, where a script has several."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and (name := getattr(parsed, action.dest, None)):
                return action.choices[name]._chosen(parsed)
        return self

    def error(self, message: str):
        # Several processes of a training have the same command line.
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def unknown_option_message(parser: argparse.ArgumentParser, option: str) -> str:
    """Says that `option` isn't known to `parser`, and which known option is nearest."""
    name = option.split("=")[0]
    known = [known for action in parser._actions for known in action.option_strings]
    return f"unknown argument {name}{did_you_mean(name, known)}"


def run_command(main: Callable[[], int | None], less_memory: str | None = None) -> None:
    """Runs a script's `main` and ends the process: 0 when it is done, 2 with one line for bad input, 130 for Ctrl-C.

    Only mistakes of the user (:class:`~patchnet_hf.errors.InputError`) and memory that doesn't suffice are shortened
    to a line; a defect of ours keeps its traceback. Of several processes on a machine that end in the same way, the
    first one says it; what only another one knows is said by that one, and lack of memory by each.

    Args:
        main: the script; what it returns is the exit code.
        less_memory: what takes less memory, for the message that there isn't enough.
    """
    program = os.path.basename(sys.argv[0])
    process = os.environ.get("LOCAL_RANK", "0")
    try:
        status = main()
    except InputError as error:
        if process == "0" or not error.shared:
            _complain(program, process, error)
        status = EXIT_BAD_INPUT
    except KeyboardInterrupt as stop:
        if process == "0":
            print(f"{program}: {str(stop) or 'stopped'}", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except (MemoryError, OSError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        advice = "" if less_memory is None else f"; {less_memory} takes less"
        _complain(program, process, f"not enough memory{advice}: {_said(error)}")
        status = EXIT_BAD_INPUT
    raise SystemExit(status or 0)


def _complain(program: str, process: str, message: object) -> None:
    where = "" if process == "0" else f"process {process}: "
    print(f"{program}: error: {where}{message}", file=sys.stderr)


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or PyTorch couldn't allocate; PyTorch isn't imported to find out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in _LACK_OF_MEMORY)


def _said(error: Exception) -> str:
    """What an error says, in one line; of one that a data worker handed on, what stands below its traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines and lines[0].startswith("Caught ") else first_line(error)
