"""Texts that users chose (names of sets, attack types, sources) as Markdown that shows them as they are."""

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 60
# Characters that CommonMark and GitHub's tables take for markup wherever they stand.
_MARKUP = re.compile(r"([\\`*\[\]|~$@!{}^#])")
# A colon ends the scheme of an address, or surrounds the name of an emoji.
_COLON = re.compile(r":(?=//)|:(?=[\w+-]+:)|(?<=\w):(?!\w)")
# Between letters and digits an underscore is none.
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_AT_BEGINNING = re.compile(r"^([-+=]|\d+(?=[.)]))")


def plain(text: str, longest: int = LONGEST) -> str:
    """
    A text on one line, without control characters and no longer than so many; both of its ends are kept.

    >>> plain("a\\nb\\u202ec"), plain("0123456789", 7)
    ('a bc', '012…789')
    """
    text = "".join(" " if char.isspace() else char for char in str(text))
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2) :]}"


def escaped(text: str, longest: int = LONGEST) -> str:
    """
    A text as Markdown, in a line, a list or a cell of a table; no part of it is taken for markup, HTML or an address.

    >>> print(escaped("<b> *mask* | of [me](x)"), escaped("val_seen"), escaped("- 1"))
    &lt;b&gt; \\*mask\\* \\| of \\[me\\](x) val_seen \\- 1
    """
    text = plain(text, longest).replace("&", "&amp;")
    text = _MARKUP.sub(r"\\\1", text)
    text = _COLON.sub(r"\\:", text)
    text = _UNDERSCORE.sub(r"\\_", text)
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + "\\.", text)
    return _AT_BEGINNING.sub(lambda match: _escaped_beginning(match[1]), text)


def _escaped_beginning(found: str) -> str:
    # Of "1. mask" the dot is what would begin a list; a digit can't be escaped.
    return f"{found}\\" if found.isdigit() else f"\\{found}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """
    A table of GitHub's kind.

    Args:
        header: names of the columns, as Markdown.
        rows: cells as Markdown.
        left: how many columns from the left are aligned to the left; the others are to the right.

    >>> print(table(["set", "captures"], [["val", "80"]]))
    | set | captures |
    |:--|--:|
    | val | 80 |
    """
    rule = "|" + "|".join([":--"] * left + ["--:"] * (len(header) - left)) + "|"
    lines = ("| " + " | ".join(cells) + " |" for cells in (header, *rows))
    first, *rest = lines
    return "\n".join([first, rule, *rest])
