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


@pytest.fixture(scope="session")
def server() -> Iterator:
    """The Hub of all tests."""
    double = hub_double.HubDouble()
    yield double
    double.stop()


@pytest.fixture
def hub(server) -> Iterator:
    """A Hub without any repository; at the end nothing was asked that it has no answer for."""
    server.clear()
    yield server
    assert not server.unknown


@pytest.fixture(scope="session")
def environment(server, tmp_path_factory, project) -> dict[str, str]:
    """Variables of a process that takes the double for the Hub, and is signed in there."""
    # A home of its own: a token of the machine's user must not get into a test.
    held = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return held | {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path_factory.mktemp("hf_home")),
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


class Runner:
    """A process that runs scripts, one after the other; closing it ends it."""

    def __init__(self, environment: dict[str, str], folder: Path):
        self._errors = folder / "stderr"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("script_runner.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )

    def run(self, command: list, environment: dict[str, str | None], folder: Path) -> Done:
        case = {"command": list(map(str, command)), "environment": environment, "folder": str(folder)}
        print(json.dumps(case), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self._errors.read_text()
        return Done(**json.loads(answer))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def runner(environment, tmp_path_factory) -> Iterator[Runner]:
    """Runs all scripts for which the usual environment will do."""
    runner = Runner(environment, tmp_path_factory.mktemp("runner"))
    yield runner
    runner.close()


@pytest.fixture
def run(request, environment, project, tmp_path) -> Callable[..., list[Done]]:
    """
    Runs scripts of the project, one after the other in a process that other tests use, too.

    Takes commands, each `[script, argument...]`, or with variables of its environment `([...], {name: value})`. What
    is given by name are variables for which there has to be a process of their own.
    """

    def run(*commands, **variables) -> list[Done]:
        own = Runner(environment | variables, tmp_path) if variables else None
        runner = own or request.getfixturevalue("runner")
        done = []
        for command in commands:
            (script, *arguments), held = command if isinstance(command, tuple) else (command, {})
            done.append(runner.run([project / "scripts" / script, *arguments], held, tmp_path))
        if own:
            own.close()
        return done

    return run


@pytest.fixture
def python(runner, environment, tmp_path) -> Callable[..., str]:
    """
    Runs Python code with arguments, which must succeed; gives what it printed.

    With `interpreter` in a new process of that one, with further variables of its environment.
    """

    def python(code: str, *arguments, interpreter: Path | None = None, **variables) -> str:
        script = tmp_path / "code.py"
        script.write_text(code)
        if interpreter is None:
            done = runner.run([script, *arguments], {}, tmp_path)
            assert done.code == 0, done.out + done.err
            return done.out
        command = list(map(str, [interpreter, script, *arguments]))
        held = environment | variables
        ended = subprocess.run(command, capture_output=True, text=True, env=held, cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

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
