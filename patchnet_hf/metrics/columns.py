"""Columns of a set as callers hold them: lists, numpy arrays, pandas, pyarrow, columns of a `datasets.Dataset`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_ROWS_AT_ONCE = 1 << 20


def in_memory(values: Any) -> Any:
    """`values`, or all of it where numpy would ask for each row by itself, as for a `datasets.Column`.

    >>> in_memory(range(3)), in_memory([1, 2])
    (range(0, 3), [1, 2])
    """
    own = isinstance(values, (str, bytes, list, tuple)) or hasattr(values, "__array__")
    return values[:] if isinstance(values, Sequence) and not own else values


def name_column(values: Any) -> Any:
    """A column of names as something that has a `shape` and is indexed by position: numpy or a pandas array.

    Anything but numpy and pandas arrays becomes objects: numpy would turn a missing value (None, NaN) among strings
    into the name "nan".

    >>> name_column(["print", None])
    array(['print', None], dtype=object)
    """
    values = in_memory(values)
    if hasattr(values, "to_pandas"):  # pyarrow
        values = values.to_pandas()
    if not isinstance(values, np.ndarray) and hasattr(values, "array"):  # a pandas series or index
        values = values.array
    return values if hasattr(values, "dtype") and hasattr(values, "shape") else np.asarray(values, dtype=object)


def number_names(values: Any) -> tuple[np.ndarray, list]:
    """Number the distinct values of a :func:`name_column` in order of first appearance.

    Returns:
        Int64 of shape `(N,)`, -1 where a value is missing (None, NaN); and the distinct values.

    Raises:
        TypeError: a value can't be hashed.

    >>> number_names(name_column(["print", "mask", None, "print"]))
    (array([ 0,  1, -1,  0]), ['print', 'mask'])
    """
    import pandas  # here: it takes as long to import as all else of these metrics

    if not (isinstance(values, np.ndarray) and values.dtype.kind in "US"):
        numbers, names = pandas.factorize(values)
        return numbers, names.tolist()
    # A piece at a time, because each of numpy's fixed-width strings becomes an object of more than 50 bytes.
    known: dict[str, int] = {}
    numbers = np.empty(values.size, dtype=np.int64)
    for start in range(0, values.size, _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        in_piece, names = pandas.factorize(values[piece].astype(object))
        of_name = np.array([known.setdefault(name, len(known)) for name in names.tolist()], dtype=np.int64)
        numbers[piece] = of_name[in_piece]
    return numbers, list(known)


def objects_at(values: Any, rows: np.ndarray) -> np.ndarray:
    """Some rows of a column as an array of objects, None where a value is missing.

    >>> objects_at(["b", float("nan"), "a"], np.array([2, 1]))
    array(['a', None], dtype=object)
    """
    import pandas

    chosen = np.array(name_column(values)[rows], dtype=object)
    chosen[pandas.isna(chosen)] = None
    return chosen


def number_groups(values: Any, rows: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Number groups of rows in order of first appearance; a row whose group is missing is a group of its own.

    Args:
        values: shape `(N,)`, a name or number of each row's group; None or NaN: missing. None: all are missing.
        rows: N.
        what: what the error calls the column.

    Returns:
        Int64 of shape `(N,)`, the group of each row; and int64 of shape `(G,)`, the first row of each group.

    Raises:
        ValueError: the shape isn't `(N,)`, or a value can't be a name.

    >>> number_groups(["b", "a", None, "b", None], 5, "groups")
    (array([0, 1, 2, 0, 3]), array([0, 1, 2, 4]))
    """
    every_row = np.arange(rows)
    if values is None:
        return every_row, every_row
    column = name_column(values)
    if column.shape != (rows,):
        raise ValueError(f"{what} have shape {column.shape}, expected one per score: {(rows,)}")
    try:
        numbers, names = number_names(column)
    except TypeError as error:
        raise ValueError(f"{what} must be strings or numbers, or None where there is none: {error}") from error
    missing = np.flatnonzero(numbers < 0)
    numbers[missing] = len(names) + np.arange(missing.size)
    first = np.empty(len(names) + missing.size, dtype=np.int64)
    first[numbers[::-1]] = every_row[::-1]  # of several rows with one number, the last written stays
    order = np.argsort(first)
    by_appearance = np.empty_like(order)
    by_appearance[order] = np.arange(order.size)
    return by_appearance[numbers], first[order]
