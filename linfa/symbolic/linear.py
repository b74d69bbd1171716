"""Exact linear algebra on integer matrices: rank modulo a prime (a lower bound on the rank), exact rank, integer kernel."""

from __future__ import annotations

from math import lcm

import numpy as np
from sympy import QQ, ZZ
from sympy.polys.matrices import DomainMatrix

from linfa.symbolic.dual import Array


def rank(rows: Array, modulus: int | None) -> int:
    """The rank modulo a prime, which never exceeds the rank over the rationals; with modulus None, the rank over the rationals.

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
    """Integer columns that span {x : A x = 0} over the rationals, shape (columns of A, nullity).

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
    rows = [[ZZ(int(a)) for a in row] for row in A.tolist()]
    return DomainMatrix(rows, A.shape, ZZ).convert_to(QQ)
