"""run.json: what it says of a training, of one that is resumed, and what it doesn't say."""

import getpass
import importlib.util
import json
import re
import socket
from collections import Counter
from pathlib import Path

import datasets
import pytest
import torch
from transformers.trainer_callback import TrainerState

from patchnet_hf.cards.card import marked
from patchnet_hf.cards.model_folder import RUN_FILE
from patchnet_hf.data.filters import CaptureFilter
from patchnet_hf.data.summary import FileDigests, file_digests
from patchnet_hf.evaluation.scoring import score_dataset
from patchnet_hf.inference.scorers import load_scorer
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.checks import remove_leftovers
from patchnet_hf.training.run import train
from patchnet_hf.training.run_record import RunData, RunRecord, best_of, digests_by_all, filter_text, start_of

spec = importlib.util.spec_from_file_location("small_runs", Path(__file__).with_name("small_runs.py"))
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)
captures = small_runs.captures

SECRETS = {"HF_TOKEN": "hf_planted" + "a1" * 15, "TELEGRAM_TOKEN": "123456789:planted" + "b2" * 14}


def with_persons(part: datasets.Dataset, names: list[str]) -> datasets.Dataset:
    """The same captures, each of one of these persons in turn, taken by one of two phones."""
    columns = {
        "subject": [names[index % len(names)] for index in range(len(part))],
        "device": [f"phone {index % 2}" for index in range(len(part))],
    }
    for name, values in columns.items():
        feature = part.features[name]
        part = part.remove_columns(name).add_column(name, values, feature=feature)
    return part


def run_arguments(folder: Path, data: Path, **options):
    """Of a training of seconds."""
    model = options.pop("model", {})
    arguments = PatchNetTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, learning_rate=1e-3, report_to="none",
        **{"num_train_epochs": 1, "disable_tqdm": True, "precision": "float32", "use_cpu": True, **options},
    )  # fmt: skip
    return (
        ModelArguments(**{"backbone": "test_resnet", **model}),
        DataArguments(
            dataset=str(data),
            patch_size=32,
            grid=1,
            train_filter='{"subject": {"not": "zoe"}}',
            allow_shared_images=True,
        ),
        arguments,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its folder, its record, and the splits that it was made of."""
    base = tmp_path_factory.mktemp("anna_secret_place")
    train_part = with_persons(captures(24, 0), ["anna", "ben", "zoe"])
    near = with_persons(captures(6, 1), ["ben", "cleo"])
    # Two captures of the training set among those that it is evaluated on.
    near = datasets.concatenate_datasets([near, train_part.select([0, 1])])
    splits = {"train": train_part, "near": near, "far": with_persons(captures(9, 2), ["dora"])}
    datasets.DatasetDict(splits).save_to_disk(base / "mine")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        options = {"gradient_accumulation_steps": 2, "lr_scheduler_type": "cosine", "warmup_steps": 1, "seed": 7}
        train(*run_arguments(base / "run", base / "mine", weight_decay=0.05, ema_decay=0.9, optim="adamw", **options))
    return base / "run", json.loads((base / "run" / RUN_FILE).read_text()), splits


def test_captures_are_counted_by_class_attack_type_patch_type_and_source(finished):
    _, record, splits = finished
    kept = [row for row in splits["train"].remove_columns("image") if row["subject"] != "zoe"]
    told = record["data"]["train"]
    assert told["datasets"] == ["mine:train"]
    assert (told["captures"], told["live"], told["attacks"]) == (
        len(kept),
        sum(row["label"] for row in kept),
        sum(1 - row["label"] for row in kept),
    )
    assert told["attack_types"] == dict(Counter(row["attack_type"] for row in kept if not row["label"]))
    names = splits["train"].features["patch_type"].names
    assert told["patch_types"] == dict(Counter(names[row["patch_type"]] for row in kept))
    assert told["devices"] == dict(Counter(row["device"] for row in kept)) and told["sources"] == {"test": len(kept)}
    assert told["subjects"] == 2 and told["videos"] == 0 and told["simulated"] == 0
    assert list(record["data"]["evaluation"]) == ["near", "far"]
    assert record["data"]["train_filter"] == "subject not 1 value", "whom it leaves out is nobody's business"


def test_what_evaluation_sets_share_with_the_training_set_is_counted(finished):
    _, record, splits = finished
    sets = record["data"]["evaluation"]
    taken = {row["subject"] for row in splits["near"]} & {"anna", "ben"}
    assert sets["near"]["shared_with_train"] == {"subjects": len(taken), "captures": 2}
    assert sets["far"]["shared_with_train"] == {"subjects": 0, "captures": 0}


def test_sets_have_the_fingerprints_that_evaluations_report(finished):
    folder, record, splits = finished
    scored = score_dataset(load_scorer(str(folder)), splits["far"], "far")
    assert record["data"]["evaluation"]["far"]["fingerprint"] == scored.fingerprint
    assert len({record["data"]["train"]["fingerprint"], scored.fingerprint}) == 2


def test_the_recipe_is_what_the_run_was_told_and_did(finished):
    folder, record, _ = finished
    recipe = record["recipe"]
    expected = {
        "backbone": "test_resnet", "mode": "patches", "patch_size": 32, "grid": 1, "epochs": 1.0, "steps": 2,
        "optimizer": "adamw", "schedule": "cosine", "learning_rate": 1e-3, "warmup_steps": 1, "weight_decay": 0.05,
        "precision": "float32", "ema_decay": 0.9, "margin_live": 0.4, "scale": 30.0, "seed": 7, "balance": None,
        "batch": {"per_device": 4, "processes": 1, "accumulation": 2, "effective": 8},
    }  # fmt: skip
    assert {name: recipe[name] for name in expected} == expected
    state = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert record["best"] == {
        "metric": "eval_total_acer",
        "value": state["best_metric"],
        "larger_is_better": False,
        "step": 2,
    }
    assert (record["finished"], record["device"], record["start"]) == (True, "cpu", {"weights": "random"})
    assert torch.__version__.startswith(record["versions"]["torch"])


@pytest.mark.parametrize(("value", "chosen"), [(0.25, True), (None, False), (float("inf"), False)])
def test_a_number_that_was_never_defined_chose_no_checkpoint(tmp_path, value, chosen):
    args = PatchNetTrainingArguments(output_dir=str(tmp_path), report_to=[])
    assert (best_of(args, TrainerState(best_metric=value)) is not None) == chosen


def test_neither_record_nor_card_hold_paths_names_or_tokens(finished):
    folder, _, _ = finished
    for name in (RUN_FILE, "README.md"):
        text = (folder / name).read_text()
        assert str(folder.parent) not in text and folder.parent.name not in text and "/tmp" not in text
        for secret in (*SECRETS.values(), "anna", "zoe"):
            assert secret not in text
        for personal in (getpass.getuser(), socket.gethostname()):
            assert not re.search(rf"\b{re.escape(personal)}\b", text)


@pytest.mark.slow
def test_a_resumed_run_keeps_what_it_started_from_and_tells_where_it_was_resumed(finished, tmp_path):
    folder, _, _ = finished
    data, output = folder.parent / "mine", tmp_path / "run"
    train(*run_arguments(output, data, model={"init_from": str(folder)}))
    assert json.loads((output / RUN_FILE).read_text())["start"] == {"weights": "folder"}
    # Resumed without saying again what it has started from.
    train(*run_arguments(output, data, num_train_epochs=2, resume_from_checkpoint="true"))
    record = json.loads((output / RUN_FILE).read_text())
    assert (record["start"], record["resumed_at_steps"]) == ({"weights": "folder"}, [4])
    assert (record["recipe"]["steps"], record["recipe"]["epochs"]) == (8, 2.0)
    assert "another PatchNet model, from a folder" in (output / "README.md").read_text()
    # Taken up at its end, there is nothing to resume.
    train(*run_arguments(output, data, num_train_epochs=2, resume_from_checkpoint="true"))
    assert json.loads((output / RUN_FILE).read_text())["resumed_at_steps"] == [4]
    (output / RUN_FILE).unlink()
    train(*run_arguments(output, data, num_train_epochs=3, resume_from_checkpoint="true"))
    assert json.loads((output / RUN_FILE).read_text())["start"] == {"weights": "unknown"}


def test_a_run_that_does_not_come_to_its_end_says_so(tmp_path):
    trainer = small_runs.small_run(tmp_path / "run")
    record = RunRecord(trainer, RunData(captures(24, 0), {}, DataArguments(dataset="mine")), ModelArguments())
    record.begin()
    begun = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert (begun["finished"], begun["recipe"]["steps"], begun["data"]["train"]["captures"]) == (False, 6, 24)
    record.finish()
    assert json.loads((tmp_path / "run" / RUN_FILE).read_text())["finished"] is True


@pytest.mark.parametrize("edited", [False, True])
def test_a_run_that_is_overwritten_leaves_no_record_and_no_card_unless_it_was_edited(tmp_path, edited):
    (tmp_path / RUN_FILE).write_text("{}")
    (tmp_path / "README.md").write_text(marked("# A model") + ("My own words\n" if edited else ""))
    remove_leftovers(PatchNetTrainingArguments(output_dir=str(tmp_path), overwrite=True), None)
    assert [path.name for path in tmp_path.iterdir()] == (["README.md"] if edited else [])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, {"weights": "random"}),
        ({"init_from": "someone/patchnet"}, {"weights": "hub", "hub_id": "someone/patchnet"}),
        (
            {"pretrained_backbone": True, "backbone": "resnet18"},
            {"weights": "timm", "hub_id": "timm/resnet18.a1_in1k"},
        ),
        ({"pretrained_backbone": "/home/anna/x.pth"}, {"weights": "backbone_file"}),
    ],
)
def test_a_new_run_tells_where_its_weights_are_from(model, expected):
    assert start_of(ModelArguments(**model)) == expected


def test_a_model_in_a_folder_is_told_without_its_path(tmp_path):
    assert start_of(ModelArguments(init_from=str(tmp_path)), unmatched=3) == {"weights": "folder", "unmatched": 3}


def test_filters_are_told_without_the_names_of_persons():
    chosen = CaptureFilter.parse([{"device": {"not": "phone6"}, "subject": ["anna", "ben"]}, {"source": "mine"}])
    assert filter_text(chosen) == "device not phone6; subject 2 values | source mine"


@pytest.mark.slow
def test_two_processes_read_the_captures_together(tmp_path, run_processes):
    run_processes("two_processes_record.py", tmp_path)
    read = json.loads((tmp_path / "digests.json").read_text())
    alone = file_digests(captures(7, 0))
    assert read == [digest.hex() for digest in alone.captures]


def test_captures_whose_files_are_gone_have_no_fingerprint(tmp_path):
    file = tmp_path / "face.png"
    file.write_bytes(captures(1, 0).with_format("arrow")["image"][0].as_py()["bytes"])
    row = captures(1, 0).cast_column("image", datasets.Image(decode=False))
    lying = row.map(lambda _: {"image": {"bytes": None, "path": str(file)}})
    assert digests_by_all(lying) == FileDigests.joined([file_digests(captures(1, 0))])
    file.unlink()
    assert digests_by_all(lying) is None


def test_a_record_whose_folder_is_full_is_one_line(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RUN_FILE).mkdir()
    trainer = small_runs.small_run(tmp_path / "run")
    record = RunRecord(trainer, RunData(captures(24, 0), {}, DataArguments(dataset="mine")), ModelArguments())
    with pytest.raises(ValueError, match=r"run\.json can't be written"):
        record.begin()
