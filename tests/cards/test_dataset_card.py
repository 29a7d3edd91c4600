"""The card of a dataset: counts, persons, sizes, personal data, and no face."""

import getpass
import io
import re
import socket

import datasets
import numpy as np
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from patchnet_hf.cards.dataset_card import dataset_card
from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.simulation import write_demo_dataset
from patchnet_hf.errors import InputError

TYPES = ["phone/live", "phone/print"]


def as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()


def part(count: int, persons: list[str | None], size=(40, 30), box=None, first: int = 0) -> datasets.Dataset:
    """Captures of noise, live and printed in turn, of these persons in turn."""
    images = []
    for index in range(count):
        noise = np.random.default_rng(first + index).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        images.append({"bytes": as_png(Image.fromarray(noise)), "path": f"{index}.png"})
    live = [index % 2 == 0 for index in range(count)]
    columns = {
        "image": images,
        "label": [int(value) for value in live],
        "patch_type": [0 if value else 1 for value in live],
        "attack_type": ["bonafide" if value else "print" for value in live],
        "source": ["mine"] * count,
        "subject": [persons[index % len(persons)] for index in range(count)],
        **{name: [None] * count for name in ("session", "video", "device")},
        "face_box": [box] * count,
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(TYPES))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> datasets.DatasetDict:
    """A few captures of the demo, converted as a user would."""
    folder = tmp_path_factory.mktemp("anna_secret_place")
    write_demo_dataset(folder / "lists", {"train": 8, "val_seen": 4}, size=64, workers=1)
    convert_csv([folder / "lists" / name for name in ("train", "val_seen")], folder / "captures", progress=False)
    return datasets.load_from_disk(str(folder / "captures"))


def table_row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_captures_are_counted_by_split_class_and_attack_type():
    splits = datasets.DatasetDict(train=part(10, ["anna", "ben"]), test=part(5, ["cleo"], first=10))
    text = dataset_card(splits).text
    assert table_row(text, "set") == ["set", "captures", "live", "attacks", "print", "subjects"]
    assert table_row(text, "train") == ["train", "10", "5", "5", "5", "2"]
    assert table_row(text, "test") == ["test", "5", "3", "2", "2", "1"]
    assert "phone/live (8), phone/print (7)" in text and "Sources: mine (15)." in text


def test_many_attack_types_have_a_line_instead_of_columns():
    many = part(20, ["anna"])
    kinds = ["bonafide" if label else f"mask {index}" for index, label in enumerate(many["label"])]
    many = many.remove_columns("attack_type").add_column("attack_type", kinds)
    text = dataset_card(many).text
    assert table_row(text, "set") == ["set", "captures", "live", "attacks", "subjects"]
    assert "- Attack types: mask 1 (1), mask 11 (1)," in text


def test_whether_splits_show_the_same_persons_is_told():
    train = part(4, ["anna", "ben"])
    others = dataset_card(datasets.DatasetDict(train=train, test=part(4, ["cleo"]))).text
    assert "No person is named in more than one split." in others
    same = dataset_card(datasets.DatasetDict(train=train, test=part(4, ["ben", "cleo"]))).text
    assert "Persons are in more than one split: train and test share 1." in same
    unnamed = dataset_card(datasets.DatasetDict(train=train, test=part(4, [None]))).text
    assert "Not all captures of test name their person" in unnamed and "No person is named" not in unnamed
    assert not [name for name in ("anna", "ben", "cleo") if name in others + same + unnamed]


def test_sizes_of_images_and_face_boxes_are_told():
    mixed = datasets.DatasetDict(train=part(4, ["a"]), test=part(2, ["b"], (64, 48), [1, 2, 20, 20]))
    text = dataset_card(mixed).text
    assert "40 to 64 pixels wide and 30 to 48 high; most often 40 x 30" in text
    assert "2 of 6 captures have one; the others are face crops" in text
    alone = dataset_card(part(2, ["b"], (64, 48), [1, 2, 20, 20])).text
    assert "Images: 64 x 48 pixels." in alone and "every capture has one" in alone


def test_the_metadata_is_read_back_by_the_hub_s_client():
    card = DatasetCard(dataset_card(part(4, ["a"]), "someone/faces", "cc-by-nc-4.0").text)
    data = card.data
    assert data.task_categories == ["image-classification"] and data.size_categories == ["n<1K"]
    assert (data.license, data.pretty_name) == ("cc-by-nc-4.0", "faces")
    assert "face-anti-spoofing" in data.tags and "synthetic" not in data.tags
    assert 'load_dataset("someone/faces")' in card.text
    assert DatasetCard(dataset_card(part(4, ["a"])).text).data.license is None


def test_real_faces_are_personal_data_and_simulated_ones_are_named_as_such(simulated):
    real = dataset_card(part(4, ["a"])).text
    assert "biometric data" in real and "Simulated" not in real
    drawn = dataset_card(simulated)
    assert "**Simulated data.** All 12 captures" in drawn.text and "The captures show nobody" in drawn.text
    assert "synthetic" in DatasetCard(drawn.text).data.tags
    stripped = simulated["val_seen"].map(lambda row: {"image": {"bytes": as_png(row["image"]), "path": None}})
    partly = dataset_card(datasets.DatasetDict(train=simulated["train"], val_seen=stripped)).text
    assert "**Partly simulated.** 8 of 12 captures" in partly and "biometric data" in partly


def test_no_face_is_shown(simulated):
    card = dataset_card(simulated)
    assert not card.pictures and "![" not in card.text


def test_neither_paths_nor_names_of_the_machine_are_in_it(simulated):
    text = dataset_card(simulated, name="demo").text
    assert "secret" not in text and "/tmp" not in text
    for personal in (getpass.getuser(), socket.gethostname()):
        assert not re.search(rf"\b{re.escape(personal)}\b", text)


def test_the_code_of_a_card_names_a_split_that_is_there():
    text = dataset_card(datasets.DatasetDict(mine=part(4, ["a"]))).text
    assert 'captures["mine"][0]' in text


def test_a_dataset_without_the_columns_is_one_line():
    with pytest.raises(InputError, match="no column patch_type"):
        dataset_card(part(2, ["a"]).remove_columns("patch_type"))


def test_an_image_whose_file_is_gone_is_one_line(tmp_path):
    lying = part(2, ["a"]).cast_column("image", datasets.Image(decode=False))
    gone = str(tmp_path / "gone.png")
    lying = lying.map(lambda _: {"image": {"bytes": None, "path": gone}}).cast_column("image", datasets.Image())
    with pytest.raises(InputError, match="split train: capture 0"):
        dataset_card(lying)
