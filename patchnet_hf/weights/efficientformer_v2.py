"""EfficientFormerV2's weights under its authors' names (Li et al., "Rethinking Vision Transformers for MobileNet Size
and Speed", ICCV 2023, arXiv 2212.08059; github.com/snap-research/EfficientFormer) under timm's."""

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

AUTHORS = "patch_embed.0.weight"
# The flat list `network` has stages at its even places, and what leads to the next stage between them.
_STAGE = re.compile(r"network\.(\d+)\.(.+)")
# Sequences of a convolution and its norm, which timm calls so.
_PAIRS = r"(stride_conv|k|v|v_local|q|q\.proj)"
_RENAMED = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^patch_embed\.0\.", "stem.conv1.conv."),
        (r"^patch_embed\.1\.", "stem.conv1.bn."),
        (r"^patch_embed\.3\.", "stem.conv2.conv."),
        (r"^patch_embed\.4\.", "stem.conv2.bn."),
        (r"^dist_head\.", "head_dist."),
        (r"\.mlp\.(fc1|mid|fc2)\.", r".mlp.\1.conv."),
        (r"\.mlp\.norm([12])\.", r".mlp.fc\1.bn."),
        (r"\.mlp\.mid_norm\.", ".mlp.mid.bn."),
        (r"\.layer_scale_([12])$", r".ls\1.gamma"),
        (r"\.q\.local\.0\.", ".q.local."),
        (rf"\.(token_mixer|attn)\.{_PAIRS}\.0\.", r".\1.\2.conv."),
        (rf"\.(token_mixer|attn)\.{_PAIRS}\.1\.", r".\1.\2.bn."),
        # Before the projection they count the activation, which has no weights.
        (r"\.(token_mixer|attn)\.proj\.1\.", r".\1.proj.conv."),
        (r"\.(token_mixer|attn)\.proj\.2\.", r".\1.proj.bn."),
    )
]
_DOWNSAMPLE = {"proj": "conv.conv", "norm": "conv.bn", "conv": "conv.conv", "bn": "conv.bn"}


def is_one(backbone: nn.Module) -> bool:
    """Whether a model is timm's EfficientFormerV2."""
    return type(backbone).__module__ == "timm.models.efficientformer_v2"


def timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Weights of EfficientFormerV2 as timm's `efficientformerv2_*` have them; others, and others' names, as they are.

    Scales of layers become vectors. Indices of attention biases, which both compute, are left out; their order is the
    same in both: the distance in rows times the width, plus the distance in columns.
    """
    if AUTHORS not in weights:
        return dict(weights)
    return {
        timm_name(name): value.flatten() if "layer_scale" in name else value
        for name, value in weights.items()
        if not name.endswith("attention_bias_idxs")
    }


def timm_name(name: str) -> str:
    """
    timm's name for one of the authors'.

    >>> timm_name("network.4.5.token_mixer.proj.1.weight")
    'stages.2.blocks.5.token_mixer.proj.conv.weight'
    >>> timm_name("network.5.attn.q.proj.1.running_mean"), timm_name("network.1.norm.bias")
    ('stages.3.downsample.attn.q.proj.bn.running_mean', 'stages.1.downsample.conv.bn.bias')
    """
    if found := _STAGE.fullmatch(name):
        place, rest = int(found[1]), found[2]
        if place % 2:
            first, _, weight = rest.partition(".")
            name = f"stages.{place // 2 + 1}.downsample.{_DOWNSAMPLE.get(first, first)}.{weight}"
        else:
            name = f"stages.{place // 2}.blocks.{rest}"
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name


def resized(backbone: nn.Module, name: str, given: Tensor) -> Tensor:
    """
    Biases of attention `(heads, R * C)`, a number for each distance in rows and columns, for the rows and columns that
    a backbone has at its own size of patches; all else as it is.

    What was learned for a distance stays; places that are farther apart than any were before count as the farthest.
    """
    if not name.endswith(".attention_biases") or given.ndim != 2:
        return given
    side = math.isqrt(given.shape[1])
    if side**2 != given.shape[1]:
        return given
    rows, columns = backbone.get_submodule(name.rpartition(".")[0]).resolution
    table = given.unflatten(1, (side, side))[:, :rows, :columns]
    lacking = (0, columns - table.shape[2], 0, rows - table.shape[1])
    return F.pad(table.unsqueeze(0), lacking, mode="replicate")[0].flatten(1)
