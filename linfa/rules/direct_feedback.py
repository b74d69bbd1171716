"""Direct feedback alignment (Nøkland 2016): the output's error goes to every layer at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, Rng, generator, like, norm
from linfa.errors import NoLawError
from linfa.rules.interface import AbstractRule, Passes, State, check_feedback
from linfa.rules.potential import Potential
from linfa.weights import Weights, check_scale, drawn


@dataclass(frozen=True, eq=False)
class DirectFeedback(AbstractRule):
    """δ_l = δ_L F_l: `F_l` (n_L, n_l) stands in for W_L … W_{l+1}, fixed and arbitrary.

    With *virtual read-outs* V_l(0) = 0, V̇_l = E[δ_L h_lᵀ] (matrices that watch and feed nothing back), every layer has
    a law again: W_l W_lᵀ − (F_lᵀ V_l + V_lᵀ F_l) is conserved, neuron by neuron ½‖W_l[k,:]‖² − ⟨V_l[:,k], F_l[:,k]⟩.

    Args:
        matrices: F_1 … F_{L−1}.
        virtual: whether the virtual read-outs are carried along.
        origin: how they were drawn, kept for provenance.

    >>> net = Weights.standard((3, 5, 4, 2), rng=0)
    >>> [F.shape for F in DirectFeedback.random(net, rng=1).matrices]
    [(2, 5), (2, 4)]

    """

    name: ClassVar[str] = "dfa"
    fixed_path: ClassVar[bool] = True
    matrices: tuple[Float[Any, ...], ...]
    virtual: bool = False
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def random(cls, weights: Weights, rng: Rng, scale: float = 1.0, virtual: bool = False) -> DirectFeedback:
        """Return Gaussian feedback, F_l[i, j] ~ N(0, scale²/n_l)."""
        scale, draw, p = check_scale(scale), generator(rng), weights.widths[-1]
        matrices = tuple(
            like(scale / np.sqrt(n) * draw.standard_normal((p, n)), weights[0]) for n in weights.widths[1:-1]
        )
        return cls(matrices, virtual, drawn("random", rng, scale=scale))

    @classmethod
    def readout_only(cls, weights: Weights) -> DirectFeedback:
        """Return F_l = 0: only the last layer learns."""
        p = weights.widths[-1]
        return cls(tuple(like(np.zeros((p, n)), weights[0]) for n in weights.widths[1:-1]), origin={"zero": True})

    def signals(self, state: State, delta: Array) -> tuple[Array, ...]:
        """Return δ_l = δ_L F_l, and δ_L itself."""
        return (*(delta @ F for F in self.matrices), delta)

    def stand_ins(self, state: State) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (F_l, W_L … W_{l+1}), l = 1 … L−1."""
        chain = [state.weights[-1]]
        for W in reversed(state.weights[1:-1]):
            chain.append(chain[-1] @ W)
        return tuple(zip(self.matrices, reversed(chain), strict=False))

    def start(self, weights: Weights) -> tuple[Array, ...]:
        """Return V_l(0) = 0 of the shape of F_l, where virtual read-outs are carried."""
        if not self.virtual:
            return ()
        n_batch = weights[0].shape[:-2]
        xp = array_namespace(weights[0])
        return tuple(xp.broadcast_to(like(0.0 * F, weights[0]), (*n_batch, *F.shape[-2:])) for F in self.matrices)

    def motion(self, updates: tuple[Array, ...], passes: Passes) -> tuple[Array, ...]:
        """Return V̇_l = δ_Lᵀ h_l for l = 1 … L−1, where virtual read-outs are carried."""
        return tuple(passes.signals[-1].mT @ h for h in passes.activities[1:-1]) if self.virtual else ()

    def readers(self, state: State) -> tuple[Array, ...]:
        """Return the virtual read-outs V_1 … V_{L−1}."""
        return state.learnt

    def potential(self, k: int) -> Potential:
        """Return φ(v) = f v on the virtual read-outs, where they are carried."""
        if not self.virtual:
            raise NoLawError(
                "direct feedback passes over the layer above, so its weights do not account for the incoming norm: "
                "use laws.DirectFeedbackLaw, or carry virtual read-outs with DirectFeedback(..., virtual=True)"
            )
        return Potential(linear=self.matrices[k])

    def signal_norms(self, state: State, signals: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return ‖δ_L‖‖F_l‖ and ‖δ_L‖: F_l may annihilate most of δ_L, and rounding acts before that."""
        top = norm(signals[-1])
        return (*(top * norm(F) for F in self.matrices), top)

    def check(self, weights: Weights) -> None:
        """Raise InputError unless F_l has shape (n_L, n_l)."""
        p = weights.widths[-1]
        check_feedback("F", self.matrices, tuple((p, n) for n in weights.widths[1:-1]), first=1)
