"""Entering own backbones in timm's registry, where whoever builds models by name finds them."""

from collections.abc import Callable

from timm.models import is_model, model_entrypoint, register_model
from torch import nn


def pretrained_settings(first_convolution: str | tuple[str, ...]) -> dict:
    """
    What timm keeps of a model beside its weights: here there are none.

    Args:
        first_convolution: names of the modules that take the picture.
    """
    return {
        "url": "",
        "num_classes": 2,
        "input_size": (3, 256, 256),
        "pool_size": (32, 32),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": first_convolution,
        "classifier": "head.fc",
    }


def register_once(entrypoint: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """
    [`timm.models.register_model`], unless another copy of the same file has registered the name: that of the package
    beside that of a checkpoint, in either order. A model of that name that isn't ours is replaced, and timm warns.
    """
    name = entrypoint.__name__
    if is_model(name) and _file(model_entrypoint(name)) == _file(entrypoint):
        return entrypoint
    return register_model(entrypoint)


def _file(entrypoint: Callable) -> str:
    return entrypoint.__module__.rpartition(".")[2]


__all__ = ["pretrained_settings", "register_once"]
