"""The job behind `scripts/benchmark.py startup`: how long it takes until anything of ours answers."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..text_table import counted
from .machine import Machine, usable_cores
from .one_table import OneTable
from .timing import Timing, interleaved

LIBRARIES = "import transformers, timm"
PACKAGE = "import patchnet_hf"
TRAIN_HELP, PREDICT_HELP = "scripts/train.py --help", "scripts/predict.py --help"
HEADER = ("what", "median s", "of the libraries' import")
REPEATS = 5


@dataclass(frozen=True)
class StartupBenchmark(OneTable):
    """
    A measurement of starts, each in a new process.

    Attributes:
        machine: what it ran on.
        timings: by what was started.
    """

    header = HEADER

    machine: Machine
    timings: dict[str, Timing]

    def share_of_libraries(self, what: str) -> float:
        """Of the time that transformers and timm take alone: the quotient of the medians."""
        return self.timings[what].median / self.timings[LIBRARIES].median

    def as_json(self) -> dict:
        return {
            "benchmark": "startup",
            "machine": self.machine.as_json(),
            "started": {
                what: {
                    "median_seconds": timing.median,
                    "share_of_libraries": self.share_of_libraries(what),
                    "seconds": [float(seconds) for seconds in timing.seconds],
                }
                for what, timing in self.timings.items()
            },
        }

    def cells(self) -> list[list[str]]:
        """Of the table."""
        return [
            [what, f"{timing.median:.2f}", f"{self.share_of_libraries(what):.2f}"]
            for what, timing in self.timings.items()
        ]

    def title(self) -> str:
        repeats = len(self.timings[LIBRARIES].seconds)
        return f"New processes, {counted(repeats, 'start')} of each in turn, after one that isn't counted"


def measure_startup(
    scripts: Path, repeats: int = REPEATS, progress: Callable[[str], object] = lambda doing: None
) -> StartupBenchmark:
    """
    Measures how long it takes to import the package, against the libraries that it stands on, and how long `--help`
    takes.

    Args:
        scripts: the folder of the scripts.
        repeats: timed starts of each.
        progress: is told what is done next.

    Raises:
        InputError: `repeats` is below 1, there are no scripts, or something doesn't start.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; expected at least 1")
    for script in ("train.py", "predict.py"):
        if not (scripts / script).is_file():
            raise InputError(f"{scripts / script} doesn't exist; expected the project's scripts")
    commands = {
        LIBRARIES: ("-c", LIBRARIES),
        PACKAGE: ("-c", PACKAGE),
        TRAIN_HELP: (str(scripts / "train.py"), "--help"),
        PREDICT_HELP: (str(scripts / "predict.py"), "--help"),
    }
    machine = Machine.here(usable_cores())
    progress(f"starting {len(commands)} processes, {repeats} times in turn")
    calls = {what: partial(_started, command) for what, command in commands.items()}
    return StartupBenchmark(machine, interleaved(calls, repeats, warm_up=1))


def _started(command: tuple[str, ...]) -> None:
    ended = subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"{' '.join(command)} ended with exit code {ended.returncode} and said: {said}")
