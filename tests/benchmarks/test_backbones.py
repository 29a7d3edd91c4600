"""Backbones go from their recipes to graphs, and what misses a bar is told."""

import importlib.util
import json
import os
import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import onnx
import onnxruntime
import pytest
import timm
import torch
import yaml

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.benchmarks import backbone_trial
from patchnet_hf.benchmarks.backbone_trial import BackboneTrial, TrialSettings, differences, read_recipe, try_backbone
from patchnet_hf.benchmarks.backbones import BackboneComparison, compare_backbones, recipe_files
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.errors import InputError
from patchnet_hf.models.backbone_patchnet import create_backbone
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser

spec = importlib.util.spec_from_file_location("textures", Path(__file__).parents[1] / "export" / "textures.py")
of_textures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(of_textures)

RECIPES = Path(__file__).parents[2] / "configs" / "backbones"
# Of the reference, and EfficientFormerV2's third size.
BACKBONES = {
    *("resnet18", "convnext_tiny", "swin_base_patch4_window7_224", "cdcn", "cdcnpp", "dc_cdn"),
    *(f"efficientformerv2_{size}" for size in ("s0", "s1", "s2", "l")),
    *(f"fastvit_{size}" for size in ("t8", "t12", "s12")),
}
# Side of a patch small enough for a test, and what the backbone is told of it.
SMALL = {
    "cdcn": (32, None),
    "cdcnpp": (32, None),
    "dc_cdn": (32, None),
    "resnet18": (32, None),
    "efficientformerv2_s0": (64, '{"img_size": 64}'),
    "fastvit_t8": (64, None),
    "swin_base_patch4_window7_224": (64, '{"img_size": 64}'),
}
# A small one of the same code, where a backbone has 87 million weights.
KIN = {"swin_base_patch4_window7_224": "swin_tiny_patch4_window7_224"}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Eight captures of textures to learn by heart, of one person by the recipes' name."""
    folder = tmp_path_factory.mktemp("captures") / "textures"
    train = of_textures.textures(8, seed=1).remove_columns("subject")
    train = train.add_column("subject", ["train_0000"] * 8).cast(of_textures.textures(4, 1).features)
    datasets.DatasetDict({"train": train}).save_to_disk(folder)
    return folder


@pytest.fixture
def recipe(tmp_path, dataset):
    """Writes a recipe of a small backbone, ten steps long."""

    def write(**changed) -> Path:
        settings = {
            "dataset": str(dataset),
            "backbone": "test_resnet",
            "patch_size": 32,
            "scale": 16.0,
            "margin_live": 0.1,
            "similarity_weight": 0.1,
            "max_steps": 10,
            "learning_rate": 0.003,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 8,
            "precision": "float32",
        }
        path = tmp_path / "recipes" / "small.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({**settings, **changed}))
        return path

    return write


QUICK = TrialSettings(repeats=1)


def test_there_is_a_recipe_for_each_backbone():
    assert {path.stem for path in recipe_files(RECIPES)} == BACKBONES


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_recipe_is_valid_names_its_backbone_and_learns_one_person_by_heart(tmp_path, name):
    path = RECIPES / f"{name}.yaml"
    model, data, arguments = read_recipe(path, tmp_path, TrialSettings())
    assert model.backbone == name and arguments.max_steps == 20
    assert data.dataset == "data/demo-arrow" and str(data.train_filter) == "subject train_0000"
    # All of them in each step, so that the losses of two steps can be compared.
    assert arguments.per_device_train_batch_size == 8
    assert model.backbone_kwargs in (None, {"img_size": data.patch_size})
    text = path.read_text()
    assert "# To expect:" in text and "# In earnest" in text and "@" not in text
    command = text.partition("scripts/train.py")[2].partition("\ndataset:")[0].replace("\\\n#", "")
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog="train.py")
    in_earnest, of_captures, length = parser.parse_run(shlex.split(command.replace("configs/", f"{RECIPES.parent}/")))
    assert (in_earnest.backbone, in_earnest.backbone_kwargs) == (model.backbone, model.backbone_kwargs)
    assert (of_captures.dataset, of_captures.patch_size) == ("DIR", data.patch_size)
    assert length.learning_rate == arguments.learning_rate and length.num_train_epochs > 1
    assert in_earnest.pretrained_backbone is bool(timm.models.get_pretrained_cfg(name).has_weights)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_backbone_of_a_recipe_is_built_offline(monkeypatch, name):
    def connect(*arguments):
        raise AssertionError("it asks the network")

    monkeypatch.setattr("socket.socket.connect", connect)
    settings = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    # Without memory for its weights: a Swin has 87 million.
    with torch.device("meta"):
        backbone = create_backbone(PatchNetConfig(name, settings.get("backbone_kwargs")))
    assert sum(parameter.numel() for parameter in backbone.parameters()) > 1e6
    assert timm.is_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_backbone_trains_saves_reloads_and_exports(dataset, name):
    side, arguments = SMALL[name]
    options = {"max_steps": "2", "patch_size": str(side), "learning_rate": "1e-4"}
    options["backbone"] = KIN.get(name, name)
    if arguments:
        options["backbone_kwargs"] = arguments
    trial = try_backbone(RECIPES / f"{name}.yaml", TrialSettings(str(dataset), options, repeats=1))
    assert len(trial.losses) == 2 and trial.reload_differs == ()
    assert trial.parity is not None and trial.parity <= 1e-4
    assert trial.parameters > 1e6 and trial.multiply_adds > 1e6 and trial.times_resnet18 > 0


@pytest.mark.slow
def test_a_whole_comparison_keeps_all_bars_and_leaves_nothing_behind(recipe, tmp_path, monkeypatch):
    made = []
    folder = backbone_trial.TemporaryDirectory
    monkeypatch.setattr(backbone_trial, "TemporaryDirectory", lambda: made.append(folder(dir=tmp_path)) or made[-1])
    done = []
    comparison = compare_backbones([recipe()], QUICK, threads=1, progress=done.append)
    (trial,) = comparison.trials
    assert trial.failures == () and comparison.failed == []
    assert len(trial.losses) == 10 and trial.last_loss < trial.first_loss
    assert trial.reload_differs == () and trial.parity < 1e-4 and trial.times_resnet18 > 0
    model = PatchNetForImageClassification(PatchNetConfig("test_resnet", patch_types=of_textures.PATCH_TYPES,
                                                          live_patch_types=of_textures.PATCH_TYPES[:1]))  # fmt: skip
    assert trial.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert len(made) == 1 and not Path(made[0].name).exists()
    assert [doing.partition("small: ")[2] for doing in done] == ["training", "loading and exporting", "timing"]


@pytest.mark.slow
def test_a_loss_that_does_not_fall_is_told(recipe):
    trial = try_backbone(recipe(classification_weight=0.0, similarity_weight=0.0), QUICK)
    assert len(trial.failures) == 1 and trial.failures[0] == "its loss doesn't fall: 0 at first, 0 at last"


def trial_of(**numbers) -> BackboneTrial:
    good = {"parameters": 11_180_000, "multiply_adds": 926_000_000, "times_resnet18": 1.0, "parity": 1e-6}
    good["training_seconds"] = 7.4
    return BackboneTrial("small", "resnet18", 160, losses=(4.0, 4.0, 1.0, 1.0), **{**good, **numbers})


def test_losses_are_compared_by_five_steps_at_most():
    trial = replace(trial_of(), losses=tuple(range(20, 0, -1)))
    assert (trial.first_loss, trial.last_loss) == (18.0, 3.0)
    few = replace(trial, losses=(9.0, 5.0, 4.0))
    assert (few.first_loss, few.last_loss) == (9.0, 4.0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"parity": 1.1e-4}, "its graph's log-odds differ by 0.00011, where 0.0001 is allowed"),
        ({"parity": float("nan")}, "its graph's log-odds differ by nan"),
        ({"reload_differs": ("classifier.weight", "logits")}, "loaded again it differs: classifier.weight, logits"),
    ],
)
def test_a_bar_that_is_missed_is_told_and_ends_the_script_with_1(numbers, message):
    trial = trial_of(**numbers).with_failures()
    assert len(trial.failures) == 1 and message in trial.failures[0]
    comparison = BackboneComparison(Machine("A processor", 2, 1, {}), (trial_of().with_failures(), trial))
    assert comparison.failed == ["small"]
    assert f"small: {trial.failures[0]}" in comparison.text()
    json.dumps(comparison.as_json(), allow_nan=False)


def test_the_table_shows_what_was_found():
    comparison = BackboneComparison(Machine("A processor", 2, 1, {}), (trial_of(reload_differs=()),))
    row = comparison.text().splitlines()[-1]
    assert row.split() == ["small", "160", "11.18", "0.926", "1.00", "4.00", "to", "1.00", "7", "equal", "1.0e-06"]
    assert "| small | 160 | 11.18 | 0.926 | 1.00 | 4.00 to 1.00 | 7 | equal | 1.0e-06 |" in comparison.markdown()


def test_weights_and_answers_that_differ_after_loading_are_named():
    torch.manual_seed(0)
    config = PatchNetConfig("test_resnet", image_size=32)
    first, second = (PatchNetForImageClassification(config).eval() for _ in range(2))
    processor = PatchNetImageProcessor(patch_size=32)
    second.load_state_dict(first.state_dict())
    assert differences(first, second, processor) == ()
    with torch.no_grad():
        second.classifier.weight[0, 0] = torch.nextafter(second.classifier.weight[0, 0], torch.tensor(9.0))
    assert differences(first, second, processor)[0] == "classifier.weight"


def test_a_backbone_that_cannot_be_built_misses_its_bar(recipe):
    trial = try_backbone(recipe(backbone="resnet19"), QUICK)
    assert len(trial.failures) == 1 and "did you mean resnet18" in trial.failures[0]
    assert trial.parameters is None and trial.losses == ()


class Unkindly(Exception):
    """Of ONNX Runtime's kind: no RuntimeError, no ValueError."""


@pytest.mark.parametrize("seam", ["build_model", "multiply_adds"])
def test_a_step_that_fails_in_any_way_ends_nothing(recipe, monkeypatch, seam):
    def fail(*arguments):
        raise Unkindly("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED\nand more")

    monkeypatch.setattr(backbone_trial, seam, fail)
    comparison = compare_backbones([recipe(), recipe()], QUICK, threads=1)
    assert [trial.failures for trial in comparison.trials] == [
        ("Unkindly: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED",)
    ] * 2


def test_a_graph_that_onnx_runtime_cannot_run_is_told_and_the_rest_is_measured(recipe, monkeypatch):
    def broken(model, processor, path):
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("NoSuchOperator", ["x"], ["y"])],
            "broken",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
        )
        onnx.save(onnx.helper.make_model(graph), path)
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(backbone_trial, "export_graph", broken)
    trial = try_backbone(recipe(max_steps=2), QUICK)
    assert "it can't be exported: " in trial.failures[0] and "NoSuchOperator" in trial.failures[0]
    assert trial.reload_differs == () and trial.parity is None and trial.times_resnet18 > 0


def test_the_precision_of_a_recipe_does_not_make_answers_differ(recipe):
    trial = try_backbone(recipe(precision="bfloat16", max_steps=2), QUICK)
    assert trial.reload_differs == ()


@pytest.fixture
def compare(project, monkeypatch, capsys):
    """Runs the script in this process; its exit code, and what it printed and complained of."""

    def compare(*options) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/compare_backbones.py", *map(str, options)])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(project / "scripts" / "compare_backbones.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return compare


def test_the_script_is_offline_before_the_hubs_client_looks(project):
    """In a process of its own, because here the client has been imported."""
    code = (
        "import runpy, sys; sys.argv = ['compare_backbones.py', '--repeats', '0']\n"
        "try: runpy.run_path('scripts/compare_backbones.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import huggingface_hub; print(huggingface_hub.constants.HF_HUB_OFFLINE)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = str(project)
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_the_script_prints_writes_and_says_who_missed_a_bar(compare, recipe, tmp_path):
    path = recipe()
    (path.parent / "stuck.yaml").write_text(recipe(backbone="resnet19").read_text())
    recipe()
    file = tmp_path / "found.json"
    code, printed, complaints = compare(
        "--recipes", path.parent, "--threads", 1, "--repeats", 1, "--json", file, "--markdown"
    )
    assert code == 1
    assert complaints.splitlines()[-1] == "compare_backbones.py: a bar is missed by stuck"
    assert "| small | 32 |" in printed and "| stuck | 32 | - |" in printed
    told = json.loads(file.read_text())
    assert told["failed"] == ["stuck"] and told["backbones"]["small"]["failures"] == []
    assert told["command"].startswith("python scripts/compare_backbones.py --recipes ")


MISTAKES = {
    "unknown recipe": (["resnet19"], "there is no recipe 'resnet19' in configs/backbones; did you mean resnet18"),
    "no recipes": (["--recipes", "docs"], "there are no recipes (*.yaml) in docs"),
    "no dataset": (["resnet18", "--dataset", "nowhere"], "nowhere"),
    "no threads": (["resnet18", "--threads", "0"], "threads is 0; expected at least 1"),
    "no repeats": (["resnet18", "--repeats", "0"], "repeats is 0; expected at least 1"),
    "unknown option": (["--repeat", "3"], "unknown argument --repeat; did you mean --repeats or"),
    "unwritable json": (["--json", "nowhere/at/all.json"], "--json nowhere/at/all.json can't be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(compare, project, monkeypatch, mistake):
    monkeypatch.chdir(project)
    options, message = MISTAKES[mistake]
    code, printed, complaints = compare(*options)
    assert (code, printed) == (2, "")
    assert message in complaints and complaints.count("\n") == 1, complaints


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_steps": -1}, "max_steps is -1"),
        ({"learning_rat": 1}, "did you mean learning_rate"),
        ({"pretrained_backbone": True}, "pretrained_backbone is True; a trial doesn't follow it"),
        ({"init_from": "outputs/other"}, "init_from is 'outputs/other'; a trial doesn't follow it"),
        ({"augmentation": "medium2.json"}, r"augmentation is 'medium2\.json'; a trial doesn't follow it"),
        ({"balance": "label"}, "balance is 'label'; a trial doesn't follow it"),
        ({"streaming": True}, "streaming is True; a trial doesn't follow it"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_said_before_any_is_tried(recipe, changed, message):
    with pytest.raises(InputError, match=message):
        compare_backbones([recipe(**changed)], QUICK)
