"""The backbones that the reference's configurations name, and how their weights become timm's."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError, did_you_mean
from ..weights import efficientformer_v2
from . import fastvit, resnet, swin

HEAD = "head.weight"


def _no_buffer(name: str) -> bool:
    return False


@dataclass(frozen=True)
class LegacyBackbone:
    """
    A backbone of the reference.

    Attributes:
        timm: name of timm's architecture.
        timm_name: what timm calls a tensor, `None` if it has none of that name.
        first_convolutions: timm's names of the weights that see pixels.
        has_head: whether a linear layer without bias follows that makes the descriptor, of `descriptor_size`.
        prefix: what stands before its names, after `backbone.`.
        sized: whether the network is built for patches of one size.
        is_buffer: whether a tensor of the reference is one that timm computes instead of saving it.
        is_merged: whether a checkpoint's branches were merged into single convolutions, by its names.
        dropout: timm's argument for the dropout that the reference applies inside the network, if it does.
        drop_path_rate: the rate that the authors' code has whatever the configuration says, `None` where it follows
            the configuration.
    """

    timm: str
    timm_name: Callable[[str], str | None]
    first_convolutions: tuple[str, ...]
    has_head: bool = False
    prefix: str = ""
    sized: bool = False
    is_buffer: Callable[[str], bool] = _no_buffer
    is_merged: Callable[[Iterable[str]], bool] = field(default=lambda names: False)
    dropout: str | None = None
    drop_path_rate: float | None = 0.0

    def arguments(self, names: Iterable[str], patch_size: int) -> dict:
        """Arguments of `timm.create_model` for a checkpoint with these names and patches of this size."""
        sized = {"img_size": patch_size} if self.sized and patch_size != 224 else {}
        return sized | ({"inference_mode": True} if self.is_merged(names) else {})


def _efficientformer(size: str, drop_path_rate: float = 0.0) -> LegacyBackbone:
    return LegacyBackbone(
        timm=f"efficientformerv2_{size}",
        timm_name=efficientformer_v2.timm_name,
        first_convolutions=("stem.conv1.conv.weight",),
        has_head=True,
        prefix="backbone.",
        sized=True,
        is_buffer=efficientformer_v2.is_buffer,
        dropout="proj_drop_rate",
        drop_path_rate=drop_path_rate,
    )


def _fastvit(size: str) -> LegacyBackbone:
    return LegacyBackbone(
        timm=f"fastvit_{size}",
        timm_name=fastvit.timm_name,
        first_convolutions=(
            "stem.0.conv_kxk.0.conv.weight",
            "stem.0.conv_scale.conv.weight",
            "stem.0.reparam_conv.weight",
        ),
        has_head=True,
        prefix="backbone.",
        is_merged=fastvit.is_merged,
        dropout="proj_drop_rate",
        drop_path_rate=None,
    )


BACKBONES = {
    "efficientformerv2_s0": _efficientformer("s0"),
    "efficientformerv2_s1": _efficientformer("s1"),
    "efficientformerv2_s2": _efficientformer("s2", 0.02),
    "efficientformerv2_l": _efficientformer("l", 0.1),
    "fastvit_t8": _fastvit("t8"),
    "fastvit_t12": _fastvit("t12"),
    "fastvit_s12": _fastvit("s12"),
    "resnet18": LegacyBackbone("resnet18", resnet.timm_name, ("conv1.weight",)),
    "swin_base": LegacyBackbone(
        "swin_base_patch4_window7_224",
        swin.timm_name,
        ("patch_embed.proj.weight",),
        sized=True,
        is_buffer=swin.is_buffer,
        # torchvision's default.
        drop_path_rate=0.5,
    ),
}
# Names of the reference for which there can be no checkpoint, and why.
REFUSED = {
    "cdcn": "its network there can't be built, and its layers differ from the paper's and ours",
    "cdcnpp": "its network there can't be built, and its layers differ from the paper's and ours",
    "dc_cdn": "its network there can't be built, and its layers differ from the paper's and ours",
    "convnext_tiny": "its network there can't be built, and its 768 features don't fit the loss",
}


def legacy_backbone(base: str, where: str) -> LegacyBackbone:
    """
    The backbone that `model.base` names.

    Raises:
        InputError: there is none of that name, or no checkpoint of it can exist.
    """
    if base in REFUSED:
        raise InputError(f"{where}: checkpoints of {base} can't be converted: {REFUSED[base]}; train it anew")
    if base not in BACKBONES:
        hint = did_you_mean(base, [*BACKBONES, *REFUSED]) or f"; known are {', '.join(BACKBONES)}"
        raise InputError(f"{where}: model.base is {base!r}, which isn't a backbone of the reference{hint}")
    return BACKBONES[base]


@dataclass(frozen=True, eq=False)
class MappedWeights:
    """
    Weights of a backbone under timm's names.

    Attributes:
        backbone: timm's names to tensors.
        projection: `(D, F)`, the layer that makes the descriptor, or `None` where the features are the descriptor.
        computed: names of buffers that timm computes instead of saving them.
        leftover: names that have no place.
    """

    backbone: dict[str, Tensor]
    projection: Tensor | None
    computed: list[str]
    leftover: list[str]


def map_weights(weights: Mapping[str, Tensor], backbone: LegacyBackbone) -> MappedWeights:
    """The weights of the reference's backbone under timm's names; see [`MappedWeights`]."""
    mapped, computed, leftover, projection = {}, [], [], None
    for name, tensor in weights.items():
        inner = name.removeprefix(backbone.prefix) if name.startswith(backbone.prefix) else None
        ours = None if inner is None else backbone.timm_name(inner)
        if inner == HEAD and backbone.has_head:
            projection = tensor
        elif inner is not None and backbone.is_buffer(inner):
            computed.append(name)
        elif ours is None or ours in mapped:
            leftover.append(name)
        else:
            mapped[ours] = tensor
    return MappedWeights(mapped, projection, computed, leftover)


def flip_first_convolutions(weights: dict[str, Tensor], backbone: LegacyBackbone) -> list[str]:
    """
    Turns weights that were learned on BGR pixels to RGB, in place.

    Returns:
        Names of the weights that were turned.
    """
    # One without a dimension of colours is none, which is told where shapes are compared.
    turned = [name for name in backbone.first_convolutions if name in weights and weights[name].ndim > 1]
    for name in turned:
        weights[name] = torch.flip(weights[name], dims=[1])
    return turned
