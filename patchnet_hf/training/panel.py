"""The panel at the start of a run: what is about to be trained, on what, where, and what that costs."""

import os
import statistics
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..data.schema import LIVE
from ..data.streams import TrainingStream
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from . import learning_curve, metrics_file
from .arguments import PatchNetTrainingArguments
from .checks import evaluates_in_training
from .sampling import planned_steps, sampling_text
from .trainer import PatchNetTrainer

WIDTH = 100
TIMED_PASSES = 10
TIMED_SECONDS = 1.0


def training_summary(
    trainer: PatchNetTrainer, training: Dataset, sets: dict[str, Dataset], start: dict[str, str] | None = None
) -> str:
    """
    The panel as plain text of at most 100 columns.

    Counts multiply-adds and measures the inference time on the trainer's own model, which leaves the model and all
    random states as they are; takes about a second.

    Args:
        trainer: ready to train.
        training: the captures it trains on; of a stream what they are without their images.
        sets: evaluation sets by name.
        start: what the training goes on from, as further names and texts.
    """
    model, args, processor = trainer.model, trainer.args, trainer.processing_class
    config, size = model.config, processor.patch_size
    parameters = sum(parameter.numel() for parameter in model.parameters())
    macs = multiply_adds(model, size)
    views = _views_of_a_capture(processor)
    seconds = seconds_per_capture(model, views, args.autocast_dtype)
    evaluated = ", ".join(f"{name} {len(part)}" for name, part in sets.items())
    captures = len(training)
    is_stream = isinstance(trainer.train_dataset, TrainingStream)
    sampling = None if is_stream else sampling_text(trainer, trainer.balanced_sampler, captures)
    augmentation = getattr(trainer.train_dataset, "augmentation", None)
    attacks = [name for name in config.patch_types if name not in config.live_patch_types]
    return panel(
        {
            "model": f"{config.backbone}, {parameters / 1e6:.2f} M parameters, {macs / 1e9:.3g} GMACs for a patch of "
            f"{size} x {size}",
            "patch types": f"live: {', '.join(config.live_patch_types)}; attacks: {', '.join(attacks)}",
            "inference": f"{_milliseconds(seconds)} for a capture of {_patches(len(views))}, measured",
            "device": f"{device_name(args.device)}, {args.precision_name}, {_count(args.world_size, 'process')}",
            "training": f"{'a stream of ' if is_stream else ''}{captures} captures: "
            + ", ".join(f"{name} {count}" for name, count in captures_by_group(training).items()),
            **({"sampling": sampling} if sampling else {}),
            **({"augmentation": str(augmentation)} if augmentation else {}),
            "batch": _batch(args),
            "length": _length(trainer),
            "evaluation": f"{evaluated} captures" if evaluated else "none",
            **_reports(args, evaluates_in_training(args)),
            **(start or {}),
        }
    )


def panel(lines: dict[str, str], width: int = WIDTH) -> str:
    """
    Names and what they are, aligned; what is longer than a line goes on below itself.

    >>> print(panel({"model": "resnet18", "patch types": "live, print, replay"}, width=26))
    model        resnet18
    patch types  live, print,
                 replay
    """
    indent = max(map(len, lines)) + 2
    return "\n".join(
        textwrap.fill(
            text,
            width,
            initial_indent=name.ljust(indent),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in lines.items()
    )


@torch.no_grad()
def multiply_adds(model: PatchNetForImageClassification, patch_size: int) -> int:
    """
    Multiply-adds (MACs) of one patch: half the floating-point operations of its convolutions and matrix products, as
    `torch.utils.flop_counter` counts them. Leaves the model in the mode it was in.
    """
    parameter = next(model.parameters())
    patch = parameter.new_zeros(1, model.config.num_channels, patch_size, patch_size)
    training = model.training
    # The counter has no formula for the fused attention of CPUs, but one for the products it is made of.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.eval()(patch)
    model.train(training)
    return counter.get_total_flops() // 2


@torch.no_grad()
def seconds_per_capture(
    model: PatchNetForImageClassification, views: Tensor, autocast: torch.dtype | None = None
) -> float:
    """
    Median time in seconds of a forward pass of one capture, on the model's device and without gradients.

    The first pass, which allocates and chooses kernels, doesn't count. Stops after ten passes or about a second, but
    not before one pass is timed.

    Args:
        model: left in the mode it was in.
        views: `(V, C, P, P)`, the patches of the capture.
        autocast: computes in this dtype, `None` in the model's own.
    """
    parameter = next(model.parameters())
    pixel_values = views.to(parameter.device, parameter.dtype).unsqueeze(0)
    training = model.training
    model.eval()
    seconds: list[float] = []
    begin = time.perf_counter()
    with torch.autocast(parameter.device.type, dtype=autocast, enabled=autocast is not None):
        while len(seconds) < 1 + TIMED_PASSES and (len(seconds) < 2 or time.perf_counter() - begin < TIMED_SECONDS):
            start = time.perf_counter()
            model(pixel_values)
            if parameter.device.type != "cpu":
                torch.accelerator.synchronize(parameter.device)
            seconds.append(time.perf_counter() - start)
    model.train(training)
    return statistics.median(seconds[1:])


def captures_by_group(training: Dataset) -> dict[str, int]:
    """How many captures are live, and how many of each attack type there are, in alphabetical order."""
    live = np.asarray(training["label"][:]) == LIVE
    kinds = Counter(np.asarray(training["attack_type"][:], dtype=object)[~live].tolist())
    return {"live": int(live.sum()), **{name: kinds[name] for name in sorted(kinds)}}


def device_name(device: torch.device) -> str:
    """A device as a person knows it."""
    if device.type == "cpu":
        return f"cpu with {_count(torch.get_num_threads(), 'thread')}"
    return f"{torch.cuda.get_device_name(device)} ({device})" if device.type == "cuda" else str(device)


def tensorboard_folder(args: PatchNetTrainingArguments) -> Path:
    """The folder to open in TensorBoard: that of all starts of the run, where the logs lie at their usual place."""
    runs = Path(args.output_dir) / "runs"
    # transformers 5 has no such argument any more, but a variable.
    folder = getattr(args, "logging_dir", None) or os.environ.get("TENSORBOARD_LOGGING_DIR")
    return Path(folder) if folder and runs not in Path(folder).parents else runs


def _views_of_a_capture(processor: PatchNetImageProcessor) -> Tensor:
    """`(V, C, P, P)`: normalised patches of grey noise, as an evaluation makes them."""
    side = processor.patch_size * processor.grid
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return processor.normalize_views(processor.views(noise))


def _patches(count: int) -> str:
    side = round(count**0.5)
    return "one patch" if count == 1 else f"{side} x {side} patches"


def _milliseconds(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _batch(args: PatchNetTrainingArguments) -> str:
    passes = args.gradient_accumulation_steps
    accumulated = f", accumulated over {passes} passes" if passes > 1 else ""
    batch, processes = args.effective_batch_size, _count(args.world_size, "process")
    return f"{batch} captures a step: {batch // args.world_size} on each of {processes}{accumulated}"


def _length(trainer: PatchNetTrainer) -> str:
    args = trainer.args
    steps, total = planned_steps(trainer)
    if steps is None:
        return f"{total} steps"
    if args.max_steps > 0:
        return f"{_count(total, 'step')}, {total / steps:.3g} epochs of {_count(steps, 'step')}"
    epochs = f"{args.num_train_epochs:g} epoch{'' if args.num_train_epochs == 1 else 's'}"
    return f"{epochs} of {_count(steps, 'step')}, {_count(total, 'step')} in all"


def _reports(args: PatchNetTrainingArguments, evaluates: bool) -> dict[str, str]:
    written = [metrics_file.FILE_NAME] if evaluates else []
    reports = {"reports": f"{' and '.join([*written, learning_curve.FILE_NAME])} in {args.output_dir}"}
    others = [name for name in args.report_to or [] if name != "tensorboard"]
    if others:
        reports["reports"] += f"; {', '.join(others)}"
    if "tensorboard" in (args.report_to or []):
        reports["TensorBoard"] = f"tensorboard --logdir {tensorboard_folder(args)}"
    return reports
