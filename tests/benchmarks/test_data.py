"""What is told of the data path follows from its samples, and the reference's way is what it is called."""

import json
from functools import partial

import cv2
import numpy as np
import pytest

from patchnet_hf.benchmarks.data import (
    IMAGES,
    PATCHES,
    REFERENCE,
    REPEATS,
    RESIZE,
    DataBenchmark,
    DataSettings,
    SizeResult,
)
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.reference_loader import ReferenceViews
from patchnet_hf.benchmarks.timing import Timing


def timing(*seconds) -> Timing:
    return Timing(np.array(seconds, dtype=float))


@pytest.fixture
def benchmark() -> DataBenchmark:
    machine = Machine("A processor", cores=2, threads=1, versions={"torch": "2.0"}, load=0.25)
    timings = {
        0: {REFERENCE: timing(4, 1, 2), PATCHES: timing(0.5, 0.5, 3)},
        2: {REFERENCE: timing(1, 1, 1), PATCHES: timing(0.25, 0.25, 0.25)},
    }
    memory = {REFERENCE: 90_000_000, PATCHES: None}
    settings = DataSettings(sizes=((640, 480),), images=10, workers=(0, 2), repeats=3)
    return DataBenchmark(settings, machine, (SizeResult(640, 480, 61.4, timings, memory),))


def test_the_tables_follow_from_the_medians(benchmark):
    lines = benchmark.text().splitlines()
    assert "10 JPEG files of 640 x 480 pixels, 61 kB, 3 passes of each in turn:" in lines
    rows = [line.split() for line in lines if line.startswith(PATCHES)]
    assert [row[2:] for row in rows] == [["20", "4.00", "-"], ["40"]]
    assert f"| {REFERENCE} | 5 | 1.00 | 90 |" in benchmark.markdown()


def test_json_holds_every_sample(benchmark):
    told = json.loads(json.dumps(benchmark.as_json(), allow_nan=False))
    (size,) = told["sizes"]
    assert size["workers"]["0"][REFERENCE] == {"images_per_second": 5.0, "seconds": [4, 1, 2]}
    assert size["memory_bytes"] == {REFERENCE: 90_000_000, PATCHES: None}
    assert size["times_as_fast"] == {REFERENCE: 1.0, PATCHES: 4.0}


def test_the_references_way_decodes_resizes_and_normalises_bgr_by_itself_for_each_view(tmp_path):
    bgr = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    cv2.imwrite(str(tmp_path / "1.jpg"), bgr)
    steps = [
        {"transform": "Resize", "height": 20, "width": 20, "interpolation": "INTER_AREA"},
        {"transform": "CenterCrop", "height": 16, "width": 16},
    ]
    item = ReferenceViews([tmp_path / "1.jpg"], steps, 16)[0]
    resized = cv2.resize(cv2.imread(str(tmp_path / "1.jpg")), (20, 20), interpolation=cv2.INTER_AREA)[2:18, 2:18]
    expected = (resized / 255 - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]
    assert item["pixel_values"].shape == (2, 3, 16, 16)
    for view in item["pixel_values"]:
        np.testing.assert_allclose(view.permute(1, 2, 0), expected, atol=1e-5)


def test_the_references_views_differ(tmp_path):
    cv2.imwrite(str(tmp_path / "1.jpg"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    first, second = ReferenceViews([tmp_path / "1.jpg"], [{"transform": "RandomCrop", "height": 32, "width": 32}], 32)[
        0
    ]["pixel_values"]
    assert not (first == second).all()


@pytest.fixture
def script(benchmark_script):
    return partial(benchmark_script, "data")


def test_the_script_measures_prints_and_writes(script, tmp_path):
    file, threads = tmp_path / "data.json", cv2.getNumThreads()
    options = ("--sizes", "96x64", "200x300", "--images", 3, "--workers", 0, 1, "--repeats", 2, "--json", file)
    code, printed, complaints = script(*options)
    assert (code, complaints) == (0, "")
    assert cv2.getNumThreads() == threads
    told = json.loads(file.read_text())
    assert [(size["width"], size["height"]) for size in told["sizes"]] == [(96, 64), (200, 300)]
    for size in told["sizes"]:
        assert size["workers"].keys() == {"0", "1"}
        for ways in size["workers"].values():
            assert list(ways) == [REFERENCE, PATCHES, RESIZE, f"{RESIZE}, medium2.json"]
            assert all(len(way["seconds"]) == 2 for way in ways.values())
    assert printed.count(PATCHES) == 4


def test_the_script_has_the_defaults_of_the_package(script):
    code, printed, _ = script("--help")
    assert code == 0
    for option, value in (("--images", IMAGES), ("--repeats", REPEATS)):
        assert f"(default: {value})" in printed.partition(f"  {option} ")[2].partition("  --")[0]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--images", 0], "images is 0; expected at least 1"),
        (["--repeats", 0], "repeats is 0; expected at least 1"),
        (["--sizes", "0x9"], "size is 0; expected at least 1"),
        (["--sizes", "9"], "argument --sizes: invalid WIDTHxHEIGHT value: '9'"),
        (["--workers", 1], "workers lack 0"),
        (["--workers", 0, -1], "workers is -1; expected at least 0"),
        (["--augmentation", "nothing.json"], "augmentation nothing.json doesn't exist"),
    ],
)
def test_a_mistake_is_one_line(script, options, words):
    code, printed, complaints = script(*options)
    assert (code, printed) == (2, "")
    assert words in complaints and len(complaints.splitlines()) == 1
