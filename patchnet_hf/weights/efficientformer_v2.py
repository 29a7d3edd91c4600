"""EfficientFormerV2's weights under its authors' names (Li et al., "Rethinking Vision Transformers for MobileNet Size
and Speed", ICCV 2023, arXiv 2212.08059; github.com/snap-research/EfficientFormer) under timm's."""

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

AUTHORS = "patch_embed.0.weight"
# What both compute instead of saving it.
BUFFER = "attention_bias_idxs"
STEM = {"0": "conv1.conv", "1": "conv1.bn", "3": "conv2.conv", "4": "conv2.bn"}
SCALES = {"layer_scale_1": "ls1.gamma", "layer_scale_2": "ls2.gamma"}
MLP = {
    "fc1": "fc1.conv",
    "norm1": "fc1.bn",
    "mid": "mid.conv",
    "mid_norm": "mid.bn",
    "fc2": "fc2.conv",
    "norm2": "fc2.bn",
}
DOWNSAMPLE = {"proj": "conv.conv", "norm": "conv.bn", "conv": "conv.conv", "bn": "conv.bn"}
PAIR = {"0": "conv", "1": "bn"}
# Behind its activation.
PROJECTION = {"1": "conv", "2": "bn"}


def is_efficientformer_v2(backbone: nn.Module) -> bool:
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
        timm_name(name) or name.replace("dist_head.", "head_dist."): value.flatten()
        if "layer_scale" in name
        else value
        for name, value in weights.items()
        if not is_buffer(name)
    }


def timm_name(name: str) -> str | None:
    """
    What timm calls a tensor of the authors' network, its classifiers left out; `None` if it has none of that name.

    Stages and the downsampling between them lie in one list there, `network`: even numbers are stages, odd ones what
    leads to the next.

    >>> timm_name("network.0.1.mlp.norm1.running_var")
    'stages.0.blocks.1.mlp.fc1.bn.running_var'
    >>> timm_name("network.5.attn.q.proj.0.weight")
    'stages.3.downsample.attn.q.proj.conv.weight'
    >>> timm_name("head.weight")
    """
    kind, _, rest = name.partition(".")
    if kind == "norm":
        return name
    if kind == "patch_embed":
        number, _, leaf = rest.partition(".")
        return f"stem.{STEM[number]}.{leaf}" if number in STEM else None
    if kind != "network":
        return None
    number, _, rest = rest.partition(".")
    if not number.isdigit():
        return None
    stage, between = divmod(int(number), 2)
    inner = _downsample(rest) if between else _block(rest)
    return None if inner is None else f"stages.{stage + between}.{inner}"


def is_buffer(name: str) -> bool:
    """Whether a tensor is one that timm computes instead of saving it."""
    return name.endswith(f".{BUFFER}")


def _block(name: str) -> str | None:
    block, _, rest = name.partition(".")
    kind, _, inner = rest.partition(".")
    if rest in SCALES:
        return f"blocks.{block}.{SCALES[rest]}"
    if kind == "token_mixer":
        found = _attention(inner)
        return None if found is None else f"blocks.{block}.token_mixer.{found}"
    layer, _, leaf = inner.partition(".")
    return f"blocks.{block}.mlp.{MLP[layer]}.{leaf}" if kind == "mlp" and layer in MLP else None


def _downsample(name: str) -> str | None:
    kind, _, rest = name.partition(".")
    if kind == "attn":
        found = _attention(rest)
        return None if found is None else f"downsample.attn.{found}"
    return f"downsample.{DOWNSAMPLE[kind]}.{rest}" if kind in DOWNSAMPLE else None


def _attention(name: str) -> str | None:
    if name == "attention_biases" or re.fullmatch(r"talking_head[12]\.(weight|bias)", name):
        return name
    if found := re.fullmatch(r"q\.local\.0\.(\w+)", name):
        return f"q.local.{found.group(1)}"
    if found := re.fullmatch(r"(q|k|v|v_local|stride_conv|q\.proj)\.([01])\.(\w+)", name):
        layer, number, leaf = found.groups()
        return f"{layer}.{PAIR[number]}.{leaf}"
    if found := re.fullmatch(r"proj\.([12])\.(\w+)", name):
        return f"proj.{PROJECTION[found.group(1)]}.{found.group(2)}"
    return None


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
