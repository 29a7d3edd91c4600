"""What this process does with memory that it has freed."""

import ctypes

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
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    told = [tell(name, value) for name, value in (_KEEPING if keep else _USUAL).items()]
    return all(told)
