"""Order parameters, and the four moments of the error that move them.

Units are the students, then the teachers: the fields (λ_1 … λ_K, ν_1 … ν_M) are Gaussian with covariance C, and the
error is a sum over units, e = Σ_p u_p g(field_p) with u = (−v, A). Noise adds σξ to it.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from linfa.arrays import Array
from linfa.systems.teacher_student.activation import AbstractActivation, Covariance


class Overlaps(NamedTuple):
    """What evolves: the student's overlaps and its read-out (or their velocities)."""

    Q: Array
    """Q_ik = w_i·w_k/N, shape (..., K, K)."""
    R: Array
    """R_in = w_i·B_n/N, shape (..., K, M)."""
    v: Array
    """The read-out, shape (..., K)."""


class Moments(NamedTuple):
    """The moments of the noiseless error e."""

    value: Array
    """⟨e g(λ_i)⟩ = Σ_p u_p I_2(i, p), shape (..., K)."""
    field: Array
    """⟨e g′(λ_i) field_b⟩ = Σ_p u_p I_3(i, b, p), shape (..., K, K + M)."""
    square: Array
    """⟨e² g′(λ_i) g′(λ_k)⟩ = Σ_pq u_p u_q I_4(i, k, p, q), shape (..., K, K)."""
    slope: Array
    """⟨g′(λ_i) g′(λ_k)⟩ = J_2(i, k), shape (..., K, K)."""


def covariance(Q: Array, R: Array, T: Array) -> Array:
    """Return C = [[Q, R], [Rᵀ, T]], shape (..., K + M, K + M).

    >>> covariance(np.eye(1), np.array([[0.5]]), np.eye(1)).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    return np.concatenate([np.concatenate([Q, R], axis=-1), np.concatenate([R.mT, T], axis=-1)], axis=-2)


def generalisation_error(g: AbstractActivation, C: Covariance, u: Array) -> Array:
    """Return ε_g = ½⟨e²⟩ = ½ Σ_pq u_p u_q I_2(p, q), without the noise.

    >>> from linfa.systems.teacher_student import Linear
    >>> float(generalisation_error(Linear(), np.eye(2), np.array([-1.0, 1.0])))    # student and teacher orthogonal
    1.0
    """
    n = C.shape[-1]
    return np.einsum("...p,...pq,...q->...", u, g.I2(C, *np.indices((n, n))), u) / 2


def moments(g: AbstractActivation, C: Covariance, u: Array, students: int) -> Moments:
    """Return the moments of e.

    Args:
        g: the activation, of students and teachers.
        C: the covariance of the fields, shape (..., K + M, K + M).
        u: (−v, A), shape (..., K + M).
        students: K.

    >>> from linfa.systems.teacher_student import Linear
    >>> moments(Linear(), np.eye(2), np.array([-1.0, 1.0]), 1).field               # ⟨(ν − λ)(λ, ν)⟩
    array([[-1.,  1.]])
    """
    K, n = students, C.shape[-1]
    value = np.einsum("...ip,...p->...i", g.I2(C, *np.indices((K, n))), u)
    field = np.einsum("...ibp,...p->...ib", g.I3(C, *np.indices((K, n, n))), u)
    i, k, p, q, times = _pairs(K, n)
    fourth = np.sum(g.I4(C, i, k, p, q) * times * (u[..., p] * u[..., q]), axis=-1)
    square = np.empty_like(C[..., :K, :K])
    square[..., i[:, 0], k[:, 0]] = square[..., k[:, 0], i[:, 0]] = fourth
    return Moments(value, field, square, g.J2(C, *np.indices((K, K))))


@cache
def _pairs(K: int, n: int) -> tuple[np.ndarray, ...]:
    """Return the pairs i ≤ k of students (rows) with the pairs p ≤ q of units (columns), and how often these count."""
    students, units = np.triu_indices(K), np.triu_indices(n)
    i, k, p, q = (np.array(x) for x in np.broadcast_arrays(*(x[:, None] for x in students), *units))
    return i, k, p, q, np.where(p == q, 1.0, 2.0)
