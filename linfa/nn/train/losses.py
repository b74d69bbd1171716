"""What is made small: a mean over the samples of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from linfa.errors import InputError
from linfa.solvers.interface import is_real


class AbstractLoss(ABC):
    """A loss of outputs and targets."""

    @abstractmethod
    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            f: the outputs, shape (N, p).
            y: class numbers, shape (N,), or targets, shape (N, p).
        """

    def check(self, f: Tensor, y: Tensor, what: str) -> None:  # noqa: B027 (a loss may take whatever there is)
        """Raise InputError where targets cannot be learnt by these outputs; asked once, before the first step.

        Args:
            f: outputs for some samples, shape (n, p).
            y: the targets of all samples.
            what: "training" or "test".
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
        if not (is_real(self.smoothing) and 0 <= self.smoothing < 1):
            raise InputError(f"smoothing must satisfy 0 ≤ s < 1; got {self.smoothing!r}")

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean of −log softmax(f)_y."""
        check_shape(f, y)
        return nn.functional.cross_entropy(f, y, label_smoothing=self.smoothing)

    def check(self, f: Tensor, y: Tensor, what: str) -> None:
        """Raise InputError where targets do not fit the outputs."""
        check_targets(f, y, what)


@dataclass(frozen=True)
class Squared(AbstractLoss):
    """ℓ = ½ |f − y|², classes as unit vectors.

    >>> import torch
    >>> Squared()(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()
    2.0
    """

    def __call__(self, f: Tensor, y: Tensor) -> Tensor:
        """Return the mean of ½ |f − y|²."""
        check_shape(f, y)
        target = nn.functional.one_hot(y, f.shape[-1]) if is_classes(y) else y
        return (f - target).square().sum() / (2 * len(f))

    def check(self, f: Tensor, y: Tensor, what: str) -> None:
        """Raise InputError where targets do not fit the outputs."""
        check_targets(f, y, what)


def check_shape(f: Tensor, y: Tensor) -> None:
    """Raise InputError unless there is a target for every output: none is spread over several.

    >>> import torch
    >>> check_shape(torch.zeros(3, 1), torch.zeros(3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: the targets of (3, 1) outputs have the shape (3,): give one target for each output, ...
    """
    if f.shape[:-1] != y.shape if is_classes(y) else f.shape != y.shape:
        raise InputError(
            f"the targets of {tuple(f.shape)} outputs have the shape {tuple(y.shape)}: give one target for each "
            "output, or whole class numbers, one for each sample"
        )


def check_targets(f: Tensor, y: Tensor, what: str) -> None:
    """Raise InputError where there is not an output for every class number, or not a target for every output.

    >>> import torch
    >>> check_targets(torch.zeros(1, 2), torch.tensor([0, 3]), "test")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: the test labels run from 0 to 3, but the model has 2 outputs: labels are 0 … 1; ...
    """
    check_shape(f[:1].expand(len(y), *f.shape[1:]), y)
    if not is_classes(y):
        return
    least, most = int(y.min()), int(y.max())
    if least < 0 or most >= f.shape[-1]:
        raise InputError(
            f"the {what} labels run from {least} to {most}, but the model has {f.shape[-1]} outputs: labels are "
            f"0 … {f.shape[-1] - 1}; number them anew, or give the model {max(most, 0) + 1} outputs"
        )


def is_classes(y: Tensor) -> bool:
    """Return whether targets are class numbers.

    >>> import torch
    >>> is_classes(torch.tensor([1, 2])), is_classes(torch.tensor([[1.0]]))
    (True, False)
    """
    return y.ndim == 1 and not y.is_floating_point()
