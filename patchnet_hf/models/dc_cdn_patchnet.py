"""DC-CDN, registered with timm as `dc_cdn`."""

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from .central_difference_patchnet import CentralDifferenceUnit, units
from .multi_scale_patchnet import LEVELS, MultiScaleNet
from .registration_patchnet import pretrained_settings, register_once

STEM, CHANNELS = 64, 128
WIDTHS = (128, 196, 128)
# The paper finds the best at 0.8; its authors published the network so.
THETA = 0.8
STREAMS = ("horizontal_vertical", "diagonal")


class CrossFeatureInteraction(nn.Module):
    r"""
    Cross feature interaction module (Yu et al., IJCAI 2021, arXiv 2105.01290, equation 5): each of two streams takes
    from the other, `u' = sigmoid(a) u + (1 - sigmoid(a)) v` and `v' = sigmoid(b) v + (1 - sigmoid(b)) u`, with a and
    b learned. Both begin at zero: half of each.
    """

    def __init__(self):
        super().__init__()
        # (2,): a and b.
        self.gates = nn.Parameter(torch.empty(2))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.zeros_(self.gates)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors of one shape, to two of the same."""
        own = self.gates.sigmoid().to(first.dtype)
        return second + own[0] * (first - second), first + own[1] * (second - first)


class DualCrossNet(MultiScaleNet):
    """
    DC-CDN (Yu et al., "Dual-Cross Central Difference Network for Face Anti-Spoofing", IJCAI 2021, arXiv 2105.01290):
    two streams of CDCN's widths, one of horizontal and vertical, one of diagonal cross central difference
    convolutions, which interact at each of three levels. A level of this network is that of both streams,
    concatenated; the levels are concatenated in turn and pooled. What follows there, convolutions to a depth map,
    isn't part of it.

    Args:
        theta (`float`, *optional*, defaults to 0.8): as in [`CentralDifferenceConv2d`].
        in_chans (`int`, *optional*, defaults to 3): channels of the picture.
        num_classes, drop_rate, global_pool: as in [`MultiScaleNet`].
    """

    def __init__(
        self,
        theta: float = THETA,
        in_chans: int = 3,
        num_classes: int = 2,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ):
        super().__init__(2 * CHANNELS, ["first_stem", "second_stem"], num_classes, drop_rate, global_pool)
        first, second = STREAMS
        self.first_stem = CentralDifferenceUnit(in_chans, STEM, theta, first)
        self.second_stem = CentralDifferenceUnit(in_chans, STEM, theta, second)
        self.first_levels = _levels(theta, first)
        self.second_levels = _levels(theta, second)
        self.interactions = nn.ModuleList(CrossFeatureInteraction() for _ in range(LEVELS))

    def forward_levels(self, patches: Tensor, count: int = LEVELS) -> list[Tensor]:
        first, second = self.first_stem(patches), self.second_stem(patches)
        found = []
        for index in range(count):
            # The next level of a stream goes on from its own features.
            first = self.run_part(self.first_levels[index], first)
            second = self.run_part(self.second_levels[index], second)
            found.append(torch.cat(self.interactions[index](first, second), dim=1))
        return found

    def prune_levels(self, count: int) -> None:
        self.first_levels, self.second_levels = self.first_levels[:count], self.second_levels[:count]
        self.interactions = self.interactions[:count]


def _levels(theta: float, taps: str) -> nn.ModuleList:
    """The three levels of a stream."""
    entered = (STEM, CHANNELS, CHANNELS)
    return nn.ModuleList(
        nn.Sequential(*units((before, *WIDTHS), theta, taps), nn.MaxPool2d(2, stride=2)) for before in entered
    )


default_cfgs = generate_default_cfgs(
    {"dc_cdn": pretrained_settings(("first_stem.convolution", "second_stem.convolution"))}
)


@register_once
def dc_cdn(pretrained: bool = False, **options) -> nn.Module:
    """DC-CDN of Yu et al., IJCAI 2021, arXiv 2105.01290: theta 0.8, 768 features. There are no pretrained weights."""
    features = {"out_indices": tuple(range(LEVELS)), "feature_cls": "getter"}
    return build_model_with_cfg(DualCrossNet, "dc_cdn", pretrained, feature_cfg=features, **options)


__all__ = ["CrossFeatureInteraction", "DualCrossNet", "dc_cdn"]
