"""The slope of measured points on logarithmic axes: never written down, never made of one point."""

from __future__ import annotations

from typing import Any

import numpy as np

from linfa.errors import ResultError


def slope(x: Any, y: Any, what: str) -> float:
    """Return the least-squares slope of log y against log x.

    Args:
        x: positive numbers.
        y: positive numbers, as many.
        what: is measured; for the message.

    Raises:
        ResultError: where fewer than two points are left to draw a line through.

    >>> round(slope([1.0, 2.0, 4.0], [3.0, 12.0, 48.0], "a square"), 12)
    2.0
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if np.unique(x).size < 2:
        raise ResultError(f"{what} needs two different points at least; got {np.unique(x).size}: run more sizes")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
