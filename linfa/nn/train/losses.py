"""What is made small: a mean over the samples of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from linfa.errors import InputError


class AbstractLoss(ABC):
    """A loss of outputs and targets."""

    @abstractmethod
    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            f: the outputs, shape (N, p).
            y: class numbers, shape (N,), or targets, shape (N, p).
        """


@dataclass(frozen=True)
class CrossEntropy(AbstractLoss):
    """ℓ = −log softmax(f)_y.

    Args:
        smoothing: how much of the target is spread over all classes.

    >>> import torch
    >>> round(CrossEntropy()(torch.zeros(1, 4), torch.tensor([2])).item(), 6)  # log 4
    1.386294
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing must satisfy 0 ≤ s < 1; got {self.smoothing}")

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean of −log softmax(f)_y."""
        return nn.functional.cross_entropy(f, y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class Squared(AbstractLoss):
    """ℓ = ½ |f − y|², classes as unit vectors.

    >>> import torch
    >>> Squared()(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()
    2.0
    """

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean of ½ |f − y|²."""
        target = nn.functional.one_hot(y, f.shape[-1]) if is_classes(y) else y
        return (f - target).square().sum() / (2 * len(f))


def is_classes(y: Tensor) -> bool:
    """Return whether targets are class numbers.

    >>> import torch
    >>> is_classes(torch.tensor([1, 2])), is_classes(torch.tensor([[1.0]]))
    (True, False)
    """
    return y.ndim == 1 and not y.is_floating_point()
