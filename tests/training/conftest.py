"""Real processes for the tests of training."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def run_processes() -> Callable[..., None]:
    """Runs a script of this folder as one process or, over gloo on the CPU, as several; it must succeed."""

    def run(script: str, *arguments, processes: int = 2) -> None:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
        command = [sys.executable, *(launcher if processes > 1 else []), Path(__file__).with_name(script), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
