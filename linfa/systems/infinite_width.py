"""Infinite width: the limits of the Gram matrices, and networks of every finite width that converge to them.

Take a Gaussian start and Gaussian feedback alignment in coordinates that keep the length of a hidden activity at any
width (each hidden layer's activity multiplied by √(n_0/n_l), the weights by what that asks for). Then

    W_l[i, j] ~ N(0, s²/n_l), l < L,     W_L[i, j] ~ N(0, r² s²/n_0),
    B_l[i, j] ~ N(0, τ²/n_{l−1}), so that M_l = (B_L … B_{l+1})ᵀ has ‖M_l α‖ ≈ κ_l τ^{L−l}‖α‖,

and a *scaling* says how r and κ_l depend on the width: r = 1 or r = n_{L−1}^{−1/2}, κ_l = 1 or κ_l = (n_0/n_l)^{1/2}.
By the law of large numbers, level by level (W_l(0) and M_l are independent, and so are their rows),

    𝒢_l → diag(s² 𝒢_{l−1}, H_l),     H_l → κ_l² τ^{2(L−l)} I,     so A_lᵀA_l → s^{2l} I,  T_{l,j}ᵀA_l → 0,
    T_{l,j}ᵀT_{l,j} → s^{2(l−j)} H_j,     [A_L | T_{L,1} … T_{L,L−1}] → r s n_0^{−1/2} N 𝒢_{L−1}^{½},  N normal,

with deviations of the order n^{−1/2}. The read-out has p rows however wide the net is, so no law of large numbers acts
on it: A_L and T_{L,j} stay random wherever r = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from sys import maxsize

import numpy as np

from linfa.arrays import Rng, generator
from linfa.errors import InputError
from linfa.rules.feedback_alignment import FeedbackAlignment
from linfa.systems.drawn import Drawn
from linfa.systems.reduction import Reduction, check_members
from linfa.systems.width_free import WidthFree
from linfa.weights import Weights, check_scale, check_widths

UNBOUNDED = maxsize
"""What stands for an infinite width among widths, which are whole numbers."""


@dataclass(frozen=True)
class InfiniteWidth:
    """A way in which widths grow: its networks at every finite width, and their limit under feedback alignment.

    `standard`: r = 1, κ_l = 1. The function at the start has the law of `Weights.standard`, and hidden layers learn.
    `ntk`: r = 1, κ_l = (n_0/n_l)^½. Hidden layers move less and less: in the limit the read-out alone learns, ḟ = E
    through the kernel s^{2(L−1)} I. `Weights.standard` under `FeedbackAlignment.random` with one rate for all layers
    has this limit too, in units of time n_0/n_{L−1}.
    `mean_field`: r = n_{L−1}^{−½}, κ_l = 1. The start is silent, hidden layers learn, and nothing stays random.

    Args:
        vanishing_readout: whether r = n_{L−1}^{−½} in place of 1.
        vanishing_path: whether κ_l = (n_0/n_l)^½ in place of 1.
        weight_scale: s.
        feedback_scale: τ.

    Raises:
        InputError: for a scale that is negative or not finite.

    >>> import linfa
    >>> task, steps = linfa.Task.teacher(3, 2, rng=0), linfa.Descent(0.1, steps=50)
    >>> family = InfiniteWidth.mean_field()
    >>> limit = linfa.solve(family.limit(3, 2, depth=3), task, steps)
    >>> nets = [linfa.solve(family.drawn((3, n, n, 2), rng=1), task, steps) for n in (10**2, 10**8)]
    >>> [bool(abs(net.loss - limit.loss).max() < error) for net, error in zip(nets, (1e-1, 1e-4), strict=True)]
    [True, True]
    """

    vanishing_readout: bool
    vanishing_path: bool
    weight_scale: float = 1.0
    feedback_scale: float = 1.0

    def __post_init__(self) -> None:
        check_scale(self.weight_scale, "weight_scale")
        check_scale(self.feedback_scale, "feedback_scale")

    @classmethod
    def standard(cls, weight_scale: float = 1.0, feedback_scale: float = 1.0) -> InfiniteWidth:
        """Return the scaling whose function at the start is that of `Weights.standard` and whose layers all learn."""
        return cls(False, False, weight_scale, feedback_scale)

    @classmethod
    def ntk(cls, weight_scale: float = 1.0, feedback_scale: float = 1.0) -> InfiniteWidth:
        """Return the lazy scaling: hidden layers move by less and less as the width grows."""
        return cls(False, True, weight_scale, feedback_scale)

    @classmethod
    def mean_field(cls, weight_scale: float = 1.0, feedback_scale: float = 1.0) -> InfiniteWidth:
        """Return the scaling whose read-out vanishes at the start, so that the limit is not random."""
        return cls(True, False, weight_scale, feedback_scale)

    def scales(self, widths: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the standard deviations of W_1 … W_L and of B_2 … B_L at finite widths, times √fan-in.

        >>> InfiniteWidth.standard().scales((4, 16, 16, 2))
        ((0.5, 1.0, 2.0), (1.0, 1.0))
        """
        n, s, tau = np.array(widths, dtype=float), self.weight_scale, self.feedback_scale
        r = n[-2] ** -0.5 if self.vanishing_readout and len(n) > 2 else 1.0
        W = s * np.sqrt(n[:-1] / np.append(n[1:-1], n[0]))
        W[-1] *= r
        # κ_{l−1}/κ_l of B_l, with κ_L = 1; κ_l² = n_0/n_l.
        path = np.append(n[1:-1], n[0]) if self.vanishing_path else np.ones(len(n) - 1)
        B = tau * np.sqrt(path[1:] / path[:-1])
        return tuple(W.tolist()), tuple(B.tolist())

    def drawn(self, widths: tuple[int, ...], rng: Rng, *, members: int | None = None) -> WidthFree:
        """Return a network of any finite width, exact in law, without its weights; `members` of them as one system."""
        widths = check_widths(widths)
        W, B = self.scales(widths)
        return WidthFree.gaussian(widths, rng, members=members, weight_scale=W, feedback_scale=B)

    def built(self, widths: tuple[int, ...], rng: Rng) -> tuple[Weights, FeedbackAlignment]:
        """Return a network of finite width with its weights and its feedback, for `Full` or `WidthFree`."""
        widths, draw = check_widths(widths), generator(rng)
        scales = self.scales(widths)
        start, feedback = Weights.standard(widths, draw), Weights.standard(widths, draw)
        W = tuple(a * w for a, w in zip(scales[0], start, strict=True))
        B = tuple(a * b for a, b in zip(scales[1], feedback[1:], strict=True))
        return Weights(W, {"initialiser": repr(self)}), FeedbackAlignment(B, {"initialiser": repr(self)})

    def limit(self, n_in: int, n_out: int, depth: int, rng: Rng = 0, *, members: int | None = None) -> WidthFree:
        """Return the network of infinite width; what stays random in it is drawn, and `drawn` with that seed meets it.

        Args:
            n_in: n_0.
            n_out: p.
            depth: L.
            rng: a seed or generator; without effect where nothing stays random.
            members: how many independent networks; None for one without a leading axis.

        >>> InfiniteWidth.standard().limit(3, 2, depth=4).grams.grams[1].diagonal().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
        """
        if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
            raise InputError(f"the depth must be a whole number ≥ 1; got {depth!r}")
        n, p, L = *check_widths((n_in, n_out)), int(depth)
        s, tau = self.weight_scale, self.feedback_scale
        lead = () if members is None else (check_members(members),)
        normals = generator(rng).standard_normal((*lead, p, n + (L - 1) * p))
        square, diagonals = np.ones(n), [np.ones(n)]
        for l in range(1, L):
            H = 0.0 if self.vanishing_path else tau ** (2 * (L - l))
            square = np.append(s**2 * square, np.full(p, H))
            diagonals.append(square)
        r = 0.0 if self.vanishing_readout and L > 1 else s / np.sqrt(n)
        readout = np.concatenate([r * normals * np.sqrt(square), np.broadcast_to(np.eye(p), (*lead, p, p))], axis=-1)
        widths = (n, *(UNBOUNDED,) * (L - 1), p)
        return WidthFree(None, Drawn(), Reduction(widths, tuple(np.diag(d) for d in diagonals), readout))


SCALINGS: dict[str, Callable[[], InfiniteWidth]] = {
    "standard": InfiniteWidth.standard,
    "ntk": InfiniteWidth.ntk,
    "mean-field": InfiniteWidth.mean_field,
}
"""The scalings by name, for command lines and for tests over all of them."""
