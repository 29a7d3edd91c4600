"""`metrics.csv`: the numbers of every evaluation, one row for each set."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback

from ..whole_file import whole_file
from .history import SetNumbers, evaluations

logger = logging.getLogger(__name__)

FILE_NAME = "metrics.csv"
COLUMNS = (
    *("step", "epoch", "set", "images", "acer", "apcer", "bpcer", "eer", "auc", "f1", "f3", "loss", "threshold"),
    *("precision", "recall", "specificity", "apcer_pooled", "acer_pooled", "eer_threshold"),
    *("bpcer_at_apcer_1", "bpcer_at_apcer_5", "bpcer_at_apcer_10", "bona_fides", "attacks"),
)


def table_of(found: Sequence[SetNumbers]) -> tuple[list[str], list[list[str]]]:
    """
    Header and rows of evaluations: the fixed columns, then `apcer_type_*` of every attack type in alphabetical order.

    Cells are text; a number that isn't defined is an empty one.

    >>> header, rows = table_of([SetNumbers("val", {"acer": 0.25, "apcer_type_print": math.nan}, 2.0, 30)])
    >>> header[:5], header[-1], rows[0][:5], rows[0][-1]
    (['step', 'epoch', 'set', 'images', 'acer'], 'apcer_type_print', ['30', '2', 'val', '', '0.25'], '')
    """
    types = sorted({name for entry in found for name in entry.numbers if name.startswith("apcer_type_")})
    header = [*COLUMNS, *types]
    rows = []
    for entry in found:
        values = {**entry.numbers, "step": entry.step, "epoch": entry.epoch, "set": entry.name}
        rows.append([_cell(values.get(name)) for name in header])
    return header, rows


def _cell(value: str | float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


class MetricsFileCallback(TrainerCallback):
    """
    Writes `metrics.csv` in the run's folder: one row for each evaluation and set, and for all sets pooled as `total`.

    What stands in the file always follows from the Trainer's log history. So a resumed run begins with the rows up to
    the checkpoint that it goes on from, whatever was measured after it or half written in a crash; a new run begins
    with none. Evaluations outside of training (before it, or of the weights that were kept after it) have no row. The
    main process alone writes. A file that can't be written is said and tried again at the next evaluation; nothing is
    lost by that, and a training doesn't end for it.
    """

    def __init__(self):
        self._path: Path | None = None
        self._header: list[str] = []
        self._rows: list[list[str]] = []

    def on_train_begin(self, args, state, control, **kwargs):
        """Starts the file with the evaluations that a resumed run begins with, or with none."""
        if not state.is_world_process_zero:
            return
        self._path = Path(args.output_dir) / FILE_NAME
        self._header, self._rows = [], []
        self._write(*table_of(evaluations(state.log_history)))

    def on_evaluate(self, args, state, control, **kwargs):
        """Appends what was measured since the last time."""
        if self._path is None:
            return
        self._write(*table_of(evaluations(state.log_history)))

    def on_train_end(self, args, state, control, **kwargs):
        """Leaves the file as it is: what is measured from now on isn't of training."""
        self._path = None

    def _write(self, header: list[str], rows: list[list[str]]) -> None:
        known = len(self._rows)
        try:
            if header != self._header or rows[:known] != self._rows:
                # At the beginning, or when a set brings a new attack type or is measured again at the same step.
                self._replace(header, rows)
            elif len(rows) > known:
                with self._path.open("a", encoding="utf-8", newline="") as file:
                    file.write(_csv(rows[known:]))
        except OSError as error:
            logger.warning("%s can't be written (%s); the next evaluation tries again", self._path, error)
            # It may hold half a line now, so it is written anew then.
            self._header, self._rows = [], []
        else:
            self._header, self._rows = header, rows

    def _replace(self, header: list[str], rows: list[list[str]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path) as unfinished:
            unfinished.write_text(_csv([header, *rows]), encoding="utf-8", newline="")


def read_metrics_file(folder: str | Path) -> list[dict[str, str]]:
    """The rows of a run's `metrics.csv` as text by column."""
    with (Path(folder) / FILE_NAME).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


__all__ = ["COLUMNS", "FILE_NAME", "MetricsFileCallback", "read_metrics_file", "table_of"]
