"""Real installations of the project, each in an environment of its own over the libraries of this one."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import setuptools


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
def sources(tmp_path_factory, project) -> Path:
    """A copy of what the project is built from: building leaves files there."""
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools.__version__} is older than what pyproject.toml builds with")
    folder = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, folder)
    shutil.copytree(project / "patchnet_hf", folder / "patchnet_hf", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def install(tmp_path_factory, sources) -> Callable[[str], Environment]:
    """A new environment with the project as a `"wheel"`, as `"editable"`, or with none of it (`"bare"`)."""

    def install(kind: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("environment"))
        if kind != "bare":
            how = ["--editable"] if kind == "editable" else []
            # `--ignore-installed`: what this Python has of the project is no business of the new environment.
            offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
            environment.pip("install", *offline, *how, sources)
        return environment

    return install


@pytest.fixture(scope="session")
def installed(install) -> Callable[[str], Environment]:
    """As `install`, one environment of each kind for all tests that only run things there."""
    environments = {}

    def installed(kind: str) -> Environment:
        if kind not in environments:
            environments[kind] = install(kind)
        return environments[kind]

    return installed
