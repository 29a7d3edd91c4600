"""Starting a backbone from pretrained weights: timm's own, or those of a file."""

import timm
from torch import nn

from ..errors import InputError, first_line
from ..models import PatchNetForImageClassification
from ..weights import efficientformer_v2
from ..weights.backbone_weights import BackboneMatch, load_backbone_weights
from ..weights.state_dict_files import read_state_dict


def load_pretrained_backbone(network: PatchNetForImageClassification, source: str | bool = True) -> BackboneMatch:
    """
    Fills a network's backbone with pretrained weights; its other weights stay as they are.

    Args:
        network: filled in place.
        source: true for timm's weights of this architecture, from the Hub; or a file that
            [`read_state_dict`][patchnet_hf.weights.state_dict_files.read_state_dict] reads, in the names of timm or of
            the architecture's authors.

    Raises:
        InputError: timm has none, they can't be downloaded, the file can't be read, or little of it matches.
    """
    backbone = network.patchnet.backbone
    if source is True:
        named = pretrained_id(network.config.backbone) or "timm"
        return load_backbone_weights(backbone, timm_backbone(network).state_dict(), f"pretrained_backbone {named}")
    return load_backbone_weights(backbone, read_state_dict(source), f"pretrained_backbone {source}")


def timm_backbone(network: PatchNetForImageClassification) -> nn.Module:
    """
    The same backbone as timm offers it with its pretrained weights.

    Raises:
        InputError: timm has none, or they can't be downloaded.
    """
    config = network.config
    known = timm.models.get_pretrained_cfg(config.backbone)
    if known is None or not known.has_weights:
        raise InputError(f"no pretrained weights for backbone {config.backbone!r}: timm has none; name a file of them")
    arguments = dict(config.backbone_kwargs)
    if efficientformer_v2.is_efficientformer_v2(network.patchnet.backbone):
        # Of other sizes timm can't load them.
        arguments.pop("img_size", None)
    try:
        return timm.create_model(config.backbone, pretrained=True, num_classes=0, **arguments)
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(f"no pretrained weights for backbone {config.backbone!r}: {first_line(error)}") from error


def pretrained_id(backbone: str) -> str | None:
    """Where on the Hub timm has the pretrained weights of an architecture; `None` where it has none there.

    >>> pretrained_id("resnet18"), pretrained_id("fastvit_t8.apple_dist_in1k"), pretrained_id("test_vit4")
    ('timm/resnet18.a1_in1k', 'timm/fastvit_t8.apple_dist_in1k', None)
    """
    if not timm.is_model(backbone.split(".")[0]):
        return None
    known = timm.models.get_pretrained_cfg(backbone)
    return None if known is None else known.hf_hub_id


def pretrained_line(backbone: str, source: str | bool, match: BackboneMatch) -> str:
    """What a training says of its pretrained start."""
    return f"{pretrained_id(backbone) or 'timm' if source is True else source}: {match}"
