"""How much memory something takes while it runs."""

import gc
from collections.abc import Callable
from pathlib import Path

import torch

from ..process_memory import give_back_freed_memory

# Linux's word for "forget the largest size so far" (proc(5), clear_refs).
_FORGET_PEAK = "5"
_PROCESS = Path("/proc/self")
_UNITS = {"kB": 1024}


def peak_memory(call: Callable[[], object], device: str = "cpu") -> int | None:
    """
    The most memory that a call takes beyond what was taken before it.

    On the processor that is the growth of what the process has resident, after what it had freed but kept was given
    back; processes that it starts aren't counted. On a GPU it is what PyTorch allocates there.

    Args:
        call: what to measure. What it imports for the first time counts: let it run once before.
        device: `"cpu"` or `"cuda"`, whose memory is meant.

    Returns:
        Bytes, or `None` where the system doesn't tell: all but Linux.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _forget_peak():
        return None
    before = _resident("VmRSS")
    call()
    return max(_resident("VmHWM") - before, 0)


def megabytes(size: int | None) -> str:
    """
    A size for a table.

    >>> megabytes(12_345_678), megabytes(None)
    ('12', '-')
    """
    return "-" if size is None else f"{size / 1e6:.0f}"


def _forget_peak() -> bool:
    """Whether the largest resident size is counted anew from now on."""
    # What was freed may still be resident, and would be taken again unseen.
    give_back_freed_memory()
    try:
        (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
    except OSError:
        return False
    return _resident("VmHWM") is not None


def _resident(name: str) -> int | None:
    """A size of this process in bytes, by the name that proc(5) has for it; `None` where the system has none."""
    for line in (_PROCESS / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            number, unit = value.split()
            return int(number) * _UNITS[unit]
    return None
