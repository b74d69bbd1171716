"""What a learning rule is: it says how the error comes back, and how its own feedback moves if it learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, eye, norm
from linfa.errors import InputError
from linfa.rules.potential import Potential
from linfa.weights import Weights


class State(NamedTuple):
    """What evolves: the weights W_1 … W_L, and whatever the rule itself learns (often nothing).

    A velocity and a step have the same shape, so they are States too.
    """

    weights: tuple[Array, ...]
    learnt: tuple[Array, ...] = ()

    def plus(self, factor: Any, other: State) -> State:
        """Return self + factor · other."""
        return State(
            tuple(a + factor * b for a, b in zip(self.weights, other.weights, strict=True)),
            tuple(a + factor * b for a, b in zip(self.learnt, other.learnt, strict=True)),
        )

    def map(self, change: Callable[[Array], Array]) -> State:
        """Return the state with `change` applied to every part."""
        return State(tuple(change(a) for a in self.weights), tuple(change(a) for a in self.learnt))

    def times(self, factor: Any) -> State:
        """Return factor · self."""
        return self.map(lambda a: factor * a)

    def norms(self) -> State:
        """Return the Frobenius norm of every part."""
        return self.map(norm)


class Passes(NamedTuple):
    """One forward and one backward pass over N samples, one sample per row."""

    activities: tuple[Array, ...]
    """h_0 … h_L, `h_l` of shape (..., N, n_l); h_L is the output f."""
    signals: tuple[Array, ...]
    """δ_1 … δ_L, `δ_l` of shape (..., N, n_l), each sample's share of the mean included."""

    def updates(self) -> tuple[Array, ...]:
        """Return U_l = δ_lᵀ h_{l−1}."""
        return tuple(d.mT @ h for d, h in zip(self.signals, self.activities, strict=False))


class AbstractRule(ABC):
    """How the error comes back: δ_L ↦ (δ_1, …, δ_L). A rule never mutates itself.

    Signals have one sample per row: δ_l has shape (..., N, n_l), and the update is U_l = δ_lᵀ h_{l−1}.
    """

    name: ClassVar[str]
    """The registry name."""

    autonomous: ClassVar[bool] = True
    """Whether the rule is the same at every step; continuous time needs that."""

    layerwise: ClassVar[bool] = False
    """Whether the feedback stands in for W_2 … W_L, layer by layer."""

    fixed_path: ClassVar[bool] = False
    """Whether the feedback path M_l (δ_l = δ_L M_lᵀ) never moves, as `laws.fixed_path` needs."""

    @abstractmethod
    def signals(self, state: State, delta: Float[Any, "*batch N p"]) -> tuple[Array, ...]:
        """Return the error signals δ_1 … δ_L that the output's signal δ_L becomes."""

    @abstractmethod
    def stand_ins(self, state: State) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (feedback, what backprop would use in its place): alignment is their cosine."""

    @abstractmethod
    def potential(self, k: int) -> Potential:
        """Return the potential Φ with B = ∇Φ that belongs to the k-th of the `readers` (k = 0 for hidden layer 1).

        Raises:
            NoLawError: where the feedback is no gradient; the message is the reason.

        """

    @abstractmethod
    def check(self, weights: Weights) -> None:
        """Raise InputError where the rule does not fit a network."""

    def at(self, step: int | None) -> AbstractRule:
        """Return the rule as it stands at a step (None: in continuous time). Most rules ignore the step."""
        return self

    def start(self, weights: Weights) -> tuple[Array, ...]:
        """Return what the rule learns, as it is at the start; nothing for most rules."""
        return ()

    def motion(self, updates: tuple[Array, ...], passes: Passes) -> tuple[Array, ...]:
        """Return the velocity of what is learnt, from the updates U_1 … U_L and the passes that made them."""
        return ()

    def readers(self, state: State) -> tuple[Array, ...]:
        """Return what the potentials are evaluated on: W_2 … W_L for most rules."""
        return state.weights[1:]

    def signal_norms(self, state: State, signals: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return a bound for each δ_l on the magnitudes that rounding acts on while it is computed."""
        return tuple(norm(d) for d in signals)

    def paths(self, state: State) -> tuple[Float[Any, ...], ...]:
        """Return the feedback paths M_1 … M_L = I, `M_l` of shape (..., n_l, p): δ_l = δ_L M_lᵀ."""
        p = state.weights[-1].shape[-2]
        return tuple(d.mT for d in self.signals(state, eye(p, state.weights[-1])))


class AbstractLayerwise(AbstractRule):
    """A rule that sends the error back layer by layer, δ_l = δ_{l+1} B_{l+1}: B_{l+1} stands in for W_{l+1}."""

    layerwise: ClassVar[bool] = True

    @abstractmethod
    def feedback(self, state: State) -> tuple[Float[Any, ...], ...]:
        """Return B_2 … B_L, each of the shape of the W_l it stands in for."""

    def signals(self, state: State, delta: Float[Any, "*batch N p"]) -> tuple[Array, ...]:
        """Return δ_1 … δ_L by δ_l = δ_{l+1} B_{l+1}."""
        signals = [delta]
        for B in reversed(self.feedback(state)):
            signals.append(signals[-1] @ B)
        return tuple(reversed(signals))

    def stand_ins(self, state: State) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (B_l, W_l), l = 2 … L."""
        return tuple(zip(self.feedback(state), state.weights[1:], strict=True))


def check_feedback(name: str, feedback: tuple[Array, ...], shapes: tuple[tuple[int, int], ...], first: int) -> None:
    """Raise InputError unless the feedback matrices have the given shapes and finite entries.

    Args:
        name: the letter in messages, B or F.
        feedback: the matrices.
        shapes: the last two axes of each.
        first: the layer index of the first matrix.

    """
    if len(feedback) != len(shapes):
        raise InputError(
            f"this network needs {len(shapes)} feedback matrices, {name}_{first} first; got {len(feedback)}"
        )
    for l, (B, shape) in enumerate(zip(feedback, shapes, strict=True), first):
        if tuple(B.shape[-2:]) != tuple(shape):
            raise InputError(f"{name}_{l} must have shape {tuple(shape)}; got {tuple(B.shape)}")
        xp = array_namespace(B)
        if not bool(xp.all(xp.isfinite(B))):
            raise InputError(f"every feedback weight must be finite; {name}_{l} holds nan or inf")
