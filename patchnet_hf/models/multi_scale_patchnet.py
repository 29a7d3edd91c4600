"""What the multi-scale backbones share: three levels that are brought to one size, concatenated and pooled."""

from collections.abc import Callable, Sequence

import torch
from timm.layers import ClassifierHead
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LEVELS = 3


class MultiScaleNet(nn.Module):
    """
    A timm model whose features are three levels of itself, at a half, a quarter and an eighth of the picture's side,
    brought to the size of the last and concatenated. A subclass gives the levels.

    As every timm model it has `forward_features`, `forward_head`, `forward_intermediates` (which `features_only=True`
    uses), `get_classifier`, `reset_classifier`, `num_features` and `set_grad_checkpointing`.

    Args:
        channels (`int`): of each of the three levels.
        stems (`list[str]`): names of the modules before the first level.
        num_classes (`int`, *optional*, defaults to 2): classes of the linear layer at the end; 0 for none.
        drop_rate (`float`, *optional*, defaults to 0.0): dropout probability on the pooled features.
        global_pool (`str`, *optional*, defaults to `"avg"`): how the features are pooled, `""` for not at all.
    """

    def __init__(
        self,
        channels: int,
        stems: Sequence[str],
        num_classes: int = 2,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ):
        super().__init__()
        self.stems = tuple(stems)
        self.num_classes = num_classes
        self.num_features = LEVELS * channels
        self.grad_checkpointing = False
        self.feature_info = [
            {"num_chs": channels, "reduction": 2 ** (level + 1), "module": f"levels.{level}"}
            for level in range(LEVELS)
        ]
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)

    @property
    def head_hidden_size(self) -> int:
        """How many features there are after pooling."""
        return self.head.num_features

    def forward_levels(self, patches: Tensor, count: int = LEVELS) -> list[Tensor]:
        """
        The first `count` levels of `(B, C, H, W)` patches: `(B, channels, H / 2, W / 2)`, and half of that side again
        for each further one.
        """
        raise NotImplementedError

    def prune_levels(self, count: int) -> None:
        """Drops all levels but the first `count`."""
        raise NotImplementedError

    def run_part(self, part: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
        """
        A part of the network on `(B, C, H, W)` features, computed anew in the backward pass where gradient
        checkpointing is on.
        """
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(part, features, use_reentrant=False)
        return part(features)

    def forward_features(self, patches: Tensor) -> Tensor:
        """`(B, C, H, W)` patches to `(B, num_features, H / 8, W / 8)` features."""
        return join_levels(self.forward_levels(patches))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to `(B, num_classes)` logits; with `pre_logits` or without classes to the pooled features."""
        return self.head(features, pre_logits=pre_logits)

    def forward(self, patches: Tensor) -> Tensor:
        """`(B, C, H, W)` patches to `(B, num_classes)` logits, or without classes to `(B, num_features)` features."""
        return self.forward_head(self.forward_features(patches))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """
        Levels by their index, each at its own size, and the features.

        Args:
            x: `(B, C, H, W)` patches.
            indices: which levels; a number for the last so many, `None` for all.
            norm: has no effect, since nothing is normalised after the last level.
            stop_early: computes no level after the last that is asked for; the features are then of fewer levels.
            output_fmt: `"NCHW"`.
            intermediates_only: returns the levels alone.

        Raises:
            ValueError: there are no such levels, or `output_fmt` is another.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; expected 'NCHW'")
        taken = level_indices(indices)
        last = max(taken)
        levels = self.forward_levels(x, last + 1 if stop_early or intermediates_only else LEVELS)
        intermediates = [levels[index] for index in taken]
        return intermediates if intermediates_only else (join_levels(levels), intermediates)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what the levels of these indices don't need, and returns the indices counted from the first."""
        taken = level_indices(indices)
        self.prune_levels(max(taken) + 1)
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new linear layer for so many classes, 0 for none, and another way to pool if one is given."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of parameter names, from the input to the output, for learning rates by depth."""
        stems = "|".join(self.stems)
        return {"stem": rf"^(?:{stems})", "blocks": r"^\w*levels\.(\d+)" if coarse else r"^\w*levels\.(\d+)\.(\d+)"}


def join_levels(levels: Sequence[Tensor]) -> Tensor:
    """Feature maps concatenated at the size of the last, to which the others are interpolated bilinearly."""
    size = levels[-1].shape[-2:]
    resized = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[:-1]]
    return torch.cat([*resized, levels[-1]], dim=1)


def level_indices(indices: int | Sequence[int] | None) -> list[int]:
    """
    Which levels are meant, in their order: by index, negative from the end; a number for the last so many, `None` for
    all.

    Raises:
        ValueError: there are no such levels.

    >>> level_indices(2), level_indices([0, -1]), level_indices(None)
    ([1, 2], [0, 2], [0, 1, 2])
    """
    known = range(LEVELS)
    meant = known if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    if not meant or not all(-LEVELS <= index < LEVELS for index in meant):
        raise ValueError(f"levels {indices!r} are asked for; there are {LEVELS}")
    return sorted({known[index] for index in meant})


__all__ = ["MultiScaleNet", "join_levels", "level_indices"]
