"""The one tolerance of the suite: what rounding can do, from the unit, the number of operations and their size."""

import numpy as np


def rounding(terms: int, scale, dtype=np.float64):
    """Return γ_n · scale + n · tiny with γ_n = n eps/(1 − n eps), a bound on the rounding error of a computation.

    Args:
        terms: n, how many roundings follow one another: the lengths of the sums, one after the other, plus the rest.
        scale: the sum of magnitudes of what is added up (the same computation with every term made positive).
        dtype: the precision in which it was done.

    The model is Higham's (2002, §3.1), with eps in place of eps/2, so that both sides of an equation may be rounded.
    """
    unit = np.finfo(dtype)
    gamma = terms * float(unit.eps) / (1 - terms * float(unit.eps))
    return gamma * np.asarray(scale, dtype=float) + terms * float(unit.tiny)
