"""The full system: every weight evolves, Ẇ_l = U_l = E[δ_l h_{l−1}ᵀ], under any rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import cosine, like, norm
from linfa.errors import InputError
from linfa.rules.backprop import Backprop
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.systems.interface import AbstractSystem, Labelled, Samples
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class Full(AbstractSystem):
    """A deep linear network whose every weight is simulated.

    h_l = W_l h_{l−1},   δ_L = −∂ℓ/∂f,   δ_l as the rule sends it back,   U_l = E[δ_l h_{l−1}ᵀ]

    Args:
        weights: the start W(0); leading axes are a batch of networks.
        rule: how the error comes back.

    Raises:
        InputError: where the rule does not fit the network.

    >>> import linfa
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> len(Full(net, linfa.Backprop()).start().weights)
    2
    """

    weights: Weights
    rule: AbstractRule

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Weights):
            raise InputError(f"Full takes linfa.Weights as its start; got {type(self.weights).__name__}")
        if not isinstance(self.rule, AbstractRule):
            raise InputError(f"Full takes a rule such as linfa.FeedbackAlignment; got {self.rule!r}")
        self.rule.check(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """n_0 … n_L."""
        return self.weights.widths

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the weights."""
        return tuple(self.weights[0].shape[:-2])

    def start(self) -> State:
        """Return the state at time zero: the weights, and what the rule learns."""
        return State(self.weights.matrices, self.rule.start(self.weights))

    def passes(self, state: State, batch: Samples, step: int | None = None) -> Passes:
        """Return h_0 … h_L and δ_1 … δ_L over a batch."""
        h = [batch.inputs]
        for W in state.weights:
            h.append(h[-1] @ W.mT)
        return Passes(tuple(h), self.rule.at(step).signals(state, batch.signal(h[-1])))

    def velocity(self, state: State, passes: Passes) -> State:
        """Return Ẇ_l = δ_lᵀ h_{l−1}, and the motion of what the rule learns."""
        U = passes.updates()
        return State(U, self.rule.motion(U, passes))

    def full(self, state: State) -> State:
        """Return the state: it is the weights."""
        return state

    def lift(self, state: State) -> Weights:
        """Return the weights of a state, checked."""
        return Weights(state.weights, self.weights.origin)

    def sizes(self, state: State, passes: Passes) -> State:
        """Return ‖δ_l‖‖h_{l−1}‖ ≥ ‖U_l‖ in the very slots of U_l, by one pass over norms in place of matrices."""
        deltas = self.rule.signal_norms(state, passes.signals)
        norms = Passes(
            tuple(norm(h)[..., None, None] for h in passes.activities), tuple(d[..., None, None] for d in deltas)
        )
        return self.velocity(state, norms).map(lambda u: u[..., 0, 0])

    def spread(self, state: State, error: float) -> State:
        """Return the error itself, for every part."""
        return state.norms().map(lambda n: 0 * n + error)

    def parts(self, state: State) -> Labelled:
        """Return W_1 … W_L, and what the rule learns as learnt_0 …"""
        weights: Labelled = {f"W_{l}": ((f"n_{l}", f"n_{l - 1}"), W) for l, W in enumerate(state.weights, 1)}
        return weights | {
            f"learnt_{i}": ((f"learnt_{i}_row", f"learnt_{i}_column"), B) for i, B in enumerate(state.learnt)
        }

    def alignments(self, state: State, batch: Samples, step: int | None) -> Labelled:
        """Return cos(B_l, W_l) by feedback layer (direct feedback: cos(F_l, W_L … W_{l+1})) and cos(U_l, −∇_l)."""
        xp = array_namespace(state.weights[0])
        updates = self.passes(state, batch, step).updates()
        gradients = Full(self.weights, Backprop()).passes(State(state.weights), batch).updates()
        found: Labelled = {
            "update_alignment": (
                ("layer",),
                xp.stack([cosine(u, g) for u, g in zip(updates, gradients, strict=True)], axis=-1),
            )
        }
        pairs = [xp.broadcast_to(cosine(B, W), self.lead) for B, W in self.rule.at(step).stand_ins(state)]
        aligned = xp.stack(pairs, axis=-1) if pairs else like(np.zeros((*self.lead, 0)), state.weights[0])
        return found | {"weight_alignment": (("feedback_layer",), aligned)}
