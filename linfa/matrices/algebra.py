"""The algebra of implicit matrices: products with what is thin, multiples, sums and transposes.

    A V = [A_1 V; A_2 V; …],      Aᵀ V = Σ_b A_bᵀ V_b,      (a A + b B) V = a A V + b B V

with A_b a block of rows, made when it is needed and dropped when it has been used. NumPy's operators work on them
(`A @ V`, `V.mT @ A`, `0.5 * A + B`); whatever needs all entries at once makes them, where they fit in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from linfa.arrays import Array
from linfa.errors import InputError

BLOCK_BYTES = 2**23
"""A block of rows takes no more than this, or is one row."""

MOST_BYTES = 2**30
"""What would take more than this is not made as an array."""


class AbstractMatrix(NDArrayOperatorsMixin, ABC):
    """A real matrix of shape (n, m) in double precision that can be multiplied and read by rows."""

    shape: tuple[int, int]
    grain: int = 1
    """How many rows are made together: blocks are multiples of it."""

    ndim: ClassVar[int] = 2
    dtype: ClassVar[np.dtype[np.float64]] = np.dtype(np.float64)
    device: ClassVar[str] = "cpu"

    @abstractmethod
    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return A[start:stop] as an array."""

    def parts(self) -> Iterator[slice]:
        """Yield the places of blocks of rows."""
        n, m = self.shape
        step = max(BLOCK_BYTES // (8 * m * self.grain), 1) * self.grain
        return (slice(start, min(start + step, n)) for start in range(0, n, step))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the rows in blocks, with their place."""
        return ((part, self.rows(part.start, part.stop)) for part in self.parts())

    def apply(self, V: Array) -> np.ndarray:
        """Return A V, V of shape (..., m, k)."""
        found = np.empty((*V.shape[:-2], self.shape[0], V.shape[-1]))
        for part, rows in self.blocks():
            found[..., part, :] = rows @ V
        return found

    def apply_transposed(self, V: Array) -> np.ndarray:
        """Return Aᵀ V, V of shape (..., n, k)."""
        found = np.zeros((*V.shape[:-2], self.shape[1], V.shape[-1]))
        for part, rows in self.blocks():
            found += rows.T @ V[..., part, :]
        return found

    @property
    def mT(self) -> AbstractMatrix:
        """The transpose."""
        return Transposed(self)

    def to_device(self, device: str, /, stream: Any = None) -> AbstractMatrix:
        """Return the matrix itself: it lives where NumPy does."""
        if device != "cpu":
            raise InputError(f"implicit matrices are made by NumPy, on the cpu; got {device!r}")
        return self

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) and index.step in (None, 1):
            return self.rows(*index.indices(self.shape[0])[:2])
        return np.asarray(self)[index]

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return array_api_compat.numpy

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        _check_fits(self.shape)
        return np.asarray(self.rows(0, self.shape[0]), dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(target, AbstractMatrix) for target in options.get("out", ())):
            return NotImplemented
        found = _implicitly(ufunc, *inputs) if method == "__call__" and not options else NotImplemented
        if found is not NotImplemented:
            return found
        made = (np.asarray(x) if isinstance(x, AbstractMatrix) else x for x in inputs)
        return getattr(ufunc, method)(*made, **options)


@dataclass(frozen=True, eq=False)
class Transposed(AbstractMatrix):
    """Aᵀ, which is A read the other way."""

    matrix: AbstractMatrix
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        n, m = self.matrix.shape
        object.__setattr__(self, "shape", (m, n))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return some columns of A, by one sweep over its rows."""
        return np.concatenate([rows[:, start:stop] for _, rows in self.matrix.blocks()], axis=0).T

    def apply(self, V: Array) -> np.ndarray:
        """Return Aᵀ V."""
        return self.matrix.apply_transposed(V)

    def apply_transposed(self, V: Array) -> np.ndarray:
        """Return A V."""
        return self.matrix.apply(V)

    @property
    def mT(self) -> AbstractMatrix:
        """The matrix A itself."""
        return self.matrix


@dataclass(frozen=True, eq=False)
class Combination(AbstractMatrix):
    """a_1 A_1 + a_2 A_2 + …

    Args:
        terms: the pairs (a_i, A_i), matrices of one shape.

    Raises:
        InputError: where the shapes differ, or a coefficient is not finite.

    >>> from linfa.matrices import Seeded
    >>> A, B = Seeded((3, 2), 1.0, seed=0), Seeded((3, 2), 1.0, seed=1)
    >>> bool(np.all(np.asarray(0.5 * A - B) == 0.5 * np.asarray(A) - np.asarray(B)))
    True
    """

    terms: tuple[tuple[float, AbstractMatrix], ...]
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        shapes = {A.shape for _, A in self.terms}
        if len(shapes) != 1:
            raise InputError(f"only matrices of one shape can be added; got {' and '.join(map(str, sorted(shapes)))}")
        if not all(np.isfinite(a) for a, _ in self.terms):
            raise InputError(f"every coefficient must be finite; got {[a for a, _ in self.terms]}")
        object.__setattr__(self, "shape", shapes.pop())
        object.__setattr__(self, "grain", max(A.grain for _, A in self.terms))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return Σ a_i A_i[start:stop]."""
        return self._sum(A.rows(start, stop) for _, A in self.terms)

    def apply(self, V: Array) -> np.ndarray:
        """Return Σ a_i A_i V."""
        return self._sum(A.apply(V) for _, A in self.terms)

    def apply_transposed(self, V: Array) -> np.ndarray:
        """Return Σ a_i A_iᵀ V."""
        return self._sum(A.apply_transposed(V) for _, A in self.terms)

    def _sum(self, parts: Iterator[np.ndarray]) -> np.ndarray:
        return np.asarray(sum(a * part for (a, _), part in zip(self.terms, parts, strict=True)))


def _check_fits(shape: tuple[int, ...]) -> None:
    needed = 8 * float(np.prod(shape, dtype=float))
    if needed > MOST_BYTES:
        raise InputError(
            f"a matrix of shape {tuple(shape)} takes {needed / 2**30:.3g} GiB as an array, and no more than "
            f"{MOST_BYTES / 2**30:g} GiB is made of an implicit one: multiply it, or take some of its rows(start, stop)"
        )


def _implicitly(ufunc: np.ufunc, *inputs: Any) -> Any:
    """Return what an operation gives without making entries, or NotImplemented."""
    implicit = [isinstance(x, AbstractMatrix) for x in inputs]
    if ufunc is np.isfinite:
        return np.True_  # numbers, seeds and factors were checked when they came
    if ufunc is np.negative:
        return _combine((-1.0, inputs[0]))
    if ufunc is np.matmul:
        return _product(*inputs)
    if ufunc in (np.add, np.subtract) and all(implicit):
        return _combine((1.0, inputs[0]), (1.0 if ufunc is np.add else -1.0, inputs[1]))
    if ufunc is np.multiply and not all(implicit):
        number, matrix = inputs[::-1] if implicit[0] else inputs
        if np.size(number) == 1:
            return _combine((float(np.reshape(number, ())), matrix))
    return NotImplemented


def _combine(*terms: tuple[float, AbstractMatrix]) -> Combination:
    """Return a sum of multiples, sums within it opened."""
    flat: list[tuple[float, AbstractMatrix]] = []
    for a, A in terms:
        flat += [(a * b, B) for b, B in A.terms] if isinstance(A, Combination) else [(a, A)]
    return Combination(tuple(flat))


def _product(A: Any, B: Any) -> np.ndarray:
    if min(A.ndim, B.ndim) < 2 or A.shape[-1] != B.shape[-2]:
        raise InputError(f"A @ B needs matrices (…, n, m) and (…, m, k); got {tuple(A.shape)} and {tuple(B.shape)}")
    _check_fits((A.shape[-2], B.shape[-1]))
    return A.apply(B) if isinstance(A, AbstractMatrix) else B.apply_transposed(A.mT).mT
