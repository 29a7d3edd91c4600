"""Real installations of the project, each in an environment of its own over the libraries of this one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import setuptools


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
def install(new_environment, sources) -> Callable:
    """A new environment with the project as a `"wheel"`, as `"editable"`, or with none of it (`"bare"`)."""

    def install(kind: str):
        environment = new_environment()
        if kind != "bare":
            how = ["--editable"] if kind == "editable" else []
            # `--ignore-installed`: what this Python has of the project is no business of the new environment.
            offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
            environment.pip("install", *offline, *how, sources)
        return environment

    return install


@pytest.fixture(scope="session")
def installed(install) -> Callable:
    """As `install`, one environment of each kind for all tests that only run things there."""
    environments = {}

    def installed(kind: str):
        if kind not in environments:
            environments[kind] = install(kind)
        return environments[kind]

    return installed
