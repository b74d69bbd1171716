"""Two routes to scalable credit assignment: local costs from five primitives (Kunin et al. 2020).

For a layer with input h, weight W and feedback B (of W's shape, used transposed), means over the batch:

    decay   ‖W‖² + ‖B‖²              sparse  ‖W h‖² + ‖B h‖²          null  ‖Bᵀ W h‖² + ‖Wᵀ B h‖²
    self    −⟨B, W⟩                  amp     −⟨B h, W h⟩

    Symmetric    α decay + β self        Activation   α sparse + β amp
    Mirror       α decay + β amp         Information  α amp + β null + γ decay

Their code (neuroailab/Neural-Alignment) moves B alone by default, as is done here; of `null` it keeps ‖Bᵀ W h‖² only.
"""

# ruff: noqa: ARG001 — every primitive is called with the same four arguments

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import AbstractDraw, Xavier
from linfa.nn.feedback import LinearMap
from linfa.nn.learnt import AbstractLearnt
from linfa.nn.rules.interface import AbstractRule, Place

Map = Callable[[Tensor, Tensor], Tensor]
"""(what a weight's slot holds, h) ↦ its image."""


def decay(W: Tensor, B: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return ‖W‖² + ‖B‖²."""
    return W.square().sum() + B.square().sum()


def sparse(W: Tensor, B: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return mean ‖W h‖² + ‖B h‖²."""
    return (up(W, h).square().sum() + up(B, h).square().sum()) / len(h)


def itself(W: Tensor, B: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return −⟨B, W⟩."""
    return -(B * W).sum()


def amp(W: Tensor, B: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return −mean ⟨B h, W h⟩."""
    return -(up(B, h) * up(W, h)).sum() / len(h)


def null(W: Tensor, B: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return mean ‖Bᵀ W h‖² + ‖Wᵀ B h‖²."""
    return (_down(B, up(W, h), h, up).square().sum() + _down(W, up(B, h), h, up).square().sum()) / len(h)


def _down(slot: Tensor, z: Tensor, h: Tensor, up: Map) -> Tensor:
    """Return the transposed map of z: the derivative of ⟨slot h, z⟩ with respect to h."""
    h = h.detach().requires_grad_()
    return torch.autograd.grad((up(slot, h) * z).sum(), h, create_graph=True)[0]


PRIMITIVES = {"decay": decay, "sparse": sparse, "self": itself, "amp": amp, "null": null}
"""The five primitives by Kunin et al.'s names."""


class Route(AbstractLearnt):
    """B that descends a sum of primitives of the last training batch's input h; W is looked at, not moved."""

    B: Tensor

    def __init__(self, B: Tensor, costs: dict[str, float], rate: float) -> None:
        super().__init__(rate)
        self.costs = costs
        self.register_buffer("B", B)

    def stand_in(self, W: Tensor) -> Tensor:
        """Return B."""
        return self.B

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z; remember h while training."""
        if self.training:
            self.seen = h.detach()
        return super().forward(layer, h)

    def learnt(self) -> Tensor:
        """Return B."""
        return self.B

    def pull(self, layer: LinearMap) -> Tensor | None:
        """Return ∂R/∂B."""
        if self.seen is None:
            return None
        origin = layer.truly(torch.zeros_like(self.seen[:1]))  # what the bias adds

        def up(slot: Tensor, h: Tensor) -> Tensor:
            return layer.truly(h, slot) - origin

        with torch.enable_grad():
            B = self.B.detach().requires_grad_()
            W, h = layer.weight.detach(), self.seen
            cost = sum(weight * PRIMITIVES[name](W, B, h, up) for name, weight in self.costs.items())
            (pull,) = torch.autograd.grad(cost, B)  # type: ignore[arg-type]
        self.seen = None
        return pull


@dataclass(frozen=True)
class TwoRoutes(AbstractRule):
    """B descends α decay + … of its layer; `linfa.nn.follow(model, optimizer)` moves it.

    Args:
        costs: the coefficients by primitive (`decay`, `sparse`, `self`, `amp`, `null`).
        rate: the step size of B.
        draw: the law of B(0).
        name: the registry name of the combination.

    >>> TwoRoutes.symmetric().costs
    {'decay': 0.5, 'self': 1.0}
    """

    costs: dict[str, float]
    rate: float = 0.01
    draw: AbstractDraw = field(default_factory=Xavier)
    name: str = "two-routes"  # type: ignore[misc]
    direct: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.costs or not set(self.costs) <= set(PRIMITIVES):
            raise InputError(f"the primitives are {', '.join(PRIMITIVES)}; got {', '.join(self.costs) or 'none'}")
        if not all(math.isfinite(c) for c in (*self.costs.values(), self.rate)) or self.rate <= 0:
            raise InputError(f"needed are finite coefficients and a rate > 0; got {self.costs} and {self.rate}")

    @classmethod
    def symmetric(cls, alpha: float = 0.5, beta: float = 1.0, **how: Any) -> TwoRoutes:
        """Return α decay + β self: at rest B = β/(2α) W."""
        return cls({"decay": alpha, "self": beta}, name="symmetric", **how)

    @classmethod
    def activation(cls, alpha: float = 0.5, beta: float = 1.0, **how: Any) -> TwoRoutes:
        """Return α sparse + β amp: at rest B h = β/(2α) W h."""
        return cls({"sparse": alpha, "amp": beta}, name="activation", **how)

    @classmethod
    def mirror(cls, alpha: float = 0.5, beta: float = 1.0, **how: Any) -> TwoRoutes:
        """Return α decay + β amp: at rest B = β/(2α) W E[hhᵀ]."""
        return cls({"decay": alpha, "amp": beta}, name="route-mirror", **how)

    @classmethod
    def information(cls, alpha: float = 1.0, beta: float = 0.1, gamma: float = 0.5, **how: Any) -> TwoRoutes:
        """Return α amp + β null + γ decay."""
        return cls({"amp": alpha, "null": beta, "decay": gamma}, name="information", **how)

    def feedback(self, layer: nn.Module, place: Place) -> Route:
        """Return the feedback of one layer, drawn for its place."""
        W = layer.weight
        assert isinstance(W, Tensor)
        return Route(self.draw(W.shape, place.seed, W.dtype, W.device), dict(self.costs), self.rate)
