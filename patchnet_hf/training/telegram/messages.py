"""What a run writes to Telegram: the text of each message, and how long ones are split. Pure functions."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...text_table import text_table
from ..history import POOLED
from ..report import percent

# Telegram counts UTF-16 code units after the markup is taken out.
LONGEST_MESSAGE = 4096
LONGEST_CAPTION = 1024
# An exception may quote a whole file.
LONGEST_REASON = 3000

RATES = ("acer", "apcer", "bpcer", "auc")


@dataclass(frozen=True)
class Block:
    """
    Lines of a message in one style.

    Args:
        text: as people shall read it; what HTML would take for markup is escaped when it is written.
        tag: `b` for bold, `pre` for monospace, `""` for plain text.
    """

    text: str
    tag: str = ""


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units.

    >>> utf16_length("a"), utf16_length("😀")
    (1, 2)
    """
    return len(text) + sum(character > "\uffff" for character in text)


def sendable(text: str) -> str:
    """`text` with a `?` for what has no UTF-8, such as an undecodable byte of a file name."""
    return text.encode("utf-8", "replace").decode("utf-8")


def html_parts(blocks: Sequence[Block], limit: int = LONGEST_MESSAGE) -> list[str]:
    """
    The blocks, each on lines of its own, as one message or, where that is too long, several.

    Messages are split at line ends, a line that is too long by itself anywhere between two characters. Tags are closed
    and opened again where a block is split, so that each message is whole.

    Args:
        blocks: in order.
        limit: UTF-16 code units of a message, without its markup.

    Returns:
        Messages in Telegram's HTML, none of them empty.

    >>> html_parts([Block("a < b", "b"), Block("c")])
    ['<b>a &lt; b</b>\\nc']
    >>> html_parts([Block("one\\ntwo\\nthree", "pre")], limit=7)
    ['<pre>one\\ntwo</pre>', '<pre>three</pre>']
    """
    parts: list[list[tuple[int, str]]] = [[]]
    length = 0
    for index, block in enumerate(blocks):
        for line in _lines(sendable(block.text), limit):
            added = utf16_length(line) + bool(parts[-1])
            if length + added > limit:
                parts.append([])
                length, added = 0, utf16_length(line)
            parts[-1].append((index, line))
            length += added
    return [_as_html(part, blocks) for part in parts if any(line.strip() for _, line in part)]


def _lines(text: str, limit: int) -> Iterator[str]:
    for line in text.split("\n"):
        start = length = 0
        for position, character in enumerate(line):
            width = utf16_length(character)
            if length + width > limit:
                yield line[start:position]
                start, length = position, 0
            length += width
        yield line[start:]


def _as_html(part: list[tuple[int, str]], blocks: Sequence[Block]) -> str:
    written = []
    for index in dict.fromkeys(index for index, _ in part):
        text = html.escape("\n".join(line for owner, line in part if owner == index), quote=False)
        tag = blocks[index].tag
        written.append(f"<{tag}>{text}</{tag}>" if tag else text)
    return "\n".join(written)


def duration(seconds: float) -> str:
    """Time for people.

    >>> duration(42), duration(720), duration(3900), duration(200000)
    ('42 s', '12 min', '1 h 05 min', '2 d 8 h')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def seconds_left(elapsed: float, first_step: int, step: int, last_step: int) -> float | None:
    """
    Time that the steps still to do will take, at the pace so far; evaluations are part of that pace.

    Args:
        elapsed: seconds since the run began at `first_step`, which is above 0 where it was resumed.
        first_step: steps done before.
        step: steps done now.
        last_step: steps of the whole run.

    Returns:
        Seconds, or `None` before the first step and after the last.

    >>> seconds_left(60.0, first_step=100, step=200, last_step=250)
    30.0
    """
    if step <= first_step or step >= last_step:
        return None
    return elapsed * (last_step - step) / (step - first_step)


def reported_sets(metrics: Mapping[str, float]) -> list[str] | None:
    """
    The rows of a round's table, or `None` where `metrics` is one set of several and the round goes on.

    Args:
        metrics: as a callback is given them: `eval_{set}_{number}` of one set after the other, then of all sets
            together with `eval_total_{number}`; or `eval_{number}` where the run has one unnamed set.

    Returns:
        Names of sets, `total` last and only where it pools several; `[""]` for the unnamed set.

    >>> first = {"eval_a_acer": 0.1, "eval_a_images": 8}
    >>> reported_sets(first)
    >>> reported_sets({**first, "eval_b_acer": 0.1, "eval_b_images": 8, "eval_total_acer": 0.1})
    ['a', 'b', 'total']
    """
    if f"eval_{POOLED}_acer" in metrics:
        sets = [key[len("eval_") : -len("_images")] for key in metrics if key.endswith("_images")]
        sets = [name for name in sets if name != POOLED and f"eval_{name}_acer" in metrics]
        return [*sets, POOLED] if len(sets) > 1 else sets or [POOLED]
    return [""] if "eval_acer" in metrics else None


def rates_table(metrics: Mapping[str, float], sets: Sequence[str]) -> str:
    """ACER, APCER, BPCER and AUC of each set in percent; narrow, for the screen of a telephone."""
    rows = []
    for name in sets:
        prefix = f"eval_{name}_" if name else "eval_"
        rows.append([name or "all", *(percent(metrics.get(prefix + rate, math.nan)) for rate in RATES)])
    return text_table(["%", *(rate.upper() for rate in RATES)], rows)


def reason_of(error: BaseException) -> str:
    """Type and message of an exception, at most `LONGEST_REASON` characters of it.

    >>> reason_of(ValueError("too <small>"))
    'ValueError: too <small>'
    """
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " …"
