"""The numbers of a run as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..json_files import finite
from ..text_table import percent, text_table
from ..whole_file import whole_file
from .history import Best

METRICS_JSON = "metrics.json"
COLUMNS = (
    ("images", "images", "{:d}"),
    ("acer", "ACER %", None),
    ("apcer", "APCER %", None),
    ("bpcer", "BPCER %", None),
    ("eer", "EER %", None),
    ("auc", "AUC %", None),
)


def metrics_line(metrics: dict, name: str) -> str:
    """One set's rates in a line, from metrics named `eval_{name}_{number}`."""
    numbers = ("acer", "apcer", "bpcer", "auc")
    return f"{name}: " + "  ".join(f"{key.upper()} {percent(metrics[f'eval_{name}_{key}'])} %" for key in numbers)


def best_line(best: Mapping[str, Best]) -> str:
    """The best numbers so far in a line.

    >>> best_line({"acer": Best(0.0406, 24.0, 912), "f1": Best(0.97, 16.0, 608)})
    'best so far: ACER 4.06 % (epoch 24)  F1 97.00 % (epoch 16)'
    """
    shown = (f"{number.upper()} {percent(entry.value)} % (epoch {entry.epoch:.4g})" for number, entry in best.items())
    return "best so far: " + "  ".join(shown)


def attack_types_of(metrics: dict, name: str) -> dict[str, float]:
    """APCER of each attack type of a set, from metrics named `eval_{name}_apcer_type_{type}`."""
    prefix = f"eval_{name}_apcer_type_"
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}


def metrics_table(metrics: dict, sets: list[str]) -> str:
    """
    Rates of every evaluation set, one row a set, in percent.

    Args:
        metrics: named `eval_{set}_{number}`, as the Trainer logs them.
        sets: names of the rows, in order.
    """
    types = sorted({kind for name in sets for kind in attack_types_of(metrics, name)})
    header = ["set", *(title for _, title, _ in COLUMNS), *(f"APCER {kind} %" for kind in types)]
    rows = []
    for name in sets:
        cells = [name]
        for key, _, form in COLUMNS:
            value = metrics[f"eval_{name}_{key}"]
            cells.append(form.format(value) if form else percent(value))
        of_type = attack_types_of(metrics, name)
        cells += [percent(of_type.get(kind, math.nan)) for kind in types]
        rows.append(cells)
    return text_table(header, rows)


def write_json(path: Path, values: dict, sort_keys: bool = True) -> None:
    """Writes `values` as JSON in one move; numbers that aren't finite, which JSON lacks, become null.

    Raises:
        InputError: the file can't be written.
    """
    text = json.dumps(finite(values), indent=2, sort_keys=sort_keys) + "\n"
    try:
        with whole_file(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} can't be written: {error}") from error
