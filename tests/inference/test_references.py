"""References: what is stored, and the score by similarity to them recomputed pair by pair."""

import dataclasses
import hashlib
import io
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.inference.onnx_scorer import OnnxScorer
from patchnet_hf.inference.references import (
    METADATA_KEY,
    KnownCapture,
    References,
    ReferenceScorer,
    enroll,
    load_references,
    mutual_similarity,
    read_captures,
    similarity,
    with_references,
)
from patchnet_hf.inference.scorer import file_sha256
from patchnet_hf.inference.scorers import TorchScorer, load_scorer
from patchnet_hf.metrics import PlattCalibration

PATCH, GRID = 32, 2
CALIBRATION = {"scale": 0.5, "bias": -1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_convnext",
        patch_types=["phone/live", "phone/print", "phone/replay"],
        live_patch_types=["phone/live"],
        image_size=PATCH,
        scale=16.0,
        calibration=CALIBRATION,
    )
    PatchNetForImageClassification(config).save_pretrained(folder)
    PatchNetImageProcessor(patch_size=PATCH, grid=GRID).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(folder):
    return load_scorer(str(folder), device="cpu")


def views(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.integers(0, 120, (count, GRID * GRID, PATCH, PATCH, 3))
    return (noise + random.integers(0, 130, (count, 1, 1, 1, 3))).astype(np.uint8)


def known(labels: list[int], seed: int = 1) -> list[KnownCapture]:
    captures = []
    for index, (label, patches) in enumerate(zip(labels, views(len(labels), seed), strict=True)):
        stream = io.BytesIO()
        Image.fromarray(np.hstack([np.vstack(patches[:2]), np.vstack(patches[2:])])).save(stream, "png")
        captures.append(KnownCapture(f"{index}.png", stream.getvalue(), label))
    return captures


def enrolled(scorer, live: int, attacks: int, seed: int = 1) -> References:
    return enroll(scorer, known([1] * live + [0] * attacks, seed), "phone")


def expected_terms(scorer, references: References, pixels: np.ndarray) -> np.ndarray:
    """The similarity of each patch, by the projection of least squares and a loop over pairs."""
    weight = scorer.model.classifier.weight.detach().double().numpy()

    def point(embedding):
        coefficients = np.linalg.lstsq(weight.T, embedding.astype(np.float64), rcond=None)[0]
        projection = weight.T @ coefficients
        return projection / np.linalg.norm(projection)

    stored = [[point(patch) for patch in capture] for capture in references.embeddings]
    live = [capture for capture, label in zip(stored, references.labels, strict=True) if label == 1]
    attacks = [capture for capture, label in zip(stored, references.labels, strict=True) if label == 0]

    def mean_product(patch, captures):
        return np.mean([patch @ other for capture in captures for other in capture])

    def mean_of_pairs(captures):
        pairs = [
            one @ other
            for index, first in enumerate(captures)
            for position, second in enumerate(captures)
            if index != position
            for one in first
            for other in second
        ]
        return np.mean(pairs)

    terms = []
    for capture in scorer.score(pixels).embeddings:
        for patch in map(point, capture):
            if attacks:
                nearer = mean_product(patch, live) - mean_product(patch, attacks)
                terms.append(nearer - (mean_of_pairs(live) - mean_of_pairs(attacks)) / 2)
            else:
                terms.append(mean_product(patch, live) - mean_of_pairs(live))
    return np.reshape(terms, pixels.shape[:2])


@pytest.mark.parametrize("attacks", [0, 2])
def test_the_score_is_the_models_plus_the_weighted_similarity(scorer, attacks):
    references = enrolled(scorer, 3, attacks)
    pixels = views(4, seed=2)
    terms = references.weight * 16.0 * expected_terms(scorer, references, pixels)
    alone, scored = scorer.score(pixels), ReferenceScorer(scorer, references).score(pixels)
    # The model's calibration is of its log-odds before anything is added.
    np.testing.assert_allclose(scored.patch_log_odds, alone.patch_log_odds + 0.5 * terms, atol=1e-4)
    np.testing.assert_allclose(scored.log_odds, alone.log_odds + 0.5 * terms.mean(axis=1), atol=1e-4)
    np.testing.assert_array_equal(scored.embeddings, alone.embeddings)
    assert np.abs(terms).max() > 0.01


def test_a_calibration_of_the_references_takes_the_models_place(scorer):
    references = enrolled(scorer, 3, 0)
    pixels = views(4, seed=2)
    own = ReferenceScorer(scorer, references)
    raw = (own.score(pixels).log_odds + 1.0) / 0.5
    developed = dataclasses.replace(references, calibration=PlattCalibration(2.0, 0.25), decision_threshold=0.7)
    scorer_with = ReferenceScorer(scorer, developed)
    np.testing.assert_allclose(scorer_with.score(pixels).log_odds, 2.0 * raw + 0.25, atol=1e-4)
    assert scorer_with.config.decision_threshold == 0.7 and scorer_with.config.calibration["scale"] == 2.0
    assert scorer.config.decision_threshold == 0.5 and scorer.config.calibration == CALIBRATION
    assert own.config.decision_threshold == 0.5
    assert (own.threshold_origin, scorer_with.threshold_origin) == ("model", "references")


def test_without_weight_references_change_nothing(scorer):
    references = enrolled(scorer, 2, 1)
    silent = dataclasses.replace(references, weight=0.0)
    pixels = views(3, seed=2)
    np.testing.assert_allclose(
        ReferenceScorer(scorer, silent).score(pixels).log_odds, scorer.score(pixels).log_odds, atol=1e-6
    )


def test_the_order_of_references_and_of_their_patches_does_not_matter(scorer):
    references = enrolled(scorer, 3, 2)
    order, patches = [4, 2, 0, 3, 1], [3, 1, 0, 2]
    shuffled = dataclasses.replace(
        references, embeddings=references.embeddings[order][:, patches], labels=references.labels[order]
    )
    pixels = views(3, seed=2)
    one, other = (ReferenceScorer(scorer, each).score(pixels).log_odds for each in (references, shuffled))
    np.testing.assert_allclose(one, other, atol=1e-9)


def unit_points(count: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 5))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def test_nothing_is_nearer_to_a_reference_than_itself():
    points = unit_points(30)
    nothing = np.empty((0, 1, 5))
    for index in range(30):
        scores = similarity(points, points[[index], None], nothing)
        assert np.argmax(scores) == index and scores[index] == pytest.approx(0)


def test_a_known_attack_is_as_far_on_one_side_as_a_known_live_patch_on_the_other():
    points = unit_points(30)
    for live, attack in zip(range(15), range(15, 30), strict=True):
        scores = similarity(points, points[[live], None], points[[attack], None])
        assert scores[live] == pytest.approx(1 - points[live] @ points[attack])
        assert scores[attack] == pytest.approx(-scores[live])


def test_live_references_have_similarity_zero_to_each_other_on_average():
    random = np.random.default_rng(0)
    points = random.normal([2, 0, 0], size=(6, 4, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    left_out = []
    for index in range(6):
        rest = np.delete(points, index, axis=0)
        left_out.append((points[index] @ rest.mean(axis=(0, 1))).mean())
    assert np.mean(left_out) == pytest.approx(mutual_similarity(points))


def test_with_attacks_the_similarity_is_which_mean_is_nearer():
    random = np.random.default_rng(0)
    live, attacks = (random.normal(mean, size=(2000, 1, 3)) for mean in ([3, 0, 0], [0, 1, 0]))
    points = random.normal(size=(50, 3))
    far = np.sum((points - attacks.mean(axis=(0, 1))) ** 2, axis=-1)
    near = np.sum((points - live.mean(axis=(0, 1))) ** 2, axis=-1)
    np.testing.assert_allclose(similarity(points, live, attacks), (far - near) / 2, atol=0.02)


def test_a_file_gives_back_what_was_saved(scorer, folder, tmp_path):
    references = enrolled(scorer, 2, 1)
    references = dataclasses.replace(
        references,
        weight=0.25,
        calibration=PlattCalibration(1.5, -0.5),
        decision_threshold=0.6,
        developed_on="val, eer",
    )
    path = tmp_path / "references.safetensors"
    references.save(path)
    loaded = References.load(path)
    np.testing.assert_array_equal(loaded.embeddings, references.embeddings)
    np.testing.assert_array_equal(loaded.labels, [1, 1, 0])
    for name in {field.name for field in dataclasses.fields(References)} - {"embeddings", "labels"}:
        assert getattr(loaded, name) == getattr(references, name)
    assert loaded.captures_sha256 == [hashlib.sha256(capture.encoded).hexdigest() for capture in known([1, 1, 0])]
    assert loaded.weights_sha256 == file_sha256(folder / "model.safetensors")
    assert loaded.embeddings.shape == (3, 4, scorer.model.patchnet.embedding_size)
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()[METADATA_KEY])["device"] == "phone"
    assert [entry.name for entry in tmp_path.iterdir()] == ["references.safetensors"]


def test_with_a_file_or_without(scorer, tmp_path):
    assert with_references(scorer, load_references(None)) is scorer
    references = enrolled(scorer, 2, 0)
    references.save(tmp_path / "references.safetensors")
    loaded = with_references(scorer, load_references(tmp_path / "references.safetensors"))
    pixels = views(2, seed=3)
    expected = ReferenceScorer(scorer, references).score(pixels)
    np.testing.assert_array_equal(loaded.score(pixels).log_odds, expected.log_odds)
    assert loaded.description()["references"] == "2 live and 0 attack references of phone"
    assert loaded.score(pixels[:0]).log_odds.shape == (0,)


def stored(scorer, path, change_arrays=None, **changes):
    """A file of references with something about it changed."""
    enrolled(scorer, 2, 1).save(path)
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()[METADATA_KEY])
        arrays = {name: file.get_tensor(name) for name in ("embeddings", "labels")}
    arrays.update(change_arrays(arrays) if change_arrays else {})
    save_file(arrays, path, {METADATA_KEY: json.dumps({**told, **changes})})
    return path


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        (None, {"weights_sha256": "0" * 64}, "made by other weights"),
        (lambda held: {"embeddings": held["embeddings"][..., :1] * 0 + 1}, {}, "embeddings of size 1"),
        (lambda held: {"labels": held["labels"] * 0}, {}, "none of them is live"),
        (lambda held: {"labels": held["labels"] + 5}, {}, "labels other than"),
        (lambda held: {"labels": held["labels"][:2]}, {}, "for labels"),
        (lambda held: {"embeddings": held["embeddings"] * 3}, {}, "unit length"),
        (lambda held: {"embeddings": held["embeddings"] * np.float32(np.nan)}, {}, "unit length"),
        (None, {"files": []}, "0 names and 3 digests for 3 captures"),
        (None, {"captures_sha256": ["a"]}, "3 names and 1 digests for 3 captures"),
        (None, {"version": 9}, "version 9"),
        (None, {"colour": "red"}, "can't be used"),
        (None, {"calibration": {"scale": -1.0, "bias": 0.0}}, "isn't positive"),
        (None, {"decision_threshold": 1.0}, "no probability"),
    ],
)
def test_references_that_do_not_fit_are_one_line(scorer, tmp_path, arrays, changes, message):
    path = stored(scorer, tmp_path / "references.safetensors", arrays, **changes)
    with pytest.raises(InputError, match=message) as error:
        with_references(scorer, load_references(path))
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_references_is_one_line(scorer, folder, tmp_path):
    whole = tmp_path / "whole.safetensors"
    enrolled(scorer, 2, 0).save(whole)
    cut, pickled = tmp_path / "cut.safetensors", tmp_path / "pickled.safetensors"
    cut.write_bytes(whole.read_bytes()[:-10])
    pickled.write_bytes(pickle.dumps({"embeddings": [1, 2]}))
    for path, message in (
        (cut, "cut off"),
        (pickled, "no safetensors file"),
        (tmp_path / "gone.safetensors", "can't be read"),
        (folder / "model.safetensors", "holds no references"),
    ):
        with pytest.raises(InputError, match=message) as error:
            load_references(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_weights_are_refused(scorer, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    network = PatchNetForImageClassification.from_pretrained(other)
    with torch.no_grad():
        network.classifier.weight.add_(1)
    network.save_pretrained(other)
    with pytest.raises(InputError, match="other weights"):
        with_references(load_scorer(str(other), device="cpu"), enrolled(scorer, 2, 0))


def test_a_graph_has_no_embeddings(folder, scorer, tmp_path):
    pytest.importorskip("onnxscript")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(folder / name, tmp_path)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = PatchNetForImageClassification.from_pretrained(folder).eval()

        def forward(self, pixel_values):
            return self.model(pixel_values).logits

    torch.onnx.export(Logits(), (torch.zeros(1, 3, PATCH, PATCH),), str(tmp_path / "model.onnx"), dynamo=False)
    graph = load_scorer(str(tmp_path / "model.onnx"))
    assert isinstance(graph, OnnxScorer)
    for attempt in (
        lambda: with_references(graph, enrolled(scorer, 1, 0)),
        lambda: enroll(graph, known([1])),
    ):
        with pytest.raises(InputError, match="without embeddings"):
            attempt()


def test_enrolling_needs_a_live_capture_and_a_saved_model(scorer):
    with pytest.raises(InputError, match="no live references"):
        enroll(scorer, known([0, 0]))
    with pytest.raises(InputError, match="need a saved model"):
        enroll(TorchScorer("new", scorer.model, scorer.processor), known([1]))


def test_an_image_is_enrolled_once_whatever_it_is_called(scorer):
    first, second = known([1, 0])
    with pytest.raises(InputError, match=r"0.png and copy.png are the same image"):
        enroll(scorer, [first, second, first._replace(file="copy.png")])


def test_a_linear_head_has_no_unit_to_add_a_similarity_in(folder, tmp_path):
    linear = shutil.copytree(folder, tmp_path / "linear")
    config = json.loads((linear / "config.json").read_text())
    (linear / "config.json").write_text(json.dumps({**config, "head": "linear"}))
    with pytest.raises(InputError, match="head 'linear'"):
        enroll(load_scorer(str(linear), device="cpu"), known([1, 1]))


def test_files_that_cannot_be_read_are_named(scorer, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("broken.jpg", "gone.jpg"):
        with pytest.raises(InputError, match=name):
            enroll(scorer, read_captures([tmp_path / name], 1))
