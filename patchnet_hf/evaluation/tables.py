"""The numbers of an evaluation as tables for a console."""

import math
from collections.abc import Sequence

from ..metrics.plots import shown_name
from ..text_table import percent, text_table
from .numbers import SetNumbers
from .operating_point import OperatingPoint
from .settings import EvaluationSettings

RATES = (("acer", "ACER"), ("apcer", "APCER"), ("bpcer", "BPCER"), ("eer", "EER"), ("auc", "AUC"), ("hter", "HTER"))
# More attack types than this have a table of their own.
TYPE_COLUMNS = 5
UNIT_NAMES = {"subject": "subjects", "video": "videos", "image": "images"}


def evaluation_text(numbers: Sequence[SetNumbers], point: OperatingPoint, settings: EvaluationSettings) -> str:
    """What an evaluation prints: rates, their intervals, the threshold, and what else has to be known."""
    types = attack_types_of(numbers)
    columns = types if len(types) <= TYPE_COLUMNS else []
    parts = [
        numbers_table(numbers, columns),
        "\n".join([intervals_title(numbers, settings), intervals_table(numbers, columns)]),
        *([] if types == columns else [attack_types_table(numbers)]),
        "\n".join([*(f"note: {of.name}: {note}" for of in numbers for note in of.notes), point.sentence()]),
    ]
    return "\n\n".join(parts)


def numbers_table(numbers: Sequence[SetNumbers], types: Sequence[str]) -> str:
    """Rates of every set, one row a set, in percent; HTER where there is one, and the APCER of `types`."""
    rates = shown_rates(numbers)
    clips = any("clips" in of.counts for of in numbers)
    header = ["set", "images", *(["clips"] if clips else []), *(f"{title} %" for _, title in rates)]
    header += [f"APCER {shown_name(kind)} %" for kind in types]
    rows = []
    for of in numbers:
        row = [of.name, str(of.counts["images"]), *([str(of.counts["clips"])] if clips else [])]
        row += [percent(of.metrics[key]) for key, _ in rates]
        row += [percent(of.attack_types[kind].apcer if kind in of.attack_types else math.nan) for kind in types]
        rows.append(row)
    return text_table(header, rows)


def intervals_table(numbers: Sequence[SetNumbers], types: Sequence[str]) -> str:
    """The confidence intervals of [`numbers_table`], in the same columns."""
    rates = [(key, title) for key, title in shown_rates(numbers) if any(key in of.intervals for of in numbers)]
    header = ["set", *(f"{title} %" for _, title in rates), *(f"APCER {shown_name(kind)} %" for kind in types)]
    rows = []
    for of in numbers:
        row = [of.name, *(shown_interval(of.intervals.get(key)) for key, _ in rates)]
        found = (of.attack_types.get(kind) for kind in types)
        row += [shown_interval(None if kind is None else (kind.low, kind.high)) for kind in found]
        rows.append(row)
    return text_table(header, rows)


def attack_types_table(numbers: Sequence[SetNumbers]) -> str:
    """APCER of each attack type and set with its interval, one row each: for more types than a line has room for."""
    header = ["attack type", "set", "accepted", "of", "APCER %", "interval"]
    rows = []
    for kind in attack_types_of(numbers):
        for of in numbers:
            if found := of.attack_types.get(kind):
                counts = str(found.accepted), str(found.attacks)
                interval = shown_interval((found.low, found.high))
                rows.append([shown_name(kind), of.name, *counts, percent(found.apcer), interval])
    return text_table(header, rows, left=(0, 1))


def intervals_title(numbers: Sequence[SetNumbers], settings: EvaluationSettings) -> str:
    """What the intervals are: their confidence, their kind, and over what they were drawn again."""
    things, confidence = "clips" if settings.level == "clip" else "images", 100 * settings.intervals.confidence
    return (
        f"{confidence:g} % confidence intervals: of APCER and BPCER by Wilson over {things}, of the others by "
        f"bootstrap over {units_of(numbers, settings.level)}"
    )


def units_of(numbers: Sequence[SetNumbers], level: str) -> str:
    """
    What the bootstrap draws again, in words; of each set where they differ.

    >>> units_of([SetNumbers("val", {}, {}, {}, {}, "subject"), SetNumbers("test", {}, {}, {}, {}, "video")], "clip")
    'subjects (val), clips (test)'
    """
    names = [
        "clips" if level == "clip" and of.intervals_over != "subject" else UNIT_NAMES[of.intervals_over]
        for of in numbers
    ]
    if len(set(names)) == 1:
        return names[0]
    return ", ".join(f"{name} ({of.name})" for name, of in zip(names, numbers, strict=True))


def shown_rates(numbers: Sequence[SetNumbers]) -> list[tuple[str, str]]:
    """Key and title of the rates that these sets have."""
    return [(key, title) for key, title in RATES if all(key in of.metrics for of in numbers)]


def attack_types_of(numbers: Sequence[SetNumbers]) -> list[str]:
    """The attack types of all sets, in alphabetical order."""
    return sorted({kind for of in numbers for kind in of.attack_types})


def shown_interval(interval: tuple[float, float] | None) -> str:
    """
    An interval of shares in percent.

    >>> shown_interval((0.0208, 0.1034)), shown_interval(None)
    ('[2.08, 10.34]', '-')
    """
    if interval is None or any(map(math.isnan, interval)):
        return "-"
    return f"[{percent(interval[0])}, {percent(interval[1])}]"
