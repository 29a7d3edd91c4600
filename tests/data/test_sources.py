"""Captures by every kind of name: converted folders, CSV lists, folders for `load_dataset`, and what isn't any."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from patchnet_hf.data import csv_cache
from patchnet_hf.data.adaptation import as_captures
from patchnet_hf.data.balancing import balance_stream
from patchnet_hf.data.filters import CaptureFilter
from patchnet_hf.data.loading import Streaming, load_captures, load_run_captures, load_split, load_splits
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.sources import Kind, find_source
from patchnet_hf.data.views import encoded_images, image_bytes
from patchnet_hf.errors import InputError


def png(number: int) -> bytes:
    """An image that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_list(path: Path, rows: list[dict]) -> Path:
    """A CSV list with its images, `row["number"]` each."""
    for row in rows:
        write(path.parent / row["image_name"], png(row["number"]))
    names = [name for name in rows[0] if name != "number"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(numbers, device="phone1", live=lambda number: number % 2):
    return [
        {
            "image_name": f"images/{number}.png",
            "label": int(live(number)),
            "device": device,
            "material": "live" if live(number) else "print",
            "number": number,
        }
        for number in numbers
    ]


def arrow(folder: Path, **splits) -> Path:
    """A saved DatasetDict of rows as [`rows_of`] gives them."""
    names = sorted({f"{row['device']}/{row['material']}" for rows in splits.values() for row in rows})
    parts = {}
    for split, rows in splits.items():
        columns = {
            "image": [{"bytes": png(row["number"]), "path": f"{row['number']}.png"} for row in rows],
            "label": [row["label"] for row in rows],
            "patch_type": [names.index(f"{row['device']}/{row['material']}") for row in rows],
            "attack_type": ["bonafide" if row["label"] else "print" for row in rows],
            "source": ["saved"] * len(rows),
            **{name: [None] * len(rows) for name in ("subject", "session", "video", "device", "face_box")},
        }
        parts[split] = datasets.Dataset.from_dict(columns, features=capture_features(names))
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def image_folder(folder: Path, numbers, names=("live", "attack")) -> Path:
    """A folder with one folder for each label, as `load_dataset` takes it."""
    for number in numbers:
        write(folder / names[0 if number % 2 else 1] / f"{number}.png", png(number))
    return folder


def digests(dataset) -> list[str]:
    return [hashlib.sha256(image_bytes(row["image"])).hexdigest() for row in encoded_images(dataset, ["image"])]


def digests_of(numbers) -> list[str]:
    return [hashlib.sha256(png(number)).hexdigest() for number in numbers]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


def test_a_csv_list_is_converted_once_into_the_cache_and_holds_paths(tmp_path, cache, monkeypatch):
    path = write_list(tmp_path / "mine" / "val.csv", rows_of(range(6)))
    name, part = load_split(str(path))
    assert name == "val" and part["label"][:] == [0, 1, 0, 1, 0, 1]
    assert [part.features["patch_type"].names[kind] for kind in part["patch_type"][:2]] == [
        "phone1/print",
        "phone1/live",
    ]
    assert set(part["source"][:]) == {"mine"}
    rows = list(encoded_images(part, ["image"]))
    assert [row["image"] for row in rows] == [
        {"bytes": None, "path": str(tmp_path / f"mine/images/{number}.png")} for number in range(6)
    ]
    assert digests(part) == digests_of(range(6))
    (kept,) = (entry for entry in (cache / "patchnet_hf").iterdir() if entry.is_dir())
    with monkeypatch.context() as patch:
        patch.setattr(csv_cache, "convert_csv", None)  # not called again
        assert load_split(str(path))[1]["label"][:] == part["label"][:]
    write(tmp_path / "mine/images/3.png", png(33))
    assert digests(load_split(str(path))[1])[3] == digests_of([33])[0]
    assert len([entry for entry in (cache / "patchnet_hf").iterdir() if entry.is_dir()]) == 2, "of another image"
    assert kept.is_dir()


@pytest.mark.parametrize("damaged", ["dataset_dict.json", "*/state.json", "*/*.arrow"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_entry_of_the_cache_is_made_anew(tmp_path, cache, damaged, gone):
    path = write_list(tmp_path / "mine" / "val.csv", rows_of(range(6)))
    load_split(str(path))
    (kept,) = (entry for entry in (cache / "patchnet_hf").iterdir() if entry.is_dir())
    (file,) = kept.glob(damaged)
    file.unlink() if gone else file.write_bytes(file.read_bytes()[:20])
    assert digests(load_split(str(path))[1]) == digests_of(range(6))


def test_a_folder_of_lists_has_their_splits(tmp_path):
    write_list(tmp_path / "mine" / "train.csv", rows_of(range(4)))
    write_list(tmp_path / "mine" / "test.csv", rows_of(range(10, 13), device="phone2"))
    splits = load_captures(str(tmp_path / "mine"))
    assert {name: len(part) for name, part in splits.items()} == {"train": 4, "test": 3}
    assert digests(load_split(f"{tmp_path}/mine:test")[1]) == digests_of(range(10, 13))
    captures = load_run_captures(str(tmp_path / "mine"), None, None)
    assert len(captures.training) == 4 and list(captures.sets) == ["test"]


def test_bad_rows_of_a_list_are_said_with_file_and_line_and_nothing_is_kept(tmp_path, cache):
    path = write_list(tmp_path / "mine" / "markup.csv", rows_of(range(3)))
    path.write_text(path.read_text() + "images/gone.png,1,phone1,live\nimages/1.png,7,phone1,live\n")
    with pytest.raises(InputError) as error:
        load_split(str(path))
    message = str(error.value)
    assert f"{path}:5: image images/gone.png: no such file" in message and f"{path}:6: label is '7'" in message
    assert "convert_dataset.py --on-error skip" in message
    assert not [entry for entry in (cache / "patchnet_hf").iterdir() if entry.is_dir()]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    assert len(load_split(str(path))[1]) == 3


def convert_in_process(path: str, cache: str, started, results) -> None:
    datasets.config.HF_DATASETS_CACHE = Path(cache)
    convert = csv_cache.convert_csv
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return convert(*arguments, **options)

    csv_cache.convert_csv = counted
    started.wait()
    try:
        results.put((len(calls), load_split(path)[1]["label"][:], len(calls)))
    except InputError as error:
        results.put((str(error), None, len(calls)))


@pytest.mark.parametrize("good", [True, False])
def test_of_several_processes_one_converts_and_all_have_its_result(tmp_path, cache, good):
    path = write_list(tmp_path / "mine" / "val.csv", rows_of(range(40)))
    if not good:
        path.write_text(path.read_text() + "images/gone.png,1,phone1,live\n")
    context = multiprocessing.get_context("fork")
    started, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=convert_in_process, args=(str(path), str(cache), started, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sum(calls for _, _, calls in found) == 1 if good else sum(calls for _, _, calls in found) <= 3
    if good:
        assert all(labels == [0, 1] * 20 for _, labels, _ in found)
    else:
        assert all("images/gone.png" in message for message, _, _ in found)


@pytest.mark.parametrize("names", [("live", "spoof"), ("Bona Fide", "attack"), ("real", "fake")])
def test_a_folder_with_a_folder_for_each_label_is_captures_by_the_contract(tmp_path, names):
    image_folder(tmp_path / "faces", range(6), names)
    name, part = load_split(str(tmp_path / "faces"))
    assert name == "train" and part.features == capture_features(["spoof", "live"])
    by_image = dict(zip(digests(part), part.remove_columns("image"), strict=True))
    assert len(by_image) == 6
    for number, digest in enumerate(digests_of(range(6))):
        live = number % 2
        assert by_image[digest] == {
            "label": live,
            "patch_type": live,
            "attack_type": "bonafide" if live else "attack",
            "source": "faces",
            **dict.fromkeys(("subject", "session", "video", "device", "face_box")),
        }


def test_metadata_beside_images_are_its_columns(tmp_path):
    folder = tmp_path / "faces" / "val"
    given = [
        {"label": "live", "patch_type": "a/live", "subject": 7, "face_box": [1, 2, 3, 4]},
        {"label": "attack", "patch_type": "b/mask", "attack_type": "mask", "subject": None, "face_box": None},
        {"label": "live", "patch_type": "b/live", "attack_type": "Bona fide", "source": "elsewhere", "subject": 8},
    ]
    for number in range(3):
        write(folder / f"{number}.png", png(number))
    lines = [json.dumps({"file_name": f"{number}.png", "more": 1.5, **row}) for number, row in enumerate(given)]
    write(folder / "metadata.jsonl", "\n".join(lines))
    name, part = load_split(str(tmp_path / "faces"))
    assert name == "validation" and part.features == capture_features(["a/live", "b/live", "b/mask"])
    assert digests(part) == digests_of(range(3))
    assert {column: part[column][:] for column in part.column_names if column != "image"} == {
        "label": [1, 0, 1],
        "patch_type": [0, 2, 1],
        "attack_type": ["bonafide", "mask", "bonafide"],
        "source": ["faces", "faces", "elsewhere"],
        "subject": ["7", None, "8"],
        "session": [None] * 3,
        "video": [None] * 3,
        "device": [None] * 3,
        "face_box": [[1, 2, 3, 4], None, None],
    }
    stream = load_run_captures(None, [str(tmp_path / "faces")], None, streaming=Streaming(buffer=1))
    assert stream.described.features == part.remove_columns("image").features
    rows = {hashlib.sha256(image_bytes(row["image"])).hexdigest(): row for row in stream.training}
    for digest, row in zip(digests_of(range(3)), part.remove_columns("image"), strict=True):
        assert {name: rows[digest][name] for name in row} == row


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["live", "human", "spoof"]}, "1 captures have no label that can be used .'human'.; expected 0 or"),
        ({"label": [0, 1, 2]}, "1 captures have no label that can be used .2."),
        ({"label": [0.5, 1.0, 0.0]}, r"column label is Value\('float64'\); expected classes named spoof or"),
        ({"label": [True, False, True]}, r"column label is Value\('bool'\); expected"),
        ({"class": [0, 1, 1]}, "no column label .it has: image, class."),
        ({"label": [0, 1, 1], "subject": [0.5, 1.5, 2.5]}, r"column subject is Value\('float64'\), expected text"),
        ({"label": [0, 1, 1], "face_box": ["1 2 3 4", "", ""]}, "column face_box is .* expected lists of four whole"),
        ({"label": [0, 1, 1], "face_box": [[1, 2, 3, 4], [1, 2, 3], None]}, r"a face_box is \[1, 2, 3\]; expected"),
        (
            {"label": [0, 1, 1], "attack_type": ["print", "print", None]},
            "attack_type is 'print' although label is live",
        ),
    ],
)
@pytest.mark.parametrize("streaming", [None, Streaming()])
def test_what_cannot_be_captures_is_said_with_its_column(tmp_path, columns, message, streaming):
    folder = tmp_path / "faces"
    for number in range(3):
        write(folder / f"{number}.png", png(number))
    rows = [{name: values[number] for name, values in columns.items()} for number in range(3)]
    write(
        folder / "metadata.jsonl",
        "\n".join(json.dumps({"file_name": f"{number}.png", **row}) for number, row in enumerate(rows)),
    )
    with pytest.raises(InputError, match=message) as error:
        load_run_captures(None, [str(folder)], None, streaming=streaming)
    assert "\n" not in str(error.value) and "faces, split train" in str(error.value)


@pytest.mark.parametrize("streaming", [None, Streaming()])
def test_a_list_of_another_name_in_a_folder_is_to_be_named_itself(tmp_path, streaming):
    path = write_list(tmp_path / "faces" / "mylist.csv", rows_of(range(4)))
    with pytest.raises(InputError, match=f"holds lists of captures, but none called markup.csv .*itself: {path}$"):
        load_run_captures(None, [str(tmp_path / "faces")], None, streaming=streaming)
    assert len(load_run_captures(None, [str(path)], None).training) == 4


def test_classes_that_are_no_labels_are_said(tmp_path):
    image_folder(tmp_path / "faces", range(4), ("cat", "dog"))
    with pytest.raises(
        InputError, match="column label has the class cat, dog; expected classes named spoof or attack"
    ):
        load_split(str(tmp_path / "faces"))


def test_captures_without_an_image_are_counted():
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    image = {"bytes": png(0), "path": None}
    images = [image, None, None]
    rows = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 1]}, features=features)
    with pytest.raises(InputError, match="here: 2 captures have no image, for example capture 1"):
        as_captures(rows, "mine", "here")
    with pytest.raises(InputError, match="here: 1 captures have no image, for example capture 0"):
        as_captures(rows.select([2, 0]), "mine", "here")
    assert len(as_captures(rows.select([0, 0]), "mine", "here")) == 2


def test_parquet_files_come_back_as_they_were_saved(tmp_path):
    held = datasets.load_from_disk(str(arrow(tmp_path / "saved", train=rows_of(range(4)), val=rows_of(range(4, 6)))))
    for split, part in held.items():
        (tmp_path / "parquet").mkdir(exist_ok=True)
        part.to_parquet(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet")
    splits = load_captures(str(tmp_path / "parquet"))
    assert list(splits) == ["train", "validation"]
    for name, expected in zip(splits, held.values(), strict=True):
        assert splits[name].features == expected.features
        assert list(splits[name].remove_columns("image")) == list(expected.remove_columns("image"))
        assert digests(splits[name]) == digests(expected)
    assert digests(load_split(f"{tmp_path}/parquet:validation")[1]) == digests_of(range(4, 6))


def test_the_label_decides_for_what_others_call_it(tmp_path):
    """In a dataset whose classes are in another order than ours, and with an unused one."""
    names = ["real", "attack"]
    part = datasets.Dataset.from_dict(
        {"image": [{"bytes": png(number), "path": None} for number in range(3)], "label": [1, 0, 1]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}),
    )
    (tmp_path / "parquet").mkdir()
    part.to_parquet(tmp_path / "parquet" / "train.parquet")
    assert load_split(str(tmp_path / "parquet"))[1]["label"][:] == [0, 1, 0]


def mixed(tmp_path) -> dict[str, list[int]]:
    """Specs of four kinds, and the numbers of the images of each."""
    write_list(tmp_path / "lists" / "train.csv", rows_of(range(100, 110)))
    arrow(tmp_path / "arrow", train=rows_of(range(200, 206), device="phone2"), val=rows_of(range(4)))
    image_folder(tmp_path / "folder", range(300, 304))
    return {
        f"{tmp_path}/lists/train.csv": list(range(100, 110)),
        f"{tmp_path}/arrow:train": list(range(200, 206)),
        f"{tmp_path}/folder": list(range(300, 304)),
    }


UNITED = ["live", "phone1/live", "phone1/print", "phone2/live", "phone2/print", "spoof"]


@pytest.mark.parametrize("streaming", [None, Streaming(seed=3, buffer=5)])
def test_lists_arrow_directories_and_folders_mix_by_the_names_of_their_patch_types(tmp_path, streaming):
    specs = mixed(tmp_path)
    captures = load_run_captures(None, list(specs), [f"{tmp_path}/arrow:val"], streaming=streaming)
    assert captures.is_stream == (streaming is not None)
    assert captures.training.features["patch_type"].names == UNITED
    expected = {}
    for numbers, source, device in zip(specs.values(), ("lists", "saved", "folder"), (1, 2, None), strict=True):
        for number in numbers:
            live = number % 2
            kind = ("live" if live else "spoof") if device is None else f"phone{device}/{'live' if live else 'print'}"
            expected[digests_of([number])[0]] = (live, kind, source)
    raw = captures.training.cast_column("image", datasets.Image(decode=False))
    rows = [
        (hashlib.sha256(image_bytes(row["image"])).hexdigest(),
         (row["label"], UNITED[row["patch_type"]], row["source"]))
        for row in raw
    ]  # fmt: skip
    assert len(rows) == 20 and dict(rows) == expected
    in_order = [digest for digest, _ in rows[:16]] == list(expected)[:16]
    assert in_order == (streaming is None), "the folder's four images come in the order of its folders"
    described = [(row["label"], UNITED[row["patch_type"]], row["source"]) for row in
                 captures.described.select_columns(["label", "patch_type", "source"])]  # fmt: skip
    assert described[:16] == list(expected.values())[:16] and len(described) == 20, "what it holds is known beforehand"


def test_another_pass_has_another_order_and_the_same_seed_the_same(tmp_path):
    specs = list(mixed(tmp_path))

    def order(seed, epoch):
        stream = load_run_captures(None, specs, None, streaming=Streaming(seed=seed, buffer=4)).training
        rows = encoded_images(stream, ["image"])
        rows.set_epoch(epoch)
        return [hashlib.sha256(image_bytes(row["image"])).hexdigest() for row in rows]

    first = order(0, 0)
    assert first == order(0, 0)
    assert len({tuple(first), tuple(order(0, 1)), tuple(order(1, 0))}) == 3
    assert sorted(first) == sorted(order(0, 1)) == sorted(order(1, 0)), "each of them once"


def test_a_filter_chooses_the_same_captures_of_a_stream(tmp_path):
    specs = list(mixed(tmp_path))
    chosen = CaptureFilter.parse([{"source": "lists", "label": "live"}, {"source": "folder", "label": "spoof"}])
    held = load_run_captures(None, specs, None, chosen)
    stream = load_run_captures(None, specs, None, chosen, streaming=Streaming())
    assert sorted(digests(held.training)) == sorted(digests_of([101, 103, 105, 107, 109, 300, 302]))
    assert sorted(digests(stream.training)) == sorted(digests(held.training))
    names = [part.features["patch_type"].names for part in (stream.described, held.described)]
    told = [
        [{**row, "patch_type": known[row["patch_type"]]} for row in part]
        for known, part in zip(names, (stream.described, held.described.remove_columns("image")), strict=True)
    ]
    assert told[0] == told[1] and len(told[0]) == 7
    for streaming in (None, Streaming()):
        with pytest.raises(InputError, match="no capture has 'elsewhere'"):
            load_run_captures(None, specs, None, CaptureFilter.parse({"source": "elsewhere"}), streaming=streaming)


def test_a_stream_of_a_dataset_leaves_its_other_splits_to_be_evaluated(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    held = datasets.load_from_disk(str(arrow(tmp_path / "saved", train=rows_of(range(4)), test=rows_of(range(4, 6)))))
    for split, part in held.items():
        part.to_parquet(folder / f"{split}.parquet")
    captures = load_run_captures(str(folder), None, None, streaming=Streaming())
    assert list(captures.sets) == ["test"] and digests(captures.sets["test"]) == digests_of(range(4, 6))
    assert captures.streamed == (f"{folder}:train",) and not captures.parts
    assert sorted(digests(captures.training)) == sorted(digests_of(range(4)))


def test_sets_from_lists_are_told_apart_by_their_folders(tmp_path):
    for name, first in (("a", 0), ("b", 10)):
        write_list(tmp_path / name / "val.csv", rows_of(range(first, first + 2)))
    sets = load_splits([f"{tmp_path}/a/val.csv", f"{tmp_path}/b/val.csv"])
    assert {name: digests(part) for name, part in sets.items()} == {
        "a_val": digests_of(range(2)),
        "b_val": digests_of(range(10, 12)),
    }


def test_names_are_taken_for_the_first_that_they_may_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrow(Path("someone/captures"), only=rows_of(range(2)))
    write_list(Path("lists/train.csv"), rows_of(range(2)))
    assert find_source("someone/captures").kind is Kind.ARROW
    assert find_source("lists").kind is find_source("lists/train.csv").kind is Kind.CSV
    image_folder(Path("lists/faces"), range(2))
    assert find_source("lists/faces").kind is Kind.FOLDER
    source = find_source("someone/others@v1.0:val")
    assert (source.kind, source.place, source.revision, source.split) == (Kind.HUB, "someone/others", "v1.0", "val")
    assert source.name == "someone/others" and source.folders == ("someone", "others")
    assert find_source("lists:train").split == "train"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "nothing doesn't exist; expected a folder written by scripts/convert_dataset.py, a CSV list or"),
        ("lists/trian.csv", "lists/trian.csv doesn't exist; did you mean train.csv"),
        (
            "arow/nothing",
            "arow/nothing doesn't exist here; as a dataset of the Hub it can't be read: .*HF_HUB_OFFLINE",
        ),
        ("images/0.png", "images/0.png is a single file; name its folder, as datasets.load_dataset reads it"),
        ("empty", "empty holds no dataset_dict.json .*, no markup.csv nor .*, and nothing that datasets.load_dataset"),
        (".", "holds no dataset_dict.json itself but folders with converted datasets: arrow; name the one you mean"),
        ("arrow:tset", "arrow has no split 'tset' but train, test; did you mean test"),
        ("broken", "broken holds no dataset_dict.json .* nothing that datasets.load_dataset reads: "),
    ],
)
@pytest.mark.parametrize("streaming", [None, Streaming()])
def test_what_is_no_source_is_said_in_one_line(tmp_path, monkeypatch, spec, message, streaming):
    monkeypatch.chdir(tmp_path)
    arrow(Path("arrow"), train=rows_of(range(2)), test=rows_of(range(2)))
    write_list(Path("lists/train.csv"), rows_of(range(2)))
    write(Path("images/0.png"), png(0))
    Path("empty").mkdir()
    write(Path("broken/train.parquet"), b"PAR1 no more of it")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(InputError, match=message) as error:
        load_run_captures(None, [spec], None, streaming=streaming)
    assert "\n" not in str(error.value)


def test_a_mixed_stream_can_be_balanced(tmp_path):
    stream = load_run_captures(None, list(mixed(tmp_path)), None, streaming=Streaming(buffer=3)).training
    balanced = balance_stream(stream, "source", "min")
    sources = [row["source"] for row in balanced.remove_columns("image")]
    # Until the group of four ends.
    assert len(sources) >= 10 and all(set(sources[at : at + 3]) == {"lists", "saved", "folder"} for at in (0, 3, 6))
