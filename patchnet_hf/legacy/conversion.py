"""A checkpoint of the reference as a model folder of ours, whose scores are the same."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import models
from ..errors import InputError
from ..file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from ..versions import versions_of
from ..weights import efficientformer_v2
from ..weights.plain_tensors import check_finite
from ..whole_folder import check_output_folder, whole_folder
from .backbones import MappedWeights, flip_first_convolutions, map_weights
from .checkpoint import FAS_PATCHNET, LegacyCheckpoint, parse_checkpoint, read_checkpoint
from .configuration import LegacyConfiguration, read_configuration
from .training_file import TrainingFile, training_file

RESCALINGS = ("none", "sigmoid", "linear")
# Factor of the reference's script for graphs whose two outputs are sigmoid(0.1 x) of its class scores x.
SIGMOID_FACTOR = 0.1
# timm's names of EfficientFormerV2's scales of layers end so.
LAYER_SCALES = tuple(f".{name}" for name in efficientformer_v2.SCALES.values())
TRAINING_FILE = "training.yaml"
RESULT_FILE = "conversion.json"
LIVE, SPOOF = "live", "spoof"


@dataclass(frozen=True, eq=False)
class Conversion:
    """
    What a conversion did.

    Attributes:
        checkpoint: the weights as they were.
        configuration: the reference's.
        mapped: the backbone's weights under timm's names.
        turned: names of the convolutions that were turned from BGR to RGB.
        config: of the converted model.
        processor: of the converted model.
        training: the training YAML.
        rescaling: the reference's of its outputs, `"none"`, `"sigmoid"` or `"linear"`.
    """

    checkpoint: LegacyCheckpoint
    configuration: LegacyConfiguration
    mapped: MappedWeights
    turned: list[str]
    config: PatchNetConfig
    processor: PatchNetImageProcessor
    training: TrainingFile
    rescaling: str

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Parts of the model to how many tensors they have and how many numbers those hold."""
        tensors = {
            "backbone": list(self.mapped.backbone.values()),
            "projection": [] if self.mapped.projection is None else [self.mapped.projection],
            "class weights": [self.checkpoint.class_weights],
        }
        return {name: (len(held), sum(map(Tensor.numel, held))) for name, held in tensors.items() if held}

    def as_json(self) -> dict:
        """All of it that JSON can hold."""
        return {
            "origin": self.checkpoint.origin,
            "epoch": self.checkpoint.epoch,
            "base": self.configuration.base,
            "backbone": self.config.backbone,
            "parts": {name: {"tensors": count, "numbers": size} for name, (count, size) in self.parts.items()},
            "computed": len(self.mapped.computed),
            "turned_to_rgb": self.turned,
            "rescaling": self.rescaling,
            "calibration": self.config.calibration,
            "training": {
                "carried": self.training.carried,
                "dropped": {key: reason for key, (_, reason) in self.training.dropped.items()},
            },
            "versions": versions_of(["torch", "timm", "transformers"]),
        }


def convert_checkpoint(
    checkpoint: str | Path,
    config: str | Path,
    output: str | Path,
    rescaling: str = "none",
    overwrite: bool = False,
) -> Conversion:
    """
    Makes a model folder of a checkpoint: weights and configuration, image processor, code, and a training YAML.

    The model's live probability is the reference's: its class scores are the plain product of descriptor and class
    weights, times the scale s, and the softmax of these.

    Args:
        checkpoint: `.pth` of fas-patchnet or of Implementation-patchnet.
        config: the `config.yaml` that it was trained with.
        output: folder to write, new or empty.
        rescaling: which of the reference's scripts its graphs were made with: `"sigmoid"` becomes a calibration.
        overwrite: replace a converted model that is there already.

    Raises:
        InputError: something given can't be used, or the two don't fit together; nothing has been written then.
    """
    if rescaling not in RESCALINGS:
        raise InputError(f"rescaling is {rescaling!r}; expected one of {', '.join(RESCALINGS)}")
    check_output_folder(output, "a converted model", _files(), _is_converted, overwrite)
    configuration = read_configuration(config)
    weights = parse_checkpoint(read_checkpoint(checkpoint), checkpoint)
    if weights.origin != configuration.origin:
        raise InputError(
            f"checkpoint {checkpoint} is of {weights.origin}, but config {config} of {configuration.origin}"
        )
    mapped = map_weights(weights.backbone, configuration.backbone)
    turned = flip_first_convolutions(mapped.backbone, configuration.backbone) if weights.origin == FAS_PATCHNET else []
    model_config = model_configuration(configuration, weights, mapped, rescaling)
    model = filled_model(model_config, weights, mapped, f"checkpoint {checkpoint}", f"config {config}")
    processor = PatchNetImageProcessor(
        mode="resize",
        patch_size=configuration.crop_size,
        resize_size=configuration.resize_size,
        resampling="area",
        image_mean=configuration.mean,
        image_std=configuration.std,
    )
    training = training_file(configuration, weights.class_weights.shape[1])
    conversion = Conversion(weights, configuration, mapped, turned, model_config, processor, training, rescaling)
    with whole_folder(Path(os.path.realpath(output))) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / TRAINING_FILE).write_text(
            training.text(configuration.origin, str(config), str(output)), encoding="utf-8"
        )
        (folder / RESULT_FILE).write_text(json.dumps(conversion.as_json(), indent=2) + "\n", encoding="utf-8")
    return conversion


def model_configuration(
    configuration: LegacyConfiguration, weights: LegacyCheckpoint, mapped: MappedWeights, rescaling: str
) -> PatchNetConfig:
    """
    The configuration of the converted model.

    The reference's rescaling by sigmoids gives sigmoid(0.1 x) for each of its class scores x, live and spoof apart, so
    that the two needn't add up to 1. Their log-odds are 0.1 x_live and 0.1 x_spoof; the calibration takes half of the
    difference, which for opposite scores is the live output itself, and is above 0 exactly where that is the larger
    output. As the log-odds here are z = s (x_live - x_spoof), the calibration is 0.1 / (2 s) z.

    Raises:
        InputError: the sizes of configuration and checkpoint differ.
    """
    descriptor, size = configuration.descriptor_size, weights.class_weights.shape[1]
    if descriptor is not None and descriptor != size:
        raise InputError(
            f"config {configuration.path} has model.descriptor_size {descriptor}, but the checkpoint's class weights "
            f"are for descriptors of {size}"
        )
    # Whatever is wrong with a number of the configuration is said by its own name, before it is one of ours.
    scale = configuration.scale
    calibration = {"scale": SIGMOID_FACTOR / (2 * scale), "bias": 0.0} if rescaling == "sigmoid" else None
    numbers = {
        "image_size": configuration.crop_size,
        "margin_live": configuration.number("loss.m_l", 0.4),
        "margin_spoof": configuration.number("loss.m_s", 0.1),
        "similarity_weight": configuration.number("loss.alpha1", 1.0) / size,
        "classification_weight": configuration.number("loss.alpha2", 1.0),
    }
    try:
        return PatchNetConfig(
            backbone=configuration.backbone.timm,
            backbone_kwargs=configuration.backbone.arguments(weights.backbone, configuration.crop_size),
            embedding_size=size if configuration.backbone.has_head else None,
            patch_types=[SPOOF, LIVE],
            live_patch_types=[LIVE],
            scale=scale,
            head="linear",
            calibration=calibration,
            **numbers,
        )
    except ValueError as error:
        raise InputError(f"config {configuration.path}: {error}") from error


@torch.no_grad()
def filled_model(
    config: PatchNetConfig, weights: LegacyCheckpoint, mapped: MappedWeights, checkpoint: str, named: str
) -> PatchNetForImageClassification:
    """
    A model with the weights of a checkpoint, every one of them, and no others.

    Args:
        config: of the model.
        weights, mapped: of the checkpoint.
        checkpoint, named: what checkpoint and configuration are called in messages.

    Raises:
        InputError: a weight of the checkpoint has no place, one of the model is missing, a shape differs, or a value
            isn't a number.
    """
    model = PatchNetForImageClassification(config)
    wanted = model.state_dict()
    given = {f"patchnet.backbone.{name}": tensor for name, tensor in mapped.backbone.items()}
    if mapped.projection is not None:
        given["patchnet.projection.weight"] = mapped.projection
    # The scale is a part of the weights here: the head "linear" is a product alone.
    given["classifier.weight"] = config.scale * weights.class_weights
    leftover = [*mapped.leftover, *weights.leftover, *(name for name in given if name not in wanted)]
    missing = [name for name in wanted if name not in given]
    shapes = [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in given.items()
        if name in wanted and _placed(name, tensor).shape != wanted[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names)}"
        for names, what in ((leftover, "of its weights have no place"), (missing, "are missing"), (shapes, "differ"))
        if names
    ]
    if problems:
        raise InputError(f"{checkpoint} doesn't fit {config.backbone}, which {named} names: {'; '.join(problems)}")
    model.load_state_dict({name: _placed(name, tensor) for name, tensor in given.items()}, strict=True)
    check_finite(model.state_dict(), checkpoint)
    return model.eval()


def _placed(name: str, tensor: Tensor) -> Tensor:
    """EfficientFormerV2's scales of layers are (C, 1, 1) in its authors' code and (C,) in timm."""
    is_scale = name.endswith(LAYER_SCALES) and tensor.shape[1:] == (1, 1)
    return tensor.flatten() if is_scale else tensor


def _files() -> set[str]:
    # What save_pretrained puts beside the weights; other code in the folder is the user's own.
    code = {path.name for path in Path(models.__file__).parent.glob("*_patchnet.py")}
    return {CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE, TRAINING_FILE, RESULT_FILE, *code}


def _is_converted(folder: Path) -> bool:
    # Converted data sets have a file of that name, too.
    return (folder / RESULT_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()
