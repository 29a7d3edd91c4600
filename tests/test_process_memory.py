"""Freed memory is kept for what is allocated next, or given back."""

import subprocess
import sys

import pytest

from patchnet_hf.process_memory import keep_freed_memory

# Page faults of making the same large array again and again, once it has been made.
FAULTS = """
import resource, sys
import numpy as np
sys.modules["__main__"].__file__ = sys.argv[1]
from patchnet_hf.process_memory import keep_freed_memory
kept = keep_freed_memory(sys.argv[2] == "keep")
before = None
for _ in range(6):
    np.ones(48 << 20, dtype=np.uint8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    before = faults if before is None else before
print(faults - before if kept else 0)
"""


def faults(project, which: str) -> int:
    command = [sys.executable, "-c", FAULTS, str(project / "scripts" / "train.py"), which]
    return int(subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_freed_memory(False), reason="only glibc can be told")
def test_pages_of_what_was_freed_are_used_again(project):
    pages = 5 * (48 << 20) // 4096
    # Of huge pages there are fewer faults.
    assert faults(project, "usual") > pages / 600
    assert faults(project, "keep") < 50


def test_a_c_library_that_cannot_be_told_is_left_alone(monkeypatch):
    monkeypatch.setattr("patchnet_hf.process_memory.ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
