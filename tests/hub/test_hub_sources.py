"""Training and evaluation straight from datasets of the Hub, mixed with others, and as a stream."""

import csv
import io
import json
import re
import shutil
from hashlib import sha256

import datasets
import pytest
import torch
from safetensors.torch import load_file

from .conftest import load_beside

captures = load_beside("training", "small_runs").captures

REPO = "someone/captures"
OPTIONS = {
    "backbone": "test_convnext",
    "patch_size": 32,
    "grid": 1,
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "warmup_steps": 0,
    "report_to": "none",
    "precision": "float32",
    "use_cpu": "true",
}


def options(**further) -> list[str]:
    words = []
    for name, value in (OPTIONS | further).items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def as_parquet(part: datasets.Dataset) -> bytes:
    stream = io.BytesIO()
    part.to_parquet(stream)
    return stream.getvalue()


def files_of(part: datasets.Dataset) -> list[tuple[str, bytes]]:
    """The images of captures, by the names of their classes and numbers."""
    encoded = part.cast_column("image", datasets.Image(decode=False))
    return [
        (f"{'live' if row['label'] else 'attack'}/{number}.png", row["image"]["bytes"])
        for number, row in enumerate(encoded)
    ]


def from_source(part: datasets.Dataset, name: str) -> datasets.Dataset:
    return part.remove_columns("source").add_column("source", [name] * len(part))


@pytest.fixture
def places(hub, tmp_path) -> dict[str, str]:
    """Captures of each kind of place; no image is in two of them."""
    hub.put(
        REPO,
        {
            "data/train-00000-of-00001.parquet": as_parquet(from_source(captures(15, 10), "of the hub")),
            "data/validation-00000-of-00001.parquet": as_parquet(captures(9, 11)),
        },
        kind="dataset",
    )
    hub.put("someone/faces", {f"train/{name}": data for name, data in files_of(captures(12, 12))}, kind="dataset")
    for folder, seed in (("lists", 13), ("folder", 14)):
        for name, data in files_of(captures(9, seed)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    with (tmp_path / "lists" / "train.csv").open("w", newline="") as file:
        rows = [(name, int(name.startswith("live/"))) for name, _ in files_of(captures(9, 13))]
        csv.writer(file).writerows(rows)
    datasets.DatasetDict({"train": captures(12, 15), "val": captures(9, 16)}).save_to_disk(tmp_path / "arrow")
    return {
        "csv": f"{tmp_path}/lists/train.csv",
        "arrow": f"{tmp_path}/arrow:train",
        "folder": f"{tmp_path}/folder",
        "hub": f"{REPO}:train",
        "hub images": "someone/faces",
    }


@pytest.mark.slow
def test_a_training_from_a_mix_of_all_kinds_of_places(run, places, tmp_path):
    evaluated = [f"{tmp_path}/arrow:val", f"{REPO}:validation"]
    (done,) = run(["train.py", *options(train=[*places.values()], eval=evaluated, output_dir="out")])
    assert done.code == 0, done.out + done.err
    record = json.loads((tmp_path / "out" / "run.json").read_text())["data"]
    assert record["train"]["captures"] == 9 + 12 + 9 + 15 + 12
    assert record["train"]["sources"] == {
        "lists": 9, "test": 12, "folder": 9, "of the hub": 15, "someone/faces": 12,
    }  # fmt: skip
    # A third of `captures` are live; of places without patch types a label is one.
    assert record["train"]["patch_types"] == {
        "live": 10, "spoof": 20, "phone/live": 9, "phone/print": 9, "phone/replay": 9,
    }  # fmt: skip
    assert set(record["evaluation"]) == {"val", "validation"}
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 <= metrics["eval_validation_acer"] <= 1 and 0 <= metrics["eval_total_acer"] <= 1
    (evaluated,) = run(["evaluate.py", "--model", "out", "--dataset", f"{REPO}:validation", "--output", "report"])
    assert evaluated.code == 0, evaluated.err


@pytest.mark.slow
def test_a_training_from_a_stream_fetches_no_dataset_and_goes_on_exactly(run, places, hub, tmp_path):
    streamed = {
        "train": [*places.values()],
        "streaming": "true",
        "shuffle_buffer": 8,
        "eval": [f"{tmp_path}/arrow:val"],
    }
    steps = {"max_steps": 20, "save_strategy": "steps", "save_steps": 9, "save_total_limit": 9, "eval_strategy": "no"}
    steps |= {"load_best_model_at_end": "false"}
    first, second = options(**streamed, **steps, output_dir="a"), options(**streamed, **steps, output_dir="b")
    done, stopped = run(["train.py", *first], ["train.py", *second])
    assert done.code == stopped.code == 0, done.err + stopped.err
    assert "a stream of 57 captures: live 19, attack 20, print 9, replay 9" in done.out
    assert "shuffled over 8 captures at a time; images of" in " ".join(done.out.split())
    # As if it had been killed soon after step 9, in the second pass: 57 captures are 8 batches.
    for path in (tmp_path / "b").iterdir():
        if path.is_file():
            path.unlink()
    for step in (18, 20):
        shutil.rmtree(tmp_path / "b" / f"checkpoint-{step}")
    (resumed,) = run(["train.py", *second, "--resume_from_checkpoint", "true"])
    assert resumed.code == 0, resumed.err
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["data"]["train"]["streaming"] is True and record["resumed_at_steps"] == [9]
    assert record["data"]["train"]["captures"] == 57 and record["data"]["train"]["fingerprint"] is None
    assert "57" in (tmp_path / "a" / "README.md").read_text()


def test_what_the_hub_does_not_have_or_give_is_said_in_one_line(hub, run, tmp_path):
    hub.put(REPO, {"data/train-00000-of-00001.parquet": as_parquet(captures(6, 10))}, kind="dataset")
    hub.put("someone/private", {"data/train.parquet": as_parquet(captures(6, 10))}, kind="dataset")
    hub.dataset("someone/private").private = True
    hub.put("someone/texts", {"README.md": b"no captures"}, kind="dataset")
    cases = {
        "someone/missing": "someone/missing doesn't exist here; as a dataset of the Hub .* log in by",
        "someone/private": "someone/private doesn't exist here; as a dataset of the Hub .* log in by",
        f"{REPO}@v9": "captures doesn't exist here; as a dataset of the Hub .* Revision 'v9' doesn't",
        f"{REPO}:tset": f"{REPO} has no split 'tset' but train",
        "someone/texts": "as a dataset of the Hub it can't be read: ",
    }
    commands = [
        (["train.py", *options(train=spec, streaming=streaming)], {"HF_TOKEN": None})
        for spec in cases
        for streaming in ("false", "true")
    ]
    for done, (spec, message) in zip(run(*commands), [case for case in cases.items() for _ in range(2)], strict=True):
        assert re.search(message, done.refusal), (spec, done.refusal)
    hub.answers = False
    (gone,) = run(["train.py", *options(train="someone/other")])
    assert "someone/other doesn't exist here; as a dataset of the Hub it can't be read: " in gone.refusal


@pytest.mark.slow
def test_a_balanced_stream_of_the_hub_takes_its_groups_in_turn(places, python, hub):
    code = """
import sys
from patchnet_hf.data.balancing import balance_stream
from patchnet_hf.data.loading import Streaming, load_run_captures
stream = load_run_captures(None, sys.argv[1:], None, streaming=Streaming(buffer=3)).training
print(*(row["label"] for row in balance_stream(stream, "label").remove_columns("image")))
"""
    drawn = python(code, places["hub"], places["hub images"]).splitlines()[-1].split()
    # 18 of 27 are attacks; with the last of them the pass ends.
    assert drawn == (["0", "1"] * 18)[:35]


@pytest.mark.slow
def test_a_revision_and_a_split_are_those_that_were_asked_for(hub, python):
    for branch, seed in (("main", 20), ("v1", 21)):
        files = {
            f"data/{split}.parquet": as_parquet(captures(count, seed)) for split, count in (("train", 6), ("test", 9))
        }
        hub.put(REPO, files, branch, kind="dataset")
    code = """
import hashlib, sys
from patchnet_hf.data.loading import load_split
from patchnet_hf.data.views import encoded_images
for spec in sys.argv[1:]:
    part = load_split(spec)[1]
    print(*(hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in encoded_images(part, ["image"])))
"""
    specs = [f"{REPO}:test", f"{REPO}@v1:test", f"{REPO}@v1:train"]
    out = python(code, *specs)
    expected = [
        " ".join(sha256(data).hexdigest() for _, data in files_of(captures(count, seed)))
        for count, seed in ((9, 20), (9, 21), (6, 21))
    ]
    assert out.splitlines()[-3:] == expected
