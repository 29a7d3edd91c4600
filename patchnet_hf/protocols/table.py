"""The table that papers print: error rates of each fold, their mean and standard deviation."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ..text_table import percent, text_table

NUMBERS = (
    ("apcer", "APCER"),
    ("bpcer", "BPCER"),
    ("acer", "ACER"),
    ("hter", "HTER"),
    ("auc", "AUC"),
    ("eer", "EER"),
)
MEAN = "mean ± std"
LATEX_SPECIAL = re.compile(r"[&%$#_{}]")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """
    Mean and sample standard deviation (n - 1) of folds' numbers; NaN for the deviation of fewer than two.

    >>> mean_and_deviation([0.25, 0.5, 0.75])
    (0.5, 0.25)
    >>> mean_and_deviation([0.5])
    (0.5, nan)
    """
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def summary_of(folds: Sequence[Mapping]) -> dict[str, dict[str, float]]:
    """`{number: {"mean": ..., "standard_deviation": ...}}` over the folds' `metrics`."""
    summary = {}
    for name, _ in NUMBERS:
        mean, deviation = mean_and_deviation([fold["metrics"][name] for fold in folds])
        summary[name] = {"mean": mean, "standard_deviation": deviation}
    return summary


def cells_of(folds: Sequence[Mapping], title: str, counted: str) -> tuple[list[str], list[list[str]]]:
    """
    Header and rows as text, rates in percent with two decimals.

    Args:
        folds: each with `fold`, `metrics` and the `counts` of its test set.
        title: of the first column.
        counted: key of the counts that the rates are of: `"images"` or `"clips"`.
    """
    header = [title, *(f"{shown} %" for _, shown in NUMBERS), counted, "subjects"]
    rows = [
        [
            fold["fold"],
            *(percent(fold["metrics"][name]) for name, _ in NUMBERS),
            str(fold["counts"][counted]),
            str(fold["counts"]["subjects"] or "-"),
        ]
        for fold in folds
    ]
    if len(folds) > 1:
        summary = summary_of(folds)
        spread = (
            f"{percent(summary[name]['mean'])} ± {percent(summary[name]['standard_deviation'])}" for name, _ in NUMBERS
        )
        rows.append([MEAN, *spread, "", ""])
    return header, rows


def plain_table(folds: Sequence[Mapping], title: str, counted: str) -> str:
    """The table for a terminal."""
    return text_table(*cells_of(folds, title, counted))


def markdown_table(folds: Sequence[Mapping], title: str, counted: str) -> str:
    """
    The table in Markdown.

    >>> metrics = dict.fromkeys(["apcer", "bpcer", "acer", "hter", "auc", "eer"], 0.25)
    >>> fold = {"fold": "print", "metrics": metrics, "counts": {"images": 8, "subjects": 2}}
    >>> print(markdown_table([fold], "left out", "images"))
    | left out | APCER % | BPCER % | ACER % | HTER % | AUC % | EER % | images | subjects |
    |---|--:|--:|--:|--:|--:|--:|--:|--:|
    | print | 25.00 | 25.00 | 25.00 | 25.00 | 25.00 | 25.00 | 8 | 2 |
    """
    header, rows = cells_of(folds, title, counted)
    lines = [header, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, f"|---|{'--:|' * (len(header) - 1)}", *body])


def latex_row(folds: Sequence[Mapping], name: str) -> str:
    """APCER, BPCER and ACER as a row of a paper's table; mean and deviation where there are several folds."""
    cells = []
    for number in ("apcer", "bpcer", "acer"):
        mean, deviation = mean_and_deviation([fold["metrics"][number] for fold in folds])
        spread = f"$\\pm${100 * deviation:.1f}" if len(folds) > 1 else ""
        cells.append(f"{100 * mean:.1f}{spread}")
    escaped = LATEX_SPECIAL.sub(r"\\\g<0>", name)
    return f"{escaped} & {' & '.join(cells)} \\\\"


def csv_text(folds: Sequence[Mapping], counted: str) -> str:
    """One row for each fold, rates as shares with every digit."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [name for name, _ in NUMBERS]
    writer.writerow(["fold", *names, "threshold_log_odds", counted, "subjects"])
    for fold in folds:
        counts = fold["counts"]
        numbers = (repr(float(fold["metrics"][name])) for name in names)
        writer.writerow(
            [fold["fold"], *numbers, repr(fold["threshold_log_odds"]), counts[counted], counts["subjects"]]
        )
    return file.getvalue()


def parts_table(rows: Sequence[Mapping]) -> str:
    """
    What each part of each fold holds.

    Args:
        rows: each with `fold`, `part` and the counts of [`counts_of`].
    """
    kinds = sorted({kind for row in rows for kind in row["attacks"]})
    header = ["fold", "part", "captures", "bona fides", *kinds, "subjects", "devices"]
    cells, last = [], None
    for row in rows:
        cells.append(
            [
                row["fold"] if row["fold"] != last else "",
                row["part"],
                str(row["captures"]),
                str(row["bona_fides"]),
                *(str(row["attacks"].get(kind, 0)) for kind in kinds),
                str(row["subjects"] or "-"),
                _listed(row["devices"]),
            ]
        )
        last = row["fold"]
    return text_table(header, cells, left=(0, 1, len(header) - 1))


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "") or "-"
