"""Names of FastViT in Apple's code and in timm, as it is trained and with its branches merged."""

import re
from collections.abc import Iterable

# Of layers, whichever part of the network they are in.
LAYERS = {
    "rbr_conv": "conv_kxk",
    "rbr_scale": "conv_scale",
    "rbr_skip": "identity",
    "lkb_origin": "large_conv",
    "lkb_reparam": "reparam_conv",
    "convffn": "mlp",
}
SQUEEZE = {"se.reduce": "se.fc1", "se.expand": "se.fc2"}


def is_merged(names: Iterable[str]) -> bool:
    """Whether a checkpoint's branches were merged into single convolutions before it was saved."""
    return any("reparam" in name for name in names)


def timm_name(name: str) -> str | None:
    """
    What timm calls a tensor; `None` if it has none of that name.

    Stages and the downsampling between them lie in one list there, `network`, alternating: the variants T8, T12 and
    S12 have nothing else in it.

    >>> timm_name("network.2.0.token_mixer.mixer.rbr_conv.0.bn.bias")
    'stages.1.blocks.0.token_mixer.mixer.conv_kxk.0.bn.bias'
    >>> timm_name("network.1.proj.0.lkb_reparam.weight")
    'stages.1.downsample.proj.0.reparam_conv.weight'
    >>> timm_name("network.0.1.layer_scale")
    'stages.0.blocks.1.layer_scale.gamma'
    """
    kind, _, rest = name.partition(".")
    if kind == "patch_embed":
        return f"stem.{_layers(rest)}"
    if kind == "conv_exp":
        return f"final_conv.{_layers(rest)}"
    found = re.fullmatch(r"network\.(\d+)\.(.+)", name)
    if found is None:
        return None
    stage, between = divmod(int(found.group(1)), 2)
    inner = _layers(found.group(2))
    if between:
        return f"stages.{stage + 1}.downsample.{inner}" if inner.startswith("proj.") else None
    return f"stages.{stage}.blocks.{inner}"


def _layers(name: str) -> str:
    parts = [LAYERS.get(part, part) for part in name.split(".")]
    if parts[-1] == "layer_scale":
        parts.append("gamma")
    name = ".".join(parts)
    for theirs, ours in SQUEEZE.items():
        name = name.replace(theirs, ours)
    return name
