"""ONNX configuration of PatchNet for optimum; importing this file registers it with optimum's exporter."""

from pathlib import Path

import torch
from torch import Tensor, nn

try:
    from optimum.exporters.onnx.config import VisionOnnxConfig
    from optimum.exporters.onnx.model_patcher import ModelPatcher
    from optimum.exporters.tasks import TasksManager
    from optimum.utils import DummyVisionInputGenerator, NormalizedVisionConfig
except ImportError as error:
    # In a `try`, because transformers asks for all other packages that remote code imports before it loads a model.
    raise ImportError(
        f"optimum's ONNX exporter can't be imported ({error}); it needs transformers 4.57 and optimum-onnx 0.1"
    ) from error

MULTI_PATCH, SINGLE_PATCH = "multi-patch", "single-patch"


class DummyPatchGenerator(DummyVisionInputGenerator):
    """Random patches, `(B, C, P, P)`, or with V patches of each capture `(B, V, C, P, P)`."""

    def __init__(self, task: str, normalized_config: NormalizedVisionConfig, size: int, views: int | None, **shapes):
        super().__init__(task, normalized_config, **shapes)
        self.shape = [self.batch_size, *([] if views is None else [views]), self.num_channels, size, size]

    def generate(self, input_name: str, framework: str = "pt", int_dtype: str = "int64", float_dtype: str = "fp32"):
        # Normalised pixels lie on both sides of zero.
        return self.random_float_tensor(self.shape, -2, 2, framework=framework, dtype=float_dtype)


class MergedForExport(nn.Module):
    """A backbone that is exported with its branches merged, and that otherwise answers as it was trained."""

    def __init__(self, trained: nn.Module, merged: nn.Module):
        super().__init__()
        self.trained, self.merged = trained, merged

    def forward(self, patches: Tensor) -> Tensor:
        return self.merged(patches) if torch.onnx.is_in_onnx_export() else self.trained(patches)


class PatchNetModelPatcher(ModelPatcher):
    """Merges the branches of a re-parameterisable backbone for the time of an export.

    optimum enters it for its validation too, which thereby compares the graph with the model as it was trained.
    """

    def __enter__(self):
        self.trained = self._model.patchnet.backbone
        merged = self._model.reparameterized().patchnet.backbone
        super().__enter__()
        self._model.patchnet.backbone = MergedForExport(self.trained, merged)

    def __exit__(self, exc_type, exc_value, traceback):
        self._model.patchnet.backbone = self.trained
        super().__exit__(exc_type, exc_value, traceback)


@TasksManager.create_register("onnx")("patchnet", "image-classification")
class PatchNetOnnxConfig(VisionOnnxConfig):
    """
    What goes into an exported graph of [`PatchNetForImageClassification`], and what comes out.

    Input `pixel_values`, float: `(B, V, 3, P, P)`, as [`PatchNetImageProcessor`] gives it, with any number B of
    captures and V of patches of each; in the variant `"single-patch"` (`optimum-cli export onnx --variant
    single-patch`) `(B, 3, P, P)`, patches that are captures of their own. Output `logits`, `(B, 2)`: spoof and live,
    averaged over the patches and calibrated, as the model gives them.

    P is fixed: the image processor's patch size, or `config.image_size` where there is no image processor. A ViT,
    Swin or EfficientFormer takes no other, and what else could take patches of another size wasn't trained on any.
    """

    NORMALIZED_CONFIG_CLASS = NormalizedVisionConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyPatchGenerator,)
    VARIANTS = {
        MULTI_PATCH: "pixel_values is (batch_size, num_patches, 3, P, P), as the image processor gives it.",
        SINGLE_PATCH: "pixel_values is (batch_size, 3, P, P): single patches.",
    }
    DEFAULT_VARIANT = MULTI_PATCH
    # Of logits in the tens, which are log-probabilities.
    ATOL_FOR_VALIDATION = 1e-4
    _MODEL_PATCHER = PatchNetModelPatcher

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        views = {1: "num_patches"} if self.variant == MULTI_PATCH else {}
        return {"pixel_values": {0: "batch_size", **views}}

    @property
    def image_processors(self) -> list:
        """Those among the model's preprocessors; optimum finds the same one in several ways."""
        return [processor for processor in self._preprocessors or [] if hasattr(processor, "patch_size")]

    def _create_dummy_input_generator_classes(self, **shapes) -> list[DummyPatchGenerator]:
        # As many patches as a capture has, because with `--no-dynamic-axes` the graph is for that number.
        size, views = self._config.image_size, 9
        for processor in self.image_processors:
            size, views = processor.patch_size, processor.grid**2 if processor.mode == "patches" else 1
        views = views if self.variant == MULTI_PATCH else None
        return [DummyPatchGenerator(self.task, self._normalized_config, size, views, **shapes)]

    def post_process_exported_models(self, path: Path, *exported):
        """Saves the image processor beside the graph: where it is remote code, optimum leaves it out."""
        for processor in self.image_processors:
            processor.save_pretrained(path)
        return super().post_process_exported_models(path, *exported)


__all__ = ["PatchNetOnnxConfig"]
