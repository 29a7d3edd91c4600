"""CDCN and CDCN++, registered with timm as `cdcn` and `cdcnpp`."""

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from .central_difference_patchnet import CentralDifferenceUnit, units
from .multi_scale_patchnet import LEVELS, MultiScaleNet
from .registration_patchnet import pretrained_settings, register_once

STEM, CHANNELS = 64, 128
# Output channels of the units of each level.
CDCN_LEVELS = ((128, 196, 128), (128, 196, 128), (128, 196, 128))
# As the paper's search found them: expansions by 1.6, by 1.2 and 1.4, and by 1.2.
CDCNPP_LEVELS = ((128, 204, 128), (153, 128, 179, 128), (128, 153, 128))
# Kernel sizes: the finer the level, the wider.
CDCNPP_ATTENTION = (7, 5, 3)
THETA = 0.7


class SpatialAttention(nn.Module):
    r"""
    Attention to places: `x * sigmoid(conv([mean of x over channels, maximum of x over channels]))`, the part of the
    multi-scale attention fusion module of CDCN++ that belongs to one level (Yu et al., CVPR 2020, arXiv 2003.04092,
    equation 5).

    Args:
        kernel_size (`int`): side of the convolution's kernel, an odd number.
    """

    def __init__(self, kernel_size: int):
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same shape."""
        summary = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return features * self.convolution(summary).sigmoid()


class CentralDifferenceNet(MultiScaleNet):
    """
    CDCN, or with attention CDCN++ (Yu et al., "Searching Central Difference Convolutional Networks for Face
    Anti-Spoofing", CVPR 2020, arXiv 2003.04092), up to the concatenated levels, which are pooled. What follows there,
    three convolutions to a depth map, isn't part of it.

    Args:
        levels (`tuple[tuple[int, ...], ...]`): output channels of the units of each of the three levels.
        attention (`tuple[int, ...]`, *optional*): kernel size of the attention to each level; `None` for none.
        theta (`float`, *optional*, defaults to 0.7): as in [`CentralDifferenceConv2d`].
        in_chans (`int`, *optional*, defaults to 3): channels of the picture.
        num_classes, drop_rate, global_pool: as in [`MultiScaleNet`].
    """

    def __init__(
        self,
        levels: tuple[tuple[int, ...], ...],
        attention: tuple[int, ...] | None = None,
        theta: float = THETA,
        in_chans: int = 3,
        num_classes: int = 2,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ):
        super().__init__(CHANNELS, ["stem"], num_classes, drop_rate, global_pool)
        self.stem = CentralDifferenceUnit(in_chans, STEM, theta)
        entered = (STEM, *(widths[-1] for widths in levels))
        self.levels = nn.ModuleList(
            nn.Sequential(*units((before, *widths), theta), nn.MaxPool2d(3, stride=2, padding=1))
            for before, widths in zip(entered, levels, strict=False)
        )
        attended = [nn.Identity()] * LEVELS if attention is None else map(SpatialAttention, attention)
        self.attention = nn.ModuleList(attended)

    def forward_levels(self, patches: Tensor, count: int = LEVELS) -> list[Tensor]:
        features = self.stem(patches)
        found = []
        for level, attention in zip(self.levels[:count], self.attention, strict=False):
            # The next level goes on from what attention hasn't weighed.
            features = self.run_part(level, features)
            found.append(attention(features))
        return found

    def prune_levels(self, count: int) -> None:
        self.levels, self.attention = self.levels[:count], self.attention[:count]


default_cfgs = generate_default_cfgs({name: pretrained_settings("stem.convolution") for name in ("cdcn", "cdcnpp")})


def _create(variant: str, pretrained: bool, **options) -> nn.Module:
    features = {"out_indices": tuple(range(LEVELS)), "feature_cls": "getter"}
    return build_model_with_cfg(CentralDifferenceNet, variant, pretrained, feature_cfg=features, **options)


@register_once
def cdcn(pretrained: bool = False, **options) -> nn.Module:
    """CDCN of Yu et al., CVPR 2020, arXiv 2003.04092: theta 0.7, 384 features. There are no pretrained weights."""
    return _create("cdcn", pretrained, **{"levels": CDCN_LEVELS, **options})


@register_once
def cdcnpp(pretrained: bool = False, **options) -> nn.Module:
    """CDCN++ of Yu et al., CVPR 2020, arXiv 2003.04092: searched widths, and attention. As [`cdcn`] otherwise."""
    return _create("cdcnpp", pretrained, **{"levels": CDCNPP_LEVELS, "attention": CDCNPP_ATTENTION, **options})


__all__ = ["CentralDifferenceNet", "SpatialAttention", "cdcn", "cdcnpp"]
