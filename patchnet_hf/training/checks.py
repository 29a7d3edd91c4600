"""What a run makes sure of before it writes anything."""

import shutil
import warnings
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..errors import InputError, did_you_mean
from . import learning_curve, metrics_file
from .arguments import PatchNetTrainingArguments, resume_choice
from .checkpoints import STATE_FILE, checkpoints_in, remove_unfinished_checkpoints
from .history import POOLED
from .report import METRICS_JSON
from .trainer import ScoredCaptures


def check_output_dir(arguments: PatchNetTrainingArguments) -> Path | None:
    """
    Refuses to train over another run by accident, and to resume from what isn't there.

    Returns:
        The checkpoint to resume from, if any ([`checkpoint_to_resume`]).

    Raises:
        InputError: the folder holds a model or checkpoints and neither resuming nor overwriting was asked for, or
            there is no checkpoint to resume from.
    """
    folder = Path(arguments.output_dir)
    if folder.is_file():
        raise InputError(f"output_dir {folder} is a file")
    checkpoint = checkpoint_to_resume(folder, resume_choice(arguments.resume_from_checkpoint))
    held = (folder / "config.json").exists() or checkpoints_in(folder)
    if held and not arguments.overwrite and checkpoint is None:
        raise InputError(
            f"{folder} already holds a run; choose another --output_dir, go on with --resume_from_checkpoint true, "
            "or replace it with --overwrite true"
        )
    if arguments.push_to_hub and (folder / ".env").exists():
        raise InputError(f"push_to_hub would upload {folder / '.env'} with its secrets; choose another --output_dir")
    return checkpoint


def checkpoint_to_resume(folder: Path, resume: str | bool | None) -> Path | None:
    """
    The checkpoint to go on from: the last one of `folder` when `resume` is true, else the one at the path it is.

    Returns:
        `None` when nothing is to be resumed; also when `resume` is true and the run was stopped before it had saved
        a checkpoint, so that the same command can be given again and again until the run is done.

    Raises:
        InputError: the path is no checkpoint, or it holds weights without the optimiser's state: going on would
            start the optimiser and the learning rate anew.
    """
    if not resume:
        return None
    if resume is True:
        saved = checkpoints_in(folder)
        if not saved:
            return None
        resume = saved[-1]
    checkpoint = Path(resume)
    if not (checkpoint / STATE_FILE).is_file():
        raise InputError(f"{resume} is no checkpoint to resume from (no {STATE_FILE})")
    # FSDP's are optimizer.bin or optimizer_0/, DeepSpeed's global_step*/
    if not any(checkpoint.glob("optimizer*")) and not any(checkpoint.glob("global_step*")):
        raise InputError(
            f"{resume} has no optimiser state (save_only_model); it can't be resumed, but --init_from {resume} starts "
            "a new run from its weights"
        )
    return checkpoint


def reported_metrics(sets: dict[str, Dataset]) -> list[str]:
    """
    Names of all metrics that evaluating these sets will give.

    Raises:
        InputError: two attack types would be reported under one name.
    """
    parts = {}
    for name, part in sets.items():
        labels = np.asarray(part["label"][:])
        parts[name] = ScoredCaptures(np.zeros(len(labels)), labels, list(part["attack_type"][:]))
    parts[POOLED] = ScoredCaptures.pooled(list(parts.values()))
    with warnings.catch_warnings():
        # What an absent class leaves undefined is said when the set is evaluated.
        warnings.simplefilter("ignore")
        try:
            return [metric for name, part in parts.items() for metric in part.metrics(0.5, f"eval_{name}")]
        except ValueError as error:
            raise InputError(f"evaluation sets: {error}") from error


def check_best_metric(metric: str | None, sets: dict[str, Dataset]) -> None:
    """
    Makes sure that what chooses the best checkpoint will be measured.

    Raises:
        InputError: evaluating the sets will not give `metric`; found at the first evaluation, it would cost an epoch.
    """
    if not sets:
        return
    known = reported_metrics(sets)
    if metric is None:
        return
    named = metric if metric.startswith("eval_") else f"eval_{metric}"
    if named not in known:
        hint = did_you_mean(named, known)
        raise InputError(f"metric_for_best_model {metric!r} is of no evaluation set ({', '.join(sets)}){hint}")


def remove_leftovers(arguments: PatchNetTrainingArguments) -> None:
    """
    Removes checkpoints that a killed process left unfinished, and of a run that is being overwritten all that would
    pass for the new one's: checkpoints, metrics, learning curve and TensorBoard logs.
    """
    remove_unfinished_checkpoints(arguments.output_dir)
    if arguments.overwrite and not resume_choice(arguments.resume_from_checkpoint):
        for old in [*checkpoints_in(arguments.output_dir), Path(arguments.output_dir) / "runs"]:
            shutil.rmtree(old, ignore_errors=True)
        for name in (metrics_file.FILE_NAME, learning_curve.FILE_NAME, METRICS_JSON):
            (Path(arguments.output_dir) / name).unlink(missing_ok=True)


def evaluates_in_training(arguments: PatchNetTrainingArguments) -> bool:
    """Whether there will be evaluations before the one at the end."""
    return arguments.eval_strategy != "no" or arguments.eval_on_start


def without_evaluation(arguments: PatchNetTrainingArguments) -> PatchNetTrainingArguments:
    """The same arguments for a run that has nothing to evaluate on: no best checkpoint can be chosen."""
    arguments.eval_strategy = type(arguments.eval_strategy)("no")
    arguments.load_best_model_at_end = False
    arguments.metric_for_best_model = None
    return arguments
