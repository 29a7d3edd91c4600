"""How a script ends that can't do what was asked of it."""

import sys

import numpy as np
import pytest
import torch

from patchnet_hf.command_line import run_command

# More than any machine can address.
BYTES = 2**50


def ended(main) -> int:
    with pytest.raises(SystemExit) as end:
        run_command(main)
    return end.value.code


@pytest.mark.parametrize("allocate", [bytearray, np.empty, torch.empty])
def test_too_little_memory_is_one_line_that_says_what_helps(monkeypatch, capsys, allocate):
    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    assert ended(lambda: allocate(BYTES)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train.py: error: not enough memory; smaller batches take less: ")


def test_a_gpu_with_too_little_memory_is_the_same(monkeypatch, capsys):
    def main():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore")

    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ended(main) == 2
    assert capsys.readouterr().err.endswith(
        "error: process 3: not enough memory; smaller batches take less: CUDA out of memory. Tried 2 GiB.\n"
    )


def test_a_defect_keeps_its_traceback():
    def main():
        raise RuntimeError("shapes that don't match")

    with pytest.raises(RuntimeError, match="shapes that don't match"):
        run_command(main)
