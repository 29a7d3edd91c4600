"""scripts/export_onnx.py as its users call it, and what can be done with what it leaves."""

import copy
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import expit

from patchnet_hf.data.loading import load_split
from patchnet_hf.evaluation.scoring import score_dataset
from patchnet_hf.export import job
from patchnet_hf.inference.scorers import load_scorer

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CODE = ["configuration_patchnet.py", "image_processing_patchnet.py"]
FILES = sorted(["config.json", "export.json", "model.onnx", "preprocessor_config.json", *CODE])


@pytest.fixture
def call(project, monkeypatch, capsys):
    """Runs a script of the project in this process; its exit code, and what it printed and complained of."""

    def call(script: str, *options) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(project / "scripts" / script), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def call_apart(project):
    """The same in a process of its own, as its users do."""

    def call_apart(script: str, *options) -> tuple[int, str, str]:
        command = [sys.executable, f"scripts/{script}", *map(str, options)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return call_apart


@pytest.fixture
def export(call, call_apart, learned_folder, tmp_path):
    """Exports the learned model by the script; its folder, the record and what was printed."""

    def export(*options, apart=False) -> tuple[Path, dict, str]:
        folder = tmp_path / "out"
        run = call_apart if apart else call
        code, printed, complaints = run("export_onnx.py", "--model", learned_folder, "--output", folder, *options)
        assert code == 0 and not (apart and complaints), complaints
        assert sorted(path.name for path in folder.iterdir()) == FILES
        return folder, json.loads((folder / "export.json").read_text()), printed

    return export


@pytest.fixture(scope="module")
def faces(textures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    for kind in textures.KINDS:
        Image.fromarray(textures.texture(kind, np.random.default_rng(9))).save(folder / f"{kind}.png")
    return folder


PRODUCTS = {
    "float": ([], 1e-4),
    "static": (["--input", "uint8", "--static-batch", 4, "--patches", 9, "--scores", "probability"], 1e-4),
    "single": (["--patches", "single"], 1e-4),
    "half": (["--fp16", "--self-contained"], 0.02),
    "int8": (["--quantize", "int8", "--self-contained", "--dataset", "{}:test", "--calibrate-on", "{}:dev"], 0.2),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_product_predicts_and_is_evaluated_as_the_model(
    call, export, learned, captures, faces, tmp_path, product
):
    options, tolerance = PRODUCTS[product]
    folder, _, printed = export(*(str(option).format(captures) for option in options), apart=product == "single")
    assert f"next: python scripts/predict.py --model {folder}" in printed
    code, _, complaints = call("predict.py", "--model", folder, faces, "--json", tmp_path / "scores.json")
    assert code == 0, complaints
    entries = json.loads((tmp_path / "scores.json").read_text())
    views = [learned.processor.views(np.asarray(Image.open(entry["file"]))) for entry in entries]
    expected = expit(learned.scorer().score(np.stack(views)).log_odds)
    assert [entry["live_probability"] for entry in entries] == pytest.approx(expected, abs=tolerance)
    options = ["--output", tmp_path / "evaluation", "--resamples", 10, "--thumbnails", 0]
    code, _, complaints = call("evaluate.py", "--model", folder, "--dataset", f"{captures}:test", *options)
    assert code == 0, complaints
    scores = pd.read_csv(tmp_path / "evaluation" / "scores.csv")["live_log_odds"].to_numpy()
    expected = score_dataset(learned.scorer(), load_split(f"{captures}:test")[1], "test").scores
    assert np.abs(expit(scores) - expit(expected)).max() < tolerance


def test_scores_are_rescaled_to_the_models_own_of_the_dataset(export, learned, captures):
    folder, record, _ = export("--scores", "linear", "--dataset", f"{captures}:dev")
    graph = load_scorer(str(folder))
    expected = score_dataset(learned.scorer(), load_split(f"{captures}:dev")[1], "dev").scores
    assert graph.output.reach == pytest.approx(np.percentile(np.abs(expected), 95), rel=1e-4)
    assert np.mean(np.abs(expected) <= graph.output.reach) == pytest.approx(0.95, abs=0.02)
    assert record["metadata"]["output"] == "linear"
    assert record["comparison"]["verdicts_changed"] == 0


def test_the_record_says_what_was_made_and_how_it_compares(export, learned, captures):
    options = ["--quantize", "int8", "--dataset", f"{captures}:test", "--captures", 40, "--self-contained"]
    folder, record, printed = export(*options)
    assert record["graph"]["precision"] == record["metadata"]["precision"] == "int8"
    assert record["graph"]["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert list(record["graph"]["inputs"]) == ["image"]
    calibrated = record["calibrated_on"]
    assert calibrated["captures"] == 40 and sum(calibrated["attack_types"].values()) == 40
    comparison = record["comparison"]
    assert comparison["captures"] == 120 and comparison["left_out"] == 40
    assert comparison["threshold"] == learned.network.config.decision_threshold == 0.45
    assert comparison["acer_increase_points"] <= 2
    assert comparison["probability"]["largest"] > 1e-4
    assert list(comparison["latency_ms"]) == list(comparison["size_bytes"])
    assert list(comparison["size_bytes"]) == ["PyTorch", "float32 graph", "int8 graph"]
    assert comparison["size_bytes"]["int8 graph"] < comparison["size_bytes"]["float32 graph"]
    for shown in ("ACER %", "int8 graph", "verdicts changed", "calibrated on 40 captures"):
        assert shown in printed


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("tensor", "value", "message"),
    [
        # What a range that was measured wrongly does: all activations round to the same.
        ("_scale", 1e-30, "the int8 graph is broken: it gives all 16 captures the same score"),
        ("head", np.nan, "the int8 graph is broken: 16 of 16 scores aren't numbers"),
    ],
)
def test_a_broken_graph_is_not_left_there(
    call, learned_folder, captures, tmp_path, monkeypatch, tensor, value, message
):
    quantize = job.quantize_graph

    def broken(source, target, metadata, feeds):
        quantize(source, target, metadata, feeds)
        graph = onnx.load(target)
        if tensor == "head":
            weights = next(entry for entry in graph.graph.initializer if list(entry.dims) in ([96, 3], [3, 96]))
        else:
            weights = next(entry for entry in graph.graph.initializer if entry.name.endswith(tensor))
        wrong = np.full_like(onnx.numpy_helper.to_array(weights), value)
        weights.CopyFrom(onnx.numpy_helper.from_array(wrong, weights.name))
        onnx.save(graph, target)

    monkeypatch.setattr(job, "quantize_graph", broken)
    options = ["--quantize", "int8", "--dataset", f"{captures}:test"]
    code, _, complaints = call("export_onnx.py", "--model", learned_folder, "--output", tmp_path / "out", *options)
    assert code == 2 and complaints.count("\n") == 1
    assert message in complaints
    assert not list(tmp_path.iterdir()), "neither the folder nor a part of it"


def test_what_errs_more_than_allowed_is_refused(call, learned_folder, captures, tmp_path):
    """Ranges measured on faint captures clip what other captures show."""
    output = ["--model", learned_folder, "--output", tmp_path / "out", "--dataset", f"{captures}:test"]
    options = ["--quantize", "int8", "--calibrate-on", f"{captures}:faint"]
    code, printed, complaints = call("export_onnx.py", *output, *options)
    assert code == 2, printed
    assert "the int8 graph is refused: on 160 captures of test its ACER is" in complaints
    assert not list(tmp_path.iterdir())


def test_a_graph_that_torch_writes_wrongly_is_refused(call, learned_folder, tmp_path, monkeypatch):
    exported = job.export_graph

    def wrong(model, *rest):
        model = type(model).from_pretrained(learned_folder)
        with torch.no_grad():
            model.classifier.weight[0] += 0.01
        return exported(model, *rest)

    monkeypatch.setattr(job, "export_graph", wrong)
    code, _, complaints = call("export_onnx.py", "--model", learned_folder, "--output", tmp_path / "out")
    assert code == 2 and "torch doesn't export test_resnet faithfully" in complaints
    assert not list(tmp_path.iterdir())


def test_an_activation_that_half_precision_does_not_hold_is_refused(call, learned, tmp_path):
    """Convolutions give thousands of times as much, and their norms divide by as much: ONNX Runtime hides it here."""
    network = copy.deepcopy(learned.network)
    layers = list(network.patchnet.backbone.modules())
    convolution = next(layer for layer in layers if isinstance(layer, torch.nn.Conv2d))
    norm = next(layer for layer in layers if isinstance(layer, torch.nn.BatchNorm2d))
    times = 6e4 / max(convolution.weight.abs().max(), norm.running_mean.abs().max()).item()
    with torch.no_grad():
        for tensor, factor in [(convolution.weight, times), (norm.running_mean, times), (norm.weight, 1 / times)]:
            tensor *= factor
    folder = type(learned)(network, learned.processor).save(tmp_path / "large")
    code, _, complaints = call("export_onnx.py", "--model", folder, "--output", tmp_path / "out", "--fp16")
    last = complaints.splitlines()[-1]  # transformers 5 shows a bar when the test saves its model
    assert code == 2 and re.search(r"error: the float16 graph is broken: \d of 8 scores aren't numbers", last)
    assert "Traceback" not in complaints and not (tmp_path / "out").exists()


def test_an_export_is_replaced_only_when_asked_to_and_nothing_else_ever_is(call, export, learned_folder, tmp_path):
    folder, *_ = export("--patches", 9)
    again = ["--model", learned_folder, "--output", folder, "--patches", "single"]
    code, _, complaints = call("export_onnx.py", *again)
    assert code == 2 and "replace it by --overwrite" in complaints
    assert call("export_onnx.py", *again, "--overwrite")[0] == 0
    assert len(load_scorer(str(folder)).interface()["inputs"]["pixel_values"]["shape"]) == 4
    (folder / "notes.txt").write_text("mine")
    code, _, complaints = call("export_onnx.py", *again, "--overwrite")
    assert code == 2 and "notes.txt, which overwriting would delete" in complaints
    code, _, complaints = call("export_onnx.py", "--model", learned_folder, "--output", learned_folder, "--overwrite")
    assert code == 2 and "holds no export" in complaints


MISTAKES = [
    (["--model", "{}/nowhere"], "nowhere doesn't exist"),
    (["--model", "{}/graph.onnx"], "is an exported graph already"),
    (["--scores", "linear"], "name them by --dataset DIR[:SPLIT]"),
    (["--scores", "odds"], "invalid choice: 'odds'"),
    (["--quantize", "int8"], "needs captures"),
    (["--quantize", "int8", "--fp16", "--dataset", "x"], "are two precisions; choose one"),
    (["--self-contained", "--static-batch", "1"], "leave --input, --patches and --static-batch out"),
    (["--patches", "4"], "image processor makes 9 of a capture"),
    (["--patches", "many"], "argument --patches"),
    (["--static-batch", "0"], "the static batch is 0"),
    (["--opset", "12"], "opset is 12; expected at least 18"),
    (["--opset", "99"], "can't be written as those of opset 99"),
    (["--captures", "10"], "are for --quantize int8"),
    (["--dataset", "{}/nowhere"], "nowhere doesn't exist"),
    (["--max-acer-increase", "-1"], "max ACER increase is -1"),
    (["--quantise", "int8"], "did you mean --quantize"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[" ".join(options) for options, _ in MISTAKES])
def test_a_mistake_is_one_line(call, learned_folder, tmp_path, options, message):
    options = [option.format(tmp_path) for option in options]
    model = [] if "--model" in options else ["--model", learned_folder]
    code, _, complaints = call("export_onnx.py", *model, "--output", tmp_path / "out", *options)
    assert code == 2
    assert message in complaints and complaints.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_of_the_hub_is_exported_at_the_revision_that_was_asked_for(call, learned, tmp_path, monkeypatch):
    """As the Hub's cache holds it: two branches, of which one has another threshold."""
    cached = tmp_path / "models--someone--patchnet"
    (cached / "refs").mkdir(parents=True)
    for number, (branch, threshold) in enumerate([("main", 0.5), ("strict", 0.9)], start=1):
        commit = str(number) * 40
        (cached / "refs" / branch).write_text(commit)
        folder = learned.save(cached / "snapshots" / commit)
        config = json.loads((folder / "config.json").read_text()) | {"decision_threshold": threshold}
        (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path), raising=False)
    options = ["--model", "someone/patchnet", "--revision", "strict", "--output", tmp_path / "out"]
    code, _, complaints = call("export_onnx.py", *options)
    assert code == 0, complaints
    assert load_scorer(str(tmp_path / "out")).config.decision_threshold == 0.9
