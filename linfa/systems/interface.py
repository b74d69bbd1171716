"""What a system is: what evolves, how fast, and which weights its state stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.weights import Weights

Labelled = dict[str, tuple[tuple[str, ...], Array]]
"""Arrays by name, with the names of their axes (the axes that number the networks of a batch left out)."""


@runtime_checkable
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


class AbstractSystem(ABC):
    """What evolves. A state is a tuple of arrays; solvers add states and scale them, and know no more of them."""

    rule: AbstractRule
    """How the error comes back."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """n_0 … n_L."""

    @property
    @abstractmethod
    def lead(self) -> tuple[int, ...]:
        """The leading axes: the shape of a batch of networks, () for one."""

    @abstractmethod
    def start(self) -> State:
        """Return the state at time zero."""

    @abstractmethod
    def passes(self, state: State, batch: Samples, step: int | None = None) -> Passes:
        """Return the passes over a batch: h_0 first and the output last, the output's signal δ_L last."""

    @abstractmethod
    def velocity(self, state: State, passes: Passes) -> State:
        """Return the velocity of the state."""

    @abstractmethod
    def full(self, state: State) -> State:
        """Return the weights (and what the rule learns) that a state stands for; linear, so it takes velocities too."""

    @abstractmethod
    def sizes(self, state: State, passes: Passes) -> State:
        """Return, for each part of `full(velocity)`, a bound on the magnitudes that were added up to make it."""

    @abstractmethod
    def spread(self, state: State, error: float) -> State:
        """Return, for each part of `full(state)`, how far it moves at most where the state errs by a Frobenius norm."""

    @abstractmethod
    def parts(self, state: State) -> Labelled:
        """Return the arrays of a state by name, as a trajectory keeps them."""

    @abstractmethod
    def alignments(self, state: State, batch: Samples, step: int | None) -> Labelled:
        """Return the alignments that the state shows without being lifted, by name, with the axis of their layers."""

    def decaying(self) -> AbstractSystem:
        """Return the system as it must be simulated where weights decay."""
        return self

    def flowing(self) -> AbstractSystem:
        """Return the system as it is best simulated in continuous time by a method that knows nothing of laws."""
        return self

    def reach(self) -> State:
        """Return, for every number of a state, how far some weight matrix moves at most where it moves by one."""
        return self.start().map(lambda a: array_namespace(a).ones_like(a))

    @property
    def terms(self) -> int:
        """How many numbers are added up in a velocity, one sum after the other, samples apart."""
        return sum(self.widths)

    def moving(self, state: State) -> State:
        """Return the part of a state that moves in continuous time: what errors are relative to."""
        return state

    def lift(self, state: State) -> Weights:
        """Return the weights of a state, checked."""
        return Weights(self.full(state).weights)

    def check(self, n_in: int, n_out: int) -> None:
        """Raise InputError unless the network's ends fit a task."""
        if (self.widths[0], self.widths[-1]) != (n_in, n_out):
            raise InputError(
                f"the task goes from {n_in} inputs to {n_out} outputs; the network has widths {self.widths}: "
                f"its first must be {n_in} and its last {n_out}"
            )

    def finite(self, state: State) -> int | None:
        """Return the number (from 1) of the first part of a state that is not finite, or None."""
        for number, part in enumerate((*state.weights, *state.learnt), 1):
            xp = array_namespace(part)
            if not bool(xp.all(xp.isfinite(part))):
                return number
        return None
