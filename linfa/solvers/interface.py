"""What a solver is: it lets time pass, and tells the recorder what it saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from linfa.errors import DivergenceError
from linfa.laws.ledger import Ledger
from linfa.rules.interface import State
from linfa.systems.interface import AbstractSystem
from linfa.task import Task


@runtime_checkable
class Recorder(Protocol):
    """Where a solver reports to."""

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        """The ledgers that want to see every step."""
        ...

    def save(self, time: float, step: int, state: State) -> None:
        """Record the observables (and, when asked, the state) of a moment."""
        ...

    def advance(self, fraction: float) -> None:
        """Show how much of the run is done, 0 … 1."""
        ...


class Outcome(NamedTuple):
    """How a run ended."""

    status: str
    """One word or two: what made it stop."""
    evaluations: int
    """How often the velocity was computed."""
    steps: int
    """How many steps were taken."""
    pieces: tuple[Any, ...] = ()
    """SciPy's interpolants, one per step, where they were asked for."""


class AbstractSolver(ABC):
    """How time passes. A solver is a frozen configuration: the same one gives the same run."""

    stepped: ClassVar[bool]
    """Whether time passes in finite steps, whose effect on a law the ledger must account for."""

    @abstractmethod
    def moments(self) -> int:
        """Return how many moments will be saved, at most."""

    @abstractmethod
    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Let time pass from the system's start; report to the recorder.

        Raises:
            DivergenceError: where the weights leave the finite numbers.
        """


def save_steps(steps: int, saves: int) -> np.ndarray:
    """Return the steps 0 … steps at which to save, evenly spread, both ends included.

    >>> save_steps(10, 4).tolist()
    [0, 2, 5, 8, 10]
    """
    return np.unique(np.round(np.linspace(0, steps, min(saves, steps) + 1)).astype(int))


def diverged(system: AbstractSystem, state: State, when: str, advice: str) -> DivergenceError:
    """Return the error for a state, or an output, that is no longer finite."""
    number = system.finite(state)
    where = list(system.parts(state))[number - 1] if number else "the output"
    return DivergenceError(f"the run diverged: {where} is no longer finite {when}; {advice}")
