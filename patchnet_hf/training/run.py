"""The main job: train, evaluate, save, report."""

import json
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import set_seed
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ..data.balancing import BalancedSampling
from ..data.loading import load_training_and_evaluation_sets
from ..errors import InputError
from .arguments import DataArguments, ModelArguments, PatchNetTrainingArguments, cores_of_a_process, resume_choice
from .callbacks import ConsoleCallback, LinesCallback
from .checks import check_best_metric, check_output_dir, evaluates_in_training, remove_leftovers, without_evaluation
from .initialization import initialize_from, shortened
from .interruption import InterruptionCallback, TrainingInterrupted
from .learning_curve import LearningCurveCallback
from .metrics_file import MetricsFileCallback
from .network import build_model, build_processor, patch_types_of
from .panel import training_summary
from .report import METRICS_JSON, metrics_table, write_json
from .synchronization import raise_everywhere
from .telegram import TelegramCallback
from .trainer import POOLED, PatchNetTrainer


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
    telegram = checked_telegram(arguments) if arguments.telegram else None
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
    trainer.add_callback(LinesCallback() if arguments.disable_tqdm else ConsoleCallback())
    if evaluates_in_training(arguments):
        trainer.add_callback(MetricsFileCallback())
    trainer.add_callback(LearningCurveCallback())  # before whatever sends the picture
    if trainer.is_world_process_zero():
        remove_leftovers(arguments)
        start = starting_point(arguments, checkpoint, model.init_from, unmatched)
        print(training_summary(trainer, training, sets, start))
    if telegram is not None:
        trainer.add_callback(telegram)
    with telegram.reporting() if telegram is not None else nullcontext():
        metrics = train_until_stopped(trainer, checkpoint)
        if sets:
            if arguments.load_best_model_at_end:
                # In a curve over steps the best checkpoint would pass for the last one.
                for callback in get_reporting_integration_callbacks(arguments.report_to):
                    trainer.remove_callback(callback)
            metrics.update(trainer.evaluate())
        save_final_model(trainer)
    if trainer.is_world_process_zero():
        write_json(Path(arguments.output_dir) / METRICS_JSON, metrics)
        if sets:
            rows = [*sets, POOLED] if len(sets) > 1 else [*sets]
            print("\n" + metrics_table(metrics, rows) + "\n")
        print(f"model and metrics.json are in {arguments.output_dir}")
        print(f"next: python scripts/predict.py --model {arguments.output_dir} IMAGE...")
    return metrics


def checked_telegram(arguments: PatchNetTrainingArguments) -> TelegramCallback | None:
    """
    The callback in the process that reports, once the server has accepted its credentials; `None` in the others.

    Raises:
        InputError: in all processes, if the credentials are missing or refused.
    """
    callback, failure = None, None
    if arguments.process_index == 0:
        try:
            callback = TelegramCallback.checked(arguments.output_dir)
        except InputError as error:
            failure = str(error)
    raise_everywhere(failure)
    return callback


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


def read_metrics(folder: str | Path) -> dict:
    """The `metrics.json` of a finished run."""
    return json.loads((Path(folder) / METRICS_JSON).read_text(encoding="utf-8"))
