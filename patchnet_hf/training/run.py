"""The main job: train, evaluate, save, report."""

import json
import shutil
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import timm
import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ..data.balancing import BalancedSampling
from ..data.loading import load_training_and_evaluation_sets
from ..data.schema import live_patch_types
from ..errors import InputError, did_you_mean
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from .arguments import DataArguments, ModelArguments, PatchNetTrainingArguments, cores_of_a_process, resume_choice
from .callbacks import ConsoleCallback
from .checkpoints import STATE_FILE, checkpoints_in, remove_unfinished_checkpoints
from .initialization import initialize_from, shortened
from .interruption import InterruptionCallback, TrainingInterrupted
from .learning_curve import LearningCurveCallback
from .metrics_file import MetricsFileCallback
from .panel import training_summary
from .report import metrics_table, write_json
from .telegram import TelegramCallback
from .trainer import POOLED, PatchNetTrainer, ScoredCaptures


def patch_types_of(training: Dataset) -> tuple[list[str], list[str]]:
    """
    The patch types that a training set holds, and those of them that are live.

    Raises:
        InputError: the training set has no live or no attack captures.
    """
    names = training.features["patch_type"].names
    present = set(training.unique("patch_type"))
    patch_types = [name for index, name in enumerate(names) if index in present]
    live = live_patch_types(training)
    if not patch_types:
        raise InputError("the training set is empty")
    if not live:
        raise InputError("no live captures (label 1) in the training set; PatchNet needs live captures and attacks")
    if len(live) == len(patch_types):
        raise InputError("no attacks (label 0) in the training set; PatchNet needs live captures and attacks")
    return patch_types, live


def build_processor(data: DataArguments) -> PatchNetImageProcessor:
    """The image processor of a recipe.

    Raises:
        InputError: an option is outside its range.
    """
    try:
        return PatchNetImageProcessor(
            mode=data.recipe,
            patch_size=data.patch_size,
            grid=data.grid,
            resize_size=data.resize_size,
            face_expand=data.face_expand,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def build_model(
    model: ModelArguments, patch_size: int, patch_types: list[str], live: list[str]
) -> PatchNetForImageClassification:
    """A new model, with random weights or timm's pretrained backbone.

    Raises:
        InputError: the backbone is unknown, refuses its arguments or has no weights to download.
    """
    try:
        config = PatchNetConfig(
            backbone=model.backbone,
            backbone_kwargs=model.backbone_kwargs,
            embedding_size=model.embedding_size,
            dropout=model.dropout,
            drop_path_rate=model.drop_path_rate,
            patch_types=patch_types,
            live_patch_types=live,
            image_size=patch_size,
            scale=model.scale,
            margin_live=model.margin_live,
            margin_spoof=model.margin_spoof,
            similarity_weight=model.similarity_weight,
            classification_weight=model.classification_weight,
        )
        network = PatchNetForImageClassification(config)
    except ValueError as error:
        raise InputError(str(error)) from error
    check_patch_size(network, patch_size)
    if model.pretrained_backbone:
        load_pretrained_backbone(network)
    return network


@torch.no_grad()
def check_patch_size(network: PatchNetForImageClassification, patch_size: int) -> None:
    """Passes one black patch through a new network, which leaves it in training mode.

    Raises:
        InputError: the backbone doesn't take patches of this size.
    """
    patch = torch.zeros(1, network.config.num_channels, patch_size, patch_size)
    try:
        network.eval()(patch)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"backbone {network.config.backbone!r} doesn't take patches of {patch_size} pixels ({reason}); some need "
            f"--backbone_kwargs '{{\"img_size\": {patch_size}}}'"
        ) from error
    finally:
        network.train()


def load_pretrained_backbone(network: PatchNetForImageClassification) -> None:
    """Fills the backbone with timm's pretrained weights.

    Raises:
        InputError: timm has none for this architecture, or they can't be downloaded.
    """
    config = network.config
    try:
        pretrained = timm.create_model(config.backbone, pretrained=True, num_classes=0, **config.backbone_kwargs)
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"no pretrained weights for backbone {config.backbone!r}: {reason}") from error
    network.patchnet.backbone.load_state_dict(pretrained.state_dict())


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


def remove_checkpoints(arguments: PatchNetTrainingArguments) -> None:
    """
    Removes what resuming must never find: the checkpoints of a run that is being overwritten, and of any run those
    that a killed process left unfinished.
    """
    remove_unfinished_checkpoints(arguments.output_dir)
    if arguments.overwrite and not resume_choice(arguments.resume_from_checkpoint):
        for checkpoint in checkpoints_in(arguments.output_dir):
            shutil.rmtree(checkpoint)


def train(model: ModelArguments, data: DataArguments, arguments: PatchNetTrainingArguments) -> dict[str, float]:
    """
    Trains, evaluates every set with the best checkpoint, and leaves a model that loads by `from_pretrained`.

    `output_dir` then holds the model and its image processor, `metrics.json`, `metrics.csv`, `learning_curve.png` and
    the Trainer's logs.

    Args:
        model: network and loss.
        data: captures and recipe.
        arguments: of the training.

    Returns:
        All metrics, named as the Trainer logs them (`eval_{set}_acer`, `eval_total_acer` ...).

    Raises:
        InputError: something given can't be used; nothing has been written then.
    """
    balance = BalancedSampling.parse(data.balance, data.balance_length)
    training, sets = load_training_and_evaluation_sets(data.dataset, data.train, data.eval)
    patch_types, live = patch_types_of(training)
    checkpoint = check_output_dir(arguments)
    check_best_metric(arguments.metric_for_best_model, sets)
    processor = build_processor(data)
    if arguments.device.type == "cpu":
        torch.set_num_threads(arguments.cpu_threads or cores_of_a_process())
    set_seed(arguments.seed)
    network = build_model(model, data.patch_size, patch_types, live)
    unmatched = initialize_from(network, model.init_from, model.strict) if model.init_from else []
    if not sets:
        arguments = without_evaluation(arguments)
    # Before the Trainer writes anything, in the process that will report.
    report = arguments.telegram and arguments.process_index == 0
    telegram = TelegramCallback.checked(arguments.output_dir) if report else None
    trainer = PatchNetTrainer(
        model=network,
        args=arguments,
        train_dataset=training,
        eval_dataset=sets or None,
        processing_class=processor,
        balance=balance,
    )
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if not arguments.disable_tqdm:
        trainer.add_callback(ConsoleCallback())
    if sets:
        trainer.add_callback(MetricsFileCallback())
    trainer.add_callback(LearningCurveCallback())  # before whatever sends the picture
    if trainer.is_world_process_zero():
        remove_checkpoints(arguments)
        print(training_summary(trainer, training, sets))
        print_start(arguments, checkpoint, model.init_from, unmatched)
    if telegram is not None:
        trainer.add_callback(telegram)
    with telegram.reporting() if telegram is not None else nullcontext():
        metrics = train_until_stopped(trainer, checkpoint)
        if sets:
            if arguments.load_best_model_at_end:
                # In a curve over steps the best checkpoint would pass for the last one.
                trainer.remove_callback(TensorBoardCallback)
            metrics.update(trainer.evaluate())
        save_final_model(trainer)
    if trainer.is_world_process_zero():
        write_json(Path(arguments.output_dir) / "metrics.json", metrics)
        if sets:
            rows = [*sets, POOLED] if len(sets) > 1 else [*sets]
            print("\n" + metrics_table(metrics, rows) + "\n")
        print(f"model and metrics.json are in {arguments.output_dir}")
        print(f"next: python scripts/predict.py --model {arguments.output_dir} IMAGE...")
    return metrics


def print_start(
    arguments: PatchNetTrainingArguments, checkpoint: Path | None, source: str | None, unmatched: list[str]
) -> None:
    """Says what the training goes on from."""
    if checkpoint is not None:
        print(f"resuming    {checkpoint}")
    elif resume_choice(arguments.resume_from_checkpoint):
        print(f"resuming    {arguments.output_dir} has no checkpoint yet: from the beginning")
    if source is not None and checkpoint is None:
        print(f"init_from   {source}: {f'{len(unmatched)} not matched' if unmatched else 'everything matched'}")
        for line in shortened(unmatched):
            print(f"            {line}")


def train_until_stopped(trainer: PatchNetTrainer, checkpoint: Path | None) -> dict[str, float]:
    """
    Trains to the end.

    Returns:
        The Trainer's metrics of the training.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM ended it with a checkpoint.
    """
    interruption = InterruptionCallback(trainer.accelerator)
    trainer.add_callback(interruption)
    try:
        output = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        interruption.release()
    if interruption.stopped:
        raise TrainingInterrupted(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; the same command with "
            "--resume_from_checkpoint true goes on from there"
        )
    return dict(output.metrics)


def save_final_model(trainer: PatchNetTrainer) -> None:
    """
    Saves the model and its image processor into the run's folder.

    Raises:
        InputError: they can't be written.
    """
    try:
        trainer.save_model()
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the model can't be written to {trainer.args.output_dir}: {error}; its checkpoints are whole: make room, "
            "then --resume_from_checkpoint true ends the run"
        ) from error


def without_evaluation(arguments: PatchNetTrainingArguments) -> PatchNetTrainingArguments:
    """The same arguments for a run that has nothing to evaluate on: no best checkpoint can be chosen."""
    arguments.eval_strategy = type(arguments.eval_strategy)("no")
    arguments.load_best_model_at_end = False
    arguments.metric_for_best_model = None
    return arguments


def read_metrics(folder: str | Path) -> dict:
    """The `metrics.json` of a finished run."""
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
