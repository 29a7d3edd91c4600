"""Learning-rate schedules: cosine warm restarts as torch's own, and all of transformers by name."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from transformers import SchedulerType

from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.schedules import CosineWarmRestarts
from patchnet_hf.training.trainer import PatchNetTrainer

spec = importlib.util.spec_from_file_location("small_runs", Path(__file__).with_name("small_runs.py"))
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)
small_run, Recorder = small_runs.small_run, small_runs.Recorder

RESTARTS = "cosine_warm_restarts"


def optimizer(rate=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates_of_torch(count: int, steps_per_epoch: int, rate: float, **periods) -> list[float]:
    """The learning rate of each of `count` steps, by torch's class called as its documentation says."""
    ours = optimizer(rate)
    schedule = CosineAnnealingWarmRestarts(ours, **periods)
    rates = []
    for step in range(count):
        epoch, i = step // steps_per_epoch, step % steps_per_epoch
        schedule.step(epoch + i / steps_per_epoch)
        rates.append(ours.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 30])
@pytest.mark.parametrize(
    "periods", [{"T_0": 3}, {"T_0": 2, "T_mult": 2, "eta_min": 1e-4}, {"T_0": 1, "T_mult": 3, "eta_min": 0.01}]
)
def test_every_step_has_the_rate_of_its_fraction_of_an_epoch(steps_per_epoch, periods):
    ours = optimizer()
    schedule = CosineWarmRestarts(ours, steps_per_epoch, **periods)
    rates = []
    for _ in range(20 * steps_per_epoch):
        rates.append(ours.param_groups[0]["lr"])
        ours.step()
        schedule.step()
    assert rates == rates_of_torch(20 * steps_per_epoch, steps_per_epoch, 0.1, **periods)
    first = periods["T_0"] * steps_per_epoch
    second = first * (1 + periods.get("T_mult", 1))
    assert rates[first] == rates[second] == pytest.approx(0.1), "restarts, at the full rate"


@pytest.mark.parametrize(
    ("options", "captured", "steps_per_epoch", "steps"),
    [
        ({"num_train_epochs": 6}, 20, 3, 18),
        # 5 batches of 4 are 3 optimiser steps, the last of one batch.
        ({"num_train_epochs": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}, 20, 3, 12),
        ({"max_steps": 8}, 20, 3, 8),
    ],
    ids=["epochs", "accumulation", "max_steps"],
)
@pytest.mark.slow
def test_the_rates_of_a_run_are_those_of_torch(tmp_path, options, captured, steps_per_epoch, steps):
    periods = {"T_0": 1, "T_mult": 2, "eta_min": 1e-5}
    trainer = small_run(
        tmp_path,
        captured=captured,
        lr_scheduler_type=RESTARTS,
        lr_scheduler_kwargs=periods,
        logging_steps=1,
        **options,
    )
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    assert recorder.learning_rates == rates_of_torch(steps, steps_per_epoch, 1e-3, **periods)
    logged = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert logged == recorder.learning_rates


def test_the_state_is_json_and_goes_on_with_the_same_rates():
    periods = {"T_0": 2, "T_mult": 2, "eta_min": 1e-4}
    first = optimizer()
    schedule = CosineWarmRestarts(first, 5, **periods)
    for _ in range(13):
        first.step()
        schedule.step()
    state = json.loads(json.dumps(schedule.state_dict()))
    second = optimizer()
    resumed = CosineWarmRestarts(second, 5, **periods)
    resumed.load_state_dict(state)
    for _ in range(40):
        assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"] == resumed.get_last_lr()[0]
        for each, its_schedule in ((first, schedule), (second, resumed)):
            each.step()
            its_schedule.step()


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_rates_of_an_undisturbed_one(tmp_path):
    options = {
        "num_train_epochs": 3,
        "lr_scheduler_type": RESTARTS,
        "lr_scheduler_kwargs": {"T_0": 2},
        "save_strategy": "steps",
        "save_steps": 4,
    }
    undisturbed, resumed = Recorder(), Recorder()
    trainer = small_run(tmp_path, **options)
    trainer.add_callback(undisturbed)
    trainer.train()
    again = small_run(tmp_path, **options)
    again.add_callback(resumed)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert len(undisturbed.learning_rates) == 9
    assert resumed.learning_rates == undisturbed.learning_rates[4:]


@pytest.mark.slow
def test_a_second_run_of_a_trainer_has_its_own_schedule(tmp_path):
    trainer = small_run(tmp_path, lr_scheduler_type=RESTARTS, lr_scheduler_kwargs={"T_0": 3}, num_train_epochs=1)
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    trainer.args.per_device_train_batch_size = 12
    trainer._train_batch_size = 12
    trainer.train()
    assert recorder.learning_rates[:3] == rates_of_torch(3, 3, 1e-3, T_0=3)
    assert trainer.lr_scheduler.steps_per_epoch == 2 and trainer.lr_scheduler.steps == 2


NEEDED = {
    "cosine_with_min_lr": {"min_lr": 1e-5},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-5},
    "warmup_stable_decay": {"num_decay_steps": 2},
}


@pytest.mark.parametrize("name", [name.value for name in SchedulerType])
def test_every_schedule_of_transformers_is_had_by_name(tmp_path, name):
    metric = {"eval_strategy": "epoch", "metric_for_best_model": "eval_acer"}
    kwargs = NEEDED.get(name)
    trainer = small_run(
        tmp_path, sets=small_runs.captures(3, 1), lr_scheduler_type=name, lr_scheduler_kwargs=kwargs, **metric
    )
    trainer.create_optimizer_and_scheduler(10)
    assert trainer.args.lr_scheduler_type == SchedulerType(name)
    assert not isinstance(trainer.lr_scheduler, CosineWarmRestarts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_scheduler_type": "cosine_warm_restart"}, "did you mean cosine_warm_restarts"),
        ({"lr_scheduler_type": "zzz"}, "known are cosine_warm_restarts, linear"),
        ({"lr_scheduler_type": RESTARTS}, "needs lr_scheduler_kwargs with T_0"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T0": 3}}, "no argument 'T0'; did you mean T_0"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T_0": 0}}, "positive integer T_0"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T_0": 2, "T_mult": 1.5}}, "integer T_mult"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T_0": 2, "eta_min": "low"}}, "eta_min"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": '{"T_0": 2'}, "no JSON mapping"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": "T_0=2"}, "no JSON mapping"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": "[2]"}, "expected a mapping"),
        ({"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T_0": 2}, "warmup_steps": 5}, "has no warm-up"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycle": 1}}, "did you mean num_cycles"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"a": 1}}, "it takes none"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
        (
            {"lr_scheduler_type": RESTARTS, "lr_scheduler_kwargs": {"T_0": 2}, "optim": "galore_adamw_layerwise"},
            "layer by layer",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_said_in_one_line(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as error:
        PatchNetTrainingArguments(output_dir=tmp_path, use_cpu=True, **options)
    assert "\n" not in str(error.value)


def parsed(*argv) -> PatchNetTrainingArguments:
    return RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments)).parse_run(list(argv))[-1]


def test_yaml_and_the_command_line_give_the_same_schedule(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        f"lr_scheduler_type: {RESTARTS}\nlr_scheduler_kwargs: {{T_0: 10, T_mult: 2, eta_min: 1e-6}}\n"  # text, by YAML
    )
    expected = {"T_0": 10, "T_mult": 2, "eta_min": 1e-6}
    arguments = parsed("--config", str(path))
    assert (arguments.lr_scheduler_type, arguments.lr_scheduler_kwargs) == (RESTARTS, expected)
    arguments = parsed("--lr_scheduler_type", RESTARTS, "--lr_scheduler_kwargs", json.dumps(expected))
    assert (arguments.lr_scheduler_type, arguments.lr_scheduler_kwargs) == (RESTARTS, expected)
    written = json.loads(arguments.to_json_string())
    assert (written["lr_scheduler_type"], written["lr_scheduler_kwargs"]) == (RESTARTS, expected)


def test_a_stream_has_no_epochs_to_restart_after(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    given = small_run(tmp_path, lr_scheduler_type=RESTARTS, lr_scheduler_kwargs={"T_0": 1}, max_steps=3)
    trainer = PatchNetTrainer(given.model, given.args, train_dataset=Stream(), processing_class=given.processing_class)
    with pytest.raises(InputError, match="stream"):
        trainer.train()
