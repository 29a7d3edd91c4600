"""Optimisers by name, weight decay, and what makes a step cheaper: each against plain torch or the plain run."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import Trainer
from transformers.training_args import OptimizerNames

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.compilation import check_compiler
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.optimization import OPTIMIZER_NAMES, PLAIN_OPTIMIZERS, parameter_names_with_decay

spec = importlib.util.spec_from_file_location("small_runs", Path(__file__).with_name("small_runs.py"))
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)
small_run, small_network, Recorder = small_runs.small_run, small_runs.small_network, small_runs.Recorder
copied, equal = small_runs.copied, small_runs.equal


def arguments(tmp_path, **options) -> PatchNetTrainingArguments:
    return PatchNetTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", **options)


ADAM = {"betas": (0.8, 0.99), "eps": 1e-6}
NAMED = [
    ("adam", None, torch.optim.Adam, ADAM),
    ("amsgrad", None, torch.optim.Adam, {**ADAM, "amsgrad": True}),
    ("adamw", None, torch.optim.AdamW, ADAM),
    ("sgd", None, torch.optim.SGD, {}),
    ("sgd", "momentum=0.9, nesterov=True", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", "alpha=0.9,momentum=0.5", torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.5}),
]


@pytest.mark.parametrize(("name", "optim_args", "kind", "expected"), NAMED)
@pytest.mark.slow
def test_a_name_of_the_reference_trains_as_torchs_own_class(tmp_path, name, optim_args, kind, expected):
    options = {
        "weight_decay": 0.1,
        "adam_beta1": 0.8,
        "adam_beta2": 0.99,
        "adam_epsilon": 1e-6,
        "decay_norms_and_biases": True,
    }
    named = small_run(tmp_path, optim=name, optim_args=optim_args, **options)
    named.train()
    plain = small_run(tmp_path, **options)
    plain.optimizer = kind(plain.model.parameters(), lr=1e-3, weight_decay=0.1, **expected)
    plain.train()
    assert type(named.optimizer.optimizer) is kind
    assert not equal(copied(named.model), copied(small_network()))
    assert equal(copied(named.model), copied(plain.model))


@pytest.mark.parametrize("name", sorted(set(PLAIN_OPTIMIZERS) & {name.value for name in OptimizerNames}))
def test_the_trainers_own_optimisers_are_built_as_the_trainer_builds_them(tmp_path, name):
    trainer = small_run(tmp_path, optim=name)
    assert trainer.get_optimizer_cls_and_kwargs(trainer.args) == Trainer.get_optimizer_cls_and_kwargs(trainer.args)


def test_every_optimiser_of_the_trainer_is_a_name():
    assert {name.value for name in OptimizerNames} <= set(OPTIMIZER_NAMES)
    assert {"adam", "amsgrad", "adamw", "sgd", "rmsprop"} <= set(OPTIMIZER_NAMES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim": "amsgrd"}, "optim is 'amsgrd'; did you mean amsgrad"),
        ({"optim": "adamw_torch_fussed"}, "did you mean adamw_torch_fused"),
        ({"optim": "zzz"}, "known are adam, amsgrad"),
        ({"optim": "sgd", "optim_args": "momentun=0.9"}, "sgd has no argument 'momentun'; did you mean momentum"),
        ({"optim": "adam", "optim_args": "zzz=0.9"}, "adam has no argument 'zzz'; it takes"),
        ({"optim": "sgd", "optim_args": "momentum"}, "is no name=value"),
        ({"optim": "sgd", "optim_args": "momentum=high"}, "momentum is 'high'; expected a number"),
        ({"optim": "sgd", "optim_args": "nesterov=0.5"}, "nesterov is '0.5'; expected true or false"),
        ({"optim": "sgd", "optim_args": "nesterov=true"}, "Nesterov momentum requires"),
        ({"optim": "sgd", "optim_args": "lr=0.1"}, "lr is given by learning_rate"),
        ({"optim": "rmsprop", "optim_args": "weight_decay=0.1"}, "weight_decay is given by weight_decay"),
        ({"optim": "adam", "optim_args": "eps=0.1"}, "eps is given by adam_epsilon"),
        ({"optim": "amsgrad", "optim_args": "amsgrad=false"}, "amsgrad is True for optim amsgrad"),
        ({"optim": "adam", "learning_rate": -1.0}, "Invalid learning rate"),
        ({"optim": "lion_32bit", "optim_args": "beta"}, "is no name=value"),
    ],
)
def test_an_optimiser_that_cannot_be_is_said_in_one_line(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as error:
        arguments(tmp_path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["apollo_adamw", "galore_adamw", "adamw_anyprecision"])
def test_an_optimiser_that_this_machine_lacks_is_said_before_anything_is_written(tmp_path, name):
    with pytest.raises(InputError, match=f"optim {name}: "):
        small_run(tmp_path / "out", optim=name)
    assert not (tmp_path / "out").exists()


def test_names_and_their_arguments_survive_yaml_the_command_line_and_json(tmp_path):
    def parsed(*argv):
        return RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments)).parse_run(list(argv))[-1]

    path = tmp_path / "run.yaml"
    path.write_text("optim: sgd\noptim_args: {momentum: 0.9, nesterov: true}\n")
    from_yaml = parsed("--config", str(path))
    assert (from_yaml.optim, from_yaml.optim_args) == ("sgd", "momentum=0.9,nesterov=True")
    given = parsed("--config", str(path), "--optim", "amsgrad", "--optim_args", "maximize=true")
    written = json.loads(given.to_json_string())
    assert (written["optim"], written["optim_args"]) == ("amsgrad", "maximize=true")
    again = arguments(tmp_path, optim=written["optim"], optim_args=written["optim_args"])
    assert again.optim == given.optim == "amsgrad" and again.optim.value == "amsgrad"


@pytest.mark.parametrize(
    ("backbone", "exempt"),
    [("test_convnext", ()), ("test_resnet", ()), ("test_vit", ("pos_embed", "cls_token", "reg_token"))],
)
def test_norms_biases_and_what_the_backbone_names_do_not_decay(backbone, exempt):
    model = small_network(backbone) if backbone != "test_vit" else small_vit()
    decaying = set(parameter_names_with_decay(model))
    for name, parameter in model.named_parameters():
        free = parameter.ndim < 2 or name.endswith(".bias") or name.removeprefix("patchnet.backbone.") in exempt
        assert (name in decaying) is not free, name
    assert "classifier.weight" in decaying
    assert any(name.removeprefix("patchnet.backbone.") in exempt for name, _ in model.named_parameters()) is bool(
        exempt
    )


def small_vit():
    config = small_network().config
    config.backbone, config.backbone_kwargs = "test_vit", {"img_size": 32}
    return PatchNetForImageClassification(config)


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_optimiser_gets_the_groups(tmp_path, everywhere):
    trainer = small_run(tmp_path, optim="adamw", weight_decay=0.1, decay_norms_and_biases=everywhere)
    groups = trainer.create_optimizer().param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        assert decay[id(parameter)] == (0.1 if everywhere or parameter.ndim >= 2 else 0.0), name


@pytest.mark.slow
def test_two_accumulated_batches_of_four_are_a_batch_of_eight(tmp_path):
    one = small_run(tmp_path, optim="sgd", learning_rate=0.1)
    two = small_run(
        tmp_path, optim="sgd", learning_rate=0.1, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )
    losses = []
    for trainer in (one, two):
        trainer.train()
        losses.append(trainer.state.log_history[-1]["train_loss"])
    assert one.state.global_step == two.state.global_step == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    parts = two.model.state_dict()
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(value, parts[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("backbone", ["test_convnext", "test_resnet"])
@pytest.mark.slow
def test_gradient_checkpointing_gives_equal_gradients(tmp_path, backbone):
    plain, checkpointed = Recorder(gradients=True), Recorder(gradients=True)
    convolutions = []
    for recorder, options in ((plain, {}), (checkpointed, {"gradient_checkpointing": True})):
        trainer = small_run(tmp_path, backbone=backbone, max_steps=1, **options)
        trainer.add_callback(recorder)
        calls = []
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        trainer.train()
        convolutions.append(len(calls))
    assert convolutions[1] > 1.5 * convolutions[0], "most activations are computed once more in the backward pass"
    for name, gradient in plain.gradients[0].items():
        torch.testing.assert_close(gradient, checkpointed.gradients[0][name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("dla46x_c", {}, "'dla46x_c' doesn't support gradient checkpointing"),
        ("test_convnext", {"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "can't be passed on"),
    ],
)
def test_checkpointing_that_a_backbone_refuses_is_said_before_anything_is_written(
    tmp_path, backbone, options, message
):
    with pytest.raises(InputError, match=message):
        small_run(tmp_path / "out", backbone=backbone, gradient_checkpointing=True, **options)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def compiling():
    """Takes back what transformers says to accelerate through the environment: it would hold for all later runs."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, compiling):
    """A compiled run of two epochs with a checkpoint after each, and the same run uncompiled."""
    runs = {}
    for name, compile_ in (("plain", False), ("compiled", True)):
        trainer = small_run(
            tmp_path_factory.mktemp(name), torch_compile=compile_, save_strategy="epoch", optim="sgd", logging_steps=1
        )
        trainer.train()
        trainer.save_model()
        runs[name] = trainer
    return runs


def test_the_backend_that_a_run_asks_for_is_the_one_that_is_tried(monkeypatch):
    check_compiler("cpu", "eager")

    def fails(function, backend, **_):
        raise RuntimeError(f"no {backend}\nmore")

    monkeypatch.setattr(torch, "compile", fails)
    for asked, tried in ((None, "inductor"), ("aot_eager", "aot_eager")):
        with pytest.raises(InputError, match=rf"^this machine can't compile the network: no {tried}$"):
            check_compiler("cpu", asked)


@pytest.mark.slow
def test_a_compiled_run_is_close_to_the_plain_one(compiled):
    losses = [
        [log["loss"] for log in run.state.log_history if "loss" in log]
        for run in (compiled["plain"], compiled["compiled"])
    ]
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    expected = compiled["plain"].model.state_dict()
    for name, value in compiled["compiled"].model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_compiled_run_leaves_a_model_that_loads(compiled):
    run = compiled["compiled"]
    assert hasattr(run.model_wrapped, "_orig_mod"), "it was compiled"
    for folder in (Path(run.args.output_dir), Path(run.args.output_dir) / "checkpoint-6"):
        loaded, report = PatchNetForImageClassification.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert equal(copied(loaded), copied(run.model))


@pytest.mark.slow
def test_a_compiled_run_resumes(compiled):
    run = compiled["compiled"]
    folder = Path(run.args.output_dir)
    again = small_run(folder, torch_compile=True, save_strategy="no", optim="sgd")
    again.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    assert again.state.global_step == 6
    expected = run.model.state_dict()
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_compiling_bfloat16_accumulation_and_checkpointing_work_together(tmp_path, compiling):
    common = {"optim": "sgd", "learning_rate": 0.01, "logging_steps": 1, "num_train_epochs": 3}
    plain = small_run(tmp_path / "plain", **common)
    plain.train()
    together = small_run(
        tmp_path / "together",
        **common,
        torch_compile=True,
        precision="bfloat16",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        gradient_checkpointing=True,
        ema_decay=0.5,
        sets=small_runs.captures(5, 1),
        eval_strategy="epoch",
        metric_for_best_model="eval_acer",
        save_strategy="epoch",
    )
    counters.clear()
    together.train()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], "one graph holds model and loss"
    losses = [[log["loss"] for log in run.state.log_history if "loss" in log] for run in (plain, together)]
    assert len(losses[0]) == len(losses[1]) == 9
    # bfloat16 has 8 bits of mantissa, a relative 0.004 for each operation; errors of many average out.
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    moved = copied(small_network())
    loaded = PatchNetForImageClassification.from_pretrained(tmp_path / "together" / "checkpoint-9")
    assert equal(copied(loaded), copied(together.model)) and not equal(copied(loaded), moved)
    assert all(value.dtype == torch.float32 for value in together.model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_wins_over_the_launchers(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16" if precision == "float32" else "no")
    trainer = small_run(tmp_path, precision=precision)
    assert trainer.accelerator.mixed_precision == {"float32": "no", "bfloat16": "bf16"}[precision]
