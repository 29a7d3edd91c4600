"""The scores of a fold's development and test set as CSV: all that its numbers are computed from."""

import csv
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.scored_set import COLUMNS, ScoredSet
from ..whole_file import whole_file

HEADER = ("file", "label", "attack_type", *COLUMNS, "live_log_odds")


def write_scores(path: Path, scored: ScoredSet) -> None:
    """
    Writes one row for each capture, in order; the file appears whole. Scores keep every digit.

    Raises:
        InputError: the file can't be written.
    """
    try:
        with whole_file(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for index, (name, kind) in enumerate(zip(scored.files, scored.attack_types, strict=True)):
                values = (scored.columns[column][index] for column in COLUMNS)
                writer.writerow([name, scored.labels[index], kind, *values, repr(float(scored.scores[index]))])
    except OSError as error:
        raise InputError(f"{path} can't be written: {error}") from error


def read_scores(path: Path, name: str) -> ScoredSet:
    """
    What [`write_scores`] wrote, without the scores of single patches.

    Raises:
        InputError: the file is missing, or is of another kind.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return ScoredSet(
            name,
            [row["file"] for row in rows],
            np.array([float(row["live_log_odds"]) for row in rows]),
            np.array([int(row["label"]) for row in rows], dtype=np.int64),
            [row["attack_type"] for row in rows],
            np.empty((len(rows), 0)),
            {column: [row[column] or None for row in rows] for column in COLUMNS},
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} can't be read as the scores of a fold: {error}; remove it to score again") from error
