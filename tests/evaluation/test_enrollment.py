"""References drawn from a dataset, their operating point, and trials that leave the enrolled persons out."""

import hashlib
import io
import json
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.views import encoded_images, image_bytes
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.enrollment import enroll_device
from patchnet_hf.evaluation.job import evaluate
from patchnet_hf.evaluation.metrics_file import as_json
from patchnet_hf.evaluation.numbers import IntervalSettings
from patchnet_hf.evaluation.reference_trials import develop, draws, embed_dataset, try_references
from patchnet_hf.evaluation.scoring import score_dataset
from patchnet_hf.evaluation.sets import load_evaluation_data, without_captures
from patchnet_hf.evaluation.settings import EvaluationSettings
from patchnet_hf.inference.references import (
    KnownCapture,
    References,
    ReferenceScorer,
    enroll,
    load_references,
    with_references,
)
from patchnet_hf.inference.scorers import load_scorer
from patchnet_hf.metrics import acer, eer, fit_platt
from patchnet_hf.metrics.operating_point import Criterion, threshold_at

TYPES = ["phone/live", "phone/print"]
EER = Criterion("eer")


def captures(devices: list[str], persons: int = 10, seed: int = 0) -> datasets.Dataset:
    """Two live captures and two prints of each person by each device; live ones are brighter on average."""
    random = np.random.default_rng(seed)
    rows = [(device, person, label) for device in devices for person in range(persons) for label in (1, 0, 1, 0)]
    images = []
    for index, (_, _, label) in enumerate(rows):
        stream = io.BytesIO()
        pixels = random.integers(0, 120, (40, 40, 3)) + int(random.normal(60 if label else 40, 20))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "png")
        images.append({"bytes": stream.getvalue(), "path": f"{index}.png"})
    columns = {
        "image": images,
        "label": [label for *_, label in rows],
        "patch_type": [1 - label for *_, label in rows],
        "attack_type": ["bonafide" if label else "print" for *_, label in rows],
        "source": ["mine"] * len(rows),
        "subject": [f"person {person}" for _, person, _ in rows],
        "session": [None] * len(rows),
        "video": [None] * len(rows),
        "device": [device for device, *_ in rows],
        "face_box": [None] * len(rows),
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(TYPES))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "captures"
    splits = {"seen": captures(["phone", "webcam"]), "unseen": captures(["tablet"], seed=1)}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = PatchNetConfig(backbone="test_convnext", patch_types=TYPES, live_patch_types=TYPES[:1], image_size=32)
    model = PatchNetForImageClassification(config)
    model.save_pretrained(folder)
    PatchNetImageProcessor(patch_size=32, grid=2).save_pretrained(folder)
    part = datasets.load_from_disk(data)["seen"]
    seen = score_dataset(load_scorer(str(folder), device="cpu"), part, "seen")
    if seen.scores[seen.labels == 1].mean() < seen.scores[seen.labels == 0].mean():
        with torch.no_grad():
            model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(folder):
    return load_scorer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def sets(scorer, data):
    return {name: embed_dataset(scorer, part, name) for name, part in datasets.load_from_disk(data).items()}


def enroll_rows(scorer, data, split, rows) -> References:
    dataset = encoded_images(datasets.load_from_disk(data)[split].select(rows), ["image", "label"])
    return enroll(scorer, [KnownCapture(row["image"]["path"], row["image"]["bytes"], row["label"]) for row in dataset])


@pytest.mark.parametrize("attacks", [0, 2])
def test_a_draw_is_scored_as_references_of_it_would_score(scorer, data, sets, attacks):
    scale = scorer.config.scale
    for choice in draws(sets["seen"], scale / 8, 3, attacks, 2):
        assert len(choice) == 2
        for draw in choice:
            dataset = datasets.load_from_disk(data)["seen"]
            drawn, rest = dataset.select(draw.references), dataset.select(draw.rest)
            assert sorted(drawn["label"][:]) == [0] * attacks + [1] * 3
            assert len({*drawn["device"][:], *rest["device"][:]}) == 1
            assert not {*drawn["subject"][:]} & {*rest["subject"][:]}
            others = {f"person {index}" for index in range(10)} - {*drawn["subject"][:]}
            assert {*rest["subject"][:]} == others and len(rest) == 4 * len(others)
            references = enroll_rows(scorer, data, "seen", draw.references)
            views = np.stack([scorer.processor.views(np.asarray(image)) for image in rest["image"][:]])
            expected = ReferenceScorer(scorer, references).score(views).log_odds
            np.testing.assert_allclose(draw.scores, expected, atol=1e-4)


def test_the_operating_point_is_of_the_scores_of_all_draws(scorer, data, sets):
    references = enroll_rows(scorer, data, "unseen", [0, 4, 8])
    developed = develop(references, sets["seen"], scorer.config.scale, EER, number=5)
    scores, labels = [], []
    for choice in draws(sets["seen"], scorer.config.scale / 8, 3, 0, 5):
        for draw in choice:
            scores.append(draw.scores)
            labels.append(sets["seen"].scored.labels[draw.rest])
    scores, labels = np.concatenate(scores), np.concatenate(labels)
    assert developed.calibration == pytest.approx(fit_platt(scores, labels))
    limit = np.log(developed.decision_threshold / (1 - developed.decision_threshold)) - developed.calibration.bias
    expected = threshold_at(scores, labels, None, EER)
    np.testing.assert_array_equal(scores >= limit / developed.calibration.scale, scores >= expected)
    assert references.decision_threshold is None and "seen, eer" in developed.developed_on


@pytest.mark.parametrize("with_development", [False, True])
def test_a_trial_compares_at_thresholds_that_the_reported_set_had_no_part_in(scorer, data, sets, with_development):
    references = enroll_rows(scorer, data, "unseen", [0, 4, 8])
    limit = after = 0.0
    if with_development:
        references = develop(references, sets["seen"], scorer.config.scale, EER)
        limit = threshold_at(sets["seen"].scored.scores, sets["seen"].scored.labels, None, EER)
        threshold = references.decision_threshold
        after = (np.log(threshold / (1 - threshold)) - references.calibration.bias) / references.calibration.scale
    unseen = sets["unseen"]
    trial = try_references(
        scorer, references, unseen, EER, sets["seen"] if with_development else None, number=4, seed=7
    )
    chosen = [draw for (draw,) in draws(unseen, scorer.config.scale / 8, 3, 0, 4, seed=7)]
    assert trial.captures.tolist() == [len(draw.rest) for draw in chosen]
    for index, draw in enumerate(chosen):
        labels = unseen.scored.labels[draw.rest]
        alone = unseen.scored.scores[draw.rest]
        assert trial.before["acer"][index] == acer(alone, labels, threshold_log_odds=limit)
        assert trial.after["acer"][index] == acer(draw.scores, labels, threshold_log_odds=after)
        assert trial.before["eer"][index] == eer(alone, labels) and trial.after["eer"][index] == eer(
            draw.scores, labels
        )


def test_a_calibrated_model_gives_the_same_trials(folder, data, sets, tmp_path):
    calibrated = shutil.copytree(folder, tmp_path / "calibrated")
    config = json.loads((calibrated / "config.json").read_text())
    config["calibration"] = {"scale": 0.5, "bias": 2.0}
    (calibrated / "config.json").write_text(json.dumps(config))
    scorer = load_scorer(str(calibrated), device="cpu")
    embedded = embed_dataset(scorer, datasets.load_from_disk(data)["unseen"], "unseen")
    np.testing.assert_allclose(embedded.scored.scores, sets["unseen"].scored.scores, atol=1e-4)


def test_the_job_writes_references_that_score_other_captures(folder, data, scorer, tmp_path):
    path = tmp_path / "tablet.safetensors"
    enrolled = enroll_device(
        str(folder), dataset=f"{data}:unseen", count=3, attack_count=2, threshold_on=f"{data}:seen", trials=3,
        output=str(path), seed=5,
    )  # fmt: skip
    assert (enrolled.references.live_count, enrolled.references.attack_count) == (3, 2)
    assert enrolled.references.device == "tablet" and len(set(enrolled.references.files)) == 5
    again = enroll_device(
        str(folder), dataset=f"{data}:unseen", count=3, attack_count=2, output=str(path), seed=5, overwrite=True
    )
    assert again.references.files == enrolled.references.files and again.trial_table is None
    np.testing.assert_array_equal(load_references(path).embeddings, enrolled.references.embeddings)
    table = enrolled.trial_table
    assert "3 choices of 3 live and 2 attack references" in table and "thresholds chosen on seen (eer)" in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "DATA:seen"}, "--capture-device says which"),
        ({"dataset": "DATA:seen", "capture_device": "webcm"}, "did you mean webcam"),
        ({"dataset": "DATA:unseen", "count": 100}, "20 live captures, fewer than the 100"),
        ({"dataset": "DATA:unseen", "attack_count": 100}, "20 attacks, fewer than the 100"),
        ({"dataset": "DATA:unseen", "count": 0}, "at least 1 live"),
        ({"dataset": "DATA:unseen", "criterion": "x"}, "criterion"),
        ({"dataset": "DATA:unseen", "output": "x.pt"}, "doesn't end in .safetensors"),
        ({"dataset": "DATA:unseen", "output": "no/where/x.safetensors"}, "folder of .* doesn't exist"),
        ({"dataset": "DATA:unseen", "output": None, "model": "some/one"}, "--output FILE"),
        ({"live": ["gone.png"]}, "gone.png: No such file"),
        ({}, "no live references"),
        ({"attack": ["a.png"]}, "no live references"),
        ({"dataset": "DATA:unseen", "live": ["a.png"]}, "not both"),
        ({"live": ["a.png"], "trials": 2}, "--trials needs"),
        ({"dataset": "DATA:unseen", "trials": 2, "threshold_on": "DATA:unseen"}, "holds 40 of the 40 captures"),
    ],
)
def test_what_cannot_be_enrolled_is_one_line_and_writes_nothing(folder, data, tmp_path, change, message):
    given = {"model": str(folder), "output": str(tmp_path / "x.safetensors"), **change}
    for name in {"dataset", "threshold_on"} & given.keys():
        given[name] = given[name].replace("DATA", data)
    with pytest.raises(InputError, match=message) as error:
        enroll_device(**given)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_when_asked(folder, data, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="--overwrite"):
        enroll_device(str(folder), dataset=f"{data}:unseen", output=str(path))
    assert path.read_bytes() == b"mine"


@pytest.mark.slow
def test_the_command_lines(folder, data, project, tmp_path):
    model = shutil.copytree(folder, tmp_path / "model")
    files = []
    for index, image in enumerate(datasets.load_from_disk(data)["unseen"].select(range(3))["image"][:]):
        files.append(str(tmp_path / f"{index}.png"))
        image.save(files[-1])

    def run(script, *arguments):
        command = [sys.executable, str(project / "scripts" / script), "--model", str(model), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("enroll.py", "--live", files[0], files[2], "--attack", files[1], "--capture-device", "my phone")
    assert done.returncode == 0, done.stderr
    references = model / "references-my_phone.safetensors"
    assert "2 live and 1 attack references of my phone" in done.stdout and str(references) in done.stdout
    scored = run("predict.py", "--references", str(references), "--json", str(tmp_path / "scores.json"), *files)
    assert scored.returncode == 0, scored.stderr
    expected = with_references(load_scorer(str(model), device="cpu"), load_references(references))
    views = np.stack([expected.processor.views(np.asarray(Image.open(file))) for file in files])
    written = [entry["live_log_odds"] for entry in json.loads((tmp_path / "scores.json").read_text())]
    np.testing.assert_allclose(written, expected.score(views).log_odds, atol=1e-4)


def test_captures_that_were_enrolled_are_not_evaluated(folder, data, scorer, tmp_path):
    enrolled = enroll_device(
        str(folder), dataset=f"{data}:unseen", count=3, attack_count=2, threshold_on=f"{data}:seen",
        output=str(tmp_path / "x.safetensors"),
    )  # fmt: skip
    settings = EvaluationSettings(intervals=IntervalSettings(resamples=2), thumbnails=0)
    digests = enrolled.references.captures_sha256
    sets = load_evaluation_data([f"{data}:seen", f"{data}:unseen"], settings, digests)
    assert sets.left_out == {"unseen": 5}
    found = evaluate(with_references(scorer, enrolled.references), sets, settings)
    content = as_json(found)
    assert content["evaluated"]["data"]["unseen"]["left_out_as_references"] == 5
    assert "left_out_as_references" not in content["evaluated"]["data"]["seen"]
    assert content["sets"]["unseen"]["counts"]["images"] == 35
    assert not {*found.scored["unseen"].files} & {*enrolled.references.files}
    assert content["operating_point"]["threshold"] == enrolled.references.decision_threshold
    assert "the references' own" in found.point.sentence()
    development = load_evaluation_data([f"{data}:seen"], EvaluationSettings(threshold_on=f"{data}:unseen"), digests)
    assert len(development.development) == 35 and development.left_out == {}


def test_a_set_of_nothing_but_references_is_refused(data):
    rows = datasets.load_from_disk(data)["unseen"].select(range(2))
    digests = [hashlib.sha256(image_bytes(row["image"])).hexdigest() for row in encoded_images(rows, ["image"])]
    assert without_captures(rows, "few", digests[:1])["label"][:] == [0]
    with pytest.raises(InputError, match="all captures of few are among the references"):
        without_captures(rows, "few", digests)
