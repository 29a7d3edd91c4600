"""What processes have to agree on beyond gradients: batch-norm statistics."""

import torch
from timm.layers.norm_act import SyncBatchNormAct, convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SynchronizedBatchNorm(nn.SyncBatchNorm):
    """
    [`torch.nn.SyncBatchNorm`] that also works on the CPU, where torch offers none.

    In training mode the mean and variance are those of the joint batch of all processes, and gradients flow through
    them (Ioffe and Szegedy 2015, arXiv 1502.03167, over the union of the batches). In evaluation mode, and in one
    process, it is plain batch normalisation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, ...)` to the same shape."""
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if input.device.type != "cpu" or not self.training or processes == 1:
            return super().forward(input)
        return self._normalized(input)

    def _normalized(self, input: Tensor) -> Tensor:
        values = input.float()
        over = [0, *range(2, values.ndim)]
        shape = [1, -1] + [1] * (values.ndim - 2)
        count = values.new_tensor([values.numel() / values.shape[1]])
        total = all_reduce(torch.cat([values.sum(over), count]))
        mean, count = total[:-1] / total[-1], total[-1].detach()
        # The variance in a second pass: a difference of large sums would lose its digits.
        centered = values - mean.view(shape)
        variance = all_reduce(centered.square().sum(over)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach(), count)
        normalized = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalized = normalized * self.weight.float().view(shape) + self.bias.float().view(shape)
        return normalized.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = variance * count / (count - 1).clamp_min(1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


class SynchronizedBatchNormAct(SyncBatchNormAct, SynchronizedBatchNorm):
    """timm's batch normalisation with an activation behind it, synchronised by [`SynchronizedBatchNorm`]."""


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """
    Makes all batch normalisation in `module` use the statistics of the joint batch of all processes.

    Names of parameters and buffers stay the same, so the weights fit the module before and after.

    Args:
        module: changed in place.

    Returns:
        `module`, or its replacement where it is a batch normalisation itself.
    """
    module = convert_sync_batchnorm(module)
    for part in module.modules():
        if isinstance(part, SyncBatchNormAct):
            part.__class__ = SynchronizedBatchNormAct
        elif isinstance(part, nn.SyncBatchNorm):
            part.__class__ = SynchronizedBatchNorm
    return module


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """
    Gives all processes the buffers of process 0.

    Without synchronised batch normalisation each process tracks the statistics of its own batches, and those of
    process 0 are saved: an evaluation must see what is saved.
    """
    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, src=0)
