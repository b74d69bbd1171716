"""Feedback that carries the target in the error's place: a hidden layer need not wait for the output at all."""

# ruff: noqa: ARG004 — torch calls every node with the same arguments

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.feedback import AbstractFeedback, LinearMap
from linfa.nn.layers import Fed
from linfa.nn.nodes import fresh, once
from linfa.rules.potential import Potential


class _Impose(torch.autograd.Function):
    """The identity on z; sends h a signal that has nothing to do with ż."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, h: Tensor, signal: Tensor) -> Tensor:
        return fresh(z, z.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        h, signal = ctx.saved_tensors  # what the signal is made into depends on h
        return *once(gradients[0], signal, behind=h), None


class AbstractProjected(AbstractFeedback):
    """ḣ = −Fᵀ y*/N for a batch of N targets y*: what descends then moves h towards Fᵀ y*."""

    shape: tuple[int, ...]
    """(numbers in one target, numbers in one sample's h), of F."""
    target: Tensor | None = None
    """y*, shape (N, numbers in one target); set by `targets`."""

    @abstractmethod
    def projection(self, h: Tensor) -> Tensor:
        """Return F, in the precision of h where it is drawn."""

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z, made from h without its history; h is sent the projected target."""
        z = layer.truly(h.detach())
        if not h.requires_grad:
            return z
        if self.target is None or len(self.target) != len(h):
            found = "none" if self.target is None else f"{len(self.target)}"
            raise InputError(
                f"{self.rule} sends targets back: train inside `with linfa.nn.targets(model, y):` with one y for each "
                f"of the {len(h)} samples; got {found}"
            )
        signal = -(self.target.to(h.dtype) @ self.projection(h).to(h.dtype)).view(h.shape) / len(h)
        return _Impose.apply(z, h, signal)  # type: ignore[no-any-return, no-untyped-call]

    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> None:
        """Return None: what h receives does not come from ż."""
        return

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: the signal does not come through W."""
        raise NoLawError(f"{self.rule}: the targets do not come through the layer above, so nothing is traded with it")


class Projected(AbstractProjected):
    """The same, kept as a buffer.

    Args:
        F: shape (numbers in one target, numbers in one sample's h).
    """

    F: Tensor

    def __init__(self, F: Tensor) -> None:
        super().__init__()
        self.register_buffer("F", F)
        self.shape = tuple(F.shape)

    def projection(self, h: Tensor) -> Tensor:
        """Return F."""
        return self.F


@contextmanager
def targets(model: nn.Module, y: Tensor) -> Iterator[None]:
    """Give a model the targets that its feedback sends back, for as long as the block lasts.

    Args:
        model: a converted model; one whose rule sends errors back is left alone.
        y: class numbers, shape (N,), or the targets themselves, shape (N, numbers in one target).

    >>> from linfa.nn import convert
    >>> net = convert(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), "drtp", example=torch.ones(1, 2))
    >>> with targets(net, torch.tensor([1])):
    ...     net(torch.ones(1, 2)).sum().backward()
    >>> bool(torch.equal(net[0].bias.grad, -net[1].feedback.F[1]))
    True
    """
    places = [m.feedback for m in model.modules() if isinstance(m, Fed) and isinstance(m.feedback, AbstractProjected)]
    try:
        for place in places:
            one_hot = y.ndim == 1 and not y.is_floating_point()
            place.target = nn.functional.one_hot(y, place.shape[0]) if one_hot else y.reshape(len(y), -1)
        yield
    finally:
        for place in places:
            place.target = None
