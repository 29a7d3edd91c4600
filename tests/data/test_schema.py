"""The one definition of a dataset of captures."""

import datasets
import pytest

from patchnet_hf.data.schema import LABELS, capture_features, check_schema, live_patch_types
from patchnet_hf.errors import InputError

ROW = {
    "image": {"bytes": b"\xff\xd8\xff\xd9", "path": "a.jpg"},
    "label": 0,
    "patch_type": 0,
    "attack_type": "print",
    "source": "nuaa",
    "subject": None,
    "session": None,
    "video": None,
    "device": None,
    "face_box": None,
}


def captures(pairs, patch_types=LABELS) -> datasets.Dataset:
    rows = [ROW | {"label": label, "patch_type": patch_type} for label, patch_type in pairs]
    return datasets.Dataset.from_list(rows, features=capture_features(patch_types))


def test_label_0_is_spoof_and_1_is_live():
    assert capture_features()["label"].names == ["spoof", "live"]


def test_patch_type_ids_are_positions_in_the_given_list():
    assert capture_features(["b", "a"])["patch_type"].str2int(["b", "a"]) == [0, 1]


@pytest.mark.parametrize("names, message", [([], "at least one"), (["a", "b", "a"], "more than once: a")])
def test_patch_types_must_be_there_and_unique(names, message):
    with pytest.raises(InputError, match=message):
        capture_features(names)


def test_face_boxes_and_nulls_survive_disk_parquet_and_filtering(tmp_path):
    boxes = [[1, 2, 3, 4], None, None, [5, 6, 7, 8], None]
    rows = [ROW | {"face_box": box} for box in boxes]
    dataset = datasets.Dataset.from_list(rows, features=capture_features())
    dataset.save_to_disk(tmp_path / "disk")
    loaded = datasets.load_from_disk(tmp_path / "disk")
    assert loaded["face_box"][:] == boxes
    assert loaded.select([3, 1])["face_box"][:] == [[5, 6, 7, 8], None]
    loaded.to_parquet(tmp_path / "data.parquet")
    parquet = datasets.Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    assert parquet["face_box"][:] == boxes
    assert parquet.features == capture_features()


def test_a_dataset_of_captures_may_have_more_columns():
    check_schema(captures([(0, 0)]).add_column("score", [0.5]), "here")


def test_every_split_is_checked():
    good = captures([(0, 0)])
    splits = datasets.DatasetDict(train=good, val=good.remove_columns(["video", "device"]))
    with pytest.raises(InputError, match=r"data/x, split val: .*no column video, device"):
        check_schema(splits, "data/x")


@pytest.mark.parametrize(
    "column, feature",
    [
        ("label", datasets.ClassLabel(names=["live", "spoof"])),
        ("label", datasets.Value("int64")),
        ("patch_type", datasets.Value("int64")),
    ],
)
def test_a_column_of_another_type_is_named(column, feature):
    features = capture_features()
    features[column] = feature
    dataset = datasets.Dataset.from_list([ROW], features=features)
    with pytest.raises(InputError, match=f"here: column {column} is"):
        check_schema(dataset, "here")


def test_images_must_be_images():
    features = capture_features()
    features["image"] = datasets.Value("string")
    dataset = datasets.Dataset.from_list([ROW | {"image": "a.jpg"}], features=features)
    with pytest.raises(InputError, match="column image is"):
        check_schema(dataset, "here")


def test_splits_with_other_patch_types_are_refused():
    splits = datasets.DatasetDict(train=captures([(0, 0)], ["a", "b"]), val=captures([(0, 0)], ["b", "a"]))
    with pytest.raises(InputError, match="different patch types"):
        check_schema(splits, "here")


def test_live_patch_types_are_those_seen_with_the_live_label():
    dataset = captures([(1, 2), (0, 1), (1, 0), (1, 2)], ["z/live", "z/print", "a/live", "never seen"])
    assert live_patch_types(dataset) == ["z/live", "a/live"]


def test_live_patch_types_respects_a_selection_of_rows():
    dataset = captures([(1, 0), (0, 1), (1, 2)], ["a", "b", "c"])
    assert live_patch_types(dataset.select([2, 1])) == ["c"]


def test_live_patch_types_looks_at_all_splits():
    names = ["a", "b"]
    splits = datasets.DatasetDict(train=captures([(1, 0)], names), val=captures([(1, 1)], names))
    assert live_patch_types(splits) == names
    splits["val"] = captures([(0, 0)], names)
    with pytest.raises(InputError, match="both labels, spoof and live: a"):
        live_patch_types(splits)
