"""The folder that an evaluation is written to."""

import json
import os
from pathlib import Path

from ..whole_folder import check_output_folder, whole_folder
from .job import Evaluation
from .metrics_file import METRICS_FILE, as_json
from .report import REPORT_FILE, render_report
from .scores_file import SCORES_FILE, write_scores
from .sets import POOLED
from .thumbnails import worst_images

FILES = (METRICS_FILE, SCORES_FILE, REPORT_FILE)


def write_evaluation(evaluation: Evaluation, output: str | os.PathLike, overwrite: bool = False) -> None:
    """
    Writes `metrics.json`, `scores.csv` and `report.html` into a folder, all or nothing.

    Raises:
        InputError: the folder can't be used ([`check_output`]) or written.
    """
    check_output(output, overwrite)
    names = list(evaluation.sets)
    content = as_json(evaluation)
    report = render_report(
        content,
        {name: evaluation.presentations[name] for name in names} | {POOLED: evaluation.pooled},
        evaluation.shown,
        evaluation.point,
        {name: _worst(evaluation, name) for name in names},
        evaluation.pooled_name,
    )
    with whole_folder(Path(os.path.realpath(output)), check=lambda: check_output(output, overwrite)) as work:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (work / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
        parts = [evaluation.scored[name] for name in names]
        write_scores(work / SCORES_FILE, parts, [evaluation.presentations[name] for name in names], evaluation.point)
        (work / REPORT_FILE).write_text(report, encoding="utf-8")


def check_output(output: str | os.PathLike, overwrite: bool = False) -> None:
    """
    Makes sure that an evaluation may be written to a folder.

    Raises:
        InputError: it holds something else, or an evaluation that isn't to be overwritten, or can't be written.
    """
    check_output_folder(output, "an evaluation", FILES, _is_evaluation, overwrite)


def _worst(evaluation: Evaluation, name: str) -> dict:
    arguments = (
        evaluation.presentations[name],
        evaluation.scored[name],
        evaluation.data.sets[name],
        evaluation.scorer.processor,
        evaluation.point,
    )
    count = evaluation.settings.thumbnails
    return {
        "attacks": worst_images(*arguments, label=0, count=count),
        "bona_fides": worst_images(*arguments, label=1, count=count),
    }


def _is_evaluation(folder: Path) -> bool:
    """Whether a folder's `metrics.json` is of an evaluation; those of trainings have the same name."""
    try:
        content = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"operating_point", "sets", "evaluated"} <= content.keys()
