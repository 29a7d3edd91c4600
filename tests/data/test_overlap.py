"""Images that are trained on and evaluated: found by their bytes, wherever they lie, without reading all."""

import multiprocessing
import shutil

import datasets
import numpy as np
import pytest

from patchnet_hf.data.overlap import StoredImages, check_no_shared_images, shared_images
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError


def captures(contents, names=None, folder=None) -> datasets.Dataset:
    """Captures whose files have these contents; in a folder of their own, if there is one."""
    names = names or [f"{number}.jpg" for number in range(len(contents))]
    images = [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for image in images:
            (folder / image["path"]).write_bytes(image["bytes"])
        images = [{"bytes": None, "path": str(folder / image["path"])} for image in images]
    rows = len(contents)
    columns = {
        "image": images,
        "label": [number % 2 for number in range(rows)],
        "patch_type": [number % 2 for number in range(rows)],
        "attack_type": ["bonafide" if number % 2 else "print" for number in range(rows)],
        "source": ["test"] * rows,
        **{name: [None] * rows for name in ("subject", "session", "video", "device", "face_box")},
    }
    return datasets.Dataset.from_dict(columns, features=capture_features())


def contents_of(seed, count, size=None) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(int(random.integers(200, 400)) if size is None else size) for _ in range(count)]


def places(shared) -> list[tuple]:
    return [(image.training, image.position, image.evaluation, image.other_position) for image in shared]


@pytest.mark.parametrize("trained_in", ["dataset", "files"])
@pytest.mark.parametrize("evaluated_in", ["dataset", "files"])
@pytest.mark.parametrize("size", [None, 300])
def test_all_that_are_on_both_sides_are_found_whatever_they_are_called(tmp_path, trained_in, evaluated_in, size):
    trained, new = contents_of(0, 30, size), contents_of(1, 20, size)
    evaluated = [*new[:4], trained[7], *new[4:], trained[22], trained[7]]
    training = captures(trained, folder=tmp_path / "train" if trained_in == "files" else None)
    names = [f"other-{number}.png" for number in range(len(evaluated))]
    part = captures(evaluated, names, tmp_path / "val" if evaluated_in == "files" else None)
    expected = [
        ("mine", trained.index(content), "val", number)
        for number, content in enumerate(evaluated)
        if content in trained
    ]
    assert len(expected) == 3
    shared = shared_images({"mine": training}, {"val": part})
    assert places(shared) == expected
    assert shared[0].name.endswith("7.jpg") and shared[0].other_name.endswith("other-4.png")
    assert places(shared_images({"mine": training}, {"val": captures(new)})) == []


def test_files_that_agree_in_size_and_in_their_middle_and_end_are_still_told_apart():
    one = bytes(1000)
    other = b"\1" + bytes(999)
    assert shared_images({"train": captures([one])}, {"val": captures([other])}) == []
    assert len(shared_images({"train": captures([one, other])}, {"val": captures([other])})) == 1


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65])
def test_tiny_files_are_compared_too(tmp_path, size):
    training = captures([bytes(size)])
    assert len(shared_images({"train": training}, {"val": captures([bytes(size)], folder=tmp_path / "files")})) == 1
    assert shared_images({"train": training}, {"val": captures([b"\1" * (size or 1)])}) == []


def test_chosen_rows_count_by_their_own_positions_and_joined_parts_by_theirs():
    contents = contents_of(3, 40)
    training = captures(contents).select([30, 5, 12])
    joined = datasets.concatenate_datasets([captures(contents[:6]), captures(contents[12:20])])
    assert places(shared_images({"train": training}, {"val": joined})) == [
        ("train", 1, "val", 5),
        ("train", 2, "val", 6),
    ]
    assert shared_images({"train": training.select([0])}, {"val": joined, "none": joined.select([])}) == []
    assert StoredImages(training, "train").sizes.tolist() == [len(contents[number]) for number in (30, 5, 12)]


def test_only_what_may_be_the_same_is_read_whole(monkeypatch):
    trained, new = contents_of(0, 30, 300), contents_of(1, 30, 300)
    read, digest = [], StoredImages.digest
    monkeypatch.setattr(StoredImages, "digest", lambda images, index: read.append(index) or digest(images, index))
    assert len(shared_images({"train": captures(trained)}, {"val": captures([*new, trained[3]])})) == 1
    assert sorted(read) == [3, 30]


def in_process(number, pipes, training, evaluation, results):
    """One of two processes, which hand each other lists by pipes."""

    def gather(values: list) -> list:
        own, other = pipes[number]
        own.send(values)
        theirs = other.recv()
        return [*values, *theirs] if number == 0 else [*theirs, *values]

    try:
        read, digest = [], StoredImages.digest
        StoredImages.digest = lambda images, index: read.append(index) or digest(images, index)
        results.put((number, places(shared_images(training, evaluation, (number, 2), gather)), len(read)))
    except InputError as error:
        results.put((number, str(error), 0))


@pytest.mark.parametrize("broken", [False, True])
def test_processes_share_the_reading_and_end_alike(tmp_path, broken):
    trained = contents_of(0, 9)
    training = {"train": captures(trained, folder=tmp_path / "train")}
    evaluation = {"val": captures(trained[::-1])}
    if broken:
        (tmp_path / "train" / "4.jpg").unlink()
    context = multiprocessing.get_context("fork")
    results, (a, b), (c, d) = context.Queue(), context.Pipe(), context.Pipe()
    pipes = [(a, c), (d, b)]
    processes = [
        context.Process(target=in_process, args=(number, pipes, training, evaluation, results)) for number in range(2)
    ]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    if broken:
        assert found[0][1] == found[1][1] and "train: capture 4" in found[0][1] and "4.jpg" in found[0][1]
        return
    expected = [("train", 8 - number, "val", number) for number in range(9)]
    assert [shared for _, shared, _ in found] == [expected, expected]
    assert sorted(read for _, _, read in found) == [8, 10], "9 images on each side, 5 and 4 for each process"


def test_the_message_names_both_sides_all_counts_and_the_first_few(tmp_path):
    contents = contents_of(0, 6)
    training = {"data/a:train": captures(contents[:3]), "data/b:train": captures(contents[3:])}
    shared = shared_images(training, {"near": captures(contents[1:5], ["p.png", "q.png", "r.png", "s.png"])})
    check_no_shared_images([])
    with pytest.raises(InputError) as error:
        check_no_shared_images(shared)
    assert str(error.value) == (
        "4 evaluated images are trained on, too (2 of near in data/a:train, 2 of near in data/b:train): capture 1 of "
        "data/a:train (1.jpg) is capture 0 of near (p.png); capture 2 of data/a:train (2.jpg) is capture 1 of near "
        "(q.png); capture 0 of data/b:train (0.jpg) is capture 2 of near (r.png); and 1 more. Leave them out of one "
        "side, or go on by allow_shared_images: true"
    )


def test_a_file_that_is_gone_is_said(tmp_path):
    training = captures(contents_of(0, 2), folder=tmp_path / "train")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(InputError, match=r"mine: capture 0 \(.*train/0.jpg\): No such file .*--no-embed need their"):
        shared_images({"mine": training}, {"val": captures([b"-"])})
