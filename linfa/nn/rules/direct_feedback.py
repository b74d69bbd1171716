"""Direct feedback alignment: the output's error goes to every layer through a matrix of its own (Nøkland 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from linfa.nn.direct import AbstractDirect, Direct
from linfa.nn.draws import AbstractDraw, FanIn
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.seeded import SeededDirect


@dataclass(frozen=True)
class DirectFeedback(AbstractRule):
    """DFA: ḣ_l = F_lᵀ ė with F_l fixed and random.

    Args:
        draw: the law of F_l, of shape (outputs, numbers in h_l).
        seeded: draw F_l anew in every backward pass and hold no memory; same numbers.

    >>> place = Place("fc", seed=0, inputs=(4,), final=(2,))
    >>> DirectFeedback().feedback(nn.Linear(4, 3), place).F.shape
    torch.Size([2, 4])
    """

    name: ClassVar[str] = "dfa"
    direct: ClassVar[bool] = True
    draw: AbstractDraw = field(default_factory=FanIn)
    seeded: bool = False

    def feedback(self, layer: nn.Module, place: Place) -> AbstractDirect:
        """Return the feedback of one layer, drawn for its place."""
        shape = place.across("direct feedback")
        W = layer.weight
        assert isinstance(W, Tensor)
        if self.seeded:
            return SeededDirect(self.draw, place.seed, shape)
        return Direct(self.draw(shape, place.seed, W.dtype, W.device))

    def sized(self, layer: nn.Module) -> bool:
        """Return True: there is one column for every number that comes in."""
        return True
