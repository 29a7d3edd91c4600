"""
The model, its configuration, losses and image processor: the files that travel with a checkpoint.

Importing this registers them with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoVideoProcessor,
)

from .configuration_patchnet import PatchNetConfig
from .image_processing_patchnet import PatchNetImageProcessor
from .modeling_patchnet import (
    PatchNetForImageClassification,
    PatchNetModel,
    PatchNetModelOutput,
    PatchNetOutput,
    PatchNetPreTrainedModel,
)

AutoConfig.register("patchnet", PatchNetConfig, exist_ok=True)
AutoModel.register(PatchNetConfig, PatchNetModel, exist_ok=True)
AutoModelForImageClassification.register(PatchNetConfig, PatchNetForImageClassification, exist_ok=True)
AutoImageProcessor.register(PatchNetConfig, slow_image_processor_class=PatchNetImageProcessor, exist_ok=True)
# The image pipeline of transformers 5 looks for a video processor as well, takes for granted that a model with code of
# its own has one, and asks whether to trust that code; where none is registered for a type of model, it doesn't ask.
AutoVideoProcessor.register(PatchNetConfig, None, exist_ok=True)

PatchNetConfig.register_for_auto_class()
PatchNetModel.register_for_auto_class("AutoModel")
PatchNetForImageClassification.register_for_auto_class("AutoModelForImageClassification")
PatchNetImageProcessor.register_for_auto_class()

__all__ = [
    "PatchNetConfig",
    "PatchNetForImageClassification",
    "PatchNetImageProcessor",
    "PatchNetModel",
    "PatchNetModelOutput",
    "PatchNetOutput",
    "PatchNetPreTrainedModel",
]
