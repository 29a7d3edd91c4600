"""How the captures of an epoch fill the batches of all processes, and what a run says about it at its start."""

import math

import torch
from transformers import Trainer
from transformers.trainer_utils import has_length

from ..data.balancing import BalancedSampler
from ..errors import InputError

SHOWN_GROUPS = 12


def joint_batch(trainer: Trainer) -> int:
    """Captures that all processes take together in one forward pass; gradient accumulation adds up several."""
    accelerator = trainer.accelerator
    return trainer._train_batch_size * (1 if accelerator.split_batches else accelerator.num_processes)


def fills_batches(trainer: Trainer) -> bool:
    """Whether accelerate would complete an epoch's last batches with captures of its beginning."""
    return trainer.accelerator.num_processes > 1 and not trainer.args.dataloader_drop_last


def fill_batches(sampler: BalancedSampler, trainer: Trainer) -> None:
    """Makes a balanced epoch end with a whole batch on every process, so that accelerate repeats nothing."""
    sampler.fill_up_to = joint_batch(trainer) if fills_batches(trainer) else 1


def sampling_text(trainer: Trainer, sampler: BalancedSampler | None, captures: int) -> str | None:
    """
    What a training summary says about sampling: groups, sizes and length of a balanced epoch, or which captures of an
    unbalanced one are drawn twice because it doesn't divide.

    Args:
        trainer: with its batch size and processes.
        sampler: what the trainer draws with, if it is balanced.
        captures: in the training set.
    """
    batch, processes = joint_batch(trainer), trainer.accelerator.num_processes
    if sampler is None:
        rest = captures % batch
        if not rest or not fills_batches(trainer) or not trainer.accelerator.even_batches:
            return None
        return (
            f"{captures} captures don't divide by the joint batch of {processes} processes, {batch}: each epoch draws "
            f"{batch - rest} of them twice (--dataloader_drop_last true leaves {rest} out instead)"
        )
    fill_batches(sampler, trainer)
    sizes = sorted(sampler.groups.items(), key=lambda group: -len(group[1]))
    shown = ", ".join(f"{'+'.join(name)} {len(members)}" for name, members in sizes[:SHOWN_GROUPS])
    more = f" and {len(sizes) - SHOWN_GROUPS} smaller groups" if len(sizes) > SHOWN_GROUPS else ""
    added = len(sampler) - sampler.nominal_length
    filled = f" ({added} of them to fill the batches of {processes} processes)" if added else ""
    drawn = len(sampler) // batch * batch if trainer.args.dataloader_drop_last else len(sampler)
    each, rest = divmod(drawn, len(sizes))
    of_each = f"{each} or {each + 1}" if rest else f"{each}"
    return (
        f"balanced over {len(sizes)} groups: {shown}{more}; {drawn} captures in an epoch{filled}, {of_each} of each "
        "group"
    )


def planned_steps(trainer: Trainer) -> tuple[int | None, int]:
    """
    Optimiser steps in an epoch (`None` on a stream) and in the whole run, as the Trainer counts them.

    Raises:
        InputError: an epoch has no batch.
    """
    args = trainer.args
    # Preparing the loader draws from the random state, which is the training's.
    with torch.random.fork_rng(devices=[]):
        loader = trainer.get_train_dataloader()
    if not has_length(loader):
        return None, args.max_steps
    if len(loader) == 0:
        raise InputError(
            f"{len(trainer.train_dataset)} captures don't fill a joint batch of {joint_batch(trainer)}, and "
            "dataloader_drop_last leaves out what doesn't; take a smaller --per_device_train_batch_size"
        )
    steps = max(-(-len(loader) // args.gradient_accumulation_steps), 1)
    return steps, args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps)
