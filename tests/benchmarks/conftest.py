"""A small model to measure, as if it had been trained."""

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
