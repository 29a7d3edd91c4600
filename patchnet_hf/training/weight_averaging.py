"""An exponential moving average of the weights: what is evaluated and saved, while training goes on without it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from timm.utils import ModelEmaV3
from torch import nn
from transformers import TrainerCallback

from ..errors import InputError

TRAINING_WEIGHTS = "training_weights.safetensors"


@torch.no_grad()
def exchange_weights(first: nn.Module, second: nn.Module) -> None:
    """Exchanges the values of all parameters and saved buffers of two modules of one kind, in place."""
    for mine, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        held = mine.clone()
        mine.copy_(other)
        other.copy_(held)


class WeightAveraging(TrainerCallback):
    """
    Keeps `average = decay * average + (1 - decay) * weights` after each optimiser step, by [`timm.utils.ModelEmaV3`].

    Floating-point buffers (the statistics of batch norm) are averaged likewise, integer ones are the latest.

    Args:
        decay: of the average.
        warmup: whether the decay grows with the number k of optimiser steps, as `min(decay, 1 - k ** (-2 / 3))`, so
            that the average of a short run doesn't consist of its first weights.

    Attributes:
        average: the average, `None` before and after training.
    """

    def __init__(self, decay: float, warmup: bool = True):
        self.decay = decay
        self.warmup = warmup
        self.average: ModelEmaV3 | None = None
        self._applied = False

    def start(self, model: nn.Module):
        """Begins the average with the weights that `model` has now."""
        self.average = ModelEmaV3(model, decay=self.decay, use_warmup=self.warmup)

    def stop(self):
        """Forgets the average; the model stays as it is."""
        self.average = None

    @contextmanager
    def applied(self, model: nn.Module, everywhere: bool = False) -> Iterator[None]:
        """
        `model` has the averaged weights within the context, its own again afterwards.

        Args:
            model: the model that is trained.
            everywhere: all processes enter the context. Batch norm's statistics are each process's own; they become
                those of process 0, whose model is the one that is saved.
        """
        if self.average is None or self._applied:
            yield
            return
        if everywhere:
            self._share_buffers()
        exchange_weights(model, self.average.module)
        self._applied = True
        try:
            yield
        finally:
            exchange_weights(model, self.average.module)
            self._applied = False

    def _share_buffers(self):
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.average.module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # A resumed run has begun with the average of its checkpoint.
        if self.average is None:
            self.start(model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        # By the number of the step, which is the checkpoint's when a run goes on, the warm-up has no state of its own.
        self.average.update(model, step=state.global_step)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        # The best checkpoint, if it has been loaded, holds averaged weights already.
        if self.average is not None:
            self._share_buffers()
            exchange_weights(model, self.average.module)
            self.stop()


class WeightAveragingMixin:
    """
    Makes a Trainer evaluate and save averaged weights when its arguments have `ema_decay`.

    While it trains, evaluation, prediction, saved models and checkpoints are of the average; training goes on with
    the weights that the optimiser makes, which a checkpoint holds in `training_weights.safetensors` besides. It ends
    with the best checkpoint's average, or the latest.
    """

    weight_averaging: WeightAveraging | None = None

    def __init__(self, *, args, **kwargs):
        super().__init__(args=args, **kwargs)
        if args.ema_decay is None:
            return
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise InputError(
                "ema_decay averages whole weights; it can't be used with FSDP or DeepSpeed, which split them"
            )
        self.weight_averaging = WeightAveraging(args.ema_decay, args.ema_warmup)
        self.add_callback(self.weight_averaging)

    @contextmanager
    def averaged_weights(self, everywhere: bool = False) -> Iterator[None]:
        """`self.model` has the averaged weights, if there are any, within the context."""
        if self.weight_averaging is None:
            yield
            return
        with self.weight_averaging.applied(self.model, everywhere):
            yield

    def evaluation_loop(self, *args, **kwargs):
        """As [`transformers.Trainer.evaluation_loop`], of the averaged weights."""
        with self.averaged_weights(everywhere=True):
            return super().evaluation_loop(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """As [`transformers.Trainer.save_model`], of the averaged weights."""
        with self.averaged_weights():
            super().save_model(output_dir, _internal_call)
        averaging = self.weight_averaging is not None and self.weight_averaging.average is not None
        checkpoint = _internal_call and output_dir is not None and not self.args.save_only_model
        if averaging and checkpoint and self.args.should_save:
            # Channels-last memory is no layout of the file format.
            weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
            save_file(weights, Path(output_dir) / TRAINING_WEIGHTS, metadata={"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        weights = Path(resume_from_checkpoint) / TRAINING_WEIGHTS
        if not weights.is_file():
            return
        if self.weight_averaging is None:
            warnings.warn(
                f"{resume_from_checkpoint} is of a run with ema_decay; it goes on without, from the weights that were "
                "not averaged",
                stacklevel=2,
            )
        else:
            self.weight_averaging.start(self.model)
        self.model.load_state_dict(load_file(weights))

    def _load_best_model(self):
        super()._load_best_model()
        if self.weight_averaging is not None:
            self.weight_averaging.stop()
