"""A Hub on 127.0.0.1, processes that know no other, and small models and datasets to push to it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor

SIDE = 32


def load_beside(folder: str, name: str):
    """A module of the tests in `folder`."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / folder / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


load_beside("hub", "hub_repositories")
hub_double = load_beside("hub", "hub_double")


@pytest.fixture
def hub() -> Iterator:
    """A Hub without any repository; at the end nothing was asked that it has no answer for."""
    double = hub_double.HubDouble()
    yield double
    double.stop()
    assert not double.unknown


@pytest.fixture
def environment(hub, tmp_path, project) -> dict[str, str]:
    """Variables of a process that takes the double for the Hub, and is signed in there."""
    # A home of its own: a token of the machine's user must not get into a test.
    held = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return held | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf_home"),
        "HF_TOKEN": hub_double.TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(project),
        "OMP_NUM_THREADS": "1",
    }


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that tells what the user can mend."""
        assert self.code == 2 and "Traceback" not in self.err, self.err
        (line,) = [line for line in self.err.splitlines() if ": error: " in line]
        return line


@pytest.fixture
def run(environment, project, tmp_path) -> Callable[..., list[Done]]:
    """
    Runs scripts of the project, one after the other in a single process.

    Takes commands, each `[script, argument...]`, or with variables of its environment `([...], {name: value})`.
    """

    def run(*commands, **variables) -> list[Done]:
        cases = []
        for command in commands:
            (script, *arguments), held = command if isinstance(command, tuple) else (command, {})
            line = [str(project / "scripts" / script), *map(str, arguments)]
            cases.append({"command": line, "environment": held})
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("several_commands.py"))],
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            env=environment | variables,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return [Done(**entry) for entry in json.loads(done.stdout)]

    return run


@pytest.fixture
def python(environment, tmp_path) -> Callable[..., str]:
    """Runs Python code with arguments, which must succeed; gives what it printed."""

    def python(code: str, *arguments, interpreter=sys.executable, **variables) -> str:
        command = [str(interpreter), "-c", code, *map(str, arguments)]
        held = environment | variables
        done = subprocess.run(command, capture_output=True, text=True, env=held, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


@pytest.fixture(scope="session")
def new_model() -> Callable[..., PatchNetForImageClassification]:
    """[`small_model`]."""
    return small_model


def small_model(seed: int = 0, **options) -> PatchNetForImageClassification:
    torch.manual_seed(seed)
    types = {"patch_types": ["phone/live", "phone/print"], "live_patch_types": ["phone/live"]}
    config = PatchNetConfig(backbone="test_convnext", image_size=SIDE, **types, **options)
    return PatchNetForImageClassification(config).eval()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """A model and its image processor as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    small_model(calibration={"scale": 0.5, "bias": 0.1}).save_pretrained(folder)
    PatchNetImageProcessor(patch_size=SIDE, grid=2).save_pretrained(folder)
    return folder


@pytest.fixture
def model_folder(saved_model, tmp_path) -> Path:
    """A copy of it to change, as a training leaves it: with checkpoints, logs and secrets that mustn't go up."""
    folder = tmp_path / "outputs" / "model"
    shutil.copytree(saved_model, folder)
    (folder / "metrics.json").write_text('{"eval_val_acer": 0.0125}\n')
    (folder / ".env").write_text("TELEGRAM_TOKEN=123456789:AAE-no_bot_has_this_token_0123456789\n")
    (folder / "training_args.json").write_text(f'{{"output_dir": "{folder}"}}\n')
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "references.safetensors").write_bytes(b"of a person")
    for inner in ("checkpoint-3", "runs/now", "overlays"):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "model.safetensors").write_bytes(b"of a checkpoint")
    return folder


@pytest.fixture(scope="session")
def captures_folder(tmp_path_factory) -> Path:
    """A converted dataset of small captures with splits `train` and `val`."""
    captures = load_beside("training", "small_runs").captures
    folder = tmp_path_factory.mktemp("captures") / "mine"
    datasets.DatasetDict({"train": captures(24, 0), "val": captures(12, 1)}).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def picture(tmp_path_factory) -> Path:
    """A file with pixels at random."""
    path = tmp_path_factory.mktemp("pictures") / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(path)
    return path
