"""Processes that work for this one."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started_out_of_reach() -> Iterator[None]:
    """
    A block that starts processes which Ctrl-C doesn't reach, not even while they import what they need.

    A terminal sends it to all of them; the first one tells of it and ends the others. Those that are started have to
    call [`serve_parent`]. Windows can't hold it back: there they may end with a traceback of their own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def serve_parent() -> None:
    """Leaves Ctrl-C to the process that started this one, and ends with it: the initializer of a pool's processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
