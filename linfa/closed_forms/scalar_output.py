"""E5: two layers, one output, zero start: the network is u ↦ ½‖b‖²‖u‖²u, perfectly aligned, and ends at minimum norm.

    W_1 = b uᵀ,   W_2 = ½‖u‖² bᵀ,   β := (W_2W_1)ᵀ = ½‖b‖²‖u‖²u,   u̇ = Σ_xy − Σ_xx β = −∇ℓ at β

so cos(W_2, b) = 1 at every time, for any Σ_xx, and β → Σ_xx⁺Σ_xy. Where Σ_xy is an eigenvector of Σ_xx (whitened inputs
above all), u keeps its direction and its length is a `PowerFlow`. Derived from theory's L5 with p = 1; the limit in
theory/minimum_norm and conditions/theorems.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import SLACK, finite, fixed_paths, matrices, moments, require, squared
from linfa.closed_forms.power_flow import PowerFlow
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the scalar output (E5)"


@dataclass(frozen=True, eq=False)
class ScalarOutput:
    """Two layers with one output from a zero start, under any feedback path b ≠ 0.

    Args:
        feedback: b, shape (n_1,).
        cross: Σ_yx, shape (n_0,).
        second: Σ_xx, shape (n_0, n_0).

    Raises:
        InputError: where b = 0, or shapes do not fit.

    >>> net = ScalarOutput([1.0, 1.0], cross=[3.0, 4.0], second=np.eye(2))
    >>> net.limit.round(12).tolist(), [W.shape for W in net.weights(1.0)]
    ([3.0, 4.0], [(2, 2), (1, 2)])
    """

    feedback: Array
    cross: Array
    second: Array

    def __post_init__(self) -> None:
        for name in ("feedback", "cross", "second"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
        n = self.cross.size
        if self.feedback.ndim != 1 or self.cross.shape != (n,) or self.second.shape != (n, n):
            shapes = self.feedback.shape, self.cross.shape, self.second.shape
            raise InputError(f"b, Σ_yx and Σ_xx have shapes (n_1,), (n_0,) and (n_0, n_0); got {shapes}")
        require(bool(np.any(self.feedback != 0)), _FORM, "feedback b ≠ 0", "it is zero, and W_1 never moves")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> ScalarOutput:
        """Return the solution of a network, or say which hypothesis fails.

        Raises:
            InputError: unless there are two layers, one output, a fixed path, zero weights and the squared loss.
        """
        W = matrices(weights, _FORM, depth=2)
        require(weights.widths[-1] == 1, _FORM, "one output", f"this network has {weights.widths[-1]}")
        size = max(float(np.abs(w).max()) for w in W)
        require(size == 0, _FORM, "a zero start", f"a weight is {size:.3g} in magnitude")
        cross = squared(task, weights, _FORM)
        return cls(fixed_paths(rule, weights, _FORM)[0][:, 0], cross[0], np.asarray(task.second, dtype=float))

    @property
    def gain(self) -> float:
        """κ = ½‖b‖²: β = κ‖u‖²u."""
        return float(self.feedback @ self.feedback) / 2

    def output(self, u: Array) -> np.ndarray:
        """Return β = κ‖u‖²u, shape (..., n_0)."""
        return np.asarray(self.gain * np.sum(u**2, axis=-1, keepdims=True) * u)

    def velocity(self, u: Array) -> np.ndarray:
        """Return u̇ = Σ_xy − Σ_xx β, shape (..., n_0): all that the network does, for any Σ_xx."""
        return np.asarray(self.cross - self.output(u) @ self.second)

    def lift(self, u: Array) -> Weights:
        """Return W_1 = b uᵀ and W_2 = ½‖u‖² bᵀ of one u."""
        u = finite(u, "u")
        return Weights((np.outer(self.feedback, u), float(u @ u) / 2 * self.feedback[None]))

    @property
    def limit(self) -> np.ndarray:
        """β(∞) = Σ_xx⁺Σ_xy, the minimum-norm solution; shape (n_0,)."""
        return np.asarray(np.linalg.pinv(self.second, hermitian=True) @ self.cross)

    @property
    def limit_weights(self) -> Weights:
        """The weights in the end: u(∞) = β/(κ‖β‖²)^{1/3}."""
        beta = self.limit
        size = float(beta @ beta)
        return self.lift(beta / np.cbrt(self.gain * size) if size > 0 else beta)

    def at(self, t: Array) -> np.ndarray:
        """Return u(t), shape (*t, n_0).

        Raises:
            InputError: where Σ_xy is no eigenvector of Σ_xx; `velocity` is then the whole network, in n_0 numbers.
        """
        length = float(np.linalg.norm(self.cross))
        if length == 0:
            return np.zeros((*moments(t).shape, self.cross.size))
        direction = self.cross / length
        image = self.second @ direction
        curvature = float(direction @ image)
        off, size = float(np.linalg.norm(image - curvature * direction)), float(np.linalg.norm(self.second))
        eigen = off <= SLACK * size and curvature > 0
        require(eigen, "u(t)", "Σ_xy to be an eigenvector of Σ_xx", f"Σ_xx turns it by {off:.3g}")
        return np.asarray(PowerFlow(np.array([length]), curvature * self.gain, 3).at(t) * direction)

    def weights(self, t: float) -> Weights:
        """Return the weights at one time."""
        return self.lift(self.at(np.asarray(t, dtype=float)))
