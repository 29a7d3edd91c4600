"""The help of scripts/train.py comes at once, and says what the options are."""

import dataclasses
import typing

import pytest

from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.help import OPTIONS, USUAL, short_help
from patchnet_hf.training.options import TrainingOptions

SLOW = {"torch", "transformers", "timm", "datasets", "pandas"}


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_imports_nothing_that_takes_seconds(imported_by, option):
    imported, printed = imported_by("scripts/train.py", "--backbone", "resnet18", option)
    assert "patchnet_hf.command_line" in imported and not imported & SLOW
    assert "--backbone" in printed and "accelerate launch --quiet" in printed


def test_every_option_of_ours_is_in_it_with_its_default():
    words = short_help("train.py", "", "").split()
    text = " ".join(words)
    assert {ModelArguments, DataArguments, TrainingOptions} == set(OPTIONS)
    for option in (field for kind in OPTIONS for field in dataclasses.fields(kind)):
        assert f"--{option.name}" in words
        assert " ".join(option.metadata["help"].split()) in text
    for name in PatchNetTrainingArguments.__annotations__:
        assert f"--{name}" in words
    assert "(default: 0.4)" in text and "(default: true)" in text


def test_what_it_says_of_transformers_options_is_so():
    fields = {field.name: field for field in dataclasses.fields(PatchNetTrainingArguments)}
    for name, (kind, default, _) in USUAL.items():
        known = fields[name]
        if known.default_factory is not dataclasses.MISSING:
            assert default is None and not known.default_factory()
        elif name == "optim":
            # By default that of the installed PyTorch.
            assert default is None and known.default.startswith("adamw_torch")
        else:
            # transformers 5 has None where 4.57 has an empty mapping.
            assert known.default == default, name
        taken = {part for part in (known.type, *typing.get_args(known.type)) if isinstance(part, type)}
        # transformers 5 also takes a share of all steps for the warm-up.
        assert kind in taken or (kind is int and float in taken), name


def test_training_arguments_have_the_defaults_of_the_options():
    fields = {field.name: field for field in dataclasses.fields(PatchNetTrainingArguments)}
    for option in dataclasses.fields(TrainingOptions):
        assert fields[option.name].default == option.default
        assert fields[option.name].metadata == option.metadata


def test_help_all_also_shows_the_other_options_of_transformers(imported_by):
    _, printed = imported_by("scripts/train.py", "--help_all")
    assert "--adam_beta2" in printed and "--help_all" in printed
