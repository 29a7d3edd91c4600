"""Averaged weights: the average itself, where it is used and where it isn't, and that a run can go on."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from transformers import TrainerCallback

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.weight_averaging import TRAINING_WEIGHTS

spec = importlib.util.spec_from_file_location("small_runs", Path(__file__).with_name("small_runs.py"))
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)
small_run, captures, Recorder = small_runs.small_run, small_runs.captures, small_runs.Recorder
copied, equal = small_runs.copied, small_runs.equal

DECAY = 0.6


def average_by_hand(history: list[dict], decay: float, warmup: bool = True) -> list[dict]:
    """The average after each step: of the first step its weights, then decay * average + (1 - decay) * weights."""
    averages = [{name: value.double() for name, value in history[0].items()}]
    for step, weights in enumerate(history[1:], start=2):
        share = min(decay, 1 - step ** (-2 / 3)) if warmup else decay
        averages.append({name: share * averages[-1][name] + (1 - share) * weights[name] for name in weights})
    return averages


def close(average: dict, weights: dict):
    for name, value in weights.items():
        expected = average[name]
        if value.dtype.is_floating_point:
            torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=1e-5, msg=name)


class Evaluated(TrainerCallback):
    """Keeps the weights that the model has when it is first run in evaluation mode after each step."""

    def __init__(self, model):
        self.weights = []
        self.training = True
        model.register_forward_pre_hook(self._look)

    def _look(self, model, inputs):
        if self.training and not model.training:
            self.weights.append(copied(model))
        self.training = model.training


OPTIONS = {
    "backbone": "test_resnet",
    "ema_decay": DECAY,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "metric_for_best_model": "eval_acer",
    "num_train_epochs": 3,
}


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run of three epochs with batch norm, its checkpoints, and the same run without averaging."""
    trainer = small_run(tmp_path_factory.mktemp("averaged"), sets=captures(6, 1), **OPTIONS)
    recorder, evaluated = Recorder(weights=True), Evaluated(trainer.model)
    trainer.add_callback(recorder)
    trainer.train()
    plain = small_run(tmp_path_factory.mktemp("plain"), sets=captures(6, 1), **{**OPTIONS, "ema_decay": None})
    alone = Recorder(weights=True)
    plain.add_callback(alone)
    plain.train()
    return trainer, recorder, evaluated, alone


@pytest.mark.slow
def test_training_goes_on_with_the_weights_that_are_not_averaged(averaged):
    _, recorder, _, alone = averaged
    assert len(recorder.weights) == len(alone.weights) == 9
    assert all(equal(first, second) for first, second in zip(recorder.weights, alone.weights, strict=True))


@pytest.mark.slow
def test_what_is_evaluated_saved_and_left_at_the_end_is_the_average(averaged):
    trainer, recorder, evaluated, _ = averaged
    averages = average_by_hand(recorder.weights, DECAY)
    assert len(evaluated.weights) == 3
    for epoch, weights in enumerate(evaluated.weights, start=1):
        step = 3 * epoch
        close(averages[step - 1], weights)
        checkpoint = Path(trainer.args.output_dir) / f"checkpoint-{step}"
        saved = copied(PatchNetForImageClassification.from_pretrained(checkpoint))
        assert equal(saved, weights)
        assert equal(load_file(checkpoint / TRAINING_WEIGHTS), recorder.weights[step - 1])
        assert not equal(saved, recorder.weights[step - 1])
    assert equal(copied(trainer.model), evaluated.weights[-1])


@pytest.mark.slow
def test_statistics_of_batch_norm_are_averaged_and_its_counter_is_the_latest(averaged):
    trainer, recorder, _, _ = averaged
    final = trainer.model.state_dict()
    name = next(name for name in final if name.endswith("running_var"))
    close(
        {name: average_by_hand([{name: weights[name]} for weights in recorder.weights], DECAY)[-1][name]},
        {name: final[name]},
    )
    assert final[name.replace("running_var", "num_batches_tracked")] == 9


@pytest.mark.slow
def test_after_training_the_average_is_the_model(averaged, tmp_path):
    trainer, _, evaluated, _ = averaged
    trainer.evaluate()
    trainer.save_model(str(tmp_path))
    assert equal(copied(trainer.model), evaluated.weights[2])
    assert equal(copied(PatchNetForImageClassification.from_pretrained(tmp_path)), evaluated.weights[2])
    assert not (tmp_path / TRAINING_WEIGHTS).exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4])
def test_a_resumed_run_has_both_weights_of_an_undisturbed_one(averaged, tmp_path, step):
    trainer, recorder, _, _ = averaged
    if step == 3:
        folder = Path(trainer.args.output_dir)
    else:
        folder = tmp_path
        small_run(folder, sets=captures(6, 1), **{**OPTIONS, "save_strategy": "steps", "save_steps": 4}).train()
    resumed = small_run(tmp_path / "resumed", sets=captures(6, 1), **OPTIONS)
    again = Recorder(weights=True)
    resumed.add_callback(again)
    resumed.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
    assert len(again.weights) == 9 - step
    assert all(equal(first, second) for first, second in zip(again.weights, recorder.weights[step:], strict=True))
    assert equal(copied(resumed.model), copied(trainer.model))


@pytest.mark.slow
def test_a_run_that_goes_on_without_averaging_says_so_and_takes_the_weights_of_training(averaged, tmp_path):
    trainer, recorder, _, _ = averaged
    plain = small_run(tmp_path, sets=captures(6, 1), **{**OPTIONS, "ema_decay": None})
    again = Recorder(weights=True)
    plain.add_callback(again)
    with pytest.warns(UserWarning, match="goes on without"):
        plain.train(resume_from_checkpoint=str(Path(trainer.args.output_dir) / "checkpoint-6"))
    assert equal(again.weights[-1], recorder.weights[-1])


@pytest.mark.slow
def test_averaging_can_begin_at_a_checkpoint_without_it(tmp_path):
    options = {**OPTIONS, "ema_decay": None}
    small_run(tmp_path / "plain", sets=captures(6, 1), **options).train()
    averaging = small_run(tmp_path / "on", sets=captures(6, 1), **{**OPTIONS, "ema_warmup": False})
    recorder = Recorder(weights=True)
    averaging.add_callback(recorder)
    begin = copied(PatchNetForImageClassification.from_pretrained(tmp_path / "plain" / "checkpoint-6"))
    averaging.train(resume_from_checkpoint=str(tmp_path / "plain" / "checkpoint-6"))
    averages = average_by_hand([begin, *recorder.weights], DECAY, warmup=False)
    close(averages[-1], copied(averaging.model))


@pytest.mark.slow
def test_the_best_checkpoint_at_the_end_is_its_average(tmp_path):
    # A number that is the same after each epoch: the first checkpoint stays the best.
    options = {**OPTIONS, "metric_for_best_model": "eval_images", "load_best_model_at_end": True}
    trainer = small_run(tmp_path, sets=captures(6, 1), **options)
    evaluated = Evaluated(trainer.model)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-3")
    assert equal(copied(trainer.model), evaluated.weights[0])
    trainer.evaluate()
    assert equal(copied(trainer.model), evaluated.weights[0])


@pytest.mark.slow
def test_an_evaluation_that_fails_leaves_the_weights_of_training(tmp_path):
    trainer = small_run(tmp_path, sets=captures(6, 1), **{**OPTIONS, "eval_strategy": "no"})

    class Failing(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            before = copied(model)
            handle = model.register_forward_pre_hook(self.fail)
            with pytest.raises(RuntimeError, match="no more"):
                trainer.evaluate()
            handle.remove()
            assert equal(copied(model), before)
            control.should_training_stop = True

        @staticmethod
        def fail(*_):
            raise RuntimeError("no more")

    trainer.add_callback(Failing())
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, run_processes):
    """What two real processes ended with, over gloo on the CPU."""
    folder = tmp_path_factory.mktemp("two")
    run_processes("two_processes_averaging.py", folder)
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_evaluate_and_end_with_one_average(two_processes):
    folder, (first, second) = two_processes
    assert not equal(first["weights"][-1], second["weights"][-1]), "statistics of batch norm are each process's own"
    for name in ("evaluated", "final"):
        assert equal(first[name], second[name])
    close(average_by_hand(first["weights"], DECAY)[-1], first["final"])
    saved = copied(PatchNetForImageClassification.from_pretrained(folder / "run" / "checkpoint-6"))
    assert equal(saved, first["final"])


@pytest.mark.slow
def test_under_two_processes_an_epoch_of_the_schedule_is_one_of_the_joint_batches(two_processes):
    _, ranks = two_processes
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = CosineAnnealingWarmRestarts(optimizer, T_0=1)
    expected = []
    for step in range(6):
        schedule.step(step // 3 + step % 3 / 3)
        expected.append(optimizer.param_groups[0]["lr"])
    assert ranks[0]["learning_rates"] == ranks[1]["learning_rates"] == expected


@pytest.mark.parametrize("decay", [-0.1, 1.0, 999.0])
def test_a_decay_outside_its_range_is_said(tmp_path, decay):
    with pytest.raises(InputError, match="ema_decay is"):
        PatchNetTrainingArguments(output_dir=tmp_path, use_cpu=True, ema_decay=decay)
