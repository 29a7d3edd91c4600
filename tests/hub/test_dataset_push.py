"""A converted dataset pushed to the Hub by the script and loaded from there by `datasets`."""

import io
import json
import re
from hashlib import sha256

import datasets
import pyarrow.parquet
import pytest
from huggingface_hub import DatasetCard

from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.simulation import write_demo_dataset
from patchnet_hf.errors import InputError
from patchnet_hf.hub.dataset_push import dataset_upload

REPO = "someone/captures"
LOAD = """
import hashlib, json, sys
import datasets
repo, revision = sys.argv[1:]
found = datasets.load_dataset(repo, revision=revision)
told = {"features": {name: str(part.features) for name, part in found.items()}, "images": {}, "rows": {}}
for name, part in found.items():
    raw = part.cast_column("image", datasets.Image(decode=False))
    told["images"][name] = [hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in raw]
    told["rows"][name] = list(part.remove_columns("image"))
    assert part[0]["image"].size == (64, 64)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Simulated captures, in a folder whose name mustn't be published, converted as a user would."""
    folder = tmp_path_factory.mktemp("anna_secret_place")
    write_demo_dataset(folder / "lists", {"train": 8, "val_seen": 4}, size=64, workers=1)
    convert_csv([folder / "lists" / name for name in ("train", "val_seen")], folder / "captures", progress=False)
    return folder / "captures"


def encoded(part: datasets.Dataset) -> list[dict]:
    return list(part.cast_column("image", datasets.Image(decode=False)))


@pytest.mark.slow
def test_a_pushed_dataset_comes_back_with_its_classes_and_the_bytes_of_its_images(hub, run, python, converted):
    push = ["push_to_hub.py", "--dataset", converted, "--repo", REPO, "--revision", "v1", "--private"]
    dry, pushed, again = run([*push, "--dry-run"], push, push)
    assert dry.code == pushed.code == again.code == 0, dry.err + pushed.err + again.err
    assert "nothing was pushed" in dry.out and "val_seen" in dry.out and "# captures" in dry.out
    held = hub.dataset(REPO)
    assert held.private and held.files("main") == {} and f"commit {held.branches['v1'][:12]}" in pushed.out + again.out
    files = held.files("v1")
    shards = {name for name in files if name.endswith(".parquet")}
    assert set(files) == shards | {"README.md"}
    assert {re.sub(r"-00000-of-00001(-\w+)?", "", name) for name in shards} == {
        "data/train.parquet",
        "data/val_seen.parquet",
    }
    card = DatasetCard(files["README.md"].decode())
    told = {entry["name"]: entry for entry in card.data.to_dict()["dataset_info"]["features"]}
    assert told["label"]["dtype"] == {"class_label": {"names": {"0": "spoof", "1": "live"}}}
    assert "face-anti-spoofing" in card.data.tags

    expected = datasets.load_from_disk(str(converted))
    loaded = json.loads(python(LOAD, REPO, "v1").splitlines()[-1])
    for name, part in expected.items():
        assert loaded["features"][name] == str(part.features), name
        assert loaded["rows"][name] == list(part.remove_columns("image")), name
        # By another reader than the one under test: what is in the files, and that nothing in them is a path.
        (shard,) = (shard for shard in shards if f"/{name}-" in shard)
        table = pyarrow.parquet.read_table(io.BytesIO(files[shard]))
        assert [row["bytes"] for row in table["image"].to_pylist()] == [row["image"]["bytes"] for row in encoded(part)]
        assert not any("/" in (row["path"] or "") for row in table["image"].to_pylist())
        assert "anna_secret_place" not in str(table.to_pydict()) + str(table.schema.metadata)
    assert "anna_secret_place" not in files["README.md"].decode()
    hashes = [sha256(row["image"]["bytes"]).hexdigest() for row in encoded(expected["train"])]
    assert loaded["images"]["train"] == hashes


def changed(converted, folder, **columns) -> str:
    """A copy of the dataset with other values in all rows of columns of its split `train`."""
    splits = datasets.load_from_disk(str(converted))
    part = splits["train"]
    for name, value in columns.items():
        part = part.map(lambda row, name=name, value=value: {name: value}, features=part.features)
    datasets.DatasetDict({**splits, "train": part}).save_to_disk(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("column", "value", "finding"),
    [
        ("video", "/data/faces/anna", "column video of split train holds the path /data/faces/anna"),
        ("source", "/data/faces/anna", "README.md holds the path /data/faces/anna"),
        ("subject", "123456789:" + "A" * 35, "column subject of split train holds a Telegram bot token"),
    ],
)
def test_columns_are_searched_for_what_must_not_be_published(converted, tmp_path, column, value, finding):
    folder = changed(converted, tmp_path / "data", **{column: value})
    with pytest.raises(InputError, match=finding):
        dataset_upload(folder, REPO)


@pytest.mark.parametrize(
    ("feature", "value", "finding"),
    [
        (datasets.Value("large_string"), "/data/faces/anna", "the path /data/faces/anna"),
        ([{"origin": datasets.Value("string")}], [{"origin": "/data/faces/anna"}], "the path /data/faces/anna"),
        (datasets.Image(), {"bytes": b"", "path": "hf_" + "x9" * 17}, "a Hugging Face token"),
    ],
)
def test_columns_beyond_the_contract_are_searched_whatever_their_type(converted, tmp_path, feature, value, finding):
    part = datasets.load_from_disk(str(converted))["train"]
    more = part.add_column("more", [value] * len(part), feature=datasets.Features({"more": feature})["more"])
    datasets.DatasetDict(train=more).save_to_disk(tmp_path / "data")
    with pytest.raises(InputError, match=f"column more of split train holds {finding}"):
        dataset_upload(str(tmp_path / "data"), REPO)


def test_names_of_classes_and_columns_are_searched(converted, tmp_path):
    splits = datasets.load_from_disk(str(converted))
    datasets.DatasetDict(train=splits["train"].add_column("/data/faces/a", [0] * 8)).save_to_disk(tmp_path / "data")
    with pytest.raises(InputError, match="the schema of split train holds the path /data/faces/a"):
        dataset_upload(str(tmp_path / "data"), REPO)


def test_what_is_harmless_passes_by_name(converted, tmp_path):
    folder = changed(converted, tmp_path / "data", source="/data/faces/anna")
    upload = dataset_upload(folder, REPO, allowed=["/data/faces/anna"])
    assert "total" in upload.table() and upload.splits["train"]["source"][0] == "/data/faces/anna"


@pytest.mark.slow
def test_a_dataset_s_card_that_was_edited_on_the_hub_is_not_lost(hub, run, converted):
    push = ["push_to_hub.py", "--dataset", converted, "--repo", REPO]
    hub.put(REPO, {"README.md": b"---\nlicense: mit\n---\n# Written on the Hub\n"}, kind="dataset")
    refused, replaced = run(push, [*push, "--overwrite-card"])
    assert f"README.md of {REPO} was edited on the Hub; --overwrite-card replaces it" in refused.refusal
    assert replaced.code == 0, replaced.err
    text = hub.dataset(REPO).files()["README.md"].decode()
    assert "Written on the Hub" not in text and "license: mit" in text, "a licence that was stated stays"
    assert "Unless the metadata of this card name one, no licence is stated." in text
