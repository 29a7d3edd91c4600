"""Files and their sizes for people."""

from collections.abc import Mapping

from ..text_table import text_table


def files_table(sizes: Mapping[str, int]) -> str:
    """
    Files with their sizes and the sum of these.

    >>> print(files_table({"config.json": 1200, "model.safetensors": 45_000_000}))
    file                  size
    -----------------  -------
    config.json         1.2 kB
    model.safetensors  45.0 MB
    2 files            45.0 MB
    """
    rows = [(name, size_text(size)) for name, size in sizes.items()]
    count = f"{len(sizes)} file{'' if len(sizes) == 1 else 's'}"
    return text_table(("file", "size"), [*rows, (count, size_text(sum(sizes.values())))])


def size_text(size: int) -> str:
    """
    >>> size_text(12), size_text(3456), size_text(7_800_000_000)
    ('12 B', '3.5 kB', '7.8 GB')
    """
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "B" else f"{number:.1f} {units[0]}"
