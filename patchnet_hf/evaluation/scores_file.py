"""`scores.csv`: every image of an evaluation with its scores."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from scipy.special import expit

from .operating_point import OperatingPoint
from .presentations import Presentations
from .scored_set import ScoredSet

SCORES_FILE = "scores.csv"
IMAGE_COLUMNS = ("set", "file", "label", "attack_type", "source", "subject", "session", "video", "device")
SCORE_COLUMNS = ("live_probability", "live_log_odds")
CLIP_COLUMNS = ("clip", "clip_live_probability", "clip_live_log_odds")
ACCEPTED, REJECTED = "live", "spoof"


def write_scores(
    path: Path, scored: Sequence[ScoredSet], presentations: Sequence[Presentations], point: OperatingPoint
) -> None:
    """
    Writes one row for each image of all sets, in their order.

    Numbers have all their digits, so that whoever reads them back computes the same rates. What isn't known is empty.

    Args:
        path: of the file.
        scored: the sets.
        presentations: the images or clips of each set; clips add columns with their number and their scores.
        point: the threshold that decides; of a clip's frames all are decided alike.
    """
    clips = presentations[0].level == "clip"
    cells = max(part.patch_scores.shape[1] for part in scored)
    header = [*IMAGE_COLUMNS, *SCORE_COLUMNS, *(CLIP_COLUMNS if clips else ()), "decision", *patch_columns(cells)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for part, counted in zip(scored, presentations, strict=True):
            writer.writerows(_rows(part, counted, point, clips))


def patch_columns(cells: int) -> list[str]:
    """
    Names of the columns of a grid's patches, row by row.

    >>> patch_columns(4)
    ['patch_0_0', 'patch_0_1', 'patch_1_0', 'patch_1_1']
    """
    side = math.isqrt(cells)
    return [f"patch_{cell // side}_{cell % side}" for cell in range(cells)]


def shown_file(name: str) -> str:
    """
    An image's name without the folders of the machine that it was read on.

    >>> shown_file("faces/1.jpg"), shown_file("/home/anna/faces/1.jpg")
    ('faces/1.jpg', '1.jpg')
    """
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(name).is_absolute():
            return kind(name).name
    return name


def _rows(part: ScoredSet, counted: Presentations, point: OperatingPoint, clips: bool) -> Iterator[list]:
    deciding = counted.scores[counted.of_image]
    accepted = deciding >= point.threshold_log_odds
    probabilities, deciding_probabilities = expit(part.scores), expit(deciding)
    for index in range(len(part)):
        of_clip = [counted.of_image[index], *map(_number, (deciding_probabilities[index], deciding[index]))]
        yield [
            part.name,
            shown_file(part.files[index]),
            part.labels[index],
            part.attack_types[index],
            *(part.columns[name][index] for name in IMAGE_COLUMNS[4:]),
            _number(probabilities[index]),
            _number(part.scores[index]),
            *(of_clip if clips else ()),
            ACCEPTED if accepted[index] else REJECTED,
            *map(_number, part.patch_scores[index]),
        ]


def _number(value: np.floating) -> str:
    return "" if np.isnan(value) else repr(float(value))
