"""The `evaluate` module: loaded from its folder or imported, in one go or piece by piece, alone or combined."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile

import datasets
import evaluate
import numpy as np
import pandas
import pytest
import yaml

import patchnet_hf.metrics.presentation_attack_detection as package
from patchnet_hf.metrics import metric_intervals, presentation_attack_metrics, wilson_interval
from patchnet_hf.metrics.presentation_attack_detection import PresentationAttackDetection, app

FOLDER = os.path.dirname(package.__file__)

generator = np.random.default_rng(0)
LABELS = generator.integers(0, 2, 200)
SCORES = generator.normal(3.0 * LABELS, 2.0)
TYPES = [None if label else kind for label, kind in zip(LABELS, generator.choice(["print", "mask"], 200), strict=True)]
GROUPS = [None if number == 0 else f"person {number}" for number in generator.integers(0, 30, 200)]
EXPECTED = presentation_attack_metrics(SCORES, LABELS, TYPES)


@pytest.fixture
def metric(tmp_path):
    return PresentationAttackDetection(cache_dir=str(tmp_path))


def test_it_is_loaded_from_its_folder_without_a_network(tmp_path):
    # In a process of its own: where evaluate copies modules to is settled when it is imported.
    code = (
        "import json, sys, patchnet_hf.metrics\n"
        "print('evaluate' in sys.modules)\n"
        "import evaluate\n"
        f"metric = evaluate.load({FOLDER!r}, cache_dir=sys.argv[1])\n"
        "print(type(metric).__module__)\n"
        "print(json.dumps(metric.compute(**json.loads(sys.argv[2]))))\n"
    )
    columns = {"predictions": SCORES.tolist(), "references": LABELS.tolist(), "attack_types": TYPES}
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache"), json.dumps(columns)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported, module, results = done.stdout.splitlines()
    assert imported == "False"  # by the metrics alone, whose import it would double
    assert module.startswith("evaluate_modules.metrics.presentation_attack_detection.")
    assert json.loads(results) == EXPECTED


@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_piece_by_piece_is_the_same_as_all_at_once(tmp_path, keep_in_memory):
    metric = PresentationAttackDetection(cache_dir=str(tmp_path), keep_in_memory=keep_in_memory)
    for _ in range(2):  # and again: nothing of the first time is left
        for start in (0, 64, 128):
            rows = slice(start, min(start + 64, 190))
            metric.add_batch(
                predictions=SCORES[rows], references=LABELS[rows], attack_types=TYPES[rows], groups=GROUPS[rows]
            )
        for row in range(190, 200):
            metric.add(prediction=SCORES[row], reference=LABELS[row], attack_types=TYPES[row], groups=GROUPS[row])
        pieces = metric.compute(intervals=True, resamples=50)
        at_once = metric.compute(
            predictions=SCORES,
            references=LABELS,
            attack_types=TYPES,
            groups=GROUPS,
            intervals=True,
            resamples=50,
        )
        assert pieces == at_once
        assert {name: pieces[name] for name in EXPECTED} == EXPECTED
    assert not list(tmp_path.rglob("*.arrow"))


def test_the_last_batch_may_be_given_to_compute(metric):
    metric.add_batch(predictions=SCORES[:150], references=LABELS[:150], attack_types=TYPES[:150])
    assert len(metric) == 150
    assert metric.compute(predictions=SCORES[150:], references=LABELS[150:], attack_types=TYPES[150:]) == EXPECTED


def test_intervals_are_those_of_the_function_as_flat_numbers(metric):
    options = {"threshold": 0.7, "resamples": 50, "confidence": 0.9, "seed": 4}
    results = metric.compute(
        predictions=SCORES, references=LABELS, attack_types=TYPES, groups=GROUPS, intervals=True, **options
    )
    expected = presentation_attack_metrics(SCORES, LABELS, TYPES, 0.7)
    for name, (low, high) in metric_intervals(SCORES, LABELS, TYPES, GROUPS, **options).items():
        expected |= {f"{name}_low": low, f"{name}_high": high}
    assert results == expected
    assert {type(value) for value in results.values()} == {float, int}


def test_what_is_missing_may_be_left_out(metric):
    expected = presentation_attack_metrics(SCORES, LABELS)
    for types in (None, [None] * 200, np.full(200, None), pandas.Series([None] * 200)):
        assert metric.compute(predictions=SCORES, references=LABELS, attack_types=types) == expected
    assert metric.compute(predictions=SCORES.tolist(), references=LABELS.tolist()) == expected
    metric.add(prediction=1.0, reference=1)
    metric.add(prediction=-1.0, reference=0)
    assert metric.compute()["acer"] == 0.0


def test_columns_of_any_kind_give_the_same_numbers(metric):
    dataset = datasets.Dataset.from_dict({"score": SCORES, "label": LABELS, "type": TYPES})
    frame = dataset.to_pandas()
    for columns in (dataset, frame):
        found = metric.compute(predictions=columns["score"], references=columns["label"], attack_types=columns["type"])
        assert found == EXPECTED


def test_groups_may_be_numbers(metric):
    numbers = generator.integers(0, 20, 200)
    options = {"predictions": SCORES, "references": LABELS, "intervals": True, "resamples": 20}
    assert metric.compute(**options, groups=numbers) == metric.compute(**options, groups=numbers.astype(str))
    assert metric.compute(**options, groups=numbers) != metric.compute(**options)
    # A frame with a missing number has floats, another of the same people integers.
    metric.add_batch(predictions=SCORES[:100], references=LABELS[:100], groups=pandas.Series([None, *numbers[1:100]]))
    metric.add_batch(predictions=SCORES[100:], references=LABELS[100:], groups=numbers[100:])
    expected = metric_intervals(SCORES, LABELS, groups=[None, *numbers[1:]], resamples=20)
    assert metric.compute(intervals=True, resamples=20)["auc_low"] == expected["auc"][0]


@pytest.mark.parametrize("keep_in_memory", [False, True])
@pytest.mark.filterwarnings("ignore:no float64 probability")
def test_log_odds_that_single_precision_would_tie_keep_their_order(tmp_path, keep_in_memory):
    metric = PresentationAttackDetection(cache_dir=str(tmp_path), keep_in_memory=keep_in_memory)
    scores = [20.0 + 1e-9, 20.0]
    assert np.float32(scores[0]) == np.float32(scores[1])
    assert metric.compute(predictions=scores, references=[1, 0])["auc"] == 1.0


def test_options_may_be_given_once_and_changed_for_a_call(tmp_path):
    metric = PresentationAttackDetection(cache_dir=str(tmp_path), threshold=0.8, intervals=True, resamples=10, seed=3)
    results = metric.compute(predictions=SCORES, references=LABELS)
    assert (results["threshold"], "acer_low" in results) == (0.8, True)
    expected = metric_intervals(SCORES, LABELS, threshold=0.8, resamples=10, seed=3)["acer"]
    assert (results["acer_low"], results["acer_high"]) == expected
    results = metric.compute(predictions=SCORES, references=LABELS, threshold_log_odds=0.0, intervals=False)
    assert (results["threshold"], "acer_low" in results) == (0.5, False)


def test_a_threshold_for_a_call_wins_against_one_in_log_odds_for_all(tmp_path):
    metric = PresentationAttackDetection(cache_dir=str(tmp_path), threshold_log_odds=3.0)
    assert metric.compute(predictions=SCORES, references=LABELS)["threshold"] == pytest.approx(0.9526, abs=1e-4)
    assert metric.compute(predictions=SCORES, references=LABELS, threshold=0.5)["threshold"] == 0.5


def test_a_misspelled_option_is_refused_when_the_module_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"there is no option 'treshold'; did you mean threshold\?"):
        PresentationAttackDetection(cache_dir=str(tmp_path), treshold=0.9)


class Brier(evaluate.Metric):
    """Another module of the same inputs, as a user may have one."""

    def _info(self):
        features = {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features(features))

    def _compute(self, predictions, references):
        probabilities = 1 / (1 + np.exp(-np.array(predictions)))
        return {"brier": float(np.mean((probabilities - np.array(references)) ** 2)), "images": len(predictions)}


def test_it_is_combined_with_another_module(tmp_path):
    ours = PresentationAttackDetection(cache_dir=str(tmp_path), threshold=0.9)
    combined = evaluate.combine([ours, Brier(cache_dir=str(tmp_path))])
    combined.add_batch(predictions=SCORES, references=LABELS, attack_types=TYPES, groups=None)
    results = combined.compute()
    expected = presentation_attack_metrics(SCORES, LABELS, TYPES, 0.9)
    # `images` is in both, so combine puts the modules' names before it.
    assert (results.pop("brier_images"), results.pop("presentation_attack_detection_images")) == (200, 200)
    assert results.pop("brier") == pytest.approx(np.mean((1 / (1 + np.exp(-SCORES)) - LABELS) ** 2))
    assert results == {name: value for name, value in expected.items() if name != "images"}
    assert combined.compute(predictions=SCORES, references=LABELS)["acer"] == pytest.approx(
        presentation_attack_metrics(SCORES, LABELS, threshold=0.9)["acer"]
    )


def test_images_are_added_to_a_combination_one_by_one(tmp_path):
    combined = evaluate.combine([PresentationAttackDetection(cache_dir=str(tmp_path)), Brier(cache_dir=str(tmp_path))])
    for row in range(20):
        combined.add(prediction=SCORES[row], reference=LABELS[row], attack_types=TYPES[row], groups=None)
    expected = presentation_attack_metrics(SCORES[:20], LABELS[:20], TYPES[:20])
    results = combined.compute()
    assert results["brier_images"] == 20
    assert {name: results[name] for name in expected if name in results} == {
        name: value for name, value in expected.items() if name != "images"
    }


def test_two_thresholds_are_combined_by_name(tmp_path):
    modules = {
        name: PresentationAttackDetection(cache_dir=str(tmp_path), threshold=threshold)
        for name, threshold in (("half", 0.5), ("strict", 0.95))
    }
    results = evaluate.combine(modules).compute(
        predictions=SCORES, references=LABELS, attack_types=TYPES, groups=GROUPS
    )
    for name, threshold in (("half", 0.5), ("strict", 0.95)):
        for number, value in presentation_attack_metrics(SCORES, LABELS, TYPES, threshold).items():
            assert results[f"{name}_{number}"] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [1.0, float("nan")]}, "scores must not be NaN; 1 of 2 are, the first at index 1"),
        ({"predictions": [1.0]}, r"labels have shape \(2,\), expected one per score: \(1,\)"),
        ({"predictions": [[0.0, 1.0], [1.0, 0.0]]}, r"scores have shape \(2, 2\), expected \(N,\): one log-odds"),
        ({"predictions": None}, "predictions are missing"),
        ({"references": [1, 2]}, "labels must be 0 .* or 1"),
        ({"references": None}, "references are missing"),
        ({"attack_types": ["", 3]}, "attack_types of attacks must be strings, got also int"),
        ({"attack_types": ["print"]}, r"attack_types have shape \(1,\)"),
        ({"attack_types": []}, r"attack_types have shape \(0,\), expected one per score: \(2,\)"),
        ({"attack_types": [None]}, r"attack_types have shape \(1,\)"),
        ({"groups": ["a"]}, r"groups have shape \(1,\)"),
        ({"threshold": 50}, "a threshold must be a probability"),
        ({"tresholds": 0.5}, "there is no option 'tresholds'; did you mean threshold?"),
        ({"intervals": True, "confidence": 95}, "confidence must be a share"),
        ({"intervals": True, "resamples": 0}, "resamples must be a whole number"),
        ({"intervals": True, "seed": "x"}, "seed must be a whole number of at least 0"),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_line_and_nothing_is_kept(metric, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        metric.compute(**({"predictions": [1.0, -1.0], "references": [1, 0]} | arguments))
    assert "\n" not in str(error.value)
    assert len(metric) == 0
    assert metric.compute(predictions=[1.0, -1.0], references=[1, 0])["acer"] == 0.0


def test_a_wrong_option_does_not_cost_what_was_added(metric):
    metric.add_batch(predictions=SCORES, references=LABELS, attack_types=TYPES)
    with pytest.raises(ValueError, match="a threshold must be a probability"):
        metric.compute(threshold=2.0)
    assert metric.compute() == EXPECTED
    with pytest.raises(ValueError, match="there is nothing to compute"):
        metric.compute()


def test_a_batch_without_types_among_others_is_refused_before_it_costs_what_was_added(metric):
    metric.add_batch(predictions=[1.0], references=[1])  # a bona fide has no type in either case
    metric.add_batch(predictions=SCORES, references=LABELS, attack_types=TYPES)
    with pytest.raises(ValueError, match="some attacks have attack_types and others have none"):
        metric.add_batch(predictions=SCORES, references=LABELS)
    with pytest.raises(ValueError, match="some attacks have attack_types and others have none"):
        metric.add(prediction=1.0, reference=0)
    metric.add(prediction=1.0, reference=1)
    assert metric.compute()["images"] == 202
    assert metric.compute(predictions=SCORES, references=LABELS)["images"] == 200


def test_a_type_whose_name_would_hide_an_interval_is_refused(metric):
    arguments = {
        "predictions": [1.0, 2.0, -1.0, -1.0],
        "references": [1, 1, 0, 0],
        "attack_types": ["", "", "a", "a_low"],
    }
    assert metric.compute(**arguments)["apcer_type_a_low"] == 0.0
    with pytest.raises(ValueError, match="'apcer_type_a_low' would be a rate and an interval's end"):
        metric.compute(**arguments, intervals=True)


def test_the_page_of_the_space_shows_each_number_once_with_its_interval():
    table = [[2.0, 1, "", "a"], [1.0, 1, "", "b"], [-1.0, 0, "print_low", "a"], [1.0, 0, "print_low", "b"]]
    rows, problem = app.numbers(table, 0.5, True)
    assert problem == ""
    bounds = [f"{bound:.4f}" for bound in wilson_interval(1, 2)]
    assert ["apcer_type_print_low", "0.5000", " to ".join(bounds)] in rows
    assert not [name for name, _, _ in rows if name.endswith(("_high", "_low_low"))]
    # Without intervals a type may be named like one's end.
    rows, problem = app.numbers([*table, [-1.0, 0, "print", "c"]], 0.5, False)
    assert ["apcer_type_print_low", "0.5000", ""] in rows and ["apcer_type_print", "0.0000", ""] in rows


def test_an_empty_set_is_nan_with_a_warning(metric):
    with pytest.warns(UserWarning, match="no bona fides .* and no attacks"):
        results = metric.compute(predictions=[], references=[])
    assert math.isnan(results["acer"]) and results["images"] == 0


def test_parts_of_one_experiment_are_put_together(tmp_path):
    # As of two processes; threads show the same, because it is files that are shared.
    results = {}

    def part(number):
        metric = PresentationAttackDetection(
            cache_dir=str(tmp_path), num_process=2, process_id=number, experiment_id="shared"
        )
        rows = slice(number, None, 2)
        metric.add_batch(predictions=SCORES[rows], references=LABELS[rows], attack_types=TYPES[rows])
        results[number] = metric.compute()

    threads = [threading.Thread(target=part, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results[0] == pytest.approx(EXPECTED, abs=1e-12)
    assert results[1] is None


def python_blocks(path):
    """The Python blocks of a text, each with the text block that follows it: what it prints."""
    with open(path, encoding="utf-8") as file:
        return re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", file.read(), flags=re.DOTALL)


@pytest.mark.parametrize("name", ["patchnet_hf/metrics/presentation_attack_detection/README.md", "docs/metrics.md"])
def test_examples_run_as_they_are_written(project, tmp_path, name, monkeypatch, capsys):
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))
    monkeypatch.chdir(project)
    blocks = python_blocks(project / name)
    assert blocks
    names: dict = {}
    for code, printed in blocks:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            exec(compile(code, name, "exec"), names)
        assert capsys.readouterr().out == printed, code


def test_the_card_has_the_header_of_a_space(project):
    text = (project / "patchnet_hf/metrics/presentation_attack_detection/README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    card = yaml.safe_load(header)
    assert card["sdk"] == "gradio" and card["app_file"] == "app.py" and {"evaluate", "metric"} <= set(card["tags"])
    assert os.path.isfile(os.path.join(FOLDER, card["app_file"]))
    for section in ("Metric description", "How to use", "Inputs", "Output values", "Examples", "Limitations and bias"):
        assert f"## {section}\n" in body
    # Every number is in the table of output values.
    for number in EXPECTED:
        parts = [number, re.sub(r"_type_.*", "_type_<type>", number), re.sub(r".*(_\d+)$", r"\1", number)]
        assert any(f"`{part}`" in body for part in parts), number


@pytest.mark.slow
def test_the_folder_is_in_the_wheel(project, tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="what pyproject.toml builds with")
    # A copy, because building leaves folders behind.
    shutil.copytree(project / "patchnet_hf", tmp_path / "patchnet_hf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheels", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        folder = "patchnet_hf/metrics/presentation_attack_detection/"
        names = {name.removeprefix(folder) for name in archive.namelist() if name.startswith(folder)}
    assert names == {"README.md", "requirements.txt", "app.py", "__init__.py", "presentation_attack_detection.py"}
