"""One backbone from its recipe to a graph: whether it trains, saves, reloads and exports, and what it costs."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import set_seed

from ..data.loading import load_training_and_evaluation_sets
from ..errors import InputError, first_line
from ..export.captures import random_captures, read_capture
from ..export.exporter import export_graph
from ..export.parity import measure_parity
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorers import TorchScorer
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from ..training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from ..training.configuration import RunParser
from ..training.network import build_model, build_processor, patch_types_of
from ..training.panel import multiply_adds
from ..training.trainer import PatchNetTrainer
from .pictures import noise_pictures
from .subject import Subject
from .timing import interleaved
from .variants import Batch

# Options of a recipe that a trial doesn't follow.
NOT_TRIED = (
    *("pretrained_backbone", "init_from", "augmentation", "balance", "streaming"),
    *("ema_decay", "telegram", "push_to_hub", "resume_from_checkpoint"),
)
# By which live log-odds of the exported graph may differ from the model's.
PARITY = 1e-4
# Steps at the beginning and at the end whose mean losses are compared.
COMPARED_STEPS = 5
BASELINE = "resnet18"
# Options of a training that win over those of a recipe: a trial logs each step, leaves nothing behind, and computes
# where graphs do and as they do: autocast would stay on the trained model's forward pass.
OPTIONS_OF_A_TRIAL = {
    "precision": "float32",
    "logging_steps": "1",
    "report_to": "none",
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": "false",
    "disable_tqdm": "true",
    "use_cpu": "true",
}


@dataclass(frozen=True)
class TrialSettings:
    """
    Args:
        dataset: a dataset to train on instead of the recipes' own.
        options: further options of the training, which win over the recipes.
        repeats: timed calls of each backbone.

    Raises:
        InputError: there is no such number of calls.
    """

    dataset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 10

    def __post_init__(self):
        if self.repeats < 1:
            raise InputError(f"repeats is {self.repeats}; expected at least 1")


@dataclass(frozen=True)
class BackboneTrial:
    """
    What became of a backbone. Numbers are `None` where the trial didn't get so far.

    Attributes:
        name: of the recipe.
        backbone: what timm calls it.
        patch_size: side of its patches, in pixels.
        parameters: of the model, its head included.
        multiply_adds: of one patch.
        losses: of each step of the training.
        training_seconds: that the steps took.
        reload_differs: what isn't bit for bit the same after saving and loading: names of weights, or `"logits"`.
        parity: largest difference of the exported graph's live log-odds from the model's.
        times_resnet18: time of a forward pass as a multiple of that of ResNet-18 on the same patches.
        failures: the bars that it missed, a text each.
    """

    name: str
    backbone: str
    patch_size: int
    parameters: int | None = None
    multiply_adds: int | None = None
    losses: tuple[float, ...] = ()
    training_seconds: float | None = None
    reload_differs: tuple[str, ...] | None = None
    parity: float | None = None
    times_resnet18: float | None = None
    failures: tuple[str, ...] = ()

    @property
    def first_loss(self) -> float:
        """Mean of the first five steps, or of the first half where there are fewer than ten; NaN without steps."""
        return _mean(self.losses[: self._compared])

    @property
    def last_loss(self) -> float:
        """Mean of as many last steps."""
        return _mean(self.losses[-self._compared :])

    @property
    def _compared(self) -> int:
        return max(min(COMPARED_STEPS, len(self.losses) // 2), 1)

    def with_failures(self) -> "BackboneTrial":
        """With the bars that its numbers miss; those that are there already stay."""
        missed = []
        if self.losses and not self.last_loss < self.first_loss:
            missed.append(f"its loss doesn't fall: {self.first_loss:.3g} at first, {self.last_loss:.3g} at last")
        if self.reload_differs:
            names = ", ".join(self.reload_differs[:3])
            missed.append(f"saved and loaded again it differs: {names}")
        if self.parity is not None and not self.parity <= PARITY:
            missed.append(f"its graph's log-odds differ by {self.parity:.2g}, where {PARITY:g} is allowed")
        return replace(self, failures=(*self.failures, *missed))


Progress = Callable[[str], None]


def try_backbone(
    recipe: str | Path, settings: TrialSettings | None = None, progress: Progress = lambda doing: None
) -> BackboneTrial:
    """
    Trains a recipe by the trainer of `scripts/train.py` in float32, saves the model, loads it, exports it and times
    it; leaves nothing behind.

    Args:
        recipe: a YAML file of a training with `max_steps`.
        settings: what is otherwise than in the recipe.
        progress: is told what is done next.

    Returns:
        What became of it. A bar that it misses, or a step that fails, ends nothing but is among its `failures`.

    Raises:
        InputError: the recipe or its dataset can't be used.
    """
    settings = settings or TrialSettings()
    recipe = Path(recipe)
    with TemporaryDirectory() as folder:
        model, data, arguments = read_recipe(recipe, folder, settings)
        training, _ = load_training_and_evaluation_sets(data.dataset, data.train, data.eval, data.train_filter)
        trial = BackboneTrial(recipe.stem, model.backbone, data.patch_size)
        try:
            trial = _tried(trial, model, data, arguments, training, settings, progress)
        # Each backbone fails in its own way, and those after it are to be tried.
        except Exception as error:
            trial = replace(trial, failures=(_said(error),))
    # What a trainer holds refers to itself: the next backbone needs the memory.
    gc.collect()
    return trial


def read_recipe(
    recipe: Path, folder: str | Path, settings: TrialSettings
) -> tuple[ModelArguments, DataArguments, PatchNetTrainingArguments]:
    """
    The arguments of a recipe's trial in a folder.

    Raises:
        InputError: it is missing, holds an option that doesn't fit or that a trial doesn't follow, or says no number
            of steps.
    """
    options = {**OPTIONS_OF_A_TRIAL, **settings.options, "output_dir": str(folder)}
    if settings.dataset is not None:
        options["dataset"] = settings.dataset
    given = [text for name, value in options.items() for text in (f"--{name}", value)]
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog=recipe.name)
    model, data, arguments = parser.parse_run(["--config", str(recipe), *given])
    for name in NOT_TRIED:
        part = next(part for part in (model, data, arguments) if hasattr(part, name))
        if getattr(part, name) not in (type(part).__dataclass_fields__[name].default, False, None):
            raise InputError(f"{recipe}: {name} is {getattr(part, name)!r}; a trial doesn't follow it, leave it out")
    if arguments.max_steps < 2:
        raise InputError(f"{recipe}: max_steps is {arguments.max_steps}; a trial needs to know how long to train")
    return model, data, arguments


def _tried(
    trial: BackboneTrial,
    model: ModelArguments,
    data: DataArguments,
    arguments: PatchNetTrainingArguments,
    training,
    settings: TrialSettings,
    progress: Progress,
) -> BackboneTrial:
    folder = Path(arguments.output_dir)
    set_seed(arguments.seed)
    processor = build_processor(data)
    patch_types, live = patch_types_of(training)
    network = build_model(model, data.patch_size, patch_types, live)
    trial = replace(
        trial,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=multiply_adds(network, data.patch_size),
    )
    progress(f"{trial.name}: training")
    trainer = PatchNetTrainer(model=network, args=arguments, train_dataset=training, processing_class=processor)
    trainer.remove_progress()
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    losses = tuple(log["loss"] for log in trainer.state.log_history if "loss" in log)
    trial = replace(trial, losses=losses, training_seconds=seconds)
    if not all(map(math.isfinite, losses)):
        return replace(trial, failures=("its loss isn't a number: the training has diverged",))
    trainer.save_model(str(folder))
    del trainer
    progress(f"{trial.name}: loading and exporting")
    loaded = PatchNetForImageClassification.from_pretrained(folder).eval()
    trial = replace(trial, reload_differs=differences(network.eval(), loaded, processor))
    del network
    captures = [
        *random_captures(data.patch_size),
        *(read_capture(training, "train", index) for index in _first(training)),
    ]
    path = folder / "model.onnx"
    try:
        export_graph(loaded, processor, path)
        parity = measure_parity(TorchScorer(trial.name, loaded, processor), OnnxScorer(path.name, path), captures)
        trial = replace(trial, parity=parity.log_odds)
    # Torch's exporter fails in its own way for each operator that it doesn't know, and ONNX Runtime's errors have no
    # kin but Exception.
    except Exception as error:
        trial = replace(trial, failures=(f"it can't be exported: {first_line(error)}",))
    progress(f"{trial.name}: timing")
    trial = replace(trial, times_resnet18=times_resnet18(loaded, processor, settings.repeats))
    return trial.with_failures()


@torch.inference_mode()
def differences(
    model: PatchNetForImageClassification, loaded: PatchNetForImageClassification, processor: PatchNetImageProcessor
) -> tuple[str, ...]:
    """Names of weights that aren't bit for bit the same in both, and `"logits"` where the answers aren't."""
    held, found = model.state_dict(), loaded.state_dict()
    names = [name for name in {**held, **found} if not _equal(held.get(name), found.get(name))]
    views = np.stack([processor.views(picture) for picture in noise_pictures(2)])
    # In the same layout, or the order of sums would differ.
    pixel_values = processor.normalize_views(views)
    answers = [one.to(memory_format=torch.channels_last)(pixel_values).logits for one in (model, loaded)]
    return (*names, *([] if torch.equal(*answers) else ["logits"]))


def times_resnet18(model: PatchNetForImageClassification, processor: PatchNetImageProcessor, repeats: int) -> float:
    """
    Time of a forward pass of one capture's patches, laid out as the image processor lays them out, as a multiple of
    that of ResNet-18 on the same patches. Both are called in turn, with their branches merged, as they are deployed.
    """
    baseline = Subject.random(BASELINE, patch_size=processor.patch_size)
    pixel_values = Batch.of(noise_pictures(1), Subject(model, processor, trained=True)).pixel_values
    networks = {
        "model": model.reparameterized().to(memory_format=torch.channels_last),
        BASELINE: baseline.model.reparameterized().to(memory_format=torch.channels_last),
    }
    with torch.inference_mode():
        calls = {name: lambda network=network: network(pixel_values) for name, network in networks.items()}
        timings = interleaved(calls, repeats, warm_up=2)
    return timings["model"].median / timings[BASELINE].median


def _first(training) -> range:
    return range(min(len(training), 8))


def _equal(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    return first is not None and second is not None and first.dtype == second.dtype and torch.equal(first, second)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"


def _mean(losses: tuple[float, ...]) -> float:
    return float(np.mean(losses)) if losses else math.nan
