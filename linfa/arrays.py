"""The few things that the Array API standard leaves to be said.

One body of code serves NumPy and torch, with free leading batch axes: arrays are multiplied with ``@`` and transposed
with ``.mT``; everything else goes through the namespace of the array at hand.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array, to_device

from linfa.errors import InputError

Array: TypeAlias = Any
"""Any array of the Array API standard (NumPy, torch, …)."""

Rng: TypeAlias = int | np.random.Generator
"""A seed, or a generator that is drawn from in place."""


def generator(rng: Rng) -> np.random.Generator:
    """Return the generator that a seed stands for, or the generator itself.

    Raises:
        InputError: where it is neither.

    >>> generator(0).random() == generator(0).random()
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise InputError(f"a seed is a whole number ≥ 0, or a NumPy generator; got {rng!r}") from error


def like(values: Array, reference: Array) -> Array:
    """Return `values` in the namespace, dtype and on the device of `reference`.

    >>> like([1, 2], np.zeros(1)).dtype
    dtype('float64')
    """
    xp = array_namespace(reference)
    return xp.asarray(values, dtype=reference.dtype, device=device(reference))


def to_numpy(array: Array) -> np.ndarray:
    """Return an array of any namespace as a NumPy array, dtype kept.

    >>> to_numpy(np.ones(2))
    array([1., 1.])
    """
    return np.asarray(array if is_numpy_array(array) else to_device(array, "cpu"))


def sym(A: Array) -> Array:
    """Return sym(A) = A + Aᵀ (without the half: theory's convention).

    >>> sym(np.array([[1.0, 2.0], [0.0, 1.0]]))
    array([[2., 2.],
           [2., 2.]])
    """
    return A + A.mT


def eye(n: int, reference: Array) -> Array:
    """Return I_n in the namespace, dtype and on the device of `reference`."""
    return array_namespace(reference).eye(n, dtype=reference.dtype, device=device(reference))


def norm(A: Array) -> Array:
    """Return the Frobenius norm over the last two axes.

    >>> norm(np.array([[3.0, 4.0]]))
    np.float64(5.0)
    """
    xp = array_namespace(A)
    return xp.sqrt(xp.sum(A * A, axis=(-2, -1)))


def inner(A: Array, B: Array) -> Array:
    """Return ⟨A, B⟩ = tr(AᵀB) over the last two axes.

    >>> inner(np.eye(2), np.ones((2, 2)))
    np.float64(2.0)
    """
    return array_namespace(A).sum(A * B, axis=(-2, -1))


def cosine(A: Array, B: Array) -> Array:
    """Return the signed cosine ⟨A, B⟩ / (‖A‖‖B‖); zero where a factor vanishes (no direction, no alignment).

    >>> cosine(np.ones((1, 4)), -np.ones((1, 4)))
    np.float64(-1.0)
    """
    xp = array_namespace(A)
    a, b = norm(A), norm(B)
    alive = (a > 0) & (b > 0)
    a, b = xp.where(alive, a, xp.ones_like(a)), xp.where(alive, b, xp.ones_like(b))
    # Each factor is scaled before the product, so that tiny weights do not underflow.
    return inner(A / a[..., None, None], B / b[..., None, None])
