"""From decoded views to the tensors of a batch."""

import numpy as np
import torch

from ..models.image_processing_patchnet import PatchNetImageProcessor


class ViewCollator:
    """
    Stacks and normalises the items of [`TrainingViews`] and [`EvaluationViews`].

    Args:
        processor: normalises, so that training and prediction can't differ.

    Returns, when called on a list of B items:
        `pixel_values` `(B, V, 3, P, P)` float32 in channels-last memory, and `labels` and `attack_types` `(B,)` int64
        where items have them.
    """

    def __init__(self, processor: PatchNetImageProcessor):
        self.processor = processor

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        views = np.stack([item["pixel_values"] for item in items])
        batch = {"pixel_values": self.processor.normalize_views(views)}
        for name in ("labels", "attack_types"):
            if name in items[0]:
                batch[name] = torch.tensor([item[name] for item in items], dtype=torch.int64)
        return batch
