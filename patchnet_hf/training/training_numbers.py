"""Error rates and loss parts of the batches that a run trains on, between one log and the next."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import TrainerCallback

LOSS_PARTS = ("classification", "similarity")


class TrainingNumbers(TrainerCallback):
    """
    Sums what a model says about its training batches, and turns the sums over all processes into numbers.

    All sums stay in one small tensor on the model's device: adding a batch costs a few tiny kernels and never waits
    for the device. As a callback it starts each training at zero.

    Args:
        attack_types: number of attack types, bona fides (id 0) included; 0 where batches don't tell them.
    """

    def __init__(self, attack_types: int):
        self.attack_types = attack_types
        self._sums: Tensor | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Forgets what an earlier training left."""
        self._sums = None

    @torch.no_grad()
    def add(self, outputs, attack_types: Tensor | None, threshold_log_odds: float, passes: int = 1) -> None:
        """
        Adds one batch.

        Args:
            outputs: a `PatchNetOutput` with `logits` `(B, 2)` and `loss_dict`.
            attack_types: `(B,)` int64 ids, 0 for bona fides; `None` when the batch doesn't tell them.
            threshold_log_odds: from which live log-odds on a capture is accepted.
            passes: that the optimiser step of this batch accumulates; each counts as that part of a step, as the
                Trainer counts their losses.
        """
        logits = outputs.logits.detach()
        # Float32 on every device; the captures of an interval are far fewer than the 16.7 million it counts exactly.
        parts = [outputs.loss_dict[name].detach().float().mean() for name in LOSS_PARTS]
        sums = torch.zeros(2 * self.attack_types + 1 + len(LOSS_PARTS), device=logits.device)
        if self.attack_types and attack_types is not None:
            of_type = attack_types.unsqueeze(1) == torch.arange(self.attack_types, device=logits.device)
            accepted = logits[:, 1] - logits[:, 0] >= threshold_log_odds
            sums[: self.attack_types] = of_type.sum(0)
            sums[self.attack_types : 2 * self.attack_types] = (of_type & accepted.unsqueeze(1)).sum(0)
        sums[2 * self.attack_types :] = torch.stack([torch.ones_like(parts[0]), *parts]) / passes
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """
        Numbers over the batches of all processes since the last call, and starts anew; every process must call it.

        Returns:
            `acer`, `apcer` (of the worst attack type) and `bpcer` as shares, `loss_classification` and
            `loss_similarity` as means over optimiser steps. A number that isn't defined (no bona fide in the batches,
            say) is left out.
        """
        if self._sums is None:
            return {}
        sums = accelerator.reduce(self._sums, "sum").tolist()
        self._sums = None
        captures, accepted = sums[: self.attack_types], sums[self.attack_types : 2 * self.attack_types]
        steps, *parts = sums[2 * self.attack_types :]
        numbers = {
            **training_rates(captures, accepted),
            **{f"loss_{name}": total / steps for name, total in zip(LOSS_PARTS, parts, strict=True)},
        }
        return {name: value for name, value in numbers.items() if math.isfinite(value)}


def training_rates(captures: list[float], accepted: list[float]) -> dict[str, float]:
    """
    `acer`, `apcer` and `bpcer` from counts, NaN where a class is absent, as :mod:`patchnet_hf.metrics` defines them.

    Args:
        captures: how many captures there were of each attack type; the first counts the bona fides.
        accepted: how many of them were accepted as live.

    >>> training_rates([4, 10, 2, 0], [3, 1, 1, 0])
    {'acer': 0.375, 'apcer': 0.5, 'bpcer': 0.25}
    """
    pairs = list(zip(captures, accepted, strict=True))
    apcer = max((passed / count for count, passed in pairs[1:] if count), default=math.nan)
    bpcer = 1 - pairs[0][1] / pairs[0][0] if pairs and pairs[0][0] else math.nan
    return {"acer": (apcer + bpcer) / 2, "apcer": apcer, "bpcer": bpcer}
