"""The vector fields of a learning rule on the space of weights, and their Lie brackets at a point, exactly.

X_K(θ) = (M_l K X_{l-1}ᵀ)_{l=1…L} ,  K ∈ R^{p×n_0} ,     [X, Y] = DY·X − DX·Y
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linfa.symbolic.dual import Array, add, along, pad, product, reduce, small, transpose


class AbstractFields(ABC):
    """What evaluates X_K at a point, in dual arithmetic."""

    @abstractmethod
    def __call__(self, weights: Sequence[Array], K: Array, modulus: int | None) -> tuple[Array, ...]:
        """(U_1, …, U_L) at the weights, for K of shape (batch, 1, p, n_0)."""


@dataclass(frozen=True)
class FixedPath(AbstractFields):
    """U_l = M_l K X_{l-1}ᵀ with constant paths M_1, …, M_L = I: feedback alignment, direct feedback, read-out only."""

    paths: tuple[Array, ...]

    def __call__(self, weights: Sequence[Array], K: Array, modulus: int | None) -> tuple[Array, ...]:
        """(U_1, …, U_L)."""
        return velocities([_constant(M, modulus) for M in self.paths], weights, K, modulus)


@dataclass(frozen=True)
class AffineFeedback(AbstractFields):
    """B_l = a W_l + D_l with an integer a and constant D_l: gradient flow (1, 0), interpolation, Kolen–Pollack (1,
    D).
    """

    slope: int
    offsets: tuple[Array, ...]

    def __call__(self, weights: Sequence[Array], K: Array, modulus: int | None) -> tuple[Array, ...]:
        """(U_1, …, U_L), the feedback path moving with the weights."""
        paths = [_constant(unit(weights[-1].shape[-2]), modulus)]
        for W, D in zip(reversed(weights[1:]), reversed(self.offsets), strict=True):
            B = add(reduce(self.slope * W, modulus), _constant(D, modulus), modulus)
            paths.append(product(transpose(B), paths[-1], modulus))
        return velocities(paths[::-1], weights, K, modulus)


def unit(size: int) -> Array:
    """The identity matrix, in Python's own integers."""
    return np.eye(size, dtype=int).astype(object)


def _constant(A: Array, modulus: int | None) -> Array:
    return small(A, modulus)[None, None]


def velocities(paths: Sequence[Array], weights: Sequence[Array], K: Array, modulus: int | None) -> tuple[Array, ...]:
    """U_l = M_l K X_{l-1}ᵀ from the paths."""
    U, signal = [], K
    for M, W in zip(paths, weights, strict=True):
        U.append(product(M, signal, modulus))
        signal = product(signal, transpose(W), modulus)
    size = max(W.shape[1] for W in weights)
    return tuple(pad(u, size) for u in U)


def bracket(
    fields: AbstractFields, weights: Sequence[Array], Ks: Sequence[Array], modulus: int | None
) -> tuple[Array, ...]:
    """The nested bracket [X_{K_1}, [X_{K_2}, … X_{K_k}]] at the weights, for a batch of tuples (K_1, …, K_k) at once.

        [X, G](θ) = ∂_ε G(θ + ε X(θ)) − ∂_ε X(θ + ε G(θ))

    Args: fields: the rule; weights: arrays (1, 1, n_l, n_{l-1}); Ks: k arrays (batch, 1, p, n_0); modulus: a prime,
        or None.
    Returns: one array (batch, size, n_l, n_{l-1}) per layer.
    """
    X = fields(weights, Ks[0], modulus)
    if len(Ks) == 1:
        return X
    size = X[0].shape[1]
    G = bracket(fields, tuple(along(W, v, size) for W, v in zip(weights, X, strict=True)), Ks[1:], modulus)
    inner = tuple(g[:, :size] for g in G)
    turned = fields(tuple(along(W, g, size) for W, g in zip(weights, inner, strict=True)), Ks[0], modulus)
    return tuple(reduce(g[:, size:] - x[:, size:], modulus) for g, x in zip(G, turned, strict=True))
