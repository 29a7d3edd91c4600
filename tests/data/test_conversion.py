"""From CSV folders to an Arrow dataset on disk."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import datasets
import numpy as np
import PIL.Image
import pytest

from patchnet_hf.data import conversion, shards
from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.schema import capture_features, check_schema
from patchnet_hf.errors import InputError


def write_image(path: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_csv(path: Path, *rows: str, header: str = "image_name,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dataset `faces` of four images, two of them live, listed in all.csv."""
    folder = tmp_path / "faces"
    for index in range(4):
        write_image(folder / "images" / f"{index}.jpg", index)
    write_csv(folder / "all.csv", *(f"images/{index}.jpg,{index % 2}" for index in (3, 0, 2, 1)))
    return folder


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "out" / "dataset"


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rows_keep_the_order_of_the_list_and_files_their_bytes(folder, output):
    convert_csv([folder / "all.csv"], output)
    dataset = datasets.load_from_disk(output)["all"]
    check_schema(dataset, "here")
    images = dataset.cast_column("image", datasets.Image(decode=False))["image"][:]
    assert [image["path"] for image in images] == [f"images/{index}.jpg" for index in (3, 0, 2, 1)]
    assert [image["bytes"] for image in images] == [(folder / image["path"]).read_bytes() for image in images]
    assert dataset["label"][:] == [1, 0, 0, 1]
    assert dataset["attack_type"][:] == ["bonafide", "attack", "attack", "bonafide"]
    assert dataset["source"][:] == ["faces"] * 4
    assert dataset["subject"][:] == dataset["face_box"][:] == [None] * 4


def test_bytes_are_stored_even_when_names_are_found_from_the_current_folder(folder, output, monkeypatch):
    monkeypatch.chdir(folder)
    convert_csv(["all.csv"], output)
    shutil.rmtree(folder / "images")
    assert datasets.load_from_disk(output)["all"][0]["image"].size == (40, 30)


def test_every_column_reaches_the_dataset(folder, output):
    header = "image_name,label,device,material,attack_type,source,subject,session,video,face_x,face_y,face_w,face_h"
    write_csv(
        folder / "all.csv",
        "images/0.jpg,0,p1,print,paper,oulu,s1,2,v7,0,0,40,30",
        "images/1.jpg,1,p1,live,,,,,,,,,",
        header=header,
    )
    summary = convert_csv([folder / "all.csv"], output)
    attack, live = datasets.load_from_disk(output)["all"].remove_columns("image")
    assert attack == {
        "label": 0,
        "patch_type": 1,
        "attack_type": "paper",
        "source": "oulu",
        "subject": "s1",
        "session": "2",
        "video": "v7",
        "device": "p1",
        "face_box": [0, 0, 40, 30],
    }
    nothing = dict.fromkeys(("subject", "session", "video", "face_box"))
    assert live == nothing | {
        "label": 1,
        "patch_type": 0,
        "attack_type": "bonafide",
        "source": "faces",
        "device": "p1",
    }
    assert (summary.patch_types, summary.live_patch_types) == (["p1/live", "p1/print"], ["p1/live"])


def test_all_splits_share_one_sorted_list_of_patch_types(folder, output):
    header = "image_name,label,patch_type"
    write_csv(folder / "train.csv", "images/0.jpg,0,z", "images/1.jpg,1,m", header=header)
    write_csv(folder / "val.csv", "images/2.jpg,0,a", header=header)
    convert_csv([folder], output)
    splits = datasets.load_from_disk(output)
    assert list(splits) == ["train", "val"]
    for split in splits.values():
        assert split.features == capture_features(["a", "m", "z"])
    assert splits["train"]["patch_type"][:] == [2, 1]
    assert splits["val"]["patch_type"][:] == [0]


def test_lists_of_the_same_split_are_joined_in_the_order_given(folder, output, tmp_path):
    write_image(tmp_path / "other" / "x.png")
    other = write_csv(tmp_path / "other" / "train" / "markup.csv", "x.png,1")
    shutil.move(tmp_path / "other" / "x.png", other.parent / "x.png")
    convert_csv([other.parent, f"train={folder / 'all.csv'}"], output)
    splits = datasets.load_from_disk(output)
    assert list(splits) == ["train"]
    assert splits["train"]["source"][:] == ["other"] + ["faces"] * 4


def test_a_large_split_is_spread_over_shards(folder, output, monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 2)
    write_csv(folder / "all.csv", *(f"images/{index % 4}.jpg,{index % 2}" for index in range(9)))
    convert_csv([folder / "all.csv"], output, num_proc=3)
    assert len(list((output / "all").glob("data-*-of-00005.arrow"))) == 5
    dataset = datasets.load_from_disk(output)["all"]
    names = dataset.cast_column("image", datasets.Image(decode=False))["image"][:]
    assert [image["path"] for image in names] == [f"images/{index % 4}.jpg" for index in range(9)]


def test_equal_input_gives_equal_files_and_changed_images_another_fingerprint(folder, tmp_path):
    for name in ("a", "b"):
        convert_csv([folder / "all.csv"], tmp_path / name, num_proc=4)
    first, second = files_below(tmp_path / "a"), files_below(tmp_path / "b")
    del first["conversion.json"], second["conversion.json"]  # it names the output folder
    assert first == second
    write_image(folder / "images" / "0.jpg", seed=99)
    convert_csv([folder / "all.csv"], tmp_path / "b", overwrite=True)
    old, new = (datasets.load_from_disk(tmp_path / name)["all"] for name in ("a", "b"))
    assert old._fingerprint != new._fingerprint
    assert np.any(np.asarray(old[1]["image"]) != np.asarray(new[1]["image"]))


def test_the_hugging_face_cache_stays_as_it_is(folder, output):
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    before = set(cache.rglob("*"))
    convert_csv([folder / "all.csv"], output)
    assert set(cache.rglob("*")) == before


def test_a_converted_dataset_can_be_mapped_filtered_and_saved_again(folder, output, tmp_path):
    convert_csv([folder / "all.csv"], output)
    dataset = datasets.load_from_disk(output)["all"]
    live = dataset.filter(lambda label: label == 1, input_columns="label").map(lambda row: {"n": row["label"]})
    live.save_to_disk(tmp_path / "live")
    assert datasets.load_from_disk(tmp_path / "live")["n"][:] == [1, 1]


BAD_ROWS = {
    "missing.jpg,1": "image missing.jpg: no such file",
    "images,1": "image images: a folder",
    "images/text.jpg,1": "image images/text.jpg: not an image",
    "images/cut.jpg,1": "image images/cut.jpg: the JPEG file is truncated",
    "images/empty.jpg,1": "image images/empty.jpg: the file is empty",
    "images/0.jpg,2": "label is '2'",
    "../secret.jpg,1": "the path leaves the CSV's folder",
    "images/../../secret.jpg,1": "the path leaves the CSV's folder",
    "../faces/images/0.jpg,1": "the path leaves the CSV's folder",
    "images/link.jpg,1": "a symbolic link leads out",
    "linked/secret.jpg,1": "a symbolic link leads out",
    "C:\\images\\0.jpg,1": "an absolute path",
    "images\\0.jpg,1": "write / instead of",
}


@pytest.fixture
def bad_folder(folder, tmp_path) -> Path:
    """`faces` with a list of one good row, each bad row, and one more good row."""
    secret = write_image(tmp_path / "secret.jpg")
    images = folder / "images"
    (images / "text.jpg").write_text("not an image")
    (images / "empty.jpg").touch()
    (images / "cut.jpg").write_bytes((images / "0.jpg").read_bytes()[:-200])
    (images / "link.jpg").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    write_csv(folder / "all.csv", "images/1.jpg,1", *BAD_ROWS, f"{images / '0.jpg'},0", "images/0.jpg,0")
    return folder


def test_bad_rows_are_all_reported_at_once_and_nothing_is_written(bad_folder, output):
    with pytest.raises(InputError) as raised:
        convert_csv([bad_folder / "all.csv"], output)
    first, *lines = str(raised.value).splitlines()
    assert first.startswith("14 rows can't be used (scripts/convert_dataset.py --on-error skip")
    expected = [*BAD_ROWS.values(), "an absolute path"]
    assert len(lines) == len(expected)
    for number, (line, reason) in enumerate(zip(lines, expected, strict=True), 3):
        assert line.startswith(f"  {bad_folder / 'all.csv'}:{number}: ")
        assert reason in line
    assert not output.parent.exists()
    assert [path.name for path in bad_folder.parent.iterdir() if path.name.startswith(".")] == []


def test_skipped_rows_are_listed_in_rejected_csv(bad_folder, output):
    summary = convert_csv([bad_folder / "all.csv"], output, on_error="skip")
    dataset = datasets.load_from_disk(output)["all"]
    assert dataset["label"][:] == [1, 0]
    assert (summary.splits["all"].images, summary.splits["all"].rejected) == (2, 14)
    with open(output / "rejected.csv", newline="", encoding="utf-8") as file:
        rejected = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rejected] == list(range(3, 17))
    assert [row["image_name"] for row in rejected[:-1]] == [line.rpartition(",")[0] for line in BAD_ROWS]
    assert {row["file"] for row in rejected} == {str(bad_folder / "all.csv")}
    assert "label is '2'" in rejected[5]["reason"]


def test_without_bad_rows_there_is_no_rejected_csv(folder, output):
    convert_csv([folder / "all.csv"], output, on_error="skip")
    assert not (output / "rejected.csv").exists()


def test_a_long_list_of_bad_rows_is_cut_and_counted(folder, output):
    write_csv(folder / "all.csv", *(f"{index}.jpg,1" for index in range(60)))
    with pytest.raises(InputError) as raised:
        convert_csv([folder / "all.csv"], output)
    lines = str(raised.value).splitlines()
    assert len(lines) == 52
    assert lines[0].startswith("60 rows")
    assert lines[-1] == "  … and 10 more"


@pytest.mark.parametrize(
    "box, reason",
    [
        ("0,0,40,30", None),
        ("39,29,1,1", None),
        ("1,0,40,30", "isn't within the image of 40 x 30 pixels"),
        ("0,1,40,30", "isn't within the image of 40 x 30 pixels"),
        ("-1,0,10,10", "isn't within"),
        ("0,0,0,30", "has no area"),
        ("0,0,10,-5", "has no area"),
    ],
)
def test_a_face_box_must_lie_within_the_image(folder, output, box, reason):
    write_csv(folder / "all.csv", f"images/0.jpg,0,{box}", header="image_name,label,face_x,face_y,face_w,face_h")
    if reason is None:
        convert_csv([folder / "all.csv"], output)
        assert datasets.load_from_disk(output)["all"][0]["face_box"] == [int(value) for value in box.split(",")]
    else:
        with pytest.raises(InputError, match=rf"all\.csv:2: .*{reason}"):
            convert_csv([folder / "all.csv"], output)


def test_a_face_box_is_in_pixels_of_the_upright_image(folder, output):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (40, 30)).save(folder / "images" / "turned.jpg", exif=exif)
    header = "image_name,label,face_x,face_y,face_w,face_h"
    write_csv(folder / "all.csv", "images/turned.jpg,0,0,0,30,40", header=header)
    convert_csv([folder / "all.csv"], output)
    assert datasets.load_from_disk(output)["all"][0]["image"].size == (30, 40)
    write_csv(folder / "all.csv", "images/turned.jpg,0,0,0,40,30", header=header)
    with pytest.raises(InputError, match="isn't within the image of 30 x 40"):
        convert_csv([folder / "all.csv"], output.with_name("other"))


def test_links_within_the_folder_are_followed(folder, output):
    (folder / "link.jpg").symlink_to(folder / "images" / "0.jpg")
    write_csv(folder / "all.csv", "link.jpg,0", "images/../images/1.jpg,1")
    convert_csv([folder / "all.csv"], output)
    assert len(datasets.load_from_disk(output)["all"]) == 2


def test_a_linked_dataset_folder_is_no_way_out(folder, output, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    convert_csv([tmp_path / "link" / "all.csv"], output)
    assert len(datasets.load_from_disk(output)["all"]) == 4


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_patch_type_with_both_labels_is_an_error(folder, output, on_error):
    header = "image_name,label,patch_type"
    write_csv(folder / "train.csv", "images/0.jpg,0,p1", "images/2.jpg,0,p2", header=header)
    write_csv(folder / "val.csv", "images/1.jpg,1,p1", header=header)
    with pytest.raises(InputError, match=r"patch type p1: spoof at .*train\.csv:2, live at .*val\.csv:2"):
        convert_csv([folder], output, on_error=on_error)
    assert not output.exists()


def test_a_patch_type_whose_rows_were_all_rejected_is_no_class(folder, output):
    header = "image_name,label,patch_type"
    write_csv(folder / "all.csv", "images/0.jpg,0,b", "gone.jpg,0,a", "images/1.jpg,1,c", header=header)
    summary = convert_csv([folder / "all.csv"], output, on_error="skip")
    dataset = datasets.load_from_disk(output)["all"]
    assert dataset.features["patch_type"].names == summary.patch_types == ["b", "c"]
    assert dataset["patch_type"][:] == [0, 1]
    assert summary.splits["all"].rejected == 1


def test_a_split_without_a_usable_row_is_an_error(folder, output):
    write_csv(folder / "val.csv", "gone.jpg,0")
    with pytest.raises(InputError, match=r"no usable row for split val:\n  .*val\.csv:2: image gone\.jpg"):
        convert_csv([folder / "all.csv", folder / "val.csv"], output, on_error="skip")
    assert not output.exists()


def test_an_existing_dataset_is_replaced_only_when_told(folder, output):
    convert_csv([folder / "all.csv"], output)
    before = files_below(output)
    with pytest.raises(InputError, match=r"a dataset is there already; .*--overwrite"):
        convert_csv([f"new={folder / 'all.csv'}"], output)
    assert files_below(output) == before
    datasets.load_from_disk(output)["all"].map(lambda row: {"n": 1})  # leaves a cache file there
    convert_csv([f"new={folder / 'all.csv'}"], output, overwrite=True)
    assert list(datasets.load_from_disk(output)) == ["new"]
    assert [path.name for path in output.parent.iterdir()] == ["dataset"]


def test_a_failed_overwrite_leaves_the_old_dataset(folder, output):
    convert_csv([folder / "all.csv"], output)
    before = files_below(output)
    write_csv(folder / "all.csv", "gone.jpg,0")
    with pytest.raises(InputError):
        convert_csv([folder / "all.csv"], output, overwrite=True)
    assert files_below(output) == before


@pytest.mark.parametrize("stranger", ["notes.txt", "all/notes.txt", "photos/1.jpg"])
def test_overwriting_never_deletes_what_is_not_part_of_a_dataset(folder, output, stranger):
    convert_csv([folder / "all.csv"], output)
    (output / stranger).parent.mkdir(exist_ok=True)
    (output / stranger).write_text("precious")
    with pytest.raises(InputError, match="which overwriting would delete"):
        convert_csv([folder / "all.csv"], output, overwrite=True)
    assert (output / stranger).read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_never_touched(folder, overwrite):
    before = files_below(folder)
    with pytest.raises(InputError, match="isn't empty and holds no dataset"):
        convert_csv([folder / "all.csv"], folder, overwrite=overwrite)
    assert files_below(folder) == before
    with pytest.raises(InputError, match="a file stands there"):
        convert_csv([folder / "all.csv"], folder / "all.csv", overwrite=overwrite)


def test_an_empty_folder_may_be_the_output(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    convert_csv([folder / "all.csv"], tmp_path / "empty")
    assert list(datasets.load_from_disk(tmp_path / "empty")) == ["all"]


def test_the_output_is_readable_by_others_as_usual(folder, output, tmp_path):
    (tmp_path / "ordinary").mkdir()
    convert_csv([folder / "all.csv"], output)
    assert output.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_the_summary_counts_each_split_and_stands_beside_the_data(folder, output):
    header = "image_name,label,attack_type,source,colour"
    write_csv(folder / "train.csv", "images/0.jpg,0,print,a,x", "images/2.jpg,0,mask,b,x", header=header)
    write_csv(folder / "val.csv", "images/1.jpg,1,,b,x", "images/0.jpg,0,print,b,x", "no.jpg,0,,,x", header=header)
    summary = convert_csv([folder], output, on_error="skip")
    written = json.loads((output / "conversion.json").read_text(encoding="utf-8"))
    assert written["splits"] == {
        "train": {
            "images": 2,
            "live": 0,
            "attacks": {"mask": 1, "print": 1},
            "sources": {"a": 1, "b": 1},
            "rejected": 0,
        },
        "val": {"images": 2, "live": 1, "attacks": {"print": 1}, "sources": {"b": 2}, "rejected": 1},
    }
    assert written["ignored_columns"] == {str(folder / f"{name}.csv"): ["colour"] for name in ("train", "val")}
    lines = [line.split() for line in summary.table().splitlines()]
    assert lines[2][:5] == ["train", "2", "0", "2", "0"]
    assert lines[-1] == ["total", "4", "1", "3", "1", "mask", "1,", "print", "2", "a", "1,", "b", "3"]


def test_a_full_disk_is_one_line_and_the_same_call_goes_on_when_there_is_room(folder, output):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"output .*dataset: can't be written: .*File too large.*goes on"):
            convert_csv([folder / "all.csv"], output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not output.exists()
    assert convert_csv([folder / "all.csv"], output).splits["all"].images == 4
    assert sorted(path.name for path in folder.parent.iterdir()) == ["faces", "out"]


def test_what_was_put_into_the_output_meanwhile_is_not_replaced(folder, output, monkeypatch):
    write_shards = conversion.write_shards

    def meanwhile(*arguments):
        output.mkdir(parents=True)
        (output / "thesis.txt").write_text("years of work")
        yield from write_shards(*arguments)

    monkeypatch.setattr(conversion, "write_shards", meanwhile)
    with pytest.raises(InputError, match="the folder isn't empty and holds no dataset"):
        convert_csv([folder / "all.csv"], output)
    assert (output / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"num_proc": 0}])
def test_wrong_options_are_named(folder, output, options):
    with pytest.raises(InputError, match=next(iter(options))):
        convert_csv([folder / "all.csv"], output, **options)


def test_real_captures_come_through_unchanged(nuaa_sample, output):
    summary = convert_csv([nuaa_sample], output)
    assert {name: (split.live, split.attacks) for name, split in summary.splits.items()} == {
        "train": (100, {"print": 100}),
        "val": (40, {"print": 40}),
    }
    for split, dataset in datasets.load_from_disk(output).items():
        with open(nuaa_sample / f"{split}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        stored = dataset.cast_column("image", datasets.Image(decode=False))
        assert len(stored) == len(rows)
        for capture, row in zip(stored, rows, strict=True):
            assert capture["image"]["bytes"] == (nuaa_sample / row["image_name"]).read_bytes()
            assert capture["label"] == int(row["label"])
            assert capture["face_box"] == [int(row[f"face_{side}"]) for side in "xywh"]


class TestCommandLine:
    @staticmethod
    def run(project, *arguments, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, project / "scripts" / "convert_dataset.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)

    def test_it_converts_and_says_what_to_do_next(self, project, folder, output):
        done = self.run(project, "--csv", f"train={folder / 'all.csv'}", "--output", output)
        assert done.returncode == 0, done.stderr
        assert "total       4     2        2         0  attack 2      faces 4" in done.stdout
        assert done.stdout.splitlines()[-1] == (
            f"next: accelerate launch --quiet scripts/train.py --dataset {output} …"
        )
        assert list(datasets.load_from_disk(output)) == ["train"]

    @pytest.mark.parametrize("case", ["missing list", "bad rows", "wrong option"])
    def test_bad_input_ends_with_code_2_and_no_traceback(self, project, bad_folder, output, case):
        arguments, lines, words = {
            "missing list": (["--csv", bad_folder / "no.csv"], 1, "no such CSV file or folder"),
            "bad rows": (["--csv", bad_folder / "all.csv"], 15, "14 rows can't be used"),
            "wrong option": (
                ["--csv", bad_folder / "all.csv", "--on-eror=skip"],
                1,
                "unknown argument --on-eror; did you mean --on-error",
            ),
        }[case]
        done = self.run(project, *arguments, "--output", output)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == lines, done.stderr
        assert words in done.stderr.splitlines()[0]
        assert done.stdout == ""
        assert not output.parent.exists()

    @pytest.mark.slow
    def test_an_interrupted_conversion_says_that_it_goes_on(self, project, folder, tmp_path):
        write_image(folder / "images" / "large.jpg", width=2000, height=1500)
        write_csv(folder / "all.csv", *["images/large.jpg,1"] * 2000)
        command = [
            sys.executable,
            project / "scripts" / "convert_dataset.py",
            "--csv",
            folder / "all.csv",
            "--output",
            "dataset",
        ]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".dataset.*.unfinished/shards/0.arrow.*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, messages = process.communicate(timeout=60)
        assert process.returncode == 130
        assert messages.splitlines()[-1] == "convert_dataset.py: stopped; the same command goes on from here"
        assert not (tmp_path / "dataset").exists()
