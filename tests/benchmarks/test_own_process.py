"""What runs in a process of its own."""

import multiprocessing
import os
from contextlib import closing

import pytest

from patchnet_hf.benchmarks.own_process import OwnProcess
from patchnet_hf.errors import InputError


class Counter:
    """Counts its calls, and can fail."""

    def __init__(self, start: int):
        self.count = start

    def add(self, number: int) -> tuple[int, int]:
        self.count += number
        return self.count, os.getpid()

    def fail(self):
        raise InputError("it can't be done")

    def die(self):
        os._exit(9)


def test_one_object_lives_there_and_answers():
    with closing(OwnProcess(Counter, 3)) as process:
        first, there = process.call("add", 1)
        assert (first, process.call("add", 2)) == (4, (6, there)) and there != os.getpid()
        with pytest.raises(InputError, match=r"^it can't be done$") as error:
            process.call("fail")
        assert "in fail" in str(error.value.__cause__)
        assert process.call("add", 0) == (6, there), "it lives on"
    assert not multiprocessing.active_children()


def test_what_cannot_be_made_says_why():
    with closing(OwnProcess(Counter)) as process, pytest.raises(TypeError, match="start"):
        process.call("add", 1)


def test_a_process_that_is_killed_is_one_line():
    with closing(OwnProcess(Counter, 0)) as process:
        with pytest.raises(InputError, match="the process that measures die was killed"):
            process.call("die")
        with pytest.raises(InputError, match="the process that measures add was killed"):
            process.call("add", 1)
