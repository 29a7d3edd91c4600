"""A small model to measure, as if it had been trained."""

import runpy
import sys

import pytest
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.benchmarks.subject import Subject

SIDE = 32


@pytest.fixture(scope="session")
def subject(as_trained) -> Subject:
    """Four patches of a capture, three patch types, calibrated."""
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_resnet",
        image_size=SIDE,
        patch_types=["phone/live", "phone/print", "phone/replay"],
        live_patch_types=["phone/live"],
        scale=16.0,
        calibration={"scale": 0.5, "bias": -0.3},
    )
    model = as_trained(PatchNetForImageClassification(config), SIDE)
    return Subject(model, PatchNetImageProcessor(patch_size=SIDE, grid=2), trained=True)


@pytest.fixture(scope="session")
def model_folder(subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    subject.model.save_pretrained(folder)
    subject.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def benchmark_script(project, monkeypatch, capsys):
    """Runs scripts/benchmark.py in this process; its exit code, and what it printed and complained of."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["/somewhere/benchmark.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(project / "scripts" / "benchmark.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return run
