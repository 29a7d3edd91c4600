"""The help of scripts/train.py comes at once, and says what the options are."""

import dataclasses
import subprocess
import sys

import pytest

from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.help import OPTIONS, USUAL, short_help
from patchnet_hf.training.options import TrainingOptions

SLOW = ("torch", "transformers", "timm", "datasets", "pandas")


def run(project, *options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "importtime", "scripts/train.py", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_imports_nothing_that_takes_seconds(project, option):
    ended = run(project, "--backbone", "resnet18", option)
    imported = {
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time")
    }
    assert ended.returncode == 0 and "patchnet_hf.command_line" in imported
    assert not imported & set(SLOW)
    assert "--backbone" in ended.stdout and "accelerate launch --quiet" in ended.stdout


def test_every_option_of_ours_is_in_it_with_its_default():
    words = short_help("train.py", "", "").split()
    text = " ".join(words)
    assert {ModelArguments, DataArguments, TrainingOptions} == set(OPTIONS)
    for option in (field for kind in OPTIONS for field in dataclasses.fields(kind)):
        assert f"--{option.name}" in words
        assert " ".join(option.metadata["help"].split()) in text
    assert "(default: 0.4)" in text and "(default: true)" in text


def test_what_it_says_of_transformers_options_is_so():
    fields = {field.name: field for field in dataclasses.fields(PatchNetTrainingArguments)}
    for name, (kind, default, _) in USUAL.items():
        known = fields[name]
        if known.default_factory is not dataclasses.MISSING:
            assert default is None and not known.default_factory()
        else:
            # transformers 5 has None where 4.57 has an empty mapping.
            assert known.default == default
        assert (kind is bool) == ("bool" in str(known.type))


def test_training_arguments_have_the_defaults_of_the_options():
    fields = {field.name: field for field in dataclasses.fields(PatchNetTrainingArguments)}
    for option in dataclasses.fields(TrainingOptions):
        assert fields[option.name].default == option.default
        assert fields[option.name].metadata == option.metadata


def test_help_all_also_shows_the_other_options_of_transformers(project):
    ended = run(project, "--help_all")
    assert ended.returncode == 0 and "--adam_beta2" in ended.stdout and "--help_all" in ended.stdout
