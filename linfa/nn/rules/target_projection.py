"""Direct random target projection: hidden layers learn from the target, not from the error (Frenkel et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from linfa.nn.draws import AbstractDraw, FanIn
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.targets import Projected


@dataclass(frozen=True)
class TargetProjection(AbstractRule):
    """DRTP: ḣ_l = −F_lᵀ y* with F_l fixed and random; train inside `linfa.nn.targets(model, y)`.

    Args:
        draw: the law of F_l, of shape (outputs, numbers in h_l).
    """

    name: ClassVar[str] = "drtp"
    draw: AbstractDraw = field(default_factory=FanIn)

    def feedback(self, layer: nn.Module, place: Place) -> Projected:
        """Return the feedback of one layer, drawn for its place."""
        shape = place.across("target projection")
        W = layer.weight
        assert isinstance(W, Tensor)
        return Projected(self.draw(shape, place.seed, W.dtype, W.device))

    def sized(self, layer: nn.Module) -> bool:
        """Return True: there is one column for every number that comes in."""
        return True
