"""Exact linear algebra on integer matrices: rank modulo a prime (a lower bound on the rank), exact rank, integer
kernel.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from math import lcm

import numpy as np
import sympy
from sympy import QQ
from sympy.polys.matrices import DomainMatrix

from linfa.symbolic.dual import Array


def rank(rows: Array, modulus: int | None) -> int:
    """The rank modulo a prime, which never exceeds the rank over the rationals; with modulus None, the rank over the
    rationals.

    >>> rank(np.array([[1, 2], [3, 6]]), 5), rank(np.array([[1, 2], [3, 6]]), None)
    (1, 1)
    """
    if rows.size == 0:
        return 0
    if modulus is None:
        return int(_over_rationals(rows).rank())
    A, found = (rows % modulus).astype(np.int64), 0
    for column in range(A.shape[1]):
        pivots = np.flatnonzero(A[found:, column])
        if pivots.size == 0:
            continue
        pivot = found + pivots[0]
        A[[found, pivot]] = A[[pivot, found]]
        A[found] = A[found] * pow(int(A[found, column]), -1, modulus) % modulus
        below = A[found + 1 :]
        below -= np.outer(below[:, column], A[found]) % modulus
        below %= modulus
        found += 1
        if found == A.shape[0]:
            break
    return found


def kernel(A: Array) -> Array:
    """Integer columns that span {x : A x = 0} over the rationals, shape (columns of A, nullity), for integers or
    fractions A.

    >>> kernel(np.array([[1, 2]])).ravel()
    array([-2, 1], dtype=object)
    """
    if A.shape[0] == 0 or A.shape[1] == 0:
        return np.eye(A.shape[1], dtype=int).astype(object)
    basis = _over_rationals(A).nullspace().to_Matrix()
    columns = []
    for i in range(basis.rows):
        scale = lcm(*(int(c.q) for c in basis.row(i)))
        columns.append([int(c * scale) for c in basis.row(i)])
    return np.array(columns, dtype=object).reshape(len(columns), A.shape[1]).T


def _over_rationals(A: Array) -> DomainMatrix:
    rows = [[QQ(int(a.numerator), int(a.denominator)) for a in row] for row in A.tolist()]
    return DomainMatrix(rows, A.shape, QQ)


def projector(columns: Array) -> Array:
    """The orthogonal projector N (NᵀN)⁻¹ Nᵀ onto the span of independent integer columns, in fractions.

    >>> print(projector(np.array([[1], [1]])))
    [[Fraction(1, 2) Fraction(1, 2)]
     [Fraction(1, 2) Fraction(1, 2)]]
    """
    if columns.shape[1] == 0:
        return np.zeros((columns.shape[0],) * 2, dtype=int).astype(object)
    N = _over_rationals(columns)
    P = (N * (N.transpose() * N).inv() * N.transpose()).to_Matrix()
    return np.array([[Fraction(int(c.p), int(c.q)) for c in P.row(i)] for i in range(P.rows)], dtype=object)


def null_space(columns: Sequence[Mapping[Hashable, sympy.Expr]]) -> list[list[sympy.Expr]]:
    """A basis of {c : Σ_k c_k · column k = 0}, each vector scaled so that its last entry is 1; columns are sparse.

    >>> null_space([{"a": sympy.Integer(1)}, {"a": sympy.Integer(-2)}])
    [[2, 1]]
    """
    rows = list(dict.fromkeys(m for column in columns for m in column))
    if not rows:
        return [[sympy.Integer(int(i == j)) for j in range(len(columns))] for i in range(len(columns))]
    matrix = sympy.Matrix(len(rows), len(columns), lambda i, j: columns[j].get(rows[i], 0))
    null = DomainMatrix.from_Matrix(matrix).to_field().nullspace().to_Matrix()
    return [_scaled(list(null.row(i))) for i in range(null.rows)]


def _scaled(vector: list[sympy.Expr]) -> list[sympy.Expr]:
    """Divided by the coefficient of least absolute value, or by the last one that is a symbol-free number."""
    last = next(c for c in reversed(vector) if c != 0)
    return [sympy.cancel(c / last) for c in vector]


def rank_of(rows: Sequence[Sequence[sympy.Expr]]) -> int:
    """The exact rank of rows of rational numbers, or of rational functions of symbols."""
    if not rows:
        return 0
    return int(DomainMatrix.from_Matrix(sympy.Matrix([list(r) for r in rows])).to_field().rank())
