"""Merging the branches that a backbone trains with into the fewer layers that it needs to answer."""

from copy import deepcopy

import torch
from timm.utils.model import reparameterize_model

from ..models import PatchNetForImageClassification


def reparameterized(model: PatchNetForImageClassification) -> PatchNetForImageClassification:
    """
    A model that answers as `model` does, with fewer layers where its backbone allows that.

    FastViT, RepVGG, MobileOne, RepGhostNet, RepViT, LeViT, TinyViT and others of timm train parallel branches and
    batch norms that are one convolution once they are trained. They are merged by timm
    (`timm.utils.model.reparameterize_model`): each module with a method `fuse()`, `reparameterize()` or
    `switch_to_deploy()`, in whatever backbone, is asked to. Other backbones stay as they are.

    Args:
        model: in any mode, on any device; it isn't changed.

    Returns:
        A copy in evaluation mode, of the same device and dtype. Its configuration describes the unmerged backbone:
        it is there to be run or exported, not to be trained or saved.

    >>> from patchnet_hf import PatchNetConfig
    >>> model = PatchNetForImageClassification(PatchNetConfig(backbone="repvgg_a0", image_size=32))
    >>> def norms(model):
    ...     return sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    >>> norms(model), norms(reparameterized(model))
    (61, 0)

    """
    # Branches are added up in float32 at least: in half precision their sum would be off by more than its parts. Mode,
    # device and dtype are set at the end, because some of timm's layers make new ones in training mode, in float32 or
    # on the processor.
    copy = deepcopy(model).eval().to(torch.promote_types(model.dtype, torch.float32))
    return reparameterize_model(copy, inplace=True).eval().to(device=model.device, dtype=model.dtype)
