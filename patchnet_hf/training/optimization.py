"""Optimisers by name with typed arguments, which parameters decay, and the Trainer's hooks for them and schedules."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

import timm.optim
import torch
from torch import nn
from transformers import SchedulerType, Trainer, TrainingArguments
from transformers.optimization import Adafactor
from transformers.trainer_utils import has_length
from transformers.training_args import OptimizerNames

from ..errors import InputError, did_you_mean
from .schedules import CosineWarmRestarts, OwnSchedules, check_schedule, known_name, schedule_arguments, schedule_name


class OwnOptimizers(StrEnum):
    """Names of the reference that transformers doesn't know (`sgd` and `rmsprop` are names of both)."""

    ADAM = "adam"
    AMSGRAD = "amsgrad"
    ADAMW = "adamw"


# Optimisers that need nothing but their arguments, with those that the name stands for. The Trainer's own are among
# them because transformers 4.57 takes no momentum for sgd, and neither line says that it ignores an argument.
PLAIN_OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adamw_torch": (torch.optim.AdamW, {}),
    "adamw_torch_fused": (torch.optim.AdamW, {"fused": True}),
    "adafactor": (Adafactor, {"scale_parameter": False, "relative_step": False}),
}
OPTIMIZER_NAMES = tuple(dict.fromkeys([*map(str, OwnOptimizers), *(name.value for name in OptimizerNames)]))
# Arguments of optimisers that options of their own give.
OPTIONS = {"lr": "learning_rate", "weight_decay": "weight_decay", "betas": "adam_beta1 and adam_beta2"}
BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def optimizer_name(name: str) -> OwnOptimizers | OptimizerNames:
    """
    The optimiser of a name.

    Raises:
        InputError: there is none.
    """
    value = known_name("optim", name, OPTIMIZER_NAMES)
    return OwnOptimizers(value) if value in list(OwnOptimizers) else OptimizerNames(value)


def parse_optim_args(given: str | Mapping | None) -> dict[str, str]:
    """
    Names and values of `optim_args`, values as text.

    >>> parse_optim_args("momentum=0.9, nesterov=True")
    {'momentum': '0.9', 'nesterov': 'True'}

    Raises:
        InputError: a part isn't `name=value`.
    """
    if isinstance(given, Mapping):
        return {str(name): str(value) for name, value in given.items()}
    values = {}
    for part in (given or "").replace(" ", "").split(",") if given else ():
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise InputError(f"optim_args {given!r}: {part!r} is no name=value, as in momentum=0.9,nesterov=True")
        values[name] = value
    return values


def plain_optimizer(args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict]:
    """
    Class and arguments of one of [`PLAIN_OPTIMIZERS`], without parameters and weight decay.

    Raises:
        InputError: `optim_args` has an argument that the optimiser doesn't know, that an option of its own gives, or
            whose value is of another type.
    """
    name = optimizer_name(args.optim).value
    kind, fixed = PLAIN_OPTIMIZERS[name]
    known = inspect.signature(kind.__init__).parameters
    arguments = {"lr": args.learning_rate, **fixed}
    options = dict(OPTIONS)
    if "betas" in known:
        arguments.update(betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon)
        options["eps"] = "adam_epsilon"
    free = [key for key in known if key not in ("self", "params") and key not in options and key not in fixed]
    for key, value in parse_optim_args(args.optim_args).items():
        if key in options:
            raise InputError(f"optim_args: {key} is given by {options[key]}")
        if key in fixed:
            raise InputError(f"optim_args: {key} is {fixed[key]} for optim {name}")
        if key not in free:
            hint = did_you_mean(key, free) or f"; it takes {', '.join(free)}"
            raise InputError(f"optim_args: {name} has no argument {key!r}{hint}")
        arguments[key] = _typed(key, value, known[key].default)
    return kind, arguments


def _typed(name: str, text: str, default):
    """`text` as a value of the type of `default`; where that is None: a boolean, a number or none."""
    if default is None and text.lower() == "none":
        return None
    if isinstance(default, bool) or (default is None and text.lower() in BOOLEANS):
        if text.lower() in BOOLEANS:
            return BOOLEANS[text.lower()]
        raise InputError(f"optim_args: {name} is {text!r}; expected true or false")
    if isinstance(default, tuple):
        raise InputError(f"optim_args: {name} is a tuple, which can't be given")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"optim_args: {name} is {text!r}; expected a number") from None


def parameter_names_with_decay(model: nn.Module, norms_and_biases: bool = False) -> list[str]:
    """
    Names of the parameters that weight decay is for.

    By timm's rule ([`timm.optim.param_groups_weight_decay`]) these are the parameters of two or more dimensions
    that are no bias and that no `no_weight_decay()` of a part of the model names (position embeddings, for example).

    Args:
        model: the model; a timm backbone anywhere in it is asked.
        norms_and_biases: all parameters instead.
    """
    named = dict(model.named_parameters())
    if norms_and_biases:
        return list(named)
    excluded = [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()
    ]
    groups = timm.optim.param_groups_weight_decay(model, 1.0, no_weight_decay_list=excluded)
    decaying = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    return [name for name, parameter in named.items() if id(parameter) in decaying]


@contextmanager
def as_transformers_knows(args: TrainingArguments) -> Iterator[None]:
    """
    Lets transformers check `args` without those names of optimisers and schedules that only this project has.

    `TrainingArguments.__post_init__` turns both into its own enumerations and refuses all else.

    Raises:
        InputError: a name is neither ours nor transformers', or `lr_scheduler_kwargs` is no mapping.
    """
    args.lr_scheduler_kwargs = schedule_arguments(args.lr_scheduler_kwargs) or None
    for name in ("checkpointing", "checkpointing_kwargs"):
        # transformers 5 warns of the name that both lines know; 4.57 doesn't know the other.
        if getattr(args, f"activation_{name}", False) is None:
            setattr(args, f"activation_{name}", getattr(args, f"gradient_{name}"))
    names = {"optim": optimizer_name(args.optim), "lr_scheduler_type": schedule_name(args.lr_scheduler_type)}
    stand_ins = {"optim": TrainingArguments.default_optim, "lr_scheduler_type": SchedulerType.CONSTANT}
    own = {key: name for key, name in names.items() if isinstance(name, (OwnOptimizers, OwnSchedules))}
    for key in own:
        setattr(args, key, stand_ins[key])
    yield
    for key, name in own.items():
        setattr(args, key, name)


def check_optimization(args: TrainingArguments) -> None:
    """
    Makes sure that the optimiser and the schedule of `args` can be built; leaves their arguments in one form.

    Raises:
        InputError: they can't.
    """
    args.optim_args = ",".join(f"{key}={value}" for key, value in parse_optim_args(args.optim_args).items()) or None
    if args.optim in PLAIN_OPTIMIZERS:
        kind, arguments = plain_optimizer(args)
        try:
            kind([nn.Parameter(torch.zeros(1))], weight_decay=args.weight_decay, **arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"optim {args.optim.value}: {error}") from error
    # transformers 4.57 has warmup_ratio besides.
    warmup = args.warmup_steps > 0 or getattr(args, "warmup_ratio", 0.0) > 0
    check_schedule(args.lr_scheduler_type, args.lr_scheduler_kwargs or {}, warmup)
    if args.lr_scheduler_type == OwnSchedules.COSINE_WARM_RESTARTS and args.optim.endswith("layerwise"):
        raise InputError(f"optim {args.optim.value} steps layer by layer and can't follow cosine_warm_restarts")
    if args.ema_decay is not None and not 0 <= args.ema_decay < 1:
        raise InputError(f"ema_decay is {args.ema_decay}; expected at least 0 and less than 1")


def check_gradient_checkpointing(args: TrainingArguments, model: nn.Module) -> None:
    """
    Makes sure that the backbone can recompute its activations, if `args` ask for it.

    Raises:
        InputError: it can't, or not in the way that is asked for.
    """
    if not args.gradient_checkpointing:
        return
    options = dict(args.gradient_checkpointing_kwargs or {})
    # The one that timm's own checkpointing goes by.
    if options not in ({}, {"use_reentrant": False}):
        raise InputError(
            f"gradient_checkpointing_kwargs {options} can't be passed on to a timm backbone; leave it out"
        )
    try:
        model._set_gradient_checkpointing(enable=True)
    except ValueError as error:
        raise InputError(f"gradient_checkpointing: {error}") from error


class OptimizationMixin:
    """What a Trainer needs for the optimisers, schedules and weight decay of `PatchNetTrainingArguments`."""

    # Optimiser steps of an epoch, as the Trainer has counted them for the run that begins.
    steps_per_epoch: int | None = None

    def __init__(self, *, model, args, **kwargs):
        check_gradient_checkpointing(args, model)
        if not args.optim.endswith("layerwise"):
            # Found now, a missing package costs no epoch. Layerwise optimisers already hook into parameters here.
            self.get_optimizer_cls_and_kwargs(args, model)
        super().__init__(model=model, args=args, **kwargs)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args, model=None):
        """As [`transformers.Trainer.get_optimizer_cls_and_kwargs`], also for the names of the reference.

        Raises:
            InputError: the optimiser can't be had with these arguments on this machine.
        """
        if args.optim in PLAIN_OPTIMIZERS:
            return plain_optimizer(args)
        try:
            return Trainer.get_optimizer_cls_and_kwargs(args, model)
        except (ImportError, NotImplementedError, TypeError, ValueError) as error:
            raise InputError(f"optim {args.optim.value}: {' '.join(str(error).split())}") from error

    def get_decay_parameter_names(self, model) -> list[str]:
        """Names of the parameters that weight decay is for, see [`parameter_names_with_decay`]."""
        return parameter_names_with_decay(model, self.args.decay_norms_and_biases)

    def set_initial_training_values(self, args, dataloader, *rest):
        """As transformers' own, whose second value is kept: the optimiser steps of an epoch, accumulation and
        processes considered."""
        values = super().set_initial_training_values(args, dataloader, *rest)
        # A stream has no length: the Trainer then takes the whole run for one epoch.
        self.steps_per_epoch = values[1] if has_length(dataloader) else None
        return values

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """As [`transformers.Trainer.create_scheduler`], also for `cosine_warm_restarts`.

        Raises:
            InputError: the training set has no length that `T_0` epochs could be counted in.
        """
        if self.lr_scheduler is not None or self.args.lr_scheduler_type != OwnSchedules.COSINE_WARM_RESTARTS:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.steps_per_epoch is None:
            raise InputError("cosine_warm_restarts counts epochs; it can't be used on a stream without a length")
        self.lr_scheduler = CosineWarmRestarts(
            self.optimizer if optimizer is None else optimizer, self.steps_per_epoch, **self.args.lr_scheduler_kwargs
        )
        # The Trainer then builds a new one for a new run.
        self._created_lr_scheduler = True
        return self.lr_scheduler
