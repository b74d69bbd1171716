"""The Gram matrices of the width-free reduction: all that a run under a fixed feedback path needs of its widths.

Level l has the basis [A_l | T_{l,1} | … | T_{l,l}] of n_0 + lp vectors in R^{n_l}, made level by level,

    A_0 = I,   basis_l = [W_l(0) · basis_{l−1} | M_l],   so   A_l = W_l(0)…W_1(0),   T_{l,j} = W_l(0)…W_{j+1}(0) M_j,

and the run lives in it: X_l = basis_l · c_l with coefficients c_l of size (n_0 + lp) × n_0. Only the Gram matrices
𝒢_l = basis_lᵀ basis_l, l < L, and the read-out basis_L itself (p rows) are needed. Derived in theory/width_free.
Weights and feedback are asked for products with bases and paths alone, so they may be `linfa.matrices`, never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, eye
from linfa.errors import InputError, NoLawError
from linfa.matrices import gram, inner
from linfa.rules.interface import AbstractRule, State
from linfa.weights import Weights


class Squares(NamedTuple):
    """What norms and alignments need of the start of one layer; the feedback's are None where none stands in for it."""

    WW: Array
    """‖W_l(0)‖²."""
    BW: Array | None = None
    """⟨B_l, W_l(0)⟩."""
    BB: Array | None = None
    """‖B_l‖²."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """What the width leaves behind.

    Args:
        widths: n_0 … n_L, for the record; nothing of their size is held.
        grams: 𝒢_0 = I … 𝒢_{L−1}, `𝒢_l` of shape (..., n_0 + lp, n_0 + lp).
        readout: basis_L, shape (..., p, n_0 + Lp), whose last p columns are the identity M_L = I.
        squares: the norms of W_1(0) … W_L(0) and of their feedback; None where they are not known (infinite widths).
            They give norms and alignments, not the run.

    Raises:
        InputError: where shapes do not fit or an entry is not finite.
    """

    widths: tuple[int, ...]
    grams: tuple[Float[Any, ...], ...]
    readout: Float[Any, ...]
    squares: tuple[Squares, ...] | None = None

    def __post_init__(self) -> None:
        n, p = self.widths[0], self.widths[-1]
        if len(self.grams) != self.depth:
            raise InputError(f"depth {self.depth} needs {self.depth} Gram matrices 𝒢_0 …; got {len(self.grams)}")
        if self.squares is not None and len(self.squares) != self.depth:
            raise InputError(f"depth {self.depth} needs the squares of {self.depth} layers; got {len(self.squares)}")
        for l, G in enumerate((*self.grams, self.readout)):
            shape = (n + l * p, n + l * p) if l < self.depth else (p, n + l * p)
            name = f"𝒢_{l}" if l < self.depth else "the read-out"
            if tuple(G.shape[-2:]) != shape:
                raise InputError(f"{name} must have shape {shape}; got {tuple(G.shape)}")
            xp = array_namespace(G)
            if not bool(xp.all(xp.isfinite(G))):
                raise InputError(f"{name} must be finite: the weights or the feedback are too large for their widths")
        if not bool(array_namespace(self.grams[0]).all(self.grams[0] == eye(n, self.grams[0]))):
            raise InputError("𝒢_0 must be the identity: the first basis is the input itself")

    @property
    def depth(self) -> int:
        """Depth L."""
        return len(self.widths) - 1

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule) -> Reduction:
        """Return the Gram matrices of a network under a rule with a fixed feedback path.

        Raises:
            NoLawError: where the feedback path moves.

        >>> import linfa
        >>> net = linfa.Weights.standard((3, 50, 2), rng=0)
        >>> [G.shape for G in Reduction.of(net, linfa.FeedbackAlignment.random(net, rng=1)).grams]
        [(3, 3), (5, 5)]
        """
        check_path(rule)
        rule.check(weights)
        basis = eye(weights.widths[0], weights[0])
        grams = []
        for W, M in zip(weights, rule.paths(State(weights.matrices, rule.start(weights))), strict=True):
            grams.append(basis.mT @ basis)
            basis = next_basis(W, M, basis)
        if rule.layerwise:
            pairs = rule.stand_ins(State(weights.matrices))
            squares = [Squares(inner(weights[0], weights[0])), *(squares_of(W, B) for B, W in pairs)]
        else:
            squares = [Squares(inner(W, W)) for W in weights]
        return cls(weights.widths, tuple(grams), basis, tuple(squares))

    @cached_property
    def all_grams(self) -> tuple[Array, ...]:
        """𝒢_0 … 𝒢_L, the last made of the read-out."""
        return (*self.grams, self.readout.mT @ self.readout)

    def sizes(self, l: int) -> tuple[Array, Array]:
        """Return ‖basis_{l−1}‖ and ‖M_l‖, which bound W_l − α W_l(0) = M_l z_l basis_{l−1}ᵀ.

        >>> Reduction((1, 1), (np.eye(1),), np.array([[2.0, 1.0]])).sizes(1)
        (np.float64(1.0), np.float64(1.0))
        """
        p = self.widths[-1]
        return _root_trace(self.all_grams[l - 1]), _root_trace(self.all_grams[l][..., -p:, -p:])

    def square(self, l: int, a: Array, z: Array) -> Array:
        """Return ‖W_l‖² of W_l = a W_l(0) + M_l z basis_{l−1}ᵀ."""
        assert self.squares is not None  # asked for by `WidthFree.alignments`, which looks
        p, below, here = self.widths[-1], self.all_grams[l - 1], self.all_grams[l]
        cross, H = here[..., :-p, -p:], here[..., -p:, -p:]
        return a**2 * self.squares[l - 1].WW + 2 * a * inner(z, cross.mT) + inner(H @ z, z @ below)

    def aligned(self, l: int, a: Array, z: Array) -> Array:
        """Return ⟨B_l, W_l⟩ of W_l = a W_l(0) + M_l z basis_{l−1}ᵀ, for B_lᵀ M_l = M_{l−1}."""
        assert self.squares is not None
        return a * self.squares[l - 1].BW + inner(z, self.all_grams[l - 1][..., -self.widths[-1] :, :])


def squares_of(W: Array, B: Array) -> Squares:
    """Return ‖W‖², ⟨B, W⟩ and ‖B‖²."""
    (WW, BW), (_, BB) = gram(W, B)
    return Squares(WW, BW, BB)


def next_basis(W: Array, M: Array, basis: Array) -> Array:
    """Return [W · basis | M]; leading axes of the start and of the feedback are broadcast against each other.

    >>> next_basis(2 * np.eye(2), np.ones((2, 1)), np.eye(2)).tolist()
    [[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]
    """
    xp, pushed = array_namespace(W), W @ basis
    lead = np.broadcast_shapes(tuple(pushed.shape[:-2]), tuple(M.shape[:-2]))
    return xp.concat([xp.broadcast_to(part, (*lead, *part.shape[-2:])) for part in (pushed, M)], axis=-1)


def check_path(rule: AbstractRule) -> None:
    """Raise NoLawError where the feedback path of a rule moves."""
    if not rule.fixed_path:
        raise NoLawError(
            f"{rule.name}: the width-free reduction needs a feedback path that never moves (feedback alignment, "
            "ρ-FA, direct feedback, read-out only); simulate the full network with linfa.Full"
        )


def check_members(members: int) -> int:
    """Return how many networks an ensemble has, or say that it needs one at least."""
    if not isinstance(members, int | np.integer) or isinstance(members, bool) or members < 1:
        raise InputError(
            f"an ensemble has a whole number of members ≥ 1 (None: one without a leading axis); got {members!r}"
        )
    return int(members)


def _root_trace(G: Array) -> Array:
    xp = array_namespace(G)
    return xp.sqrt(xp.linalg.trace(G))
