"""Checkpoints of the reference, made once for all tests."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
of_reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(of_reference)


class Files(NamedTuple):
    """A network of the reference, and what a training of it leaves."""

    network: object
    checkpoint: Path
    config: Path


@pytest.fixture(scope="session")
def reference():
    """The module of that name beside this one."""
    return of_reference


@pytest.fixture(scope="session")
def files_of(as_trained, tmp_path_factory):
    """Makes checkpoint and configuration of a base."""

    @cache
    def made(base: str, merged: bool = False) -> Files:
        folder = tmp_path_factory.mktemp(base)
        network = of_reference.Reference(base, as_trained, merged)
        return Files(
            network, network.save(folder / "checkpoint.pth"), of_reference.write_config(folder / "config.yaml", base)
        )

    return made


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Smooth coloured pictures with noise, of sizes that shrink, grow, and do both."""
    random = np.random.default_rng(0)
    made = []
    for height, width in [(200, 150), (50, 60), (72, 72), (60, 140)]:
        rows, columns = np.mgrid[0:height, 0:width]
        waves = [np.sin(rows / random.uniform(5, 30) + columns / random.uniform(5, 30)) for _ in range(3)]
        noise = random.normal(0, 20, (height, width, 3))
        made.append((np.stack(waves, axis=-1) * 90 + 128 + noise).clip(0, 255).astype(np.uint8))
    return made
