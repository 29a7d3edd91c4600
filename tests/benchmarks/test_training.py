"""What is told of training follows from its samples, and the ways are what they are called."""

import json
import multiprocessing
import os
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
from patchnet_hf.benchmarks import training
from patchnet_hf.benchmarks.captures import jpeg_captures
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.own_process import OwnProcess
from patchnet_hf.benchmarks.reference_training import ReferenceSteps
from patchnet_hf.benchmarks.timing import Timing
from patchnet_hf.benchmarks.training import TrainingBenchmark
from patchnet_hf.benchmarks.training_settings import WAYS, TrainingSettings
from patchnet_hf.benchmarks.training_ways import StepClock, TrainingWays, ViewsInMemory
from patchnet_hf.data.schema import LABELS
from patchnet_hf.data.views import TrainingViews


def timing(*seconds) -> Timing:
    return Timing(np.array(seconds, dtype=float))


@pytest.fixture
def benchmark() -> TrainingBenchmark:
    machine = Machine("A processor", cores=2, threads=1, versions={"torch": "2.0"}, load=0.25)
    timings = {
        "reference": timing(3, 2, 2),
        "bare_float32": timing(1.6, 1.6, 1.6),
        "bare": timing(0.8, 0.8, 5),
        "trainer": timing(1, 1, 1),
        "files": timing(1.6, 1.6, 1.6),
    }
    memory = dict.fromkeys(WAYS, 12_000_000) | {"files": None}
    settings = TrainingSettings(batch_size=16, repeats=3, steps=2, workers=4)
    return TrainingBenchmark(settings, "bfloat16", "resnet18, 11.2 million parameters", machine, timings, memory)


def test_the_table_follows_from_the_medians(benchmark):
    lines = benchmark.text().splitlines()
    assert any(
        line.startswith(
            "16 captures of 2 views in a step, bfloat16, 3 turns of 2 steps each; JPEG captures of 640 x 480"
        )
        for line in lines
    )
    cells = [line.split()[-5:] for line in lines[-5:]]
    # 16 captures in 2 s are 8 in a second; 2 / 1 s; 0.8 / 1 s.
    assert cells == [
        ["2000.0", "8.0", "1.00", "0.40", "12"],
        ["1600.0", "10.0", "1.25", "0.50", "12"],
        ["800.0", "20.0", "2.50", "1.00", "12"],
        ["1000.0", "16.0", "2.00", "0.80", "12"],
        ["1600.0", "10.0", "1.25", "0.50", "-"],
    ]
    assert lines[-1].startswith("Trainer, JPEG captures, 4 workers ")
    assert "| bare loop, views in memory | 800.0 | 20.0 | 2.50 | 1.00 | 12 |" in benchmark.markdown()


def test_json_holds_every_sample(benchmark):
    told = json.loads(json.dumps(benchmark.as_json(), allow_nan=False))
    assert told["settings"]["precision"] == "bfloat16"
    files = told["ways"]["files"]
    assert files.pop("ms") == pytest.approx([1600, 1600, 1600])
    assert files == pytest.approx(
        {
            "median_ms": 1600,
            "captures_per_second": 10,
            "times_as_fast": 1.25,
            "share_of_bare_loop": 0.5,
            "memory_bytes": None,
        }
    )


@pytest.fixture
def model() -> PatchNetForImageClassification:
    """Without batch norms, whose statistics differ by what passes together."""
    torch.manual_seed(0)
    types = {"patch_types": ["a/live", "a/print", "b/live"], "live_patch_types": ["a/live", "b/live"]}
    config = PatchNetConfig(backbone="test_vit", backbone_kwargs={"img_size": 32}, image_size=32, scale=4.0, **types)
    return PatchNetForImageClassification(config).train()


def test_the_references_step_is_ours(model):
    views, labels = torch.randn(5, 2, 3, 32, 32), torch.tensor([0, 1, 2, 1, 0])
    ours = deepcopy(model)
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-3)
    expected = ours(views, labels=labels).loss
    expected.backward()
    optimizer.step()
    steps = ReferenceSteps(model, learning_rate=1e-3)
    assert steps(views[:, 0], views[:, 1], labels) == pytest.approx(expected.item(), rel=1e-5)
    for (name, parameter), (_, other) in zip(model.named_parameters(), ours.named_parameters(), strict=True):
        gradient = parameter.grad - other.grad
        assert gradient.abs().max() <= 1e-4 * other.grad.abs().max() + 1e-7, name


def test_the_reference_counts_its_predictions(model):
    views, labels = torch.randn(6, 2, 3, 32, 32), torch.tensor([0, 1, 2, 1, 0, 1])
    with torch.no_grad():
        predicted = model(views[:, 0]).patch_type_logits.argmax(-1)
    said, is_live = predicted != 1, labels != 1
    steps = ReferenceSteps(model)
    steps(views[:, 0], views[:, 1], labels)
    assert steps.counts == {
        "true_live": int((said & is_live).sum()),
        "false_live": int((said & ~is_live).sum()),
        "true_spoof": int((~said & ~is_live).sum()),
        "false_spoof": int((~said & is_live).sum()),
    }


def test_views_in_memory_are_items_as_training_views_are():
    views = ViewsInMemory.random(3, patch_size=8)
    item = views[1]
    assert item["pixel_values"].shape == (2, 8, 8, 3) and item["pixel_values"].dtype == np.uint8
    assert [(views[index]["labels"], views[index]["attack_types"]) for index in range(3)] == [(0, 1), (1, 0), (0, 1)]
    np.testing.assert_array_equal(item["pixel_values"], ViewsInMemory.random(3, patch_size=8)[1]["pixel_values"])


class State:
    def __init__(self, step: int):
        self.global_step = step


def test_the_clock_times_the_last_steps_and_waits_for_the_device(monkeypatch):
    waited, now = [], iter([10.0, 16.0])
    monkeypatch.setattr("patchnet_hf.benchmarks.training_ways.time.perf_counter", lambda: next(now))
    clock = StepClock(warm_up=2, steps=3, wait=lambda: waited.append(True))
    assert clock.last_step == 5
    for step in range(1, 6):
        clock.on_step_end(None, State(step), None)
    assert clock.seconds_of_a_step == 2.0 and len(waited) == 2


@pytest.fixture
def ways(tmp_path) -> TrainingWays:
    torch.manual_seed(0)
    model = PatchNetForImageClassification(PatchNetConfig(backbone="test_resnet", image_size=32))
    settings = TrainingSettings(
        backbone="test_resnet", patch_size=32, batch_size=4, steps=2, precision="float32", threads=1, size=(64, 48)
    )
    return TrainingWays(model, jpeg_captures(tmp_path / "captures", 64, 48, 4)[1], settings, tmp_path / "run")


def test_each_way_takes_its_steps_and_leaves_the_network_as_it_was(ways, monkeypatch):
    before = deepcopy(ways.model.state_dict())
    passes = []
    forward = PatchNetForImageClassification.forward
    monkeypatch.setattr(
        PatchNetForImageClassification,
        "forward",
        lambda self, pixel_values, **options: (
            passes.append((self.training, pixel_values.dtype, pixel_values.is_contiguous()))
            or forward(self, pixel_values, **options)
        ),
    )
    for way in (ways.bare, ways.bare_float32, ways.trainer):
        assert way() > 0
    # Two steps before the two that are timed. In float32, too, the channels lie last but for the loop that is told so.
    assert passes == [(True, torch.float32, plane_after_plane) for plane_after_plane in (False, True, False)
                      for _ in range(4)]  # fmt: skip
    assert ways.reference() > 0
    assert len(passes) == 12, "it passes the backbone alone"
    assert all(torch.equal(tensor, before[name]) for name, tensor in ways.model.state_dict().items())


def test_workers_have_captures_to_decode_until_the_last_timed_step(ways, monkeypatch):
    lengths = []
    monkeypatch.setattr(
        ways, "_trained", lambda views, workers, warm_up: lengths.append((len(views), workers, warm_up))
    )
    ways.files()
    ((length, workers, warm_up),) = lengths
    # When the last timed step begins, each worker has two batches ready, and accelerate one.
    assert length // 4 >= warm_up + 2 + 2 * workers + 1 and warm_up == 2 + 2 * workers
    assert [item["labels"] for item in TrainingViews(ways.captures, ways.processor, LABELS)] == [0, 1, 0, 1]


@pytest.fixture
def script(benchmark_script):
    return partial(benchmark_script, "train")


QUICK = ("--backbone", "test_resnet", "--patch-size", 32, "--batch-size", 4, "--size", "64x48", "--steps", 1)


def test_the_script_measures_prints_and_writes(script, tmp_path):
    file, environment, threads = tmp_path / "train.json", dict(os.environ), torch.get_num_threads()
    options = ("--precision", "bfloat16", "--threads", 1, "--repeats", 2, "--json", file)
    code, printed, complaints = script(*QUICK, *options)
    assert (code, complaints) == (0, "")
    assert (dict(os.environ), torch.get_num_threads()) == (environment, threads)
    told = json.loads(file.read_text())
    assert list(told["ways"]) == list(WAYS)
    assert all(len(way["ms"]) == 2 and min(way["ms"]) > 0 for way in told["ways"].values())
    assert "4 captures of 2 views in a step, bfloat16, 2 turns of 1 step each" in printed
    assert len([line for line in printed.splitlines() if line.startswith(tuple(WAYS.values()))]) == len(WAYS)


def test_the_script_has_the_defaults_of_the_package(script):
    code, printed, _ = script("--help")
    settings = TrainingSettings()
    assert code == 0
    for option in ("backbone", "patch_size", "batch_size", "precision", "workers", "repeats"):
        text = printed.partition(f"  --{option.replace('_', '-')} ")[2].partition("\n  --")[0]
        assert f"(default: {getattr(settings, option)})" in text


@pytest.mark.parametrize(
    "options, words",
    [
        (["--repeats", 0], "repeats is 0; expected at least 1"),
        (["--steps", 0], "steps is 0; expected at least 1"),
        (["--batch-size", 1], "batch_size is 1; expected at least 2"),
        (["--workers", -1], "workers is -1; expected at least 0"),
        (["--size", "9x999"], "captures of 9 x 999 are smaller than a patch of 160"),
        (["--precision", "float16"], "precision float16 needs a GPU"),
        (["--precision", "bfloat"], "precision is 'bfloat'; did you mean bfloat16"),
        (["--backbone", "resnet19"], "did you mean resnet18"),
        (["--backbone", "test_vit", "--patch-size", 50], "test_vit can't take patches of 50 x 50"),
        (["--json", "nowhere/at/all.json"], "--json nowhere/at/all.json can't be written"),
    ],
)
def test_a_mistake_is_one_line(script, options, words):
    code, printed, complaints = script(*options)
    assert (code, printed) == (2, "")
    assert words in complaints and len(complaints.splitlines()) == 1


@pytest.mark.parametrize("lacking, words", [("memory", "not enough memory"), ("compiler", "can't compile")])
def test_what_the_machine_lacks_is_one_line(script, monkeypatch, lacking, words):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("too little") if lacking == "memory" else RuntimeError("no compiler\nmore")

    monkeypatch.setattr(*((OwnProcess, "call") if lacking == "memory" else (torch, "compile")), fail)
    code, _, complaints = script(*QUICK, "--repeats", 1, *(["--compile"] if lacking == "compiler" else []))
    assert code == 2 and words in complaints and len(complaints.splitlines()) == 1


def test_a_defect_of_a_way_keeps_its_traceback(script, monkeypatch):
    monkeypatch.setattr(training, "WAYS", WAYS | {"baer": "a way that there isn't"})
    with pytest.raises(AttributeError, match="baer") as error:
        script(*QUICK, "--repeats", 1)
    assert "getattr(made, method)" in str(error.value.__cause__), "where it was raised in the other process"
    assert not multiprocessing.active_children()
