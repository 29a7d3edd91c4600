"""Weights come from safetensors alone: a pickle that would run code runs none, wherever it lies."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification, pipeline

from patchnet_hf import PatchNetForImageClassification, PatchNetModel
from patchnet_hf.errors import InputError
from patchnet_hf.inference.scorers import load_model, load_scorer
from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.checkpoints import OPTIMIZER_FILE, check_no_pickles
from patchnet_hf.training.initialization import read_weights

PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json"]
LOADERS = {
    "from_pretrained": PatchNetForImageClassification.from_pretrained,
    "embeddings": PatchNetModel.from_pretrained,
    "auto class": AutoModelForImageClassification.from_pretrained,
    "its own code": lambda folder: AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True),
    "pipeline": lambda folder: pipeline("image-classification", model=folder),
    "asked for": lambda folder: PatchNetForImageClassification.from_pretrained(folder, use_safetensors=None),
    "scorer": load_scorer,
    "model of scripts": load_model,
    "init_from": read_weights,
    "resumed run": check_no_pickles,
}


class Trap:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def sprung(tmp_path) -> Path:
    """The folder that a trap makes."""
    return tmp_path / "sprung"


@pytest.fixture
def trapped(saved_model, sprung, tmp_path) -> Callable[[str], Path]:
    """A model's folder with traps under a file's name instead of its weights."""

    def trapped(name: str) -> Path:
        folder = shutil.copytree(saved_model, tmp_path / "model")
        (folder / "model.safetensors").unlink()
        torch.save({"classifier.weight": Trap(sprung)}, folder / "pytorch_model.bin")
        if name.endswith(".json"):
            (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00001.bin")
            (folder / name).write_text(
                '{"weight_map": {"classifier.weight": "pytorch_model-00001-of-00001.bin"}, "metadata": {}}'
            )
        return folder

    return trapped


def test_the_trap_of_these_tests_would_spring(trapped, sprung):
    torch.load(trapped(PICKLES[0]) / PICKLES[0], weights_only=False)
    assert sprung.is_dir()


@pytest.mark.parametrize("name", PICKLES)
def test_pickled_weights_are_refused_in_a_line_that_says_what_to_do(trapped, sprung, name):
    folder = trapped(name)
    for how, load in LOADERS.items():
        with pytest.raises((ValueError, InputError)) as caught:
            load(str(folder))
        message = str(caught.value)
        # The pipeline of transformers tells of every class that it has tried.
        assert how == "pipeline" or "\n" not in message, how
        assert f"are a pickle ({name})" in message and "convert it: safetensors.torch.save_file" in message, how
    assert not sprung.exists()


def test_pickles_beside_safetensors_are_left_alone(trapped, saved_model, sprung):
    folder = trapped(PICKLES[0])
    shutil.copy(saved_model / "model.safetensors", folder)
    for how, load in LOADERS.items():
        load(str(folder))
        assert not sprung.exists(), how


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_an_index_of_safetensors_that_names_a_pickle_is_refused(trapped, sprung, variant):
    folder = trapped(PICKLES[0])
    name = "model.safetensors.index.json" if variant is None else f"model.safetensors.index.{variant}.json"
    (folder / name).write_text('{"weight_map": {"classifier.weight": "pytorch_model.bin"}, "metadata": {}}')
    with pytest.raises(ValueError, match=r"are a pickle \(pytorch_model\.bin\)"):
        PatchNetForImageClassification.from_pretrained(folder, variant=variant, weights_only=False)
    assert not sprung.exists()


@pytest.mark.parametrize(("place", "options"), [("sub", {"subfolder": "sub"}), ("", {"variant": "fp16"})])
def test_pickles_of_a_subfolder_or_a_variant_are_refused(trapped, sprung, place, options):
    folder = trapped(PICKLES[0])
    (folder / "sub").mkdir()
    shutil.copy(folder / "config.json", folder / "sub")
    name = "pytorch_model.fp16.bin" if "variant" in options else PICKLES[0]
    (folder / PICKLES[0]).rename(folder / place / name)
    with pytest.raises(ValueError, match=f"are a pickle .{name}."):
        PatchNetForImageClassification.from_pretrained(folder, **options)
    assert not sprung.exists()


def test_a_variant_and_a_subfolder_in_safetensors_load(saved_model, tmp_path):
    folder = shutil.copytree(saved_model, tmp_path / "model" / "sub")
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    found = PatchNetForImageClassification.from_pretrained(folder.parent, subfolder="sub", variant="fp16")
    expected = PatchNetForImageClassification.from_pretrained(saved_model).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


def test_asking_for_pickles_is_refused(trapped, sprung, tmp_path):
    folder = trapped(PICKLES[0])
    with pytest.raises(ValueError, match="use_safetensors=False asks for pickled weights"):
        PatchNetForImageClassification.from_pretrained(folder, use_safetensors=False)
    with pytest.raises(ValueError, match="are a pickle"):
        PatchNetForImageClassification.from_pretrained(folder / PICKLES[0], config=folder / "config.json")
    if hasattr(PatchNetTrainingArguments(output_dir=str(tmp_path)), "save_safetensors"):
        with pytest.raises(InputError, match="never as pickles"):
            PatchNetTrainingArguments(output_dir=str(tmp_path), save_safetensors=False)
    assert not sprung.exists()


def test_a_pickle_that_is_called_safetensors_is_refused(trapped, sprung):
    folder = trapped(PICKLES[0])
    (folder / PICKLES[0]).rename(folder / "model.safetensors")
    with pytest.raises(InputError, match="can't be loaded as a PatchNet model"):
        load_model(str(folder))
    with pytest.raises(InputError, match="can't be loaded"):
        read_weights(str(folder))
    assert not sprung.exists()


def test_what_the_line_says_to_do_works(saved_model, tmp_path, monkeypatch):
    """The conversion is run as it is written; the model then gives the weights it had."""
    folder = shutil.copytree(saved_model, tmp_path / "model")
    weights = PatchNetForImageClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / PICKLES[0])
    with pytest.raises(ValueError) as caught:
        PatchNetForImageClassification.from_pretrained(folder)
    command = str(caught.value).partition("convert it: ")[2]
    monkeypatch.chdir(folder)
    import safetensors.torch

    exec(command, {"torch": torch, "safetensors": safetensors})
    loaded = PatchNetForImageClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in weights.items())


@pytest.mark.parametrize("name", ["optimizer.pt", "optimizer.bin"])
def test_the_state_of_an_optimiser_in_a_pickle_is_refused(saved_model, sprung, tmp_path, name):
    checkpoint = shutil.copytree(saved_model, tmp_path / "checkpoint-3")
    torch.save({"state": Trap(sprung)}, checkpoint / name)
    with pytest.raises(InputError, match=f"optimiser's state in a pickle \\({name}\\).*--init_from"):
        check_no_pickles(checkpoint)
    (checkpoint / OPTIMIZER_FILE).write_bytes(b"")
    check_no_pickles(checkpoint)
    assert not sprung.exists()


@pytest.mark.slow
def test_pickles_of_the_hub_are_refused_before_they_are_downloaded(
    hub, run, trapped, sprung, captures_folder, picture
):
    folder = trapped(PICKLES[0])
    hub.put("someone/trap", {path.name: path.read_bytes() for path in folder.iterdir()})
    train = [
        "train.py",
        "--dataset",
        captures_folder,
        "--output_dir",
        "out",
        "--use_cpu",
        "true",
        "--report_to",
        "none",
    ]
    train += ["--patch_size", 32, "--grid", 1, "--backbone", "test_convnext", "--init_from", "someone/trap"]
    for done in run(["predict.py", "--model", "someone/trap", picture], train):
        assert "the weights in someone/trap are a pickle (pytorch_model.bin)" in done.refusal
    assert not any(request.startswith("GET") and "pytorch_model.bin" in request for request in hub.requests)
    assert not sprung.exists()
