"""Ctrl-C that waits for a moment in which nothing is held."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def late_interrupt() -> Iterator[Callable[[], bool]]:
    """
    A block that Ctrl-C ends late: where the block looks for it, or at its own end.

    Python raises `KeyboardInterrupt` between any two of its instructions, also between taking a lock of a pool of
    threads or processes and the `with` that would give it back. The pool's threads then wait for that lock forever,
    and whoever shuts the pool down waits for them.

    A second Ctrl-C is raised at once. Where another handler than Python's own is in place, or in another thread than
    the main one, which gets no signals, nothing is different from usual.

    Yields:
        A function that tells whether Ctrl-C was pressed; the block should end soon then, and may do so by an error.

    Raises:
        KeyboardInterrupt: it was pressed. When the block ends, in place of its error.

    >>> with late_interrupt() as asked:
    ...     asked()
    False
    """
    came = False

    def remember(number: int, frame) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt from None
