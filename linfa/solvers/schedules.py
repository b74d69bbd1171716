"""Learning rates over steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from linfa.errors import InputError
from linfa.solvers.interface import is_real, is_whole


class AbstractSchedule(ABC):
    """A learning rate η_k for every step k = 0, 1, …"""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return η_k."""


def _positive(rate: float) -> None:
    if not (is_real(rate) and math.isfinite(rate) and rate > 0):
        raise InputError(f"a learning rate must be finite and > 0; got {rate}")


@dataclass(frozen=True)
class Constant(AbstractSchedule):
    """η_k = η.

    >>> Constant(0.1)(7)
    0.1
    """

    rate: float

    def __post_init__(self) -> None:
        _positive(self.rate)

    def __call__(self, step: int) -> float:
        """Return η."""
        return self.rate


@dataclass(frozen=True)
class StepDecay(AbstractSchedule):
    """η_k = η · factor^(number of milestones ≤ k).

    >>> [StepDecay(1.0, (2, 4), 0.5)(k) for k in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    rate: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive(self.rate)
        _positive(self.factor)
        if not isinstance(self.milestones, tuple | list) or any(not (is_whole(m) or m == 0) for m in self.milestones):
            raise InputError(f"milestones are step numbers ≥ 0; got {self.milestones}")

    def __call__(self, step: int) -> float:
        """Return the rate after the milestones passed."""
        return self.rate * self.factor ** sum(step >= m for m in self.milestones)


@dataclass(frozen=True)
class Cosine(AbstractSchedule):
    """η_k = ½ η (1 + cos πk/K), from η down to zero over K steps (Loshchilov & Hutter 2017).

    >>> round(Cosine(1.0, 10)(5), 12)
    0.5
    """

    rate: float
    steps: int

    def __post_init__(self) -> None:
        _positive(self.rate)
        if not is_whole(self.steps):
            raise InputError(f"a cosine schedule needs at least one step; got {self.steps}")

    def __call__(self, step: int) -> float:
        """Return the rate at a step; zero from step K on."""
        return self.rate * (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2


def as_schedule(rate: float | AbstractSchedule) -> AbstractSchedule:
    """Return the schedule itself, or the constant one."""
    if isinstance(rate, AbstractSchedule):
        return rate
    if not is_real(rate):
        raise InputError(f"a learning rate is a number or a schedule; got {rate!r}")
    return Constant(float(rate))
