"""Backbones by their names: own ones travel with a checkpoint, and none ends the process."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.models.backbone_patchnet import (
    SubsampledPointwiseConv2d,
    avoid_strided_pointwise,
    create_backbone,
)
from patchnet_hf.models.registration_patchnet import register_once

OWN = ("cdcn", "cdcnpp", "dc_cdn")
LOAD = """
import json, sys, warnings
warnings.filterwarnings("error", message="Overwriting")
order, folder = sys.argv[1:]
if order == "package first":
    import patchnet_hf
if order == "alone":
    try:
        import patchnet_hf
        raise SystemExit("the package can be imported")
    except ImportError:
        pass
import timm, torch
from transformers import AutoModelForImageClassification
if order == "package first":
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    load = get_class_from_dynamic_module("modeling_patchnet.PatchNetForImageClassification", folder).from_pretrained
    model = load(folder)
else:
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
if order == "code first":
    import patchnet_hf
with torch.no_grad():
    logits = model.eval()(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)).logits
print(json.dumps([type(model).__module__, logits.tolist(), timm.list_models("cdcn*") + timm.list_models("dc_cdn")]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory, as_trained):
    """A folder with a saved model of a backbone."""
    folders = {}

    def saved(backbone: str):
        if backbone not in folders:
            torch.manual_seed(0)
            model = as_trained(PatchNetForImageClassification(PatchNetConfig(backbone=backbone, image_size=32)), 32)
            folders[backbone] = tmp_path_factory.mktemp("models") / backbone
            model.save_pretrained(folders[backbone])
            PatchNetImageProcessor(patch_size=32).save_pretrained(folders[backbone])
        return folders[backbone]

    return saved


def loaded_elsewhere(python, order, folder, tmp_path, **variables):
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": "1", **variables}
    command = [str(python), "-c", LOAD, order, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Overwriting" not in done.stderr
    module, logits, names = json.loads(done.stdout.splitlines()[-1])
    assert module.startswith("transformers_modules.") and names == ["cdcn", "cdcnpp", "dc_cdn"]
    return torch.tensor(logits)


def logits_here(folder) -> torch.Tensor:
    model = PatchNetForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)).logits


def test_the_file_of_the_model_imports_all_that_travels(project):
    """From a folder transformers takes along what it imports itself, but not what that imports in turn."""
    models = project / "patchnet_hf" / "models"
    imported = {f"{name}.py" for name in get_relative_imports(models / "modeling_patchnet.py")}
    with_theirs = {Path(file).name for file in get_relative_import_files(models / "modeling_patchnet.py")}
    assert imported == with_theirs and "multi_scale_patchnet.py" in imported


@pytest.mark.slow
@pytest.mark.parametrize("backbone", OWN)
def test_own_backbones_travel_with_a_checkpoint(saved, new_environment, tmp_path, backbone):
    folder = saved(backbone)
    files = {path.name for path in folder.glob("*.py")}
    assert {"backbone_patchnet.py", "cdcn_patchnet.py", "dc_cdn_patchnet.py", "multi_scale_patchnet.py"} < files
    logits = loaded_elsewhere(new_environment().python, "alone", folder, tmp_path, PYTHONPATH="")
    torch.testing.assert_close(logits, logits_here(folder), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["package first", "code first"])
def test_the_code_of_a_checkpoint_and_the_package_live_beside_each_other(saved, project, tmp_path, order):
    folder = saved("cdcn")
    logits = loaded_elsewhere(sys.executable, order, folder, tmp_path, PYTHONPATH=str(project))
    torch.testing.assert_close(logits, logits_here(folder), atol=1e-5, rtol=0)


def test_a_strangers_model_of_the_same_name_is_replaced_with_a_warning():
    def tiny_stranger(pretrained=False, **options):
        return nn.Linear(1, 1)

    def own(pretrained=False, **options):
        return nn.Linear(1, 2)

    own.__name__, own.__module__ = "tiny_stranger", "patchnet_hf.models.cdcn_patchnet"
    assert register_once(tiny_stranger) is tiny_stranger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert register_once(tiny_stranger) is tiny_stranger
        with pytest.warns(UserWarning, match="Overwriting tiny_stranger"):
            register_once(own)
        assert timm.models.model_entrypoint("tiny_stranger") is own
    finally:
        timm.models._registry._model_entrypoints.pop("tiny_stranger", None)


@pytest.mark.parametrize("backbone", OWN)
def test_own_backbones_are_found_by_name_like_any_other(backbone):
    settings = timm.models.get_pretrained_cfg(backbone)
    assert (
        timm.is_model(backbone)
        and backbone in timm.list_models()
        and not timm.list_models(pretrained=True, filter=backbone)
    )
    assert settings.architecture == backbone and settings.input_size == (3, 256, 256)
    model = create_backbone(PatchNetConfig(backbone=backbone, backbone_kwargs={"theta": 0.5}))
    for name in [settings.first_conv] if isinstance(settings.first_conv, str) else settings.first_conv:
        assert model.get_submodule(name).in_channels == 3 and model.get_submodule(name).theta == 0.5
    with pytest.raises(ValueError, match=r"did you mean .*cdcn"):
        create_backbone(PatchNetConfig(backbone="cdnc"))


@pytest.mark.parametrize(("stride", "bias"), [(2, True), (3, False), ((1, 2), True)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_picking_places_first_gives_what_a_strided_convolution_gives(stride, bias, layout):
    torch.manual_seed(0)
    # In planes and float64, where nothing goes wrong.
    strided = nn.Conv2d(5, 7, 1, stride=stride, bias=bias).double()
    inputs = torch.randn(2, 5, 9, 8, dtype=torch.float64)
    expected_inputs = inputs.clone().requires_grad_(True)
    expected = strided(expected_inputs)
    expected.square().sum().backward()
    model = avoid_strided_pointwise(nn.Sequential(strided, nn.ReLU()))
    replaced = model[0]
    assert type(replaced) is SubsampledPointwiseConv2d and replaced.weight is strided.weight
    gradients = {name: parameter.grad.clone() for name, parameter in strided.named_parameters()}
    replaced.zero_grad()
    given_inputs = inputs.clone(memory_format=layout).requires_grad_(True)
    given = replaced(given_inputs)
    given.square().sum().backward()
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(given_inputs.grad, expected_inputs.grad)
    assert {name: parameter.shape for name, parameter in replaced.named_parameters()} == {
        name: gradient.shape for name, gradient in gradients.items()
    }
    for name, gradient in gradients.items():
        torch.testing.assert_close(replaced.get_parameter(name).grad, gradient)


def test_only_narrow_strided_convolutions_of_one_place_are_replaced():
    others = [
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, stride=1),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Conv2d(8, 8, 1, stride=2, padding=1),
        nn.Conv2d(8, 8, 1, stride=2, groups=8),
    ]
    model = avoid_strided_pointwise(nn.Sequential(*others))
    assert list(model) == others


def test_a_backbone_keeps_its_names_and_its_random_weights():
    torch.manual_seed(0)
    expected = timm.create_model("fastvit_t8", num_classes=0).state_dict()
    torch.manual_seed(0)
    backbone = create_backbone(PatchNetConfig(backbone="fastvit_t8"))
    assert any(isinstance(module, SubsampledPointwiseConv2d) for module in backbone.modules())
    given = backbone.state_dict()
    assert given.keys() == expected.keys() and all(torch.equal(given[name], expected[name]) for name in expected)


NARROW = """
import torch
from torch import nn
from patchnet_hf.models.backbone_patchnet import avoid_strided_pointwise
for channels in (3, 4, 8, 12, 15):
    torch.manual_seed(0)
    model = avoid_strided_pointwise(nn.Sequential(nn.Conv2d(channels, 16, 1, stride=2)))
    model.to(memory_format=torch.channels_last)
    pixels = torch.randn(32, channels, 64, 64).to(memory_format=torch.channels_last)
    model(pixels).square().sum().backward()
    (gradient, _), places = [parameter.grad for parameter in model.parameters()], pixels[..., ::2, ::2].double()
    expected = 2 * torch.einsum("bohw,bihw->oi", model(pixels).double(), places)
    torch.testing.assert_close(gradient[..., 0, 0].double(), expected, atol=0, rtol=1e-3)
"""


@pytest.mark.slow
def test_narrow_strided_convolutions_train_in_channels_last_memory(project):
    """In a process of their own, which they ended. FastViT begins with such a convolution, of three channels."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr or f"ended by signal {-done.returncode}"
