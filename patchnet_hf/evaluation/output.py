"""The folder that an evaluation is written to."""

import json
import os
from pathlib import Path

from ..errors import InputError
from ..whole_folder import whole_folder
from .job import Evaluation
from .metrics_file import METRICS_FILE, as_json
from .report import REPORT_FILE, render_report
from .scores_file import SCORES_FILE, write_scores
from .sets import POOLED
from .thumbnails import worst_images


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
    with whole_folder(Path(os.path.realpath(output))) as work:
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
    folder = Path(os.path.realpath(output))
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_evaluation(folder):
            raise InputError(
                f"output {output}: the folder isn't empty and holds no evaluation; name a new or empty folder"
            )
        if not overwrite:
            raise InputError(
                f"output {output}: an evaluation is there already; name a new folder, or replace it by --overwrite"
            )
        ours = {METRICS_FILE, SCORES_FILE, REPORT_FILE}
        if foreign := sorted(entry.name for entry in folder.iterdir() if entry.name not in ours):
            raise InputError(
                f"output {output}: beside the evaluation there is {', '.join(foreign[:5])}"
                f"{' …' if len(foreign) > 5 else ''}, which overwriting would delete; name another folder"
            )
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"output {output}: a file stands there; name a new folder")
    parent = folder.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"output {output}: {parent.name} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"output {output}: can't write in the folder that it would be in: no permission")


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
