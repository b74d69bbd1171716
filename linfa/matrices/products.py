"""Inner products of matrices, arrays and implicit ones in any mixture, without a copy of their size.

    ⟨a A + b B, C⟩ = a ⟨A, C⟩ + b ⟨B, C⟩,    ⟨Aᵀ, C⟩ = ⟨A, Cᵀ⟩,    ⟨U Vᵀ, C⟩ = ⟨U, C V⟩,    ⟨A, C⟩ = Σ_b ⟨A_b, C_b⟩

the last by blocks of rows, where nothing shorter is known.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.matrices.algebra import AbstractMatrix, Combination, Transposed
from linfa.matrices.factored import Factored


def inner(A: Array, B: Array) -> Array:
    """Return ⟨A, B⟩ = tr(AᵀB).

    >>> float(inner(Factored(np.ones((4, 1)), np.ones((3, 1))), np.ones((4, 3))))
    12.0
    """
    for one, other in ((A, B), (B, A)):
        if isinstance(one, Combination):
            return sum(a * inner(part, other) for a, part in one.terms)
        if isinstance(one, Transposed) and not isinstance(other.mT, Transposed):
            return inner(one.matrix, other.mT)
    for one, other in ((A, B), (B, A)):
        if isinstance(one, Factored):
            return np.sum(one.U * (other @ one.V))
    if isinstance(A, AbstractMatrix) or isinstance(B, AbstractMatrix):
        return _sweep([A, B])[id(A), id(B)]
    xp = array_namespace(A, B)
    return xp.sum(xp.vecdot(A, B), axis=-1)


def gram(*matrices: Array) -> list[list[Array]]:
    """Return ⟨A_i, A_j⟩ of several matrices of one shape; entries that must be made are made once for all of them.

    >>> from linfa.matrices import Seeded
    >>> A, B = Seeded((30, 20), 1.0, seed=0), Seeded((30, 20), 1.0, seed=1)
    >>> (AA, AC), (_, CC) = gram(A, A - B)
    >>> bool(np.isclose(CC, 2 * AC - AA + inner(B, B)))
    True
    """
    sums = [A.terms if isinstance(A, Combination) else ((1.0, A),) for A in matrices]
    swept = [A for terms in sums for _, A in terms if not isinstance(A, Transposed | Factored)]
    known = _sweep(swept) if any(isinstance(A, AbstractMatrix) for A in swept) else {}

    def of_parts(A: Array, B: Array) -> Array:
        pair = (id(A), id(B))
        if pair not in known:
            known[pair] = known[pair[::-1]] = inner(A, B)
        return known[pair]

    return [[sum(a * b * of_parts(A, B) for a, A in one for b, B in other) for other in sums] for one in sums]


def _sweep(matrices: list[Any]) -> dict[tuple[int, int], Any]:
    """Return all ⟨A, B⟩ by the identities of A and B, in one sweep over the rows."""
    different = {id(A): A for A in matrices}
    one = next(A for A in matrices if isinstance(A, AbstractMatrix))
    found = dict.fromkeys(product(different, different), np.float64(0))
    for part in one.parts():
        rows = {name: np.asarray(A[part]) for name, A in different.items()}
        for a, b in found:
            found[a, b] += np.vdot(rows[a], rows[b])
    return found
