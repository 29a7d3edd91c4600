"""Central difference convolution, and what the networks that are made of it build on."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Which of the nine places of a 3 x 3 kernel have a weight, counted by rows, and the shape in which they are kept.
TAPS = {
    "square": (tuple(range(9)), (3, 3)),
    "horizontal_vertical": ((1, 3, 4, 5, 7), (1, 5)),
    "diagonal": ((0, 2, 4, 6, 8), (1, 5)),
}
CENTRE = 4


class CentralDifferenceConv2d(nn.Module):
    r"""
    Central difference convolution (Yu et al., "Searching Central Difference Convolutional Networks for Face
    Anti-Spoofing", CVPR 2020, arXiv 2003.04092, equation 4), and the cross central difference convolutions that take
    only some of the neighbours (Yu et al., "Dual-Cross Central Difference Network for Face Anti-Spoofing", IJCAI 2021,
    arXiv 2105.01290, equation 3).

    With the neighbourhood R of a place p, itself included:

    `y(p) = theta * sum over R of w(r) (x(p + r) - x(p)) + (1 - theta) * sum over R of w(r) x(p + r)`

    which is `sum over R of w(r) x(p + r) - theta * x(p) * sum over R of w(r)`: one convolution whose centre weight is
    less by `theta` times the sum of all. It is computed so, in training too; written out it would be two.

    Stride 1, zeros around the picture, and no bias, because a batch norm follows.

    Args:
        in_channels (`int`): channels of the input.
        out_channels (`int`): channels of the output.
        theta (`float`, *optional*, defaults to 0.7): share of the differences, from 0 (a plain convolution) to 1.
        taps (`str`, *optional*, defaults to `"square"`):
            The neighbourhood: all nine places of a 3 x 3 `"square"`, or five: the `"horizontal_vertical"` cross or
            the `"diagonal"` one. The weights of a cross are kept as `(out_channels, in_channels, 1, 5)`, by rows.

    Raises:
        ValueError: `theta` is outside [0, 1], or there are no such taps.

    Example:

    ```python
    >>> convolution = CentralDifferenceConv2d(3, 8, theta=1.0)
    >>> flat = convolution(torch.full((1, 3, 5, 5), 7.0))
    >>> flat.shape, bool(flat[..., 1:-1, 1:-1].abs().max() < 1e-5)
    (torch.Size([1, 8, 5, 5]), True)

    ```
    """

    def __init__(self, in_channels: int, out_channels: int, theta: float = 0.7, taps: str = "square"):
        super().__init__()
        if not 0 <= theta <= 1:
            raise ValueError(f"theta is {theta}; expected a share of the differences in [0, 1]")
        if taps not in TAPS:
            raise ValueError(f"taps is {taps!r}; expected one of {', '.join(TAPS)}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.theta = theta
        self.taps = taps
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *TAPS[taps][1]))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def kernel(self) -> Tensor:
        """`(out_channels, in_channels, 3, 3)`: the kernel of a plain convolution that does the same."""
        difference = self.theta * self.weight.sum(dim=(2, 3), keepdim=True)
        if self.taps == "square":
            return self.weight - F.pad(difference, (1, 1, 1, 1))
        places, _ = TAPS[self.taps]
        taps = dict(zip(places, self.weight.unbind(dim=-1), strict=True))
        taps[CENTRE] = taps[CENTRE] - difference.squeeze(-1)
        nothing = torch.zeros_like(taps[CENTRE])
        return torch.cat([taps.get(place, nothing) for place in range(9)], dim=-1).unflatten(-1, (3, 3))

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_channels, H, W)` to `(B, out_channels, H, W)`."""
        return F.conv2d(features, self.kernel(), padding=1)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """A plain convolution that does the same, for good."""
        place = {"device": self.weight.device, "dtype": self.weight.dtype}
        convolution = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, bias=False, **place)
        convolution.weight.copy_(self.kernel())
        return convolution

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, theta={self.theta}, taps={self.taps!r}"


class CentralDifferenceUnit(nn.Module):
    """
    Central difference convolution, batch norm and ReLU: `(B, in_channels, H, W)` to `(B, out_channels, H, W)`.

    Args:
        in_channels (`int`): channels of the input.
        out_channels (`int`): channels of the output.
        theta (`float`): as in [`CentralDifferenceConv2d`].
        taps (`str`, *optional*, defaults to `"square"`): likewise.
    """

    def __init__(self, in_channels: int, out_channels: int, theta: float, taps: str = "square"):
        super().__init__()
        self.convolution = CentralDifferenceConv2d(in_channels, out_channels, theta, taps)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_channels, H, W)` to `(B, out_channels, H, W)`."""
        return self.activation(self.norm(self.convolution(features)))

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Becomes one plain convolution with a bias, and ReLU: what it does in evaluation mode."""
        if isinstance(self.norm, nn.Identity):
            return
        norm, convolution = self.norm, self.convolution.fuse()
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.convolution, self.norm = convolution, nn.Identity()


def units(widths: tuple[int, ...], theta: float, taps: str = "square") -> list[CentralDifferenceUnit]:
    """Units one after the other: the first takes `widths[0]` channels and gives `widths[1]`, and so on."""
    return [CentralDifferenceUnit(before, after, theta, taps) for before, after in pairwise(widths)]


__all__ = ["CentralDifferenceConv2d", "CentralDifferenceUnit", "units"]
