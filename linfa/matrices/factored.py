"""Matrices of low rank, given by their factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array
from jaxtyping import Float

from linfa.arrays import Array, Rng, generator
from linfa.errors import InputError
from linfa.matrices.algebra import AbstractMatrix


@dataclass(frozen=True, eq=False)
class Factored(AbstractMatrix):
    """A = U Vᵀ, of which only U and V are held: A X = U (VᵀX), and ⟨A, B⟩ = ⟨U, B V⟩.

    Args:
        U: shape (n, r).
        V: shape (m, r).

    Raises:
        InputError: where the factors do not fit, are no real NumPy arrays, or an entry is not finite.

    >>> A = Factored(np.ones((10**6, 1)), np.ones((10**6, 1)))
    >>> (A @ np.ones((10**6, 2)))[0].tolist()
    [1000000.0, 1000000.0]
    """

    U: Float[Any, "n r"]
    V: Float[Any, "m r"]
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        for name, factor in (("U", self.U), ("V", self.V)):
            if not is_numpy_array(factor) or factor.ndim != 2 or factor.dtype.kind != "f":
                raise InputError(f"the factor {name} must be a real NumPy matrix; got {_what(factor)}")
            if not np.isfinite(factor).all():
                raise InputError(f"every entry must be finite; the factor {name} holds nan or inf")
        (n, r), (m, r_V) = self.U.shape, self.V.shape
        if r != r_V:
            raise InputError(f"U Vᵀ needs factors (n, r) and (m, r); got {self.U.shape} and {self.V.shape}")
        object.__setattr__(self, "shape", (n, m))

    @classmethod
    def random(cls, shape: Sequence[int], rank: int, rng: Rng, scale: float = 1.0) -> Factored:
        """Return U Vᵀ with Gaussian factors, entries of standard deviation scale/√m: the norm of an input is kept.

        >>> Factored.random((10**5, 10**5), rank=3, rng=0).shape
        (100000, 100000)
        """
        (n, m), draw = shape, generator(rng)
        U, V = draw.standard_normal((n, rank)), draw.standard_normal((m, rank))
        return cls(U, scale / np.sqrt(m * rank) * V)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return U[start:stop] Vᵀ."""
        return np.asarray(self.U[start:stop] @ self.V.T)

    def apply(self, V: Array) -> np.ndarray:
        """Return U (Vᵀ X)."""
        return np.asarray(self.U @ (self.V.T @ V))

    def apply_transposed(self, V: Array) -> np.ndarray:
        """Return V (Uᵀ X)."""
        return np.asarray(self.V @ (self.U.T @ V))

    @property
    def mT(self) -> Factored:
        """V Uᵀ."""
        return Factored(self.V, self.U)


def outer(M: Array, Z: Array, beside: Array) -> Array:
    """Return M Z as what it stands beside is: an array beside an array, factors beside an implicit matrix.

    >>> isinstance(outer(np.ones((3, 1)), np.ones((1, 3)), beside=np.eye(3)), Factored)
    False
    """
    return Factored(M, Z.mT) if isinstance(beside, AbstractMatrix) else M @ Z


def _what(thing: Any) -> str:
    return f"{getattr(thing, 'dtype', type(thing).__name__)} of shape {np.shape(thing)}"
