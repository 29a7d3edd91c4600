"""What `optimum-cli export onnx` and optimum's Python functions make of a model, as their users call them."""

import collections
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.export.optimum_registration import register_with_optimum
from patchnet_hf.inference.scorers import load_scorer

REASON = "optimum-onnx 0.1 ends at transformers 4.57"
convert = pytest.importorskip("optimum.exporters.onnx.convert", reason=REASON, exc_type=ImportError)
optimum_onnxruntime = pytest.importorskip("optimum.onnxruntime")
onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

MODELS = {"resnet18": (32, {"scale": 0.5, "bias": -0.3}), "fastvit_t8": (64, None)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, as_trained):
    """A small model of each backbone, calibrated or not, with its image processor of 9 patches."""
    folders = {}
    for backbone, (side, calibration) in MODELS.items():
        torch.manual_seed(0)
        config = PatchNetConfig(
            backbone=backbone,
            image_size=side,
            patch_types=["phone/live", "phone/print", "phone/replay"],
            live_patch_types=["phone/live"],
            calibration=calibration,
        )
        folders[backbone] = tmp_path_factory.mktemp("models") / backbone
        as_trained(PatchNetForImageClassification(config), side).save_pretrained(folders[backbone])
        PatchNetImageProcessor(patch_size=side).save_pretrained(folders[backbone])
    return folders


def patches(images: int, views: int | None, side: int) -> torch.Tensor:
    shape = (images, side, side) if views is None else (images, views, side, side)
    pixels = torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(images), dtype=torch.uint8)
    return PatchNetImageProcessor().normalize_views(pixels)


def probabilities(model, pixel_values: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(pixel_values=pixel_values).logits.softmax(dim=-1)


def assert_same(out, folder, views: tuple, images: tuple = (1, 7)):
    """optimum's model of an exported folder gives the probabilities of the PyTorch model that it was made from."""
    exported = optimum_onnxruntime.ORTModelForImageClassification.from_pretrained(out)
    model = PatchNetForImageClassification.from_pretrained(folder).eval()
    seen = []
    for count in images:
        for number in views:
            pixel_values = patches(count, number, model.config.image_size)
            expected = probabilities(model, pixel_values)
            torch.testing.assert_close(probabilities(exported, pixel_values), expected, atol=1e-4, rtol=0)
            seen.extend(expected[:, 1].tolist())
    # Saturated probabilities would all be the same.
    assert min(seen) > 0.001 and max(seen) < 0.999


def interface(out) -> tuple[list, list]:
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    return tuple(
        [(node.name, node.shape) for node in nodes] for nodes in (session.get_inputs(), session.get_outputs())
    )


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory, folders, installed):
    """A model's folder and what `optimum-cli` makes of it, from a wheel and from an editable installation."""
    folder, out = folders[request.param], tmp_path_factory.mktemp("exports") / request.param
    kind, options = {"resnet18": ("wheel", []), "fastvit_t8": ("editable", ["--task", "image-classification"])}[
        request.param
    ]
    done = installed(kind).optimum_cli("export", "onnx", "--model", folder, *options, out)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    return folder, out


@pytest.mark.slow
def test_a_folder_is_exported_with_no_further_option(exported):
    folder, out = exported
    side = MODELS[folder.name][0]
    # With the code of what is configured: where the package isn't installed, the image processor is loaded by it.
    code = ["configuration_patchnet.py", "image_processing_patchnet.py"]
    expected = sorted(["config.json", "model.onnx", "preprocessor_config.json", *code])
    assert sorted(path.name for path in out.iterdir()) == expected
    expected = [("pixel_values", ["batch_size", "num_patches", 3, side, side])], [("logits", ["batch_size", 2])]
    assert interface(out) == expected
    assert_same(out, folder, views=(1, 9))


@pytest.mark.slow
def test_the_branches_of_a_backbone_are_merged(exported):
    folder, out = exported
    model = PatchNetForImageClassification.from_pretrained(folder)

    def convolutions(model):
        return sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())

    nodes = collections.Counter(node.op_type for node in onnx.load(out / "model.onnx").graph.node)
    assert nodes["Conv"] == convolutions(model.reparameterized())
    assert (nodes["Conv"] < convolutions(model)) == (folder.name == "fastvit_t8")


@pytest.mark.slow
def test_pipelines_and_scorers_run_what_is_exported(exported):
    from optimum.pipelines import pipeline as optimum_pipeline

    folder, out = exported
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(40, 50), (150, 90), (20, 200)]]
    pictures = [Image.fromarray(image) for image in images]
    expected = pipeline("image-classification", model=str(folder), device="cpu")(pictures)
    given = optimum_pipeline("image-classification", model=str(out), accelerator="ort")(pictures)
    for of_given, of_expected in zip(given, expected, strict=True):
        assert [row["label"] for row in of_given] == [row["label"] for row in of_expected]
        np.testing.assert_allclose(
            [row["score"] for row in of_given], [row["score"] for row in of_expected], atol=1e-4
        )
    scorer = load_scorer(str(out))
    views = np.stack([scorer.processor.views(image) for image in images])
    expected, given = load_scorer(str(folder), device="cpu").score(views), scorer.score(views)
    np.testing.assert_allclose(given.log_odds, expected.log_odds, atol=1e-3)
    np.testing.assert_allclose(given.patch_log_odds, expected.patch_log_odds, atol=1e-3)


@pytest.mark.slow
def test_a_model_of_the_hub_is_exported_without_the_package_by_its_own_code(installed, folders, tmp_path):
    bare, source = installed("bare"), folders["fastvit_t8"]
    assert bare.run("-c", "import patchnet_hf").returncode == 1
    commit = "1" * 40
    cached = tmp_path / "models--someone--patchnet"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(source, cached / "snapshots" / commit)
    here = {"HUGGINGFACE_HUB_CACHE": str(tmp_path), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    # One process for both, because importing takes longer than either.
    export_and_use = (
        "import sys\n"
        "from optimum.commands.optimum_cli import main\n"
        "from optimum.pipelines import pipeline\n"
        "*command, out, picture = sys.argv\n"
        "sys.argv = [*command, out]\n"
        "main()\n"
        "classify = pipeline('image-classification', model=out, accelerator='ort', trust_remote_code=True)\n"
        "print(classify(picture)[0]['score'])\n"
    )
    options = ["--task", "image-classification", "--trust-remote-code"]
    export = ["export", "onnx", "--model", "someone/patchnet"]
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(picture)
    done = bare.run("-c", export_and_use, *export, *options, tmp_path / "out", picture, **here)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "out", source, views=(1, 9))
    expected = pipeline("image-classification", model=str(source), device="cpu")(str(picture))
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(expected[0]["score"], abs=1e-4)


@pytest.fixture(scope="module")
def registered():
    register_with_optimum()


def export(folder, out, **options):
    from optimum.exporters.onnx import main_export

    main_export(str(folder), out, **options)
    return out


def test_single_patches_are_a_variant(registered, folders, tmp_path):
    folder = folders["resnet18"]
    out = export(folder, tmp_path / "out", _variant="single-patch")
    assert interface(out)[0] == [("pixel_values", ["batch_size", 3, 32, 32])]
    assert_same(out, folder, views=(None,))
    views = np.random.default_rng(0).integers(0, 256, (2, 9, 32, 32, 3), dtype=np.uint8)
    expected, given = (load_scorer(str(model), device="cpu").score(views) for model in (folder, out))
    np.testing.assert_allclose(given.log_odds, expected.log_odds, atol=1e-3)


def test_a_static_graph_is_for_as_many_patches_as_the_image_processor_gives(registered, folders, tmp_path):
    folder = folders["resnet18"]
    out = export(folder, tmp_path / "out", no_dynamic_axes=True, batch_size=1)
    assert interface(out) == ([("pixel_values", [1, 9, 3, 32, 32])], [("logits", [1, 2])])
    assert_same(out, folder, views=(9,), images=(1,))


def test_a_graph_traced_with_one_patch_takes_nine(registered, folders, tmp_path):
    folder = shutil.copytree(folders["resnet18"], tmp_path / "model")
    PatchNetImageProcessor(mode="resize", patch_size=32, resize_size=40).save_pretrained(folder)
    assert_same(export(folder, tmp_path / "out"), folder, views=(1, 9))


def test_models_are_exported_when_they_are_loaded(registered, folders):
    exported = optimum_onnxruntime.ORTModelForImageClassification.from_pretrained(folders["resnet18"], export=True)
    model = PatchNetForImageClassification.from_pretrained(folders["resnet18"])
    pixel_values = patches(7, 9, 32)
    torch.testing.assert_close(
        probabilities(exported, pixel_values), probabilities(model, pixel_values), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("backbone", ["cdcn", "cdcnpp", "dc_cdn"])
def test_own_backbones_are_exported_with_their_differences_in_the_kernels(registered, as_trained, tmp_path, backbone):
    torch.manual_seed(0)
    config = PatchNetConfig(backbone=backbone, image_size=32, calibration={"scale": 0.2, "bias": 0.0})
    as_trained(PatchNetForImageClassification(config), 32).save_pretrained(tmp_path / "model")
    PatchNetImageProcessor(patch_size=32).save_pretrained(tmp_path / "model")
    out = export(tmp_path / "model", tmp_path / "out")
    assert_same(out, tmp_path / "model", views=(1, 4), images=(1, 3))
    nodes = collections.Counter(node.op_type for node in onnx.load(out / "model.onnx").graph.node)
    assert nodes["Conv"] == {"cdcn": 10, "cdcnpp": 11 + 3, "dc_cdn": 2 * 10}[backbone]


def test_exporting_a_model_leaves_it_as_it_was(registered, folders, tmp_path):
    model = PatchNetForImageClassification.from_pretrained(folders["fastvit_t8"])
    modules, before = str(model), {name: value.clone() for name, value in model.state_dict().items()}
    answer = probabilities(model, patches(1, 9, 64))
    convert.onnx_export_from_model(model, tmp_path / "out", task="image-classification")
    after = model.state_dict()
    assert str(model) == modules
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(probabilities(model, patches(1, 9, 64)), answer)


def test_optimums_validation_finds_a_merge_that_is_wrong(registered, folders, tmp_path, monkeypatch):
    """It compares the graph with the model as it was trained, not with what was exported."""
    model = PatchNetForImageClassification.from_pretrained(folders["fastvit_t8"])
    wrong = model.reparameterized()
    with torch.no_grad():
        next(wrong.parameters()).mul_(1.5)
    monkeypatch.setattr(model, "reparameterized", lambda: wrong)
    constructor = convert.TasksManager.get_exporter_config_constructor(
        "onnx", model, "image-classification", library_name="transformers"
    )
    config, path = constructor(model.config), tmp_path / "model.onnx"
    _, outputs = convert.export_pytorch(model, config, config.DEFAULT_ONNX_OPSET, path)
    with pytest.raises(convert.AtolError):
        convert.validate_model_outputs(config, model, path, outputs, use_subprocess=False)


def test_other_models_are_inferred_as_before(registered, tmp_path):
    manager = convert.TasksManager
    with pytest.raises(ValueError, match="library name could not be automatically inferred"):
        manager.infer_library_from_model(torch.nn.Linear(1, 1))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    for folder in (tmp_path, tmp_path / "empty"):
        os.makedirs(folder, exist_ok=True)
        with pytest.raises(RuntimeError, match="Cannot infer the task from a local directory"):
            manager.infer_task_from_model(str(folder), library_name="transformers")
