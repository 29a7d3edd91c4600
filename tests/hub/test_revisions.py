"""A branch, tag or commit that is asked for is what is loaded: weights, settings and image processor alike."""

import json

import pytest

from patchnet_hf import PatchNetImageProcessor

REPO = "someone/patchnet"
# What a revision is, by each way to load it.
LOAD = """
import json, sys
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, pipeline
from patchnet_hf.inference.scorers import load_model, load_scorer
from patchnet_hf.training.initialization import read_weights
repo, *revisions = sys.argv[1:]

def of(state):
    return float(state["classifier.weight"].double().sum())

told = {}
for revision in revisions:
    where = {} if revision == "none" else {"revision": revision}
    model, processor = load_model(repo, **where)
    scorer = load_scorer(repo, **where)
    classify = pipeline("image-classification", model=repo, device="cpu", **where)
    told[revision] = {
        "weights": [
            of(AutoModelForImageClassification.from_pretrained(repo, **where).state_dict()),
            of(model.state_dict()), of(scorer.model.state_dict()), of(classify.model.state_dict()),
            of(read_weights(repo, **where)[0]), of(load_file(scorer.weights)),
        ],
        "thresholds": [
            AutoConfig.from_pretrained(repo, **where).decision_threshold, model.config.decision_threshold,
            scorer.config.decision_threshold, classify.model.config.decision_threshold,
        ],
        "grids": [
            AutoImageProcessor.from_pretrained(repo, **where).grid, processor.grid, scorer.processor.grid,
            classify.image_processor.grid,
        ],
    }
print(json.dumps(told))
"""


@pytest.fixture
def revisions(hub, new_model, tmp_path) -> dict[str, dict]:
    """Two models in one repository: by branch, commit or `"none"`, what is to be found there."""
    expected = {}
    for seed, (branch, grid, threshold) in enumerate([("v1", 3, 0.25), ("main", 2, 0.75)]):
        folder = tmp_path / f"of_{branch}"
        model = new_model(seed, decision_threshold=threshold)
        model.save_pretrained(folder)
        PatchNetImageProcessor(patch_size=32, grid=grid).save_pretrained(folder)
        commit = hub.put(REPO, {path.name: path.read_bytes() for path in folder.iterdir()}, branch)
        total = float(model.state_dict()["classifier.weight"].double().sum())
        values = {"weights": {total}, "thresholds": {threshold}, "grids": {grid}}
        expected |= {"v1": values, commit.sha: values} if branch == "v1" else {"none": values}
    return expected


@pytest.mark.slow
def test_every_way_to_load_a_model_honours_the_revision(revisions, python):
    told = json.loads(python(LOAD, REPO, *revisions).splitlines()[-1])
    assert {name: {key: set(values) for key, values in of.items()} for name, of in told.items()} == revisions


@pytest.mark.slow
def test_scripts_honour_the_revision(revisions, run, picture, captures_folder, tmp_path):
    predict = ["predict.py", "--model", REPO, picture, "--json"]
    train = ["train.py", "--dataset", captures_folder, "--output_dir", tmp_path / "out", "--init_from", REPO]
    wrong = "hf_" + "wrong" * 7
    v1, main, unknown, stranger, unknown_start = run(
        [*predict, tmp_path / "v1.json", "--revision", "v1"],
        [*predict, tmp_path / "main.json"],
        [*predict, tmp_path / "no.json", "--revision", "v2"],
        ([*predict, tmp_path / "no.json"], {"HF_TOKEN": wrong}),
        [*train, "--backbone", "test_convnext", "--patch_size", 32, "--use_cpu", "true", "--init_revision", "v2"],
    )
    assert v1.code == main.code == 0, v1.err + main.err
    assert {name: patches(tmp_path / f"{name}.json") for name in ("v1", "main")} == {"v1": 9, "main": 4}
    assert "401" in stranger.refusal and "hf auth login" in stranger.refusal and wrong not in stranger.err
    assert "v2 is not a valid" in unknown.refusal and "v2 is not a valid" in unknown_start.refusal


def patches(path) -> int:
    """How many patches of an image a file of scripts/predict.py tells of."""
    (image,) = json.loads(path.read_text())
    return len(image["patch_live_probabilities"])
