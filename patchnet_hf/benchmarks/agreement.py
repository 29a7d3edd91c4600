"""Whether a model that is run in another way still gives its answers."""

import numpy as np

# Above this tolerance, as a share of the scale, answers may be off by more than they differ by between captures. They
# still rise and fall with the right ones, unless these lie so close together that nothing can be said of that.
LOOSE = 0.01
LEAST_CORRELATION, CONSTANT = 0.9, 1e-3


def mismatch(expected: np.ndarray, given: np.ndarray, tolerance: float, scale: float) -> str | None:
    """
    Why answers are not those of PyTorch in float32, or `None` where they are.

    Args:
        expected, given: live log-odds `(N,)` of the same captures.
        tolerance: by which they may differ, as a share of `scale`.
        scale: of the log-odds.

    >>> mismatch(np.array([1.0, -1.0]), np.array([1.01, -1.0]), tolerance=5e-4, scale=30.0)
    >>> mismatch(np.array([1.0, -1.0]), np.array([-1.0, 1.0]), tolerance=5e-4, scale=30.0)
    "its answers are wrong: log-odds differ from PyTorch's by up to 2, where 0.015 is allowed"
    """
    if not np.isfinite(given).all():
        return "its answers are wrong: some aren't numbers"
    difference, allowed = np.abs(given - expected).max(), tolerance * scale
    if difference > allowed:
        return (
            f"its answers are wrong: log-odds differ from PyTorch's by up to {difference:.2g}, where {allowed:.2g} is "
            "allowed"
        )
    if tolerance > LOOSE and np.ptp(expected) > CONSTANT:
        correlation = np.corrcoef(expected, given)[0, 1] if np.ptp(given) > 0 else 0.0
        if correlation < LEAST_CORRELATION:
            return (
                f"its answers are wrong: their correlation with PyTorch's is {correlation:.2f}, where "
                f"{LEAST_CORRELATION} is expected"
            )
    return None
