"""Backpropagation: the feedback is the weight itself, B_l = W_l."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from linfa.arrays import Array
from linfa.rules.interface import AbstractLayerwise, State
from linfa.rules.potential import Potential
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class Backprop(AbstractLayerwise):
    """B_l = W_l: gradient descent on the loss. Conserved: ½‖W_l[k,:]‖² − ½‖W_{l+1}[:,k]‖².

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> Backprop().feedback(State(net.matrices))[0] is net[1]
    True
    """

    name: ClassVar[str] = "bp"

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return W_2 … W_L."""
        return state.weights[1:]

    def potential(self, k: int) -> Potential:
        """Return φ(w) = ½ w²."""
        return Potential(alpha=1.0)

    def check(self, weights: Weights) -> None:
        """Accept every network."""
