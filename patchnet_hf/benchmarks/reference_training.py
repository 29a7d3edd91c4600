"""How fas-patchnet takes a training step, as a measure for the one here."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import PatchNetForImageClassification


class ReferenceSteps:
    """
    Training steps as fas-patchnet takes them: the two views pass the network one after the other in float32, the loss
    collects margins and the other types' cosines capture by capture in Python, and so are right and wrong predictions
    counted.

    The loss is that of :mod:`patchnet_hf.models.losses_patchnet`, so that both ways learn the same.

    Args:
        model: trained in place; in training mode, on the device that computes.
        learning_rate: of Adam with decoupled weight decay.

    Attributes:
        counts: of `true_live`, `false_live`, `true_spoof` and `false_spoof` predictions so far.
    """

    def __init__(self, model: PatchNetForImageClassification, learning_rate: float = 1e-4):
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
        self.counts = dict.fromkeys(("true_live", "false_live", "true_spoof", "false_spoof"), 0)

    def __call__(self, first: Tensor, second: Tensor, labels: Tensor) -> float:
        """
        One step.

        Args:
            first, second: `(B, 3, P, P)` float32, a view of each capture.
            labels: `(B,)` patch-type ids.

        Returns:
            The loss.
        """
        self.optimizer.zero_grad()
        embeddings = [self.model.patchnet(view).embeddings for view in (first, second)]
        cosines = [self._cosines(of_view) for of_view in embeddings]
        similarity = (embeddings[0] - embeddings[1]).square().sum(dim=1).mean()
        loss = self._margin_loss(cosines[0], labels) + self._margin_loss(cosines[1], labels) + similarity
        loss.backward()
        self.optimizer.step()
        self._count(cosines[0], labels)
        return loss.item()

    def _cosines(self, embeddings: Tensor) -> Tensor:
        return F.linear(embeddings, F.normalize(self.model.classifier.weight, dim=-1))

    def _margin_loss(self, cosines: Tensor, labels: Tensor) -> Tensor:
        config, live = self.model.config, self.model.config.live_patch_type_ids
        margins = [config.margin_live if int(label) in live else config.margin_spoof for label in labels]
        others = torch.cat(
            [
                torch.cat([of_capture[:label], of_capture[label + 1 :]]).unsqueeze(0)
                for of_capture, label in zip(cosines, labels, strict=True)
            ]
        )
        own = cosines[torch.arange(len(labels), device=labels.device), labels]
        right = config.scale * (own - torch.tensor(margins, device=cosines.device))
        return (torch.log(torch.exp(right) + torch.exp(config.scale * others).sum(dim=1)) - right).mean()

    def _count(self, cosines: Tensor, labels: Tensor) -> None:
        live = self.model.config.live_patch_type_ids
        for predicted, label in zip(cosines.argmax(dim=1), labels, strict=True):
            said_live, is_live = predicted.item() in live, label.item() in live
            self.counts[f"{str(said_live == is_live).lower()}_{'live' if said_live else 'spoof'}"] += 1
