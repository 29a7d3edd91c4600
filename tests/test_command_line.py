"""How a script ends that can't do what was asked of it."""

import errno
import sys

import numpy as np
import pytest
import torch

from patchnet_hf.command_line import run_command

# More than any machine can address.
BYTES = 2**50


def ended(main, **options) -> int:
    with pytest.raises(SystemExit) as end:
        run_command(main, **options)
    return end.value.code


class TooLarge(torch.utils.data.Dataset):
    """Captures of which each allocates too much."""

    def __init__(self, allocate):
        self.allocate = allocate

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.allocate(BYTES)


@pytest.mark.parametrize("allocate", [bytearray, np.empty, torch.empty])
@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_is_one_line_that_says_what_helps(monkeypatch, capsys, allocate, workers):
    monkeypatch.setattr(sys, "argv", ["scripts/evaluate.py"])
    loader = torch.utils.data.DataLoader(TooLarge(allocate), num_workers=workers)
    assert ended(lambda: next(iter(loader)), less_memory="a smaller --batch-size") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluate.py: error: not enough memory; a smaller --batch-size takes less: ")
    assert "DataLoader" not in line


def test_memory_that_the_system_refuses_is_the_same(capsys):
    def main():
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    assert ended(main) == 2
    assert capsys.readouterr().err.endswith("error: not enough memory: [Errno 12] Cannot allocate memory\n")


def test_a_gpu_with_too_little_memory_is_the_same(monkeypatch, capsys):
    def main():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore")

    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ended(main) == 2
    assert capsys.readouterr().err.endswith("error: process 3: not enough memory: CUDA out of memory. Tried 2 GiB.\n")


@pytest.mark.parametrize("error", [RuntimeError("shapes that don't match"), OSError(5, "Input/output error")])
def test_a_defect_keeps_its_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)) as raised:
        run_command(main)
    assert raised.value is error


def test_a_reader_that_has_gone_is_told_nothing(monkeypatch, capsys, tmp_path):
    def main():
        raise BrokenPipeError

    with open(tmp_path / "output", "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert ended(main) == 0
    assert capsys.readouterr().err == ""
