"""Trainings of seconds, on the captures of `test_trainer.py`."""

import importlib.util
from pathlib import Path

import torch
from transformers import TrainerCallback

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.trainer import PatchNetTrainer

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)

captures, PATCH_TYPES = test_trainer.captures, test_trainer.PATCH_TYPES


def small_network(backbone: str = "test_convnext") -> PatchNetForImageClassification:
    """A network on patches of 32 pixels, always with the same weights; without batch norm by default."""
    torch.manual_seed(0)
    return PatchNetForImageClassification(
        PatchNetConfig(backbone=backbone, patch_types=PATCH_TYPES, live_patch_types=["phone/live"], image_size=32)
    )


def small_run(folder, backbone="test_convnext", captured=24, sets=None, trainer_options=None, **options):
    """A trainer of `captured` captures in batches of 8, which neither evaluates nor saves unless told to."""
    defaults = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "save_total_limit": None,
        "report_to": "none",
        "disable_tqdm": True,
        "precision": "float32",
        "use_cpu": True,
    }
    return PatchNetTrainer(
        model=small_network(backbone),
        args=PatchNetTrainingArguments(output_dir=str(folder), **{**defaults, **options}),
        train_dataset=captures(captured, 0),
        eval_dataset=sets,
        processing_class=PatchNetImageProcessor(patch_size=32, grid=1),
        **(trainer_options or {}),
    )


class Recorder(TrainerCallback):
    """Keeps the learning rate of each optimiser step, and the weights and gradients before or after it if asked to."""

    def __init__(self, weights: bool = False, gradients: bool = False):
        self.weights = [] if weights else None
        self.gradients = [] if gradients else None
        self.learning_rates = []

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.learning_rates.append(optimizer.param_groups[0]["lr"])
        if self.gradients is not None:
            self.gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if self.weights is not None:
            self.weights.append(copied(model))


def copied(model) -> dict[str, torch.Tensor]:
    """The values of all parameters and saved buffers now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(first: dict, second: dict) -> bool:
    """Whether two state dictionaries are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())
