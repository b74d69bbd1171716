"""Kolen–Pollack: the feedback makes the same steps as the weight, so that decay makes them one (Akrout et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from linfa.nn.draws import AbstractDraw, Xavier
from linfa.nn.feedback import LinearMap, check_shape
from linfa.nn.learnt import AbstractLearnt
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.rules.potential import Potential


class Twin(AbstractLearnt):
    """B with Ḃ = Ẇ, the weight's decay included: B − W = (B − W)(0) e^{−λt}."""

    B: Tensor

    def __init__(self, W: Tensor, B: Tensor) -> None:
        super().__init__(rate=None)
        check_shape(W, B, "the feedback")
        self.register_buffer("B", B.detach().clone())

    def stand_in(self, W: Tensor) -> Tensor:
        """Return B."""
        return self.B

    def learnt(self) -> Tensor:
        """Return B."""
        return self.B

    def pull(self, layer: LinearMap) -> Tensor | None:
        """Return ∂ℓ/∂W."""
        return layer.weight.grad

    def reader(self, W: Tensor) -> Tensor:
        """Return B: the law trades ½‖W_l[k,:]‖² against ½‖B_{l+1}[:,k]‖²."""
        return self.B

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = ½‖B‖², on the moving B."""
        return Potential(alpha=1.0)


@dataclass(frozen=True)
class KolenPollack(AbstractRule):
    """B starts at random and moves as W does; `linfa.nn.follow(model, optimizer)` moves it.

    Args:
        draw: the law of B(0).
    """

    name: ClassVar[str] = "kp"
    draw: AbstractDraw = field(default_factory=Xavier)

    def feedback(self, layer: nn.Module, place: Place) -> Twin:
        """Return the feedback of one layer, drawn for its place."""
        W = layer.weight
        assert isinstance(W, Tensor)
        return Twin(W, self.draw(W.shape, place.seed, W.dtype, W.device))
