"""The common singular vectors of matrices that are diagonal together, repeated singular values included."""

from __future__ import annotations

import numpy as np

from linfa.arrays import sym
from linfa.closed_forms.hypotheses import require

SLACK = 1e-8
"""How far from diagonal, relative to its own norm: frames come from an eigenvalue problem, which amplifies rounding."""


def common_frame(*commuting: np.ndarray) -> np.ndarray:
    """Return orthonormal columns that diagonalise symmetric matrices that commute.

    A combination with incommensurable weights has the same eigenvalue only where all of them have.

    >>> A, B = np.diag([1.0, 1.0, 2.0]), np.diag([3.0, 4.0, 4.0])
    >>> U = common_frame(A, B)
    >>> bool(np.allclose(np.abs(U).sum(0), 1))
    True
    """
    mix = np.zeros_like(commuting[0])
    for k, A in enumerate(commuting, 1):
        size = np.linalg.norm(A)
        if size > 0:
            mix = mix + np.sqrt(k * (k + 1) + 0.3 * k) * sym(A) / (2 * size)
    return np.asarray(np.linalg.eigh(mix)[1])


def partners(U: np.ndarray, *maps: np.ndarray) -> np.ndarray:
    """Return V whose columns are AᵀU, normalised, by the first map A that does not send them to zero."""
    V = np.zeros((maps[0].shape[1], U.shape[1]))
    for A in maps:
        images = A.T @ U
        size = np.linalg.norm(images, axis=0)
        new = (np.linalg.norm(V, axis=0) == 0) & (size > SLACK * max(np.linalg.norm(A), np.finfo(float).tiny))
        V[:, new] = images[:, new] / size[new]
    return V


def mode_strengths(A: np.ndarray, left: np.ndarray, right: np.ndarray, name: str, form: str) -> np.ndarray:
    """Return d with A = left diag(d) rightᵀ, or say that A is not aligned with these modes.

    What rounding makes of an exact zero is a zero again.
    """
    d = np.sum(left * (A @ right), axis=0)
    size = float(np.linalg.norm(A))
    d = np.where(np.abs(d) <= 8 * max(A.shape) * np.finfo(float).eps * size, 0.0, d)
    off = float(np.linalg.norm(A - (left * d) @ right.T))
    aligned = off <= SLACK * size
    require(aligned, form, f"{name} diagonal in the modes of B and Σ_yx", f"{off:.3g} of it is not")
    return np.asarray(d)
