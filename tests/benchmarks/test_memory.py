"""The most memory that a call takes."""

import subprocess
import sys

import pytest

from patchnet_hf.benchmarks import memory
from patchnet_hf.benchmarks.memory import megabytes, peak_memory

MEGABYTE = 2**20
TAKEN = """
import numpy as np
from patchnet_hf.benchmarks.memory import peak_memory
def touch(megabytes):
    np.ones(megabytes << 20, dtype=np.uint8)
touch(300)
print(peak_memory(lambda: [touch(100), touch(200), touch(50)]), peak_memory(int))
"""


@pytest.mark.skipif(peak_memory(int) is None, reason="only Linux tells")
def test_it_is_what_a_call_holds_at_its_largest_not_what_it_leaves_or_what_came_before(project):
    # A process of its own: what other tests have left free in this one would be taken first, and stay resident.
    command = [sys.executable, "-c", TAKEN]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    taken, nothing = map(int, ended.stdout.split())
    assert 195 * MEGABYTE <= taken <= 215 * MEGABYTE
    assert nothing < 10 * MEGABYTE


def test_a_system_that_does_not_tell_gives_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "nowhere")
    assert peak_memory(int) is None
    assert megabytes(None) == "-"
