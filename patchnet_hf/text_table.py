"""Tables and numbers as plain text."""

import math
from collections.abc import Collection, Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """
    A table with a rule under its header; columns are right-aligned but for those in `left`.

    Args:
        header: names of the columns.
        rows: cells as text, as many in each row as in the header.
        left: numbers of the left-aligned columns.

    >>> print(text_table(["set", "images"], [["val", "80"]]))
    set  images
    ---  ------
    val      80
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """
    A number of things.

    >>> counted(1, "core"), counted(2, "core"), counted(9, "patch", "patches")
    ('1 core', '2 cores', '9 patches')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """A share as percent with two decimals, `-` where it isn't defined.

    >>> percent(0.0125), percent(float("nan"))
    ('1.25', '-')
    """
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def shown_threshold(threshold: float) -> str:
    """
    A probability with four decimals, or as many digits as tell it from 0 and 1.

    >>> shown_threshold(0.5), shown_threshold(0.43121), shown_threshold(0.9999999)
    ('0.5', '0.4312', '1 - 1e-07')
    """
    if threshold > 0.9999:
        return f"1 - {1 - threshold:.2g}" if threshold < 1 else "1"
    return f"{threshold:.4f}".rstrip("0") if threshold >= 0.0001 else f"{threshold:.2g}"
