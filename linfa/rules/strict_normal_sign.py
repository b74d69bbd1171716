"""uSF-SN: signs of the weights, strictly normalised to the weights' norm (Moskovitz, Litwin-Kumar & Abbott 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from linfa.arrays import Array, norm
from linfa.errors import NoLawError
from linfa.rules.interface import AbstractLayerwise, State
from linfa.rules.potential import Potential
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class StrictNormalSign(AbstractLayerwise):
    """B_l = ‖W_l‖_F sign(W_l) / ‖sign(W_l)‖_F. The 1-form ⟨B, dW⟩ is not closed: there is no law (theory/potential).

    >>> import numpy as np
    >>> net = Weights((np.eye(2), np.array([[3.0, -4.0]])))
    >>> StrictNormalSign().feedback(State(net.matrices))[0] / np.sqrt(12.5)
    array([[ 1., -1.]])
    """

    name: ClassVar[str] = "usf-sn"

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return ‖W_l‖_F sign(W_l) / ‖sign(W_l)‖_F; zero where W_l = 0."""
        feedback = []
        for W in state.weights[1:]:
            xp = array_namespace(W)
            signs = xp.sign(W)
            count = norm(signs)
            ratio = norm(W) / xp.where(count > 0, count, xp.ones_like(count))
            feedback.append(ratio[..., None, None] * signs)
        return tuple(feedback)

    def potential(self, k: int) -> Potential:
        """Raise NoLawError: the feedback is no gradient."""
        raise NoLawError(
            "uSF-SN scales sign(W) with ‖W‖_F, so ∂B_i/∂W_j ≠ ∂B_j/∂W_i: the feedback is no gradient and nothing is "
            "conserved; SignConcordant keeps the magnitudes fixed and has a law"
        )

    def check(self, weights: Weights) -> None:
        """Accept every network."""
