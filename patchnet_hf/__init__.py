"""PatchNet face anti-spoofing (Wang et al., CVPR 2022, arXiv 2203.14325) for the Hugging Face stack.

Importing this package registers the model with transformers' Auto classes: they load it by its type, and what it
saves carries its own code, for those who load it without this package (`trust_remote_code=True`).
"""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoVideoProcessor,
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
