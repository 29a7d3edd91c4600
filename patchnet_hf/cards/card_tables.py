"""The tables of cards as Markdown."""

import math
from collections.abc import Mapping, Sequence

from .markdown import escaped, table
from .results import RATES, Rate, SetResult

UNDEFINED = "not defined"
MOST_NAMES = 24
# More attack types than this have no columns in a table of sets, but a line below it.
TYPE_COLUMNS = 8


def results_table(results: Sequence[SetResult], things: str) -> str:
    """Rates of every set in percent with their intervals, one row each."""
    rates = [(key, title) for key, title in RATES if all(key in result.rates for result in results)]
    header = ["set", things, "live", "attacks", *(f"{title} %" for _, title in rates)]
    rows = [
        [
            escaped(result.name),
            *map(str, (result.counted, result.bona_fides, result.attacks)),
            *(shown_rate(result.rates[key]) for key, _ in rates),
        ]
        for result in results
    ]
    return table(header, rows)


def types_table(results: Sequence[SetResult]) -> str:
    """APCER of each attack type in each set."""
    kinds = sorted({kind for result in results for kind in result.attack_types})
    rows = []
    for kind in kinds:
        for result in results:
            if (found := result.attack_types.get(kind)) is None:
                continue
            counts = ("not known" if count is None else str(count) for count in (found.accepted, found.attacks))
            rows.append([escaped(kind), escaped(result.name), *counts, shown_rate(found.apcer)])
    return table(["attack type", "set", "accepted as live", "attacks", "APCER %"], rows, left=2)


def sets_table(sets: Mapping[str, Mapping]) -> str:
    """
    Counts of sets of captures, one row each.

    Args:
        sets: name to counts as `CaptureCounts.as_json` has them.
    """
    kinds = sorted({kind for counts in sets.values() for kind in counts.get("attack_types") or {}})
    header = ["set", "captures", "live", "attacks"]
    shown = kinds if len(kinds) <= TYPE_COLUMNS else []
    header += [escaped(kind) for kind in shown]
    optional = [name for name in ("subjects", "videos") if any(counts.get(name) for counts in sets.values())]
    header += optional
    rows = [
        [
            escaped(name),
            *(str(counts.get(key, 0)) for key in ("captures", "live", "attacks")),
            *(str((counts.get("attack_types") or {}).get(kind, 0)) for kind in shown),
            *(str(counts.get(key) or "not named") for key in optional),
        ]
        for name, counts in sets.items()
    ]
    return table(header, rows)


def counted_names(counts: Mapping[str, int], most: int = MOST_NAMES) -> str:
    """
    Names with their counts in a line, the most frequent first.

    >>> counted_names({"print": 3, "replay": 5})
    'replay (5), print (3)'
    """
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{escaped(name)} ({count})" for name, count in ordered[:most]]
    more = [f"and {len(ordered) - most} more"] if len(ordered) > most else []
    return ", ".join([*shown, *more])


def listed_names(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """
    Names in a line.

    >>> listed_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(map(escaped, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def shown_rate(rate: Rate) -> str:
    """
    A rate in percent with its interval, which no narrow column breaks into two lines.

    >>> shown_rate(Rate(0.05, (0.0199, 0.12))), shown_rate(Rate(float("nan"))), shown_rate(Rate(1.0))
    ('5.00 [1.99,\\xa012.00]', 'not defined', '100.00')
    """
    if math.isnan(rate.value):
        return UNDEFINED
    value = f"{100 * rate.value:.2f}"
    if rate.interval is None:
        return value
    low, high = (f"{100 * end:.2f}" for end in rate.interval)
    return f"{value} [{low},\N{NO-BREAK SPACE}{high}]"
