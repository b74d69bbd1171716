"""Feedback between backprop and feedback alignment that moves with the weight: B_l = α W_l + (1−α) B_l(0)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from linfa.arrays import Array, Rng
from linfa.errors import InputError
from linfa.rules.interface import AbstractLayerwise, State, check_feedback
from linfa.rules.potential import Potential
from linfa.weights import Weights, draw_feedback, drawn, feedback_shapes


@dataclass(frozen=True, eq=False)
class Interpolated(AbstractLayerwise):
    """B_l = α W_l + (1−α) B_l(0). Conserved: ½‖W_l[k,:]‖² − ½α‖W_{l+1}[:,k]‖² − (1−α)⟨B_{l+1}(0)[:,k], W_{l+1}[:,k]⟩.

    ρ-FA mixes once, at the start, and is `FeedbackAlignment.interpolated`; this rule mixes at every instant.

    Args:
        alpha: α, a finite number; 1 is backprop, 0 is feedback alignment.
        matrices: B_2(0) … B_L(0).
        origin: how they were drawn, kept for provenance.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> rule = Interpolated.random(net, rng=1, alpha=1.0)
    >>> bool(np.all(rule.feedback(State(net.matrices))[0] == net[1]))
    True

    """

    name: ClassVar[str] = "interpolated"
    alpha: float
    matrices: tuple[Float[Any, ...], ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def random(cls, weights: Weights, rng: Rng, alpha: float = 0.5, scale: float = 1.0) -> Interpolated:
        """Return the rule with B_l(0)[i, j] ~ N(0, scale²/n_{l−1})."""
        return cls(alpha, draw_feedback(weights, rng, scale), drawn("random", rng, scale=scale))

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return α W_l + (1−α) B_l(0)."""
        return tuple(
            self.alpha * W + (1 - self.alpha) * B for W, B in zip(state.weights[1:], self.matrices, strict=True)
        )

    def potential(self, k: int) -> Potential:
        """Return φ(w) = ½ α w² + (1−α) b w."""
        return Potential(alpha=self.alpha, linear=(1 - self.alpha) * self.matrices[k])

    def check(self, weights: Weights) -> None:
        """Raise InputError unless α is finite and B_l has the shape of W_l."""
        if not np.isfinite(self.alpha):
            raise InputError(f"α must be finite; got {self.alpha}")
        check_feedback("B", self.matrices, feedback_shapes(weights.widths), first=2)
