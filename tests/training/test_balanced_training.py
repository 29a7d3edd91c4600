"""What real processes draw from balanced data: shares, epochs, resuming, streams; and what a run says about it."""

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import datasets
import pytest

from patchnet_hf.data.balancing import BalancedSampling
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.run import train

spec = importlib.util.spec_from_file_location("balanced_processes", Path(__file__).with_name("balanced_processes.py"))
balanced_processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(balanced_processes)

LABELS = balanced_processes.LABELS
LIVE = {index for index, label in enumerate(LABELS) if label}
COUNT = len(LABELS)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """All scenarios in one process, whose epoch of 22 captures has 6 steps."""
    return balanced_processes.everything(tmp_path_factory.mktemp("one"), processes=1)


@pytest.fixture(scope="module")
def two(tmp_path_factory, run_processes):
    """All scenarios in two real processes, over gloo on the CPU: 3 steps of 2 x 4 captures, by rank."""
    folder = tmp_path_factory.mktemp("two")
    run_processes("balanced_processes.py", folder)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def ids_of(run, first=0, last=None) -> list[int]:
    return [number for ids, _ in run["drawn"][first:last] for number in ids]


def joint(runs, first=0, last=None) -> list[int]:
    """The ids of both processes in the order of the joint sequence: batches in turn."""
    pairs = zip(*(run["drawn"][first:last] for run in runs), strict=True)
    return [number for pair in pairs for ids, _ in pair for number in ids]


def lives(ids) -> int:
    return sum(number % COUNT in LIVE for number in ids)


def test_one_process_draws_both_classes_equally_often_in_every_epoch(one):
    whole = one["whole"]
    assert whole["steps"] == 18 and [len(ids) for ids, _ in whole["drawn"]] == [4, 4, 4, 4, 4, 2] * 3
    epochs = [ids_of(whole, start, start + 6) for start in (0, 6, 12)]
    for ids in epochs:
        assert lives(ids) == 11 and len(set(ids)) == 22
        assert set(Counter(number % COUNT for number in ids if number % COUNT in LIVE).values()) == {2, 3}
    assert len({tuple(ids) for ids in epochs}) == 3


def test_sampler_and_views_are_told_the_same_epoch(one, two):
    for run, steps in ((one["whole"], 6), (two[0]["whole"], 3), (two[1]["whole"], 3)):
        assert [set(epochs) for _, epochs in run["drawn"]] == [{step // steps} for step in range(3 * steps)]


def test_the_speed_reported_is_that_of_the_captures_drawn(one, two):
    assert one["whole"]["throughput"] == pytest.approx(3 * 22, rel=0.1)
    assert two[0]["whole"]["throughput"] == pytest.approx(3 * 24, rel=0.1)


def test_two_processes_share_one_sequence_without_drawing_an_id_twice(one, two):
    runs = [rank["whole"] for rank in two]
    assert [run["steps"] for run in runs] == [9, 9]
    for epoch in range(3):
        parts = [ids_of(run, epoch * 3, epoch * 3 + 3) for run in runs]
        assert [len(part) for part in parts] == [12, 12] and not set(parts[0]) & set(parts[1])
        ids = joint(runs, epoch * 3, epoch * 3 + 3)
        assert lives(ids) == 12, "also where 22 captures were filled up to 24"
        assert ids[:22] == ids_of(one["whole"], epoch * 6, epoch * 6 + 6)
    assert ids_of(runs[0], 0, 3) != ids_of(runs[0], 3, 6)


def test_two_processes_that_drop_what_does_not_divide_stay_balanced(one, two):
    runs = [rank["dropped"] for rank in two]
    assert [run["steps"] for run in runs] == [6, 6]
    for epoch in range(3):
        ids = joint(runs, epoch * 2, epoch * 2 + 2)
        assert len(set(ids)) == 16 and lives(ids) == 8
        assert ids == ids_of(one["whole"], epoch * 6, epoch * 6 + 6)[:16]
    assert one["dropped"]["steps"] == 15


@pytest.mark.parametrize(("scenario", "resumed"), [("whole", "resumed_whole"), ("unbalanced", "resumed_unbalanced")])
def test_a_run_resumed_in_the_middle_of_an_epoch_draws_what_the_undisturbed_one_did(one, two, scenario, resumed):
    for process in (one, *two):
        whole, rest, middle = process[scenario], process[resumed], process[f"middle_of_{scenario}"]
        assert rest["drawn"] == whole["drawn"][middle:] and rest["views"] == whole["views"][middle:]


def test_workers_that_live_on_draw_the_same(one, tmp_path):
    options = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    again = balanced_processes.draw(tmp_path, **options)
    assert again["drawn"] == one["whole"]["drawn"] and again["views"] == one["whole"]["views"]


def test_the_data_seed_chooses_the_order(one, tmp_path):
    other = balanced_processes.draw(tmp_path, data_seed=0, num_train_epochs=1)
    expected = BalancedSampling(("label",)).sampler(balanced_processes.test_balancing.captures(LABELS), seed=0)
    assert ids_of(other) == list(expected) != ids_of(one["whole"], 0, 6)


@pytest.mark.parametrize("scenario", ["stream", "stream_of_each"])
def test_two_processes_see_disjoint_parts_of_a_balanced_stream(one, two, scenario):
    runs = [rank[scenario] for rank in two]
    assert [run["steps"] for run in runs] == [9, 9] and [len(ids_of(run)) for run in runs] == [36, 36]
    for run in runs:
        # 11 attacks and 10 live captures are a pass: turns make every batch half and half, but where two passes meet.
        assert all(lives(ids) in (1, 2) for ids, _ in run["drawn"]) and 18 - 3 <= lives(ids_of(run)) <= 18
    views = [{value for batch in run["views"] for value in batch} for run in runs]
    assert len(views[0]) == len(views[1]) == 36 and not views[0] & views[1]
    # What one process takes in its 9 steps is what both take in their first ones.
    alone = one["stream"]
    assert joint(runs, 0, 4) == ids_of(alone, 0, 8)
    together = [
        value for pair in zip(*(run["views"][:4] for run in runs), strict=True) for part in pair for value in part
    ]
    assert together == [value for batch in alone["views"][:8] for value in batch]


def test_a_stream_is_passed_over_again_in_another_order_until_all_steps_are_done(one):
    attacks = [number for number in ids_of(one["stream"]) if number not in LIVE]
    assert len(attacks) == 19 and len(set(attacks[:11])) == 11 and len(set(attacks[11:])) == 8
    assert attacks[11:] != attacks[:8]


def test_a_resumed_stream_goes_on_where_it_was(one, two):
    for process in (one, *two):
        assert process["resumed_stream"]["drawn"] == process["stream"]["drawn"][4:]
        assert process["resumed_stream"]["views"] == process["stream"]["views"][4:]


def test_the_trainer_balances_a_stream_of_captures_itself(one, tmp_path):
    stream = balanced_processes.test_balancing.captures(LABELS).to_iterable_dataset().shuffle(seed=2, buffer_size=20)
    assert balanced_processes.draw(tmp_path, stream, max_steps=9)["views"] == one["stream"]["views"]


def test_streams_that_cannot_be_trained_on_are_refused(tmp_path):
    with pytest.raises(InputError, match="max_steps"):
        balanced_processes.draw(tmp_path, balanced_processes.balanced_stream(), balance=None)
    with pytest.raises(InputError, match="balanced before by balance_stream"):
        balanced_processes.draw(tmp_path, balanced_processes.balanced_stream(), max_steps=9)


def test_without_balance_two_processes_draw_the_first_captures_of_an_epoch_again_and_say_so(one, two):
    ids = joint([rank["unbalanced"] for rank in two], 0, 2)
    assert sorted(ids[:15]) == list(range(15)) and ids[15:] == ids[:1]
    said = two[0]["unbalanced"]["said"]
    assert said.endswith(
        "15 captures don't divide by the joint batch of 2 processes, 8: each epoch draws 1 of them twice "
        "(--dataloader_drop_last true leaves 7 out instead)"
    )
    assert one["unbalanced"]["said"] is None and sorted(ids_of(one["unbalanced"], 0, 4)) == list(range(15))


def test_a_balanced_run_says_how_many_it_draws(one, two):
    assert one["whole"]["said"].endswith("; 22 captures in an epoch, 11 of each group")
    assert "24 captures in an epoch (2 of them to fill the batches of 2 processes), 12 of" in two[0]["whole"]["said"]
    assert "16 captures in an epoch, 8 of each group" in two[0]["dropped"]["said"]


def run_arguments(folder, dataset, **options):
    data = {"balance": "label", **options.pop("data", {})}
    return (
        ModelArguments(backbone="test_resnet"),
        DataArguments(dataset=str(dataset), patch_size=16, grid=1, **data),
        PatchNetTrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            precision="float32",
            **options,
        ),
    )


@pytest.fixture
def dataset(tmp_path):
    captures = balanced_processes.test_balancing.captures
    parts = {"train": captures(LABELS), "val": captures([1, 0], first=len(LABELS))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "data")
    return tmp_path / "data"


def test_a_run_says_which_groups_it_balances(tmp_path, dataset, capsys):
    train(*run_arguments(tmp_path / "run", dataset, per_device_train_batch_size=8))
    said = capsys.readouterr().out
    assert re.search(r"sampling +balanced over 2 groups: spoof 11, live 4; 22 captures in an epoch, 11 of each", said)
    steps = json.loads((tmp_path / "run" / "checkpoint-3" / "trainer_state.json").read_text())["global_step"]
    assert steps == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"balance": "lable"}, "did you mean label"),
        ({"balance_length": "mx"}, "did you mean max"),
        ({"balance": "device"}, "device is empty in every capture"),
    ],
)
def test_a_balance_that_cannot_be_is_refused_before_anything_is_written(tmp_path, dataset, data, message):
    with pytest.raises(InputError, match=message):
        train(*run_arguments(tmp_path / "run", dataset, data=data))
    assert not list((tmp_path / "run").glob("*"))
