"""Calibrating a saved model: what is written, what stays, and that the model itself then says so."""

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
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.calibration import calibrate_model
from patchnet_hf.evaluation.calibration_report import calibration_summary, calibration_table
from patchnet_hf.metrics import apcer, auc, bpcer, calibration_quality, eer, fit_platt, presentation_attack_metrics
from patchnet_hf.training.initialization import initialize_from

TYPES = ["phone/live", "phone/print"]
CRITERIA = ["eer", "apcer=0.1", "bpcer=0.1"]


def capture(random: np.random.Generator, live: bool) -> bytes:
    """Noise, brighter on average where it is of a live face: a model can rank it, with errors."""
    pixels = random.integers(0, 120, (40, 40, 3)) + int(random.normal(60 if live else 40, 20))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "png")
    return stream.getvalue()


def captures(count: int, seed: int, live_share: float = 0.5) -> datasets.Dataset:
    random = np.random.default_rng(seed)
    labels = [int(index < live_share * count) for index in range(count)]
    columns = {
        "image": [
            {"bytes": capture(random, bool(label)), "path": f"{index}.png"} for index, label in enumerate(labels)
        ],
        "label": labels,
        "patch_type": [1 - label for label in labels],
        "attack_type": ["bonafide" if label else ("print", "mask")[index % 2] for index, label in enumerate(labels)],
        **{name: ["mine"] * count for name in ("source", "subject", "session", "video", "device")},
        "face_box": [None] * count,
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(TYPES))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "captures"
    splits = {"val": captures(60, 0), "test": captures(40, 1, 0.3), "live": captures(4, 2, 1.0)}
    names = iter(["print a", "print_a"] * 10)
    clash = [next(names) if kind == "print" else kind for kind in splits["test"]["attack_type"][:]]
    splits["clash"] = splits["test"].remove_columns("attack_type").add_column("attack_type", clash)
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A model with random weights whose live direction is the one that ranks `val` the right way."""
    folder = tmp_path_factory.mktemp("model") / "trained"
    torch.manual_seed(0)
    config = PatchNetConfig(backbone="test_convnext", patch_types=TYPES, live_patch_types=TYPES[:1], image_size=32)
    model = PatchNetForImageClassification(config)
    processor = PatchNetImageProcessor(patch_size=32, grid=2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    scores, labels = forward(folder, data, "val")
    if scores[labels == 1].mean() < scores[labels == 0].mean():
        with torch.no_grad():
            model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.save_pretrained(folder)
    (folder / "metrics.json").write_text("{}")
    (folder / "checkpoint-1").mkdir()
    return folder


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "model")


@torch.no_grad()
def forward(folder, data, split):
    """Log-odds by the model's own forward on its processor's output, image by image, and labels."""
    network = PatchNetForImageClassification.from_pretrained(folder).eval()
    processor = PatchNetImageProcessor.from_pretrained(folder)
    dataset = datasets.load_from_disk(data)[split]
    logits = [network(**processor(image, return_tensors="pt")).logits.double()[0] for image in dataset["image"][:]]
    return np.array([(pair[1] - pair[0]).item() for pair in logits]), np.asarray(dataset["label"][:])


def settings_of(folder) -> dict:
    return json.loads((folder / "config.json").read_text())


def contents(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_scale_and_bias_are_of_the_raw_scores_and_the_models_forward_applies_them(model, data):
    raw, labels = forward(model, data, "val")
    calibrate_model(str(model), f"{data}:val")
    fitted = fit_platt(raw, labels)
    assert settings_of(model)["calibration"] == pytest.approx(fitted._asdict(), rel=1e-3)
    calibrated, _ = forward(model, data, "val")
    np.testing.assert_allclose(calibrated, fitted.calibrate(raw), atol=1e-4 * fitted.scale)


def test_the_ranking_stays(model, data):
    raw, labels = forward(model, data, "test")
    report, _ = calibrate_model(str(model), f"{data}:val", tests=[f"{data}:test"])
    calibrated, _ = forward(model, data, "test")
    assert (np.diff(calibrated[np.argsort(raw)]) >= -1e-5 * report.after.calibration.scale).all()
    scored = report.sets["test"]
    exact = report.after.calibration.calibrate(scored.scores)
    np.testing.assert_array_equal(np.argsort(exact, stable=True), np.argsort(scored.scores, stable=True))
    assert (auc(exact, labels), eer(exact, labels)) == (auc(scored.scores, labels), eer(scored.scores, labels))


def test_in_the_models_folder_only_two_values_change(model, data):
    before, settings = contents(model), settings_of(model)
    calibrate_model(str(model), f"{data}:val")
    after, changed = contents(model), settings_of(model)
    assert after.keys() - before.keys() == {"calibration.json", "reliability.png"}
    assert [name for name in before if after[name] != before[name]] == ["config.json"]
    assert {name for name in settings if settings[name] != changed[name]} == {"calibration", "decision_threshold"}
    assert list(changed) == list(settings)


def test_calibrating_twice_gives_the_same_file(model, data):
    calibrate_model(str(model), f"{data}:val")
    first = (model / "config.json").read_bytes()
    report, _ = calibrate_model(str(model), f"{data}:val")
    assert (model / "config.json").read_bytes() == first
    assert report.numbers("val", report.before) == report.numbers("val", report.after)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_threshold_makes_the_model_meet_the_criterion(model, data, criterion):
    calibrate_model(str(model), f"{data}:val", criterion)
    scores, labels = forward(model, data, "val")
    types = datasets.load_from_disk(data)["val"]["attack_type"][:]
    threshold = settings_of(model)["decision_threshold"]
    errors = apcer(scores, labels, types, threshold), bpcer(scores, labels, threshold)
    # Brute force over all thresholds between neighbouring scores.
    ranked = np.sort(scores)
    limits = [ranked[0] - 1, *((ranked[1:] + ranked[:-1]) / 2), ranked[-1] + 1]
    curve = [
        (apcer(scores, labels, types, threshold_log_odds=limit), bpcer(scores, labels, threshold_log_odds=limit))
        for limit in limits
    ]
    if criterion == "apcer=0.1":
        assert errors[0] <= 0.1 and errors[1] == min(live for attack, live in curve if attack <= 0.1)
    elif criterion == "bpcer=0.1":
        assert errors[1] <= 0.1 and errors[0] == min(attack for attack, live in curve if live <= 0.1)
    else:
        assert abs(apcer(scores, labels, None, threshold) - errors[1]) <= 1 / 30


def test_the_report_has_the_numbers_before_and_after(model, data):
    report, _ = calibrate_model(str(model), f"{data}:val", tests=[f"{data}:test"])
    written = json.loads((model / "calibration.json").read_text())
    for split in ("val", "test"):
        scored = report.sets[split]
        for when, settings in (("before", report.before), ("after", report.after)):
            scores = settings.calibration.calibrate(scored.scores)
            rates = presentation_attack_metrics(scores, scored.labels, scored.attack_types, settings.threshold)
            numbers = written["sets"][split][when]
            assert numbers["acer"] == rates["acer"] and numbers["apcer_type_mask"] == rates["apcer_type_mask"]
            quality = calibration_quality(scores, scored.labels)
            assert numbers["expected_calibration_error"] == quality.expected_calibration_error
    assert report.before.threshold == 0.5 and written["before"]["calibration"] is None
    assert written["sets"]["val"]["after"]["log_loss"] < written["sets"]["val"]["before"]["log_loss"]
    assert written["sets"]["test"]["bona_fides"] == 12 and written["criterion"] == "eer"
    assert written["after"]["decision_threshold"] == settings_of(model)["decision_threshold"]
    table = calibration_table(report).splitlines()
    assert [line.split()[0] for line in table[2::2]] == ["val", "test"]
    assert "fitted on val" in calibration_summary(report)


def test_a_prior_moves_probabilities_and_leaves_decisions(model, data, tmp_path):
    own, _ = calibrate_model(str(model), f"{data}:val", output=str(tmp_path / "own"))
    rare, _ = calibrate_model(str(model), f"{data}:val", output=str(tmp_path / "rare"), prior=0.9)
    assert rare.after.calibration.bias - own.after.calibration.bias == pytest.approx(np.log(9))
    for rate in ("acer", "apcer", "bpcer"):
        assert rare.numbers("val", rare.after)[rate] == own.numbers("val", own.after)[rate]


def test_a_copy_leaves_the_model_as_it_was(model, data, tmp_path):
    before = contents(model)
    _, folder = calibrate_model(str(model), f"{data}:val", output=str(tmp_path / "copy"))
    assert contents(model) == before
    copied = contents(folder)
    code = {name for name in before if name.endswith("_patchnet.py")}
    assert "modeling_patchnet.py" in code
    assert copied.keys() == code | {
        *("config.json", "model.safetensors", "preprocessor_config.json"),
        *("calibration.json", "reliability.png", "metrics.json"),
    }
    for name in (*code, "model.safetensors", "preprocessor_config.json", "metrics.json"):
        assert copied[name] == before[name]
    with pytest.raises(InputError, match="--overwrite replaces"):
        calibrate_model(str(model), f"{data}:val", output=str(folder))
    calibrate_model(str(model), f"{data}:val", "apcer=0.1", output=str(folder), overwrite=True)
    assert json.loads((folder / "calibration.json").read_text())["criterion"] == "apcer=0.1"


def test_overwriting_a_copy_deletes_nothing_else(model, data, tmp_path):
    calibrate_model(str(model), f"{data}:val")
    before = contents(model)
    assert (model / "checkpoint-1").is_dir() and "metrics.json" in before
    other = shutil.copytree(model, tmp_path / "other")
    with pytest.raises(InputError, match="beside the calibrated model there is checkpoint-1, "):
        calibrate_model(str(other), f"{data}:val", output=str(model), overwrite=True)
    assert contents(model) == before and (model / "checkpoint-1").is_dir()


def test_captures_that_were_fitted_on_are_not_tested_on_under_another_name(model, data, tmp_path):
    same = tmp_path / "same"
    datasets.DatasetDict({"test": datasets.load_from_disk(data)["val"]}).save_to_disk(str(same))
    with pytest.raises(InputError, match="are the same captures"):
        calibrate_model(str(model), f"{data}:val", tests=[str(same)])
    splits = datasets.load_from_disk(data)
    some = datasets.concatenate_datasets([splits["test"], splits["val"].select(range(3))])
    datasets.DatasetDict({"some": some}).save_to_disk(str(tmp_path / "some"))
    with pytest.raises(InputError, match="holds 3 of the 43 captures"):
        calibrate_model(str(model), f"{data}:val", tests=[str(tmp_path / "some")])


def test_few_captures_are_said_to_be_few(model, data):
    for development, few in (("val", False), ("test", True)):
        report, _ = calibrate_model(str(model), f"{data}:{development}")
        assert ("few captures: test has 12 live ones and 28 attacks" in calibration_summary(report)) == few


def test_a_model_is_as_it_was_when_the_report_cannot_be_written(model, data):
    (model / "calibration.json").mkdir()
    before = contents(model)
    with pytest.raises(InputError, match="can't be written"):
        calibrate_model(str(model), f"{data}:val")
    assert contents(model) == before


def test_the_diagram_is_a_picture_with_a_row_for_each_set(model, data):
    sizes = []
    for tests in ([], [f"{data}:test"]):
        calibrate_model(str(model), f"{data}:val", tests=tests)
        picture = Image.open(model / "reliability.png")
        assert np.asarray(picture.convert("L")).std() > 20
        sizes.append(picture.size)
    assert sizes[1][0] == sizes[0][0] and sizes[1][1] > 1.8 * sizes[0][1]


@pytest.mark.slow
def test_a_model_of_the_hub_is_copied_from_its_cache(model, data, tmp_path, monkeypatch):
    commit = "1" * 40
    cached = tmp_path / "hub" / "models--someone--patchnet"
    shutil.copytree(model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "from patchnet_hf.evaluation.calibration import calibrate_model\n"
        f"calibrate_model('someone/patchnet', {data + ':val'!r}, output={str(tmp_path / 'copy')!r})\n"
    )
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calibrate_model(str(model), f"{data}:val")
    assert settings_of(tmp_path / "copy") == settings_of(model)


def test_a_training_that_starts_from_a_calibrated_model_is_not_calibrated(model, data):
    calibrate_model(str(model), f"{data}:val")
    config = PatchNetConfig(backbone="test_convnext", patch_types=TYPES, live_patch_types=TYPES[:1], image_size=32)
    network = PatchNetForImageClassification(config)
    assert initialize_from(network, str(model)) == []
    assert network.config.calibration is None and network.config.decision_threshold == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "someone/patchnet"}, "no folder here; --output"),
        ({"criterion": "far=0.1"}, "criterion"),
        ({"criterion": "apcer=5"}, "share"),
        ({"prior": 1.5}, "prior"),
        ({"bins": 0}, "bins"),
        ({"development": "DATA:live"}, r"live has no attacks"),
        ({"development": "DATA:train"}, "no split 'train'"),
        ({"tests": ["DATA:val"]}, "are the same set"),
        ({"tests": ["DATA/:val"]}, "are the same set"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"tests": ["DATA:clash"]}, "print_a"),
        ({"tests": ["DATA:live"], "prior": 0.5}, "live has no attacks"),
        ({"output": "MODEL"}, "own folder"),
        ({"output": "MODEL/config.json"}, "is a file"),
        ({"output": "DATA"}, "isn't empty"),
        ({"model": "MODEL/model.onnx"}, "exported graph"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(model, data, change, message):
    before = contents(model)

    def filled(value):
        return value.replace("MODEL", str(model)).replace("DATA", data) if isinstance(value, str) else value

    given = {"model": "MODEL", "development": "DATA:val", **change}
    given = {
        key: list(map(filled, value)) if isinstance(value, list) else filled(value) for key, value in given.items()
    }
    with pytest.raises(InputError, match=message) as error:
        calibrate_model(**given)
    assert "\n" not in str(error.value) and contents(model) == before


def test_a_graph_beside_the_weights_would_no_longer_fit(model, data, tmp_path):
    (model / "model.onnx").write_bytes(b"graph")
    with pytest.raises(InputError, match="would no longer fit"):
        calibrate_model(str(model), f"{data}:val")
    calibrate_model(str(model), f"{data}:val", output=str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "model.onnx").exists()


def test_scores_that_rank_the_wrong_way_are_refused(model, data):
    network = PatchNetForImageClassification.from_pretrained(model)
    with torch.no_grad():
        network.classifier.weight.copy_(network.classifier.weight.flip(0))
    network.save_pretrained(model)
    with pytest.raises(InputError, match="val: the scores rank the wrong way"):
        calibrate_model(str(model), f"{data}:val")


@pytest.mark.slow
def test_the_command_line(model, data, project):
    command = [sys.executable, str(project / "scripts" / "calibrate.py"), "--model", str(model)]
    options = ["--dataset", f"{data}:val", "--test", f"{data}:test", "--criterion", "bpcer=0.1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0 and "batch/s" not in done.stderr, done.stderr
    assert "decision threshold: 0.5 -> " in done.stdout and "bpcer=0.1 on val" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next: python scripts/predict.py")
    assert settings_of(model)["calibration"] is not None
