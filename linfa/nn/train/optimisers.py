"""Which optimiser, as a frozen recipe; torch's own does the steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from linfa.errors import InputError
from linfa.solvers.interface import is_real
from linfa.solvers.schedules import AbstractSchedule, as_schedule


class AbstractOptimiser(ABC):
    """A recipe for an optimiser."""

    @abstractmethod
    def rate(self, epoch: int) -> float:
        """Return the learning rate η of an epoch, counted from 0."""

    @abstractmethod
    def over(self, model: nn.Module) -> Optimizer:
        """Return torch's optimiser of what is trained in a model, at the rate of epoch 0."""


Decay = float | Mapping[str, float]
"""λ of all parameters; or by the name of a module, of its parameters: what is not named does not decay."""


@dataclass(frozen=True)
class SGD(AbstractOptimiser):
    """Stochastic gradient descent, v ← μv + (∇ + λW), W ← W − ηv.

    Args:
        learning_rate: η, a number or a schedule over epochs (`linfa.Constant`, `linfa.StepDecay`, `linfa.Cosine`).
        momentum: 0 ≤ μ < 1.
        decay: λ ≥ 0, coupled; one for all, or by the names of layers.

    >>> import linfa
    >>> sgd = SGD(linfa.StepDecay(0.1, milestones=(50, 75)), momentum=0.9, decay=1e-3)
    >>> [round(sgd.rate(e), 4) for e in (0, 49, 50, 75)]
    [0.1, 0.1, 0.01, 0.001]
    """

    learning_rate: float | AbstractSchedule
    momentum: float = 0.0
    decay: Decay = 0.0

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        _check(self.decay)
        if not (is_real(self.momentum) and 0 <= self.momentum < 1):
            raise InputError(f"momentum must satisfy 0 ≤ μ < 1; got {self.momentum!r}")

    def rate(self, epoch: int) -> float:
        """Return η of an epoch."""
        return float(as_schedule(self.learning_rate)(epoch))

    def over(self, model: nn.Module) -> Optimizer:
        """Return torch.optim.SGD."""
        return torch.optim.SGD(_groups(model, self.decay), lr=self.rate(0), momentum=self.momentum)


@dataclass(frozen=True)
class Adam(AbstractOptimiser):
    """Adam (Kingma & Ba 2015), with decay coupled as there, or decoupled (Loshchilov & Hutter 2019).

    Args:
        learning_rate: η, a number or a schedule over epochs.
        decay: λ ≥ 0; one for all, or by the names of layers.
        decoupled: whether the decay passes the moments by (AdamW).
        betas: of the two moments.
        epsilon: below which the second moment counts no more.
    """

    learning_rate: float | AbstractSchedule = 1e-3
    decay: Decay = 0.0
    decoupled: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        _check(self.decay)
        if not (isinstance(self.betas, tuple) and all(is_real(beta) and 0 <= beta < 1 for beta in self.betas)):
            raise InputError(f"betas must satisfy 0 ≤ β < 1, a pair of numbers; got {self.betas!r}")

    def rate(self, epoch: int) -> float:
        """Return η of an epoch."""
        return float(as_schedule(self.learning_rate)(epoch))

    def over(self, model: nn.Module) -> Optimizer:
        """Return torch.optim.Adam or AdamW."""
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return kind(_groups(model, self.decay), lr=self.rate(0), betas=self.betas, eps=self.epsilon)


def _check(decay: Decay) -> None:
    for each in decay.values() if isinstance(decay, Mapping) else (decay,):
        if not (is_real(each) and math.isfinite(each) and each >= 0):
            raise InputError(f"decay must be finite and ≥ 0; got {each!r}")


def _groups(model: nn.Module, decay: Decay) -> list[dict[str, Any]]:
    """Return what is trained, a group for each λ.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> [(g["weight_decay"], len(g["params"])) for g in _groups(net, {"1": 0.1})]
    [(0.0, 2), (0.1, 2)]
    """
    free = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not isinstance(decay, Mapping):
        return [{"params": list(free.values()), "weight_decay": decay}]
    modules = dict(model.named_modules())
    if unknown := [name for name in decay if not name or name not in modules]:
        raise InputError(
            f"decay is given by the names of modules, {', '.join(n for n in modules if n)}; got {', '.join(unknown)}"
        )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in free.items():
        groups.setdefault(decay.get(_nearest(name, decay), 0.0), []).append(parameter)
    return [{"params": each, "weight_decay": λ} for λ, each in groups.items()]


def _nearest(parameter: str, named: Mapping[str, float]) -> str:
    """Return the innermost of the named modules that holds a parameter; "" where none does."""
    return max((name for name in named if parameter.startswith(f"{name}.")), key=len, default="")
