"""Trainings that start from a pretrained backbone."""

import os
import pickle

import datasets
import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers.hf_argparser import string_to_bool

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.network import build_model
from patchnet_hf.training.pretrained import load_pretrained_backbone
from patchnet_hf.training.run import train

from .test_trainer import PATCH_TYPES, arguments_of, captures

SMALL = "test_convnext"


def network(backbone: str, side: int = 32, **options) -> PatchNetForImageClassification:
    arguments = ModelArguments(backbone=backbone, backbone_kwargs=options)
    return build_model(arguments, side, PATCH_TYPES, ["phone/live"])


def weights_of(backbone: str, **options) -> dict[str, torch.Tensor]:
    """Of a model with a classifier, each weight another than a new model's."""
    state = timm.create_model(backbone, **options).state_dict()
    return {name: value + 0.25 if value.is_floating_point() else value for name, value in state.items()}


@pytest.fixture
def dataset_folder(tmp_path):
    folder = tmp_path / "data"
    datasets.DatasetDict({"train": captures(24, 0), "val": captures(9, 1)}).save_to_disk(folder)
    return folder


@pytest.fixture
def file(tmp_path):
    """A file of the small backbone's weights, as a training of timm saves them."""
    path = tmp_path / "pretrained.pth"
    torch.save({"state_dict": weights_of(SMALL), "epoch": 7, "arch": SMALL}, path)
    return path


def parse(*argv) -> ModelArguments:
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog="train.py")
    return parser.parse_run([str(argument) for argument in argv])[0]


@pytest.mark.parametrize(
    ("written", "given", "expected"),
    [
        (None, [], False),
        ("true", [], True),
        ("false", [], False),
        ("weights/mine.pth", [], "weights/mine.pth"),
        ("true", ["--pretrained_backbone", "other.safetensors"], "other.safetensors"),
        ("weights/mine.pth", ["--pretrained_backbone", "false"], False),
        (None, ["--pretrained_backbone", "True"], True),
        (None, ["--pretrained_backbone"], True),
        (None, ["--pretrained_backbone", "--dropout", "0.1"], True),
    ],
)
def test_it_is_true_false_or_a_file(tmp_path, written, given, expected):
    config = tmp_path / "run.yaml"
    config.write_text("backbone: resnet18\n" + (f"pretrained_backbone: {written}\n" if written else ""))
    assert parse("--config", config, *given).pretrained_backbone == expected


WORDS = ["yes", "true", "t", "y", "1", "no", "false", "f", "n", "0", "True", "NO"]


@pytest.mark.parametrize(
    ("word", "is_on"),
    [
        *((word, string_to_bool(word)) for word in WORDS),
        ("on", True),
        ("off", False),
        ("none", False),
        ("null", False),
    ],
)
def test_it_is_switched_by_the_words_of_any_other_option(word, is_on):
    assert parse("--pretrained_backbone", word).pretrained_backbone is is_on


@pytest.mark.parametrize(("written", "expected"), [("1", True), ("0", False), ("on", True), ("null", False)])
def test_yaml_switches_it_likewise(tmp_path, written, expected):
    (tmp_path / "run.yaml").write_text(f"pretrained_backbone: {written}\n")
    assert parse("--config", tmp_path / "run.yaml").pretrained_backbone is expected


@pytest.mark.parametrize("written", ["[a]", "{a: b}", "[]"])
def test_what_is_no_file_is_one_line(tmp_path, written):
    (tmp_path / "run.yaml").write_text(f"pretrained_backbone: {written}\n")
    with pytest.raises(InputError, match=r"^pretrained_backbone is .*; expected true, false, or a file of weights$"):
        parse("--config", tmp_path / "run.yaml")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_fills_the_backbone_alone(tmp_path, suffix):
    weights, path = weights_of("resnet18"), tmp_path / f"weights.{suffix}"
    (torch.save if suffix == "pth" else save_file)(weights, path)
    model = network("resnet18")
    head = model.classifier.weight.clone()
    match = load_pretrained_backbone(model, str(path))
    assert str(match) == "100 of 100 weights matched"
    assert all(torch.equal(value, weights[name]) for name, value in model.patchnet.backbone.state_dict().items())
    assert torch.equal(model.classifier.weight, head)


@pytest.mark.parametrize(
    ("backbone", "side", "options"),
    [("test_resnet", 32, {}), ("test_vit", 64, {"img_size": 64}), ("efficientformerv2_s0", 96, {"img_size": 96})],
)
def test_timms_own_weights_are_taken_at_other_sizes_of_patches_too(tmp_path, backbone, side, options):
    # Where timm would download a file, it is told of one.
    weights, path = weights_of(backbone), tmp_path / "timm.safetensors"
    save_file(weights, path)
    model = network(backbone, side, **options, pretrained_cfg_overlay={"file": str(path)})
    match = load_pretrained_backbone(model, True)
    assert match.matched == match.wanted
    taken = [
        name for name, value in model.patchnet.backbone.state_dict().items() if value.shape == weights[name].shape
    ]
    assert all(torch.equal(model.patchnet.backbone.state_dict()[name], weights[name]) for name in taken)
    assert len(taken) > 0.9 * match.wanted


def test_an_architecture_that_timm_has_no_weights_of_is_one_line():
    with pytest.raises(InputError, match="no pretrained weights for backbone 'test_vit4': timm has none; name a file"):
        load_pretrained_backbone(network("test_vit4", 64, img_size=64), True)


@pytest.mark.slow
def test_a_training_says_what_matched_and_starts_there(tmp_path, dataset_folder, file, capsys):
    options = {"learning_rate": 0.0, "weight_decay": 0.0, "eval_strategy": "no", "save_strategy": "no"}
    options["load_best_model_at_end"] = False
    train(
        *arguments_of(tmp_path, dataset_folder, model={"backbone": SMALL, "pretrained_backbone": str(file)}, **options)
    )
    wanted = len(timm.create_model(SMALL, num_classes=0).state_dict())
    panel = " ".join(capsys.readouterr().out.split())
    assert f"pretrained_backbone {file}: {wanted} of {wanted} weights matched" in panel
    weights = weights_of_file(file)
    saved = PatchNetForImageClassification.from_pretrained(tmp_path / "out").patchnet.backbone.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in saved.items())
    record = (tmp_path / "out" / "run.json").read_text()
    assert "backbone_file" in record and str(file) not in record and file.name not in record
    assert "a pretrained backbone, from a file" in (tmp_path / "out" / "README.md").read_text()


def weights_of_file(file) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


class Runs:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_that_cannot_be_used_stops_the_training_before_anything_is_written(tmp_path, dataset_folder):
    torch.save(weights_of("test_resnet"), tmp_path / "other.pth")
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"state_dict": Runs(tmp_path / "was_run")}, protocol=2))
    for name, message in (
        ("nowhere.pth", "doesn't exist"),
        ("trap.pth", "holds more than weights"),
        ("other.pth", "weights of the backbone are there"),
    ):
        model = {"backbone": SMALL, "pretrained_backbone": str(tmp_path / name)}
        with pytest.raises(InputError, match=message) as error:
            train(*arguments_of(tmp_path, dataset_folder, model=model))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "was_run").exists() and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_that_goes_on_needs_the_file_no_more(tmp_path, dataset_folder, file):
    model = {"backbone": SMALL, "pretrained_backbone": str(file)}
    train(*arguments_of(tmp_path, dataset_folder, model=model, num_train_epochs=2, max_steps=3))
    file.unlink()
    resumed = arguments_of(
        tmp_path, dataset_folder, model=model, num_train_epochs=2, max_steps=6, resume_from_checkpoint="true"
    )
    train(*resumed)
    assert (tmp_path / "out" / "checkpoint-6").exists()
