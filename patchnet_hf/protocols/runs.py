"""One fold as a run of `scripts/train.py`: its YAML file, what it was started with, its process, its scores."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import yaml

from .. import __version__
from ..errors import InputError
from ..evaluation.scoring import score_dataset
from ..inference.scorers import load_scorer
from ..training.report import METRICS_JSON
from ..whole_file import whole_file
from ..yaml_files import read_yaml_mapping
from .folds import Fold
from .pool import Pool
from .protocol import PARTS
from .saved_scores import write_scores

SETTINGS_FILE = "fold.yaml"
RECORD_FILE = "fold.json"
SCORED = ("development", "test")
LOCK_FILE = ".lock"
# What a run says of itself and how it reads its data; nothing that it learns depends on these.
WITHOUT_EFFECT = (
    *("report_to", "logging_steps", "disable_tqdm", "telegram", "dataloader_num_workers", "cpu_threads", "run_name"),
    *("train", "eval", "output_dir"),
)
SHOWN_LETTERS = 60
HEAD = """# Fold {name}. To train it by hand: python scripts/train.py --config THIS_FILE --output_dir ANOTHER_FOLDER
"""


def scores_file(part: str) -> str:
    """Name of the file with the scores of a part."""
    return f"{part}_scores.csv"


@dataclass(frozen=True)
class FoldRun:
    """
    A fold, where it is trained and with what.

    Attributes:
        fold: its parts.
        folder: of the run; the model, its scores and `fold.yaml` lie there.
        settings: the options of `scripts/train.py`, complete.
        captures: fingerprint of each part.
        processes: that train it together; the batch of a step grows with them.
    """

    fold: Fold
    folder: Path
    settings: Mapping
    captures: Mapping[str, str]
    processes: int = 1

    @classmethod
    def of(cls, fold: Fold, pool: Pool, settings: Mapping, output: Path, processes: int = 1) -> "FoldRun":
        """
        The run of a fold under `output`.

        Args:
            settings: the recipe's options with the protocol's.
            processes: of its training.
        """
        folder = output / fold.folder
        own = {
            "train": list(pool.specs),
            "eval": list(pool.specs),
            "train_filter": fold.filters["train"],
            "eval_filter": fold.filters["development"],
            "output_dir": str(folder),
        }
        captures = {part: pool.fingerprint(fold.rows[part]) for part in PARTS}
        return cls(fold, folder, {**settings, **own}, captures, processes)

    @property
    def is_finished(self) -> bool:
        """Whether it has been trained and scored."""
        return all((self.folder / scores_file(part)).is_file() for part in SCORED)

    @property
    def is_trained(self) -> bool:
        """Whether its training has come to its end; the metrics are the last that a run writes."""
        return (self.folder / METRICS_JSON).is_file()

    def record(self) -> dict:
        """What the run's outcome depends on, as JSON."""
        settings = {name: value for name, value in self.settings.items() if name not in WITHOUT_EFFECT}
        record = {"settings": settings, "captures": dict(self.captures), "processes": self.processes}
        return json.loads(json.dumps(record, default=str))

    def changes(self) -> list[str]:
        """
        What is different from what the folder's run was started with, in words; nothing for a new folder.

        Raises:
            InputError: the folder holds something that isn't a fold of ours.
        """
        if not self.folder.exists():
            return []
        try:
            there = json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8"))
            settings, captures, processes = there["settings"], there["captures"], there["processes"]
        except FileNotFoundError:
            if any(self.folder.iterdir()):
                raise InputError(
                    f"{self.folder} holds something that isn't a fold of a protocol (no {RECORD_FILE}); choose "
                    "another --output"
                ) from None
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder / RECORD_FILE} can't be read: {error}; choose another --output") from error
        here = self.record()
        changed = [
            f"{name} {_short(settings.get(name))} there, {_short(here['settings'].get(name))} here"
            for name in sorted({*settings, *here["settings"]})
            if settings.get(name) != here["settings"].get(name)
        ]
        if processes != self.processes:
            changed.append(f"processes {processes} there, {self.processes} here")
        other = [part for part in PARTS if captures.get(part) != here["captures"][part]]
        return [*changed, *([f"other captures in {' and '.join(other)}"] if other else [])]

    def begin(self) -> None:
        """
        Writes `fold.json`, and `fold.yaml` as it is now: the data or the folder may have moved since.

        Raises:
            InputError: they can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            record = {"fold": self.fold.name, "patchnet_hf": __version__, **self.record()}
            write_text(self.folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")
            text = yaml.safe_dump(_plain(self.settings), sort_keys=False, allow_unicode=True, width=110)
            write_text(self.folder / SETTINGS_FILE, f"{HEAD.format(name=self.fold.name)}{text}")
        except OSError as error:
            raise InputError(f"{self.folder} can't be written: {error}") from error

    def remove(self) -> None:
        """Removes the folder with all that is in it, which [`changes`] has said is a fold."""
        if (self.folder / RECORD_FILE).is_file():
            shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Launcher:
    """
    What starts a training.

    Attributes:
        command: `scripts/train.py` with what runs it, without its options.
        environment: of the process.
        processes: of a training.
        launches: `command` is a launcher, and the trainings are its children.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    processes: int = 1
    launches: bool = False

    @classmethod
    def of(cls, script: Path, accelerate_config: str | None, environment: Mapping[str, str]) -> "Launcher":
        """
        Python by itself, one process on one GPU or the CPU; or `accelerate launch` with a configuration.

        Raises:
            InputError: the configuration can't be read.
        """
        if accelerate_config is not None:
            processes = read_yaml_mapping(accelerate_config, "accelerate configuration").get("num_processes", 1)
            launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--quiet"]
            return cls([*launcher, "--config_file", accelerate_config, str(script)], environment, processes, True)
        environment = dict(environment)
        if torch.cuda.device_count() > 1:
            # With several in sight, one process would split its batches over them.
            environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        return cls([sys.executable, str(script)], environment)


def train_fold(run: FoldRun, launcher: Launcher, lock: int | None = None) -> None:
    """
    Trains a fold in a process of its own, going on from its last checkpoint if there is one.

    Args:
        lock: file that the process keeps open, and locked, while it lives.

    Raises:
        InputError: the training couldn't be done; it has said why.
        KeyboardInterrupt: Ctrl-C or SIGTERM ended it, after it has saved a checkpoint.
    """
    options = ["--config", str(run.folder / SETTINGS_FILE), "--resume_from_checkpoint", "true", "--overwrite", "true"]
    with terminated_like_ctrl_c():
        process = subprocess.Popen(
            [*launcher.command, *options],
            env=dict(launcher.environment),
            pass_fds=() if lock is None else (lock,),
        )
        code, stopped = wait_for(process, launcher.launches)
    if stopped or code in (130, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    if code:
        raise InputError(
            f"fold {run.fold.name}: its training ended with exit code {code}, for the reason above; once that is "
            "mended, the same command goes on"
        )


def wait_for(process: subprocess.Popen, launches: bool) -> tuple[int, bool]:
    """
    The exit code of a process, and whether this one was told to stop meanwhile; the process may finish a step and save
    then. The terminal has sent Ctrl-C to both of them; SIGTERM, which goes to one process, is passed on.

    Args:
        launches: the process is a launcher. Its trainings are told: it would die of the signal, and they would live.
    """
    stopped = False
    while True:
        try:
            return process.wait(), stopped
        except KeyboardInterrupt as stop:
            if stop.args:
                launcher = psutil.Process(process.pid)
                for told in (launches and launcher.children()) or [launcher]:
                    told.terminate()
            stopped = True


@contextmanager
def terminated_like_ctrl_c():
    """A block in which SIGTERM raises `KeyboardInterrupt("SIGTERM")`."""

    def handle(number, frame):
        raise KeyboardInterrupt("SIGTERM")

    earlier = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def score_fold(run: FoldRun, pool: Pool, batch_size: int, progress: Callable[[Iterable, str], Iterable]) -> None:
    """
    Scores the development and the test set of a trained fold, and saves the scores in its folder.

    Args:
        batch_size: captures in one pass.
        progress: wraps the iteration over batches of a part, which it is told the name of.

    Raises:
        InputError: the model or a capture can't be read, or a file can't be written.
    """
    scorer = load_scorer(str(run.folder))
    for part in SCORED:
        captures = pool.part(run.fold.rows[part])
        scored = score_dataset(
            scorer, captures, part, batch_size, progress=lambda batches, part=part: progress(batches, part)
        )
        write_scores(run.folder / scores_file(part), scored)


@contextmanager
def locked(output: Path):
    """
    A block in which nobody else trains into `output`; gives the locked file for a training to keep open.

    Raises:
        InputError: a run, or a training that outlived its run, is at work there; or the folder can't be written.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # not a Unix
        yield None
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open(output / LOCK_FILE, "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"output {output} can't be written: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{output} is in use by another run of cross_evaluate.py, or by a training it has left behind; wait "
                "for its end, or choose another --output"
            ) from error
        yield file.fileno()


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 1]}…"


def _plain(value):
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_text(path: Path, text: str) -> None:
    """Writes a file in one move: it's whole, or as it was."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
