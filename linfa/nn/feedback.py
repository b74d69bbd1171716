"""What one layer sends its error back through: a small module inside the layer, so that checkpoints hold it.

Three ways there are, and every rule is one of them with its own B:

    in the weight's slot    ḣ = Bᵀ ż,  B of the weight's shape        (`AbstractSlot`)
    densely                 ḣ = Bᵀ ż,  B between maps laid out flat   (`Dense`)
    directly                ḣ = Fᵀ ė,  F from the model's output      (`linfa.nn.direct`)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.functional import Feedback, send_back
from linfa.rules.potential import Potential


@runtime_checkable
class LinearMap(Protocol):
    """What a feedback asks of its layer."""

    weight: nn.Parameter

    def truly(self, h: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return z = W h + b, as torch does it."""
        ...

    def through(self, h: Tensor, B: Feedback) -> Tensor:
        """Return z = W h + b, with B in the weight's slot on the way back."""
        ...


class AbstractFeedback(nn.Module, ABC):
    """How a layer's error comes back."""

    rule: str = ""
    """The registry name of the rule, for messages and checkpoints."""

    @abstractmethod
    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return the layer's output z, wired so that its error comes back as the rule says."""

    @abstractmethod
    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> Tensor | None:
        """Return what is sent back to h for an error ż at the output; None where it does not come from ż."""

    def potential(self, W: Tensor) -> Potential:
        """Return the potential Φ with B = ∇Φ(W).

        Raises:
            NoLawError: where the feedback is no gradient; the message is the reason.
        """
        raise NoLawError(f"{self.rule or type(self).__name__}: this feedback is not known to be a gradient")


class AbstractSlot(AbstractFeedback):
    """Feedback of the weight's shape, in the weight's slot."""

    @abstractmethod
    def stand_in(self, W: Tensor) -> Feedback:
        """Return B for the present W, or how it is `Made` of W in the backward pass."""

    def matrix(self, W: Tensor) -> Tensor:
        """Return B for the present W: what angles are measured against."""
        B = self.stand_in(W)
        return (B if isinstance(B, Tensor) else B().to(W.dtype)).detach()

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z, with B in the weight's slot."""
        with torch.no_grad():
            B = self.stand_in(layer.weight)
        return layer.through(h, B)

    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> Tensor:
        """Return Bᵀ ż."""
        h = h.detach().requires_grad_()
        with torch.enable_grad():
            z = layer.truly(h, self.matrix(layer.weight))
        return torch.autograd.grad(z, h, dz)[0]


class AbstractDense(AbstractFeedback):
    """Feedback between flattened maps, a matrix with one row per output number and one column per input number."""

    @abstractmethod
    def between(self, W: Tensor) -> Feedback:
        """Return B, of shape (numbers in z, numbers in h) for one sample, in the precision of W where it is drawn."""

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z, made from h without its history, and the dense way back."""
        z = layer.truly(h.detach())
        return send_back(z, h, self.between(layer.weight)) if h.requires_grad else z

    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> Tensor:
        """Return Bᵀ ż, laid out as h is."""
        B = self.between(layer.weight)
        return (dz.flatten(1) @ (B if isinstance(B, Tensor) else B()).to(dz.dtype)).view(h.shape)

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: B is not tied to the weight's entries."""
        raise NoLawError(
            f"{self.rule}: dense feedback does not have the shape of a convolution's weight, so ⟨B, dW⟩ is not defined"
        )


class Dense(AbstractDense):
    """The same, kept as a buffer.

    Args:
        B: shape (numbers in z, numbers in h), one sample's.
    """

    B: Tensor

    def __init__(self, B: Tensor) -> None:
        super().__init__()
        self.register_buffer("B", B)

    def between(self, W: Tensor) -> Tensor:
        """Return B."""
        return self.B


def check_shape(W: Tensor, B: Tensor, what: str) -> None:
    """Raise InputError unless a feedback tensor has the weight's shape and is finite."""
    if B.shape != W.shape:
        raise InputError(f"{what} must have the weight's shape {tuple(W.shape)}; got {tuple(B.shape)}")
    if not bool(torch.isfinite(B).all()):
        raise InputError(f"{what} must be finite; it holds nan or inf")
