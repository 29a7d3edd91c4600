"""Pictures with their liveness map, and the files that they go to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.inference.liveness_map import LivenessMap, LivenessMapper
from patchnet_hf.inference.overlays import HEADER, MARGIN, Overlays, colors, draw_overlay
from patchnet_hf.inference.scorer import Scorer, ViewScores
from patchnet_hf.inference.scoring import CaptureScore
from patchnet_hf.inference.sources import Source, camera_source

PATCH = 16


class Brightness(Scorer):
    """Live is what is bright."""

    def __init__(self):
        super().__init__("brightness", PatchNetConfig(), PatchNetImageProcessor(patch_size=PATCH, grid=2))

    def score(self, views):
        of_patches = views.mean(axis=(2, 3, 4)) / 16 - 8
        return ViewScores(of_patches.mean(axis=1), of_patches, None)

    def description(self):
        return {}


def capture(path="face.jpg", image=None, **settings):
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8) if image is None else image
    return CaptureScore(Path(path), 0.9, 2.2, "live", (0.9,), image=image, **settings)


def test_colours_are_red_below_and_blue_above_the_threshold():
    for threshold in (0.1, 0.5, 0.97):
        below, above = colors(np.array([threshold / 3, 1 - (1 - threshold) / 3]), threshold)
        assert below[0] > below[2] + 50 and above[2] > above[0] + 50


def face_of(sheet: Image.Image, liveness: LivenessMap) -> np.ndarray:
    """The panel of an overlay whose face is the whole picture."""
    height, width = liveness.region[2] - liveness.region[0], liveness.region[3] - liveness.region[1]
    scale = 448 / min(height, width)
    return np.asarray(sheet)[HEADER : HEADER + round(height * scale), MARGIN : MARGIN + round(width * scale)].astype(
        int
    )


def test_the_overlay_shows_the_map_over_the_face_the_bar_and_the_verdict():
    image = np.full((64, 64, 3), 20, dtype=np.uint8)
    image[:, 32:] = 230
    score, liveness = capture(image=image), LivenessMapper(Brightness())(image)
    sheet = draw_overlay(score, liveness, 0.5)
    panel = face_of(sheet, liveness)
    left, right = panel[:, :150].mean(axis=(0, 1)), panel[:, -150:].mean(axis=(0, 1))
    assert left[0] > left[2] + 40 and right[2] > right[0] + 40  # red is the attack, blue the live half

    pixels = np.asarray(sheet).astype(int)
    bar = pixels[HEADER:, MARGIN + panel.shape[1] + 16 + 8]  # a column inside of the colour bar
    reds, blues = np.flatnonzero(bar[:, 0] > bar[:, 2] + 100), np.flatnonzero(bar[:, 2] > bar[:, 0] + 60)
    assert len(reds) > 80 and len(blues) > 80 and blues.max() < reds.min()  # from blue, at the top, to red
    header = pixels[: HEADER - 4]
    assert ((header[..., 2] > header[..., 0] + 80).sum() > 200) and (header.sum(axis=-1) < 100).sum() > 100

    spoof = np.asarray(draw_overlay(replace(score, verdict="spoof", probability=0.1), liveness, 0.5)).astype(int)
    assert (spoof[: HEADER - 4, :, 0] > spoof[: HEADER - 4, :, 2] + 80).sum() > 200


def test_outside_of_the_face_box_the_photograph_keeps_its_colours():
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    image[..., 1] = 150
    score = capture(image=image, face_box=(120, 120, 60, 60))
    liveness = LivenessMapper(Brightness())(image, score.face_box)
    pixels = np.asarray(draw_overlay(score, liveness, 0.5))
    # In the corner of the panel green as it was, in its middle mixed with the map's red.
    assert pixels[HEADER + 4, MARGIN + 4].tolist() == [0, 150, 0]
    panel = 448
    assert pixels[HEADER + panel // 2, MARGIN + panel // 2, 0] > 80


@pytest.mark.parametrize("shape", [(8, 8), (16, 900), (900, 16), (2200, 1500), (40, 31), (1, 3000), (3000, 1)])
def test_pictures_of_all_shapes_are_drawn(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    sheet = draw_overlay(capture(image=image), LivenessMapper(Brightness(), stride=16)(image), 0.3)
    assert max(sheet.size) < 1300 and np.asarray(sheet).std() > 20


def overlays(folder, sources=()):
    return Overlays(LivenessMapper(Brightness()), folder, sources)


def test_names_are_unique_stay_in_the_folder_and_say_which_capture(tmp_path):
    folder = tmp_path / "a" / "overlays"
    drawing = overlays(folder)
    paths = ["x/face.jpg", "y/face.png", "y/FACE.png", "../../etc/..jpg", "camera 0", "ü ñ*?.jpg", "写" * 83 + ".jpg"]
    drawn = [drawing.draw(capture(path)) for path in paths]
    names = [score.overlay.name for score in drawn]
    assert names[:3] == ["face.png", "face_2.png", "FACE_3.png"] and names[4] == "camera_0.png"
    assert len({name.lower() for name in names}) == len(names)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    assert all(score.overlay.parent == folder for score in drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_frames_of_a_clip_are_drawn_each(tmp_path):
    clip = CaptureScore(
        Path("clip.avi"), 0.9, 2.2, "live", frames=tuple(capture("clip.avi", frame=number) for number in (3, 12))
    )
    drawn = overlays(tmp_path / "out").draw(clip)
    assert [frame.overlay.name for frame in drawn.frames] == ["clip_frame00003.png", "clip_frame00012.png"]
    entry = drawn.without_pixels().as_json()
    assert [frame["frame"] for frame in entry["frames"]] == [3, 12]
    assert entry["frames"][0]["overlay"] == str(tmp_path / "out" / "clip_frame00003.png")
    assert len(entry["frames"][0]["liveness_map"]["live_log_odds"]) == 13


def test_what_cannot_be_used_is_passed_on(tmp_path):
    score = CaptureScore(Path("face.jpg"), error="not an image")
    assert overlays(tmp_path / "out").draw(score) is score
    assert list((tmp_path / "out").iterdir()) == []


def test_the_captures_themselves_are_never_overwritten(tmp_path):
    with pytest.raises(InputError, match="name another folder"):
        overlays(tmp_path / "sub" / "..", [Source(tmp_path / "face.png")])


def test_a_camera_lies_in_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overlays(".", [camera_source(0)])


def test_a_file_in_the_folders_place_is_one_line(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="can't be made a folder") as error:
        overlays(tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_picture_that_cannot_be_written_is_one_line_and_leaves_nothing_half(tmp_path):
    drawing = overlays(tmp_path / "out")
    (tmp_path / "out" / "face.png").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        drawing.draw(capture())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["face.png"]
