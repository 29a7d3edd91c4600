"""The layouts that come with the project, each on a small tree as the dataset has it, and mistakes in new ones."""

import json

import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.preparation.job import prepare
from patchnet_hf.preparation.layouts import find_layout, load_layout, parse_layout
from patchnet_hf.preparation.settings import PreparationSettings, choose_boxes

# Of each dataset: file -> (list, label, attack type, patch type, device, subject, session, video).
TREES = {
    "oulu_npu": {
        "Train_files/1_1_01_1.avi": ("train", 1, "bonafide", "1/live", "1", "01", "1", "1_1_01_1"),
        "Train_files/6_2_20_2.avi": ("train", 0, "print1", "6/print1", "6", "20", "2", "6_2_20_2"),
        "Train_files/6_2_20_3.avi": ("train", 0, "print2", "6/print2", "6", "20", "2", "6_2_20_3"),
        "Dev_files/2_3_21_4.avi": ("val", 0, "replay1", "2/replay1", "2", "21", "3", "2_3_21_4"),
        "Test_files/3_1_55_5.avi": ("test", 0, "replay2", "3/replay2", "3", "55", "1", "3_1_55_5"),
    },
    "casia_fasd": {
        "train_release/1/1.avi": ("train", 1, "bonafide", "low/live", "low", "train_1", "", "train_1_1"),
        "train_release/1/2.avi": ("train", 1, "bonafide", "normal/live", "normal", "train_1", "", "train_1_2"),
        "train_release/1/HR_1.avi": ("train", 1, "bonafide", "high/live", "high", "train_1", "", "train_1_HR_1"),
        "train_release/1/3.avi": ("train", 0, "warped_photo", "low/warped_photo", "low", "train_1", "", "train_1_3"),
        "train_release/1/4.avi": (
            *("train", 0, "warped_photo", "normal/warped_photo", "normal", "train_1", "", "train_1_4"),
        ),
        "train_release/20/HR_2.avi": (
            *("train", 0, "warped_photo", "high/warped_photo", "high", "train_20", "", "train_20_HR_2"),
        ),
        "test_release/1/5.avi": ("test", 0, "cut_photo", "low/cut_photo", "low", "test_1", "", "test_1_5"),
        "test_release/1/6.avi": ("test", 0, "cut_photo", "normal/cut_photo", "normal", "test_1", "", "test_1_6"),
        "test_release/1/HR_3.avi": ("test", 0, "cut_photo", "high/cut_photo", "high", "test_1", "", "test_1_HR_3"),
        "test_release/1/7.avi": ("test", 0, "video", "low/video", "low", "test_1", "", "test_1_7"),
        "test_release/1/8.avi": ("test", 0, "video", "normal/video", "normal", "test_1", "", "test_1_8"),
        "test_release/30/HR_4.avi": ("test", 0, "video", "high/video", "high", "test_30", "", "test_30_HR_4"),
    },
    "replay_attack": {
        "train/real/client001_session01_webcam_authenticate_adverse_1.mov": (
            *("train", 1, "bonafide", "webcam/live", "webcam", "001", "01"),
            "client001_session01_webcam_authenticate_adverse_1",
        ),
        "devel/attack/fixed/attack_print_client003_session01_highdef_photo_adverse.mov": (
            *("val", 0, "print", "webcam/print", "webcam", "003", "01"),
            "fixed_attack_print_client003_session01_highdef_photo_adverse",
        ),
        "test/attack/hand/attack_mobile_client009_session02_mobile_video_adverse.mov": (
            *("test", 0, "replay", "webcam/mobile", "webcam", "009", "02"),
            "hand_attack_mobile_client009_session02_mobile_video_adverse",
        ),
        "test/attack/fixed/attack_highdef_client009_session01_highdef_photo_controlled.mov": (
            *("test", 0, "replay", "webcam/highdef", "webcam", "009", "01"),
            "fixed_attack_highdef_client009_session01_highdef_photo_controlled",
        ),
        "enroll/train/client001_session01_webcam_enroll_adverse_1.mov": None,
    },
    "msu_mfsd": {
        "real/real_client001_android_SD_scene01.mp4": (
            *("markup", 1, "bonafide", "android/live", "android", "001", "01", "real_client001_android_SD_scene01"),
        ),
        "attack/attack_client002_laptop_SD_ipad_video_scene01.mov": (
            *("markup", 0, "replay", "laptop/ipad", "laptop", "002", "01"),
            "attack_client002_laptop_SD_ipad_video_scene01",
        ),
        "attack/attack_client002_android_SD_iphone_video_scene01.mp4": (
            *("markup", 0, "replay", "android/iphone", "android", "002", "01"),
            "attack_client002_android_SD_iphone_video_scene01",
        ),
        "attack/attack_client055_laptop_SD_printed_photo_scene01.mov": (
            *("markup", 0, "print", "laptop/print", "laptop", "055", "01"),
            "attack_client055_laptop_SD_printed_photo_scene01",
        ),
    },
    "siw": {
        "Train/live/003/003-1-1-1-2.mov": ("train", 1, "bonafide", "1/live", "1", "003", "2", "003-1-1-1-2"),
        "Train/spoof/003/003-2-2-1-1.mov": ("train", 0, "print", "2/print1", "2", "003", "1", "003-2-2-1-1"),
        "Test/spoof/005/005-1-3-4-1.mov": ("test", 0, "replay", "1/replay4", "1", "005", "1", "005-1-3-4-1"),
    },
    "nuaa": {
        "ClientRaw/0001/0001_00_00_01_0.jpg": (
            *("markup", 1, "bonafide", "live", "", "0001", "01", "ClientRaw_0001_00_00_01"),
        ),
        "ImposterRaw/0015/0015_01_03_02_339.jpg": (
            *("markup", 0, "print", "print", "", "0015", "02", "ImposterRaw_0015_01_03_02"),
        ),
    },
}
COLUMNS = ("attack_type", "patch_type", "device", "subject", "session", "video")


@pytest.fixture
def layout_of(project):
    return lambda name: load_layout(find_layout(name, project / "configs" / "layouts"))


def fill(folder, names, make):
    for seed, name in enumerate(names):
        if name.endswith(".jpg"):
            make.write(folder / name, make.encoded(make.picture(seed=seed)))
        else:
            make.write_video(folder / name, frames=3, seed=seed)


def lists_of(folder, make) -> dict[str, list[dict]]:
    return {path.stem: make.read_list(path) for path in sorted(folder.glob("*.csv"))}


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("above", ["", "downloads/the dataset/"])
def test_a_known_layout(name, above, layout_of, make, tmp_path):
    expected = TREES[name]
    fill(tmp_path / "in", [above + file for file in expected], make)
    make.write(tmp_path / "in" / above / "readme.txt", "text")
    summary = prepare(
        PreparationSettings(tmp_path / "in", tmp_path / "out", layout_of(name), frames=2), progress=False
    )
    lists = lists_of(tmp_path / "out", make)
    assert set(lists) == {values[0] for values in expected.values() if values}
    for file, values in expected.items():
        stem = f"images/{above}{file.rpartition('.')[0]}"
        rows = [
            (split, row) for split, rows in lists.items() for row in rows
            if row["image_name"].startswith(stem + "/") or row["image_name"] == stem + ".jpg"
        ]  # fmt: skip
        if values is None:
            assert not rows and summary.passed_over["ignored by the layout"] == 1
            continue
        assert len(rows) == (1 if file.endswith(".jpg") else 2)
        for split, row in rows:
            found = (split, int(row["label"]), *(row.get(column, "") for column in COLUMNS))
            assert found == values
            assert row["source"] == name
            assert (tmp_path / "out" / row["image_name"]).is_file()
    assert summary.passed_over[".txt"] == 1


@pytest.mark.parametrize(
    "name, file, reason",
    [
        ("oulu_npu", "Train_files/1_1_01_6.avi", "no pattern of oulu_npu matches its path"),
        ("oulu_npu", "Train_files/7_1_01_1.avi", "no pattern of oulu_npu matches its path"),
        ("casia_fasd", "train_release/1/9.avi", "no pattern of casia_fasd matches its path"),
        ("siw", "Train/live/003/004-1-1-1-1.mov", "no pattern of siw matches its path"),
    ],
)
def test_a_file_that_no_pattern_matches_is_reported(name, file, reason, layout_of, make, tmp_path):
    good = next(iter(TREES[name]))
    fill(tmp_path / "in", [good, file], make)
    settings = {"input": tmp_path / "in", "output": tmp_path / "out", "meanings": layout_of(name), "frames": 1}
    with pytest.raises(InputError, match="1 of 2 files can't be used") as error:
        prepare(PreparationSettings(**settings), progress=False)
    assert f"{file}: {reason}" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert prepare(PreparationSettings(**settings, on_error="skip"), progress=False).rejected == 1
    assert make.read_list(tmp_path / "out" / "rejected.csv") == [{"file": file, "reason": reason}]


# File: (spoof type, illumination, environment, spoof), box as written, size of the image,
# (attack type, patch type), box in pixels.
CELEBA = {
    "Data/train/1/live/000001.png": (
        *((0, 0, 0, 0), "56 28 112 112 0.9999", (448, 224)),
        *(("bonafide", "live"), (112, 28, 224, 112)),
    ),
    "Data/train/1/spoof/000002.jpg": (
        *((1, 1, 1, 1), "56 56 56 112 0.99", (224, 448)),
        *(("print", "photo"), (56, 112, 56, 224)),
    ),
    "Data/train/2/spoof/000003.jpg": (
        *((9, 4, 2, 1), "0 0 112 112 1.0", (224, 224)),
        *(("replay", "phone"), (0, 0, 112, 112)),
    ),
    "Data/test/3/spoof/000004.jpg": (
        *((5, 2, 1, 1), "10 10 50 50", (224, 224)),
        *(("paper_cut", "upper_body_mask"), (10, 10, 50, 50)),
    ),
    "Data/test/3/spoof/000005.jpg": (
        *((10, 2, 1, 1), "10 10 50 50 1.0", (224, 224)),
        *(("3d_mask", "3d_mask"), (10, 10, 50, 50)),
    ),
}


def celeba_tree(folder, make):
    lists = {"train": {}, "test": {}}
    for seed, (name, (attributes, box, size, _, _)) in enumerate(CELEBA.items()):
        pixels = make.picture(*size, seed=seed)
        make.write(folder / name, make.encoded(pixels, "png" if name.endswith(".png") else "jpeg"))
        make.write((folder / name).with_suffix("").with_name((folder / name).stem + "_BB.txt"), box + "\n")
        lists[name.split("/")[1]][name] = [1] * 40 + list(attributes)
    for part, rows in lists.items():
        make.write(folder / "metas" / "intra_test" / f"{part}_label.json", json.dumps(rows))
    return folder


def test_celeba_spoof_by_its_lists(layout_of, make, tmp_path):
    from patchnet_hf.preparation.image_writing import ImageSettings

    layout = layout_of("celeba_spoof")
    celeba_tree(tmp_path / "in" / "CelebA_Spoof", make)
    prepare(
        PreparationSettings(
            tmp_path / "in",
            tmp_path / "out",
            layout,
            boxes=choose_boxes(None, False, layout),
            images=ImageSettings(keep_images=True),
        ),
        progress=False,
    )
    rows = {
        row["image_name"].removeprefix("images/CelebA_Spoof/"): (split, row)
        for split, rows in lists_of(tmp_path / "out", make).items()
        for row in rows
    }
    assert rows.keys() == CELEBA.keys()
    for name, (attributes, _, _, (attack_type, patch_type), box) in CELEBA.items():
        split, row = rows[name]
        assert split == name.split("/")[1]
        assert (int(row["label"]), row["attack_type"], row["patch_type"]) == (
            1 - attributes[3],
            attack_type,
            patch_type,
        )
        assert row["subject"] == name.split("/")[2]
        assert row["session"] == f"environment{attributes[2]}_illumination{attributes[1]}"
        assert tuple(int(row[f"face_{part}"]) for part in "xywh") == box


def test_what_lists_and_files_disagree_about_is_reported(layout_of, make, tmp_path):
    folder = celeba_tree(tmp_path / "in", make)
    (folder / "Data/train/1/spoof/000002.jpg").unlink()
    make.write(folder / "Data/train/9/live/000099.jpg", make.encoded(make.picture()))
    listed = folder / "metas/intra_test/test_label.json"
    rows = json.loads(listed.read_text())
    rows["Data/test/3/spoof/000004.jpg"][43] = 0
    rows["Data/test/3/spoof/000005.jpg"][40] = 11
    listed.write_text(json.dumps(rows))
    with pytest.raises(InputError) as error:
        prepare(PreparationSettings(folder, tmp_path / "out", layout_of("celeba_spoof")), progress=False)
    message = str(error.value)
    assert "4 of 6 files can't be used" in message
    assert "000002.jpg: a list names it, but it isn't there" in message
    assert "000099.jpg: no list of celeba_spoof names it" in message
    assert "000004.jpg: attack_type is 'paper_cut' although label is live" in message
    assert "000005.jpg: spoof_type is '11'; the layout knows 0, 1, 2" in message
    rows["Data/test/3/spoof/000004.jpg"] = [0] * 40
    listed.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"000004.jpg: expected a row of more than 43 attributes"):
        prepare(PreparationSettings(folder, tmp_path / "out", layout_of("celeba_spoof")), progress=False)
    listed.write_text("{")
    with pytest.raises(InputError, match=r"test_label\.json: no readable JSON"):
        prepare(PreparationSettings(folder, tmp_path / "out", layout_of("celeba_spoof")), progress=False)


def test_a_layout_of_ones_own(make, tmp_path):
    yaml = make.write(
        tmp_path / "mine.yaml",
        r"""
name: mine
files:
  - path: 'faces/(?P<who>\w+)-(?P<shown>[a-z]+)(?:-(?P<phone>\d))?\.png'
    label: {shown: {face: live, paper: spoof}}
    material: {shown: {face: live, paper: "paper{phone}"}}
    device: "phone{phone}"
    subject: "{who}"
""",
    )
    layout = load_layout(yaml)
    known = layout("some/where/faces/ann-paper-2.png")
    assert (known.label, known.attack_type, known.patch_type) == (0, "attack", "phone2/paper2")
    # A group that took no part leaves what needs it unknown.
    known = layout("faces/ann-face.PNG")
    assert (known.label, known.device, known.patch_type, known.subject) == (1, None, "live", "ann")
    with pytest.raises(ValueError, match="shown is 'glass'; the layout knows face, paper"):
        layout("faces/ann-glass.png")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fils": []}, "unknown key 'fils'; expected name, description, files, ignore, lists, boxes; did you"),
        ({"files": []}, "files is empty"),
        ({"files": [{"attack_type": "x"}]}, "files 1: path is missing"),
        ({"files": [{"path": "(", "label": "live"}]}, "files 1: path: ( is no regular expression"),
        ({"files": [{"path": ".*"}]}, "files 1: neither label nor attack_type is given"),
        ({"files": [{"path": ".*", "label": "live", "phone": "1"}]}, "files 1: unknown key 'phone'"),
        ({"files": [{"path": "(?P<user>.)", "label": "live", "subject": "{usr}"}]}, "did you mean user?"),
        ({"files": [{"path": "(?P<user>.)", "label": {"usr": {1: "live"}}}]}, "'usr' is no group of the pattern"),
        ({"files": [{"path": "(?P<a>.)(?P<b>.)", "label": {"a": {1: "live"}, "b": {}}}]}, "label has 2 keys"),
        ({"files": [{"path": "(?P<a>.)", "label": {"a": {1: True}}}]}, "label: a 1 is True; expected text"),
        ({"files": [{"path": ".", "label": "live", "split": "val"}, {"path": ".", "label": "live"}]}, "split is"),
        ({"lists": [{"file": "x", "attributes": {"spoof": -1}}]}, "list 1: attributes is"),
        ({"boxes": {"file": "box.txt"}}, "boxes: file is 'box.txt'; expected a file name with {stem}"),
        ({"boxes": {"format": "x y"}}, "expected 'left top right bottom' or 'x y w h'"),
        ({"name": None}, "name is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_a_layout(change, message):
    given = {"name": "x", "files": [{"path": "(?P<a>.).*", "label": "live"}], **change}
    given = {key: value for key, value in given.items() if value is not None}
    with pytest.raises(InputError) as error:
        parse_layout(given, "x.yaml")
    assert str(error.value).startswith("x.yaml: ")
    assert message in str(error.value)


def test_an_unknown_layout_names_the_nearest(project):
    with pytest.raises(InputError, match=r"no layout oulu; expected one of .*oulu_npu.*; did you mean oulu_npu"):
        find_layout("oulu", project / "configs" / "layouts")


def test_every_layout_that_is_shipped_is_tested(project):
    shipped = {path.stem for path in (project / "configs" / "layouts").glob("*.yaml")}
    assert shipped == {*TREES, "celeba_spoof"}
    for name in shipped:
        assert load_layout(project / "configs" / "layouts" / f"{name}.yaml").name == name
