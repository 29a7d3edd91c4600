"""scripts/evaluate.py as its user runs it: its numbers against what its scores.csv says, and its refusals."""

import csv
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.command_line import run_command
from patchnet_hf.metrics import metric_intervals, presentation_attack_metrics, threshold_at

FILES = ["metrics.json", "report.html", "scores.csv"]
QUICK = ["--resamples", "50", "--thumbnails", "2"]


@pytest.fixture
def evaluate_here(small_evaluation, project, monkeypatch, capsys):
    """Runs the script's `main` in this process, in the folder of the small evaluation: exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("evaluate_script", project / "scripts" / "evaluate.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(small_evaluation)

    def run(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scripts/evaluate.py", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run_command(script.main)
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return run


def read_scores(folder: Path) -> list[dict]:
    with open(folder / "scores.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def columns(rows, score="live_log_odds"):
    """Scores, labels and attack types of rows."""
    scores = np.array([float(row[score]) for row in rows])
    return scores, np.array([int(row["label"]) for row in rows]), [row["attack_type"] for row in rows]


def check_numbers(found: dict, scores, labels, types, threshold: float, groups):
    """Every number and interval against the pure functions, and the main ones against counts and scikit-learn."""
    expected = presentation_attack_metrics(scores, labels, types, threshold_log_odds=threshold)
    for name, value in found["metrics"].items():
        if name not in ("hter", "threshold"):
            assert value == pytest.approx(expected[name], abs=1e-12), name
    accepted = [score >= threshold for score in scores]
    kinds = {kind for kind, label in zip(types, labels, strict=True) if not label}
    by_type = {
        kind: np.mean([yes for yes, name in zip(accepted, types, strict=True) if name == kind]) for kind in kinds
    }
    bpcer = np.mean([not yes for yes, label in zip(accepted, labels, strict=True) if label])
    assert found["metrics"]["apcer"] == pytest.approx(max(by_type.values()))
    assert found["metrics"]["bpcer"] == pytest.approx(bpcer)
    assert found["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert {kind: entry["apcer"] for kind, entry in found["attack_types"].items()} == pytest.approx(by_type)
    intervals = metric_intervals(scores, labels, types, groups, threshold_log_odds=threshold, resamples=50)
    for name, (low, high) in found["intervals"].items():
        assert (low, high) == pytest.approx(intervals["acer_pooled" if name == "hter" else name], abs=1e-12), name
    if "hter" in found["metrics"]:
        passed = np.mean([yes for yes, label in zip(accepted, labels, strict=True) if not label])
        assert found["metrics"]["hter"] == pytest.approx((passed + bpcer) / 2)


@pytest.mark.slow
def test_numbers_are_those_of_the_scores_and_the_threshold_is_from_the_other_set(
    small_evaluation, evaluate_here, project, tmp_path
):
    # A real process, in a folder of its own, with names as a user types them.
    output = small_evaluation / "reported"
    command = [sys.executable, str(project / "scripts" / "evaluate.py"), "--model", "model", "--dataset"]
    command += ["captures:val_unseen", "captures:train", "--threshold-on", "captures:val_seen", "--output", "reported"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run([*command, *QUICK], cwd=small_evaluation, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.iterdir()) == FILES
    content, rows = json.loads((output / "metrics.json").read_text()), read_scores(output)
    point = content["operating_point"]

    # The development set, reported on its own, gives the scores that the threshold must be from.
    alone = tmp_path / "development"
    code, _, err = evaluate_here("--model", "model", "--dataset", "captures:val_seen", "--output", alone, *QUICK)
    assert code == 0, err
    scores, labels, types = columns(read_scores(alone))
    assert point["threshold_log_odds"] == pytest.approx(threshold_at(scores, labels, types, "eer"), abs=1e-6)
    development = json.loads((alone / "metrics.json").read_text())
    assert point["fingerprint"] == development["evaluated"]["data"]["val_seen"]["fingerprint"]
    assert (point["origin"], point["criterion"], point["dataset"]) == ("chosen", "eer", "captures:val_seen")
    assert point["metrics"]["eer"] == pytest.approx(development["sets"]["val_seen"]["metrics"]["eer"])
    assert "hter" not in development["sets"]["val_seen"]["metrics"]

    assert [row["set"] for row in rows] == ["val_unseen"] * 48 + ["train"] * 16
    for name, part in {
        **{name: [row for row in rows if row["set"] == name] for name in ("val_unseen", "train")},
        "total": rows,
    }.items():
        found = content["total"] if name == "total" else content["sets"][name]
        assert found["counts"]["images"] == len(part) and found["intervals_over"] == "subject"
        check_numbers(found, *columns(part), point["threshold_log_odds"], [row["subject"] for row in part])
    assert {row["decision"] for row in rows if float(row["live_log_odds"]) >= point["threshold_log_odds"]} == {"live"}

    lines = done.stdout.splitlines()
    assert "HTER %" in lines[0] and "APCER replay %" in lines[0]
    total = content["total"]["metrics"]
    cells = next(line for line in lines if line.startswith("total")).split()
    shown = [f"{100 * total[name]:.2f}" for name in ("acer", "apcer", "bpcer", "eer", "auc", "hter")]
    assert cells[1:8] == ["64", *shown]
    assert lines[-1] == "next: open reported/report.html" and "captures:val_seen by eer" in lines[-2]

    evaluated = content["evaluated"]
    assert evaluated["command"].startswith("python scripts/evaluate.py --model model --dataset captures:val_unseen")
    assert evaluated["model"]["model"] == "model" and len(evaluated["model"]["weights_sha256"]) == 64
    assert {"patchnet_hf", "torch", "transformers", "python"} <= evaluated["versions"].keys()
    for file in FILES:
        text = re.sub(r"base64,[^\"]*", "", (output / file).read_text(encoding="utf-8"))
        for private in (str(small_evaluation), str(project), str(Path.home()) + "/"):
            assert private not in text, f"{file} holds {private}"
        assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_clips_are_decided_as_a_whole(small_evaluation, evaluate_here, tmp_path):
    code, out, err = evaluate_here(
        "--model", "model", "--dataset", "captures:val_unseen", "--level", "clip", "--output", tmp_path / "out", *QUICK
    )  # fmt: skip
    assert code == 0, err
    rows, content = read_scores(tmp_path / "out"), json.loads((tmp_path / "out" / "metrics.json").read_text())
    clips = {}
    for row in rows:
        clips.setdefault((row["subject"], row["video"]), []).append(row)
    assert 24 < len(clips) < 48 == len(rows)
    scores = [np.mean([float(row["live_log_odds"]) for row in frames]) for frames in clips.values()]
    firsts = [frames[0] for frames in clips.values()]
    np.testing.assert_allclose([float(row["clip_live_log_odds"]) for row in firsts], scores, atol=1e-12)
    found = content["sets"]["val_unseen"]
    assert found["counts"]["clips"] == len(clips) and found["counts"]["images"] == 48 and content["level"] == "clip"
    _, labels, types = columns(firsts)
    check_numbers(found, np.array(scores), labels, types, logit(0.5), [row["subject"] for row in firsts])
    assert "clips" in out.splitlines()[0] and "by Wilson over clips" in out


@pytest.mark.parametrize("criterion", ["apcer=0.2", "bpcer=0.1"])
def test_a_criterion_is_met_on_its_set(small_evaluation, evaluate_here, tmp_path, criterion):
    code, _, err = evaluate_here(
        "--model", "model", "--dataset", "captures:val_unseen", "--threshold-on", "captures:val_seen",
        "--criterion", criterion, "--output", tmp_path / "out", *QUICK
    )  # fmt: skip
    assert code == 0, err
    point = json.loads((tmp_path / "out" / "metrics.json").read_text())["operating_point"]
    rate, limit = criterion.split("=")
    assert point["criterion"] == criterion and point["metrics"][rate] <= float(limit)


def test_sets_of_one_name_are_told_apart_by_their_folder(small_evaluation, evaluate_here, tmp_path):
    splits = datasets.load_from_disk(str(small_evaluation / "captures"))
    datasets.DatasetDict({"val_seen": splits["train"]}).save_to_disk(str(tmp_path / "others"))
    code, _, err = evaluate_here(
        "--model", "model", "--dataset", "captures:val_seen", tmp_path / "others", "--output", tmp_path / "out", *QUICK
    )  # fmt: skip
    assert code == 0, err
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(content["sets"]) == ["captures_val_seen", "others_val_seen"]
    assert content["operating_point"]["origin"] == "model" and content["operating_point"]["threshold"] == 0.5


def test_an_exported_graph_gives_the_table_of_its_original(small_evaluation, evaluate_here, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Graph(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            return self.model(pixel_values).logits

    exported = tmp_path / "exported"
    exported.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(small_evaluation / "model" / name, exported)
    model = PatchNetForImageClassification.from_pretrained(small_evaluation / "model").eval()
    torch.onnx.export(Graph(model), (torch.zeros(1, 3, 32, 32),), str(exported / "model.onnx"), dynamo=False,
                      input_names=["pixel_values"], output_names=["logits"],
                      dynamic_axes={"pixel_values": {0: "batch"}})  # fmt: skip
    options = ["--dataset", "captures:val_unseen", "--threshold-on", "captures:val_seen", *QUICK]
    tables, contents = [], []
    for name, model in (("torch", "model"), ("onnx", exported / "model.onnx")):
        code, out, err = evaluate_here("--model", model, *options, "--output", tmp_path / name)
        assert code == 0, err
        tables.append(out.split("threshold 0.")[0])
        contents.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert tables[0] == tables[1]
    assert contents[0]["sets"]["val_unseen"]["counts"] == contents[1]["sets"]["val_unseen"]["counts"]
    thresholds = [content["operating_point"]["threshold_log_odds"] for content in contents]
    assert thresholds[0] == pytest.approx(thresholds[1], abs=1e-4)
    assert contents[1]["evaluated"]["model"]["runs_on"].startswith("ONNX Runtime")


MISTAKES = {
    "criterion without a set": (["--criterion", "eer"], "name the set to choose it on by --threshold-on"),
    "two thresholds": (["--threshold", "0.5", "--threshold-on", "captures:val_seen"], "fixed or chosen"),
    "no probability": (["--threshold", "1.5"], "a threshold must be a probability in (0, 1)"),
    "no criterion": (["--threshold-on", "captures:val_seen", "--criterion", "apcer=5"], "write apcer=0.05"),
    "reported set": (["--threshold-on", "captures:val_unseen"], "captures that are reported as captures:val_unseen"),
    "copy of the reported set": (["--threshold-on", "copy:dev"], "captures that are reported as captures:val_unseen"),
    "some of the reported captures": (
        ["--threshold-on", "partly"], "chosen on partly, which holds 5 of the 48 captures"
    ),
    "the same captures in another order": (["--threshold-on", "shuffled"], "which holds 48 of the 48 captures"),
    "the same captures twice, in another order": (
        ["--dataset", "captures:val_unseen", "shuffled"], "captures:val_unseen and shuffled are the same captures"
    ),
    "the same captures twice": (["--dataset", "captures:val_unseen", "copy"], "are the same captures"),
    "no split named": (["--dataset", "captures"], "name one of them as captures:SPLIT"),
    "another split": (["--dataset", "captures:val_unsen"], "did you mean val_unseen"),
    "no dataset": (["--dataset", "nowhere"], "doesn't exist"),
    "no dataset to choose on": (["--threshold-on", "nowhere"], "doesn't exist"),
    "no model": (["--model", "captures"], "holds no model"),
    "no videos": (["--dataset", "bare", "--level", "clip"], "names no videos"),
    "no videos to choose on": (["--threshold-on", "bare", "--level", "clip"], "bare names no videos"),
    "no subjects": (["--dataset", "bare", "--intervals-over", "subject"], "need the subject of every image"),
    "clips of two labels": (["--dataset", "mixed", "--level", "clip"], "clip 'demo / someone / - / one' has two"),
    "attack types of one name": (["--dataset", "alike"], "two attack types would both be reported as"),
    "images of clips": (["--level", "clip", "--intervals-over", "image"], "make no sense for clips"),
    "confidence": (["--confidence", "95"], "confidence is 95"),
    "resamples": (["--resamples", "0"], "resamples is 0"),
    "batch size": (["--batch-size", "0"], "batch size is 0"),
    "one class": (["--threshold-on", "live"], "no threshold can be chosen on live by eer: it has no attacks"),
    "unknown option": (["--treshold", "0.5"], "did you mean --threshold"),
    "the model's folder": (["--output", "model"], "isn't empty and holds no evaluation"),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd_sets(small_evaluation):
    """Beside the captures: a copy under another name, some without subjects and videos, some of one class."""
    captures = datasets.load_from_disk(str(small_evaluation / "captures"))
    unseen = captures["val_unseen"]
    features = unseen.features
    bare = captures["train"].remove_columns(["subject", "video"])
    for column in ("subject", "video"):
        bare = bare.add_column(column, [None] * len(bare)).cast_column(column, features[column])
    live = captures["train"].filter(lambda label: label == 1, input_columns="label")
    mixed, alike = captures["train"], captures["train"]
    for column, value in (("subject", "someone"), ("session", None), ("video", "one")):
        mixed = (
            mixed.remove_columns(column).add_column(column, [value] * len(mixed)).cast_column(column, features[column])
        )
    types = ["a b" if kind == "print" else "a/b" for kind in alike["attack_type"]]
    alike = alike.remove_columns("attack_type").add_column("attack_type", types)
    for name, part in (("mixed", mixed), ("alike", alike)):
        datasets.DatasetDict({"test": part}).save_to_disk(str(small_evaluation / name))
    shuffled = unseen.shuffle(seed=1)
    partly = datasets.concatenate_datasets([captures["train"], unseen.select(range(5))])
    for name, part in (("shuffled", shuffled), ("partly", partly)):
        datasets.DatasetDict({"test": part}).save_to_disk(str(small_evaluation / name))
    for name, split, part in (("copy", "dev", unseen), ("bare", "test", bare), ("live", "test", live)):
        datasets.DatasetDict({split: part}).save_to_disk(str(small_evaluation / name))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_user_is_one_line_and_nothing_is_written(
    small_evaluation, evaluate_here, odd_sets, tmp_path, mistake
):
    words, message = MISTAKES[mistake]
    given = {"--model": ["model"], "--dataset": ["captures:val_unseen"], "--output": [str(tmp_path / "out")]}
    for option in given:
        if option in words:
            given[option] = []
    before = sorted(path.name for path in small_evaluation.iterdir())
    command = [word for option, values in given.items() if values for word in (option, *values)]
    code, out, err = evaluate_here(*command, *words)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1, err
    assert not any(tmp_path.iterdir()) and sorted(path.name for path in small_evaluation.iterdir()) == before


@pytest.mark.slow
def test_a_mistake_in_a_real_process_is_one_line(small_evaluation, project):
    command = [sys.executable, str(project / "scripts" / "evaluate.py"), "--model", "outputs/no/model"]
    command += ["--dataset", "captures:val_seen", "--output", "never"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=small_evaluation, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("evaluate.py: error: outputs/no/model doesn't exist")
    assert not (small_evaluation / "never").exists()


def test_images_that_several_sets_share_are_said_to_count_in_each(small_evaluation, evaluate_here, odd_sets, tmp_path):
    code, out, err = evaluate_here(
        "--model", "model", "--dataset", "captures:train", "partly", "--output", tmp_path / "out", *QUICK
    )
    assert code == 0, err
    said = "images that are in more than one set, and count in each: 16"
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert said in content["total"]["notes"] and f"note: total: {said}" in out
    assert f"total: {said}" in (tmp_path / "out" / "report.html").read_text()


def test_an_evaluation_is_replaced_only_when_asked(small_evaluation, evaluate_here, tmp_path):
    command = ["--model", "model", "--dataset", "captures:train", "--output", tmp_path / "out", *QUICK]
    assert evaluate_here(*command)[0] == 0
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    code, _, err = evaluate_here(*command)
    assert code == 2 and "--overwrite" in err
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first
    assert evaluate_here(*command, "--overwrite", "--threshold", "0.7")[0] == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["operating_point"]["threshold"] == 0.7
