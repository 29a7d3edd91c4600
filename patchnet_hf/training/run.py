"""The main job: train, evaluate, save, report."""

import errno
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from transformers import set_seed
from transformers.integrations import get_reporting_integration_callbacks

from ..data.balancing import BalancedSampling
from ..data.loading import RunCaptures, Streaming, load_run_captures
from ..data.overlap import check_no_shared_images, shared_images
from ..errors import InputError
from ..process_memory import keep_freed_memory
from .arguments import DataArguments, ModelArguments, PatchNetTrainingArguments, cores_of_a_process
from .callbacks import ConsoleCallback, LinesCallback
from .cards import leave_card
from .checkpoints import recover_checkpoints
from .checks import (
    check_best_metric,
    check_output_dir,
    check_resumable,
    evaluates_in_training,
    remove_leftovers,
    without_evaluation,
)
from .compilation import check_compiler
from .hub import push_hint
from .initialization import initialize_from, shortened
from .interruption import InterruptionCallback, TrainingInterrupted
from .learning_curve import LearningCurveCallback
from .metrics_file import MetricsFileCallback
from .network import build_augmentation, build_model, build_processor, patch_types_of
from .options import resume_choice
from .panel import training_summary
from .pretrained import load_pretrained_backbone, pretrained_line
from .report import METRICS_JSON, metrics_table, write_json
from .run_record import RunData, RunRecord
from .sampling import planned_steps
from .synchronization import alike_everywhere, left_together, raise_everywhere
from .telegram import TelegramCallback
from .trainer import POOLED, PatchNetTrainer


def train(model: ModelArguments, data: DataArguments, arguments: PatchNetTrainingArguments) -> dict[str, float]:
    """
    Trains, evaluates every set with the best checkpoint, and leaves a model that loads by `from_pretrained`.

    `output_dir` then holds the model and its image processor, its card `README.md` and the record it is written from,
    `run.json`; `metrics.json`, `metrics.csv`, `learning_curve.png` and the Trainer's logs.

    Args:
        model: network and loss.
        data: captures and recipe.
        arguments: of the training.

    Returns:
        All metrics, named as the Trainer logs them (`eval_{set}_acer`, `eval_total_acer` ...).

    Raises:
        InputError: something given can't be used; nothing has been written then.
    """
    with left_together():
        return train_and_evaluate(model, data, arguments)


def train_and_evaluate(
    model: ModelArguments, data: DataArguments, arguments: PatchNetTrainingArguments
) -> dict[str, float]:
    """[`train`], before the processes leave each other."""
    with alike_everywhere():
        if arguments.should_save:
            recover_checkpoints(arguments.output_dir)
    with alike_everywhere():
        balance = BalancedSampling.parse(data.balance, data.balance_length)
        captures = load_captures_of_run(data, arguments)
        sets = captures.sets
        patch_types, live = patch_types_of(captures.described)
        checkpoint = check_output_dir(arguments)
        check_best_metric(arguments.metric_for_best_model, sets)
        processor, augmentation = build_processor(data), build_augmentation(data)
    if not data.allow_shared_images:
        check_evaluation_is_new(captures, arguments)
    with alike_everywhere():
        if arguments.device.type == "cpu":
            torch.set_num_threads(arguments.cpu_threads or cores_of_a_process())
            keep_freed_memory()
        if arguments.torch_compile:
            check_compiler(arguments.device, arguments.torch_compile_backend)
        set_seed(arguments.seed)
        network = build_model(model, data.patch_size, patch_types, live)
        unmatched, pretrained = [], {}
        if checkpoint is None and model.pretrained_backbone:
            match = load_pretrained_backbone(network, model.pretrained_backbone)
            line = pretrained_line(model.backbone, model.pretrained_backbone, match)
            pretrained = {"pretrained_backbone": line}
        if checkpoint is not None:
            check_resumable(checkpoint, network.config, arguments)
        elif model.init_from:
            unmatched = initialize_from(network, model.init_from, model.strict, model.init_revision)
        if not sets:
            arguments = without_evaluation(arguments)
        # Before the Trainer writes anything, in the process that will report.
        report = arguments.telegram and arguments.process_index == 0
        telegram = TelegramCallback.checked(arguments.output_dir) if report else None
        trainer = PatchNetTrainer(
            model=network,
            args=arguments,
            train_dataset=captures.training,
            eval_dataset=sets or None,
            processing_class=processor,
            balance=balance,
            augmentation=augmentation,
        )
        planned_steps(trainer)
        if checkpoint is not None:
            trainer.check_checkpoint(checkpoint)
    check_same_checkpoint(checkpoint)
    trainer.remove_progress()
    trainer.add_callback(LinesCallback() if arguments.disable_tqdm else ConsoleCallback())
    if evaluates_in_training(arguments):
        trainer.add_callback(MetricsFileCallback())
    trainer.add_callback(LearningCurveCallback())  # before whatever sends the picture
    if telegram is not None:
        trainer.add_callback(telegram)
    record = RunRecord(trainer, RunData(captures.described, sets, data), model, checkpoint, len(unmatched))
    if trainer.is_world_process_zero():
        remove_leftovers(arguments, checkpoint)
        record.begin()
        start = (
            stream_text(captures, data)
            | filters_of(data)
            | pretrained
            | starting_point(arguments, checkpoint, model.init_from, unmatched)
        )
        print(training_summary(trainer, captures.described, sets, start))
    with no_room_in_one_line(arguments.output_dir), telegram.reporting() if telegram is not None else nullcontext():
        metrics = train_until_stopped(trainer, checkpoint)
        if sets:
            if arguments.load_best_model_at_end:
                # In a curve over steps the best checkpoint would pass for the last one.
                for callback in get_reporting_integration_callbacks(arguments.report_to):
                    trainer.remove_callback(callback)
            metrics.update(trainer.evaluate())
        save_final_model(trainer)
        record.finish()
    if trainer.is_world_process_zero():
        write_json(Path(arguments.output_dir) / METRICS_JSON, metrics)
        if sets:
            rows = [*sets, POOLED] if len(sets) > 1 else [*sets]
            print("\n" + metrics_table(metrics, rows) + "\n")
        print(f"model and metrics.json are in {arguments.output_dir}")
        print(leave_card(arguments.output_dir))
    if arguments.push_to_hub:
        push_finished_run(trainer)
    if trainer.is_world_process_zero():
        folder = shlex.quote(arguments.output_dir)
        print(f"next: python scripts/evaluate.py --model {folder} --dataset DIR:SPLIT --output DIR, for a report")
        print(f"      python scripts/predict.py --model {folder} IMAGE...")
    return metrics


def load_captures_of_run(data: DataArguments, arguments: PatchNetTrainingArguments) -> RunCaptures:
    """
    The captures that a run's arguments name.

    Raises:
        InputError: they can't be used, or come as a stream of which it isn't said how long to train on it.
    """
    if data.streaming and arguments.max_steps <= 0:
        raise InputError("streaming: a stream has no epochs; say with max_steps how long to train")
    seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
    streaming = Streaming(seed, data.shuffle_buffer) if data.streaming else None
    return load_run_captures(data.dataset, data.train, data.eval, data.train_filter, data.eval_filter, streaming)


def check_evaluation_is_new(captures: RunCaptures, arguments: PatchNetTrainingArguments) -> None:
    """
    Makes sure that no image is both trained on and evaluated; every process has to call it.

    Raises:
        InputError: one is, or can't be read; on all processes.
    """
    share = arguments.process_index, arguments.world_size
    try:
        check_no_shared_images(shared_images(captures.parts, captures.sets, share, gather_object))
    except InputError as error:
        error.shared = True
        raise


def stream_text(captures: RunCaptures, data: DataArguments) -> dict[str, str]:
    """What there is to say of a stream, as names and texts for the panel; empty where there is none."""
    if not captures.is_stream:
        return {}
    told = f"shuffled over {data.shuffle_buffer} captures at a time"
    if data.balance != "none":
        told += f", groups of {data.balance} in turn"
    if captures.streamed and captures.sets and not data.allow_shared_images:
        told += (
            f"; images of {', '.join(captures.streamed)} are read as they come and therefore not compared with those "
            "of the evaluation sets"
        )
    return {"stream": told}


def push_finished_run(trainer: PatchNetTrainer) -> None:
    """
    Pushes the model of a finished run, from its first process; all have to call it.

    Raises:
        InputError: it can't be pushed; on all of them.
    """
    failure = None
    try:
        pushed = trainer.push_to_hub()
        if pushed is not None:
            print(f"pushed to {pushed.repo_url}, commit {pushed.oid[:12]}")
    except InputError as error:
        failure = push_hint(error, shlex.quote(trainer.args.output_dir), trainer.args.hub_model_id)
    raise_everywhere(failure)


def check_same_checkpoint(checkpoint: Path | None) -> None:
    """
    Makes sure that all processes go on from the same checkpoint; all have to call it.

    Raises:
        InputError: they don't; on all of them.
    """
    names = {str(checkpoint and checkpoint.name) for checkpoint in gather_object([checkpoint])}
    different = (
        f"the machines see different checkpoints ({', '.join(sorted(names))}); output_dir has to be on a disk that "
        "all of them share"
    )
    raise_everywhere(different if len(names) > 1 else None)


@contextmanager
def no_room_in_one_line(folder: str) -> Iterator[None]:
    """
    A block that writes into a run's folder.

    Raises:
        InputError: a file couldn't be written because the disk, the quota or the allowed size of a file is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(
            f"no room left to write in {folder}: {error}; its checkpoints are whole: make room, then "
            "--resume_from_checkpoint true goes on"
        ) from error


def filters_of(data: DataArguments) -> dict[str, str]:
    """The filters that leave out captures, as names and texts for the panel."""
    filters = {"train_filter": data.train_filter, "eval_filter": data.eval_filter}
    return {name: str(chosen) for name, chosen in filters.items() if chosen is not None}


def starting_point(
    arguments: PatchNetTrainingArguments, checkpoint: Path | None, source: str | None, unmatched: list[str]
) -> dict[str, str]:
    """What the training goes on from, as names and texts for the panel; empty for a new network."""
    if checkpoint is not None:
        return {"resuming": str(checkpoint)}
    start = {}
    if resume_choice(arguments.resume_from_checkpoint):
        start["resuming"] = f"{arguments.output_dir} has no checkpoint yet: from the beginning"
    if source is not None:
        found = (
            f"{len(unmatched)} not matched: {'; '.join(shortened(unmatched))}" if unmatched else "everything matched"
        )
        start["init_from"] = f"{source}, {found}"
    return start


def train_until_stopped(trainer: PatchNetTrainer, checkpoint: Path | None) -> dict[str, float]:
    """
    Trains to the end.

    Returns:
        The Trainer's metrics of the training.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM ended it with a checkpoint.
    """
    interruption = InterruptionCallback(trainer)
    trainer.add_callback(interruption)
    try:
        output = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        interruption.release()
    if interruption.stopped or interruption.any_asked():
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
        # Not pushed yet: that comes once its metrics and its card are there.
        trainer.save_model(_internal_call=True)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the model can't be written to {trainer.args.output_dir}: {error}; its checkpoints are whole: make room, "
            "then --resume_from_checkpoint true ends the run"
        ) from error


def read_metrics(folder: str | Path) -> dict:
    """The `metrics.json` of a finished run."""
    return json.loads((Path(folder) / METRICS_JSON).read_text(encoding="utf-8"))
