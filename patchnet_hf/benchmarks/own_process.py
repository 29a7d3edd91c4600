"""A process of its own for what another measurement would disturb."""

import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

from ..child_processes import serve_parent, started_out_of_reach
from ..errors import InputError

SECONDS_TO_END = 10


class RemoteTraceback(Exception):
    """Where an error was raised in another process: its cause here."""


class OwnProcess:
    """
    An object in a new process, whose methods are called from here. To be closed.

    Args:
        make: makes the object there, when the first method is called; a function of a module.
        arguments: of it; they can be pickled.
    """

    def __init__(self, make: Callable, *arguments: object):
        # Spawned, not forked: this process may hold threads that a fork would break.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        with started_out_of_reach():
            self._process.start()
        theirs.close()
        self._working = False

    def call(self, method: str, *arguments: object) -> object:
        """
        What a method of the object returns.

        Raises:
            InputError: the process was killed.
            Exception: what the method raises.
        """
        self._working = True
        try:
            self._connection.send((method, arguments))
            error, value = self._connection.recv()
            self._working = False
        except (EOFError, ConnectionError):
            raise InputError(
                f"the process that measures {method} was killed, perhaps because memory ran out; a smaller batch "
                "takes less"
            ) from None
        if error is not None:
            raise error from RemoteTraceback(value)
        return value

    def close(self) -> None:
        """Ends the process: at once, if it still works."""
        self._connection.close()
        if not self._working:
            # It puts away what it shares with processes of its own.
            self._process.join(SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, make: Callable, arguments: tuple) -> None:
    serve_parent()
    made = None
    while True:
        try:
            method, given = connection.recv()
        except EOFError:
            return
        try:
            if made is None:
                made = make(*arguments)
            answer = None, getattr(made, method)(*given)
        except Exception as error:
            answer = error, traceback.format_exc()
        connection.send(answer)
