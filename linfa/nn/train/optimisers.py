"""Which optimiser, as a frozen recipe; torch's own does the steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from linfa.errors import InputError
from linfa.solvers.schedules import AbstractSchedule, as_schedule


class AbstractOptimiser(ABC):
    """A recipe for an optimiser."""

    @abstractmethod
    def rate(self, epoch: int) -> float:
        """Return the learning rate η of an epoch, counted from 0."""

    @abstractmethod
    def over(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return torch's optimiser of these parameters, at the rate of epoch 0."""


@dataclass(frozen=True)
class SGD(AbstractOptimiser):
    """Stochastic gradient descent, v ← μv + (∇ + λW), W ← W − ηv.

    Args:
        learning_rate: η, a number or a schedule over epochs (`linfa.Constant`, `linfa.StepDecay`, `linfa.Cosine`).
        momentum: 0 ≤ μ < 1.
        decay: λ ≥ 0, coupled.

    >>> import linfa
    >>> sgd = SGD(linfa.StepDecay(0.1, milestones=(50, 75)), momentum=0.9, decay=1e-3)
    >>> [round(sgd.rate(e), 4) for e in (0, 49, 50, 75)]
    [0.1, 0.1, 0.01, 0.001]
    """

    learning_rate: float | AbstractSchedule
    momentum: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        _check(self.decay)
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must satisfy 0 ≤ μ < 1; got {self.momentum}")

    def rate(self, epoch: int) -> float:
        """Return η of an epoch."""
        return float(as_schedule(self.learning_rate)(epoch))

    def over(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return torch.optim.SGD."""
        return torch.optim.SGD(parameters, lr=self.rate(0), momentum=self.momentum, weight_decay=self.decay)


@dataclass(frozen=True)
class Adam(AbstractOptimiser):
    """Adam (Kingma & Ba 2015), with decay coupled as there, or decoupled (Loshchilov & Hutter 2019).

    Args:
        learning_rate: η, a number or a schedule over epochs.
        decay: λ ≥ 0.
        decoupled: whether the decay passes the moments by (AdamW).
        betas: of the two moments.
        epsilon: below which the second moment counts no more.
    """

    learning_rate: float | AbstractSchedule = 1e-3
    decay: float = 0.0
    decoupled: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        _check(self.decay)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas must satisfy 0 ≤ β < 1; got {self.betas}")

    def rate(self, epoch: int) -> float:
        """Return η of an epoch."""
        return float(as_schedule(self.learning_rate)(epoch))

    def over(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return torch.optim.Adam or AdamW."""
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return kind(parameters, lr=self.rate(0), betas=self.betas, eps=self.epsilon, weight_decay=self.decay)


def _check(decay: float) -> None:
    if not (math.isfinite(decay) and decay >= 0):
        raise InputError(f"decay must be finite and ≥ 0; got {decay}")
