"""scripts/prepare_dataset.py on trees as people have them."""

import hashlib
import json
import os
import shlex
import signal

import cv2
import datasets
import numpy as np
import PIL.Image
import pytest
from tqdm import tqdm

from patchnet_hf.data.csv_files import BadRow, find_csv_files, read_rows
from patchnet_hf.data.decoding import decode_image, turbojpeg_is_available
from patchnet_hf.errors import InputError
from patchnet_hf.preparation import job
from patchnet_hf.preparation.face_detection import FaceDetector
from patchnet_hf.preparation.image_writing import ImageSettings
from patchnet_hf.preparation.input_files import find_input_files
from patchnet_hf.preparation.job import prepare
from patchnet_hf.preparation.output_names import OutputNames
from patchnet_hf.preparation.settings import PreparationSettings, choose_boxes, choose_meanings
from patchnet_hf.preparation.splitting import SplitShares

needs_turbojpeg = pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo isn't installed")
MEANINGS = choose_meanings(None, "", ["live,real"], ["print=print", "replay=screen"], [])
BY_NAME = ("--live", "live", "--attack", "print=print", "--attack", "replay=screen")


def settings(tmp_path, **options) -> PreparationSettings:
    return PreparationSettings(tmp_path / "in", tmp_path / "out", options.pop("meanings", MEANINGS), **options)


def contents(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def tree(tmp_path, make):
    """Six persons on two phones, live and printed, as JPEG files with boxes in text files."""
    folder = tmp_path / "in"
    for person in range(6):
        for phone in ("a", "b"):
            for number, kind in enumerate(("live", "print")):
                image = folder / kind / f"{person:02d}_{phone}_1.jpg"
                make.write(image, make.encoded(make.picture(96, 80, seed=10 * person + number), quality=90))
                make.write(image.with_suffix(".txt"), "30.4 20.0\n61.5 50.7\n")
    return folder


@needs_turbojpeg
@pytest.mark.slow
def test_from_a_tree_to_a_dataset_that_trains(tree, tmp_path, make, run_script):
    output = tmp_path / "my data"
    done = run_script(
        *("--input", tree, "--output", output, *BY_NAME, "--boxes", "txt", "--source", "mine"),
        *("--pattern", r"(?P<subject>\d+)_(?P<device>\w)_", "--split", "train=0.5,val=0.5"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.iterdir()) == [
        *("images", "overview.png", "preparation.json", "train.csv", "val.csv")
    ]
    rows = {name: make.read_list(output / f"{name}.csv") for name in ("train", "val")}
    assert not {row["subject"] for row in rows["train"]} & {row["subject"] for row in rows["val"]}
    for row in rows["train"] + rows["val"]:
        person, phone, _ = row["image_name"].split("/")[-1].split("_")
        live = "/live/" in row["image_name"]
        assert (row["label"], row["attack_type"]) == (("1", "bonafide") if live else ("0", "print"))
        assert (row["subject"], row["device"], row["source"]) == (person, phone, "mine")
        assert row["patch_type"] == f"{phone}/{'live' if live else 'print'}"
    # Grown to 1.3 times its 32 x 31 pixels, from (26, 15) to (67, 56), and to blocks of 16: from (16, 0) to (80, 64).
    assert {tuple(row[f"face_{name}"] for name in "xywh") for row in rows["train"]} == {("14", "20", "32", "31")}
    with PIL.Image.open(output / rows["train"][0]["image_name"]) as image:
        assert image.size == (64, 64)

    summary = json.loads((output / "preparation.json").read_text())
    assert summary["lists"]["train.csv"]["images"] == len(rows["train"]) == 12
    assert summary["lists"]["train.csv"]["devices"] == {"a": 6, "b": 6}
    assert summary["settings"]["split"] == {"train": 0.5, "val": 0.5, "group_by": "subject", "seed": 0}
    assert summary["passed_over"] == {".txt": 24}
    assert "list       images  live  attacks  subjects" in done.stdout
    assert "Traceback" not in done.stderr

    # The command that it names next is run as it stands.
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("next: python scripts/"))
    words = shlex.split(line.removeprefix("next: python scripts/"))
    converted = run_script(*words[1:], script=words[0])
    assert converted.returncode == 0, converted.stderr
    loaded = datasets.load_from_disk(f"{output}-arrow")
    assert {split: len(part) for split, part in loaded.items()} == {"train": 12, "val": 12}
    assert loaded["train"].features["patch_type"].names == ["a/live", "a/print", "b/live", "b/print"]
    assert loaded["train"][0]["face_box"] == [14, 20, 32, 31]


def test_whole_images_keep_their_bytes_and_boxes_become_columns(tree, tmp_path, make):
    prepare(
        settings(tmp_path, boxes=choose_boxes(["txt"], False, MEANINGS), images=ImageSettings(keep_images=True)),
        progress=False,
    )
    for row in make.read_list(tmp_path / "out" / "markup.csv"):
        copy = tmp_path / "out" / row["image_name"]
        assert copy.read_bytes() == (tree / row["image_name"].removeprefix("images/")).read_bytes()
        assert [row[f"face_{name}"] for name in "xywh"] == ["30", "20", "32", "31"]


def test_what_says_nothing_or_two_things_stops_before_anything_is_written(tmp_path, make, script_here):
    data = make.encoded(make.picture())
    for number in range(30):
        make.write(tmp_path / "in" / "printer" / f"{number:02d}.jpg", data)
    make.write(tmp_path / "in" / "live" / "print" / "1.jpg", data)
    make.write(tmp_path / "in" / "live" / "2.jpg", data)
    done = script_here("--input", tmp_path / "in", "--output", tmp_path / "out", *BY_NAME)
    assert done.returncode == 2
    assert "31 of 32 files can't be used" in done.stderr
    assert "live/print/1.jpg: its path says both: live (bonafide) and print (print)" in done.stderr
    assert "printer/00.jpg: no folder in its path says live or attack" in done.stderr
    assert "… and 11 more" in done.stderr and "in all 30: no folder in its path" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]

    done = script_here("--input", tmp_path / "in", "--output", tmp_path / "out", *BY_NAME, "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert "left out: 31, see" in done.stdout
    assert len(make.read_list(tmp_path / "out" / "rejected.csv")) == 31
    assert [row["image_name"] for row in make.read_list(tmp_path / "out" / "markup.csv")] == ["images/live/2.jpg"]


def test_files_that_fail_are_all_reported_and_nothing_is_left(tmp_path, make):
    good = make.encoded(make.picture())
    make.write(tmp_path / "in" / "live" / "good.jpg", good)
    make.write(tmp_path / "in" / "live" / "cut.jpg", good[: len(good) // 2])
    make.write(tmp_path / "in" / "live" / "empty.png", b"")
    make.write(tmp_path / "in" / "live" / "empty.mov", b"")
    make.write(tmp_path / "in" / "print" / "text.jpg", "no image")
    make.write(tmp_path / "in" / "print" / "broken.mp4", b"no video at all" * 50)
    os.symlink(tmp_path / "nowhere", tmp_path / "in" / "print" / "lost.jpg")
    with pytest.raises(InputError) as error:
        prepare(settings(tmp_path), progress=False)
    message = str(error.value)
    # What the walk finds stops before images are opened.
    assert "print/lost.jpg: a symbolic link leads nowhere" in message and "1 of 7 files can't be used" in message
    (tmp_path / "in" / "print" / "lost.jpg").unlink()
    with pytest.raises(InputError) as error:
        prepare(settings(tmp_path), progress=False)
    message = str(error.value)
    for name in ("live/cut.jpg", "live/empty.png", "print/text.jpg", "print/broken.mp4"):
        assert f"  {name}: " in message
    assert "5 of 6 files can't be used" in message
    assert "broken.mp4: not a video, corrupt" in message
    assert "empty.png: the file is empty" in message and "empty.mov: the file is empty" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    summary = prepare(settings(tmp_path, on_error="skip"), progress=False)
    assert summary.rejected == 5 and summary.lists["markup.csv"].images == 1
    assert summary.notes == ["markup.csv has no attacks"]


def test_frames_of_videos(tmp_path, make):
    make.write_video(tmp_path / "in" / "live" / "Anna 1.AVI", frames=20, seed=1)
    make.write_video(tmp_path / "in" / "screen" / "b" / "short.mkv", frames=3, seed=2)
    assert not prepare(settings(tmp_path, frames=4), progress=False).notes
    rows = make.read_list(tmp_path / "out" / "markup.csv")
    assert [row["image_name"] for row in rows] == [
        *(f"images/live/Anna 1/{number:06d}.png" for number in (2, 7, 12, 17)),
        *(f"images/screen/b/short/{number:06d}.png" for number in (0, 1, 2)),
    ]
    assert [row["video"] for row in rows] == ["live/Anna 1"] * 4 + ["screen/b/short"] * 3
    for path, frames in ((tmp_path / "in/live/Anna 1.AVI", rows[:4]), (tmp_path / "in/screen/b/short.mkv", rows[4:])):
        capture, decoded = cv2.VideoCapture(str(path)), []
        while (frame := capture.read())[0]:
            decoded.append(frame[1][:, :, ::-1])
        for row in frames:
            image = decode_image((tmp_path / "out" / row["image_name"]).read_bytes())
            np.testing.assert_array_equal(image, decoded[int(row["image_name"][-10:-4])])


def test_videos_that_differ_by_their_endings_alone_are_two(tmp_path, make):
    for seed, name in enumerate(("live/clip.AVI", "live/clip.mov", "print/clip.mov")):
        make.write_video(tmp_path / "in" / name, frames=3, seed=seed)
    prepare(settings(tmp_path, frames=2), progress=False)
    rows = make.read_list(tmp_path / "out" / "markup.csv")
    frames_of = {}
    for row in rows:
        frames_of.setdefault(row["video"], set()).add(row["image_name"].rpartition("/")[0])
    assert len(frames_of) == 3
    assert sorted(folder for (folder,) in frames_of.values()) == sorted({row["image_name"][:-11] for row in rows})


def test_a_video_that_is_shorter_than_it_says(tmp_path, make):
    """Cut off in the middle: frames at even steps of those that are left, and no others in the folder."""
    clip = make.write_video(tmp_path / "in" / "live" / "cut.avi", frames=40, codec="MJPG")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    capture, length = cv2.VideoCapture(str(clip)), 0
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 40
    while capture.grab():
        length += 1
    assert 10 < length < 30
    summary = prepare(settings(tmp_path, frames=4), progress=False)
    assert "1 video with fewer frames than stated, perhaps cut off: live/cut.avi" in summary.notes
    numbers = [(2 * index + 1) * length // 8 for index in range(4)]
    rows = make.read_list(tmp_path / "out" / "markup.csv")
    assert [row["image_name"] for row in rows] == [f"images/live/cut/{number:06d}.png" for number in numbers]
    written = sorted(path.name for path in (tmp_path / "out" / "images" / "live" / "cut").iterdir())
    assert written == [f"{number:06d}.png" for number in numbers]


def test_names_as_people_have_them(tmp_path, make):
    data = make.encoded(make.picture())
    names = [
        "live/Jörg Müller/Bild 1,2.JPG",
        'live/"quoted".jpeg',
        "live/a.bmp",
        "live/a.png",
        "live/A.PNG",
        "print/;|.jpg",
        "live/a$x_$.jpg",
    ]
    for seed, name in enumerate(names):
        suffix = name.rpartition(".")[2].lower()
        pixels = make.picture(seed=seed)
        make.write(tmp_path / "in" / name, make.encoded(pixels, {"jpg": "jpeg", "jpeg": "jpeg"}.get(suffix, suffix)))
    make.write(tmp_path / "in" / "live" / "new\nline.jpg", data)
    with open(os.fsencode(tmp_path / "in" / "print") + b"/latin\xe9.jpg", "wb") as file:
        file.write(data)
    for hidden in (".DS_Store", "live/.hidden.jpg", "live/Thumbs.db", "__MACOSX/live/a.jpg", ".git/live/b.jpg"):
        make.write(tmp_path / "in" / hidden, data)
    make.write(tmp_path / "in" / "README", "text")
    summary = prepare(settings(tmp_path, images=ImageSettings(reencode="png")), progress=False)
    assert summary.passed_over == {"without suffix": 1, "hidden": 5}
    rows = make.read_list(tmp_path / "out" / "markup.csv")
    written = [row["image_name"] for row in rows]
    assert len({name.casefold() for name in written}) == len(names) + 2
    assert "images/live/Jörg Müller/Bild 1,2.png" in written
    # The lists read back as the data contract has them, each image at its place.
    (file,) = find_csv_files([tmp_path / "out"])
    read = list(read_rows(file.path))
    assert not [row for row in read if isinstance(row, BadRow)]
    assert [row.image_name for row in read] == written
    for row in read:
        assert (tmp_path / "out" / row.image_name).is_file()
    of_bmp = written[[find.name for find in find_input_files(tmp_path / "in").captures].index("live/a.bmp")]
    np.testing.assert_array_equal(
        decode_image((tmp_path / "out" / of_bmp).read_bytes()),
        decode_image((tmp_path / "in" / "live/a.bmp").read_bytes()),
    )


def test_symbolic_links_are_followed_but_not_in_circles(tmp_path, make):
    data = make.encoded(make.picture())
    make.write(tmp_path / "elsewhere" / "1.jpg", data)
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "live")
    assert prepare(settings(tmp_path), progress=False).lists["markup.csv"].images == 1
    copy = tmp_path / "out" / "images" / "live" / "1.jpg"
    assert copy.read_bytes() == data and not copy.is_symlink()
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "again")
    found = find_input_files(tmp_path / "in")
    assert [bad.name for bad in found.bad] == ["live/again"]
    assert "leads back" in found.bad[0].reason


def test_equal_input_gives_equal_output_whatever_the_number_of_workers(tree, tmp_path):
    options = {
        "boxes": choose_boxes(["txt"], False, MEANINGS),
        "images": ImageSettings(reencode="png"),
        "split": SplitShares.parse("train=0.5,test=0.5", "image", 3),
    }
    prepare(settings(tmp_path, workers=1, **options), progress=False)
    first = contents(tmp_path / "out")
    prepare(settings(tmp_path, workers=5, overwrite=True, **options), progress=False)
    assert contents(tmp_path / "out") == first
    assert len(first) == 24 + 4


def test_what_is_at_the_output_is_only_replaced_when_it_may_be(tree, tmp_path, make):
    prepare(settings(tmp_path), progress=False)
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"a prepared dataset is there already.*--overwrite"):
        prepare(settings(tmp_path), progress=False)
    make.write(tmp_path / "in" / "print" / "broken.jpg", "x")
    with pytest.raises(InputError, match="1 of 25 files can't be used"):
        prepare(settings(tmp_path, overwrite=True), progress=False)
    assert contents(tmp_path / "out") == before
    make.write(tmp_path / "out" / "notes.txt", "mine")
    with pytest.raises(InputError, match=r"beside the prepared dataset there is notes\.txt"):
        prepare(settings(tmp_path, overwrite=True), progress=False)
    for output, message in ((tree / "out", "lies in the input folder"), (tmp_path, "holds no prepared dataset")):
        with pytest.raises(InputError, match=message):
            prepare(PreparationSettings(tree, output, MEANINGS), progress=False)


def test_what_was_put_into_the_output_meanwhile_is_not_replaced(tree, tmp_path, monkeypatch):
    write_rows = job.write_rows

    def meanwhile(*arguments):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("years of work")
        write_rows(*arguments)

    monkeypatch.setattr(job, "write_rows", meanwhile)
    with pytest.raises(InputError, match="the folder isn't empty"):
        prepare(settings(tmp_path), progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks a process to kill")
def test_what_a_killed_preparation_leaves_is_gone_after_the_next(tree, tmp_path):
    pid = os.fork()
    if not pid:
        job.draw_overview = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        prepare(settings(tmp_path), progress=False)
    os.waitpid(pid, 0)
    assert {path.name for path in tmp_path.iterdir()} > {"in"}, "something is left"
    prepare(settings(tmp_path), progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_splits_by_folders(tmp_path, make):
    for part in ("Train", "devel", "testing"):
        for kind in ("live", "print"):
            make.write(tmp_path / "in" / part / kind / "1.jpg", make.encoded(make.picture()))
    summary = prepare(settings(tmp_path, split="folders"), progress=False)
    assert {name: counts.images for name, counts in summary.lists.items()} == dict.fromkeys(
        ("train.csv", "val.csv", "test.csv"), 2
    )
    make.write(tmp_path / "in" / "live" / "1.jpg", make.encoded(make.picture()))
    make.write(tmp_path / "in" / "train" / "test" / "live" / "1.jpg", make.encoded(make.picture()))
    with pytest.raises(InputError) as error:
        prepare(settings(tmp_path, split="folders", overwrite=True), progress=False)
    assert "live/1.jpg: the folders in its path say no split" in str(error.value)
    assert "train/test/live/1.jpg: the folders in its path say several splits: test, train" in str(error.value)


def test_a_group_that_is_not_known_is_an_error(tree, tmp_path):
    with pytest.raises(InputError, match=r"the subject of 24 images isn't known, for example of live/00_a_1\.jpg"):
        prepare(settings(tmp_path, split=SplitShares.parse("train=0.5,val=0.5")), progress=False)
    assert not (tmp_path / "out").exists()


def test_subjects_in_several_lists_are_pointed_out(tree, tmp_path, make):
    meanings = choose_meanings(None, "", ["live"], ["print=print"], [r"(?P<subject>\d+)_"])
    summary = prepare(
        settings(tmp_path, meanings=meanings, split=SplitShares.parse("train=0.5,val=0.5", "image")), progress=False
    )
    train, val = (
        {row["subject"] for row in make.read_list(tmp_path / "out" / f"{name}.csv")} for name in ("train", "val")
    )
    assert len(train & val) > 2
    (note,) = summary.notes
    shown = ", ".join(sorted(train & val)[:5])
    assert note.startswith(f"{len(train & val)} subjects in more than one list: {shown}")


class TestBoxes:
    def test_missing_and_malformed_text_boxes_are_reported(self, tree, tmp_path, make):
        first, second, third = sorted((tree / "live").glob("*.txt"))[:3]
        first.unlink()
        second.write_text("10 20 30\n")
        third.write_text("10 20\n30 40\n50 60\n70 80\n")
        with pytest.raises(InputError) as error:
            prepare(settings(tmp_path, boxes=choose_boxes(["txt"], False, MEANINGS)), progress=False)
        assert f"{first.stem}.jpg: no face box: {first.name} isn't next to it" in str(error.value)
        assert f"{second.name} holds '10 20 30'; expected four numbers: left top right bottom" in str(error.value)
        assert f"{third.name} holds '10 20 30 40 50 60 70 80'" in str(error.value)

    @needs_turbojpeg
    def test_boxes_from_lists(self, tree, tmp_path, make):
        images = sorted(tree.rglob("*.jpg"))
        lines = [f"{image.relative_to(tree)},1,40,30,20,25" for image in images[:-2]]
        lines.append(f"{images[-2].relative_to(tree)},0,,,,")  # a face crop already
        listed = make.write(tree / "boxes.csv", "\n".join(["image_name,label,face_x,face_y,face_w,face_h", *lines]))
        boxes = choose_boxes([str(listed)], False, MEANINGS)
        with pytest.raises(InputError, match=r"print/05_b_1\.jpg: no face box: .*boxes\.csv has no row for it"):
            prepare(settings(tmp_path, boxes=boxes), progress=False)
        prepare(settings(tmp_path, boxes=boxes, on_error="skip"), progress=False)
        rows = make.read_list(tmp_path / "out" / "markup.csv")
        assert [row["face_w"] for row in rows] == ["20"] * 22 + [""]
        assert (tmp_path / "out" / rows[-1]["image_name"]).read_bytes() == images[-2].read_bytes()

    def test_a_box_of_another_image_is_reported(self, tree, tmp_path):
        box = next((tree / "print").glob("*.txt"))
        box.write_text("200 200\n300 300\n")
        with pytest.raises(InputError, match=r"\(200, 200\) to \(300, 300\) isn't within the image of 96 x 80 pixels"):
            prepare(settings(tmp_path, boxes=choose_boxes(["txt"], False, MEANINGS)), progress=False)

    def test_a_border_of_jpeg_files_needs_encoding(self, tree, tmp_path):
        boxes, images = choose_boxes(["txt"], False, MEANINGS), ImageSettings(border="replicate")
        with pytest.raises(InputError, match="--border replicate adds pixels"):
            prepare(settings(tmp_path, boxes=boxes, images=images), progress=False)

    def test_a_detector_finds_real_faces(self, nuaa_sample, make):
        pytest.importorskip("dlib", reason="dlib isn't installed: pip install -e .[detect]")
        detector = FaceDetector()
        rows = make.read_list(nuaa_sample / "val.csv")[::8]
        overlaps = []
        for row in rows:
            left, top, right, bottom = detector(decode_image((nuaa_sample / row["image_name"]).read_bytes()))
            x, y, w, h = (int(row[f"face_{name}"]) for name in "xywh")
            across = max(min(right, x + w) - max(left, x), 0)
            both = across * max(min(bottom, y + h) - max(top, y), 0)
            overlaps.append(both / ((right - left) * (bottom - top) + w * h - both))
        assert np.median(overlaps) > 0.6

    def test_frames_without_a_face_are_left_out_alone(self, tmp_path, make):
        """A stand-in for a detector that sees a face in the first half of each clip only."""

        def boxes(path, pixels):
            seen[path.name] = seen.get(path.name, 0) + 1
            if seen[path.name] > 2:
                raise ValueError("no face found")
            return 10, 10, 40, 40

        seen = {}
        make.write_video(tmp_path / "in" / "live" / "a.avi", frames=8)
        with pytest.raises(InputError, match="1 of 1 file can't be used"):
            prepare(settings(tmp_path, boxes=boxes, frames=4), progress=False)
        seen.clear()
        prepare(settings(tmp_path, boxes=boxes, frames=4, on_error="skip"), progress=False)
        assert len(make.read_list(tmp_path / "out" / "markup.csv")) == 2
        assert make.read_list(tmp_path / "out" / "rejected.csv") == [
            {"file": "live/a.avi", "reason": f"frame {number}: no face found"} for number in (5, 7)
        ]

    def test_no_face_is_reported_and_not_guessed(self, tmp_path, make):
        pytest.importorskip("dlib", reason="dlib isn't installed: pip install -e .[detect]")
        make.write(tmp_path / "in" / "live" / "wall.png", make.encoded(np.full((120, 120, 3), 90, np.uint8), "png"))
        with pytest.raises(InputError, match=r"live/wall\.png: no face found"):
            prepare(settings(tmp_path, boxes=choose_boxes(None, True, MEANINGS)), progress=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say what the files show: --layout NAME for a known dataset"),
        (["--layout", "oulu"], "did you mean oulu_npu"),
        (["--layout", "siw", "--live", "live"], "--live, --attack and --pattern go without it"),
        (["--layout", "none.yaml"], "layout none.yaml doesn't exist"),
        ([*BY_NAME, "--boxes", "txt", "--detect"], "--boxes and --detect are both given"),
        ([*BY_NAME, "--boxes", "txt", "a.csv"], "txt goes alone"),
        ([*BY_NAME, "--boxes", "missing.csv"], "missing.csv: No such file or directory"),
        ([*BY_NAME, "--boxes", "txt", "--expand", "0.9"], "--expand is 0.9"),
        ([*BY_NAME, "--expand", "2"], "--expand goes with --boxes or --detect"),
        ([*BY_NAME, "--boxes", "none", "--keep-images"], "--keep-images goes with --boxes or --detect"),
        ([*BY_NAME, "--boxes", "txt", "--keep-images", "--border", "clip"], "--border is for crops"),
        ([*BY_NAME, "--reencode", "high"], "--reencode is 'high'; expected a quality from 1 to 100, or png"),
        ([*BY_NAME, "--reencode", "0"], "--reencode is 0"),
        ([*BY_NAME, "--frames", "0"], "--frames is 0; expected at least 1"),
        ([*BY_NAME, "--workers", "0"], "--workers is 0; expected at least 1"),
        ([*BY_NAME, "--group-by", "subject"], "--group-by goes with --split SPLIT=SHARE"),
        ([*BY_NAME, "--split", "train=1", "--group-by", "person"], "--group-by is 'person'; expected one of subject"),
        ([*BY_NAME, "--split", "train=1", "--seed", "-1"], "--seed is -1"),
        ([*BY_NAME, "--pattern", "(?P<vidoe>.)"], "did you mean video?"),
        (["--liv", "live"], "unknown argument --liv; did you mean --live"),
        ([*BY_NAME, "--input", "nowhere"], "input nowhere: no such folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tree, tmp_path, script_here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = script_here("--input", "in", "--output", "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_log_has_no_progress_bar(tmp_path, make, monkeypatch, capsys):
    # One that doesn't wait whether there is enough to do.
    monkeypatch.setattr(job, "tqdm", lambda *given, **options: tqdm(*given, **{**options, "delay": 0}))
    make.write(tmp_path / "in" / "live" / "1.png", make.encoded(make.picture(), "png"))
    prepare(settings(tmp_path))
    assert capsys.readouterr().err == ""


def test_an_empty_folder(tmp_path, make):
    make.write(tmp_path / "in" / "live" / "1.heic", "x")
    with pytest.raises(InputError, match=r"no image or video in this folder .*; passed over: \.heic 1"):
        prepare(settings(tmp_path), progress=False)


def test_names_are_different_for_systems_that_ignore_case_and_accents():
    names = OutputNames()
    given = [names.image(name, ".png") for name in ("a/B.bmp", "A/b.webp", "a/b.png", "a/e\u0301.bmp", "a/\u00e9.bmp")]
    assert given == [
        "images/a/B.png",
        "images/A/b.webp.png",
        "images/a/b.png.png",
        "images/a/e\u0301.png",
        "images/a/\u00e9.bmp.png",
    ]
    assert names.folder("a.mp4") == "images/a.mp4", "images lie in a folder of its short name"
    assert OutputNames().image("live /x:y?.jpg", ".jpg") == "images/live_/x_y_.jpg"
    assert OutputNames().image("images/1.jpg", ".jpg") == "images/1.jpg"


@needs_turbojpeg
def test_the_real_sample(nuaa_sample, tmp_path, project, make):
    """Prepared by its layout and boxes: the labels, persons and attack types that its own lists give."""
    meanings = choose_meanings("nuaa", project / "configs" / "layouts", [], [], [])
    lists = [nuaa_sample / name for name in ("train.csv", "val.csv")]
    shares = SplitShares.parse("train=0.7,val=0.3")
    boxes = choose_boxes([str(path) for path in lists], False, meanings)
    prepare(PreparationSettings(nuaa_sample, tmp_path / "out", meanings, boxes=boxes, split=shares), progress=False)
    known = {row["image_name"]: row for path in lists for row in make.read_list(path)}
    rows = [row for name in ("train", "val") for row in make.read_list(tmp_path / "out" / f"{name}.csv")]
    assert {row["image_name"] for row in rows} == known.keys()
    for row in rows:
        expected = known[row["image_name"]]
        assert (row["label"], row["subject"]) == (expected["label"], expected["subject"])
        assert row["attack_type"] == (expected["attack_type"] if row["label"] == "0" else "bonafide")
        assert (row["face_w"], row["face_h"]) == (expected["face_w"], expected["face_h"])
