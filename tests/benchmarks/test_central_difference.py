"""What is told of CDCN's first layer follows from its samples, and both forms of it are what they are called."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from patchnet_hf.benchmarks import central_difference
from patchnet_hf.benchmarks.central_difference import (
    BACKWARD,
    FOLDED,
    FORWARD,
    PATCH_SIZE,
    PATCHES,
    REPEATS,
    WRITTEN_OUT,
    CentralDifferenceBenchmark,
    TwoConvolutions,
    measure_central_difference,
)
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.timing import Timing
from patchnet_hf.models.central_difference_patchnet import CentralDifferenceConv2d


def timing(*milliseconds) -> Timing:
    return Timing(np.array(milliseconds) / 1000)


@pytest.fixture
def benchmark() -> CentralDifferenceBenchmark:
    machine = Machine("A processor", cores=2, threads=1, versions={"torch": "2.0"}, load=0.25)
    timings = {
        FORWARD: {WRITTEN_OUT: timing(9, 6, 7), FOLDED: timing(2, 2, 30)},
        BACKWARD: {WRITTEN_OUT: timing(10, 10, 10), FOLDED: timing(8, 8, 8)},
    }
    return CentralDifferenceBenchmark(96, 4, machine, timings)


def test_the_table_follows_from_the_medians(benchmark):
    lines = benchmark.text().splitlines()
    assert "CDCN's first layer on 4 patches of 96 x 96, 3 calls of each in turn" in lines
    assert [line.split()[-3:] for line in lines[-2:]] == [["7.00", "2.00", "3.50"], ["10.00", "8.00", "1.25"]]
    assert "| forward | 7.00 | 2.00 | 3.50 |" in benchmark.markdown()


def test_json_holds_every_sample(benchmark):
    told = json.loads(json.dumps(benchmark.as_json(), allow_nan=False))
    assert told["settings"] == {"patch_size": 96, "patches": 4, "repeats": 3}
    forward = told["passes"][FORWARD]
    assert forward["times_as_fast"] == pytest.approx(3.5)
    assert forward["forms"][WRITTEN_OUT]["ms"] == pytest.approx([9, 6, 7])


def test_both_forms_give_the_same_by_one_convolution_and_by_two():
    torch.manual_seed(0)
    folded = CentralDifferenceConv2d(3, 5, 0.7)
    written_out, patches = TwoConvolutions(folded), torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(written_out(patches), folded(patches), atol=1e-5, rtol=0)
    for layer, taps in ((folded, 9), (written_out, 9 + 1)):
        with FlopCounterMode(display=False) as counter:
            layer(patches).sum().backward()
        # Of the weights alone there are gradients, which cost as much as the outputs.
        assert counter.get_total_flops() == 2 * 2 * taps * 3 * 5 * 2 * 7 * 6
    torch.testing.assert_close(written_out.weight.grad, folded.weight.grad, atol=1e-4, rtol=0)


def test_forms_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(TwoConvolutions, "forward", lambda self, patches: torch.ones(1, 64, 8, 8))
    with pytest.raises(AssertionError, match="not close"):
        measure_central_difference(8, 1, 1, 1)


@pytest.fixture
def script(benchmark_script):
    return partial(benchmark_script, "central-difference")


def test_the_script_measures_prints_and_writes(script, tmp_path):
    file, threads = tmp_path / "speed.json", torch.get_num_threads()
    code, printed, complaints = script(
        "--patch-size", 16, "--patches", 2, "--repeats", 3, "--threads", 1, "--json", file
    )
    assert torch.get_num_threads() == threads
    told = json.loads(file.read_text())
    assert told["command"].startswith("python scripts/benchmark.py central-difference --patch-size 16")
    assert told["machine"]["threads"] == 1
    for name, row in zip((FORWARD, BACKWARD), printed.splitlines()[-2:], strict=True):
        of_pass = told["passes"][name]
        medians = [of_pass["forms"][form]["median_ms"] for form in (WRITTEN_OUT, FOLDED)]
        assert all(len(form["ms"]) == 3 for form in of_pass["forms"].values())
        numbers = [*(f"{median:.2f}" for median in medians), f"{of_pass['times_as_fast']:.2f}"]
        assert row.removeprefix(name).split() == numbers

    # A bar that three calls of a small layer may miss.
    is_slow = told["passes"][FORWARD]["times_as_fast"] < 1.3
    assert (code, bool(complaints)) == (int(is_slow), is_slow)


@pytest.mark.parametrize(("two", "one", "code"), [(13.1, 10, 0), (12.9, 10, 1), (10, 13, 1)])
def test_the_script_ends_with_1_where_one_convolution_is_not_faster_by_the_bar(
    script, benchmark, monkeypatch, two, one, code
):
    timings = {**benchmark.timings, FORWARD: {WRITTEN_OUT: timing(two), FOLDED: timing(one)}}
    measured = replace(benchmark, timings=timings)
    monkeypatch.setattr(central_difference, "measure_central_difference", lambda *sizes: measured)
    ended, printed, complaints = script()
    assert ended == code and "CDCN's first layer" in printed
    said = "benchmark.py: forward, one convolution isn't 1.3 times as fast as two\n"
    assert complaints == (said if code else "")


def test_the_script_has_the_defaults_of_the_package(script):
    code, printed, _ = script("--help")
    assert code == 0
    for option, value in (("--patch-size", PATCH_SIZE), ("--patches", PATCHES), ("--repeats", REPEATS)):
        assert f"(default: {value})" in printed.partition(f"  {option} ")[2].partition("  --")[0]


@pytest.mark.parametrize("option", ["--patch-size", "--patches", "--repeats", "--threads"])
def test_a_number_below_one_is_one_line(script, option):
    code, printed, complaints = script(option, 0)
    name = option.removeprefix("--").replace("-", " ")
    assert (code, printed, complaints) == (2, "", f"benchmark.py: error: {name} is 0; expected at least 1\n")
