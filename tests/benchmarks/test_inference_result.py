"""What is told of a measurement follows from its samples."""

import json

import numpy as np
import pytest

from patchnet_hf.benchmarks.inference_result import Comparison, InferenceBenchmark, Row
from patchnet_hf.benchmarks.inference_settings import InferenceSettings
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.timing import Timing


def timing(*milliseconds) -> Timing:
    return Timing(np.array(milliseconds) / 1000)


@pytest.fixture
def benchmark(subject) -> InferenceBenchmark:
    rows = (
        # Of five samples the 95th percentile lies 0.8 of the way from the fourth to the fifth.
        Row("eager", timing(50, 10, 20, 30, 40), difference=0.0, memory=71_000_000),
        Row("onnx", timing(12, 12, 12, 12, 22), difference=0.00012),
        Row("int8", difference=7.25, reason="its answers are wrong"),
        Row("pipeline", timing(33, 33, 33, 33, 33), difference=0.0),
    )
    comparison = Comparison(captures=3, patches=9, rows=rows, processor=timing(1, 6, 2))
    settings = InferenceSettings(captures=(3,), variants=("onnx", "int8", "pipeline"), repeats=5)
    machine = Machine("A processor", cores=2, threads=1, versions={"torch": "2.0"}, load=0.25)
    return InferenceBenchmark(subject, settings, machine, (comparison,))


def test_the_table_follows_from_the_samples(benchmark):
    lines = benchmark.text().splitlines()
    assert lines[1] == "A processor, 2 cores, 1 thread, load 0.2 before; torch 2.0"
    table = [line.split() for line in lines[lines.index("3 captures of 9 patches, 5 calls of each in turn") + 3 :]]
    # Medians 30, 12 and 33 ms; 3 captures in 30 ms are 100 in a second; 30 / 12 = 2.5.
    assert table[0] == ["PyTorch,", "float32", "30.0", "48.0", "100.0", "1.00", "71", "0"]
    assert table[1] == ["ONNX", "Runtime,", "float32", "12.0", "20.0", "250.0", "2.50", "-", "0.0001"]
    assert table[2] == ["ONNX", "Runtime,", "int8", "not", "timed", "7"]
    assert table[3] == ["pipeline(...),", "float32", "33.0", "33.0", "90.9", "0.91", "-", "0"]
    assert lines[-2] == "ONNX Runtime, int8: not timed, its answers are wrong"
    # The median of the processor is 2 ms of 30, the pipeline takes 3 more than 30.
    assert lines[-1].endswith("image processor: 2.0 ms, 7 % of its time; pipeline, the image processor included: "
                              "3.0 ms, 10 % of its time")  # fmt: skip


def test_markdown_has_the_same_cells(benchmark):
    rows = [line.strip("| ").split(" | ") for line in benchmark.markdown().splitlines() if line.startswith("| ")]
    assert rows[1] == ["PyTorch, float32", "30.0", "48.0", "100.0", "1.00", "71", "0"]
    assert [row[1] for row in rows] == ["median ms", "30.0", "12.0", "not timed", "33.0"]
    assert "- ONNX Runtime, int8: not timed, its answers are wrong" in benchmark.markdown()


def test_json_holds_what_the_table_says_and_every_sample(benchmark):
    told = json.loads(json.dumps(benchmark.as_json(), allow_nan=False))
    (batch,) = told["batches"]
    assert (batch["captures"], batch["patches"]) == (3, 9)
    assert list(batch["variants"]) == ["eager", "onnx", "int8", "pipeline"]
    onnx = batch["variants"]["onnx"]
    assert onnx.pop("ms") == pytest.approx([12, 12, 12, 12, 22])
    assert onnx == pytest.approx(
        {
            "median_ms": 12,
            "p95_ms": 20,
            "captures_per_second": 250,
            "times_as_fast": 2.5,
            "log_odds_difference": 0.00012,
            "memory_bytes": None,
        }
    )
    assert batch["variants"]["int8"] == {"not_timed": "its answers are wrong", "log_odds_difference": 7.25}
    assert batch["overhead"]["image_processor"] == pytest.approx({"ms": 2, "share_of_network": 2 / 30})
    assert batch["overhead"]["pipeline"] == pytest.approx({"ms": 3, "share_of_network": 0.1})
    assert told["machine"]["load"] == 0.25
    assert told["settings"]["repeats"] == 5


def test_the_machine_names_its_gpu_where_one_computes():
    machine = Machine("A processor", cores=2, threads=2, versions={"torch": "2.0"}, gpu="A GPU")
    assert machine.text() == "A GPU, with A processor, 2 cores, 2 threads; torch 2.0"
