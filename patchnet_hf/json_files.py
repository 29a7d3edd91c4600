"""What JSON can hold."""

import math


def finite(value):
    """
    `value` with numbers that JSON lacks replaced by `None`, in all dictionaries and lists that it holds.

    >>> finite({"eer": float("nan"), "interval": (0.0, float("inf"))})
    {'eer': None, 'interval': [0.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
