"""The job behind `scripts/compare_backbones.py`: each backbone's recipe tried, and the bars that all have to keep."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cards.markdown import escaped
from ..cards.markdown import table as markdown_table
from ..errors import InputError, did_you_mean
from ..json_files import finite
from ..text_table import text_table
from .backbone_trial import PARITY, BackboneTrial, TrialSettings, read_recipe, try_backbone
from .machine import Machine, torch_threads, usable_cores

HEADER = (
    "backbone",
    "patch",
    "parameters, M",
    "GMACs",
    "time, x ResNet-18",
    "loss",
    "training, s",
    "reloaded",
    "ONNX off by",
)


@dataclass(frozen=True, eq=False)
class BackboneComparison:
    """
    Trials of backbones.

    Attributes:
        machine: what they ran on.
        trials: in the order of the table.
    """

    machine: Machine
    trials: tuple[BackboneTrial, ...]

    @property
    def failed(self) -> list[str]:
        """Names of the recipes that missed a bar."""
        return [trial.name for trial in self.trials if trial.failures]

    def as_json(self) -> dict:
        return {
            "benchmark": "backbones",
            "machine": self.machine.as_json(),
            "parity_allowed": PARITY,
            "backbones": {trial.name: _trial_json(trial) for trial in self.trials},
            "failed": self.failed,
        }

    def text(self) -> str:
        """A table for people."""
        rows = [_cells(trial) for trial in self.trials]
        return "\n".join([self.machine.text(), "", text_table(HEADER, rows), *self._notes()])

    def markdown(self) -> str:
        """A table for a document."""
        rows = [[escaped(cells[0]), *cells[1:]] for cells in map(_cells, self.trials)]
        notes = "\n".join(f"- {escaped(note, 300)}" for note in self._notes())
        return "\n\n".join(filter(None, [f"{self.machine.text()}.", markdown_table(HEADER, rows), notes]))

    def _notes(self) -> list[str]:
        return [f"{trial.name}: {'; '.join(trial.failures)}" for trial in self.trials if trial.failures]


def compare_backbones(
    recipes: Sequence[Path],
    settings: TrialSettings | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda doing: None,
) -> BackboneComparison:
    """
    Tries the recipes one after the other.

    Args:
        recipes: YAML files, as [`recipe_files`] finds them.
        settings: of each trial.
        threads: to compute with; `None`: one for each core that may be used.
        progress: is told what is done next.

    Raises:
        InputError: a recipe or its dataset can't be used; before anything is trained where it can be told then.
    """
    settings = settings or TrialSettings()
    threads = usable_cores() if threads is None else threads
    if threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1")
    for recipe in recipes:
        read_recipe(recipe, "outputs", settings)
    machine = Machine.here(threads)
    trials = []
    with torch_threads(threads):
        for number, recipe in enumerate(recipes, start=1):
            trials.append(
                try_backbone(recipe, settings, lambda doing, at=number: progress(f"{at} of {len(recipes)}, {doing}"))
            )
    return BackboneComparison(machine, tuple(trials))


def recipe_files(folder: str | Path, names: Sequence[str] = ()) -> list[Path]:
    """
    Recipes of a folder in alphabetical order, or those of them that are named.

    Args:
        folder: of YAML files.
        names: of them, without their ending.

    Raises:
        InputError: the folder has no such recipe, or none at all.
    """
    known = {path.stem: path for path in sorted(Path(folder).glob("*.yaml"))}
    if not known:
        raise InputError(f"there are no recipes (*.yaml) in {folder}")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise InputError(f"there is no recipe {name!r} in {folder}{hint}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _cells(trial: BackboneTrial) -> list[str]:
    return [
        trial.name,
        str(trial.patch_size),
        _shown(trial.parameters, lambda value: f"{value / 1e6:.2f}"),
        _shown(trial.multiply_adds, lambda value: f"{value / 1e9:.3g}"),
        _shown(trial.times_resnet18, lambda value: f"{value:.2f}"),
        f"{trial.first_loss:.2f} to {trial.last_loss:.2f}" if trial.losses else "-",
        _shown(trial.training_seconds, lambda value: f"{value:.0f}"),
        _shown(trial.reload_differs, lambda value: "differs" if value else "equal"),
        _shown(trial.parity, lambda value: f"{value:.1e}" if value else "0"),
    ]


def _shown(value, shown: Callable) -> str:
    return "-" if value is None or (isinstance(value, float) and math.isnan(value)) else shown(value)


def _trial_json(trial: BackboneTrial) -> dict:
    return finite(
        {
            "backbone": trial.backbone,
            "patch_size": trial.patch_size,
            "parameters": trial.parameters,
            "multiply_adds": trial.multiply_adds,
            "times_resnet18": trial.times_resnet18,
            "first_loss": trial.first_loss,
            "last_loss": trial.last_loss,
            "losses": list(trial.losses),
            "training_seconds": trial.training_seconds,
            "reload_differs": None if trial.reload_differs is None else list(trial.reload_differs),
            "log_odds_difference": trial.parity,
            "failures": list(trial.failures),
        }
    )
