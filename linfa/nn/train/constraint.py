"""Weights whose norm is held where it was at the start: W ← W ‖W(0)‖/‖W‖, after every step and in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.layers import FED


class HeldNorms:
    """Hold the Frobenius norm of every linear and convolutional weight.

    A weight stays the tensor that the optimiser knows; replaced by another one, it would be trained no more.

    Args:
        model: its norms now are the ones that are held.

    Raises:
        InputError: where a weight is zero.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> norm, held = layer.weight.detach().norm(), HeldNorms(layer)
    >>> _ = layer.weight.data.mul_(3)
    >>> held.step()
    >>> bool(torch.isclose(layer.weight.detach().norm(), norm))
    True

    Source: Moskovitz, Litwin-Kumar & Abbott 2018.
    """

    def __init__(self, model: nn.Module) -> None:
        layers: list[tuple[str, Any]] = [(n, m) for n, m in model.named_modules() if isinstance(m, tuple(FED))]
        named = {id(layer.weight): (name, layer.weight) for name, layer in layers}
        self.weights: list[Tensor] = [W for _, W in named.values()]
        self.norms = [W.detach().norm() for W in self.weights]
        for (name, _), norm in zip(named.values(), self.norms, strict=True):
            if not norm > 0:
                raise InputError(f"the norm of {name or 'the model'} cannot be held: its weight is zero at the start")

    @torch.no_grad()
    def step(self) -> None:
        """Bring every weight back to its norm."""
        for W, norm in zip(self.weights, self.norms, strict=True):
            W.mul_(norm / W.norm())

    def state_dict(self) -> dict[str, Any]:
        """Return the norms."""
        return {"norms": list(self.norms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take norms that were held before."""
        self.norms = [norm.to(W.device) for norm, W in zip(state["norms"], self.weights, strict=True)]
