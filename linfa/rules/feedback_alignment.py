"""Feedback alignment (Lillicrap et al. 2016): fixed random feedback, layer by layer; and ρ-FA, its correlated start."""

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
class FeedbackAlignment(AbstractLayerwise):
    """B_l is fixed. Conserved: W_l W_lᵀ − (B_{l+1}ᵀ W_{l+1} + W_{l+1}ᵀ B_{l+1}), of every hidden layer.

    Args:
        matrices: B_2 … B_L, `B_l` of the shape of `W_l`.
        origin: how they were drawn, kept for provenance.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> FeedbackAlignment.random(net, rng=1).matrices[0].shape
    (2, 4)

    """

    name: ClassVar[str] = "fa"
    fixed_path: ClassVar[bool] = True
    matrices: tuple[Float[Any, ...], ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def random(cls, weights: Weights, rng: Rng, scale: float = 1.0) -> FeedbackAlignment:
        """Return feedback with the law of the standard start, B_l[i, j] ~ N(0, scale²/n_{l−1})."""
        return cls(draw_feedback(weights, rng, scale), drawn("random", rng, scale=scale))

    @classmethod
    def interpolated(cls, weights: Weights, rho: float, rng: Rng, scale: float = 1.0) -> FeedbackAlignment:
        """Return ρ-FA: B_l = ρ W_l(0) + √(1−ρ²) B̃_l with B̃ random, fixed from then on (Bordelon & Pehlevan 2022).

        >>> net = Weights.standard((3, 4, 2), rng=0)
        >>> bool(np.all(FeedbackAlignment.interpolated(net, rho=1.0, rng=1).matrices[0] == net[1]))
        True
        """
        if not -1 <= rho <= 1:
            raise InputError(f"ρ is a correlation, −1 ≤ ρ ≤ 1; got {rho}")
        tilde = draw_feedback(weights, rng, scale)
        mix = tuple(rho * W + float(np.sqrt(1 - rho**2)) * B for W, B in zip(weights[1:], tilde, strict=True))
        return cls(mix, drawn("interpolated", rng, rho=rho, scale=scale))

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return B_2 … B_L, which never move."""
        return self.matrices

    def potential(self, k: int) -> Potential:
        """Return φ(w) = b w."""
        return Potential(linear=self.matrices[k])

    def check(self, weights: Weights) -> None:
        """Raise InputError unless B_l has the shape of W_l."""
        check_feedback("B", self.matrices, feedback_shapes(weights.widths), first=2)
