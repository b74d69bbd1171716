"""Product feedback alignment: B = R P with P fixed, and R learning where the weight does (Li & Benna 2024)."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.draws import AbstractDraw, FanIn, Xavier, seed_of
from linfa.nn.feedback import LinearMap
from linfa.nn.functional import Made
from linfa.nn.learnt import AbstractLearnt
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.rules.potential import Potential
from linfa.solvers.interface import is_whole


class Product(AbstractLearnt):
    """B = R P, W laid out with one row per output; Ṙ = U Pᵀ, so that R − W Pᵀ stays put where nothing decays."""

    R: Tensor
    P: Tensor

    def __init__(self, R: Tensor, P: Tensor) -> None:
        super().__init__(rate=None)
        self.register_buffer("R", R)
        self.register_buffer("P", P)

    def stand_in(self, W: Tensor) -> Made:
        """Return how R P is made, in the weight's shape."""
        return Made(functools.partial(_product, W.shape), (self.R, self.P))

    def learnt(self) -> Tensor:
        """Return R."""
        return self.R

    def pull(self, layer: LinearMap) -> Tensor | None:
        """Return ∂ℓ/∂W Pᵀ."""
        g = layer.weight.grad
        return None if g is None else g.flatten(1) @ self.P.mT

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: what is conserved belongs to the layer as a whole."""
        raise NoLawError(
            f"{self.rule}: ½‖W_l‖² − ½‖R_{{l+1}}‖² is conserved for a layer as a whole, not for each of its channels"
        )


def _product(shape: torch.Size, R: Tensor, P: Tensor) -> Tensor:
    return (R @ P).view(shape)


@dataclass(frozen=True)
class ProductFeedback(AbstractRule):
    """PFA: B = R P; `linfa.nn.follow(model, optimizer)` moves R.

    Args:
        rank: how many columns R has; None for as many as W.
        draw: the law of P.
        start: the law of R(0).
    """

    name: ClassVar[str] = "pfa"
    rank: int | None = None
    draw: AbstractDraw = field(default_factory=FanIn)
    start: AbstractDraw = field(default_factory=Xavier)

    def __post_init__(self) -> None:
        if self.rank is not None and not is_whole(self.rank):
            raise InputError(f"rank is a whole number ≥ 1, or None; got {self.rank}")

    def feedback(self, layer: nn.Module, place: Place) -> Product:
        """Return the feedback of one layer, drawn for its place."""
        W = layer.weight
        assert isinstance(W, Tensor)
        rows, columns = W.shape[0], W[0].numel()
        rank = self.rank or columns
        R = self.start((rows, rank), seed_of(place.seed, "R"), W.dtype, W.device)
        return Product(R, self.draw((rank, columns), seed_of(place.seed, "P"), W.dtype, W.device))
