"""The Trainer of PatchNet."""

from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from ..data.collation import ViewCollator
from ..data.views import EvaluationViews, TrainingViews
from ..errors import InputError
from ..metrics import presentation_attack_metrics
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from .arguments import PatchNetTrainingArguments
from .optimization import OptimizationMixin
from .weight_averaging import WeightAveragingMixin

POOLED = "total"


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
    """Tells the training views their epoch; accelerate forwards it to the sampler only, once there are processes."""

    def __init__(self, views: TrainingViews):
        self.views = views

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.views.set_epoch(int(state.epoch or 0))


class PatchNetTrainer(OptimizationMixin, WeightAveragingMixin, Trainer):
    """
    Trains and evaluates [`PatchNetForImageClassification`] on Arrow datasets of the data contract.

    Training takes two random views of each capture. Evaluation scores each capture by the mean over its grid of
    patches and logs `eval_{set}_{number}` for every set of a dict of evaluation sets, and `eval_total_{number}` for
    all of them pooled; `eval_{set}_loss` is the binary log-loss of the live probability, defined for patch types that
    training never saw, too.

    Args:
        model: the model to train.
        args: training arguments.
        train_dataset: `datasets.Dataset` by the data contract, or [`TrainingViews`].
        eval_dataset: one `datasets.Dataset`, or a dict of them by name.
        processing_class: the image processor that makes views; saved with the model.
        **kwargs: as for [`transformers.Trainer`].
    """

    def __init__(
        self,
        model: PatchNetForImageClassification,
        args: PatchNetTrainingArguments,
        data_collator=None,
        train_dataset: Dataset | TrainingViews | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PatchNetImageProcessor | None = None,
        **kwargs,
    ):
        if processing_class is None:
            raise ValueError("PatchNetTrainer needs processing_class, a PatchNetImageProcessor: it makes the views")
        if isinstance(train_dataset, Dataset):
            train_dataset = TrainingViews(train_dataset, processing_class, model.config.patch_types, args.seed)
        if isinstance(eval_dataset, dict) and POOLED in eval_dataset:
            raise InputError(f"an evaluation set is named {POOLED!r}, which stands for all sets pooled; rename it")
        if args.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.scored: dict[str, ScoredCaptures] = {}
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or ViewCollator(processing_class),
            train_dataset=train_dataset,
            eval_dataset=self._as_views(eval_dataset, processing_class),
            processing_class=processing_class,
            **kwargs,
        )
        if isinstance(train_dataset, TrainingViews):
            self.add_callback(_EpochOfViews(train_dataset))

    @staticmethod
    def _as_views(eval_dataset, processor: PatchNetImageProcessor):
        if isinstance(eval_dataset, dict):
            return {name: PatchNetTrainer._as_views(part, processor) for name, part in eval_dataset.items()}
        if isinstance(eval_dataset, Dataset):
            return EvaluationViews(eval_dataset, processor)
        return eval_dataset

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
            return metrics
        pooled = ScoredCaptures.pooled([self.scored[f"{metric_key_prefix}_{name}"] for name in sets])
        total = pooled.metrics(self.model.config.decision_threshold, f"{metric_key_prefix}_{POOLED}")
        self.log(total)
        metrics.update(total)
        # Sets have reported one by one; what a callback waits for (early stopping, say) may be the pooled numbers.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def get_eval_dataloader(self, eval_dataset=None):
        """As [`transformers.Trainer.get_eval_dataloader`], also of a `datasets.Dataset` of captures."""
        return super().get_eval_dataloader(self._as_views(eval_dataset, self.processing_class))

    def get_test_dataloader(self, test_dataset):
        """As [`transformers.Trainer.get_test_dataloader`], also of a `datasets.Dataset` of captures."""
        return super().get_test_dataloader(self._as_views(test_dataset, self.processing_class))

    def evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None,
                        metric_key_prefix="eval") -> EvalLoopOutput:  # fmt: skip
        """Scores a set and adds the metrics of the contract; keeps the scores in `self.scored[prefix]`."""
        views = dataloader.dataset
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        logits = np.asarray(output.predictions, dtype=np.float64)
        scored = ScoredCaptures(logits[:, 1] - logits[:, 0], views.labels, views.attack_types)
        self.scored[metric_key_prefix] = scored
        output.metrics.update(scored.metrics(self.model.config.decision_threshold, metric_key_prefix))
        return output
