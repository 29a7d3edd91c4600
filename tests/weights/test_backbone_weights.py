"""Backbones are filled from files of timm and of the architectures' authors, and it is told what matched."""

import pytest
import timm
import torch

from patchnet_hf.errors import InputError
from patchnet_hf.weights.backbone_weights import load_backbone_weights
from patchnet_hf.weights.state_dict_files import read_state_dict

EFFICIENTFORMERS = [f"efficientformerv2_{size}" for size in ("s0", "s1", "s2", "l")]
# The last has attention and position embeddings, which the others don't.
FASTVITS = ["fastvit_t8", "fastvit_t12", "fastvit_s12", "fastvit_sa12"]


def filled(name: str, seed: int = 0, **options) -> torch.nn.Module:
    """A model of timm whose weights and statistics are all random."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) * 0.2 + (0.5 if key.endswith("running_var") else -0.1))
    return model


def headless(name: str, seed: int = 1, **options) -> torch.nn.Module:
    return filled(name, seed, num_classes=0, **options)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether all weights of the second are those of the first."""
    held = first.state_dict()
    return all(torch.equal(value, held[name]) for name, value in second.state_dict().items())


@pytest.mark.parametrize("name", [*EFFICIENTFORMERS, *FASTVITS])
def test_every_weight_of_the_authors_files_finds_its_place(authors_names, name):
    source, backbone = filled(name), headless(name)
    as_theirs = authors_names.of_fastvit if name.startswith("fastvit") else authors_names.of_efficientformer_v2
    weights = as_theirs(source)
    assert len(weights.keys() & source.state_dict().keys()) < len(weights) / 10, "the names are others"
    match = load_backbone_weights(backbone, weights, "file.pth")
    assert same(source, backbone)
    assert match.matched == match.wanted and not match.left and not match.over


@pytest.mark.parametrize("halves", [False, True])
def test_the_authors_number_distances_as_timm_does(authors_names, halves):
    model = filled("efficientformerv2_s0")
    name = "stages.3.downsample.attn" if halves else "stages.3.blocks.3.token_mixer"
    theirs = authors_names.of_efficientformer_v2(model)
    key = "network.5.attn" if halves else "network.6.3.token_mixer"
    assert torch.equal(theirs[f"{key}.attention_bias_idxs"], model.get_submodule(name).attention_bias_idxs)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "efficientformerv2_s0", "fastvit_t8", "test_vit"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "_orig_mod.patchnet.backbone."])
def test_names_of_timm_match_whatever_wraps_them(name, prefix):
    source, backbone = filled(name), headless(name)
    weights = {prefix + key: value for key, value in source.state_dict().items()}
    match = load_backbone_weights(backbone, weights, "file.pth")
    assert same(source, backbone)
    assert str(match) == f"{match.wanted} of {match.wanted} weights matched", "a classifier doesn't count"


def test_resnet_counts_its_weights_and_statistics_without_the_counters():
    match = load_backbone_weights(headless("resnet18"), filled("resnet18").state_dict(), "file.pth")
    # 20 convolutions, each with a norm of two weights and two statistics.
    assert match.wanted == 20 * 5


def test_files_without_counters_are_whole():
    weights = {key: value for key, value in filled("resnet18").state_dict().items() if "num_batches" not in key}
    match = load_backbone_weights(headless("resnet18"), weights, "file.pth")
    assert match.matched == match.wanted


def test_half_precision_is_taken_as_the_backbone_has_it():
    source, backbone = filled("resnet18"), headless("resnet18")
    load_backbone_weights(backbone, {key: value.half() for key, value in source.state_dict().items()}, "file.pth")
    assert torch.equal(backbone.conv1.weight, source.conv1.weight.half().float())


def test_what_does_not_match_is_named_and_stays():
    source, backbone = filled("resnet18"), headless("resnet18")
    weights = dict(source.state_dict())
    before = backbone.conv1.weight.clone()
    weights["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    del weights["bn1.bias"]
    weights["projector.weight"] = torch.zeros(3)
    match = load_backbone_weights(backbone, weights, "file.pth")
    assert str(match) == (
        "98 of 100 weights matched; not matched: conv1.weight ((64, 1, 7, 7) there, (64, 3, 7, 7) here), bn1.bias; "
        "only in the file: projector.weight"
    )
    assert torch.equal(backbone.conv1.weight, before)
    assert torch.equal(backbone.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_a_file_of_another_architecture_is_refused_and_changes_nothing():
    backbone = headless("resnet18")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_backbone_weights(backbone, filled("test_convnext").state_dict(), "file.pth")
    message = str(error.value)
    assert message.startswith(
        "file.pth: only 0 of 100 weights of the backbone are there; expected such as conv1.weight"
    )
    assert "given such as stem.0.weight" in message and "\n" not in message
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["fastvit_t8", "convnext_tiny", "swin_tiny_patch4_window7_224", "test_vit"])
def test_where_timms_own_conversion_stumbles_it_is_said_what_is_missing(name):
    with pytest.raises(InputError, match=r"^file\.pth: only \d+ of \d+ .*given such as conv1\.weight") as error:
        load_backbone_weights(headless(name), filled("resnet18").state_dict(), "file.pth")
    assert "\n" not in str(error.value)


def test_values_that_are_no_numbers_are_refused():
    weights = dict(filled("test_resnet").state_dict())
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], torch.nan)
    with pytest.raises(InputError, match=f"{name} holds values that aren't numbers"):
        load_backbone_weights(headless("test_resnet"), weights, "file.pth")


def test_values_that_the_backbone_cannot_hold_are_refused():
    weights = dict(filled("test_resnet").state_dict())
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], 1e300, dtype=torch.float64)
    with pytest.raises(InputError, match=f"{name} holds values that aren't numbers"):
        load_backbone_weights(headless("test_resnet"), weights, "file.pth")


UNUSUAL = {
    "sparse (sparse_coo)": lambda tensor: tensor.to_sparse(),
    "quantised (qint8)": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "without its values (on the device meta)": lambda tensor: tensor.to("meta"),
    "of complex64": lambda tensor: tensor.to(torch.complex64),
    "of float8_e4m3fn": lambda tensor: tensor.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("said", UNUSUAL)
@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "efficientformerv2_s0"])
def test_tensors_that_are_no_arrays_of_real_numbers_are_refused(tmp_path, said, backbone):
    weights = dict(filled(backbone).state_dict())
    name = next(name for name, value in weights.items() if value.ndim > 1)
    weights[name] = UNUSUAL[said](weights[name])
    torch.save(weights, tmp_path / "file.pth")
    model = headless(backbone)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_backbone_weights(model, read_state_dict(tmp_path / "file.pth"), "file.pth")
    assert str(error.value) == f"file.pth: {name} is {said}; expected a dense tensor of real numbers, such as float32"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("side", [160, 224, 256])
def test_biases_of_attention_keep_their_distances_at_another_size(authors_names, side):
    source, backbone = filled("efficientformerv2_s0"), headless("efficientformerv2_s0", img_size=side)
    match = load_backbone_weights(backbone, authors_names.of_efficientformer_v2(source), "file.pth")
    assert match.matched == match.wanted
    compared = 0
    for name, module in backbone.named_modules():
        if not hasattr(module, "attention_biases"):
            continue
        there = source.get_submodule(name)
        (rows, columns), (known_rows, known_columns) = module.resolution, there.resolution
        for row in range(rows):
            for column in range(columns):
                nearest = min(row, known_rows - 1) * known_columns + min(column, known_columns - 1)
                here = module.attention_biases[:, row * columns + column]
                assert torch.equal(here, there.attention_biases[:, nearest])
                compared += 1
    assert compared > 100
