"""`run.json`: what a training was made of, from which the model's card is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.trainer_callback import TrainerState

from ..cards.model_folder import RUN_FILE, read_json
from ..cards.names import dataset_name, folder_name, without_paths
from ..data.balancing import BalancedSampling
from ..data.filters import CaptureFilter
from ..data.loading import TRAIN_SPLIT
from ..data.summary import FileDigests, count_captures, file_digests, subjects_of
from ..errors import InputError
from ..models import PatchNetConfig, PatchNetImageProcessor
from ..versions import versions_of
from .arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from .checkpoints import STATE_FILE
from .pretrained import pretrained_id
from .report import write_json
from .sampling import planned_steps
from .trainer import PatchNetTrainer

LIBRARIES = ("torch", "transformers", "timm", "datasets")
# Whose values are names of persons, or begin with them: how many were chosen is enough.
PERSONAL_COLUMNS = ("subject", "session", "video")


@dataclass(frozen=True)
class RunData:
    """
    The captures of a run.

    Attributes:
        training: that it trains on; of a stream what they are without their images.
        sets: that it evaluates, by name.
        arguments: that chose them.
    """

    training: Dataset
    sets: dict[str, Dataset]
    arguments: DataArguments


class RunRecord:
    """
    The record of a run, which lies in its folder from the beginning, and is completed at the end.

    It holds no path, user, host or token: datasets and models by the last part of their path alone.

    Args:
        trainer: ready to train.
        data: of the run.
        model: arguments that the network was made by.
        checkpoint: that the run goes on from, if any.
        unmatched: how many weights of `init_from` didn't match.
    """

    def __init__(
        self,
        trainer: PatchNetTrainer,
        data: RunData,
        model: ModelArguments,
        checkpoint: Path | None = None,
        unmatched: int = 0,
    ):
        self._trainer = trainer
        self._data = data
        self._planned_steps = planned_steps(trainer)[1]
        self._start = start_of(model, unmatched)
        self._resumed: list[int] = []
        if checkpoint is not None:
            self._start, self._resumed = earlier_start(checkpoint)

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self._trainer.args.output_dir) / RUN_FILE

    def begin(self) -> None:
        """
        Writes what is known before training; in the main process alone.

        Raises:
            InputError: the file can't be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(finished=False, data=self._counts())

    def finish(self) -> None:
        """
        Writes the whole record after training; every process has to call it, because they read the captures together.

        Raises:
            InputError: the file can't be written.
        """
        training = {} if self._data.arguments.streaming else {TRAIN_SPLIT: self._data.training}
        parts = {**training, **{f"eval_{name}": part for name, part in self._data.sets.items()}}
        digests = {name: digests_by_all(part) for name, part in parts.items()}
        if self._trainer.is_world_process_zero():
            self._write(finished=True, data=self._counts(digests))

    def _write(self, finished: bool, data: Mapping) -> None:
        args, state = self._trainer.args, self._trainer.state
        content = {
            "finished": finished,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "versions": versions_of(LIBRARIES),
            "device": device_kind(args.device),
            "processes": args.world_size,
            "start": self._start,
            # Of a run that is taken up at its end nothing is left to do.
            "resumed_at_steps": [step for step in self._resumed if not finished or step < state.global_step],
            "data": data,
            "recipe": recipe_of(self._trainer, self._data.arguments, self._planned_steps),
            "best": best_of(args, state) if finished else None,
        }
        write_json(self.path, without_paths(content), sort_keys=False)

    def _counts(self, digests: Mapping[str, FileDigests | None] | None = None) -> dict:
        digests = digests or {}
        given, training, sets = self._data.arguments, self._data.training, self._data.sets
        of_training = digests.get(TRAIN_SPLIT)
        known_images = set() if of_training is None else set(of_training.images)
        known_subjects = subjects_of(training)
        names = given.train or [f"{given.dataset}:{TRAIN_SPLIT}"]
        counts = {
            "train": {
                "datasets": [dataset_name(spec) for spec in names],
                **count_captures(training).as_json(),
                **_of_files(of_training, training),
                "streaming": given.streaming,
            },
            "evaluation": {},
            "train_filter": filter_text(given.train_filter),
            "eval_filter": filter_text(given.eval_filter),
        }
        for name, part in sets.items():
            of_set = digests.get(f"eval_{name}")
            shared = {"subjects": len(known_subjects & subjects_of(part))}
            if of_training is not None and of_set is not None:
                shared["captures"] = sum(image in known_images for image in of_set.images)
            counts["evaluation"][name] = {
                **count_captures(part).as_json(),
                **_of_files(of_set, part),
                "shared_with_train": shared,
            }
        return counts


def digests_by_all(dataset: Dataset) -> FileDigests | None:
    """
    Digests of a dataset, of which each process reads its share; every process has to call it.

    Returns:
        `None` where a file can't be read any more: the record does without.
    """
    processes, number = (
        (torch.distributed.get_world_size(), torch.distributed.get_rank())
        if torch.distributed.is_initialized()
        else (1, 0)
    )
    ends = [len(dataset) * share // processes for share in range(processes + 1)]
    try:
        mine = file_digests(dataset, range(ends[number], ends[number + 1]))
    except (OSError, ValueError):
        mine = None
    parts = gather_object([mine])
    return None if None in parts else FileDigests.joined(parts)


def start_of(model: ModelArguments, unmatched: int = 0) -> dict:
    """What the weights of a new run are; a path is told as its kind alone."""
    if model.init_from is not None:
        kind = {"weights": "folder"} if Path(model.init_from).exists() else {
            "weights": "hub",
            "hub_id": model.init_from,
        }  # fmt: skip
        return {**kind, **({"unmatched": unmatched} if unmatched else {})}
    if not model.pretrained_backbone:
        return {"weights": "random"}
    if isinstance(model.pretrained_backbone, str):
        return {"weights": "backbone_file"}
    identifier = pretrained_id(model.backbone)
    return {"weights": "timm", **({"hub_id": identifier} if identifier else {})}


def earlier_start(checkpoint: Path) -> tuple[dict, list[int]]:
    """
    What the run that a checkpoint is of has started from, and the steps at which it was resumed, with this one.

    A run that has left no record started from weights that aren't known.
    """
    step = TrainerState.load_from_json(str(checkpoint / STATE_FILE)).global_step
    try:
        earlier = read_json(checkpoint.parent / RUN_FILE) or {}
    except InputError:
        earlier = {}
    start, resumed = earlier.get("start"), earlier.get("resumed_at_steps")
    before = [found for found in resumed if isinstance(found, int) and found < step] if resumed else []
    return start if isinstance(start, dict) else {"weights": "unknown"}, [*before, step]


def recipe_of(trainer: PatchNetTrainer, data: DataArguments, planned: int) -> dict:
    """How a trainer trains or has trained, `planned` optimiser steps in all."""
    args: PatchNetTrainingArguments = trainer.args
    model: PreTrainedModel = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    config: PatchNetConfig = model.config
    processor: PatchNetImageProcessor = trainer.processing_class
    balance = BalancedSampling.parse(data.balance, data.balance_length)
    augmentation = getattr(trainer.train_dataset, "augmentation", None)
    of_config = ("backbone", "backbone_kwargs", "dropout", "drop_path_rate", "scale", "margin_live", "margin_spoof")
    of_processor = ("mode", "patch_size", "grid", "resize_size", "resampling", "face_expand")
    of_arguments = ("weight_decay", "decay_norms_and_biases", "max_grad_norm", "ema_decay", "ema_warmup", "seed")
    return {
        **{name: getattr(config, name) for name in of_config},
        "classification_weight": config.classification_weight,
        "similarity_weight": config.similarity_weight,
        "embedding_size": model.classifier.weight.shape[1],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{name: getattr(processor, name) for name in of_processor},
        "epochs": trainer.state.epoch or (args.num_train_epochs if args.max_steps <= 0 else None),
        "steps": trainer.state.global_step or planned,
        "batch": {
            "per_device": args.per_device_train_batch_size,
            "processes": args.world_size,
            "accumulation": args.gradient_accumulation_steps,
            "effective": args.effective_batch_size,
        },
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "optimizer_arguments": args.optim_args if isinstance(args.optim_args, str) else None,
        "learning_rate": args.learning_rate,
        "schedule": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "schedule_arguments": dict(args.lr_scheduler_kwargs or {}),
        "warmup_steps": args.get_warmup_steps(planned),
        **{name: getattr(args, name) for name in of_arguments},
        "data_seed": args.data_seed,
        "sync_batch_norm": args.sync_batch_norm,
        "precision": args.precision_name,
        "augmentation": None
        if augmentation is None
        else {"file": folder_name(augmentation.name), "transforms": augmentation.steps},
        "balance": None if balance is None else {"columns": list(balance.columns), "length": balance.length},
    }


def best_of(args: PatchNetTrainingArguments, state: TrainerState) -> dict | None:
    """By which number the checkpoint that is kept was chosen, and its value then; `None`: the last one is kept."""
    # Where the number was never defined, as ACER on sets of one class alone, the Trainer keeps infinity as its best.
    if not args.load_best_model_at_end or state.best_metric is None or not math.isfinite(state.best_metric):
        return None
    metric = args.metric_for_best_model
    return {
        "metric": metric if metric.startswith("eval_") else f"eval_{metric}",
        "value": state.best_metric,
        "larger_is_better": bool(args.greater_is_better),
        "step": state.best_global_step,
    }


def filter_text(chosen: CaptureFilter | None) -> str | None:
    """A filter in words, without the names of persons."""
    if chosen is None:
        return None
    alternatives = []
    for conditions in chosen.alternatives:
        parts = []
        for name, condition in conditions.items():
            values = ["null" if value is None else value for value in condition.values]
            number = f"{len(values)} {'value' if len(values) == 1 else 'values'}"
            shown = number if name in PERSONAL_COLUMNS else " or ".join(values)
            parts.append(f"{name} {'not ' if condition.negated else ''}{shown}")
        alternatives.append("; ".join(parts))
    return " | ".join(alternatives)


def device_kind(device: torch.device) -> str:
    """What kind of device it is; never a host."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _of_files(digests: FileDigests | None, dataset: Dataset) -> dict:
    if digests is None:
        return {"fingerprint": None, "simulated": None}
    return {"fingerprint": digests.fingerprint(dataset), "simulated": digests.simulated}
