"""Files, folders, globs, clips and cameras as sources of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from patchnet_hf.errors import InputError
from patchnet_hf.inference.face_boxes import FaceBoxes
from patchnet_hf.inference.sources import (
    CAMERA_STEP,
    CAMERA_WARM_UP,
    Source,
    camera_frames,
    camera_source,
    find_sources,
    read_frames,
)

GREY_STEP = 6


def write_clip(path: Path, length: int = 40, codec: str = "MJPG") -> Path:
    """A clip whose frame n is grey with the value 6 n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 48))
    assert writer.isOpened()
    for number in range(length):
        writer.write(np.full((48, 64, 3), GREY_STEP * number, dtype=np.uint8))
    writer.release()
    return path


@pytest.fixture
def tree(tmp_path):
    for name in ("b.jpg", "a/z.PNG", "a/c.jpeg", "a/deep/y.webp", ".hidden.jpg", ".git/x.jpg", "a/notes.txt"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    (tmp_path / "tree" / "a" / "clip.MP4").touch()
    return tmp_path / "tree"


def test_a_folder_gives_its_images_and_clips_sorted_without_hidden_ones(tree):
    found = find_sources([tree])
    names = [str(source.path.relative_to(tree)) for source in found]
    assert names == ["a/c.jpeg", "a/clip.MP4", "a/deep/y.webp", "a/z.PNG", "b.jpg"]
    assert [source.kind for source in found] == ["image", "video", "image", "image", "image"]


def test_globs_are_expanded_here_and_files_come_in_the_order_given(tree):
    def names(*arguments):
        return [str(source.path.relative_to(tree)) for source in find_sources(arguments)]

    assert names(f"{tree}/*.jpg") == ["b.jpg"]
    assert names(f"{tree}/**/*.*[gp]", tree / "a" / "notes.txt") == [
        "a/c.jpeg",
        "a/deep/y.webp",
        "b.jpg",
        "a/notes.txt",
    ]
    assert names(tree / "b.jpg", tree / "a" / "deep", tree / "b.jpg") == ["b.jpg", "a/deep/y.webp", "b.jpg"]


def test_a_glob_gives_each_file_once_and_passes_over_empty_folders_between(tree):
    (tree / "a" / "empty").mkdir()
    found = find_sources([f"{tree}/**"])
    names = [str(source.path.relative_to(tree)) for source in found]
    assert sorted(names) == ["a/c.jpeg", "a/clip.MP4", "a/deep/y.webp", "a/notes.txt", "a/z.PNG", "b.jpg"]
    (nothing,) = find_sources([f"{tree}/a/emp*"])
    assert "no images" in nothing.error


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    (tmp_path / "face[1].jpg").touch()
    (tmp_path / "face1.jpg").touch()
    assert [source.path.name for source in find_sources([tmp_path / "face[1].jpg"])] == ["face[1].jpg"]


def test_what_gives_nothing_is_a_source_with_its_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    empty, nothing, gone = find_sources([tmp_path / "empty", f"{tmp_path}/*.png", tmp_path / "gone.png"])
    assert "no images" in empty.error and "no file matches" in nothing.error and gone.error is None
    with pytest.raises(OSError, match="No such file"):
        read_frames(gone, 3)
    with pytest.raises(ValueError, match="no file matches"):
        read_frames(nothing, 3)


@pytest.mark.parametrize(("codec", "suffix"), [("MJPG", ".avi"), ("mp4v", ".mp4")])
def test_frames_of_a_clip_are_spread_evenly_and_their_numbers_are_true(tmp_path, codec, suffix):
    clip = write_clip(tmp_path / f"clip{suffix}", codec=codec)
    frames = read_frames(Source(clip, "video"), 4)
    assert [frame.number for frame in frames] == [5, 15, 25, 35]
    for frame in frames:
        assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8
        assert frame.image.mean() == pytest.approx(GREY_STEP * frame.number, abs=2.9)


def test_the_colours_of_a_clip_are_red_green_blue(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 255), dtype=np.uint8))  # OpenCV's order: blue, green, red
    writer.release()
    red, green, blue = read_frames(Source(tmp_path / "red.avi", "video"), 1)[0].image.mean(axis=(0, 1))
    assert red > 230 and green < 30 and blue < 30


def test_a_clip_shorter_than_asked_gives_all_its_frames(tmp_path):
    clip = write_clip(tmp_path / "short.avi", length=3)
    assert [frame.number for frame in read_frames(Source(clip, "video"), 9)] == [0, 1, 2]


def test_of_a_clip_that_was_cut_off_the_frames_that_are_there_are_spread_anew(tmp_path):
    clip = write_clip(tmp_path / "clip.avi")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    frames = read_frames(Source(clip, "video"), 4)
    numbers = [frame.number for frame in frames]
    assert len(numbers) == 4 and numbers == sorted(set(numbers)) and numbers[-1] < 30
    # The middles of equal parts: the gaps are alike.
    assert max(np.diff(numbers)) - min(np.diff(numbers)) <= 1
    for frame in frames:
        assert frame.image.mean() == pytest.approx(GREY_STEP * frame.number, abs=2.9)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_a_broken_clip_is_a_reason(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"empty|not a video") as error:
        read_frames(Source(tmp_path / "clip.mp4", "video"), 3)
    assert "\n" not in str(error.value)


def test_a_camera_that_is_not_there_is_a_reason_and_nothing_on_stderr(capfd):
    source = camera_source(97)
    assert str(source.path) == "camera 97"
    with pytest.raises(ValueError, match="no such camera"):
        read_frames(source, 3)
    assert capfd.readouterr() == ("", "")


def test_a_camera_gives_frames_some_way_apart_after_it_has_warmed_up(tmp_path):
    """A clip stands in for the camera: OpenCV reads both in the same way."""
    clip = write_clip(tmp_path / "clip.avi")
    frames = camera_frames(cv2.VideoCapture(str(clip)), 3)
    assert [frame.number for frame in frames] == [CAMERA_WARM_UP + CAMERA_STEP * index for index in range(3)]
    assert frames[2].image.mean() == pytest.approx(GREY_STEP * frames[2].number, abs=2.9)
    with pytest.raises(ValueError, match="gave 10 of 20 frames"):
        camera_frames(cv2.VideoCapture(str(clip)), 20)


def test_an_image_file_is_one_frame_without_a_number(tmp_path):
    Image.new("RGB", (20, 10), (10, 20, 30)).save(tmp_path / "image.png")
    (frame,) = read_frames(Source(tmp_path / "image.png"), 9)
    assert frame.number is None and frame.image.shape == (10, 20, 3)
    assert frame.image[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("delimiter", "row_end", "encoding"),
    [(",", "", "utf-8-sig"), (";", "\r", "utf-16"), ("\t", "", "utf-8"), (",", ",", "utf-8")],
)
def test_boxes_are_read_from_a_list_of_a_dataset(tmp_path, monkeypatch, delimiter, row_end, encoding):
    """With what such lists come with: marks of the encoding, UTF-16 of spreadsheets, a comma at the end of rows."""
    rows = [
        ["Image_Name", "label", "face_x", "face_y", "face_w", "face_h"],
        ["photos/1.jpg", "1", "10", "20", "30", "40"],
        ["photos/2.jpg", "0", "11.0", "21.0", "31.0", "41.0"],
        ["crop.jpg", "0", "", "", "", ""],
    ]
    header, *lines = (delimiter.join(row) for row in rows)
    text = "\n".join([header, *(line + row_end for line in lines)])
    (tmp_path / "list.csv").write_text(text, encoding=encoding)
    monkeypatch.chdir(tmp_path)
    boxes = FaceBoxes("list.csv")
    assert boxes(tmp_path / "photos" / "1.jpg") == (10, 20, 30, 40)
    assert boxes(Path("photos/../photos/2.jpg")) == (11, 21, 31, 41)
    assert boxes(Path("crop.jpg")) is None
    assert boxes.files == [Path("photos/1.jpg"), Path("photos/2.jpg"), Path("crop.jpg")]
    with pytest.raises(ValueError, match="has no row"):
        boxes(Path("other.jpg"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "expected a header"),
        ("image_name,label\na.jpg,1\n", "no column face_x, face_y, face_w, face_h"),
        ("image_name,face_x,face_y,face_w,face_h\na.jpg,1,2,x,4\n", "list.csv:2: face box is 1, 2, x, 4"),
        ("image_name,face_x,face_y,face_w,face_h\na.jpg,1,2,,4\n", "1, 2, nothing, 4"),
        ("image_name,face_x,face_y,face_w,face_h\n", "no rows below the header"),
        ("image_name,face_x,face_y,face_w,face_h\n\na.jpg,1\n", "list.csv:3: 2 columns, the header has 5"),
        ("image_name,face_x,face_y,face_w,face_h\nbox,a.jpg,1,2,3,4\n", "list.csv:2: 6 columns, the header has 5"),
        ("image_name,face_x,face_y,face_w,face_h\n,1,2,3,4\n", "list.csv:2: image_name is empty"),
        (
            "image_name,face_x,face_y,face_w,face_h\na.jpg,1,2,3,4\na.jpg,1,2,3,5\n",
            "list.csv:3: a.jpg has another box",
        ),
    ],
)
def test_a_wrong_list_of_boxes_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        FaceBoxes(tmp_path / "list.csv")
    assert "\n" not in str(error.value)
