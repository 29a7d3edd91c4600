"""Conversion by several processes: equal files, whatever is killed and when."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import datasets
import numpy as np
import psutil
import pytest

from patchnet_hf.data import shards
from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.views import encoded_images, image_bytes
from patchnet_hf.errors import InputError

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the tests fork processes to kill"
)
IMAGES, ROWS, ROWS_PER_SHARD = 30, 240, 7


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """A list of 240 rows over 30 images, with two that can't be used."""
    folder = tmp_path_factory.mktemp("lists") / "faces"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(IMAGES):
        pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{index}.jpg"), pixels)
    rows = [f"{index % IMAGES}.jpg,{index % 2},{'print' if index % 2 == 0 else ''}" for index in range(ROWS)]
    rows[50], rows[200] = "missing.jpg,1,", "3.jpg,2,"
    (folder / "train.csv").write_text("image_name,label,attack_type\n" + "\n".join(rows[:170]) + "\n")
    (folder / "val.csv").write_text("image_name,label,attack_type\n" + "\n".join(rows[170:]) + "\n")
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", ROWS_PER_SHARD)


def convert(faces: Path, output: Path, num_proc: int = 2, **options):
    return convert_csv([faces], output, on_error="skip", num_proc=num_proc, progress=False, **options)


def digests(folder: Path) -> dict[str, str]:
    """Of all files, but of the summary, which names the output."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "conversion.json"
    }


@pytest.fixture(scope="module")
def undisturbed(faces, tmp_path_factory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("undisturbed") / "dataset"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_PER_SHARD", ROWS_PER_SHARD)
        convert(faces, output, num_proc=1)
    return digests(output)


def start(faces: Path, output: Path, **options) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=convert, args=(faces, output), kwargs=options)
    process.start()
    return process


def kill(process: multiprocessing.Process) -> list[psutil.Process]:
    """Kills a process at once; returns its children that were alive."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    return children


def test_the_files_do_not_depend_on_the_number_of_processes(faces, tmp_path, undisturbed):
    for num_proc in (2, 3):
        convert(faces, tmp_path / str(num_proc), num_proc)
        assert digests(tmp_path / str(num_proc)) == undisturbed
    dataset = datasets.load_from_disk(tmp_path / "2")
    assert len(dataset["train"]) == 169
    assert len(list((tmp_path / "2" / "train").glob("*.arrow"))) == 25
    names = [row["image"]["path"] for row in encoded_images(dataset["train"], ["image"])]
    assert names == [f"{index % IMAGES}.jpg" for index in range(170) if index != 50]


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_any_moment_the_output_is_absent_or_whole_and_the_next_run_completes_it(
    faces, tmp_path, undisturbed, overwrite
):
    output = tmp_path / "dataset"
    began = time.monotonic()
    start(faces, output).join()
    duration = time.monotonic() - began
    assert digests(output) == undisturbed
    random = np.random.default_rng(1)
    seen = set()
    for share in random.uniform(0, 1.1, 10):
        if not overwrite:
            shutil.rmtree(output, ignore_errors=True)
        process = start(faces, output, overwrite=overwrite)
        time.sleep(share * duration)
        if process.is_alive():
            kill(process)
        seen.add(output.exists())
        assert not output.exists() or digests(output) == undisturbed
        convert(faces, output, overwrite=True)
        assert digests(output) == undisturbed
        assert {path.name for path in tmp_path.iterdir()} == {"dataset"}
    assert overwrite or False in seen, "no moment was early enough to matter"


def wait_for(condition, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finished_shards(work: Path) -> dict[int, int]:
    """Number and inode of the shards that are recorded as finished."""
    numbers = [int(path.stem) for path in (work / "shards").glob("*.json")]
    return {number: (work / "shards" / f"{number}.arrow").stat().st_ino for number in numbers}


def killed_halfway(faces: Path, output: Path) -> dict[int, int]:
    process = start(faces, output)
    wait_for(lambda: len(list(output.parent.glob(f".{output.name}.*/shards/*.json"))) >= 10)
    children = kill(process)
    assert len(children) == 2
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    return finished_shards(work_of(output))


def work_of(output: Path) -> Path:
    (work,) = output.parent.glob(f".{output.name}.*.unfinished")
    return work


def test_what_was_written_before_the_kill_is_taken_over(faces, tmp_path, undisturbed):
    finished = killed_halfway(faces, tmp_path / "dataset")
    convert(faces, tmp_path / "dataset")
    files = sorted((tmp_path / "dataset" / "train").glob("*.arrow"))
    assert len(finished) >= 10
    assert all(files[number].stat().st_ino == inode for number, inode in finished.items() if number < 25)
    assert digests(tmp_path / "dataset") == undisturbed


def test_a_shard_whose_images_have_changed_since_is_written_anew(faces, tmp_path, undisturbed):
    mine = tmp_path / "faces"
    shutil.copytree(faces, mine)
    finished = killed_halfway(mine, tmp_path / "dataset")
    assert 0 in finished
    assert cv2.imwrite(str(mine / "0.jpg"), np.zeros((48, 64, 3), np.uint8))
    convert(mine, tmp_path / "dataset")
    first = encoded_images(datasets.load_from_disk(tmp_path / "dataset")["train"], ["image"])[0]
    assert image_bytes(first["image"]) == (mine / "0.jpg").read_bytes()
    files = digests(tmp_path / "dataset")
    assert files.keys() == undisturbed.keys()
    assert files["train/data-00000-of-00025.arrow"] != undisturbed["train/data-00000-of-00025.arrow"]


def test_only_one_process_at_a_time_works_for_an_output(faces, tmp_path):
    process = start(faces, tmp_path / "dataset")
    wait_for(lambda: list(tmp_path.glob(".dataset.*.unfinished/shards")))
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(InputError, match="another process is writing it"):
            convert(faces, tmp_path / "dataset")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert process.exitcode == 0


def test_a_killed_process_of_several_is_said_in_one_line_and_the_same_call_goes_on(
    faces, tmp_path, undisturbed, monkeypatch
):
    monkeypatch.setattr(
        "patchnet_hf.data.shard_processes.write_shard", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    )
    with pytest.raises(InputError, match=r"a process of the conversion was killed.*--num-proc"):
        convert(faces, tmp_path / "dataset")
    monkeypatch.undo()
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", ROWS_PER_SHARD)
    assert list(tmp_path.iterdir()) == [work_of(tmp_path / "dataset")]
    convert(faces, tmp_path / "dataset")
    assert digests(tmp_path / "dataset") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_a_list_that_was_broken_and_mended_between_kills_loses_no_row(faces, tmp_path, undisturbed):
    mine, output = tmp_path / "faces", tmp_path / "dataset"
    shutil.copytree(faces, mine)
    given = (mine / "train.csv").read_text()
    killed_halfway(mine, output)
    # The seventh row of the first shard, now without an image.
    (mine / "train.csv").write_text(given.replace("6.jpg,0", "no.jpg,0", 1))
    process = multiprocessing.get_context("fork").Process(
        target=convert_csv, args=([mine], output), kwargs={"num_proc": 2, "progress": False}
    )
    first = work_of(output) / "shards" / "0.json"
    process.start()
    wait_for(lambda: not first.exists() or not process.is_alive())
    process.kill()
    process.join()
    (mine / "train.csv").write_text(given)
    summary = convert(mine, output)
    assert summary.splits["train"].images == 169 == len(datasets.load_from_disk(output)["train"])
    images = [row["image"]["path"] for row in encoded_images(datasets.load_from_disk(output)["train"], ["image"])]
    assert images[:7] == [f"{index}.jpg" for index in range(7)]
    # Which names the list.
    assert {**digests(output), "rejected.csv": undisturbed["rejected.csv"]} == undisturbed


def test_an_old_dataset_survives_a_kill_and_a_failure(faces, tmp_path, undisturbed):
    output = tmp_path / "dataset"
    convert(faces, output)
    killed_halfway_overwriting(faces, output)
    # As where the process was killed between taking away the old and putting in place the new.
    output.rename(work_of(output) / "replaced")
    with pytest.raises(InputError, match="rows can't be used"):
        convert_csv([faces], output, overwrite=True, num_proc=1, progress=False)
    assert digests(output) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def killed_halfway_overwriting(faces: Path, output: Path) -> None:
    process = start(faces, output, overwrite=True)
    wait_for(lambda: list(output.parent.glob(f".{output.name}.*/shards/*.json")))
    kill(process)


def test_outputs_of_one_name_in_folders_that_are_not_there_yet_do_not_meet(faces, tmp_path):
    first = start(faces, tmp_path / "a" / "dataset")
    wait_for(lambda: list(tmp_path.glob(".dataset.*.unfinished/shards")))
    os.kill(first.pid, signal.SIGSTOP)
    try:
        convert(faces, tmp_path / "b" / "dataset")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.join()
    assert first.exitcode == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_bad_rows_of_all_shards_are_reported_in_their_order(faces, tmp_path):
    with pytest.raises(InputError, match=r"(?s)2 rows can't be used.*train.csv:52: .*missing.jpg.*val.csv:32: label"):
        convert_csv([faces], tmp_path / "dataset", num_proc=3, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_proc", [1, 2])
def test_without_embedding_the_dataset_holds_paths_alone(faces, tmp_path, num_proc, monkeypatch):
    monkeypatch.chdir(faces.parent)
    convert_csv(["faces"], tmp_path / "dataset", on_error="skip", embed=False, num_proc=num_proc, progress=False)
    dataset = datasets.load_from_disk(tmp_path / "dataset")["train"]
    stored = encoded_images(dataset, ["image"])[0]["image"]
    assert stored == {"bytes": None, "path": str(faces / "0.jpg")}
    assert dataset[0]["image"].size == (64, 48)
    pixels = (faces / "0.jpg").read_bytes()[-100:]
    assert not any(pixels in path.read_bytes() for path in (tmp_path / "dataset").rglob("*.arrow"))
