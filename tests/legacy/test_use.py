"""A converted model is a model like any other: scripts score with it, export it and train from it."""

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
from patchnet_hf.export.exporter import export_graph
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.scorers import load_scorer
from patchnet_hf.legacy.conversion import convert_checkpoint
from patchnet_hf.training.initialization import initialize_from


@pytest.fixture(scope="module")
def converted(files_of, tmp_path_factory):
    network, checkpoint, config = files_of("fastvit_t8")
    folder = tmp_path_factory.mktemp("converted") / "model"
    convert_checkpoint(checkpoint, config, folder)
    return network, folder


def test_a_self_contained_graph_gives_the_references_scores(converted, pictures, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network, folder = converted
    scorer = load_scorer(str(folder))
    export_graph(scorer.model, scorer.processor, tmp_path / "graph.onnx", GraphOptions(input="picture"))
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    for picture in pictures:
        spoof, live = session.run(["logits"], {"image": picture})[0].ravel()
        assert live - spoof == pytest.approx(network.live_log_odds(picture), abs=0.02)


def test_another_training_starts_from_its_backbone(converted):
    _, folder = converted
    started = PatchNetForImageClassification(
        PatchNetConfig(backbone="fastvit_t8", embedding_size=12, patch_types=["phone/live", "phone/print"],
                       live_patch_types=["phone/live"], image_size=64)
    )  # fmt: skip
    notes = initialize_from(started, str(folder), strict=False)
    source = PatchNetForImageClassification.from_pretrained(folder)
    for name, tensor in source.patchnet.state_dict().items():
        assert torch.equal(started.patchnet.state_dict()[name], tensor)
    assert started.config.head == "cosine" and all(note.startswith("classifier.weight") for note in notes)
    started.train()(torch.randn(4, 2, 3, 64, 64), labels=torch.tensor([0, 1, 0, 1])).loss.backward()


def run_script(project, name, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(project / "scripts" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_scripts_convert_and_score(project, files_of, pictures, tmp_path):
    network, checkpoint, config = files_of("resnet18")
    given = ("--checkpoint", checkpoint, "--config", config, "--output", tmp_path / "model")
    done = run_script(project, "convert_checkpoint.py", *given)
    assert done.returncode == 0, done.stderr
    assert "every weight of the checkpoint is used" in done.stdout and "dataset.smoothing" in done.stdout
    again = run_script(project, "convert_checkpoint.py", *given)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "--overwrite" in again.stderr
    Image.fromarray(pictures[0]).save(tmp_path / "face.png")
    scored = run_script(project, "predict.py", "--model", tmp_path / "model", tmp_path / "face.png")
    assert scored.returncode == 0, scored.stderr
    word = "live" if network.live_log_odds(pictures[0]) > 0 else "spoof"
    assert word in scored.stdout


def test_a_text_file_is_one_line_of_the_script(project, files_of, tmp_path):
    (tmp_path / "notes.pth").write_text("no weights")
    refused = run_script(
        project, "convert_checkpoint.py", "--checkpoint", tmp_path / "notes.pth", "--config",
        files_of("resnet18").config, "--output", tmp_path / "model",
    )  # fmt: skip
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "Traceback" not in refused.stderr
