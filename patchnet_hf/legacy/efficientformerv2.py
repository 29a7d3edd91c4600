"""Names of EfficientFormerV2 in snap-research's code and in timm."""

import re

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


def timm_name(name: str) -> str | None:
    """
    What timm calls a tensor; `None` if it has none of that name.

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
