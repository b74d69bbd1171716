"""Exact matrices with infinitesimals: polynomials in ε_1, …, ε_m with ε_i² = 0, over the integers or modulo a prime.

    f(θ + ε v) = f(θ) + ε Df(θ)[v]   exactly, for polynomial f

An element is an integer array of shape (batch, 2^m, rows, cols); position s along the second axis holds the
coefficient of ∏_{i ∈ s} ε_i. Modulo a prime below 2^27 a sum of up to 512 products fits in 64 bits; over the
integers the arrays hold Python's own integers.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
PRIME = 134_217_689
WIDEST = 100


@cache
def _pairs(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All (s, t) with s ∩ t = ∅, sorted by s ∪ t, and where each union starts."""
    masks = np.arange(size)
    s, t = (a.ravel() for a in np.meshgrid(masks, masks, indexing="ij"))
    apart = (s & t) == 0
    s, t = s[apart], t[apart]
    order = np.argsort(s | t, kind="stable")
    s, t = s[order], t[order]
    return s, t, np.searchsorted(s | t, masks)


def reduce(a: Array, modulus: int | None) -> Array:
    """The remainder, or the array itself over the integers."""
    return a if modulus is None else a % modulus


def product(a: Array, b: Array, modulus: int | None) -> Array:
    """The matrix product of two elements.

    >>> x = np.array([[[[2]], [[1]]]])
    >>> product(x, x, 7).ravel()
    array([4, 4])
    """
    if a.shape[1] == 1 or b.shape[1] == 1:
        return reduce(np.matmul(a, b), modulus)
    size = max(a.shape[1], b.shape[1])
    s, t, starts = _pairs(size)
    terms = reduce(np.matmul(pad(a, size)[:, s], pad(b, size)[:, t]), modulus)
    return reduce(np.add.reduceat(terms, starts, axis=1), modulus)


def pad(a: Array, size: int) -> Array:
    """The same element where there are more infinitesimals."""
    if a.shape[1] == size:
        return a
    filled = np.zeros((a.shape[0], size, *a.shape[2:]), dtype=a.dtype)
    filled[:, : a.shape[1]] = a
    return filled


def add(a: Array, b: Array, modulus: int | None) -> Array:
    """The sum of two elements."""
    size = max(a.shape[1], b.shape[1])
    return reduce(pad(a, size) + pad(b, size), modulus)


def along(a: Array, v: Array, size: int) -> Array:
    """A + ε v with a new infinitesimal ε, for a and v with `size` coefficients."""
    a, v = np.broadcast_arrays(pad(a, size), pad(v, size))
    return np.concatenate([a, v], axis=1)


def transpose(a: Array) -> Array:
    """The adjoint."""
    return np.swapaxes(a, -1, -2)


def entrywise(a: Array, b: Array, modulus: int | None) -> Array:
    """The entry-by-entry product of two elements."""
    size = max(a.shape[1], b.shape[1])
    s, t, starts = _pairs(size)
    terms = reduce(pad(a, size)[:, s] * pad(b, size)[:, t], modulus)
    return reduce(np.add.reduceat(terms, starts, axis=1), modulus)


def small(A: Array, modulus: int | None) -> Array:
    """An integer matrix as the arithmetic wants it: remainders in 64 bits, or Python's own integers."""
    return A if modulus is None else (A % modulus).astype(np.int64)
