"""Runs with an augmentation: what they train on, say and leave, and that bad files end them before they begin."""

import json

import datasets
import numpy as np
import pytest

from patchnet_hf.cards.recipe_table import recipe_table
from patchnet_hf.data.augmentation import Augmentation
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.run import train

from .small_runs import captures, small_run

STEPS = [
    {"transform": "GaussNoise", "std_range": [0.1, 0.2], "p": 1.0},
    {"transform": "RandomCrop", "height": "patch_size", "width": "patch_size"},
]


def arguments_of(tmp_path, augmentation, **options):
    return (
        ModelArguments(backbone="test_resnet"),
        DataArguments(dataset=str(tmp_path / "data"), patch_size=32, grid=1, augmentation=str(augmentation)),
        PatchNetTrainingArguments(
            output_dir=str(tmp_path / "run"), num_train_epochs=1, report_to="none", use_cpu=True, disable_tqdm=True,
            per_device_train_batch_size=8, **options,
        ),
    )  # fmt: skip


@pytest.fixture
def augmentation(tmp_path):
    datasets.DatasetDict({"train": captures(16, 0), "val": captures(6, 1)}).save_to_disk(tmp_path / "data")
    file = tmp_path / "anna" / "noisy.json"
    file.parent.mkdir()
    file.write_text(json.dumps(STEPS))
    return file


@pytest.mark.slow
def test_a_run_says_and_records_its_augmentation(tmp_path, augmentation, capsys):
    train(*arguments_of(tmp_path, augmentation, dataloader_num_workers=1))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"augmentation {augmentation}: GaussNoise, RandomCrop" in printed
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"]["augmentation"] == {"file": "noisy.json", "transforms": STEPS}
    assert "augmented by noisy.json (GaussNoise, RandomCrop)" in recipe_table(record)
    assert "anna" not in (tmp_path / "run" / "README.md").read_text()


def test_only_training_captures_are_augmented(tmp_path):
    plain = small_run(tmp_path / "a", sets={"near": captures(5, 1)})
    noisy = small_run(
        tmp_path / "b", sets={"near": captures(5, 1)}, trainer_options={"augmentation": Augmentation(STEPS, 32)}
    )
    for index in range(5):
        views = [trainer.eval_dataset["near"][index]["pixel_values"] for trainer in (plain, noisy)]
        np.testing.assert_array_equal(*views)
    differences = [
        np.diff(trainer.train_dataset[index]["pixel_values"].astype(int), axis=1).std()
        for trainer in (plain, noisy)
        for index in range(5)
    ]
    assert min(differences[5:]) > max(differences[:5]), "noise makes neighbouring pixels differ"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"transform": "GaussNoise", "std": 0.1}], "GaussNoise: unknown key 'std'; it takes std_range"),
        ([{"transform": "Resize", "height": 24, "width": 24}], "ends in 24x24 pixels, but patch_size is 32"),
    ],
)
def test_an_augmentation_that_does_not_fit_ends_the_run_before_it_writes_anything(
    tmp_path, augmentation, steps, message
):
    augmentation.write_text(json.dumps(steps))
    with pytest.raises(InputError, match=message):
        train(*arguments_of(tmp_path, augmentation))
    assert not (tmp_path / "run").exists()
