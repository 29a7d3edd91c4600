"""What a training run can be told, each option with its help; YAML and the command line only fill these."""

import os
from dataclasses import dataclass, field

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

from ..cards.card_metadata import checked_repo
from ..errors import InputError
from .optimization import as_transformers_knows, check_optimization
from .options import PRECISIONS, DataArguments, ModelArguments, TrainingOptions

# Numbers of the metrics contract that are better when larger; all others that can choose a checkpoint are errors.
LARGER_IS_BETTER = ("auc", "precision", "recall", "specificity", "f1", "f3")


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or Arm's BF16)."""
    # Older releases of torch can't tell; there float32 is the safe answer.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cores_of_a_process() -> int:
    """This process's fair share of the processor cores that the machine's training processes may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


@dataclass
class PatchNetTrainingArguments(TrainingOptions, TrainingArguments):
    """
    [`transformers.TrainingArguments`] with the defaults of this task.

    Adds `precision`, `channels_last`, `sync_batch_norm`, `cpu_threads`, `overwrite`, `telegram`,
    `decay_norms_and_biases`, `ema_decay` and `ema_warmup`, and names of optimisers and schedules. Evaluates and saves
    each epoch and keeps the checkpoint with the lowest `eval_total_acer`.
    """

    _argument_group_name = "training (transformers.TrainingArguments)"

    optim: str = field(
        default=TrainingArguments.default_optim,
        metadata={"help": "Optimiser: adam, amsgrad, adamw, sgd, rmsprop, or any other that transformers knows."},
    )

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.torch_compile:
            # A graph for each batch shape, of which a run has a few; graphs of any shape fail for some backbones.
            os.environ.setdefault("ACCELERATE_DYNAMO_USE_DYNAMIC", "false")
        if self.hub_strategy != "end":
            # The Trainer would push its arguments along as a pickle.
            raise InputError(f"hub_strategy is {str(self.hub_strategy)!r}; only end is offered")
        if self.push_to_hub and checked_repo(self.hub_model_id) is None:
            raise InputError("push_to_hub needs to know where: give --hub_model_id OWNER/NAME")
        if getattr(self, "save_safetensors", True) is False:
            raise InputError("save_safetensors is false; models are saved as safetensors, never as pickles")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        # Set by `accelerate launch` with a configuration for the CPU.
        self.use_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
        accelerator = torch.accelerator.is_available() and not self.use_cpu
        if not accelerator:
            self.use_cpu = True
        elif self.accelerator_config is None and self.dataloader_pin_memory:
            # Batches are copied to the device while it computes.
            self.accelerator_config = {"non_blocking": True}
        if self.precision != "auto":
            self.bf16, self.fp16 = self.precision == "bfloat16", self.precision == "float16"
            # Where the launcher or an earlier run in this process left another, accelerate would go by that.
            os.environ["ACCELERATE_MIXED_PRECISION"] = PRECISIONS[self.precision]
        elif not self.fp16 and not self.bf16:
            self.bf16 = self._has_bfloat16(accelerator)
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            # The Trainer takes any metric that isn't called loss for one to maximise; ours are error rates.
            rate_of_type = "apcer_type_" in self.metric_for_best_model  # and a type may be called anything
            self.greater_is_better = self.metric_for_best_model.endswith(LARGER_IS_BETTER) and not rate_of_type
        with as_transformers_knows(self):
            super().__post_init__()
        check_optimization(self)

    @property
    def effective_batch_size(self) -> int:
        """Captures of one optimiser step, on all processes and over all passes that it accumulates."""
        # With accelerate's split_batches the batch is that of all processes.
        processes = 1 if self.accelerator_config.split_batches else self.world_size
        return self.train_batch_size * processes * self.gradient_accumulation_steps

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype that forward passes are cast to, `None` for that of the weights."""
        return torch.bfloat16 if self.bf16 else torch.float16 if self.fp16 else None

    @property
    def precision_name(self) -> str:
        """`bfloat16`, `float16` or `float32`: what `precision` came to."""
        return str(self.autocast_dtype or torch.float32).removeprefix("torch.")

    @staticmethod
    def _has_bfloat16(accelerator: bool) -> bool:
        if not accelerator:
            return cpu_has_bfloat16()
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


__all__ = ["DataArguments", "ModelArguments", "PatchNetTrainingArguments", "cores_of_a_process", "cpu_has_bfloat16"]
