"""Scoring image files with a saved model, and the picture of the scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.inference.pictures import GAP, draw_patch_scores, patch_sheet
from patchnet_hf.inference.scorers import load_model, load_scorer
from patchnet_hf.inference.scoring import CaptureScore, score_files, score_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    PatchNetForImageClassification(PatchNetConfig(decision_threshold=0.6)).save_pretrained(folder)
    PatchNetImageProcessor(patch_size=32, grid=2).save_pretrained(folder)
    return folder


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        pixels = (random.integers(0, 256, (80, 70, 3)) // (index + 1)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@torch.no_grad()
def test_scores_equal_processor_and_model_image_by_image(folder, files):
    model, processor = load_model(str(folder))
    for path, score in zip(files, score_files(load_scorer(str(folder)), files, batch_size=2), strict=True):
        logits = model(**processor(Image.open(path), return_tensors="pt")).logits.double()[0]
        assert score.path == path
        assert score.log_odds == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)
        assert score.probability == pytest.approx(logits.softmax(-1)[1].item(), abs=1e-5)
        assert score.verdict == ("live" if score.probability >= 0.6 else "spoof")
        assert np.mean(score.patch_probabilities) == pytest.approx(score.probability, abs=1e-5)


def test_a_file_that_cannot_be_read_is_one_result_and_the_rest_goes_on(folder, files, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    scorer = load_scorer(str(folder))
    scores = list(score_files(scorer, [files[0], broken, tmp_path / "gone.jpg", files[1]]))
    assert [score.error is None for score in scores] == [True, False, False, True]
    assert "No such file" in scores[2].error and "not an image" in scores[1].error
    assert scores[1].as_json() == {"file": str(broken), "error": scores[1].error}


def test_the_same_file_twice_is_scored_twice(folder, files):
    scorer = load_scorer(str(folder))
    first, second = score_files(scorer, [files[0], files[0]])
    assert first.log_odds == second.log_odds


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_a_folder_without_a_model_is_said_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError) as error:
        load_model(str(tmp_path))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def changed_copy(folder, tmp_path, change):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    settings = json.loads((copied / "config.json").read_text())
    change(copied, settings)
    (copied / "config.json").write_text(json.dumps(settings))
    return copied


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, settings: settings.update(model_type="resnet"), "of type 'resnet', not a PatchNet"),
        # A model of another shape, whose weights transformers would fill at random.
        (lambda _, settings: settings.update(embedding_size=16), "don't fit|can't be loaded"),
        (lambda _, settings: settings.update(backbone="resnet34"), "don't fit"),
        (lambda copied, _: (copied / "model.safetensors").write_bytes(b"cut"), "can't be loaded"),
    ],
)
def test_weights_that_are_not_the_models_own_are_refused_in_one_line(folder, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        load_model(str(changed_copy(folder, tmp_path, change)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_images_is_refused(folder, files, batch_size):
    scorer = load_scorer(str(folder))
    with pytest.raises(InputError, match="batch size"):
        list(score_files(scorer, files, batch_size))


def test_the_sheet_shows_every_patch_in_its_place():
    views = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    sheet, corners = patch_sheet(views)
    assert sheet.shape == (16 + 3 * GAP, 16 + 3 * GAP, 3)
    for view, (top, left) in zip(views, corners, strict=True):
        np.testing.assert_array_equal(sheet[top : top + 8, left : left + 8], view)
    assert (sheet[:GAP] == 255).all()


def test_the_picture_is_written_and_not_blank(folder, files, tmp_path):
    scorer = load_scorer(str(folder))
    draw_patch_scores(list(score_files(scorer, files)), tmp_path / "patches.png")
    picture = np.asarray(Image.open(tmp_path / "patches.png").convert("L"))
    assert picture.shape[1] > 900 and picture.std() > 20


def test_the_table_says_of_how_many_frames_a_clip_was_scored():
    def clip(count):
        frames = tuple(CaptureScore(Path("clip.avi"), 0.9, 2.2, "live", frame=number) for number in range(count))
        return CaptureScore(Path("clip.avi"), 0.9, 2.2, "live", frames=frames)

    lines = score_table([clip(1), clip(2), CaptureScore(Path("face.jpg"), error="not an image")]).splitlines()
    assert [line.split("  ")[-1] for line in lines[2:]] == ["1 frame", "2 frames", "not an image"]


def test_names_with_dollar_signs_are_no_formulas(tmp_path):
    views = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    score = CaptureScore(Path("a$^$.jpg"), 0.9, 2.2, "live", (0.9,) * 4, views)
    draw_patch_scores([score], tmp_path / "picture.png")
    assert Image.open(tmp_path / "picture.png").width > 100
