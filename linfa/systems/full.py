"""The full system: every weight evolves, Ẇ_l = U_l = E[δ_l h_{l−1}ᵀ], under any rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.weights import Weights


class Samples(Protocol):
    """What a system asks of a batch: inputs, and the signal that the outputs send back."""

    @property
    def inputs(self) -> Array:
        """h_0, shape (N, n_0)."""
        ...

    def signal(self, outputs: Array) -> Array:
        """Return δ_L, each sample's share of the mean included."""
        ...

    def value(self, outputs: Array) -> Array:
        """Return the mean loss."""
        ...


@dataclass(frozen=True, eq=False)
class Full:
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

    def start(self) -> State:
        """Return the state at time zero: the weights, and what the rule learns."""
        return State(self.weights.matrices, self.rule.start(self.weights))

    def check(self, n_in: int, n_out: int) -> None:
        """Raise InputError unless the network's ends fit a task."""
        widths = self.weights.widths
        if (widths[0], widths[-1]) != (n_in, n_out):
            raise InputError(
                f"the task goes from {n_in} inputs to {n_out} outputs; the network has widths {widths}: "
                f"its first must be {n_in} and its last {n_out}"
            )

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

    def lift(self, state: State) -> Weights:
        """Return the weights of a state."""
        return Weights(state.weights, self.weights.origin)

    def finite(self, state: State) -> int | None:
        """Return the first layer whose weights are not finite, or None."""
        for l, W in enumerate(state.weights, 1):
            xp = array_namespace(W)
            if not bool(xp.all(xp.isfinite(W))):
                return l
        return None
