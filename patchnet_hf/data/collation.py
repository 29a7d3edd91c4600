"""From decoded views to the tensors of a batch."""

import numpy as np
import torch


class ViewCollator:
    """
    Stacks the items of [`TrainingViews`] and [`EvaluationViews`].

    What comes from data workers and goes to the device stays bytes, a quarter of what floats would be;
    [`PatchNetTrainer`] normalises it there, by the image processor's `normalize_views`.

    Returns, when called on a list of B items:
        `pixel_values` `(B, V, P, P, 3)` uint8, and `labels` and `attack_types` `(B,)` int64 where items have them.
    """

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        batch = {"pixel_values": torch.from_numpy(np.stack([item["pixel_values"] for item in items]))}
        for name in ("labels", "attack_types"):
            if name in items[0]:
                batch[name] = torch.tensor([item[name] for item in items], dtype=torch.int64)
        return batch
