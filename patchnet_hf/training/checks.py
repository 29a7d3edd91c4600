"""What a run makes sure of before it writes anything."""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..cards.card import CARD_FILE, CardFile, card_file
from ..cards.model_folder import RUN_FILE
from ..errors import InputError, did_you_mean
from ..evaluation.calibration_report import DIAGRAM_FILE, RESULT_FILE
from ..file_names import CONFIG_FILE
from ..models import PatchNetConfig
from . import learning_curve, metrics_file
from .arguments import PatchNetTrainingArguments
from .checkpoints import ARGUMENTS_FILE, OPTIMIZER_FILE, STATE_FILE, checkpoints_in, remove_checkpoint
from .history import POOLED
from .options import resume_choice
from .report import METRICS_JSON
from .trainer import ScoredCaptures

logger = logging.getLogger(__name__)

SETTINGS_FILES = (CONFIG_FILE, ARGUMENTS_FILE)
# A network with another value has weights of other shapes or meanings.
OF_THE_NETWORK = ("backbone", "backbone_kwargs", "embedding_size", "patch_types", "live_patch_types", "head")
# With another value the rest of a training isn't what the rest of the first one would have been.
OF_THE_COURSE = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "seed", "data_seed", "num_train_epochs"),
    *("max_steps", "learning_rate", "weight_decay", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("ema_decay", "dataloader_drop_last"),
)


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
    if checkpoint is None:
        held = (folder / CONFIG_FILE).exists() or checkpoints_in(folder)
        if held and not arguments.overwrite:
            raise InputError(
                f"{folder} already holds a run; choose another --output_dir, go on with --resume_from_checkpoint "
                "true, or replace it with --overwrite true"
            )
    elif (later := checkpoints_after(folder, checkpoint)) and not arguments.overwrite:
        raise InputError(
            f"{folder} holds {later[-1].name}, which isn't of the run that {checkpoint} goes on with; remove it, or "
            "let --overwrite true do so"
        )
    return checkpoint


def checkpoints_after(folder: Path, checkpoint: Path) -> list[Path]:
    """Checkpoints in `folder` that a run going on from `checkpoint` hasn't written: later ones, or all of others."""
    held = checkpoints_in(folder)
    names = [path.resolve() for path in held]
    if checkpoint.resolve() not in names:
        return held
    return held[names.index(checkpoint.resolve()) + 1 :]


def check_resumable(checkpoint: Path, config: PatchNetConfig, arguments: PatchNetTrainingArguments) -> None:
    """
    Makes sure that a run goes on with the network and the optimiser that its checkpoint is of, and warns of other
    arguments that move the data or the schedule.

    Raises:
        InputError: the network or the optimiser is another, or the checkpoint's files can't be read.
    """
    try:
        saved, told = (json.loads((checkpoint / name).read_text(encoding="utf-8")) for name in SETTINGS_FILES)
    except (OSError, ValueError) as error:
        raise InputError(f"{checkpoint} can't be resumed: {error}") from error
    now = json.loads(config.to_json_string(use_diff=False))
    given = json.loads(json.dumps(arguments.to_dict()))
    different = differences(saved, now, OF_THE_NETWORK) + differences(told, given, ("optim",))
    if different:
        raise InputError(
            f"{checkpoint} can't be resumed: {'; '.join(different)}; --init_from {checkpoint} starts a new run from "
            "its weights"
        )
    if moved := differences(told, given, OF_THE_COURSE):
        logger.warning("%s goes on in another way than it began: %s", checkpoint, "; ".join(moved))


def differences(there: dict, here: dict, names: Sequence[str]) -> list[str]:
    """
    What differs between two mappings, in words.

    >>> differences({"seed": 0, "optim": "sgd"}, {"seed": 1, "optim": "sgd"}, ["seed", "optim"])
    ['seed 0 there, 1 here']
    """
    return [
        f"{name} {there.get(name)!r} there, {here.get(name)!r} here"
        for name in names
        if there.get(name) != here.get(name)
    ]


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
    # Besides our own: FSDP's and DeepSpeed's.
    states = (OPTIMIZER_FILE, "optimizer.bin", "optimizer_*", "global_step*")
    if not any(any(checkpoint.glob(name)) for name in states):
        raise InputError(
            f"{resume} has no optimiser state ({OPTIMIZER_FILE}); it can't be resumed, but --init_from {resume} "
            "starts a new run from its weights"
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


def remove_leftovers(arguments: PatchNetTrainingArguments, checkpoint: Path | None) -> None:
    """
    Removes what would pass for the new run's in a folder that is being overwritten: checkpoints, metrics, learning
    curve, the record of the run, its card unless somebody has edited it, TensorBoard logs and what calibrating the
    model wrote; of a run that goes on from `checkpoint`, the checkpoints after it. The calibration's files go as well
    where a run just goes on: its model is another.
    """
    folder = Path(arguments.output_dir)
    if arguments.overwrite or checkpoint is not None:
        for name in (RESULT_FILE, DIAGRAM_FILE):
            (folder / name).unlink(missing_ok=True)
    if not arguments.overwrite:
        return
    for old in checkpoints_in(folder) if checkpoint is None else checkpoints_after(folder, checkpoint):
        remove_checkpoint(old)
    if checkpoint is None:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        card = [CARD_FILE] if card_file(folder) is CardFile.OURS else []
        for name in (metrics_file.FILE_NAME, learning_curve.FILE_NAME, METRICS_JSON, RUN_FILE, *card):
            (folder / name).unlink(missing_ok=True)


def evaluates_in_training(arguments: PatchNetTrainingArguments) -> bool:
    """Whether there will be evaluations before the one at the end."""
    return arguments.eval_strategy != "no" or arguments.eval_on_start


def without_evaluation(arguments: PatchNetTrainingArguments) -> PatchNetTrainingArguments:
    """The same arguments for a run that has nothing to evaluate on: no best checkpoint can be chosen."""
    arguments.eval_strategy = type(arguments.eval_strategy)("no")
    arguments.load_best_model_at_end = False
    arguments.metric_for_best_model = None
    return arguments
