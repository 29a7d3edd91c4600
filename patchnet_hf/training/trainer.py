"""The Trainer of PatchNet."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import EvalLoopOutput

from ..data.balancing import BalancedSampling, balance_stream
from ..data.streams import TrainingStream
from ..data.views import EvaluationViews, TrainingViews
from ..errors import InputError
from ..metrics import log_odds, presentation_attack_metrics
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from .arguments import PatchNetTrainingArguments
from .cards import ModelCardMixin
from .checkpoints import WholeCheckpointsMixin
from .history import POOLED, best_so_far, log_of_best
from .hub import PushMixin
from .interruption import in_own_process_group
from .optimization import OptimizationMixin
from .sampling import fill_batches
from .synchronization import share_buffers, synchronize_batch_norm
from .training_numbers import TrainingNumbers
from .weight_averaging import WeightAveragingMixin

if TYPE_CHECKING:
    from ..data.augmentation import Augmentation


@dataclass(frozen=True)
class ScoredCaptures:
    """Scores of an evaluation set in its order: live log-odds `(N,)`, labels `(N,)` (1 = bona fide), attack types."""

    scores: np.ndarray
    labels: np.ndarray
    attack_types: list[str]

    @classmethod
    def pooled(cls, parts: list["ScoredCaptures"]) -> "ScoredCaptures":
        """The captures of all parts together."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            [name for part in parts for name in part.attack_types],
        )

    def metrics(self, threshold: float, prefix: str) -> dict[str, float]:
        """All numbers of the metrics contract, named `{prefix}_{number}`; the binary log-loss is `{prefix}_loss`."""
        numbers = presentation_attack_metrics(self.scores, self.labels, self.attack_types, threshold=threshold)
        numbers["loss"] = numbers.pop("log_loss")
        return {f"{prefix}_{name}": value for name, value in numbers.items()}


class _EpochOfViews(TrainerCallback):
    """
    Tells the training views, and the balanced sampler if there is one, their epoch.

    accelerate forwards it to the sampler only, once there are processes, and not even to that where several processes
    resume in the middle of an epoch.
    """

    def __init__(self, *parts):
        self.parts = parts

    def on_epoch_begin(self, args, state, control, **kwargs):
        for part in self.parts:
            part.set_epoch(int(state.epoch or 0))


class PatchNetTrainer(
    OptimizationMixin, WeightAveragingMixin, WholeCheckpointsMixin, ModelCardMixin, PushMixin, Trainer
):
    """
    Trains and evaluates [`PatchNetForImageClassification`] on Arrow datasets of the data contract.

    Training takes two random views of each capture. Evaluation scores each capture by the mean over its grid of
    patches and logs `eval_{set}_{number}` for every set of a dict of evaluation sets, and `eval_total_{number}` for
    all of them pooled; `eval_{set}_loss` is the binary log-loss of the live probability, defined for patch types that
    training never saw, too.

    Logs of training have, over the batches of all processes since the last log, `acer`, `apcer`, `bpcer` and the
    unweighted `loss_classification` and `loss_similarity`. After each evaluation `eval_best/{number}` and
    `eval_best/{number}_epoch` tell the best pooled ACER, F1 and F3 so far.

    Args:
        model: the model to train.
        args: training arguments.
        train_dataset: `datasets.Dataset` by the data contract, or [`TrainingViews`]; or a `datasets.IterableDataset`,
            or [`TrainingStream`], for which `max_steps` must be given.
        eval_dataset: one `datasets.Dataset`, or a dict of them by name.
        data_collator: PyTorch's own by default. Views stay bytes, a quarter of what floats would be, on their way from
            data workers to the device, where they are normalised.
        processing_class: the image processor that makes views; saved with the model.
        balance: which groups of training captures are drawn equally often; by default each capture is drawn once.
        augmentation: makes the training views of a `train_dataset` of captures, instead of the processor's mode.
        **kwargs: as for [`transformers.Trainer`].
    """

    def __init__(
        self,
        model: PatchNetForImageClassification,
        args: PatchNetTrainingArguments,
        data_collator=None,
        train_dataset: Dataset | TrainingViews | IterableDataset | TrainingStream | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PatchNetImageProcessor | None = None,
        balance: BalancedSampling | None = None,
        augmentation: "Augmentation | None" = None,
        **kwargs,
    ):
        if processing_class is None:
            raise ValueError("PatchNetTrainer needs processing_class, a PatchNetImageProcessor: it makes the views")
        if isinstance(train_dataset, Dataset):
            train_dataset = TrainingViews(
                train_dataset, processing_class, model.config.patch_types, args.seed, augmentation
            )
        elif isinstance(train_dataset, IterableDataset):
            if balance is not None:
                train_dataset, balance = balance_stream(train_dataset, balance.columns, balance.length), None
            train_dataset = TrainingStream(
                train_dataset, processing_class, model.config.patch_types, args.seed, augmentation
            )
        elif augmentation is not None:
            raise InputError("augmentation needs captures to train on; views are given theirs when they are made")
        if isinstance(train_dataset, TrainingStream) and args.max_steps <= 0:
            raise InputError("a stream of training captures has no length; say with max_steps how long to train")
        if balance is not None and not isinstance(train_dataset, TrainingViews):
            raise InputError(
                "balance needs captures to train on; a TrainingStream is balanced before by balance_stream"
            )
        if isinstance(eval_dataset, dict) and POOLED in eval_dataset:
            raise InputError(f"an evaluation set is named {POOLED!r}, which stands for all sets pooled; rename it")
        if args.sync_batch_norm and args.world_size > 1:
            model = synchronize_batch_norm(model, args.device)
        if args.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.scored: dict[str, ScoredCaptures] = {}
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or default_collate,
            train_dataset=train_dataset,
            eval_dataset=self._as_views(eval_dataset, processing_class),
            processing_class=processing_class,
            **kwargs,
        )
        self.balanced_sampler = None
        if balance is not None:
            seed = args.seed if args.data_seed is None else args.data_seed
            self.balanced_sampler = balance.sampler(train_dataset.dataset, seed)
        if isinstance(train_dataset, TrainingViews):
            sampler = [] if self.balanced_sampler is None else [self.balanced_sampler]
            self.add_callback(_EpochOfViews(train_dataset, *sampler))
        self.training_numbers = TrainingNumbers(len(getattr(train_dataset, "attack_types", ())))
        self.add_callback(self.training_numbers)

    @staticmethod
    def _as_views(eval_dataset, processor: PatchNetImageProcessor):
        if isinstance(eval_dataset, dict):
            return {name: PatchNetTrainer._as_views(part, processor) for name, part in eval_dataset.items()}
        if isinstance(eval_dataset, Dataset):
            return EvaluationViews(eval_dataset, processor)
        return eval_dataset

    def _prepare_inputs(self, inputs):
        """As transformers' own; views that are still bytes are normalised on the device."""
        inputs = super()._prepare_inputs(inputs)
        views = inputs["pixel_values"]
        if views.dtype == torch.uint8:
            inputs["pixel_values"] = self.processing_class.normalize_views(views)
        return inputs

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """As [`transformers.Trainer.compute_loss`]; in training keeps the numbers that the next log reports."""
        inputs = dict(inputs)
        attack_types = inputs.pop("attack_types", None)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training and getattr(outputs, "loss_dict", None) is not None:
            threshold = log_odds(self.model.config.decision_threshold)
            self.training_numbers.add(outputs, attack_types, threshold, self.current_gradient_accumulation_steps)
        return (loss, outputs) if return_outputs else loss

    def _maybe_log_save_evaluate(self, tr_loss, *args, **kwargs):
        """As transformers' own, which takes the sum of losses off itself: one that isn't finite would stay so."""
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)
        if self._globalstep_last_logged == self.state.global_step:
            tr_loss.zero_()

    def log(self, logs, *args, **kwargs):
        """As [`transformers.Trainer.log`]; a log of training also has the rates and loss parts since the last one."""
        if "loss" in logs:
            logs.update(self.training_numbers.take(self.accelerator))
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """
        Metrics of one evaluation set, or of each set of a dict and of all of them pooled.

        Args:
            eval_dataset: `datasets.Dataset`, a dict of them, or `None` for the sets given at construction.
            ignore_keys: as for [`transformers.Trainer.evaluate`].
            metric_key_prefix: what metric names start with.

        Returns:
            `{prefix}_{number}`, or `{prefix}_{set}_{number}` and `{prefix}_total_{number}`.
        """
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if not isinstance(sets, dict):
            if metric_key_prefix == "eval":
                self._log_best()
            return metrics
        pooled = ScoredCaptures.pooled([self.scored[f"{metric_key_prefix}_{name}"] for name in sets])
        total = pooled.metrics(self.model.config.decision_threshold, f"{metric_key_prefix}_{POOLED}")
        self.log(total)
        self._log_best()
        metrics.update(total)
        # Sets have reported one by one; what a callback waits for (early stopping, say) may be the pooled numbers.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def remove_progress(self) -> None:
        """Takes away the bars and lines that a [`transformers.Trainer`] shows by itself."""
        for callback in (DEFAULT_PROGRESS_CALLBACK, PrinterCallback):
            self.remove_callback(callback)

    def _get_train_sampler(self, train_dataset=None):
        if self.balanced_sampler is None:
            return super()._get_train_sampler(train_dataset)
        fill_batches(self.balanced_sampler, self)
        return self.balanced_sampler

    def num_examples(self, dataloader) -> int:
        """As [`transformers.Trainer.num_examples`]; of a balanced epoch what it draws, not what it draws from."""
        balanced = self.balanced_sampler is not None and dataloader.dataset is self.train_dataset
        return len(self.balanced_sampler) if balanced else super().num_examples(dataloader)

    def _log_best(self):
        """Logs the best numbers so far; after training, the best checkpoint would only be measured once more."""
        if self.is_in_train and (best := best_so_far(self.state.log_history)):
            self.log(log_of_best(best))

    def get_train_dataloader(self):
        """As [`transformers.Trainer.get_train_dataloader`]; its workers outlast epochs, and signals to the process
        group."""
        with self._lasting_workers():
            loader = self._with_own_workers(super().get_train_dataloader())
        if loader.persistent_workers:
            # What workers are started with is drawn but once, and again in a run that is resumed. From a generator of
            # its own, so that all else that is drawn is the same in both.
            getattr(loader, "base_dataloader", loader).generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    @contextmanager
    def _lasting_workers(self):
        """Loaders made in the block keep their workers from epoch to epoch, unless it is said that they don't."""
        asked = self.args.dataloader_persistent_workers
        if asked is None:
            self.args.dataloader_persistent_workers = self.args.dataloader_num_workers > 0
        try:
            yield
        finally:
            self.args.dataloader_persistent_workers = asked

    def get_eval_dataloader(self, eval_dataset=None):
        """As [`transformers.Trainer.get_eval_dataloader`], also of a `datasets.Dataset` of captures."""
        views = self._as_views(eval_dataset, self.processing_class)
        return self._with_own_workers(super().get_eval_dataloader(views))

    def get_test_dataloader(self, test_dataset):
        """As [`transformers.Trainer.get_test_dataloader`], also of a `datasets.Dataset` of captures."""
        return self._with_own_workers(super().get_test_dataloader(self._as_views(test_dataset, self.processing_class)))

    @staticmethod
    def _with_own_workers(loader):
        # accelerate's loader only stands for the one that starts workers.
        starting = getattr(loader, "base_dataloader", loader)
        started = starting.worker_init_fn
        if not (isinstance(started, partial) and started.func is in_own_process_group):
            # A loader that the Trainer keeps is returned again and again.
            starting.worker_init_fn = partial(in_own_process_group, started)
        return loader

    def evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None,
                        metric_key_prefix="eval") -> EvalLoopOutput:  # fmt: skip
        """
        Scores a set and adds the metrics of the contract; keeps the scores in `self.scored[prefix]`.

        Raises:
            InputError: scores are NaN, because the training has diverged.
        """
        if self.args.world_size > 1:
            share_buffers(self.model)
        views = dataloader.dataset
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        logits = np.asarray(output.predictions, dtype=np.float64)
        scored = ScoredCaptures(logits[:, 1] - logits[:, 0], views.labels, views.attack_types)
        if np.isnan(scored.scores).any():
            raise InputError(
                f"{np.isnan(scored.scores).sum()} of {len(scored.scores)} scores of {metric_key_prefix} are not a "
                f"number at step {self.state.global_step}: the training has diverged. A lower --learning_rate helps, "
                "more --warmup_steps, or --precision float32"
            )
        self.scored[metric_key_prefix] = scored
        output.metrics.update(scored.metrics(self.model.config.decision_threshold, metric_key_prefix))
        return output
