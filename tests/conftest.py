"""Fixtures of all tests. Nothing here or in any test leaves this machine."""

import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_configure(config):
    """
    Lets Ctrl-C end what tests start, and gives each of several test processes its own share of the cores, and with it
    all that it starts.

    Threads that wait for each other while other processes keep a core busy slow a training down many times over.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts what runs in its background, and whatever tests start would ignore Ctrl-C, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = cores[int(worker.removeprefix("gw")) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
        os.sched_setaffinity(0, share or cores)


def pytest_collection_modifyitems(items):
    """The files that take long first, so that none of them is left for one process alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("end_to_end" not in item.path.parts, item.path not in slow))


class Environment:
    """A virtual environment without packages of its own: it sees those of this Python, but not this project's."""

    def __init__(self, folder: Path):
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        (self.packages / "libraries.pth").write_text("\n".join(libraries))

    def pip(self, *arguments):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *arguments, **variables) -> subprocess.CompletedProcess:
        """Python here, in a folder and with variables that don't lead to the project."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment.update({"OMP_NUM_THREADS": "1", **variables})
        command = list(map(str, [self.python, *arguments]))
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.packages)

    def optimum_cli(self, *arguments, **variables) -> subprocess.CompletedProcess:
        return self.run("-m", "optimum.commands.optimum_cli", *arguments, **variables)

    def files(self) -> set[str]:
        """All that is installed."""
        return {str(path.relative_to(self.packages)) for path in self.packages.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture
def imported_by(project):
    """Names of the modules that a command imports, and what it printed; it runs in the project's folder."""

    def imported_by(*command) -> tuple[set[str], str]:
        ended = subprocess.run(
            [sys.executable, "-X", "importtime", *map(str, command)], cwd=project, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        lines = (line for line in ended.stderr.splitlines() if line.startswith("import time"))
        return {line.rpartition("|")[2].strip() for line in lines}, ended.stdout

    return imported_by


@pytest.fixture(scope="session")
def nuaa_sample() -> Path:
    """280 real captures, which are for research use only and therefore not part of the project."""
    folder = PROJECT.parent / "shared" / "nuaa_sample"
    if not folder.is_dir():
        pytest.skip(f"the sample of real captures is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def as_trained():
    """
    Makes a model what a training would: its scales, offsets and statistics of batch norms all differ.

    Those of a fresh model are ones and zeros, which hides errors of whoever merges or exports them.
    """
    import torch

    def trained(model, side: int):
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.numel() == max(parameter.shape):
                torch.nn.init.uniform_(parameter, 0.2, 0.8)
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None
        model.train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(4, 3, side, side))
            for norm in norms:
                norm.running_mean += norm.running_var.sqrt() * torch.rand_like(norm.running_mean)
        return model.eval()

    return trained


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory) -> Callable[[], Environment]:
    """Makes environments in which this project can't be imported, until it is installed there."""
    return lambda: Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window. Of each module, because asyncio takes no other loop while it runs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed: pip install -e .[dev]")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that containers lack.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()
