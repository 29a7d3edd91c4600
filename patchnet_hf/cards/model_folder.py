"""The files of a model's folder that its card is written from."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from ..file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE
from ..inference.scorer import file_sha256

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
CALIBRATION_FILE = "calibration.json"
RELIABILITY_FILE = "reliability.png"
LEARNING_CURVE_FILE = "learning_curve.png"
RUN_KEYS = ("finished", "date", "versions", "device", "processes", "start", "data", "recipe")


@dataclass(frozen=True)
class ModelFolder:
    """
    A folder with a PatchNet model, and what a run, its evaluation and a calibration left in it.

    Attributes:
        path: of the folder.
        config: of the model.
        processor: configuration of the image processor; empty where there is none.
        run: the record of its training; `None` where there is none.
        metrics: what the training measured at its end, named as the Trainer logs it; `None` where it isn't known.
        calibration: what `scripts/calibrate.py` found; `None` where there is none, or the model has since been given
            other settings.
        graphs: exported ONNX graphs in the folder, relative to it.
    """

    path: Path
    config: dict
    processor: dict
    run: dict | None
    metrics: dict | None
    calibration: dict | None
    graphs: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | Path) -> "ModelFolder":
        """
        Reads what is there.

        Raises:
            InputError: the folder is missing, holds no PatchNet model, or has a file that can't be read.
        """
        path = Path(folder)
        config = read_json(path / CONFIG_FILE)
        if config is None:
            raise InputError(f"{folder} holds no model (no {CONFIG_FILE}), so there is nothing to write a card of")
        if config.get("model_type") != "patchnet":
            raise InputError(f"{folder} holds a model of type {config.get('model_type')!r}, not PatchNet")
        metrics = read_json(path / METRICS_FILE)
        if metrics is not None and not any(key.startswith(("eval_", "train_")) for key in metrics):
            metrics = None  # of something else
        calibration = read_json(path / CALIBRATION_FILE)
        return cls(
            path,
            config,
            read_json(path / PROCESSOR_FILE) or {},
            _read_run(path / RUN_FILE),
            metrics,
            calibration if calibration is not None and _is_of(calibration, config) else None,
            tuple(sorted(graph.relative_to(path).as_posix() for graph in _graphs(path))),
        )

    @property
    def name(self) -> str:
        """Of the folder alone."""
        return self.path.resolve().name or "model"

    @property
    def has_remote_code(self) -> bool:
        """Whether the model's code lies in the folder and transformers is told to load it."""
        return "auto_map" in self.config

    @property
    def decision_threshold(self) -> float:
        """The probability from which on the model accepts."""
        return float(self.config.get("decision_threshold", 0.5))

    @property
    def training_set(self) -> dict:
        """Counts of the captures that it was trained on; empty where there is no record."""
        return ((self.run or {}).get("data") or {}).get("train") or {}

    @property
    def evaluation_sets(self) -> dict[str, dict]:
        """Counts of the sets that its training evaluated, by name; empty where there is no record."""
        return ((self.run or {}).get("data") or {}).get("evaluation") or {}

    @cached_property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights, as evaluations report it; `None` where they aren't one file."""
        path = self.path / WEIGHTS_FILE
        return file_sha256(path) if path.is_file() else None

    def picture(self, name: str) -> bytes | None:
        """The bytes of a picture of the folder, if it is there."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None


def read_json(path: Path) -> dict | None:
    """
    The mapping that a JSON file holds, `None` where there is no file.

    Raises:
        InputError: it can't be read, is no JSON or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no mapping of names to values")
    return content


def _read_run(path: Path) -> dict | None:
    run = read_json(path)
    if run is not None and (missing := [key for key in RUN_KEYS if key not in run]):
        raise InputError(f"{path} is no record of a training: it lacks {', '.join(missing)}")
    return run


def _is_of(calibration: dict, config: dict) -> bool:
    after = calibration.get("after") or {}
    same = after.get("calibration") == config.get("calibration")
    return same and after.get("decision_threshold") == config.get("decision_threshold", 0.5)


def _graphs(path: Path) -> list[Path]:
    return [*path.glob("*.onnx"), *path.glob("onnx/*.onnx")]
