"""The main job as a user runs it: real processes from simulated captures to a reloaded model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from patchnet_hf.inference.scorers import load_scorer
from patchnet_hf.inference.scoring import score_files
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.run import read_metrics, train

pytestmark = pytest.mark.slow


def run(project: Path, *command, **options) -> subprocess.CompletedProcess:
    """A command from the project's root; a failure shows what it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory, project):
    """Demo data large enough that a few epochs learn something, converted."""
    folder = tmp_path_factory.mktemp("demo")
    counts = ["--train", 400, "--val", 64, "--size", 192]
    run(project, sys.executable, "scripts/make_demo_data.py", "--output", folder / "data", *counts)
    splits = [folder / "data" / name for name in ("train", "val_seen", "val_unseen")]
    run(project, sys.executable, "scripts/convert_dataset.py", "--csv", *splits, "--output", folder / "arrow")
    return folder


def test_the_main_job_from_captures_to_a_reloaded_model(demo_data, project, tmp_path):
    output = tmp_path / "run"
    launcher = [Path(sys.executable).with_name("accelerate"), "launch", "--quiet"]
    launcher += ["--config_file", "configs/accelerate/one_process.yaml"]
    if not launcher[0].exists():
        # The environment of transformers 5 lies on top of another one, which holds the launcher.
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *launcher[1:]]
    options = ["--num_train_epochs", 1, "--patch_size", 64, "--grid", 2, "--eval_strategy", "epoch"]
    options += ["--save_strategy", "epoch", "--dataset", demo_data / "arrow", "--output_dir", output]
    trained = run(project, *launcher, "scripts/train.py", "--config", "configs/demo.yaml", *options)
    for row in ("val_seen", "val_unseen", "total", "APCER replay %"):
        assert row in trained.stdout
    metrics = read_metrics(output)
    assert metrics["eval_val_unseen_images"] == 64 and metrics["eval_total_images"] == 128
    assert {"eval_val_seen_acer", "eval_val_unseen_acer", "eval_total_acer", "train_runtime"} <= set(metrics)
    assert list((output / "runs").rglob("events.out.tfevents.*")), "TensorBoard has logs"
    card = (output / "README.md").read_text()
    assert "**Simulated data.**" in card and "val_seen, val_unseen show other persons than the training set." in card

    images = sorted((demo_data / "data" / "val_unseen" / "images").iterdir())[:5]
    extras = ["--picture", tmp_path / "patches.png", "--json", tmp_path / "scores.json"]
    run(project, sys.executable, "scripts/predict.py", "--model", output, *images, *extras)
    scores = json.loads((tmp_path / "scores.json").read_text())
    here = list(score_files(load_scorer(str(output)), images))
    assert [entry["live_log_odds"] for entry in scores] == pytest.approx([s.log_odds for s in here], abs=1e-3)
    assert len(scores[0]["patch_live_probabilities"]) == 4
    assert np.asarray(Image.open(tmp_path / "patches.png").convert("L")).std() > 20


def short_run(dataset: datasets.DatasetDict, folder: Path, epochs: int = 10) -> dict:
    """A budget of about half a minute on two cores."""
    dataset.save_to_disk(folder / "data")
    return train(
        ModelArguments(scale=16.0, margin_live=0.1, similarity_weight=0.1),
        DataArguments(dataset=str(folder / "data"), patch_size=96, grid=2),
        PatchNetTrainingArguments(
            output_dir=str(folder / "run"),
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=30,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
    )


def test_shuffled_labels_leave_a_run_near_chance(demo_data, tmp_path):
    splits = datasets.load_from_disk(str(demo_data / "arrow"))
    order = np.random.default_rng(0).permutation(len(splits["train"]))
    shuffled = splits["train"]
    for column in ("label", "patch_type", "attack_type"):
        values, feature = np.asarray(shuffled[column])[order].tolist(), shuffled.features[column]
        shuffled = shuffled.remove_columns(column).add_column(column, values).cast_column(column, feature)
    learned = short_run(splits, tmp_path / "true")
    chance = short_run(datasets.DatasetDict({**splits, "train": shuffled}), tmp_path / "shuffled")
    assert learned["eval_total_auc"] > 0.75
    assert 0.3 < chance["eval_total_auc"] < 0.7
    assert chance["eval_total_acer"] > 0.35


def test_real_captures_of_other_persons_are_told_apart(nuaa_sample, project, tmp_path):
    lists = [nuaa_sample / "train.csv", nuaa_sample / "val.csv"]
    run(project, sys.executable, "scripts/convert_dataset.py", "--csv", *lists, "--output", tmp_path / "arrow")
    options = ["--dataset", tmp_path / "arrow", "--output_dir", tmp_path / "run", "--report_to", "none"]
    run(
        project,
        sys.executable,
        "scripts/train.py",
        "--config",
        "configs/captures.yaml",
        "--num_train_epochs",
        8,
        *options,
    )
    metrics = read_metrics(tmp_path / "run")
    assert metrics["eval_val_images"] == 80
    assert metrics["eval_val_acer"] <= 0.08


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "{}/run.yaml"], "run.yaml: unknown key 'lerning_rate'; did you mean learning_rate"),
        (["--dataset", "{}/arrow", "--backbone", "resnet_18"], "unknown backbone 'resnet_18'; did you mean resnet18"),
        (["--dataset", "{}/nowhere"], "doesn't exist"),
        (["--learnin_rate", "1"], "unknown argument --learnin_rate; did you mean --learning_rate"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_nothing_is_written(demo_data, project, tmp_path, options, message):
    (demo_data / "run.yaml").write_text("lerning_rate: 0.1\n")
    words = [option.format(demo_data) for option in options]
    command = [sys.executable, "scripts/train.py", *words, "--output_dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "run").exists()


def test_a_machine_without_a_compiler_says_so_before_anything_is_written(demo_data, project, tmp_path):
    command = [sys.executable, "scripts/train.py", "--dataset", str(demo_data / "arrow"), "--torch_compile", "true"]
    command += ["--output_dir", str(tmp_path / "run")]
    variables = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    variables |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=variables)
    assert done.returncode == 2, done.stderr
    # transformers has a hint of its own about GPUs before.
    line = done.stderr.splitlines()[-1]
    assert "this machine can't compile the network" in line and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_predicting_with_a_folder_that_holds_no_model_is_one_line(demo_data, project):
    command = [sys.executable, "scripts/predict.py", "--model", str(demo_data), "face.jpg"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "holds no model" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--json", "nowhere/x.json"], "folder of nowhere/x.json"), (["--picture", "x.bmp"], "ends in none of .png")],
)
def test_predicting_into_a_place_that_cannot_be_is_said_before_any_work(project, options, message):
    command = [sys.executable, "scripts/predict.py", "--model", "nowhere", "face.jpg", *options]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert message in done.stderr
