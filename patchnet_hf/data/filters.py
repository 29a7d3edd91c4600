"""Which captures of a dataset take part, as data: values of columns, written in YAML or JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa

from ..errors import InputError, did_you_mean
from .schema import LABELS

COLUMNS = ("source", "device", "subject", "session", "video", "attack_type", "label", "patch_type")
"""What captures can be filtered by."""

NOT = "not"
RANGE = re.compile(r"\s*([0-9]+)\s*-\s*([0-9]+)\s*")
LISTED = 12


class CaptureColumns:
    """
    The narrow columns of N captures, each value once; images are never read.

    Args:
        parts: datasets by the data contract, taken one after the other.

    Attributes:
        codes: for each of `COLUMNS` an int array of shape `(N,)`, positions in `values`.
        values: for each of `COLUMNS` its different values as text, `None` for captures without one. Labels and patch
            types are called by their names.
    """

    def __init__(self, parts: Sequence[datasets.Dataset]):
        texts: dict[str, list[pa.Array]] = {name: [] for name in COLUMNS}
        for part in parts:
            table = part.select_columns(list(COLUMNS)).with_format("arrow")[:]
            for name in COLUMNS:
                column = table.column(name).combine_chunks()
                feature = part.features[name]
                if isinstance(feature, datasets.ClassLabel):
                    column = pa.array(feature.names).take(column)
                texts[name].append(column.cast(pa.string()))
        self.codes: dict[str, np.ndarray] = {}
        self.values: dict[str, list[str | None]] = {}
        for name, columns in texts.items():
            united = pa.chunked_array(columns, pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
            self.codes[name] = united.indices.to_numpy(zero_copy_only=False)
            self.values[name] = united.dictionary.to_pylist()

    def __len__(self) -> int:
        return len(self.codes["label"])

    def texts(self, column: str) -> np.ndarray:
        """Object array of shape `(N,)`: the value of each capture, text or `None`."""
        return np.array([*self.values[column], None], dtype=object)[self.codes[column]]

    def present(self, column: str, rows: np.ndarray | None = None) -> list[str]:
        """The values that occur (in `rows`, a mask), sorted, without `None`."""
        codes = self.codes[column] if rows is None else self.codes[column][rows]
        found = (self.values[column][code] for code in np.unique(codes))
        return sorted(value for value in found if value is not None)


class Condition(NamedTuple):
    """Values of one column that captures must have, or must not have."""

    values: tuple[str | None, ...]
    negated: bool


@dataclass(frozen=True)
class CaptureFilter:
    """
    A choice of captures: those that meet all conditions of one of several mappings.

    A mapping names columns and what their value must be: one value, a list of values, `{not: ...}` for all but those.
    A value is text; `null` stands for captures without one. A number, and text of digits, also means the same number
    with other leading zeros where no capture has just that text. `1-20` means the numbers 1 to 20, with or without
    leading zeros, where no capture has just that text (`2024-01` may be the name of a session).

    Args:
        alternatives: each a mapping of columns to conditions.

    >>> CaptureFilter.parse({"subject": "1-20", "session": [1, 2], "device": {"not": 6}})
    CaptureFilter(subject 1-20; session 1 or 2; device not 6)
    >>> CaptureFilter.parse('[{"source": "a", "label": "live"}, {"source": "b"}]')
    CaptureFilter(source a; label live | source b)
    """

    alternatives: tuple[dict[str, Condition], ...]

    @classmethod
    def parse(cls, given: str | Mapping | Sequence, where: str = "filter") -> "CaptureFilter":
        """
        What a YAML value or a JSON text says.

        Args:
            given: a mapping, a list of mappings any of which is enough, or either as JSON.
            where: how the user knows it, for messages.

        Raises:
            InputError: it is neither, or a column or a value can't be used.
        """
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except json.JSONDecodeError as error:
                raise InputError(f'{where} is no JSON such as {{"device": "phone1"}}: {given!r} ({error})') from error
        alternatives = [given] if isinstance(given, Mapping) else given
        if not isinstance(alternatives, Sequence) or not all(isinstance(item, Mapping) for item in alternatives):
            raise InputError(f"{where} is {given!r}; expected a mapping of columns to values, or a list of mappings")
        if not alternatives or not all(alternatives):
            raise InputError(
                f"{where} is empty; expected columns and their values (leave it out to take all captures)"
            )
        return cls(
            tuple(
                {_column(name, where): _condition(value, f"{where}: {name}") for name, value in item.items()}
                for item in alternatives
            )
        )

    def mask(self, columns: CaptureColumns, where: str = "filter") -> np.ndarray:
        """
        Which captures are chosen, as bool of shape `(N,)`.

        Raises:
            InputError: a value that no capture has, or a mapping whose conditions no capture meets together; most
                likely a mistyped name.
        """
        chosen = np.zeros(len(columns), dtype=bool)
        for conditions in self.alternatives:
            met = np.ones(len(columns), dtype=bool)
            for name, condition in conditions.items():
                among = np.zeros(len(columns.values[name]) + 1, dtype=bool)
                among[_matching(condition.values, columns.values[name], f"{where}: {name}")] = True
                met &= among[columns.codes[name]] != condition.negated
            if not met.any():
                raise InputError(f"{where}: no capture has all of {_described(conditions)}")
            chosen |= met
        return chosen

    def __str__(self) -> str:
        return " | ".join(map(_described, self.alternatives))

    def __repr__(self) -> str:
        return f"CaptureFilter({self})"


def filter_captures(
    parts: Mapping[str, datasets.Dataset], chosen: CaptureFilter, where: str = "filter"
) -> dict[str, datasets.Dataset]:
    """
    The chosen captures of each part; parts of which none is chosen are left out.

    Raises:
        InputError: as for [`CaptureFilter.mask`], over all parts together.
    """
    mask = chosen.mask(CaptureColumns(list(parts.values())), where)
    ends = np.cumsum([len(part) for part in parts.values()])
    rows = [np.flatnonzero(piece) for piece in np.split(mask, ends[:-1])]
    pairs = zip(parts.items(), rows, strict=True)
    return {name: part.select(indices) for (name, part), indices in pairs if len(indices)}


def _column(name, where: str) -> str:
    if name not in COLUMNS:
        raise InputError(
            f"{where}: unknown column {name!r}{did_you_mean(str(name), COLUMNS)}; there are {', '.join(COLUMNS)}"
        )
    return name


def _condition(given, where: str) -> Condition:
    negated = isinstance(given, Mapping)
    if negated:
        if set(given) != {NOT}:
            raise InputError(f"{where} is {dict(given)!r}; expected a value, a list of values, or {{not: ...}}")
        given = given[NOT]
    values = given if isinstance(given, (list, tuple)) else [given]
    if not values:
        raise InputError(f"{where} is an empty list; expected one value or more")
    return Condition(tuple(_text(value, where) for value in values), negated)


def _text(value, where: str) -> str | None:
    # YAML reads `yes` as a boolean, `2024-01-31` as a date and `1.10` as 1.1: whoever meant text has to say so.
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        raise InputError(
            f"{where} is {value!r}; expected text or a whole number (in quotes where YAML reads something else)"
        )
    text = None if value is None else str(value)
    if where.endswith(": label") and text in ("0", "1"):
        return LABELS[int(text)]
    return text


def _matching(values: Sequence[str | None], known: Sequence[str | None], where: str) -> list[int]:
    """Positions in `known` of what `values` stand for."""
    exact = {value: index for index, value in enumerate(known)}
    numbers: dict[int, list[int]] = {}
    for index, value in enumerate(known):
        if value is not None and value.isascii() and value.isdigit():
            numbers.setdefault(int(value), []).append(index)
    found = []
    for value in values:
        if value in exact:
            matches = [exact[value]]
        elif value is None:
            matches = []
        elif bounds := RANGE.fullmatch(value):
            first, last = int(bounds[1]), int(bounds[2])
            if first > last:
                raise InputError(f"{where}: the range {value} ends before it begins")
            matches = [index for number, places in numbers.items() if first <= number <= last for index in places]
        else:
            matches = numbers.get(int(value), []) if value.isascii() and value.isdigit() else []
        if not matches:
            there = sorted(text for text in known if text is not None)
            some = f"{', '.join(there[:LISTED])}{', …' if len(there) > LISTED else ''}"
            without = ["null"] if None in exact else []
            asked = "null" if value is None else value
            raise InputError(
                f"{where}: no capture has {asked!r}{did_you_mean(asked, there)}; there "
                f"{'is' if len(there) + len(without) == 1 else 'are'} {', '.join(filter(None, [some, *without]))}"
            )
        found += matches
    return found


def _described(conditions: Mapping[str, Condition]) -> str:
    return "; ".join(
        f"{name} {'not ' if condition.negated else ''}{_joined(condition.values)}"
        for name, condition in conditions.items()
    )


def _joined(values: Sequence[str | None]) -> str:
    texts = ["null" if value is None else value for value in values]
    if len(texts) > LISTED:
        return f"one of {len(texts)} ({', '.join(texts[:3])}, …)"
    return " or ".join(texts)
