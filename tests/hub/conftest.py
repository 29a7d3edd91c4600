"""A Hub on 127.0.0.1, processes that know no other, and small models and datasets to push to it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor

SIDE = 32


def load(name: str):
    """A module that lies beside this one."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


load("hub_repositories")
hub_double = load("hub_double")


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


@pytest.fixture
def run(environment, project, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs Python with arguments and further variables; a script of the project by its name."""

    def run(*arguments, python=sys.executable, **variables) -> subprocess.CompletedProcess:
        first, *others = map(str, arguments)
        script = project / "scripts" / first
        command = [str(python), str(script) if script.is_file() else first, *others]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment | variables, cwd=tmp_path, timeout=300
        )

    return run


@pytest.fixture
def succeeded(run) -> Callable[..., str]:
    """Runs Python as `run`, which must succeed; gives what it printed."""

    def succeeded(*arguments, **variables) -> str:
        done = run(*arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return succeeded


@pytest.fixture
def refused(run) -> Callable[..., str]:
    """Runs Python as `run`, which must end with exit code 2 and one line; gives the line."""

    def refused(*arguments, **variables) -> str:
        done = run(*arguments, **variables)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if ": error: " in line]
        return line

    return refused


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
    import shutil

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
