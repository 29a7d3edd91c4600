"""The most memory that a call takes."""

import numpy as np
import pytest

from patchnet_hf.benchmarks import memory
from patchnet_hf.benchmarks.memory import megabytes, peak_memory
from patchnet_hf.process_memory import keep_freed_memory

MEGABYTE = 2**20


def touch(megabytes: int) -> int:
    return int(np.ones(megabytes * MEGABYTE, dtype=np.uint8)[-1])


@pytest.mark.skipif(peak_memory(int) is None, reason="only Linux tells")
def test_it_is_what_a_call_holds_at_its_largest_not_what_it_leaves_or_what_came_before():
    keep_freed_memory(False)
    touch(300)
    taken = peak_memory(lambda: [touch(100), touch(200), touch(50)])
    assert 195 * MEGABYTE <= taken <= 215 * MEGABYTE
    assert peak_memory(int) < 10 * MEGABYTE


def test_a_system_that_does_not_tell_gives_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "nowhere")
    assert peak_memory(int) is None
    assert megabytes(None) == "-"
