"""scripts/predict.py as a process."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.decoding import decode_image
from patchnet_hf.inference.scorers import load_scorer

PATCH, GRID = 32, 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = PatchNetConfig(backbone="test_resnet", scale=4.0, decision_threshold=0.4)
    PatchNetForImageClassification(config).save_pretrained(folder)
    PatchNetImageProcessor(patch_size=PATCH, grid=GRID).save_pretrained(folder)
    return folder


@pytest.fixture
def faces(tmp_path):
    """Two faces, a broken image, a clip and a broken clip."""
    random = np.random.default_rng(0)
    folder = tmp_path / "faces"
    (folder / "more").mkdir(parents=True)
    for name in ("1.jpg", "more/1.png"):
        Image.fromarray(random.integers(0, 256, (150, 170, 3), dtype=np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "broken.mp4").write_bytes(b"no clip")
    writer = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(12):
        writer.write(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return folder


def predict(project, *arguments):
    command = [sys.executable, "scripts/predict.py", *map(str, arguments)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.mark.slow
def test_what_is_usable_is_scored_and_drawn_and_the_rest_has_its_line(project, model, faces, tmp_path):
    options = ["--frames", 3, "--json", tmp_path / "scores.json", "--overlay", tmp_path / "overlays"]
    done = predict(project, "--model", model, faces, f"{faces}/**/1.*", "gone.jpg", "--camera", 97, *options)
    assert done.returncode == 2
    assert messages(done) == ["predict.py: error: 4 of 9 inputs can't be used"]

    entries = json.loads((tmp_path / "scores.json").read_text())
    found = [faces / name for name in ("1.jpg", "broken.jpg", "broken.mp4", "clip.avi", "more/1.png")]
    expected = [*found, faces / "1.jpg", faces / "more" / "1.png", "gone.jpg", "camera 97"]
    assert [entry["file"] for entry in entries] == list(map(str, expected))
    assert [index for index, entry in enumerate(entries) if "error" in entry] == [1, 2, 7, 8]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["input", "verdict", "P(live)", "log-odds", "note"]
    for line, entry in zip(lines[2:], entries, strict=False):
        assert line.startswith(entry["file"])
        assert entry["error"] in line if "error" in entry else f"{entry['live_probability']:.4f}" in line

    scorer = load_scorer(str(model))
    views = scorer.processor.views(decode_image((faces / "1.jpg").read_bytes()))
    image, clip = entries[0], entries[3]
    assert image["live_log_odds"] == pytest.approx(scorer.score(views[None]).log_odds[0], abs=1e-4)
    assert image["verdict"] == ("live" if image["live_probability"] >= 0.4 else "spoof")
    assert np.shape(image["liveness_map"]["live_log_odds"]) == (4, 5)
    assert [frame["frame"] for frame in clip["frames"]] == [2, 6, 10]
    mean = np.mean([frame["live_log_odds"] for frame in clip["frames"]])
    assert clip["live_log_odds"] == pytest.approx(mean) and clip["live_probability"] == pytest.approx(expit(mean))

    drawn = sorted(path.name for path in (tmp_path / "overlays").iterdir())
    frames = [f"clip_frame{number:05d}.png" for number in (2, 6, 10)]
    assert drawn == sorted(["1.png", "1_2.png", "1_3.png", "1_4.png", *frames])
    assert entries[4]["overlay"] == str(tmp_path / "overlays" / "1_2.png")


@pytest.mark.slow
def test_faces_in_photographs_are_found_by_a_list_and_scores_go_to_stdout(project, model, faces, tmp_path):
    (tmp_path / "list.csv").write_text("image_name,face_x,face_y,face_w,face_h\nfaces/1.jpg,20,10,80,70\n")
    done = predict(project, "--model", model, "--boxes", tmp_path / "list.csv", "--json", "-")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    scorer = load_scorer(str(model))
    views = scorer.processor.views(decode_image((faces / "1.jpg").read_bytes()), (20, 10, 80, 70))
    assert entry["live_log_odds"] == pytest.approx(scorer.score(views[None]).log_odds[0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score"),
        (["a.jpg", "--face-box", 1, 2, 3, 4, "--boxes", "a.csv"], "exclude each other"),
        (["a.jpg", "--map", "patches"], "--overlay DIR"),
    ],
)
def test_contradictions_are_one_line_at_once(project, arguments, message):
    done = predict(project, "--model", "nowhere", *arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_mistakes_are_one_line_before_anything_is_written(project, model, faces, tmp_path):
    whole = tmp_path / "whole"
    PatchNetForImageClassification.from_pretrained(model).save_pretrained(whole)
    PatchNetImageProcessor(mode="resize", patch_size=PATCH, resize_size=PATCH).save_pretrained(whole)
    for arguments, message in [
        (["--model", whole, faces, "--overlay", tmp_path / "out"], "looks at the whole face once"),
        (["--model", model, faces, "--overlay", faces / "more"], "name another folder"),
    ]:
        done = predict(project, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(messages(done)) == 1 and message in messages(done)[0], done.stderr
    assert not (tmp_path / "out").exists() and len(list((faces / "more").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--json", "--picture"])
def test_a_file_that_cannot_be_written_is_one_line_below_the_verdicts(project, model, faces, tmp_path, option):
    target = tmp_path / ("n" * 300 + ".png")  # longer than names may be
    done = predict(project, "--model", model, faces / "1.jpg", option, target)
    assert done.returncode == 2 and str(faces / "1.jpg") in done.stdout
    assert messages(done) == [f"predict.py: error: {target} can't be written: File name too long"]


def messages(done: subprocess.CompletedProcess) -> list[str]:
    """Lines on stderr but for the progress bar."""
    lines = done.stderr.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("scoring:")]
