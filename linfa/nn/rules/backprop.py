"""Backprop, and what interpolates towards it: B = α W + (1 − α) B_0."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import AbstractDraw, Xavier
from linfa.nn.feedback import AbstractFeedback, AbstractSlot, check_shape
from linfa.nn.functional import Made
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.rules.potential import Potential


class Transported(AbstractSlot):
    """B = W: the true gradient."""

    def stand_in(self, W: Tensor) -> Tensor:
        """Return W."""
        return W.detach()

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = ½‖W‖²."""
        return Potential(alpha=1.0)


class Mixed(AbstractSlot):
    """B = α W + (1 − α) B_0."""

    B0: Tensor

    def __init__(self, W: Tensor, B0: Tensor, alpha: float) -> None:
        super().__init__()
        check_shape(W, B0, "B_0")
        self.alpha = alpha
        self.register_buffer("B0", B0)

    def stand_in(self, W: Tensor) -> Made:
        """Return α W + (1 − α) B_0."""
        return Made(functools.partial(torch.lerp, weight=self.alpha), (self.B0, W.detach()))

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = ½α‖W‖² + (1 − α)⟨B_0, W⟩."""
        return Potential(alpha=self.alpha, linear=(1 - self.alpha) * self.B0)


@dataclass(frozen=True)
class Backprop(AbstractRule):
    """B = W, through the same node as every other rule: the reference."""

    name: ClassVar[str] = "bp"

    def feedback(self, layer: nn.Module, place: Place) -> AbstractFeedback:
        """Return B = W."""
        return Transported()


@dataclass(frozen=True)
class Interpolated(AbstractRule):
    """B = α W + (1 − α) B_0 with the moving W.

    Args:
        alpha: α, 0 (feedback alignment) … 1 (backprop).
        draw: the law of B_0.

    >>> layer = nn.Linear(3, 2)
    >>> feedback = Interpolated(alpha=1.0).feedback(layer, Place("fc", seed=0))
    >>> bool(torch.equal(feedback.matrix(layer.weight), layer.weight.detach()))
    True
    """

    name: ClassVar[str] = "interpolated"
    alpha: float = 0.5
    draw: AbstractDraw = field(default_factory=Xavier)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must satisfy 0 ≤ α ≤ 1; got {self.alpha}")

    def feedback(self, layer: nn.Module, place: Place) -> Mixed:
        """Return α W + (1 − α) B_0."""
        W = layer.weight
        assert isinstance(W, Tensor)
        return Mixed(W, self.draw(W.shape, place.seed, W.dtype, W.device), self.alpha)
