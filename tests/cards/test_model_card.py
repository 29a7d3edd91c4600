"""The card of a model: what it says of runs and evaluations, what it doesn't know, and what it never says."""

import getpass
import importlib.util
import io
import json
import math
import re
import shutil
import socket
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from scipy.stats import binomtest

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.cards import evaluation_folder, model_folder
from patchnet_hf.cards.card import write_card
from patchnet_hf.cards.model_card import card_is_current, model_card
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.calibration import calibrate_model, stale_card_line
from patchnet_hf.evaluation.calibration_report import DIAGRAM_FILE, RESULT_FILE
from patchnet_hf.evaluation.job import evaluate
from patchnet_hf.evaluation.metrics_file import METRICS_FILE as EVALUATION_METRICS_FILE
from patchnet_hf.evaluation.numbers import IntervalSettings
from patchnet_hf.evaluation.output import write_evaluation
from patchnet_hf.evaluation.scores_file import SCORES_FILE as WRITTEN_SCORES_FILE
from patchnet_hf.evaluation.sets import load_evaluation_data
from patchnet_hf.evaluation.settings import EvaluationSettings
from patchnet_hf.inference.scorers import load_scorer
from patchnet_hf.training import learning_curve, report
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.run import train

folder_of_training_tests = Path(__file__).parent.parent / "training"
spec = importlib.util.spec_from_file_location("small_runs", folder_of_training_tests / "small_runs.py")
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)
captures = small_runs.captures

SECRETS = {"HF_TOKEN": "hf_planted" + "a1" * 15, "TELEGRAM_TOKEN": "123456789:planted" + "b2" * 14}


def with_column(part: datasets.Dataset, name: str, values: list) -> datasets.Dataset:
    return part.remove_columns(name).add_column(name, values, feature=part.features[name])


def measured(folder: Path, output: Path, specs: list[str], **settings) -> Path:
    """An evaluation of the model in `folder`."""
    chosen = EvaluationSettings(**settings, intervals=IntervalSettings(resamples=100))
    evaluation = evaluate(load_scorer(str(folder)), load_evaluation_data(specs, chosen), chosen)
    write_evaluation(evaluation, output)
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder `run`, its dataset `mine` and the evaluations `at_own` and `chosen`, under a secret place."""
    base = tmp_path_factory.mktemp("anna_secret_place")
    splits = {"train": captures(48, 0), "near": captures(21, 1), "far": captures(30, 2), "new": captures(33, 3)}
    splits = {
        name: with_column(part, "subject", [f"{name} {index // 3}" for index in range(len(part))])
        for name, part in splits.items()
    }
    datasets.DatasetDict(splits).save_to_disk(base / "mine")
    sets = [f"{base}/mine:far", f"{base}/mine:new"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        train(
            ModelArguments(backbone="test_resnet"),
            DataArguments(train=[f"{base}/mine:train"], eval=[f"{base}/mine:near", sets[0]], patch_size=32, grid=1),
            PatchNetTrainingArguments(
                output_dir=str(base / "run"), num_train_epochs=2, per_device_train_batch_size=8, learning_rate=1e-3,
                report_to="none", disable_tqdm=True, precision="float32", use_cpu=True,
            ),
        )  # fmt: skip
        measured(base / "run", base / "at_own", sets)
        measured(base / "run", base / "chosen", sets[1:], threshold_on=f"{base}/mine:near", criterion="bpcer=0.2")
    return base


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the run's folder that a test may change."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def rows_of(text: str, first: str) -> list[dict[str, str]]:
    """The first table of a card whose header begins with this column and that holds a row of its kind."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[start:]]
    header = cells[0]
    end = next(index for index, line in enumerate(lines[start:]) if not line.startswith("|"))
    return [dict(zip(header, row, strict=True)) for row in cells[2:end]]


def shown(value: float, interval=None) -> str:
    text = "not defined" if value is None or math.isnan(value) else f"{100 * value:.2f}"
    if interval is None or None in interval:
        return text
    return f"{text} [{100 * interval[0]:.2f},\u00a0{100 * interval[1]:.2f}]"


# Numbers


def test_the_rates_of_an_evaluation_are_those_of_its_metrics(trained):
    card = model_card(trained / "run", [trained / "at_own"])
    content = json.loads((trained / "at_own" / "metrics.json").read_text())
    rows = {row["set"]: row for row in rows_of(card.text, "set")}
    assert list(rows) == ["far", "new", "total"]
    for name, numbers in {**content["sets"], "total": content["total"]}.items():
        for key in ("acer", "apcer", "bpcer", "eer", "auc"):
            assert rows[name][f"{key.upper()} %"] == shown(numbers["metrics"][key], numbers["intervals"].get(key))
        assert rows[name]["images"] == str(numbers["counts"]["images"])
    types = {(row["attack type"], row["set"]): row for row in rows_of(card.text, "attack type")}
    assert len(types) == 6
    for kind, found in content["sets"]["new"]["attack_types"].items():
        row = types[kind, "new"]
        assert (row["accepted as live"], row["attacks"]) == (str(found["accepted"]), str(found["attacks"]))
        assert row["APCER %"] == shown(found["apcer"], (found["low"], found["high"]))


def test_the_metadata_read_back_by_the_hub_s_client_has_the_same_numbers(trained):
    card = ModelCard(model_card(trained / "run", [trained / "at_own"], "someone/patchnet", "cc-by-nc-4.0").text)
    content = json.loads((trained / "at_own" / "metrics.json").read_text())
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "transformers",
        "image-classification",
        "cc-by-nc-4.0",
    )
    assert {"face-anti-spoofing", "presentation-attack-detection", "patchnet"} <= set(data.tags)
    assert data.model_name == "patchnet" and "onnx" not in data.tags
    assert data.base_model is None and data.datasets is None, "it has started from random weights, on data of its own"
    found = {(entry.dataset_name, entry.metric_type): entry.metric_value for entry in data.eval_results}
    keys = {"acer": "acer", "apcer": "apcer", "bpcer": "bpcer", "eer": "eer", "roc_auc": "auc"}
    expected = {
        (name, kind): pytest.approx(numbers["metrics"][key], abs=1e-6)
        for name, numbers in {**content["sets"], "total": content["total"]}.items()
        for kind, key in keys.items()
    }
    assert found == expected and set(data.metrics) == set(keys)
    assert all(entry.task_type == "image-classification" for entry in data.eval_results)


def test_numbers_of_a_training_have_wilson_s_intervals_where_they_are_counts(trained):
    text = model_card(trained / "run").text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    rows = {row["set"]: row for row in rows_of(text, "set")}
    assert list(rows) == ["near", "far", "total"]
    for name, row in rows.items():
        rate, count = metrics[f"eval_{name}_bpcer"], metrics[f"eval_{name}_bona_fides"]
        low, high = binomtest(round(rate * count), count).proportion_ci(0.95, "wilson")
        assert row["BPCER %"] == shown(rate, (low, high))
        assert row["ACER %"] == shown(metrics[f"eval_{name}_acer"]) and row["EER %"] == shown(
            metrics[f"eval_{name}_eer"]
        )
    attacks = {"near": 7, "far": 10, "total": 17}
    types = rows_of(text, "attack type")
    assert len(types) == 6
    for row in types:
        count, rate = attacks[row["set"]], metrics[f"eval_{row['set']}_apcer_type_{row['attack type']}"]
        low, high = binomtest(round(rate * count), count).proportion_ci(0.95, "wilson")
        assert (row["attacks"], row["APCER %"]) == (str(count), shown(rate, (low, high)))
        if rate == metrics[f"eval_{row['set']}_apcer"]:
            assert rows[row["set"]]["APCER %"] == shown(rate, (low, high))


def test_sets_that_chose_the_checkpoint_are_never_shown_as_if_they_had_not(trained):
    alone = model_card(trained / "run")
    assert {entry.dataset_name for entry in ModelCard(alone.text).data.eval_results} == {
        f"{name} (chose the checkpoint)" for name in ("near", "far", "total")
    }
    assert "The checkpoint was chosen by eval_total_acer, the error on these sets" in alone.text
    evaluated = model_card(trained / "run", [trained / "at_own"]).text
    assert "- far: the checkpoint was chosen by the error on this set" in evaluated
    assert "- new: the checkpoint" not in evaluated


def test_captures_that_it_was_trained_on_are_known_again(trained, tmp_path):
    evaluation = measured(trained / "run", tmp_path / "trained_on", [f"{trained}/mine:train"])
    assert (
        "- train: **these are the captures that the model was trained on**."
        in model_card(trained / "run", [evaluation]).text
    )


def test_two_evaluations_stand_side_by_side(trained):
    card = model_card(trained / "run", [trained / "at_own", trained / "chosen"])
    assert "### Evaluation at_own" in card.text and "### Evaluation chosen" in card.text
    results = ModelCard(card.text).data.eval_results
    of_new = [entry.dataset_config for entry in results if entry.dataset_name == "new" and entry.metric_type == "acer"]
    assert of_new == ["at_own", "chosen"]
    assert len([name for name in card.pictures if name.startswith("figures/scores_new")]) == 2


# Threshold and calibration


def test_how_the_threshold_came_about_is_told(trained):
    point = json.loads((trained / "chosen" / "metrics.json").read_text())["operating_point"]
    text = model_card(trained / "run", [trained / "chosen"]).text
    assert f"P(live) ≥ {point['threshold']:.4f}".rstrip("0") in text
    assert "a threshold chosen on mine:near, as the highest that rejects at most 20 % of the live captures" in text
    assert "The model's own threshold is 0.5." in text and "| HTER %" in text
    assert "the model's own threshold." in model_card(trained / "run", [trained / "at_own"]).text


def test_a_calibrated_model_s_card_is_written_anew_and_old_evaluations_say_so(trained, run):
    assert card_is_current(run)
    assert "isn't calibrated" in (run / "README.md").read_text()
    calibrate_model(str(run), f"{trained}/mine:near", "apcer=0.1")
    assert card_is_current(run) and stale_card_line(run) is None
    text, found = (run / "README.md").read_text(), json.loads((run / "calibration.json").read_text())
    assert "It was chosen on near, as the lowest that accepts at most 10 % of the worst attack type." in text
    assert f"scale {found['after']['calibration']['scale']:.4g}, bias" in text
    assert "before calibration and threshold were set to what they are now" in text
    rows = [line for line in text.splitlines() if line.startswith("| near (fitted on) |")]
    for row, when in zip(rows, ("before", "after"), strict=True):
        quality = found["sets"]["near"][when]
        assert f"| {when} | 21 | {quality['expected_calibration_error']:.4f} | {quality['log_loss']:.4f} |" in row
    card = model_card(run, [trained / "at_own"])
    assert "at which these rates don't hold" in card.text and "another calibration than the model has now" in card.text
    assert "![" in text and "reliability.png" in card.pictures


def test_a_calibrated_copy_takes_its_card_along(trained, run, tmp_path):
    calibrate_model(str(run), f"{trained}/mine:near", output=str(tmp_path / "copy"))
    text = (tmp_path / "copy" / "README.md").read_text()
    assert "# copy" in text and "It was chosen on near" in text and "## Training recipe\n\n| setting" in text
    assert card_is_current(tmp_path / "copy")
    assert "isn't calibrated" in (run / "README.md").read_text(), "the model that was copied is as it was"


def test_a_calibration_that_was_changed_by_hand_since_is_not_told_as_the_model_s(trained, run):
    calibrate_model(str(run), f"{trained}/mine:near")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"decision_threshold": 0.75}))
    text = model_card(run).text
    assert "reaches 0.75" in text and "How it was chosen isn't recorded." in text and "fitted on)" not in text


# What is there, and what isn't


def test_a_model_that_was_saved_by_hand_has_a_card_that_says_what_is_not_known(tmp_path):
    types = {"patch_types": ["a/live", "a/print"], "live_patch_types": ["a/live"]}
    PatchNetForImageClassification(PatchNetConfig(backbone="test_convnext", **types)).save_pretrained(
        tmp_path / "by_hand"
    )
    card = model_card(tmp_path / "by_hand")
    for sentence in (
        "Nothing was measured, as far as this folder says.",
        "What the model was trained on isn't recorded in its folder.",
        "of which 1 is live: a/live, a/print.",
        "How the model was trained isn't recorded in its folder.",
        "No licence is stated for these weights.",
        "it wasn't chosen on data",
    ):
        assert sentence in card.text
    data = ModelCard(card.text).data
    assert data.eval_results is None and data.metrics is None and data.license is None and not card.pictures


def test_metrics_without_a_record_have_no_intervals_by_type(trained, run):
    (run / "run.json").unlink()
    text = model_card(run).text
    assert "Whether these sets had a part in choosing the checkpoint isn't recorded." in text
    metrics = json.loads((run / "metrics.json").read_text())
    row = next(row for row in rows_of(text, "attack type") if row["set"] == "far")
    assert row["APCER %"] == shown(metrics[f"eval_far_apcer_type_{row['attack type']}"])


def test_a_model_that_started_from_one_of_the_hub_names_it(run):
    record = json.loads((run / "run.json").read_text())
    record["start"] = {"weights": "timm", "hub_id": "timm/resnet18.a1_in1k"}
    (run / "run.json").write_text(json.dumps(record))
    card = model_card(run)
    assert ModelCard(card.text).data.base_model == "timm/resnet18.a1_in1k"
    assert "timm's pretrained backbone, timm/resnet18.a1\\_in1k" in card.text or "timm/resnet18.a1_in1k" in card.text


def test_simulated_captures_are_named_as_such(run):
    record = json.loads((run / "run.json").read_text())
    sets = [record["data"]["train"], *record["data"]["evaluation"].values()]
    assert "imulated" not in model_card(run).text
    sets[1]["simulated"] = 5
    (run / "run.json").write_text(json.dumps(record))
    assert "Some captures are simulated, drawn by a program: 5 of 21 in near." in model_card(run).text
    for counts in sets:
        counts["simulated"] = counts["captures"]
    (run / "run.json").write_text(json.dumps(record))
    assert (
        "All captures that this model was trained and measured on in its training are simulated"
        in model_card(run).text
    )


def test_an_unfinished_run_is_named_as_such(run):
    record = json.loads((run / "run.json").read_text()) | {"finished": False}
    (run / "run.json").write_text(json.dumps(record))
    assert "**Unfinished.**" in model_card(run).text


def test_an_exported_graph_in_the_folder_is_a_tag(run):
    (run / "onnx").mkdir()
    (run / "onnx" / "model.onnx").touch()
    assert "onnx" in ModelCard(model_card(run).text).data.tags


def test_pictures_are_png_files_that_the_text_shows(trained):
    card = model_card(trained / "run", [trained / "at_own"])
    assert set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text)) == set(card.pictures)
    assert {"learning_curve.png", "figures/det_far_new.png", "figures/scores_far.png"} <= set(card.pictures)
    for data in card.pictures.values():
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG" and min(image.size) > 200
        assert np.asarray(image.convert("L")).std() > 10, "something is drawn"


def test_the_code_of_a_card_runs(trained, tmp_path, monkeypatch, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)).save(
        tmp_path / "photo.jpg"
    )
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "face.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", model_card(trained / "run").text, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("path/to/run", str(trained / "run")), {})
    first, second = capsys.readouterr().out.splitlines()
    assert "'label': 'live'" in first and second in ("live", "attack")


# What is never in it


def test_no_card_holds_paths_names_or_tokens(trained, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    card = model_card(trained / "run", [trained / "at_own", trained / "chosen"], "someone/patchnet", "mit")
    text = card.text
    for secret in (str(trained), trained.name, "secret", "/tmp", *SECRETS.values()):
        assert secret not in text
        assert not any(secret.encode() in data for data in card.pictures.values())
    for personal in (getpass.getuser(), socket.gethostname()):
        assert not re.search(rf"\b{re.escape(personal)}\b", text)


def test_names_that_users_chose_are_shown_as_they_are(trained, run):
    markdown_it = pytest.importorskip(
        "markdown_it", reason="the Hub's client of transformers 5 brings a CommonMark parser"
    )
    names = {
        "near": "<script>alert(1)</script>", "far": "a|b `c` *d*\n---\n# e", "print": "[me](http://x.y) www.x.y",
        "replay": "![pic](http://x.y/z.png) &amp; $x$ ~~z~~ :smile: a@b.cd",
    }  # fmt: skip
    evaluation = shutil.copytree(trained / "at_own", run.parent / "evaluation")
    content = json.loads((evaluation / "metrics.json").read_text())
    numbers = content["sets"]["far"]
    numbers["attack_types"] = {names[kind]: found for kind, found in numbers["attack_types"].items()}
    content["sets"] = {names["far"]: numbers, names["near"]: content["sets"]["new"]}
    content["evaluated"]["data"] = {}
    (evaluation / "metrics.json").write_text(json.dumps(content))
    (evaluation / "scores.csv").unlink()
    record = json.loads((run / "run.json").read_text())
    record["data"]["train"]["sources"] = {names["print"]: 48}
    (run / "run.json").write_text(json.dumps(record))
    card = ModelCard(model_card(run, [evaluation]).text)
    assert "http\\://x.y) www\\.x.y" in card.text, "neither becomes a link where addresses do by themselves"
    assert {entry.dataset_name for entry in card.data.eval_results} == {
        "<script>alert(1)</script>", "a|b `c` *d* --- # e", "total"
    }  # fmt: skip
    html = (
        markdown_it.MarkdownIt("commonmark", {"linkify": True})
        .enable("table")
        .enable("strikethrough")
        .render(card.text)
    )
    assert "<script" not in html
    assert not [link for link in re.findall(r'(?:href|src)="([^"]*)"', html) if "x.y" in link]
    for shown_name in ("&lt;script&gt;alert(1)&lt;/script&gt;", "a|b `c` *d* --- # e", "[me](http://x.y) www.x.y"):
        assert f">{shown_name}</td>" in html or f"{shown_name} (48)" in html
    assert ">![pic](http://x.y/z.png) &amp;amp; $x$ ~~z~~ :smile: a@b.cd</td>" in html


# Whose README.md it is


def test_a_card_that_was_edited_is_never_overwritten(trained, run):
    assert write_card(model_card(run), run), "ours as it was written"
    edited = (run / "README.md").read_text().replace("# run", "# My model")
    (run / "README.md").write_text(edited)
    assert not write_card(model_card(run), run)
    calibrate_model(str(run), f"{trained}/mine:near")
    assert (run / "README.md").read_text() == edited
    assert "still tells of the model before" in stale_card_line(run)
    assert write_card(model_card(run), run, overwrite=True) and stale_card_line(run) is None


def test_a_card_that_tells_of_evaluations_is_not_replaced_by_one_that_does_not(trained, run):
    write_card(model_card(run, [trained / "at_own"]), run)
    calibrate_model(str(run), f"{trained}/mine:near")
    assert "### At the end" in (run / "README.md").read_text() and "figures/det" in (run / "README.md").read_text()
    assert "still tells of the model before" in stale_card_line(run)


def test_line_ends_of_another_system_are_no_edit(run):
    (run / "README.md").write_bytes((run / "README.md").read_bytes().replace(b"\n", b"\r\n"))
    assert write_card(model_card(run), run)


def test_a_trainer_writes_this_card(tmp_path):
    trainer = small_runs.small_run(tmp_path / "run")
    with pytest.raises(InputError, match="holds no model"):
        trainer.create_model_card()
    trainer.save_model()
    trainer.create_model_card(license="mit", tags="mine", model_name="Faces", dataset_tags=["someone/captures"])
    card = ModelCard((tmp_path / "run" / "README.md").read_text())
    assert card.data.license == "mit" and "mine" in card.data.tags and card.data.datasets == ["someone/captures"]
    assert "# Faces" in card.text and "## Limits" in card.text
    (tmp_path / "run" / "README.md").write_text("mine")
    trainer.create_model_card()
    assert (tmp_path / "run" / "README.md").read_text() == "mine"


# Mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "holds no model"),
        (lambda run: (run / "config.json").write_text('{"model_type": "vit"}'), "of type 'vit', not PatchNet"),
        (lambda run: (run / "run.json").write_text("{"), r"run\.json can't be read"),
        (lambda run: (run / "run.json").write_text("{}"), "no record of a training: it lacks finished"),
        (lambda run: (run / "metrics.json").write_text("[]"), "holds no mapping"),
    ],
)
def test_a_broken_folder_is_one_line(run, change, message):
    change(run)
    with pytest.raises(InputError, match=message) as error:
        model_card(run)
    assert "\n" not in str(error.value)


def test_evaluations_of_other_models_are_refused(trained, run, tmp_path):
    model = PatchNetForImageClassification.from_pretrained(run)
    with torch.no_grad():
        model.classifier.weight += 1
    model.save_pretrained(run)
    with pytest.raises(InputError, match="of other weights"):
        model_card(run, [trained / "at_own"])
    config = json.loads((run / "config.json").read_text()) | {"backbone": "test_vit"}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"of another model .* its backbone is another"):
        model_card(run, [trained / "at_own"])
    with pytest.raises(InputError, match=r"no folder that scripts/evaluate\.py has written"):
        model_card(trained / "run", [trained / "run"])
    evaluation = shutil.copytree(trained / "at_own", tmp_path / "evaluation")
    lines = (evaluation / "scores.csv").read_text().splitlines()
    (evaluation / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="are of two evaluations"):
        model_card(trained / "run", [evaluation])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repo": "patchnet"}, "expected OWNER/NAME"),
        ({"license": "as is"}, "identifier of the Hub, such as apache"),
    ],
)
def test_a_repository_or_licence_that_is_none_is_one_line(run, options, message):
    with pytest.raises(InputError, match=message):
        model_card(run, **options)


def test_files_are_called_as_those_who_write_them_call_them():
    assert model_folder.METRICS_FILE == report.METRICS_JSON == EVALUATION_METRICS_FILE
    assert model_folder.CALIBRATION_FILE == RESULT_FILE and model_folder.RELIABILITY_FILE == DIAGRAM_FILE
    assert model_folder.LEARNING_CURVE_FILE == learning_curve.FILE_NAME
    assert evaluation_folder.SCORES_FILE == WRITTEN_SCORES_FILE
    assert PatchNetImageProcessor().patch_size == PatchNetConfig().image_size
