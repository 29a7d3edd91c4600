"""`report.html`: an evaluation as one page that needs nothing else."""

import math
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..text_table import percent
from .figures import apcer_svg, det_svg, histograms_svg, roc_svg
from .numbers import SetNumbers
from .operating_point import OperatingPoint, shown_threshold
from .presentations import Presentations
from .tables import attack_types_of, shown_rates, units_of
from .thumbnails import Thumbnail

REPORT_FILE = "report.html"
TEMPLATE = "report.html.jinja"
UNDEFINED = "not defined"

TILES = (
    ("acer", "ACER", "mean of the two: average classification error rate"),
    ("apcer", "APCER", "attacks of the worst type accepted as bona fide"),
    ("bpcer", "BPCER", "bona fides rejected as attacks"),
)
CRITERIA = {
    "eer": "where APCER over all attacks and BPCER are nearest to each other",
    "apcer": "as the lowest whose APCER of the worst attack type is at most {share} %",
    "bpcer": "as the highest whose BPCER is at most {share} %",
}
DEFINITIONS = (
    ("APCER", "Attack presentation classification error rate (ISO/IEC 30107-3): of the attacks of one type, the share "
     "accepted as bona fide. The APCER of a set is that of its worst type."),
    ("BPCER", "Bona fide presentation classification error rate: the share of bona fides rejected as attacks."),
    ("ACER", "The mean of APCER and BPCER, by which face anti-spoofing protocols rank."),
    ("EER", "Equal error rate: where the share of all attacks accepted equals the share of bona fides rejected, over "
     "all thresholds of the set itself."),
    ("AUC", "Area under the ROC curve: how often a bona fide scores above an attack."),
    ("HTER", "Half total error rate: the mean of BPCER and the share of all attacks accepted, at a threshold that was "
     "chosen on another set."),
    ("Score", "Live log-odds, log(P(live) / P(attack)); accepted from the threshold on. The score of an image is "
     "averaged over its patches, that of a clip over its images."),
)  # fmt: skip


def render_report(
    content: Mapping,
    presentations: Mapping[str, Presentations],
    shown: Sequence[SetNumbers],
    point: OperatingPoint,
    worst: Mapping[str, Mapping[str, Sequence[Thumbnail]]],
    pooled: str | None,
) -> str:
    """
    The page as text.

    Args:
        content: of `metrics.json`.
        presentations: of each set in `shown`.
        shown: numbers of the sets, in order, and of their total where there are several.
        point: the threshold.
        worst: set to `"attacks"` and `"bona_fides"`, the worst first.
        pooled: name of the total among `shown`, if it's there.
    """
    parts = [presentations[numbers.name] for numbers in shown]
    sets = [numbers for numbers in shown if numbers.name != pooled]
    level = content["level"]
    things = "clips" if level == "clip" else "images"
    units = units_of(shown, level)
    context = {
        "evaluated": content["evaluated"],
        "level": level,
        "things": things,
        "shown": shown,
        "main": shown[-1],
        "pooled": pooled,
        "names": ", ".join(numbers.name for numbers in shown),
        "tiles": TILES,
        "rates": shown_rates(shown),
        "notes": [f"{numbers.name}: {note}" for numbers in shown for note in numbers.notes],
        "point_sentence": point_sentence(point, level),
        "confidence": f"{100 * content['interval_settings']['confidence']:g}",
        "units": units,
        "det": det_svg(parts, shown, pooled),
        "roc": roc_svg(parts, shown, pooled),
        "histograms": [
            (numbers.name, histograms_svg(presentations[numbers.name], point.threshold_log_odds, f"scores{number}"))
            for number, numbers in enumerate(sets)
        ],
        "apcer": apcer_svg(shown, pooled),
        "type_rows": [
            (kind, numbers.name, numbers.attack_types[kind])
            for kind in attack_types_of(shown)
            for numbers in shown
            if kind in numbers.attack_types
        ],
        "worst": [(name, _titled(classes, things)) for name, classes in worst.items() if any(classes.values())],
        "model_facts": model_facts(content["evaluated"]["model"]),
        "definitions": [*DEFINITIONS, ("Intervals", intervals_definition(content, units))],
    }
    return environment().get_template(TEMPLATE).render(context)


def environment() -> Environment:
    """Templates of this package; all that is put into them is escaped."""
    found = Environment(
        loader=PackageLoader("patchnet_hf.evaluation", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    found.filters |= {"percent": shown_percent, "interval": shown_interval}
    found.tests["defined_number"] = lambda value: not math.isnan(value)
    return found


def shown_percent(share: float) -> str:
    """A share as percent with two decimals, in words where it isn't defined."""
    return UNDEFINED if math.isnan(share) else percent(share)


def shown_interval(interval: Sequence[float]) -> str:
    """
    An interval of shares in percent; nothing where it isn't defined.

    >>> shown_interval((0.0208, 0.1034))
    '2.08 to 10.34'
    """
    if any(math.isnan(end) for end in interval):
        return ""
    return f"{percent(interval[0])} to {percent(interval[1])}"


def point_sentence(point: OperatingPoint, level: str = "image") -> str:
    """
    How the threshold came about, for people.

    >>> point_sentence(OperatingPoint.fixed(0.5, "given"))
    'The threshold, P(live) = 0.5 (log-odds 0.0000), was given beforehand.'
    """
    value = f"The threshold, P(live) = {shown_threshold(point.threshold)} (log-odds {point.threshold_log_odds:.4f}),"
    if point.origin == "model":
        return f"{value} is the model's own decision_threshold."
    if point.origin == "references":
        return f"{value} is the references' own decision_threshold."
    if point.origin == "given":
        return f"{value} was given beforehand."
    kind, _, share = point.criterion.partition("=")
    criterion = CRITERIA[kind].format(share=f"{100 * float(share):g}" if share else "")
    rates = " and ".join(f"{name.upper()} is {shown_percent(point.metrics[name])} %" for name in ("apcer", "bpcer"))
    return (
        f"{value} was chosen on {point.dataset}, {criterion}; there {rates}. The sets reported here had no part in it."
    )


def model_facts(model: Mapping) -> list[tuple[str, str]]:
    """What is said of the model, names and values."""
    patches = f"{model['grid']} x {model['grid']} patches" if model["grid"] > 1 else "1 patch"
    seen = "at native resolution" if model["mode"] == "patches" else "of the resized face"
    facts = [
        ("model", model["model"]),
        ("weights (SHA-256)", model.get("weights_sha256", "not known")),
        ("run by", model["runs_on"]),
        ("backbone", model["backbone"]),
        ("sees", f"{patches} of {model['patch_size']} x {model['patch_size']} pixels {seen}"),
        ("patch types", f"{len(model['patch_types'])}, of them live: {', '.join(model['live_patch_types'])}"),
        ("own threshold", f"P(live) = {shown_threshold(model['decision_threshold'])}"),
    ]
    if model["calibration"]:
        facts.append(("calibration", "scale {scale:.4g}, bias {bias:.4g}".format(**model["calibration"])))
    return facts


def intervals_definition(content: Mapping, units: str) -> str:
    """How the intervals were computed."""
    settings, things = content["interval_settings"], "clips" if content["level"] == "clip" else "images"
    advice = "" if things == "clips" else " (where frames of a video repeat, evaluate at clip level)"
    return (
        f"{100 * settings['confidence']:g} % confidence. APCER and BPCER: Wilson's score interval, which takes "
        f"{things} to be independent{advice}. ACER, EER, AUC and HTER: percentile bootstrap of "
        f"{settings['resamples']} samples (seed {settings['seed']}), each of which draws whole {units} with "
        "replacement, among those with the same kinds of captures."
    )


def _titled(classes: Mapping[str, Sequence[Thumbnail]], things: str) -> list[tuple[str, Sequence[Thumbnail]]]:
    titles = {
        "attacks": f"attack {things} with the highest scores",
        "bona_fides": f"bona fide {things} with the lowest scores",
    }
    return [(titles[name], thumbs) for name, thumbs in classes.items() if thumbs]
