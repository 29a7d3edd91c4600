"""Learning-rate schedules by name: all of transformers, and cosine warm restarts counted in epochs."""

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from enum import StrEnum

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from transformers import SchedulerType, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from ..errors import InputError, did_you_mean


class OwnSchedules(StrEnum):
    """Schedules that transformers has no name for."""

    COSINE_WARM_RESTARTS = "cosine_warm_restarts"


SCHEDULE_NAMES = (*(str(name) for name in OwnSchedules), *(name.value for name in SchedulerType))


class CosineWarmRestarts(CosineAnnealingWarmRestarts):
    """
    torch's [`~torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`], stepped once after each optimiser step.

    The optimiser step number i (from 0) of epoch e is made with the learning rate that torch's class gives for
    `step(e + i / steps_per_epoch)`: within a period of T_i epochs,
    `eta_min + (lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2` (Loshchilov and Hutter, SGDR, arXiv 1608.03983).

    Its state is the number of steps and the initial learning rates, as numbers of JSON. Periods and the length of an
    epoch are those of the run that loads the state, as for transformers' own schedules.

    Args:
        optimizer: the optimiser.
        steps_per_epoch: optimiser steps in an epoch.
        T_0: epochs of the first period, an integer.
        T_mult: factor from one period to the next, an integer.
        eta_min: lowest learning rate.

    Raises:
        ValueError: T_0 or T_mult is no positive integer (torch's check).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
    ):
        self.steps_per_epoch = steps_per_epoch
        # torch's constructor makes the step to 0.
        self.steps = -1
        super().__init__(optimizer, T_0, T_mult, eta_min)

    def step(self, epoch: float | None = None):
        """Goes on by one optimiser step, or to a point given in epochs."""
        if epoch is not None:
            self.steps = round(epoch * self.steps_per_epoch)
        else:
            self.steps += 1
            epochs, steps = divmod(self.steps, self.steps_per_epoch)
            # A sum, as in torch's own documentation: `steps / steps_per_epoch` of all steps rounds differently.
            epoch = epochs + steps / self.steps_per_epoch
        super().step(epoch)

    def state_dict(self) -> dict:
        """`{"steps": int, "base_lrs": [float, ...]}`."""
        return {"steps": self.steps, "base_lrs": [float(rate) for rate in self.base_lrs]}

    def load_state_dict(self, state_dict: dict):
        """Goes on from `state_dict()`, and sets the optimiser's learning rates."""
        self.base_lrs = list(state_dict["base_lrs"])
        self.steps = state_dict["steps"] - 1
        self.step()


def known_name(option: str, name: str, known: Sequence[str]) -> str:
    """
    The text of a name, which may be a member of an enumeration.

    Raises:
        InputError: it is none of `known`; the message names the option and the nearest.
    """
    value = str(getattr(name, "value", name))
    if value not in known:
        hint = did_you_mean(value, known) or f"; known are {', '.join(known)}"
        raise InputError(f"{option} is {value!r}{hint}")
    return value


def schedule_name(name: str) -> OwnSchedules | SchedulerType:
    """
    The schedule of a name.

    Raises:
        InputError: there is none.
    """
    value = known_name("lr_scheduler_type", name, SCHEDULE_NAMES)
    return OwnSchedules(value) if value in list(OwnSchedules) else SchedulerType(value)


def schedule_arguments(given: str | Mapping | None) -> dict:
    """
    `lr_scheduler_kwargs` as a mapping, its numbers as numbers.

    Args:
        given: JSON, or a mapping such as YAML's, in which a number like `1e-5` is text.

    Raises:
        InputError: `given` is no mapping.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise InputError(f"lr_scheduler_kwargs is no JSON mapping: {given!r} ({error})") from error
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"lr_scheduler_kwargs is {given!r}; expected a mapping of names to values")
    return {str(name): _number(value) for name, value in given.items()}


def _number(value):
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


def check_schedule(name: OwnSchedules | SchedulerType, arguments: dict, warmup: bool) -> None:
    """
    Makes sure that a schedule can be built.

    Args:
        name: the schedule.
        arguments: its own arguments.
        warmup: whether a warm-up is asked for.

    Raises:
        InputError: an argument is unknown, missing or out of range, or the schedule has no warm-up.
    """
    own = name == OwnSchedules.COSINE_WARM_RESTARTS
    function = CosineWarmRestarts if own else TYPE_TO_SCHEDULER_FUNCTION[name]
    parameters = inspect.signature(function).parameters
    ours = ("optimizer", "steps_per_epoch", "num_warmup_steps", "num_training_steps", "last_epoch")
    known = [parameter for parameter in parameters if parameter not in ours]
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for argument in arguments:
        if argument not in known and not anything:
            hint = did_you_mean(argument, known) or f"; it takes {', '.join(known) or 'none'}"
            raise InputError(f"lr_scheduler_kwargs: {name.value} has no argument {argument!r}{hint}")
    if own and warmup:
        raise InputError(
            "cosine_warm_restarts has no warm-up, because every restart begins at the full learning rate; set "
            "warmup_steps to 0"
        )
    if own and "T_0" not in arguments:
        raise InputError("cosine_warm_restarts needs lr_scheduler_kwargs with T_0, the epochs of its first period")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    try:
        if own:
            CosineWarmRestarts(optimizer, 1, **arguments)
        else:
            with warnings.catch_warnings():
                # What it warns of (options that exclude each other) is said when the run's own schedule is built.
                warnings.simplefilter("ignore")
                get_scheduler(name, optimizer, 0, 1000, scheduler_specific_kwargs=arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"lr_scheduler_kwargs {arguments} of {name.value}: {' '.join(str(error).split())}") from error
