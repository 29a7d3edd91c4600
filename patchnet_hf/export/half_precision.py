"""Models whose backbone runs in half precision, for graphs of half the size."""

import numpy as np
import torch
from torch import Tensor, nn

from ..models import PatchNetForImageClassification


class HalfBackbone(nn.Module):
    """
    A backbone with weights and activations in float16, between inputs and features in float32.

    Args:
        backbone: what is converted, in place.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone.half()

    def forward(self, patches: Tensor) -> Tensor:
        """`(N, 3, P, P)` float32 to features `(N, F)` float32."""
        return self.backbone(patches.half()).float()


def with_half_backbone(model: PatchNetForImageClassification) -> PatchNetForImageClassification:
    """
    Puts a model's backbone into half precision, in place; normalisation of pixels, embedding, cosines, log-sum-exp and
    calibration stay in float32: cosines in float16 times a scale of 30 would be off by 0.03.

    Args:
        model: with merged branches, whose sums would otherwise be of rounded parts.

    Raises:
        ValueError: a weight is beyond what float16 holds.
    """
    largest = torch.finfo(torch.float16).max
    for name, tensor in model.patchnet.backbone.state_dict().items():
        if tensor.is_floating_point() and not tensor.abs().max() <= largest:
            raise ValueError(f"the backbone's {name} goes beyond {largest:g}, where float16 ends")
    model.patchnet.backbone = HalfBackbone(model.patchnet.backbone)
    return model


@torch.inference_mode()
def half_log_odds(model: PatchNetForImageClassification, pixel_values: Tensor) -> np.ndarray:
    """
    Live log-odds of a model when its backbone really computes in float16.

    ONNX Runtime computes a float16 graph in float32 where its processor has no better, so that running the graph
    here doesn't show an activation that overflows on a GPU or a phone. torch computes it as it says.

    Args:
        model: in float32; stays as it is.
        pixel_values: `(B, V, 3, P, P)` float32.

    Returns:
        `(B,)` float64; NaN where an activation overflows.
    """
    logits = with_half_backbone(model.reparameterized()).eval()(pixel_values, return_dict=True).logits.double().numpy()
    return logits[:, 1] - logits[:, 0]
