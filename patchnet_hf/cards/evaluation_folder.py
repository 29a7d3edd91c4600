"""What `scripts/evaluate.py` left in a folder, read back: its numbers, and the scores that pictures are drawn from."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .model_folder import METRICS_FILE, ModelFolder, read_json

SCORES_FILE = "scores.csv"
POOLED = "total"
KEYS = ("level", "operating_point", "interval_settings", "sets", "total", "evaluated")


@dataclass(frozen=True)
class SetScores:
    """
    The M images or clips of a set.

    Attributes:
        scores: float64 of shape `(M,)`, live log-odds.
        labels: int64 of shape `(M,)`, 1 = bona fide, 0 = attack.
        attack_types: M names.
    """

    scores: np.ndarray
    labels: np.ndarray
    attack_types: list[str]

    @classmethod
    def pooled(cls, parts: list["SetScores"]) -> "SetScores":
        """Those of all parts together."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            [kind for part in parts for kind in part.attack_types],
        )


@dataclass(frozen=True)
class EvaluationFolder:
    """
    An evaluation.

    Attributes:
        name: of its folder.
        content: of `metrics.json`; numbers that aren't defined are `None`.
        scores: of each set; empty where there is no `scores.csv`.
    """

    name: str
    content: dict
    scores: dict[str, SetScores]

    @classmethod
    def read(cls, folder: str | Path, model: ModelFolder) -> "EvaluationFolder":
        """
        Reads an evaluation of a model.

        Raises:
            InputError: the folder holds none, it is of another model, or its files don't belong together.
        """
        path = Path(folder)
        content = read_json(path / METRICS_FILE)
        if content is None or not set(KEYS) <= content.keys():
            raise InputError(
                f"evaluation {folder}: no folder that scripts/evaluate.py has written (its {METRICS_FILE} is missing "
                "or of something else)"
            )
        _check_model(content["evaluated"]["model"], str(folder), model)
        scores = _read_scores(path / SCORES_FILE, content["level"] == "clip")
        counted = "clips" if content["level"] == "clip" else "images"
        for name, numbers in content["sets"].items() if scores else ():
            if name not in scores or len(scores[name].scores) != numbers["counts"][counted]:
                raise InputError(f"evaluation {folder}: {SCORES_FILE} and {METRICS_FILE} are of two evaluations")
        return cls(path.resolve().name, content, scores)

    @property
    def things(self) -> str:
        """What is counted."""
        return "clips" if self.content["level"] == "clip" else "images"

    @property
    def on_graph(self) -> bool:
        """Whether an exported graph was measured rather than the model itself."""
        return not str(self.content["evaluated"]["model"].get("runs_on", "PyTorch")).startswith("PyTorch")


def _check_model(evaluated: dict, folder: str, model: ModelFolder) -> None:
    for name in ("backbone", "patch_types", "live_patch_types"):
        if name in model.config and evaluated.get(name) != model.config[name]:
            raise InputError(f"evaluation {folder} is of another model than {model.path}: its {name} is another")
    on_weights = str(evaluated.get("runs_on", "")).startswith("PyTorch")
    known = evaluated.get("weights_sha256"), model.weights_sha256
    if on_weights and None not in known and known[0] != known[1]:
        raise InputError(
            f"evaluation {folder} is of other weights than those of {model.path}; evaluate the model as it is now"
        )


def _read_scores(path: Path, clips: bool) -> dict[str, SetScores]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    found: dict[str, dict] = {}
    try:
        for number, row in enumerate(rows):
            # Of a clip every frame has the clip's score.
            key = row["clip"] if clips else number
            score = float(row["clip_live_log_odds" if clips else "live_log_odds"])
            found.setdefault(row["set"], {})[key] = (score, int(row["label"]), row["attack_type"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} can't be read as the scores of an evaluation: {error}") from error
    return {
        name: SetScores(
            np.array([score for score, _, _ in values.values()]),
            np.array([label for _, label, _ in values.values()], dtype=np.int64),
            [kind for _, _, kind in values.values()],
        )
        for name, values in found.items()
    }
