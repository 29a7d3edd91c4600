"""The backbone of a PatchNet: any architecture of timm, or one of the project's own."""

import difflib

import timm
from torch import Tensor, nn
from torch.nn import functional as F

from .cdcn_patchnet import cdcn, cdcnpp
from .configuration_patchnet import PatchNetConfig
from .dc_cdn_patchnet import dc_cdn

# Those of our own. timm's registry, which they enter by being imported, is for others: where two copies of these files
# are loaded, it holds one of them, and a model is to be built by the code that came with it.
OWN = {"cdcn": cdcn, "cdcnpp": cdcnpp, "dc_cdn": dc_cdn}
# Input channels from which oneDNN's kernels of such a convolution have whole blocks.
WHOLE_BLOCK = 16


class SubsampledPointwiseConv2d(nn.Conv2d):
    """
    A strided 1 x 1 convolution that picks its places first and then convolves them with stride 1: the same parameters
    and outputs.

    With fewer than 16 input channels in channels-last memory, oneDNN 3.12, which PyTorch 2.14 computes with on CPUs,
    writes past its workspace for the gradient of the strided one's weights, and the process ends
    (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> "SubsampledPointwiseConv2d":
        """With the parameters of another convolution, not copies of them."""
        channels, has_bias = (convolution.in_channels, convolution.out_channels), convolution.bias is not None
        made = cls(*channels, 1, stride=convolution.stride, bias=has_bias, device="meta")
        made.weight, made.bias = convolution.weight, convolution.bias
        return made.train(convolution.training)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, in_channels, H, W)` to `(B, out_channels, H / rows, W / columns)`, rounded up, for the two strides."""
        rows, columns = self.stride
        return F.conv2d(features[..., ::rows, ::columns], self.weight, self.bias)


def avoid_strided_pointwise(model: nn.Module) -> nn.Module:
    """Replaces the convolutions of a model that [`SubsampledPointwiseConv2d`] is for; gives the model."""
    for name, module in list(model.named_modules()):
        if (
            type(module) is nn.Conv2d
            and module.kernel_size == (1, 1)
            and module.stride != (1, 1)
            and module.padding == (0, 0)
            and module.groups == 1
            and module.in_channels < WHOLE_BLOCK
        ):
            model.set_submodule(name, SubsampledPointwiseConv2d.of(module))
    return model


def create_backbone(config: PatchNetConfig) -> nn.Module:
    """
    The network of a configuration, of timm or of our own, without classifier and with random weights.

    Raises:
        ValueError: timm doesn't know the architecture (the message names the nearest), or refuses the arguments.
    """
    architecture = config.backbone.split(".")[0]
    if architecture not in OWN and not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; timm.list_models() names all"
        raise ValueError(f"unknown backbone {config.backbone!r}{hint}")
    arguments = {"num_classes": 0, "in_chans": config.num_channels, **config.backbone_kwargs}
    if config.drop_path_rate:
        arguments["drop_path_rate"] = config.drop_path_rate
    try:
        if architecture in OWN:
            # As timm does, where an argument that isn't set is none.
            given = {name: value for name, value in arguments.items() if value is not None}
            backbone = OWN[architecture](pretrained=False, **given)
        else:
            backbone = timm.create_model(architecture, pretrained=False, **arguments)
    except TypeError as error:
        raise ValueError(f"backbone {config.backbone!r} can't be built with {arguments}: {error}") from error
    return avoid_strided_pointwise(backbone)


__all__ = ["SubsampledPointwiseConv2d", "avoid_strided_pointwise", "create_backbone"]
