"""Confidence intervals of rates: of `errors` among `total` items that are independent of each other."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri


def wilson_interval(errors: ArrayLike, total: ArrayLike, confidence: float = 0.95) -> tuple:
    """The score interval of Wilson for a rate of `errors` among `total`.

    `(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)` with `p = errors / total`, `n = total` and
    the normal quantile `z` of `(1 + confidence) / 2`; E. B. Wilson, Journal of the American Statistical Association
    22 (1927), 209-212. Unlike `p -+ z sqrt(p (1 - p) / n)` it stays in [0, 1] and isn't of zero width when no error
    was seen: 0 of 100 may be up to 3.7 percent.

    It takes the items to be independent. Frames of one video or captures of one person aren't: over them it is too
    narrow, see :func:`~patchnet_hf.metrics.bootstrap_intervals`.

    Args:
        errors: a count, or an array of counts.
        total: out of how many, broadcast against `errors`.
        confidence: in (0, 1).

    Returns:
        `(low, high)`, shares in [0, 1]: two floats for two counts, else two float64 arrays. NaN where `total` is 0.

    Raises:
        ValueError: a count is negative, no number or above its total, or `confidence` is outside (0, 1).

    >>> low, high = wilson_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    >>> [bound.round(2).tolist() for bound in wilson_interval([1, 5, 9], 10)]
    [[0.02, 0.24, 0.6], [0.4, 0.76, 0.98]]
    """
    z = ndtri((1.0 + checked_confidence(confidence)) / 2.0)
    try:
        errors, total = np.broadcast_arrays(np.asarray(errors, np.float64), np.asarray(total, np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"errors and total must be counts of shapes that go together: {error}") from error
    wrong = ~((errors >= 0) & (errors <= total) & np.isfinite(total))
    if wrong.any():
        at = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"errors must be counts from 0 to total; got {errors.flat[at]:g} of {total.flat[at]:g}"
            + (f" at index {at}" if errors.ndim else "")
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = errors / total
        middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    # Exact at both ends, where middle and half are equal but for rounding.
    low = np.where(total == 0, np.nan, np.where(errors == 0, 0.0, np.maximum(middle - half, 0.0)))
    high = np.where(total == 0, np.nan, np.where(errors == total, 1.0, np.minimum(middle + half, 1.0)))
    return (float(low), float(high)) if not low.ndim else (low, high)


def checked_confidence(confidence: float) -> float:
    """The confidence as a float.

    Raises:
        ValueError: it is outside (0, 1).

    >>> checked_confidence(0.95)
    0.95
    """
    try:
        value = float(confidence)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 < value < 1.0:
        raise ValueError(f"confidence must be a share in (0, 1), such as 0.95 for 95 percent; got {confidence!r}")
    return value
