"""The same model in PyTorch, from the Hub's cache and as ONNX graphs of all shapes gives the same scores."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.inference.onnx_scorer import OnnxScorer
from patchnet_hf.inference.scorer import file_sha256
from patchnet_hf.inference.scorers import TorchScorer, load_scorer

PATCH, GRID = 32, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A calibrated model of three patch types."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_convnext",
        patch_types=["phone/live", "phone/print", "phone/replay"],
        live_patch_types=["phone/live"],
        calibration={"scale": 0.5, "bias": -1.0},
        image_size=PATCH,
    )
    PatchNetForImageClassification(config).save_pretrained(folder)
    PatchNetImageProcessor(patch_size=PATCH, grid=GRID).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def views():
    return np.random.default_rng(0).integers(0, 256, (3, GRID * GRID, PATCH, PATCH, 3), dtype=np.uint8)


class Graph(torch.nn.Module):
    """What an export keeps: the two-class logits, and the patch types' if asked to."""

    def __init__(self, model, with_types: bool):
        super().__init__()
        self.model, self.with_types = model, with_types

    def forward(self, pixel_values):
        output = self.model(pixel_values)
        return (output.logits, output.patch_type_logits) if self.with_types else output.logits


def export(folder, target, shape, dynamic, with_types=False):
    pytest.importorskip("onnxscript")
    target.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(folder / name, target)
    model = Graph(PatchNetForImageClassification.from_pretrained(folder).eval(), with_types)
    names = ["logits", "patch_type_logits"][: 1 + with_types]
    axes = {"pixel_values": {axis: f"axis_{axis}" for axis in dynamic}} if dynamic else None
    torch.onnx.export(model, (torch.zeros(shape),), str(target / "model.onnx"), input_names=["pixel_values"],
                      output_names=names, dynamic_axes=axes, dynamo=False)  # fmt: skip
    return target


def test_scores_are_the_models_own(folder, views):
    scorer = load_scorer(str(folder), device="cpu")
    assert isinstance(scorer, TorchScorer)
    scored = scorer.score(views)
    model = PatchNetForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(scorer.processor.normalize_views(views)).logits.double().numpy()
        alone = model(scorer.processor.normalize_views(views.reshape(-1, PATCH, PATCH, 3))).logits.double().numpy()
    np.testing.assert_allclose(scored.log_odds, logits[:, 1] - logits[:, 0], atol=1e-5)
    np.testing.assert_allclose(scored.patch_log_odds, (alone[:, 1] - alone[:, 0]).reshape(3, -1), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(scored.embeddings, axis=-1), 1, atol=1e-5)
    assert scorer.description()["weights_sha256"] == file_sha256(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("shape", "dynamic"),
    [
        ((1, 3, PATCH, PATCH), [0]),
        ((2, 3, PATCH, PATCH), []),
        ((2, 4, 3, PATCH, PATCH), [0, 1]),
        ((2, 1, 3, PATCH, PATCH), [0]),
    ],
)
def test_a_graph_of_single_patches_gives_the_same_scores(folder, views, tmp_path, shape, dynamic):
    scorer = load_scorer(str(export(folder, tmp_path / "graph", shape, dynamic)))
    assert isinstance(scorer, OnnxScorer)
    expected = load_scorer(str(folder), device="cpu").score(views)
    scored = scorer.score(views)
    np.testing.assert_allclose(scored.log_odds, expected.log_odds, atol=1e-4)
    np.testing.assert_allclose(scored.patch_log_odds, expected.patch_log_odds, atol=1e-4)
    assert scorer.score(views[:0]).patch_log_odds.shape == (0, 4)
    assert scorer.description()["weights_sha256"] == file_sha256(tmp_path / "graph" / "model.onnx")


@pytest.mark.parametrize("with_types", [False, True])
def test_a_graph_of_whole_captures_averages_itself(folder, views, tmp_path, with_types):
    graph = export(folder, tmp_path / "graph", (2, 4, 3, PATCH, PATCH), [0], with_types)
    expected = load_scorer(str(folder), device="cpu").score(views)
    scored = load_scorer(str(graph / "model.onnx")).score(views)
    np.testing.assert_allclose(scored.log_odds, expected.log_odds, atol=1e-4)
    if with_types:
        np.testing.assert_allclose(scored.patch_log_odds, expected.patch_log_odds, atol=1e-4)
    else:
        assert np.isnan(scored.patch_log_odds).all()


def test_views_of_another_size_than_the_graphs_are_one_line(folder, tmp_path):
    scorer = load_scorer(str(export(folder, tmp_path / "graph", (1, 3, PATCH, PATCH), [0])))
    with pytest.raises(InputError, match="can't score views of shape") as error:
        scorer.score(np.zeros((1, 4, PATCH + 8, PATCH, 3), dtype=np.uint8))
    assert "\n" not in str(error.value)


def test_what_is_no_graph_is_one_line(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    shutil.copytree(folder, tmp_path / "graph")
    (tmp_path / "graph" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="can't be loaded as an ONNX graph") as error:
        load_scorer(str(tmp_path / "graph" / "model.onnx"))
    assert "\n" not in str(error.value)


def test_a_graph_without_its_settings_is_one_line_that_names_them(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    graph = export(folder, tmp_path / "graph", (1, 3, PATCH, PATCH), [0])
    (graph / "preprocessor_config.json").unlink()
    for model in (graph, graph / "model.onnx"):
        with pytest.raises(InputError, match=r"has no config\.json and preprocessor_config\.json beside it") as error:
            load_scorer(str(model))
        assert "\n" not in str(error.value)


def test_the_hash_of_a_graph_is_of_its_weights_too_where_they_are_in_a_file_beside_it(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    export(folder, tmp_path / "graph", (1, 3, PATCH, PATCH), [0])
    scorer = load_scorer(str(tmp_path / "graph"))
    hashes = [scorer.description()["weights_sha256"]]
    for name in ("model.onnx.data", "model.onnx_data"):
        (tmp_path / "graph" / name).write_bytes(b"weights")
        hashes.append(scorer.description()["weights_sha256"])
    (tmp_path / "graph" / name).write_bytes(b"others")
    assert len({*hashes, scorer.description()["weights_sha256"]}) == 4


@pytest.mark.parametrize("model", ["outputs/nowhere", "../outputs/nowhere", "nowhere.onnx"])
def test_what_is_nowhere_is_one_line(model):
    with pytest.raises(InputError) as error:
        load_scorer(model)
    assert model in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_loading_says_nothing_but_its_error_and_leaves_transformers_as_it_was(folder, tmp_path):
    """As a process: transformers writes to the stderr that was there when it was imported."""
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    code = (
        "import sys\n"
        "from transformers.utils import logging\n"
        "from patchnet_hf.errors import InputError\n"
        "from patchnet_hf.inference.scorers import load_scorer\n"
        "before = logging.get_verbosity()\n"
        "load_scorer(sys.argv[1], device='cpu')\n"
        "try:\n"
        "    load_scorer(sys.argv[2], device='cpu')\n"
        "except InputError as error:\n"
        "    print(error)\n"
        "print(logging.get_verbosity() == before, logging.is_progress_bar_enabled())\n"
    )
    arguments = [sys.executable, "-c", code, folder, broken]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    error, state = done.stdout.splitlines()
    assert "don't fit the model: missing keys classifier.weight" in error and state == "True True"


@pytest.mark.slow
def test_a_model_of_the_hub_is_loaded_by_its_id_and_revision(folder, tmp_path):
    commits = {"main": "1" * 40, "v1": "2" * 40}
    cached = tmp_path / "models--someone--patchnet"
    for reference, commit in commits.items():
        shutil.copytree(folder, cached / "snapshots" / commit)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / reference).write_text(commit)
    config = cached / "snapshots" / commits["v1"] / "config.json"
    config.write_text(config.read_text().replace('"decision_threshold": 0.5', '"decision_threshold": 0.7'))
    code = (
        "from patchnet_hf.inference.scorers import load_scorer\n"
        "for revision in (None, 'v1'):\n"
        "    scorer = load_scorer('someone/patchnet', revision, 'cpu')\n"
        "    print(scorer.config.decision_threshold, scorer.description()['weights_sha256'])\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sha = file_sha256(folder / "model.safetensors")
    assert done.stdout.split() == ["0.5", sha, "0.7", sha]
