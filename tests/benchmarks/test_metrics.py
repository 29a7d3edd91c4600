"""What is told of the metrics' speed."""

import json
from functools import partial

import numpy as np
import pytest

from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.metrics import INTERVALS, NUMBERS, REPEATS, SCORES, MetricsBenchmark
from patchnet_hf.benchmarks.timing import Timing


@pytest.fixture
def script(benchmark_script):
    return partial(benchmark_script, "metrics")


def test_the_table_follows_from_the_medians():
    machine = Machine("A processor", cores=2, threads=1, versions={}, load=0.25)
    timings = {NUMBERS: Timing(np.array([9.0, 2.0, 2.5])), INTERVALS: Timing(np.array([5.0, 5.0, 5.0]))}
    benchmark = MetricsBenchmark(5_000_000, machine, timings, {NUMBERS: 40_000_000, INTERVALS: None})
    assert "| all numbers | 2.50 | 2.00 | 40 |" in benchmark.markdown()
    assert benchmark.text().splitlines()[-1].split()[-3:] == ["5.00", "1.00", "-"]
    told = benchmark.as_json()["computed"][NUMBERS]
    assert (told["median_seconds"], told["scores_per_second"]) == (2.5, 2e6)


def test_the_script_measures_prints_and_writes(script, tmp_path):
    code, printed, complaints = script("--scores", 2000, "--repeats", 2, "--json", tmp_path / "metrics.json")
    assert (code, complaints) == (0, "")
    assert "2,000 scores of 3 attack types" in printed
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert {what: len(numbers["seconds"]) for what, numbers in told["computed"].items()} == {NUMBERS: 2, INTERVALS: 2}


def test_the_script_has_the_defaults_of_the_package(script):
    code, printed, _ = script("--help")
    assert code == 0 and f"(default: {SCORES})" in printed and f"(default: {REPEATS})" in printed


@pytest.mark.parametrize(
    "options, words",
    [
        (["--scores", 99], "scores is 99; expected at least 100"),
        (["--repeats", 0], "repeats is 0; expected at least 1"),
    ],
)
def test_a_mistake_is_one_line(script, options, words):
    code, printed, complaints = script(*options)
    assert (code, printed) == (2, "") and words in complaints and len(complaints.splitlines()) == 1
