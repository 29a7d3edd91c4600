"""Checkpoints of Implementation-patchnet: RGB pixels, their own mean and deviation, and a loss of its own."""

import numpy as np
import pytest
import torch
import yaml

from patchnet_hf import PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.legacy.conversion import convert_checkpoint
from patchnet_hf.legacy.report import conversion_report

MEAN, SIGMA = [0.5070, 0.4764, 0.4551], [0.2480, 0.2468, 0.2416]
CONFIG = {
    "seed": 42,
    "dataset": {"augmentation": {"rand_crop_size": 64}, "mean": MEAN, "sigma": SIGMA},
    "model": {"base": "resnet18", "image_size": [72, 72]},
    "train": {"batch_size": 16, "optimizer": "adam", "lr": 0.002, "num_epochs": 300},
}


@pytest.fixture
def files(files_of, tmp_path):
    network = files_of("resnet18").network
    states = network.state_dict()
    held = {
        "epoch": 3,
        "state_dict": {k.removeprefix("backbone."): v for k, v in states.items() if k.startswith("backbone.")},
        "optimizer": {},
        "loss": {"amsm_loss.fc.weight": network.fc},
    }
    torch.save(held, tmp_path / "resnet18_3.pth")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return network, tmp_path / "resnet18_3.pth", tmp_path / "config.yaml"


def test_scores_are_the_originals(files, tmp_path):
    network, checkpoint, config = files
    conversion = convert_checkpoint(checkpoint, config, tmp_path / "model")
    # Of the size that it resizes to, so that Pillow would leave every pixel as it is.
    picture = np.random.default_rng(0).integers(0, 256, (72, 72, 3), dtype=np.uint8)
    pixels = ((picture[4:68, 4:68] / 255 - MEAN) / SIGMA).transpose(2, 0, 1)[None]
    with torch.no_grad():
        spoof, live = (network.network(torch.from_numpy(pixels).float()) @ network.fc.T)[0].tolist()
        model = PatchNetForImageClassification.from_pretrained(tmp_path / "model").eval()
        processor = PatchNetImageProcessor.from_pretrained(tmp_path / "model")
        logits = model(**processor(picture, return_tensors="pt")).logits
    assert float(logits[0, 1] - logits[0, 0]) == pytest.approx(30 * (live - spoof), abs=2e-4)
    assert not conversion.turned and "reads images as RGB" in conversion_report(conversion)


def test_checkpoint_and_config_of_two_projects_are_one_line(files, files_of, tmp_path):
    _, checkpoint, config = files
    other = files_of("resnet18")
    for given in ((checkpoint, other.config), (other.checkpoint, config)):
        with pytest.raises(InputError, match=r"is of .*, but config .* of ") as refused:
            convert_checkpoint(*given, tmp_path / "model")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", [[300, 200], "large", None, [0, 0]])
def test_faces_that_arent_resized_to_squares_are_one_line(files, tmp_path, given):
    _, checkpoint, config = files
    config.write_text(yaml.safe_dump({**CONFIG, "model": {"base": "resnet18", "image_size": given}}))
    with pytest.raises(InputError, match="image_size"):
        convert_checkpoint(checkpoint, config, tmp_path / "model")
