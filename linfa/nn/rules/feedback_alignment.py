"""Feedback alignment: B is drawn once and never moves (Lillicrap et al. 2016)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import AbstractDraw, Xavier
from linfa.nn.feedback import AbstractDense, AbstractFeedback, AbstractSlot, Dense, check_shape
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.seeded import Seeded, SeededDense
from linfa.rules.potential import Potential
from linfa.solvers.interface import is_real


class Fixed(AbstractSlot):
    """A fixed feedback tensor, kept as a buffer.

    Args:
        W: the weight it stands in for.
        B: of the same shape.
    """

    B: Tensor

    def __init__(self, W: Tensor, B: Tensor) -> None:
        super().__init__()
        check_shape(W, B, "the feedback")
        self.register_buffer("B", B.detach().clone())

    def stand_in(self, W: Tensor) -> Tensor:
        """Return B."""
        return self.B

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = ⟨B, W⟩."""
        return Potential(linear=self.B)


@dataclass(frozen=True)
class FeedbackAlignment(AbstractRule):
    """B fixed and random; with ρ > 0 it starts aligned, B = ρ W(0) + √(1−ρ²) B̃.

    Args:
        draw: the law of B: `Xavier()` (BioTorch), `Gaussian(0.01)` (Lance & Kieu 2026), `FanIn()`, `Uniform(0.5)`.
        rho: ρ, between −1 and 1.
        seeded: draw B anew in every backward pass and hold no memory; same numbers.
        dense: for convolutions, a matrix between flattened maps (Moskovitz et al. 2018) in place of a kernel.

    >>> layer = nn.Linear(3, 2)
    >>> FeedbackAlignment().feedback(layer, Place("fc", seed=0)).B.shape
    torch.Size([2, 3])
    """

    name: ClassVar[str] = "fa"
    draw: AbstractDraw = field(default_factory=Xavier)
    rho: float = 0.0
    seeded: bool = False
    dense: bool = False

    def __post_init__(self) -> None:
        if not (is_real(self.rho) and -1 <= self.rho <= 1):
            raise InputError(f"rho is a correlation, −1 ≤ ρ ≤ 1; got {self.rho!r}")
        if self.rho and (self.seeded or self.dense):
            raise InputError("rho ties B to the weight's start, which a seeded or a dense feedback does not know")

    def feedback(self, layer: nn.Module, place: Place) -> AbstractFeedback:
        """Return the feedback of one layer, drawn for its place."""
        W = layer.weight
        assert isinstance(W, Tensor)
        if self.dense and W.ndim > 2:
            return self._dense(W, place)
        if self.seeded:
            return Seeded(self.draw, place.seed)
        B = self.draw(W.shape, place.seed, W.dtype, W.device)
        with torch.no_grad():
            return Fixed(W, self.rho * W + math.sqrt(1 - self.rho**2) * B if self.rho else B)

    def sized(self, layer: nn.Module) -> bool:
        """Return whether the layer's feedback is dense between maps."""
        W = layer.weight
        assert isinstance(W, Tensor)
        return self.dense and W.ndim > 2

    def _dense(self, W: Tensor, place: Place) -> AbstractDense:
        if place.inputs is None or place.outputs is None:
            raise InputError(
                f"dense feedback for {place.name!r} needs the sizes of its maps: give convert an example batch, "
                "convert(model, rule, example=batch)"
            )
        shape = (math.prod(place.outputs), math.prod(place.inputs))
        if self.seeded:
            return SeededDense(self.draw, place.seed, shape)
        return Dense(self.draw(shape, place.seed, W.dtype, W.device))
