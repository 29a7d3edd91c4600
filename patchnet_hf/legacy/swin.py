"""Names of Swin-B as a sequence of torchvision's layers and in timm."""

import re

BUFFER = "relative_position_index"
PATCHES = {"0": "patch_embed.proj", "2": "patch_embed.norm"}
MLP = {"0": "fc1", "3": "fc2"}


def timm_name(name: str) -> str | None:
    """
    What timm calls a tensor; `None` if it has none of that name.

    `nets.0` holds the patch embedding, the four stages at odd numbers and what merges patches between them; `nets.1`
    is the last norm.

    >>> timm_name("nets.0.3.1.mlp.3.bias"), timm_name("nets.0.2.reduction.weight")
    ('layers.1.blocks.1.mlp.fc2.bias', 'layers.1.downsample.reduction.weight')
    >>> timm_name("nets.0.0.2.weight"), timm_name("nets.1.bias")
    ('patch_embed.norm.weight', 'norm.bias')
    """
    if found := re.fullmatch(r"nets\.1\.(weight|bias)", name):
        return f"norm.{found.group(1)}"
    if found := re.fullmatch(r"nets\.0\.0\.([02])\.(\w+)", name):
        return f"{PATCHES[found.group(1)]}.{found.group(2)}"
    found = re.fullmatch(r"nets\.0\.([1-7])\.(.+)", name)
    if found is None:
        return None
    number, rest = int(found.group(1)), found.group(2)
    if number % 2 == 0:
        return f"layers.{number // 2}.downsample.{rest}"
    rest = re.sub(r"\.mlp\.([03])\.", lambda layer: f".mlp.{MLP[layer.group(1)]}.", rest)
    return f"layers.{number // 2}.blocks.{rest}"


def is_buffer(name: str) -> bool:
    """Whether a tensor is one that timm computes instead of saving it."""
    return name.endswith(f".{BUFFER}")
