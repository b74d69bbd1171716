"""The Gram matrices of the width-free reduction: all that a run under a fixed feedback path needs of its widths.

Level l has the basis [A_l | T_{l,1} | … | T_{l,l}] of n_0 + lp vectors in R^{n_l}, made level by level,

    A_0 = I,   basis_l = [W_l(0) · basis_{l−1} | M_l],   so   A_l = W_l(0)…W_1(0),   T_{l,j} = W_l(0)…W_{j+1}(0) M_j,

and the run lives in it: X_l = basis_l · c_l with coefficients c_l of size (n_0 + lp) × n_0. Only the Gram matrices
𝒢_l = basis_lᵀ basis_l, l < L, and the read-out basis_L itself (p rows) are needed. Derived in theory/width_free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, Rng, eye, generator, inner
from linfa.errors import InputError, NoLawError
from linfa.rules.interface import AbstractRule, State
from linfa.weights import Weights, check_scale, check_widths


@dataclass(frozen=True, eq=False)
class Reduction:
    """What the width leaves behind.

    Args:
        widths: n_0 … n_L, for the record; nothing of their size is held.
        grams: 𝒢_0 = I … 𝒢_{L−1}, `𝒢_l` of shape (..., n_0 + lp, n_0 + lp).
        readout: basis_L, shape (..., p, n_0 + Lp), whose last p columns are the identity M_L = I.
        squares: for l = 1 … L the numbers ‖W_l(0)‖², and for l = 2 … L ⟨B_l, W_l(0)⟩ and ‖B_l‖² where the feedback is
            layer-wise; None where nobody computed them. They give norms and alignments, not the run.

    Raises:
        InputError: where shapes do not fit or an entry is not finite.
    """

    widths: tuple[int, ...]
    grams: tuple[Float[Any, ...], ...]
    readout: Float[Any, ...]
    squares: tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]] | None = None

    def __post_init__(self) -> None:
        n, p = self.widths[0], self.widths[-1]
        if len(self.grams) != self.depth:
            raise InputError(f"depth {self.depth} needs {self.depth} Gram matrices 𝒢_0 …; got {len(self.grams)}")
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
        if not rule.fixed_path:
            raise NoLawError(
                f"{rule.name}: the width-free reduction needs a feedback path that never moves (feedback alignment, "
                "ρ-FA, direct feedback, read-out only); simulate the full network with linfa.Full"
            )
        rule.check(weights)
        basis = eye(weights.widths[0], weights[0])
        grams = []
        for W, M in zip(weights, rule.paths(State(weights.matrices, rule.start(weights))), strict=True):
            grams.append(basis.mT @ basis)
            basis = next_basis(W, M, basis)
        pairs = rule.stand_ins(State(weights.matrices)) if rule.layerwise else ()
        squares = (
            tuple(inner(W, W) for W in weights),
            tuple(inner(B, W) for B, W in pairs),
            tuple(inner(B, B) for B, _ in pairs),
        )
        return cls(weights.widths, tuple(grams), basis, squares)

    @classmethod
    def gaussian(
        cls,
        widths: Sequence[int],
        rng: Rng,
        *,
        members: int | None = None,
        weight_scale: float | Sequence[float] = 1.0,
        feedback_scale: float | Sequence[float] = 1.0,
    ) -> Reduction:
        """Return a draw, exact in law, of the Gram matrices of a Gaussian net of any width under feedback alignment.

        W_l(0)[i, j] ~ N(0, weight_scale²/n_{l−1}) and B_l[i, j] ~ N(0, feedback_scale²/n_{l−1}), as in the standard
        start. With s_l = weight_scale/√n_{l−1} and τ_l = feedback_scale/√n_{l−1}, level l mixes its n_l independent
        rows into a Wishart matrix Q_l of size n_0 + lp:

            H_L = I,   H_l = τ_{l+1}² H_{l+1}^{½ᵀ} Q_l[last p, last p] H_{l+1}^{½}    (H_l = M_lᵀM_l, from the top down)
            𝒢_0 = I,   𝒢_l = D_lᵀ Q_l D_l,  D_l = diag(s_l 𝒢_{l−1}^{½}, τ_{l+1} H_{l+1}^{½})      (from the bottom up)
            basis_L = [s_L N 𝒢_{L−1}^{½} | I],  N a p × (n_0 + (L−1)p) matrix of independent normals

        N is drawn first and the roots 𝒢^{½} are unique, so draws with one seed and growing widths converge.

        Args:
            widths: n_0 … n_L; the cost does not depend on n_1 … n_{L−1}.
            rng: a seed or generator.
            members: how many independent networks; None for one without a leading axis.
            weight_scale: of the start; one number, or L numbers for W_1 … W_L.
            feedback_scale: of the feedback; one number, or L − 1 numbers for B_2 … B_L.

        >>> Reduction.gaussian((4, 10**9, 10**9, 2), rng=0).readout.shape
        (2, 10)
        """
        widths = check_widths(widths)
        n, p, L = widths[0], widths[-1], len(widths) - 1
        s = _deviations(weight_scale, widths[:-1], "weight_scale")
        tau = _deviations(feedback_scale, widths[1:-1], "feedback_scale")
        draw, lead = generator(rng), () if members is None else (check_members(members),)
        normals = draw.standard_normal((*lead, p, n + (L - 1) * p))
        Q = [_wishart_root(draw, lead, n + l * p, widths[l]) for l in range(1, L)]
        # Roots: a factor R with Gram matrix RᵀR; roots of H_l from the top down, of 𝒢_l from the bottom up.
        H = [np.broadcast_to(np.eye(p), (*lead, p, p))]
        for l in reversed(range(1, L)):
            H.insert(0, _square_root(Q[l - 1][..., -p:] @ H[0] * tau[l - 1]))
        root, grams = np.broadcast_to(np.eye(n), (*lead, n, n)), [np.eye(n)]
        for l in range(1, L):
            root = _square_root(Q[l - 1] @ _block_diagonal(s[l - 1] * root, tau[l - 1] * H[l]))
            grams.append(root.mT @ root)
        readout = np.concatenate([s[-1] * normals @ root, np.broadcast_to(np.eye(p), (*lead, p, p))], axis=-1)
        return cls(widths, tuple(grams), readout)


def next_basis(W: Array, M: Array, basis: Array) -> Array:
    """Return [W · basis | M]; leading axes of the start and of the feedback are broadcast against each other.

    >>> next_basis(2 * np.eye(2), np.ones((2, 1)), np.eye(2)).tolist()
    [[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]
    """
    xp, pushed = array_namespace(W), W @ basis
    lead = np.broadcast_shapes(tuple(pushed.shape[:-2]), tuple(M.shape[:-2]))
    return xp.concat([xp.broadcast_to(part, (*lead, *part.shape[-2:])) for part in (pushed, M)], axis=-1)


def check_members(members: int) -> int:
    """Return how many networks an ensemble has, or say that it needs one at least."""
    if not isinstance(members, int | np.integer) or isinstance(members, bool) or members < 1:
        raise InputError(
            f"an ensemble has a whole number of members ≥ 1 (None: one without a leading axis); got {members!r}"
        )
    return int(members)


def _deviations(scale: float | Sequence[float], fan_in: tuple[int, ...], what: str) -> tuple[float, ...]:
    """Return scale/√fan_in for every layer."""
    scales = tuple(scale) if isinstance(scale, Sequence) else (scale,) * len(fan_in)
    if len(scales) != len(fan_in):
        raise InputError(f"{what} is one number, or one per matrix, {len(fan_in)} of them here; got {len(scales)}")
    return tuple(check_scale(a, what) / float(np.sqrt(n)) for a, n in zip(scales, fan_in, strict=True))


def _wishart_root(draw: np.random.Generator, lead: tuple[int, ...], size: int, n: int) -> np.ndarray:
    """Return R (min(n, size) × size) with RᵀR ~ Wishart(n, I): Bartlett's triangle of χ and normals, thin if short."""
    rows = min(n, size)
    R = np.triu(draw.standard_normal((*lead, rows, size)), 1)
    degrees = n - np.arange(rows)
    R[..., np.arange(rows), np.arange(rows)] = np.sqrt(draw.chisquare(degrees, (*lead, rows)))
    return R


def _square_root(R: np.ndarray) -> np.ndarray:
    """Return the upper factor, diagonal ≥ 0, with the same Gram matrix as R: by QR, no precision is squared away."""
    rows, size = R.shape[-2:]
    if rows < size:
        pad = np.zeros((*R.shape[:-2], size - rows, size))
        R = np.concatenate([R, pad], axis=-2)
    root = np.asarray(np.linalg.qr(R, mode="r"))
    diagonal = np.diagonal(root, axis1=-2, axis2=-1)[..., None]
    return np.where(diagonal < 0, -root, root)


def _block_diagonal(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    a, b = A.shape[-1], B.shape[-1]
    D = np.zeros((*A.shape[:-2], a + b, a + b))
    D[..., :a, :a], D[..., a:, a:] = A, B
    return D
