"""What evaluations of seconds need: simulated captures with clips, and a model for them."""

import csv
from pathlib import Path

import datasets
import pytest
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.schema import live_patch_types
from patchnet_hf.data.simulation import write_demo_dataset


@pytest.fixture(scope="session")
def small_evaluation(tmp_path_factory) -> Path:
    """
    A folder with `captures`, a dataset of three splits whose clips have one or two frames, and `model`.

    The model has random weights: what evaluation makes of its scores doesn't depend on their being good.
    """
    folder = tmp_path_factory.mktemp("evaluation")
    counts = {"train": 16, "val_seen": 48, "val_unseen": 48}
    write_demo_dataset(folder / "lists", counts, size=80, workers=1)
    for name in counts:
        path = folder / "lists" / name / "markup.csv"
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            # Two live captures of a person and device are one clip, but for every other person's.
            row["video"] = f"{row['device']} {row['material']} {number % 16 == 6}"
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    convert_csv([folder / "lists" / name for name in counts], folder / "captures", progress=False)
    splits = datasets.load_from_disk(str(folder / "captures"))
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_convnext",
        patch_types=splits["train"].features["patch_type"].names,
        live_patch_types=live_patch_types(splits),
        image_size=32,
    )
    PatchNetForImageClassification(config).save_pretrained(folder / "model")
    PatchNetImageProcessor(patch_size=32, grid=2).save_pretrained(folder / "model")
    return folder
