"""Pictures of an evaluation as PNG files for a card."""

import io
import re
import warnings

from matplotlib.figure import Figure

from ..metrics import UndefinedRateWarning, det_curve
from ..metrics.plots import draw_det, draw_score_histograms
from .evaluation_folder import POOLED, EvaluationFolder, SetScores

FOLDER = "figures"
DPI = 130


def det_picture(evaluation: EvaluationFolder) -> bytes:
    """The DET curves of all sets with their operating points, by the worst attack type."""
    content, scores = evaluation.content, dict(evaluation.scores)
    numbers = dict(content["sets"])
    if len(scores) > 1:
        scores[POOLED] = SetScores.pooled(list(evaluation.scores.values()))
        numbers[POOLED] = content["total"]
    with warnings.catch_warnings():
        # What a set lacks is said with its numbers.
        warnings.simplefilter("ignore", UndefinedRateWarning)
        curves = {name: det_curve(part.scores, part.labels, part.attack_types) for name, part in scores.items()}
    points = {}
    for name in scores:
        apcer, bpcer = (numbers[name]["metrics"][key] for key in ("apcer", "bpcer"))
        if apcer is not None and bpcer is not None:
            points[name] = (apcer, bpcer)
    figure = Figure(figsize=(4.9, 4.5), dpi=DPI, layout="constrained")
    draw_det(figure.subplots(), curves, points, POOLED)
    return png(figure)


def histograms_picture(scores: SetScores, threshold_log_odds: float) -> bytes:
    """The scores of a set by attack type, with the threshold."""
    rows = len({kind for kind, label in zip(scores.attack_types, scores.labels, strict=True) if not label}) + 1
    figure = Figure(figsize=(6.4, 0.75 + min(0.8, 8 / rows) * rows), dpi=DPI, layout="constrained")
    draw_score_histograms(figure.subplots(), scores.scores, scores.labels, scores.attack_types, threshold_log_odds)
    return png(figure)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the tables have it.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(stream, format="png", facecolor="white")
    return stream.getvalue()


def picture_name(kind: str, name: str, taken: set[str]) -> str:
    """
    The name in the repository of a picture that isn't there yet, which is added to those taken.

    >>> taken = set()
    >>> picture_name("det", "Val unseen/2", taken), picture_name("det", "Val unseen:2", taken)
    ('figures/det_val_unseen_2.png', 'figures/det_val_unseen_2_2.png')
    """
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60]
    stem = f"{FOLDER}/{kind}_{words}".rstrip("_")
    found, number = f"{stem}.png", 2
    while found in taken:
        found, number = f"{stem}_{number}.png", number + 1
    taken.add(found)
    return found
