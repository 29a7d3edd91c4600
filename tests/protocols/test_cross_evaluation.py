"""`scripts/cross_evaluate.py` as a user runs it: interrupted, killed, run again; its table computed anew."""

import csv
import importlib.util
import itertools
import json
import os
import runpy
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from patchnet_hf import PatchNetConfig
from patchnet_hf.errors import InputError
from patchnet_hf.protocols.cross_evaluation import cross_evaluate, plan
from patchnet_hf.protocols.runs import FoldRun, Launcher, locked, train_fold
from patchnet_hf.training.checkpoints import checkpoints_in

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("test_trainer", ROOT / "tests" / "training" / "test_trainer.py")
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)

RECIPE = """
dataset: somewhere/else # as recipes have it; a fold takes the protocol's
output_dir: somewhere/else
backbone: test_resnet
patch_size: 32
grid: 1
num_train_epochs: 40
per_device_train_batch_size: 8
learning_rate: 3.0e-4
precision: float32
use_cpu: true
cpu_threads: 1
report_to: none
disable_tqdm: true
load_best_model_at_end: false
eval_strategy: no
save_strategy: steps
save_steps: 10
save_total_limit: 1
logging_steps: 50
seed: 0
"""
PROTOCOL = """
name: attacks
recipe: {base}/recipe.yaml
datasets: {base}/data
leave_one_out: attack_type
hold_out: {{by: subject, development: 0.25, test: 0.25}}
options: {{num_train_epochs: 36}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Sixteen persons in two splits, each live and with two attacks, twice; a recipe and a protocol."""
    base = tmp_path_factory.mktemp("protocol")
    splits = {}
    for number, name in enumerate(("first", "second")):
        part = test_trainer.captures(48, number).remove_columns(["subject", "video"])
        persons = [f"{name}_{index // 6}" for index in range(48)]
        part = part.add_column("subject", persons).add_column("video", [f"{p}_{i % 3}" for i, p in enumerate(persons)])
        splits[name] = part
    datasets.DatasetDict(splits).save_to_disk(base / "data")
    (base / "recipe.yaml").write_text(RECIPE)
    (base / "protocol.yaml").write_text(PROTOCOL.format(base=base))
    return base


def start(base: Path, *options, **environment) -> subprocess.Popen:
    return launch("cross_evaluate.py", "--protocol", base / "protocol.yaml", *options, **environment)


def launch(script: str, *options, **environment) -> subprocess.Popen:
    """A script in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        start_new_session=True,
    )


def when_there_is_a_checkpoint(folder: Path, process: subprocess.Popen, number: int) -> tuple[str, str]:
    """Sends a signal to the whole group as soon as the fold has saved a checkpoint."""
    deadline = time.monotonic() + 300
    while not checkpoints_in(folder):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, number)
    return process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def story(base):
    """Ctrl-C in the first fold, a kill in the second, and a third start to the end; what each left behind."""
    output = base / "out"
    story = {"output": output, "data": contents(base / "data")}
    process = start(base, "--output", output)
    _, story["stop"] = when_there_is_a_checkpoint(output / "print", process, signal.SIGINT)
    story["stop_code"], story["stopped_at"] = process.returncode, checkpoints_in(output / "print")
    process = start(base, "--output", output)
    story["killed"], _ = when_there_is_a_checkpoint(output / "replay", process, signal.SIGKILL)
    story["first"] = contents(output / "print")
    # Beside the rest of the run, as it needs the first fold alone.
    by_hand = launch("train.py", "--config", output / "print" / "fold.yaml", "--output_dir", base / "by_hand")
    process = start(base, "--output", output)
    story["said"], errors = process.communicate()
    assert process.returncode == 0, story["said"] + errors
    story["by_hand"], errors = by_hand.communicate()
    assert by_hand.returncode == 0, errors
    return story


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_leaves_a_checkpoint_that_the_same_command_goes_on_from(story):
    assert story["stop_code"] == 130 and "Traceback" not in story["stop"]
    last = story["stop"].strip().splitlines()[-1]
    assert last.startswith("cross_evaluate.py: stopped in fold 1 of 2, print; 0 finished so far"), story["stop"]
    (checkpoint,) = story["stopped_at"]
    assert f"resuming      {checkpoint}" in story["killed"]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_leaves_finished_folds_as_they_are(story):
    output = story["output"]
    assert "fold 1 of 2, print: finished before" in story["said"]
    assert contents(output / "print") == story["first"], "to the byte"
    assert f"resuming      {output / 'replay' / 'checkpoint-'}" in story["said"].replace("\n              ", "")
    assert {"development_scores.csv", "test_scores.csv", "fold.yaml", "model.safetensors"} <= set(story["first"])
    assert contents(output.parent / "data") == story["data"], "nothing is copied beside the data"


@pytest.mark.slow
def test_what_is_left_out_is_never_seen_in_training_and_fold_yaml_says_so(story):
    for target, other in (("print", "replay"), ("replay", "print")):
        folder = story["output"] / target
        config = PatchNetConfig.from_pretrained(folder)
        assert config.patch_types == ["phone/live", f"phone/{other}"]
        settings = yaml.safe_load((folder / "fold.yaml").read_text())
        assert settings["num_train_epochs"] == 36 and settings["backbone"] == "test_resnet"
        assert settings["train_filter"]["attack_type"] == settings["eval_filter"]["attack_type"] == ["bonafide", other]
        persons = [set(settings[name]["subject"]) for name in ("train_filter", "eval_filter")]
        rows = {part: rows_of(folder, part) for part in ("development", "test")}
        tested = {row["subject"] for row in rows["test"]}
        assert {row["subject"] for row in rows["development"]} == persons[1]
        assert not persons[0] & persons[1] and not tested & (persons[0] | persons[1])
        assert {row["attack_type"] for row in rows["test"]} == {"bonafide", target}


def rows_of(folder: Path, part: str) -> list[dict]:
    with open(folder / f"{part}_scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def rates(rows: list[dict], threshold: float) -> tuple[float, float, float]:
    """Worst type's APCER, pooled APCER and BPCER, counted one by one."""
    accepted = {"live": [], **{row["attack_type"]: [] for row in rows if row["label"] == "0"}}
    for row in rows:
        kind = "live" if row["label"] == "1" else row["attack_type"]
        accepted[kind].append(float(row["live_log_odds"]) >= threshold)
    attacks = [kind for kind in accepted if kind != "live"]
    pooled = [yes for kind in attacks for yes in accepted[kind]]
    worst = max(sum(accepted[kind]) / len(accepted[kind]) for kind in attacks)
    return worst, sum(pooled) / len(pooled), accepted["live"].count(False) / len(accepted["live"])


@pytest.mark.slow
def test_the_table_is_what_the_saved_scores_say_computed_independently(story):
    output = story["output"]
    results = json.loads((output / "results.json").read_text())
    table = (output / "table.md").read_text()
    expected = {}
    for fold in results["folds"]:
        development, test = (rows_of(output / fold["folder"], part) for part in ("development", "test"))
        threshold = fold["threshold_log_odds"]
        scores = sorted(float(row["live_log_odds"]) for row in development)
        gaps = []
        for candidate in [scores[0] - 1, *((low + high) / 2 for low, high in itertools.pairwise(scores))]:
            _, pooled, bpcer = rates(development, candidate)
            gaps.append(abs(pooled - bpcer))
        _, pooled, bpcer = rates(development, threshold)
        assert abs(pooled - bpcer) == min(gaps), "EER of the development set"
        apcer, pooled, bpcer = rates(test, threshold)
        labels, log_odds = [int(row["label"]) for row in test], [float(row["live_log_odds"]) for row in test]
        numbers = {
            "apcer": apcer,
            "bpcer": bpcer,
            "acer": (apcer + bpcer) / 2,
            "hter": (pooled + bpcer) / 2,
            "auc": roc_auc_score(labels, log_odds),
        }
        assert {name: fold["metrics"][name] for name in numbers} == pytest.approx(numbers, abs=1e-12)
        expected[fold["fold"]] = numbers
        cells = " | ".join(f"{100 * value:.2f}" for value in numbers.values())
        assert f"| {fold['fold']} | {cells} |" in table
        assert fold["counts"]["images"] == len(test) == fold["parts"]["test"]["captures"]
    assert list(expected) == ["print", "replay"]
    for name in ("apcer", "bpcer", "acer", "hter", "auc"):
        values = [numbers[name] for numbers in expected.values()]
        mean, deviation = statistics.mean(values), statistics.stdev(values)
        assert results["summary"][name] == pytest.approx({"mean": mean, "standard_deviation": deviation})
        assert f"{100 * mean:.2f} ± {100 * deviation:.2f}" in table and f"{100 * mean:.2f} ± " in story["said"]
    with open(output / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["hter"]) for row in rows] == [fold["metrics"]["hter"] for fold in results["folds"]]


@pytest.mark.slow
def test_clips_and_species_are_numbers_of_the_same_scores(story, base, tmp_path):
    """Neither needs another training: a changed criterion, level or species is a matter of the saved scores."""
    text = PROTOCOL.format(base=base) + "level: clip\nspecies: {instrument: [print, replay]}\ncriterion: apcer=0.25\n"
    (tmp_path / "clips.yaml").write_text(text)
    job = plan(tmp_path / "clips.yaml")
    output = shutil.copytree(story["output"], tmp_path / "out")
    before = contents(output / "print")
    results = cross_evaluate(job, output, ROOT / "scripts" / "train.py")
    assert contents(output / "print") == before
    for fold in results["folds"]:
        clips = {}
        for row in rows_of(output / fold["folder"], "test"):
            clips.setdefault((row["subject"], row["video"], row["label"]), []).append(float(row["live_log_odds"]))
        labels = [int(label) for _, _, label in clips]
        means = np.array([np.mean(scores) for scores in clips.values()])
        assert fold["counts"]["clips"] == len(clips) < fold["counts"]["images"]
        assert fold["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, means))
        assert list(fold["apcer_by_species"]) == ["instrument"]


@pytest.mark.slow
def test_other_settings_or_captures_are_refused_unless_overwritten(story, base, tmp_path):
    output = shutil.copytree(story["output"], tmp_path / "out")
    other = tmp_path / "other.yaml"
    other.write_text(PROTOCOL.format(base=base).replace("36", "35"))
    before = contents(output)
    with pytest.raises(InputError, match=r"print was trained in another way: num_train_epochs 36 there, 35 here"):
        cross_evaluate(plan(other), output, ROOT / "scripts" / "train.py")
    other.write_text(PROTOCOL.format(base=base).replace("test: 0.25", "test: 0.3"))
    with pytest.raises(InputError, match=r"train_filter .* there, .* here; other captures in train"):
        cross_evaluate(plan(other), output, ROOT / "scripts" / "train.py", ["replay"])
    assert contents(output) == before
    # What was asked for is trained anew, and what is left of other settings isn't in the table.
    other.write_text(PROTOCOL.format(base=base).replace("36", "1"))
    results = cross_evaluate(plan(other), output, ROOT / "scripts" / "train.py", ["replay"], overwrite=True)
    assert [fold["fold"] for fold in results["folds"]] == ["replay"] and results["of"] == 2
    assert contents(output / "print") == {
        name.removeprefix("print/"): data for name, data in before.items() if name.startswith("print/")
    }
    assert contents(output / "replay")["fold.yaml"] != before["replay/fold.yaml"]


@pytest.mark.slow
def test_a_fold_is_an_ordinary_run_that_fold_yaml_repeats(story, base):
    assert "train_filter  attack_type bonafide or replay; subject" in story["by_hand"]
    again = (base / "by_hand" / "model.safetensors").read_bytes()
    assert again == story["first"]["model.safetensors"], "interrupted or not"


def test_a_dry_run_shows_the_folds_and_writes_nothing(base, tmp_path):
    process = start(base, "--dry-run", "--folds", "print", "--output", tmp_path / "out")
    said, errors = process.communicate()
    assert process.returncode == 0 and not errors, errors
    assert "print  train              32          16      0      16         8  -" in said, said
    assert "replay" not in [line.split()[0] for line in said.splitlines() if line.strip()]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "processes", "message"),
    [
        (["--dry-run", "--folds", "prnt"], "1", "no fold 'prnt'; did you mean print?; there are print, replay"),
        ([], "1", "--output is missing"),
        (["--output", "out"], "2", "start it with python"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(base, tmp_path, monkeypatch, capsys, options, processes, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(sys, "argv", ["cross_evaluate.py", "--protocol", str(base / "protocol.yaml"), *options])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "cross_evaluate.py"), run_name="__main__")
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and errors.count("\n") == 1 and message in errors, errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("recipe", "learning_rat: 1\n", "recipe.yaml: unknown key 'learning_rat'; did you mean learning_rate"),
        ("recipe", "backbone: resnet_18\n", "unknown backbone 'resnet_18'; did you mean resnet18"),
        ("recipe", "pretrained_backbone: nowhere.pth\n", "nowhere.pth doesn't exist; expected a file of weights"),
        (
            "recipe",
            "metric_for_best_model: eval_val_acer\n",
            "fold print: metric_for_best_model 'eval_val_acer' is of no evaluation",
        ),
        ("recipe", "train_filter: {label: live}\n", "recipe.yaml: train_filter can't be used here"),
        ("recipe", "eval_filter: {label: live}\n", "recipe.yaml: eval_filter can't be used here"),
        (
            "protocol",
            "options: {learning_rat: 1}\n",
            "options: unknown key 'learning_rat'; did you mean learning_rate",
        ),
        ("protocol", "criterion: err\n", "the criterion is 'err'"),
        ("protocol", "targets: prnt\n", "targets: no capture has attack_type 'prnt'; did you mean print?"),
        ("protocol", "species: {paper: [prnt]}\n", "species: paper: no capture has attack_type 'prnt'; did you mean"),
        ("protocol", "hold_out: {test: 0.01}\n", "fold print: test has no bona fides and attacks"),
        ("protocol", "datasets: [{base}/data, '{base}/data:first']\n", "data:first is named twice"),
        ("protocol", "datasets: {base}/nowhere\n", "nowhere doesn't exist"),
        ("protocol", "recipe: nowhere.yaml\n", "recipe nowhere.yaml doesn't exist"),
    ],
)
def test_a_mistake_is_found_before_any_training(base, tmp_path, file, text, message):
    recipe = yaml.safe_load(RECIPE)
    protocol = yaml.safe_load(PROTOCOL.format(base=base))
    {"recipe": recipe, "protocol": protocol}[file].update(yaml.safe_load(text.replace("{base}", str(base))))
    if file == "recipe":
        protocol["recipe"] = str(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    with pytest.raises(InputError) as error:
        plan(tmp_path / "protocol.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_folders_of_others_and_folders_in_use_are_left_alone(base, tmp_path):
    job = plan(base / "protocol.yaml")
    train = ROOT / "scripts" / "train.py"
    (tmp_path / "out" / "print").mkdir(parents=True)
    (tmp_path / "out" / "print" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds something that isn't a fold"):
        cross_evaluate(job, tmp_path / "out", train, overwrite=True)
    assert (tmp_path / "out" / "print" / "thesis.tex").exists()
    with locked(tmp_path / "busy"), pytest.raises(InputError, match="is in use by another run"):
        cross_evaluate(job, tmp_path / "busy", train)
    with pytest.raises(InputError, match=r"accelerate configuration nowhere\.yaml doesn't exist"):
        cross_evaluate(job, tmp_path / "out", train, accelerate_config="nowhere.yaml")
    for text in ("my own results", '{"folds": [{"folder": "phone_1"}]}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(InputError, match=r"results\.json is of something else; choose another --output"):
            cross_evaluate(job, tmp_path, train, overwrite=True)
        assert (tmp_path / "results.json").read_text() == text


def test_a_fold_that_was_begun_goes_on_with_the_folders_of_today_but_not_with_other_processes(base, tmp_path):
    """Moved data or a moved output is the same fold; a batch of other processes is another training."""
    job = plan(base / "protocol.yaml")
    before, after = tmp_path / "before", tmp_path / "after"
    FoldRun.of(job.folds[0], job.pool, job.settings, before).begin()
    moved = before.rename(after)
    run = FoldRun.of(job.folds[0], job.pool, job.settings, moved)
    assert run.changes() == []
    run.begin()
    assert yaml.safe_load((moved / "print" / "fold.yaml").read_text())["output_dir"] == str(moved / "print")
    run = FoldRun.of(job.folds[0], job.pool, job.settings, moved, processes=4)
    assert run.changes() == ["processes 1 there, 4 here"]


STUBBORN = """
import pathlib, signal, sys, time
folder = pathlib.Path(__file__).parent
def stop(number, frame):
    (folder / "stopped").write_text(signal.Signals(number).name)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
(folder / "started").touch()
time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.parametrize("configuration", [None, "one_process.yaml"])
def test_a_training_hears_of_sigterm_whatever_launches_it(base, tmp_path, configuration):
    """Also behind accelerate's launcher, which dies of the signal without a word to the training."""
    (tmp_path / "train.py").write_text(STUBBORN)
    configuration = configuration and str(ROOT / "configs" / "accelerate" / configuration)
    launcher = Launcher.of(tmp_path / "train.py", configuration, os.environ)
    assert launcher.processes == 1
    job = plan(base / "protocol.yaml")
    run = FoldRun.of(job.folds[0], job.pool, job.settings, tmp_path / "out")

    def terminate_this_process():
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=terminate_this_process)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        train_fold(run, launcher)
    other.join()
    assert (tmp_path / "stopped").read_text() == "SIGTERM"
