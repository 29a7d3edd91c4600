"""The panel at the start: multiply-adds counted by hand, measured time, sizes, and lines that fit a terminal."""

import math

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
from patchnet_hf.training import panel
from patchnet_hf.training.panel import captures_by_group, multiply_adds, seconds_per_capture, training_summary

from .test_trainer import captures, small_trainer


class StopAfterTheFirstStep(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = True


def network(backbone: str, **options) -> PatchNetForImageClassification:
    return PatchNetForImageClassification(PatchNetConfig(backbone=backbone, **options))


def products_by_hand(model, size: int) -> int:
    """Multiplications of every convolution and linear layer, from their shapes as they are run."""
    counted = []

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            per_value = math.prod(module.kernel_size) * module.in_channels // module.groups
        else:
            per_value = module.in_features
        counted.append(output.numel() * per_value)

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def test_multiply_adds_are_those_of_all_convolutions_and_the_head():
    model = network("resnet18")
    head = model.classifier.weight.numel()
    assert multiply_adds(model, 64) == products_by_hand(model, 64) + head
    # Known for ResNet-18 at 224 x 224: 1.81 G with its thousand classes.
    assert multiply_adds(model, 224) == pytest.approx(1.814e9, rel=2e-3)


def test_central_differences_are_counted_as_the_one_convolution_that_they_are():
    model = network("cdcn")
    widths = [3, 64, 128, 196, 128, 128, 196, 128, 128, 196, 128]
    # The first four are computed at full size; after each three of a level its side is halved.
    places = [64**2] * 4 + [32**2] * 3 + [16**2] * 3
    by_hand = sum(9 * before * after * place for before, after, place in zip(widths, widths[1:], places, strict=False))
    assert multiply_adds(model, 64) == by_hand + model.classifier.weight.numel()


def test_attention_is_counted_where_it_is_fused_too():
    model = network("vit_tiny_patch16_224", backbone_kwargs={"img_size": 64})
    # 17 tokens of width 192, 12 blocks: queries by keys, and weights by values.
    attention = 12 * 2 * 17 * 17 * 192
    assert multiply_adds(model, 64) == products_by_hand(model, 64) + attention + model.classifier.weight.numel()


def test_measuring_leaves_the_model_and_the_random_state_as_they_are():
    model = network("test_resnet", dropout=0.5).train()
    before, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    multiply_adds(model, 32)
    assert seconds_per_capture(model, torch.zeros(4, 3, 32, 32), torch.bfloat16) > 0
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_measuring_ends_after_its_time_or_its_number_of_passes(monkeypatch):
    class Counted(nn.Module):
        passes = 0

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, pixel_values):
            assert pixel_values.shape == (1, 9, 3, 8, 8) and not torch.is_grad_enabled()
            self.passes += 1

    fast, slow = Counted(), Counted()
    seconds_per_capture(fast, torch.zeros(9, 3, 8, 8))
    monkeypatch.setattr(panel, "TIMED_SECONDS", 0.0)
    seconds_per_capture(slow, torch.zeros(9, 3, 8, 8))
    assert (fast.passes, slow.passes) == (11, 2), "one pass to warm up, then ten, or one when the time is over"


def test_captures_are_counted_by_group():
    assert captures_by_group(captures(11, 0)) == {"live": 4, "print": 4, "replay": 3}


def test_the_panel_says_what_is_trained_on_what_and_how_long(tmp_path):
    options = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = small_trainer(tmp_path, train_count=50, epochs=3, gradient_accumulation_steps=2, **options)
    random = torch.get_rng_state()
    text = training_summary(trainer, captures(50, 0), {"near": captures(13, 1), "far": captures(8, 2)})
    assert torch.equal(torch.get_rng_state(), random)
    assert max(map(len, text.splitlines())) <= 100
    lines = {line[:13].strip(): line[13:] for line in text.splitlines()}
    assert lines["model"].startswith("resnet18, 11.18 M parameters, 0.037")
    assert lines["patch types"] == "live: phone/live; attacks: phone/print, phone/replay"
    assert "ms for a capture of 2 x 2 patches" in lines["inference"]
    assert "float32, 1 process" in lines["device"]
    assert lines["training"] == "50 captures: live 17, print 17, replay 16"
    assert lines["batch"] == "16 captures a step: 16 on each of 1 process, accumulated over 2 passes"
    # Seven batches of at most eight, two to a step.
    assert lines["length"] == "3 epochs of 4 steps, 12 steps in all"
    trainer.add_callback(StopAfterTheFirstStep())
    trainer.train()
    assert trainer.state.max_steps == 12
    assert lines["evaluation"] == "near 13, far 8 captures"
    # Without evaluations there is nothing to write into metrics.csv.
    assert lines["reports"].startswith("learning_curve.png in") and "TensorBoard" not in lines


def test_a_number_of_steps_is_told_in_epochs_and_a_long_list_goes_on_below_itself(tmp_path):
    trainer = small_trainer(tmp_path, train_count=24, max_steps=7)
    trainer.args.report_to = ["tensorboard", "wandb"]
    sets = {f"protocol_4_number_{index}": captures(3, index) for index in range(9)}
    text = training_summary(trainer, captures(24, 0), sets)
    assert "7 steps, 2.33 epochs of 3 steps" in text and "; wandb" in text
    assert f"tensorboard --logdir {tmp_path / 'runs'}" in text.replace("\n" + " " * 13, " ")
    continued = [line for line in text.splitlines() if line.startswith(" ")]
    assert continued and all(line.startswith(" " * 13) for line in continued)
    assert "protocol_4_number_8 3 captures" in text
