"""How the overlaps of Gaussian weights are drawn without the weights."""

from __future__ import annotations

import numpy as np


def gaussian_overlaps(
    scales: np.ndarray, rng: np.random.Generator, n_in: int | None, members: tuple[int, ...] = ()
) -> np.ndarray:
    """Return C_ab = W_a·W_b/N of independent rows W_a ~ N(0, scale_a² I_N): a Wishart matrix, exactly in law.

    Its triangular factor has independent entries: √χ²_{N−a} on the diagonal and N(0, 1) below (Bartlett 1933).

    Args:
        scales: one per row, shape (n,).
        rng: the generator.
        n_in: N ≥ n, or None for N = ∞, where C = diag(scales²).
        members: the shape of a batch.

    >>> gaussian_overlaps(np.array([1.0, 2.0]), np.random.default_rng(0), None)
    array([[1., 0.],
           [0., 4.]])
    """
    n = len(scales)
    if n_in is None:
        L = np.broadcast_to(np.eye(n), (*members, n, n))
    else:
        L = np.tril(rng.standard_normal((*members, n, n)), -1)
        L[..., np.arange(n), np.arange(n)] = np.sqrt(rng.chisquare(n_in - np.arange(n), (*members, n)))
        L = L / np.sqrt(n_in)
    L = scales[:, None] * L
    return np.asarray(L @ L.mT)
