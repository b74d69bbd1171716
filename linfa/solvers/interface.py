"""What a solver is: it lets time pass, and tells the recorder what it saw."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from linfa.errors import InputError
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
    """How a run ended, member by member; for one network the arrays have the shape ()."""

    status: np.ndarray
    """In words what made each member stop: finished, steady, step cap reached (or foreseen) at t = …, or how it was
    lost."""
    reached: np.ndarray
    """The time each came to."""
    lost: np.ndarray
    """Who left the finite numbers, or could not be followed any further."""
    evaluations: int
    """How often the velocity was computed."""
    steps: int
    """How many steps were taken; where members choose their own, by the one that took most."""
    pieces: tuple[Any, ...] = ()
    """SciPy's interpolants, one per step, where they were asked for."""


class AbstractSolver(ABC):
    """How time passes. A solver is a frozen configuration: the same one gives the same run."""

    stepped: ClassVar[bool]
    """Whether time passes in finite steps, whose effect on a law the ledger must account for."""

    @abstractmethod
    def moments(self) -> int:
        """Return how many moments will be saved, at most."""

    def takes(self, system: AbstractSystem) -> AbstractSystem:
        """Return the system in the coordinates that this solver moves: as it is, unless the solver says otherwise."""
        return system

    @abstractmethod
    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Let time pass from the system's start; report to the recorder.

        A member of a batch whose weights leave the finite numbers is nan from there on, and the others go on as if it
        were not there. The run stops where no member is left; nothing is raised, the outcome says it.
        """


def is_whole(number: object) -> bool:
    """Return whether a number is whole and at least 1; True is no number.

    >>> is_whole(np.int64(3)), is_whole(2.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(number, int | np.integer) and not isinstance(number, bool) and bool(number >= 1)


def is_real(number: object) -> bool:
    """Return whether something is a real number, finite or not; True is none.

    >>> is_real(1), is_real(np.float32(0.5)), is_real("1"), is_real(True)
    (True, True, False, False)
    """
    return isinstance(number, int | float | np.integer | np.floating) and not isinstance(number, bool)


def check_whole(**numbers: object) -> None:
    """Raise InputError unless every number is whole and at least 1.

    >>> check_whole(steps=3, saves=2.5)
    Traceback (most recent call last):
    linfa.errors.InputError: steps and saves must be whole numbers ≥ 1; got 3 and 2.5
    """

    def listed(words: list[str]) -> str:
        return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

    if not all(map(is_whole, numbers.values())):
        must = "must be whole numbers" if len(numbers) > 1 else "must be a whole number"
        raise InputError(f"{listed(list(numbers))} {must} ≥ 1; got {listed([str(n) for n in numbers.values()])}")


def check_end(t: float) -> None:
    """Raise InputError unless t can be the end of time."""
    if not (is_real(t) and math.isfinite(t) and t > 0):
        raise InputError(f"the end of time must be finite and > 0; got t = {t}")


def check_steady(steady: float | None) -> None:
    """Raise InputError unless a speed at which a run stops can be met, or none is given."""
    if steady is not None and not (is_real(steady) and steady > 0):
        raise InputError(f"steady must be > 0, or None to run to the end; got {steady}")


def save_steps(steps: int, saves: int) -> np.ndarray:
    """Return the steps 0 … steps at which to save, evenly spread, both ends included.

    >>> save_steps(10, 4).tolist()
    [0, 2, 5, 8, 10]
    """
    return np.unique(np.round(np.linspace(0, steps, min(saves, steps) + 1)).astype(int))
