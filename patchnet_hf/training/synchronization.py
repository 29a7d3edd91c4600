"""What processes have to agree on beyond gradients: batch-norm statistics, and whether to go on."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from ..errors import InputError


def joint_batch_norm(layer: nn.BatchNorm2d, input: Tensor) -> Tensor:
    """
    Batch normalisation by the mean and variance of the joint batch of all processes, through which gradients flow.

    Ioffe and Szegedy 2015 (arXiv 1502.03167) over the union of the batches; computed in float32 at least. Updates the
    layer's running statistics.

    Args:
        layer: in training mode; gives weights, running statistics, momentum and epsilon.
        input: `(N, C, H, W)`, of every process.

    Returns:
        Tensor like `input`.
    """
    values = input.to(torch.promote_types(input.dtype, torch.float32))
    shape = (1, -1, 1, 1)
    own_count = values.new_tensor([values.numel() / values.shape[1]])
    total = all_reduce(torch.cat([values.sum((0, 2, 3)), own_count]))
    mean, count = total[:-1] / total[-1], total[-1].detach()
    # The variance in a second pass: a difference of large sums would lose its digits.
    centered = values - mean.view(shape)
    variance = all_reduce(centered.square().sum((0, 2, 3))) / count
    if layer.track_running_stats:
        _track(layer, mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
    normalized = centered * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        normalized = normalized * layer.weight.view(shape) + layer.bias.view(shape)
    return normalized.to(input.dtype)


def _track(layer: nn.BatchNorm2d, mean: Tensor, unbiased_variance: Tensor) -> None:
    layer.num_batches_tracked.add_(1)
    momentum = 1 / layer.num_batches_tracked.item() if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(unbiased_variance.to(layer.running_var.dtype), momentum)


class JointBatchNorm2d(nn.BatchNorm2d):
    """[`torch.nn.BatchNorm2d`] that in training mode sees the joint batch of all processes, on any device."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        return joint_batch_norm(self, input) if self.training else super().forward(input)


class JointBatchNormAct2d(BatchNormAct2d):
    """timm's batch normalisation with an activation behind it, over the joint batch as [`JointBatchNorm2d`]."""

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        return self.act(self.drop(joint_batch_norm(self, x))) if self.training else super().forward(x)


def synchronize_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """
    Makes all batch normalisation in `module` use the statistics of the joint batch of all processes.

    On an accelerator by torch's fused [`torch.nn.SyncBatchNorm`]; torch has none for the CPU, where
    [`joint_batch_norm`] does it. Names of parameters and buffers stay the same.

    Args:
        module: changed in place, or replaced where it is a batch normalisation itself.
        device: that it will be trained on, by processes of an initialised `torch.distributed`.

    Raises:
        InputError: on the CPU, `module` has batch normalisation of another kind than that of images.
    """
    if device.type != "cpu":
        return convert_sync_batchnorm(module)
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = JointBatchNorm2d
        elif type(part) is BatchNormAct2d:
            part.__class__ = JointBatchNormAct2d
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise InputError(f"sync_batch_norm: {type(part).__name__} can't be synchronised on the CPU")
    return module


def raise_everywhere(failure: str | None, kind: type[InputError] = InputError) -> None:
    """
    Raises on all processes what failed on one of them; all have to call it, and wait here for each other.

    Args:
        failure: what failed on this process, `None` if nothing did.
        kind: of the exception.

    Raises:
        kind: with the first failure of any process.
    """
    failures = [reason for reason in gather_object([failure]) if reason]
    if failures:
        error = kind(failures[0])
        error.shared = True
        raise error


@contextmanager
def alike_everywhere() -> Iterator[None]:
    """
    A block that all processes run: what is wrong with the input of one ends all of them in the same way.

    The block must not wait for other processes.

    Raises:
        InputError: on all processes, what the block raised on any of them.
    """
    failure = None
    try:
        yield
    except InputError as error:
        failure = str(error)
    raise_everywhere(failure)


def leave_processes() -> None:
    """
    Waits for all processes and closes the connections between them.

    At the interpreter's exit gloo's threads may abort a process in which they still run. They end with the last
    reference to their group, so what holds one (a trained model, wrapped) should be gone by now.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        PartialState().destroy_process_group()


@contextmanager
def left_together() -> Iterator[None]:
    """A block that all processes run and leave together, unless one of them fails alone."""
    try:
        yield
    except (InputError, KeyboardInterrupt) as stop:
        if getattr(stop, "shared", False):
            traceback.clear_frames(stop.__traceback__)
            leave_processes()
        raise
    leave_processes()


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """
    Gives all processes the buffers of process 0.

    Without synchronised batch normalisation each process has the statistics of its own last batches in them, and those
    of process 0 are saved: an evaluation must see what is saved.
    """
    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, src=0)
