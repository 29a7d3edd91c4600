"""Modules that become exported graphs: a model with as much of what surrounds it as a consumer wants inside."""

import torch
from torch import Tensor, nn

from ..inference.graph_outputs import GraphOutput
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from ..models.modeling_patchnet import live_spoof_logits
from .preprocessing import PictureViews, PixelNormalization


class OutputLayer(nn.Module):
    """
    Logits as what a graph gives.

    Args:
        output: which.
    """

    def __init__(self, output: GraphOutput):
        super().__init__()
        self.output = output

    def forward(self, logits: Tensor) -> Tensor:
        """`(B, 2)` logits as they are, or `(B,)` probabilities or scores."""
        if self.output.kind == "logits":
            return logits
        log_odds = logits[:, 1] - logits[:, 0]
        if self.output.kind == "linear":
            return torch.clamp(0.5 + log_odds / (2 * self.output.reach), 0.0, 1.0)
        return torch.sigmoid(self.output.slope * log_odds)


class PatchGraph(nn.Module):
    """
    Patches to one output for each capture.

    Args:
        model: in evaluation mode.
        processor: normalises uint8 patches inside; `None` for patches that already are.
        output: what the graph gives.
    """

    def __init__(
        self,
        model: PatchNetForImageClassification,
        processor: PatchNetImageProcessor | None,
        output: GraphOutput,
    ):
        super().__init__()
        self.normalization = nn.Identity() if processor is None else PixelNormalization(processor)
        self.model = model
        self.output = OutputLayer(output)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """
        Args:
            pixel_values: `(B, 3, P, P)` or `(B, V, 3, P, P)` float32 as the image processor gives them; with a
                processor inside, `(B, P, P, 3)` or `(B, V, P, P, 3)` uint8 RGB.

        Returns:
            As [`OutputLayer`].
        """
        return self.output(self.model(self.normalization(pixel_values), return_dict=True).logits)


class PictureGraph(nn.Module):
    """
    One face crop to its output and those of its patches: the whole of the image processor and the model.

    Args:
        model: in evaluation mode.
        processor: what happens to the picture.
        output: what the graph gives.
    """

    def __init__(self, model: PatchNetForImageClassification, processor: PatchNetImageProcessor, output: GraphOutput):
        super().__init__()
        self.views = PictureViews(processor)
        self.normalization = PixelNormalization(processor)
        self.model = model
        self.output = OutputLayer(output)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            image: `(H, W, 3)` uint8 RGB, of any size.

        Returns:
            The output of the capture `(1,)` (`(1, 2)` for logits), and of its V patches `(V,)` (`(V, 2)`), row by row.
        """
        pixel_values = self.normalization(self.views(image)).unsqueeze(0)
        output = self.model(pixel_values, return_dict=True)
        by_patch = output.patch_type_logits.flatten(0, 1).unsqueeze(1)
        of_patches = self.model.calibrate(live_spoof_logits(by_patch, self.model.classifier.live_mask))
        return self.output(output.logits), self.output(of_patches)
