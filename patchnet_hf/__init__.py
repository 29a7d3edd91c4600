"""PatchNet face anti-spoofing (Wang et al., CVPR 2022, arXiv 2203.14325) for the Hugging Face stack.

Importing this package registers the model with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
)

from .models import (
    PatchNetConfig,
    PatchNetForImageClassification,
    PatchNetImageProcessor,
    PatchNetModel,
    PatchNetModelOutput,
    PatchNetOutput,
    PatchNetPreTrainedModel,
)

__version__ = "0.1.0"

AutoConfig.register("patchnet", PatchNetConfig, exist_ok=True)
AutoModel.register(PatchNetConfig, PatchNetModel, exist_ok=True)
AutoModelForImageClassification.register(PatchNetConfig, PatchNetForImageClassification, exist_ok=True)
AutoImageProcessor.register(PatchNetConfig, slow_image_processor_class=PatchNetImageProcessor, exist_ok=True)

__all__ = [
    "PatchNetConfig",
    "PatchNetForImageClassification",
    "PatchNetImageProcessor",
    "PatchNetModel",
    "PatchNetModelOutput",
    "PatchNetOutput",
    "PatchNetPreTrainedModel",
]
