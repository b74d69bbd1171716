"""Kolen–Pollack (1994; Akrout et al. 2019): the feedback learns with the forward weight's own update."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, Rng, like
from linfa.rules.interface import AbstractLayerwise, Passes, State, check_feedback
from linfa.rules.potential import Potential
from linfa.weights import Weights, draw_feedback, drawn, feedback_shapes


@dataclass(frozen=True, eq=False)
class KolenPollack(AbstractLayerwise):
    """Ḃ_l = Ẇ_l, with the same decay λ on both: B_l − W_l falls as e^{−λt}.

    Conserved (λ = 0): W_l W_lᵀ − B_{l+1}ᵀ B_{l+1}, neuron by neuron ½‖W_l[k,:]‖² − ½‖B_{l+1}[:,k]‖².

    Args:
        matrices: B_2(0) … B_L(0); the moving B is part of the state.
        origin: how they were drawn, kept for provenance.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> [B.shape for B in KolenPollack.random(net, rng=1).start(net)]
    [(2, 4)]

    """

    name: ClassVar[str] = "kp"
    matrices: tuple[Float[Any, ...], ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def random(cls, weights: Weights, rng: Rng, scale: float = 1.0) -> KolenPollack:
        """Return the rule with B_l(0)[i, j] ~ N(0, scale²/n_{l−1})."""
        return cls(draw_feedback(weights, rng, scale), drawn("random", rng, scale=scale))

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return B_2 … B_L as they have moved."""
        return state.learnt

    def start(self, weights: Weights) -> tuple[Array, ...]:
        """Return B_2(0) … B_L(0), one of each per network of a batch."""
        shapes, xp = weights[0].shape[:-2], array_namespace(weights[0])
        return tuple(xp.broadcast_to(like(B, weights[0]), (*shapes, *B.shape[-2:])) for B in self.matrices)

    def motion(self, updates: tuple[Array, ...], passes: Passes) -> tuple[Array, ...]:
        """Return Ḃ_l = U_l for l = 2 … L."""
        return updates[1:]

    def readers(self, state: State) -> tuple[Array, ...]:
        """Return B_2 … B_L: the law lives on the feedback, not on the weights it stands in for."""
        return state.learnt

    def potential(self, k: int) -> Potential:
        """Return φ(b) = ½ b² on the moving feedback."""
        return Potential(alpha=1.0)

    def check(self, weights: Weights) -> None:
        """Raise InputError unless B_l has the shape of W_l."""
        check_feedback("B", self.matrices, feedback_shapes(weights.widths), first=2)
