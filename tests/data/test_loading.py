"""Datasets by the names that YAML and the command line give them."""

import datasets
import pytest

from patchnet_hf.data.loading import load_split, load_splits, load_training_and_evaluation_sets, unite_captures
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError


def captures(patch_types, labels, ids):
    rows = len(labels)
    columns = {
        "image": [{"bytes": b"-", "path": None}] * rows,
        "label": labels,
        "patch_type": ids,
        "attack_type": ["bonafide" if label else "print" for label in labels],
        "source": ["test"] * rows,
        **{name: [None] * rows for name in ("subject", "session", "video", "device", "face_box")},
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(patch_types))


@pytest.fixture
def folders(tmp_path):
    first = captures(["a/live", "a/print"], [1, 0], [0, 1])
    second = captures(["b/live", "a/print"], [1, 0, 1], [0, 1, 0])
    longer = captures(["a/live", "a/print"], [1, 0, 1], [0, 1, 0])
    datasets.DatasetDict({"train": first, "val": first, "test": longer}).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": second, "val": second}).save_to_disk(tmp_path / "two")
    datasets.DatasetDict({"only": first}).save_to_disk(tmp_path / "three")
    return tmp_path


def test_a_folders_train_split_is_trained_on_and_the_others_evaluated(folders):
    training, sets = load_training_and_evaluation_sets(f"{folders}/one", None, None)
    assert len(training) == 2 and {name: len(part) for name, part in sets.items()} == {"val": 2, "test": 3}


def test_several_training_sets_are_united_by_the_names_of_their_patch_types(folders):
    training, sets = load_training_and_evaluation_sets(
        None, [f"{folders}/one:train", f"{folders}/two:train"], [f"{folders}/one:val", f"{folders}/two:val"]
    )
    names = training.features["patch_type"].names
    assert names == ["a/live", "a/print", "b/live"]
    assert [names[index] for index in training["patch_type"]] == ["a/live", "a/print", "b/live", "a/print", "b/live"]
    assert training.features == capture_features(names)
    assert list(sets) == ["one_val", "two_val"], "sets of the same name are told apart by their folder"


def test_one_part_stays_as_it_is(folders):
    _, part = load_split(f"{folders}/three")
    assert unite_captures([part]) is part


def test_sets_of_one_name_are_told_apart_by_as_much_of_their_folders_as_it_takes(folders):
    for site, name in (("site a", "one"), ("site b", "two")):
        (folders / site).mkdir()
        (folders / name).rename(folders / site / "data")
    three = f"{folders}/three"
    specs = [f"{folders}/site a/data:val", f"{folders}/site b/data:val"]
    assert list(load_splits([*specs, three])) == ["site a_data_val", "site b_data_val", "only"]
    assert list(load_splits([specs[0], three])) == ["val", "only"]
    (folders / "site b" / "data").rename(folders / "others")
    assert list(load_splits([specs[0], f"{folders}/others:val"])) == ["data_val", "others_val"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, None), "nothing to train on"),
        (("missing", None, None), "missing doesn't exist"),
        (("{}/three", None, None), "no split 'train' but only"),
        ((None, ["{}/one"], None), "splits train, val, test"),
        ((None, ["{}/one:trian"], None), "did you mean train"),
        ((None, ["{}/one:train"], ["{}/one:val", "{}/one:val"]), "one:val are the same evaluation set; leave one"),
        (("{}", None, None), "no dataset_dict.json"),
        (("{}/three/only", None, None), r"a single Dataset without splits.* DatasetDict\(train=dataset\)"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(folders, arguments, message):
    filled = [
        [item.format(folders) for item in value] if isinstance(value, list) else value and value.format(folders)
        for value in arguments
    ]
    with pytest.raises(InputError, match=message) as error:
        load_training_and_evaluation_sets(*filled)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_broken_dataset_is_said_in_one_line(folders, damage):
    (arrow,) = (folders / "three" / "only").glob("*.arrow")
    if damage == "cut":
        arrow.write_bytes(arrow.read_bytes()[:300])
    else:
        arrow.with_name("state.json").unlink()
    with pytest.raises(InputError, match="three holds a dataset that can't be read") as error:
        load_split(f"{folders}/three")
    assert "\n" not in str(error.value)
