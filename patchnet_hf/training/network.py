"""The network, the image processor and the augmentation that a run's arguments describe."""

from typing import TYPE_CHECKING

import torch
from datasets import Dataset

from ..data.schema import live_patch_types
from ..errors import InputError
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from .arguments import DataArguments, ModelArguments

if TYPE_CHECKING:
    from ..data.augmentation import Augmentation


def patch_types_of(training: Dataset) -> tuple[list[str], list[str]]:
    """
    The patch types that a training set holds, and those of them that are live.

    Raises:
        InputError: the training set has no live or no attack captures.
    """
    names = training.features["patch_type"].names
    # Not `unique`, which would write a copy of all captures where they are chosen from a larger dataset.
    present = set(training["patch_type"][:])
    patch_types = [name for index, name in enumerate(names) if index in present]
    live = live_patch_types(training)
    if not patch_types:
        raise InputError("the training set is empty")
    if not live:
        raise InputError("no live captures (label 1) in the training set; PatchNet needs live captures and attacks")
    if len(live) == len(patch_types):
        raise InputError("no attacks (label 0) in the training set; PatchNet needs live captures and attacks")
    return patch_types, live


def build_processor(data: DataArguments) -> PatchNetImageProcessor:
    """The image processor of a recipe.

    Raises:
        InputError: an option is outside its range.
    """
    try:
        return PatchNetImageProcessor(
            mode=data.recipe,
            patch_size=data.patch_size,
            grid=data.grid,
            resize_size=data.resize_size,
            resampling=data.resampling,
            face_expand=data.face_expand,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def build_augmentation(data: DataArguments) -> "Augmentation | None":
    """The augmentation that a run names, if it names one.

    Raises:
        InputError: its file can't be read or used.
    """
    if data.augmentation is None:
        return None
    # Only now: albumentations takes more than a second to import.
    from ..data.augmentation import Augmentation

    return Augmentation.read(data.augmentation, data.patch_size)


def build_model(
    model: ModelArguments, patch_size: int, patch_types: list[str], live: list[str]
) -> PatchNetForImageClassification:
    """A new model with random weights.

    Raises:
        InputError: the backbone is unknown, refuses its arguments or doesn't take patches of this size.
    """
    try:
        config = PatchNetConfig(
            backbone=model.backbone,
            backbone_kwargs=model.backbone_kwargs,
            embedding_size=model.embedding_size,
            dropout=model.dropout,
            drop_path_rate=model.drop_path_rate,
            patch_types=patch_types,
            live_patch_types=live,
            image_size=patch_size,
            scale=model.scale,
            margin_live=model.margin_live,
            margin_spoof=model.margin_spoof,
            similarity_weight=model.similarity_weight,
            classification_weight=model.classification_weight,
        )
        network = PatchNetForImageClassification(config)
    except ValueError as error:
        raise InputError(str(error)) from error
    check_patch_size(network, patch_size)
    return network


@torch.no_grad()
def check_patch_size(network: PatchNetForImageClassification, patch_size: int) -> None:
    """Passes one black patch through a new network, which leaves it in training mode.

    Raises:
        InputError: the backbone doesn't take patches of this size.
    """
    patch = torch.zeros(1, network.config.num_channels, patch_size, patch_size)
    try:
        network.eval()(patch)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"backbone {network.config.backbone!r} doesn't take patches of {patch_size} pixels ({reason}); some need "
            f"--backbone_kwargs '{{\"img_size\": {patch_size}}}'"
        ) from error
    finally:
        network.train()
