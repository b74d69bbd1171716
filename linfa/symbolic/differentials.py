"""The differentials of the known laws at a point, one row per law: their rank is the number of independent laws found.

L2   αᵀ W_l e_j                                        M_lᵀ α = 0
L3   α'ᵀ W_l W_lᵀ α − β'ᵀ W_{l+1} α − βᵀ W_{l+1} α'       M_lᵀ α = M_{l+1}ᵀ β , the same for α', β'
L1'  W_l W_lᵀ − a W_{l+1}ᵀ W_{l+1} − sym(D_{l+1}ᵀ W_{l+1})  for B = a W + D
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from linfa.symbolic.dual import Array
from linfa.symbolic.fields import AffineFeedback, FixedPath
from linfa.symbolic.linear import kernel


def fixed_path_laws(fields: FixedPath, weights: Sequence[Array]) -> Array:
    """One row of integers, of length Σ n_l n_{l-1}, per law L2 and L3 at integer weights of shapes (n_l, n_{l-1})."""
    return _stacked(_fixed_path(fields, weights), weights)


def affine_laws(fields: AffineFeedback, weights: Sequence[Array]) -> Array:
    """The same for L1'."""
    return _stacked(_affine(fields, weights), weights)


def _stacked(rows: list[dict[int, Array]], weights: Sequence[Array]) -> Array:
    length = sum(W.size for W in weights)
    return np.array([_row(weights, row) for row in rows], dtype=object).reshape(len(rows), length)


def _row(weights: Sequence[Array], pieces: dict[int, Array]) -> Array:
    return np.concatenate(
        [np.asarray(pieces.get(l, np.zeros(W.shape, dtype=object))).ravel() for l, W in enumerate(weights)]
    )


def _fixed_path(fields: FixedPath, weights: Sequence[Array]) -> list[dict[int, Array]]:
    rows = _idle(fields, weights)
    for l, (M, W) in enumerate(zip(fields.paths, weights, strict=True)):
        rows += [{l: np.outer(alpha, e)} for alpha in kernel(M.T).T for e in np.eye(W.shape[1], dtype=int)]
    for l, (M, above) in enumerate(zip(fields.paths[:-1], fields.paths[1:], strict=True)):
        pairs = kernel(np.concatenate([M.T, -above.T], axis=1)).T
        split = [(pair[: M.shape[0]], pair[M.shape[0] :]) for pair in pairs]
        rows += [_quadratic(l, weights[l], first, second) for first, second in combinations_with_replacement(split, 2)]
    return rows


def _quadratic(l: int, W: Array, first: tuple[Array, Array], second: tuple[Array, Array]) -> dict[int, Array]:
    (a, b), (c, d) = first, second
    return {l: np.outer(c, W.T @ a) + np.outer(a, W.T @ c), l + 1: -np.outer(d, a) - np.outer(b, c)}


def _idle(fields: FixedPath, weights: Sequence[Array]) -> list[dict[int, Array]]:
    """W_L α for X_{L-1}ᵀ α = 0 where nothing below the read-out moves."""
    if any(np.any(M != 0) for M in fields.paths[:-1]):
        return []
    features = np.eye(weights[0].shape[1], dtype=int).astype(object)
    for W in weights[:-1]:
        features = W @ features
    unit = np.eye(weights[-1].shape[0], dtype=int)
    return [{len(weights) - 1: np.outer(e, alpha)} for alpha in kernel(features.T).T for e in unit]


def _affine(fields: AffineFeedback, weights: Sequence[Array]) -> list[dict[int, Array]]:
    rows = []
    for l, (W, V, D) in enumerate(zip(weights[:-1], weights[1:], fields.offsets, strict=True)):
        unit = np.eye(W.shape[0], dtype=int)
        for i, j in combinations_with_replacement(range(W.shape[0]), 2):
            lower = np.outer(unit[i], W[j]) + np.outer(unit[j], W[i])
            half = fields.slope * V + D
            upper = np.outer(half[:, j], unit[i]) + np.outer(half[:, i], unit[j])
            rows.append({l: lower, l + 1: -upper})
    return rows
