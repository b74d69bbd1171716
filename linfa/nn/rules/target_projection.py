"""Direct random target projection: hidden layers learn from the target, not from the error (Frenkel et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from linfa.nn.draws import AbstractDraw, FanIn
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.seeded import SeededProjected
from linfa.nn.targets import AbstractProjected, Projected


@dataclass(frozen=True)
class TargetProjection(AbstractRule):
    """DRTP: ḣ_l = −F_lᵀ y* with F_l fixed and random; train inside `linfa.nn.targets(model, y)`.

    Args:
        draw: the law of F_l, of shape (outputs, numbers in h_l).
        seeded: draw F_l anew in every forward pass and hold no memory; same numbers.
    """

    name: ClassVar[str] = "drtp"
    draw: AbstractDraw = field(default_factory=FanIn)
    seeded: bool = False

    def feedback(self, layer: nn.Module, place: Place) -> AbstractProjected:
        """Return the feedback of one layer, drawn for its place."""
        shape = place.across("target projection")
        W = layer.weight
        assert isinstance(W, Tensor)
        if self.seeded:
            return SeededProjected(self.draw, place.seed, shape, W.dtype)
        return Projected(self.draw(shape, place.seed, W.dtype, W.device))

    def sized(self, layer: nn.Module) -> bool:
        """Return True: there is one column for every number that comes in."""
        return True
