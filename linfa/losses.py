"""The losses ℓ(f, y) and the signal they send back, −∂ℓ/∂f.

Outputs f and targets y have one sample per row, shape (N, p). A loss is an object with three methods; every law of the
library holds for each of them, because no law depends on the error that is fed back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.errors import InputError


class AbstractLoss(ABC):
    """A loss ℓ(f, y), summed over outputs, one value per sample."""

    @abstractmethod
    def value(self, outputs: Array, targets: Array) -> Array:
        """Return ℓ for each sample, shape (..., N)."""

    @abstractmethod
    def signal(self, outputs: Array, targets: Array) -> Array:
        """Return −∂ℓ/∂f, shape (..., N, p)."""

    @abstractmethod
    def check(self, targets: np.ndarray) -> None:
        """Raise InputError where targets are not such as the loss is made for."""

    @abstractmethod
    def encode(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the targets (N, p) that stand for integer labels in 0 … classes − 1."""


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the one-hot matrix of integer labels.

    >>> one_hot(np.array([1, 0]), 2)
    array([[0., 1.],
           [1., 0.]])
    """
    return np.asarray(np.eye(classes)[labels])


def signs(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return targets ±1: one column for two classes, one column per class (one against the rest) for more.

    >>> signs(np.array([1, 0]), 2)
    array([[ 1.],
           [-1.]])
    """
    if classes < 2:
        raise InputError(f"margins need at least two classes; these labels have {classes}")
    hot = 2 * one_hot(labels, classes) - 1
    return hot[:, 1:] if classes == 2 else hot


def _check_signs(targets: np.ndarray, name: str) -> None:
    wrong = int(np.sum(np.abs(targets) != 1))
    if wrong:
        raise InputError(f"the {name} loss takes targets ±1; {wrong} of {targets.size} are something else")


@dataclass(frozen=True)
class Squared(AbstractLoss):
    """ℓ = ½‖y − f‖², with signal y − f.

    >>> Squared().value(np.array([[1.0, 1.0]]), np.array([[0.0, 0.0]]))
    array([1.])
    """

    def value(self, outputs: Array, targets: Array) -> Array:
        """Return ½‖y − f‖² for each sample."""
        return array_namespace(outputs).sum((targets - outputs) ** 2, axis=-1) / 2

    def signal(self, outputs: Array, targets: Array) -> Array:
        """Return y − f."""
        return targets - outputs

    def check(self, targets: np.ndarray) -> None:
        """Accept all targets."""

    def encode(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return one-hot targets."""
        return one_hot(labels, classes)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(AbstractLoss):
    """ℓ = −Σ_i y_i ln softmax(f)_i, with signal y − softmax(f) for targets that sum to one.

    >>> SoftmaxCrossEntropy().value(np.zeros((1, 4)), np.array([[1.0, 0.0, 0.0, 0.0]])) / np.log(4)
    array([1.])
    """

    def value(self, outputs: Array, targets: Array) -> Array:
        """Return the cross-entropy of each sample."""
        xp = array_namespace(outputs)
        shifted = outputs - xp.max(outputs, axis=-1, keepdims=True)
        log_partition = xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        return -xp.sum(targets * (shifted - log_partition), axis=-1)

    def signal(self, outputs: Array, targets: Array) -> Array:
        """Return y − (Σy) softmax(f)."""
        xp = array_namespace(outputs)
        weight = xp.exp(outputs - xp.max(outputs, axis=-1, keepdims=True))
        softmax = weight / xp.sum(weight, axis=-1, keepdims=True)
        return targets - xp.sum(targets, axis=-1, keepdims=True) * softmax

    def check(self, targets: np.ndarray) -> None:
        """Raise InputError unless targets are ≥ 0, as weights of classes are."""
        if np.any(targets < 0):
            raise InputError(f"softmax cross-entropy takes targets ≥ 0; the least here is {targets.min():g}")

    def encode(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return one-hot targets."""
        return one_hot(labels, classes)


@dataclass(frozen=True)
class Logistic(AbstractLoss):
    """ℓ = Σ_i ln(1 + e^{−y_i f_i}) for targets y = ±1, with signal y / (1 + e^{yf}).

    >>> Logistic().value(np.zeros((1, 1)), np.ones((1, 1))) / np.log(2)
    array([1.])
    """

    def value(self, outputs: Array, targets: Array) -> Array:
        """Return the logistic loss of each sample."""
        xp = array_namespace(outputs)
        margin = targets * outputs
        return xp.sum(xp.logaddexp(xp.zeros_like(margin), -margin), axis=-1)

    def signal(self, outputs: Array, targets: Array) -> Array:
        """Return y / (1 + e^{yf}) = y exp(−ln(1 + e^{yf})): no overflow, and no digit lost at large margins."""
        xp = array_namespace(outputs)
        margin = targets * outputs
        return targets * xp.exp(-xp.logaddexp(xp.zeros_like(margin), margin))

    def check(self, targets: np.ndarray) -> None:
        """Raise InputError unless targets are ±1."""
        _check_signs(targets, "logistic")

    def encode(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return targets ±1."""
        return signs(labels, classes)


@dataclass(frozen=True)
class Exponential(AbstractLoss):
    """ℓ = Σ_i e^{−y_i f_i} for targets y = ±1, with signal y e^{−yf}.

    >>> Exponential().signal(np.zeros((1, 1)), -np.ones((1, 1)))
    array([[-1.]])
    """

    def value(self, outputs: Array, targets: Array) -> Array:
        """Return the exponential loss of each sample."""
        xp = array_namespace(outputs)
        return xp.sum(xp.exp(-targets * outputs), axis=-1)

    def signal(self, outputs: Array, targets: Array) -> Array:
        """Return y e^{−yf}."""
        return targets * array_namespace(outputs).exp(-targets * outputs)

    def check(self, targets: np.ndarray) -> None:
        """Raise InputError unless targets are ±1."""
        _check_signs(targets, "exponential")

    def encode(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return targets ±1."""
        return signs(labels, classes)


LOSSES: dict[str, AbstractLoss] = {
    "squared": Squared(),
    "softmax-ce": SoftmaxCrossEntropy(),
    "logistic": Logistic(),
    "exponential": Exponential(),
}
"""The losses by name, for command lines and for tests over all of them."""
