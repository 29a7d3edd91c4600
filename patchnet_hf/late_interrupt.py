"""Ctrl-C that waits for a moment in which nothing is held."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A launcher passes on what the terminal has already sent to the whole process group.
SAME_REQUEST_SECONDS = 3.0


@contextmanager
def late_interrupt() -> Iterator[Callable[[], bool]]:
    """
    A block that Ctrl-C ends late: where the block looks for it, or at its own end.

    Python raises `KeyboardInterrupt` between any two of its instructions, also between taking a lock of a pool of
    threads or processes and the `with` that would give it back. The pool's threads then wait for that lock forever,
    and whoever shuts the pool down waits for them.

    Asked again three seconds later or more, it is raised at once, at that risk. Nothing is different from usual where
    another handler than Python's own is in place, and in threads other than the main one, which alone gets signals.

    Yields:
        A function that tells whether Ctrl-C was pressed; the block should end soon then, and may do so by an error.

    Raises:
        KeyboardInterrupt: it was pressed. Raised when the block ends, in place of an error that ended it.

    >>> with late_interrupt() as asked:
    ...     asked()
    False
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    earlier = signal.getsignal(signal.SIGINT)
    if in_main_thread and isinstance(earlier, _Request):
        # Within another such block, which will raise it.
        yield earlier.came
        return
    if not in_main_thread or earlier is not signal.default_int_handler:
        yield lambda: False
        return
    request = _Request()
    signal.signal(signal.SIGINT, request)
    try:
        yield request.came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request.came():
            raise KeyboardInterrupt from None


class _Request:
    """Remembers that Ctrl-C came: a handler of the signal."""

    def __init__(self):
        self._asked_at: float | None = None

    def __call__(self, number: int, frame) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at >= SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    def came(self) -> bool:
        return self._asked_at is not None
