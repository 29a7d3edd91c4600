"""The model, its configuration, losses and image processor: the files that travel with a checkpoint."""

from .configuration_patchnet import PatchNetConfig
from .image_processing_patchnet import PatchNetImageProcessor
from .modeling_patchnet import (
    PatchNetForImageClassification,
    PatchNetModel,
    PatchNetModelOutput,
    PatchNetOutput,
    PatchNetPreTrainedModel,
)

__all__ = [
    "PatchNetConfig",
    "PatchNetForImageClassification",
    "PatchNetImageProcessor",
    "PatchNetModel",
    "PatchNetModelOutput",
    "PatchNetOutput",
    "PatchNetPreTrainedModel",
]
