"""The mapping of names is complete for every parameter of timm's models, and is what the published modules say."""

import pytest
import timm
import torch
import torchvision
from timm.models.fastvit import checkpoint_filter_fn
from torchvision.models.swin_transformer import SwinTransformer

from patchnet_hf.legacy.backbones import BACKBONES, map_weights

# As the published modules spell them, one of each kind; of the trained networks but for the last ones.
EFFICIENTFORMER = {
    "patch_embed.3.weight": "stem.conv2.conv.weight",
    "network.0.0.layer_scale_2": "stages.0.blocks.0.ls2.gamma",
    "network.1.proj.bias": "stages.1.downsample.conv.conv.bias",
    "network.3.norm.running_mean": "stages.2.downsample.conv.bn.running_mean",
    "network.4.5.token_mixer.stride_conv.0.weight": "stages.2.blocks.5.token_mixer.stride_conv.conv.weight",
    "network.4.5.token_mixer.talking_head2.bias": "stages.2.blocks.5.token_mixer.talking_head2.bias",
    "network.4.5.token_mixer.attention_biases": "stages.2.blocks.5.token_mixer.attention_biases",
    "network.4.5.layer_scale_1": "stages.2.blocks.5.ls1.gamma",
    "network.4.5.mlp.mid_norm.weight": "stages.2.blocks.5.mlp.mid.bn.weight",
    "network.5.conv.weight": "stages.3.downsample.conv.conv.weight",
    "network.5.bn.running_var": "stages.3.downsample.conv.bn.running_var",
    "network.5.attn.q.local.0.weight": "stages.3.downsample.attn.q.local.weight",
    "network.5.attn.q.proj.1.weight": "stages.3.downsample.attn.q.proj.bn.weight",
    "network.5.attn.proj.1.weight": "stages.3.downsample.attn.proj.conv.weight",
    "network.6.3.token_mixer.v_local.1.bias": "stages.3.blocks.3.token_mixer.v_local.bn.bias",
    "network.6.3.token_mixer.proj.2.num_batches_tracked": "stages.3.blocks.3.token_mixer.proj.bn.num_batches_tracked",
    "norm.weight": "norm.weight",
}
FASTVIT = {
    "patch_embed.0.rbr_conv.0.conv.weight": "stem.0.conv_kxk.0.conv.weight",
    "patch_embed.1.rbr_scale.bn.weight": "stem.1.conv_scale.bn.weight",
    "patch_embed.2.rbr_skip.running_mean": "stem.2.identity.running_mean",
    "network.0.0.token_mixer.norm.rbr_skip.weight": "stages.0.blocks.0.token_mixer.norm.identity.weight",
    "network.0.0.token_mixer.layer_scale": "stages.0.blocks.0.token_mixer.layer_scale.gamma",
    "network.0.0.convffn.conv.bn.bias": "stages.0.blocks.0.mlp.conv.bn.bias",
    "network.0.0.convffn.fc1.weight": "stages.0.blocks.0.mlp.fc1.weight",
    "network.3.proj.0.lkb_origin.conv.weight": "stages.2.downsample.proj.0.large_conv.conv.weight",
    "network.3.proj.0.small_conv.bn.weight": "stages.2.downsample.proj.0.small_conv.bn.weight",
    "conv_exp.se.reduce.weight": "final_conv.se.fc1.weight",
    "network.0.0.token_mixer.reparam_conv.weight": "stages.0.blocks.0.token_mixer.reparam_conv.weight",
    "network.5.proj.0.lkb_reparam.bias": "stages.3.downsample.proj.0.reparam_conv.bias",
    "conv_exp.reparam_conv.weight": "final_conv.reparam_conv.weight",
}


@pytest.mark.parametrize(("base", "names"), [("efficientformerv2_s0", EFFICIENTFORMER), ("fastvit_t8", FASTVIT)])
def test_names_are_those_of_the_published_modules(base, names):
    backbone = BACKBONES[base]
    with torch.device("meta"):
        built = [timm.create_model(backbone.timm, num_classes=0)]
        if base.startswith("fastvit"):
            built.append(timm.create_model(backbone.timm, num_classes=0, inference_mode=True))
    known = {name for network in built for name in network.state_dict()}
    for theirs, ours in names.items():
        assert backbone.timm_name(theirs) == ours and ours in known


TRAINED = [(base, False) for base in BACKBONES if base != "swin_base"]
MERGED = [(base, True) for base in BACKBONES if base.startswith("fastvit")]


@pytest.mark.parametrize(("base", "merged"), TRAINED + MERGED)
def test_every_parameter_of_timms_model_is_mapped(reference, base, merged):
    of = reference.BASES[base]
    with torch.device("meta"):
        network = of.network(**({"inference_mode": True} if merged else {}))
    states = network.state_dict()
    theirs = {of.prefix + of.name(name): tensor for name, tensor in states.items()}
    assert len(theirs) == len(states)
    mapped = map_weights(theirs, BACKBONES[base])
    assert not mapped.leftover and mapped.backbone.keys() == states.keys()
    assert all(mapped.backbone[name] is states[name] for name in states)
    assert bool(BACKBONES[base].is_merged(theirs)) is merged


@pytest.mark.parametrize("size", ["t8", "t12", "s12"])
def test_fastvit_is_mapped_as_timm_maps_its_authors_weights(reference, size):
    of = reference.BASES[f"fastvit_{size}"]
    with torch.device("meta"):
        network = of.network()
    theirs = {of.name(name): tensor for name, tensor in network.state_dict().items()}
    filtered = checkpoint_filter_fn(dict(theirs), network)
    assert {name: BACKBONES[f"fastvit_{size}"].timm_name(name) for name in theirs} == {
        name: next(ours for ours, held in filtered.items() if held is tensor) for name, tensor in theirs.items()
    }


@pytest.mark.parametrize(
    "name", ["head.bias", "backbone.head.bias", "backbone.network.9x.proj", "backbone.norm_7.weight"]
)
@pytest.mark.parametrize("base", BACKBONES)
def test_names_of_nothing_are_left_over(base, name):
    assert map_weights({name: torch.ones(1)}, BACKBONES[base]).leftover == [name]


def test_resnet_answers_as_torchvisions(as_trained):
    of_torchvision = as_trained(torchvision.models.resnet18(), 64)
    sequence = torch.nn.Sequential(*list(of_torchvision.children())[:-1]).eval()
    mapped = map_weights(
        {f"nets.{name}": value for name, value in sequence.state_dict().items()}, BACKBONES["resnet18"]
    )
    network = timm.create_model("resnet18", num_classes=0).eval()
    network.load_state_dict(mapped.backbone, strict=True)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(pixels), sequence(pixels).flatten(1))


def swin_names(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """As the original keeps torchvision's Swin: its features and its norm in a sequence."""
    parts = {"features": "nets.0", "norm": "nets.1"}
    states = {tuple(name.split(".", 1)): value for name, value in network.state_dict().items()}
    return {f"{parts[part]}.{rest}": value for (part, rest), value in states.items() if part in parts}


def test_swin_is_complete():
    with torch.device("meta"):
        theirs, ours = torchvision.models.swin_b(), timm.create_model(BACKBONES["swin_base"].timm, num_classes=0)
    mapped = map_weights(swin_names(theirs), BACKBONES["swin_base"])
    assert not mapped.leftover and len(mapped.computed) == 24
    assert {name: value.shape for name, value in mapped.backbone.items()} == {
        name: value.shape for name, value in ours.state_dict().items()
    }


def test_swin_answers_as_torchvisions():
    torch.manual_seed(0)
    theirs = SwinTransformer([4, 4], 16, [2, 2, 2, 2], [2, 2, 4, 4], [7, 7], num_classes=5).eval()
    for name, parameter in theirs.named_parameters():
        if parameter.ndim == 1 or "bias_table" in name:
            torch.nn.init.uniform_(parameter, -0.8, 0.8)
    ours = timm.models.SwinTransformer(embed_dim=16, depths=(2, 2, 2, 2), num_heads=(2, 2, 4, 4), num_classes=0).eval()
    mapped = map_weights(swin_names(theirs), BACKBONES["swin_base"])
    ours.load_state_dict(mapped.backbone, strict=True)
    pixels = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.norm(theirs.features(pixels)).mean(dim=(1, 2))
        torch.testing.assert_close(ours(pixels), expected, atol=1e-4, rtol=1e-4)
