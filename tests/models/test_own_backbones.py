"""CDCN, CDCN++ and DC-CDN: what timm asks of a model, and the parts of them by hand."""

import json
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from scipy.special import expit

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
from patchnet_hf.models.cdcn_patchnet import SpatialAttention
from patchnet_hf.models.central_difference_patchnet import CentralDifferenceConv2d, CentralDifferenceUnit
from patchnet_hf.models.dc_cdn_patchnet import CrossFeatureInteraction
from patchnet_hf.models.multi_scale_patchnet import join_levels

FEATURES = {"cdcn": 384, "cdcnpp": 384, "dc_cdn": 768}
BACKBONES = tuple(FEATURES)
# Output channels of the convolutions of a stream, by hand from the papers.
CDCN = [64, 128, 196, 128, 128, 196, 128, 128, 196, 128]
WIDTHS = {"cdcn": CDCN, "cdcnpp": [64, 128, 204, 128, 153, 128, 179, 128, 128, 153, 128], "dc_cdn": CDCN}


@pytest.fixture
def patches():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def build(backbone: str, **options):
    torch.manual_seed(0)
    return timm.create_model(backbone, **{"num_classes": 0, **options}).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_layers_are_those_of_the_paper(backbone):
    model = build(backbone)
    convolutions = [module for module in model.modules() if isinstance(module, CentralDifferenceConv2d)]
    by_taps = {}
    for convolution in convolutions:
        by_taps.setdefault(convolution.taps, []).append(convolution)
    streams = {"cdcn": ["square"], "cdcnpp": ["square"], "dc_cdn": ["horizontal_vertical", "diagonal"]}[backbone]
    assert list(by_taps) == streams
    for stream in by_taps.values():
        assert [convolution.out_channels for convolution in stream] == WIDTHS[backbone]
        assert [convolution.in_channels for convolution in stream] == [3, *WIDTHS[backbone][:-1]]
    assert {convolution.theta for convolution in convolutions} == {0.8 if backbone == "dc_cdn" else 0.7}
    # Weights, scales and offsets of batch norms, and what attention or interaction has.
    taps = 5 if backbone == "dc_cdn" else 9
    expected = sum(
        taps * before * after + 2 * after
        for before, after in zip([3, *WIDTHS[backbone][:-1]], WIDTHS[backbone], strict=True)
    )
    further = {"cdcn": 0, "cdcnpp": 2 * (7 * 7 + 5 * 5 + 3 * 3), "dc_cdn": 3 * 2}[backbone]
    assert sum(parameter.numel() for parameter in model.parameters()) == len(streams) * expected + further


@pytest.mark.parametrize("side", [(32, 32), (37, 51), (9, 8)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_keeps_the_interface_of_timm(backbone, side):
    model, features = build(backbone, num_classes=5), FEATURES[backbone]
    inputs = torch.randn(2, 3, *side)
    with torch.no_grad():
        maps = model.forward_features(inputs)
        assert maps.shape[:2] == (2, features) and model.num_features == features
        pooled = model.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(pooled, maps.mean(dim=(2, 3)), atol=1e-6, rtol=1e-5)
        assert torch.equal(model(inputs), model.get_classifier()(pooled))
        model.reset_classifier(3)
        assert model(inputs).shape == (2, 3) == (2, model.get_classifier().out_features)
        model.reset_classifier(0)
        assert torch.equal(model(inputs), pooled)
        model.reset_classifier(0, "")
        assert torch.equal(model(inputs), maps)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_levels_are_features_by_themselves(backbone, patches):
    model = build(backbone)
    extractor = build(backbone, features_only=True)
    extractor.model.load_state_dict(model.state_dict())
    channels = FEATURES[backbone] // 3
    assert extractor.feature_info.channels() == [channels] * 3 and extractor.feature_info.reduction() == [2, 4, 8]
    with torch.no_grad():
        levels = extractor(patches)
        assert [tuple(level.shape) for level in levels] == [(2, channels, side, side) for side in (16, 8, 4)]
        assert torch.equal(join_levels(levels), model.forward_features(patches))
        features, (first, last) = model.forward_intermediates(patches, indices=[0, -1])
        assert torch.equal(first, levels[0]) and torch.equal(last, levels[2])
        assert torch.equal(features, model.forward_features(patches))
    some = build(backbone, features_only=True, out_indices=(0, 1))
    some.model.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(some(patches), levels[:2], strict=True))
    assert len(list(some.parameters())) < len(list(extractor.parameters())), "what isn't needed is dropped"
    with pytest.raises(ValueError, match="there are 3"):
        model.forward_intermediates(patches, indices=[3])


def test_levels_are_interpolated_to_the_size_of_the_last():
    random = np.random.default_rng(0)
    fine, coarse = random.normal(size=(1, 1, 8, 8)), random.normal(size=(1, 1, 2, 2))
    joined = join_levels([torch.from_numpy(fine), torch.from_numpy(coarse)]).numpy()
    # A place of the small map has its middle between pixels 1 and 2, or 5 and 6, of the large one.
    middles = np.array([[fine[0, 0, i : i + 2, j : j + 2].mean() for j in (1, 5)] for i in (1, 5)])
    np.testing.assert_allclose(joined[0], [middles, coarse[0, 0]], atol=1e-12)


@pytest.mark.parametrize("kernel_size", [7, 5, 3])
def test_attention_weighs_places_by_mean_and_maximum_over_channels(kernel_size):
    torch.manual_seed(0)
    attention = SpatialAttention(kernel_size).double()
    features = torch.randn(1, 4, 6, 5, dtype=torch.float64)
    pixels, weights = features[0].numpy(), attention.convolution.weight.detach()[0].numpy()
    half = kernel_size // 2
    summary = np.pad(np.stack([pixels.mean(0), pixels.max(0)]), ((0, 0), (half, half), (half, half)))
    expected = np.empty_like(pixels)
    for row, column in np.ndindex(6, 5):
        window = summary[:, row : row + kernel_size, column : column + kernel_size]
        expected[:, row, column] = pixels[:, row, column] * expit((window * weights).sum())
    np.testing.assert_allclose(attention(features)[0].detach(), expected, atol=1e-12)


def test_streams_take_from_each_other_by_their_gates():
    interaction = CrossFeatureInteraction().double()
    first, second = torch.randn(2, 1, 4, 3, 3, dtype=torch.float64)
    for mixed in interaction(first, second):
        torch.testing.assert_close(mixed, (first + second) / 2)
    with torch.no_grad():
        interaction.gates.copy_(torch.tensor([0.5, -1.25]))
    own = 1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(1.25))
    u, v = first.numpy(), second.numpy()
    mixed = [part.detach().numpy() for part in interaction(first, second)]
    np.testing.assert_allclose(mixed[0], own[0] * u + (1 - own[0]) * v, atol=1e-12)
    np.testing.assert_allclose(mixed[1], own[1] * v + (1 - own[1]) * u, atol=1e-12)


def test_the_next_level_of_a_stream_goes_on_from_its_own_features(patches):
    model = build("dc_cdn")
    with torch.no_grad():
        before = model.forward_intermediates(patches, intermediates_only=True)
        model.interactions[0].gates.fill_(3.0)
        after = model.forward_intermediates(patches, intermediates_only=True)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1]) and torch.equal(before[2], after[2])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_other_channels_dropout_and_theta_are_honoured(backbone):
    model = build(backbone, in_chans=1, drop_rate=0.5, num_classes=4, theta=0.3)
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 4)
    assert {m.theta for m in model.modules() if isinstance(m, CentralDifferenceConv2d)} == {0.3}
    pooled = torch.ones(64, FEATURES[backbone], 1, 1)
    dropped = model.train().forward_head(pooled, pre_logits=True)
    assert dropped.eq(0).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_weights_of_other_channels_are_adapted_as_timm_does_for_any_model(backbone, tmp_path):
    """`first_conv` and `classifier` name what there is."""
    source = build(backbone, num_classes=2)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth")}
    model = build(backbone, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=0)
    names = ["stem"] if backbone != "dc_cdn" else ["first_stem", "second_stem"]
    for name in names:
        adapted, kept = (net.get_submodule(name).convolution.weight for net in (model, source))
        torch.testing.assert_close(adapted, kept.sum(dim=1, keepdim=True))


def trained_step(model, patches) -> tuple:
    output = model(patches.unsqueeze(1).repeat(1, 2, 1, 1, 1), labels=torch.tensor([0, 1]))
    output.loss.backward()
    return output.loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_checkpointing_gives_the_same_gradients(backbone, patches):
    torch.manual_seed(0)
    model = PatchNetForImageClassification(PatchNetConfig(backbone=backbone)).train()
    again = deepcopy(model)
    again.gradient_checkpointing_enable()
    (loss, gradients), (loss_again, gradients_again) = (trained_step(net, patches) for net in (model, again))
    assert loss == pytest.approx(loss_again, abs=1e-6)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0 or name.endswith("gates"), name
        torch.testing.assert_close(gradients_again[name], gradient, atol=1e-5, rtol=1e-4)


def test_gradient_checkpointing_computes_levels_anew(patches):
    model = build("cdcn").train()
    calls = []
    model.levels[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for enable, expected in ((False, 1), (True, 2)):
        calls.clear()
        model.set_grad_checkpointing(enable)
        model(patches).sum().backward()
        assert len(calls) == expected


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single(as_trained, backbone, dtype, patches):
    torch.manual_seed(0)
    model = as_trained(PatchNetForImageClassification(PatchNetConfig(backbone=backbone)), 16)
    # Small, because CPUs are slow in float16.
    patches = patches[..., :16, :16]
    with torch.no_grad():
        expected = model(patches).embeddings
        with torch.autocast("cpu", dtype=dtype):
            given = model(patches).embeddings
    assert given.dtype == torch.float32
    torch.testing.assert_close(given, expected, atol=0.01 if dtype == torch.bfloat16 else 0.002, rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_are_grouped_by_depth(backbone):
    model = build(backbone, num_classes=2)
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=True))
    names = dict(model.named_parameters())
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert all("stem" in name for name in groups[0])
    assert all("stem" not in name and "levels.1" in name for name in groups[2])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_merging_leaves_plain_convolutions_and_the_same_scores(as_trained, backbone, patches):
    torch.manual_seed(0)
    model = as_trained(PatchNetForImageClassification(PatchNetConfig(backbone=backbone)), 32)
    merged = model.reparameterized()
    left = (CentralDifferenceConv2d, torch.nn.BatchNorm2d)
    assert not [module for module in merged.modules() if isinstance(module, left)]
    assert [module for module in model.modules() if isinstance(module, CentralDifferenceUnit)]
    with torch.no_grad():
        expected = model(patches)
        torch.testing.assert_close(merged(patches).embeddings, expected.embeddings, atol=1e-5, rtol=0)
    assert expected.embeddings.std() > 1e-3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_exported_by_torch_with_any_number_of_patches(backbone, patches):
    model = build(backbone)
    program = torch.export.export(model, (patches,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    others = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(others), model(others), atol=1e-6, rtol=1e-5)


LOADING = """
import json, sys
import torch
{package}
from transformers.dynamic_module_utils import get_class_from_dynamic_module
patches = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
for folder in sys.argv[1:]:
    # By name, because trust_remote_code of transformers 5 takes the class of a package that has registered the type.
    model_class = get_class_from_dynamic_module("modeling_patchnet.PatchNetForImageClassification", folder)
    model = model_class.from_pretrained(folder).eval()
    assert type(model).__module__.startswith("transformers_modules.")
    with torch.no_grad():
        print(json.dumps(model(patches).logits.tolist()))
"""


@pytest.mark.parametrize("package", ["", "import patchnet_hf.models.backbone_patchnet"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_checkpoint_is_built_by_the_code_that_came_with_it_whatever_was_loaded_before(tmp_path, turned, package):
    """Theta isn't among the weights: nothing else would notice that it is that of another copy."""
    torch.manual_seed(0)
    config = PatchNetConfig(backbone="cdcn", image_size=16)
    model = PatchNetForImageClassification(config).eval()
    for name in ("plain", "altered"):
        model.save_pretrained(tmp_path / name)
    code = tmp_path / "altered" / "cdcn_patchnet.py"
    text = code.read_text()
    assert text.count("THETA = 0.7\n") == 1
    code.write_text(text.replace("THETA = 0.7\n", "THETA = 0.2\n"))
    patches = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = []
    for theta in (0.7, 0.2):
        for module in model.modules():
            if isinstance(module, CentralDifferenceConv2d):
                module.theta = theta
        with torch.no_grad():
            expected.append(model(patches).logits)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    folders = [tmp_path / "plain", tmp_path / "altered"]
    if turned:
        folders.reverse()
        expected.reverse()
    command = [sys.executable, "-c", LOADING.format(package=package), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, logits in zip(done.stdout.splitlines(), expected, strict=True):
        torch.testing.assert_close(torch.tensor(json.loads(line)), logits, atol=1e-5, rtol=0)
