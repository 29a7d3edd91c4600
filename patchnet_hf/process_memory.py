"""What this process does with memory that it has freed."""

import ctypes
from collections.abc import Callable

# Parameters of glibc's mallopt(3), and the values that they come to by themselves once large tensors have been freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_KEEPING = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1}


def keep_freed_memory(keep: bool = True) -> bool:
    """
    Keeps what is freed for what is allocated next, instead of giving it back to the system.

    A network on the processor allocates the same large tensors again and again. Given back and asked for anew, each of
    their pages is faulted in and zeroed, which takes a sixth of a training step of ResNet-18. The process stays as
    large as it was at its largest.

    Args:
        keep: false for what the C library does by itself.

    Returns:
        Whether it could be done: with glibc, which is to say on most Linux systems.
    """
    tell = _of_c_library("mallopt")
    # Older glibc refuses the first, the threshold from which memory is taken from the system by itself, above 32 MB.
    # The second alone would do harm: it ends that the first one grows with what is freed.
    return tell is not None and all(tell(name, value) for name, value in (_KEEPING if keep else _USUAL).items())


def give_back_freed_memory() -> None:
    """Gives back what was freed and is still kept, where the C library can."""
    if (trim := _of_c_library("malloc_trim")) is not None:
        trim(0)


def _of_c_library(name: str) -> Callable[..., int] | None:
    """A function of glibc, `None` with other C libraries."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
