"""E7: the rich two-layer linear network of Bordelon & Pehlevan 2022, one target direction, at any width N.

    h = h_0 + aĝ,   w = w_0 + ah_0 + ½a²ĝ,   f = w·h/(γ_0N),   ȧ = γ_0Δ,   Δ = y − f         (fixed feedback ĝ)

so a obeys one cubic, exactly at finite width; in the limit w_0·h_0, h_0·ĝ → 0, |h_0|², |ĝ|² → N, w_0·ĝ → ρN:

    ȧ = γ_0y − (1/N)[w_0·h_0 + (|h_0|² + w_0·ĝ)a + (3/2)(h_0·ĝ)a² + ½|ĝ|²a³]  →  γ_0y − (1 + ρ)a − ½a³

Gradient descent (ĝ = w) is solved by z = e^{2A}, Ȧ = γ_0Δ, since |h + w|² ∝ z and |h − w|² ∝ 1/z:

    γ_0f = Pz − M/z,   ż = 2M + 2γ_0y z − 2Pz²,   P = |h_0 + w_0|²/4N,  M = |h_0 − w_0|²/4N  →  ½

whence Δ̇ = −2√(1 + γ_0²(y − Δ)²) Δ at infinite width (the submitted text misses the factor 2). Derived from theory's E7;
the solution for z here.

In flow time of a network (1, N, 1) with Σ_xx = 1: h = √N W_1, w = √N W_2, ĝ = √N B, y = Σ_yx is γ_0 = 1; for any γ_0,
h = √(γ_0N) W_1, w = √(γ_0N) W_2, ĝ = √(γ_0N) B and the time is γ_0 times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import backprop, finite, fixed_paths, matrices, moments, number, require, whitened
from linfa.closed_forms.scalar_flow import Polynomial, ScalarFlow
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the rich two-layer network (E7)"


def _vectors(weights: Weights, task: Task) -> tuple[np.ndarray, np.ndarray, float]:
    """Return h_0, w_0 and y of a network (1, N, 1), with γ_0 = 1."""
    W_1, W_2 = matrices(weights, _FORM, depth=2)
    ends = weights.widths[0], weights.widths[-1]
    require(ends == (1, 1), _FORM, "one input and one output", f"this network has {ends[0]} and {ends[1]}")
    y = whitened(task, weights, _FORM).item()
    scale = np.sqrt(len(W_1))
    return scale * W_1[:, 0], scale * W_2[0], y


def _same_width(*vectors: Array) -> list[np.ndarray]:
    arrays = [finite(v, "h_0, w_0, ĝ") for v in vectors]
    shapes = {v.shape for v in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise InputError(f"h_0, w_0 and ĝ are vectors of one length N ≥ 1; got shapes {[v.shape for v in arrays]}")
    return arrays


@dataclass(frozen=True, eq=False)
class RichFeedback:
    """Fixed feedback: ρ-FA, feedback alignment, direct feedback.

    Args:
        gamma: γ_0 > 0, how rich; γ_0 → 0 is lazy.
        target: y.
        wh: w_0·h_0/N.
        hh: |h_0|²/N.
        wg: w_0·ĝ/N, in the limit ρ.
        hg: h_0·ĝ/N.
        gg: |ĝ|²/N.

    >>> rich = RichFeedback.infinite(gamma=1.0, target=2.0, rho=0.0)
    >>> rich.cubic.tolist(), round(rich.flow.limit, 12)     # 2 = a + ½a³ at a = 1.179509…
    ([2.0, -1.0, 0.0, -0.5], 1.179509024603)
    """

    gamma: float
    target: float
    wh: float = 0.0
    hh: float = 1.0
    wg: float = 0.0
    hg: float = 0.0
    gg: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gamma", "target", "wh", "hh", "wg", "hg", "gg"):
            number(getattr(self, name), name)
        require(self.gamma > 0, _FORM, "γ_0 > 0", f"γ_0 is {self.gamma}")
        require(self.gg > 0, _FORM, "feedback ĝ ≠ 0", f"|ĝ|²/N is {self.gg}")
        gram = np.array([[self.hh, self.hg], [self.hg, self.gg]])
        if self.hh < 0 or np.linalg.det(gram) < -1e-12 * self.hh * self.gg:
            raise InputError(f"no vectors have |h_0|², h_0·ĝ, |ĝ|² = {self.hh}, {self.hg}, {self.gg} (times N)")

    @classmethod
    def infinite(cls, gamma: float, target: float, rho: float = 0.0) -> RichFeedback:
        """Return the limit of infinite width, −1 ≤ ρ ≤ 1."""
        if not -1 <= rho <= 1:
            raise InputError(f"ρ is a correlation, −1 ≤ ρ ≤ 1; got {rho}")
        return cls(gamma, target, wg=rho)

    @classmethod
    def finite(cls, h: Array, w: Array, g: Array, gamma: float, target: float) -> RichFeedback:
        """Return the network with the vectors h_0, w_0, ĝ ∈ R^N."""
        h, w, g = _same_width(h, w, g)
        return cls(gamma, target, *(float(a @ b) / len(h) for a, b in ((w, h), (h, h), (w, g), (h, g), (g, g))))

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> RichFeedback:
        """Return the solution of a network (1, N, 1) in flow time, with γ_0 = 1.

        Raises:
            InputError: with the hypothesis that failed.
        """
        h, w, y = _vectors(weights, task)
        path = fixed_paths(rule, weights, _FORM)[0][:, 0]
        return cls.finite(h, w, np.sqrt(len(path)) * path, 1.0, y)

    @property
    def cubic(self) -> np.ndarray:
        """The coefficients of ȧ in powers of a, from the constant up; shape (4,)."""
        falls = np.array([self.wh - self.gamma * self.target, self.hh + self.wg, 1.5 * self.hg, 0.5 * self.gg])
        return np.asarray(0.0 - falls)

    @cached_property
    def flow(self) -> ScalarFlow:
        """The equation of a from a(0) = 0."""
        return ScalarFlow(Polynomial(self.cubic), 0.0)

    def at(self, t: Array) -> np.ndarray:
        """Return a(t), of the shape of t."""
        return self.flow.at(t)

    def error(self, t: Array) -> np.ndarray:
        """Return Δ(t) = ȧ/γ_0."""
        return np.asarray(np.polynomial.polynomial.polyval(self.at(t), self.cubic) / self.gamma)

    def output(self, t: Array) -> np.ndarray:
        """Return f(t)."""
        return np.asarray(self.target - self.error(t))

    def forward_kernel(self, t: Array) -> np.ndarray:
        """Return H = |h|²/N, 1 + a² at infinite width."""
        a = self.at(t)
        return np.asarray(self.hh + 2 * self.hg * a + self.gg * a**2)

    def backward_kernel(self, t: Array) -> np.ndarray:
        """Return G̃ = w·ĝ/N, ρ + ½a² at infinite width: how well the feedback agrees with the read-out."""
        a = self.at(t)
        return np.asarray(self.wg + self.hg * a + self.gg * a**2 / 2)


@dataclass(frozen=True, eq=False)
class RichBackprop:
    """Gradient descent from the same start.

    Args:
        gamma: γ_0 > 0.
        target: y.
        wh: w_0·h_0/N.
        hh: |h_0|²/N.
        ww: |w_0|²/N.

    >>> rich = RichBackprop(gamma=1.0, target=1.0)
    >>> bool(abs(rich.output(50.0) - 1) < 1e-14), bool(abs(rich.forward_kernel(50.0) - np.sqrt(2)) < 1e-14)
    (True, True)
    """

    gamma: float
    target: float
    wh: float = 0.0
    hh: float = 1.0
    ww: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gamma", "target", "wh", "hh", "ww"):
            number(getattr(self, name), name)
        require(self.gamma > 0, _FORM, "γ_0 > 0", f"γ_0 is {self.gamma}")
        if min(self.hh, self.ww) < 0 or self.wh**2 > self.hh * self.ww * (1 + 1e-12):
            raise InputError(f"no vectors have |h_0|², w_0·h_0, |w_0|² = {self.hh}, {self.wh}, {self.ww} (times N)")

    @classmethod
    def finite(cls, h: Array, w: Array, gamma: float, target: float) -> RichBackprop:
        """Return the network with the vectors h_0, w_0 ∈ R^N."""
        h, w = _same_width(h, w)
        return cls(gamma, target, *(float(a @ b) / len(h) for a, b in ((w, h), (h, h), (w, w))))

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> RichBackprop:
        """Return the solution of a network (1, N, 1) in flow time, with γ_0 = 1.

        Raises:
            InputError: with the hypothesis that failed.
        """
        backprop(rule, _FORM)
        h, w, y = _vectors(weights, task)
        return cls.finite(h, w, 1.0, y)

    @property
    def _halves(self) -> tuple[float, float]:
        """(P, M)."""
        mean = (self.hh + self.ww) / 4
        return max(mean + self.wh / 2, 0.0), max(mean - self.wh / 2, 0.0)

    def growth(self, t: Array) -> np.ndarray:
        """Return z(t) = e^{2A} = [1 + (β + 2M)τ]/[1 + (2P − β)τ], β = γ_0y, τ = tanh(Rt)/R, R² = β² + 4PM."""
        times = moments(t)
        (P, M), beta = self._halves, self.gamma * self.target
        R = np.sqrt(beta**2 + 4 * P * M)
        tau = np.tanh(R * times) / R if R > 0 else times
        return np.asarray((1 + (beta + 2 * M) * tau) / (1 + (2 * P - beta) * tau))

    def output(self, t: Array) -> np.ndarray:
        """Return f(t) = (Pz − M/z)/γ_0."""
        (P, M), z = self._halves, self.growth(t)
        return np.asarray((P * z - M / z) / self.gamma)

    def error(self, t: Array) -> np.ndarray:
        """Return Δ(t) = y − f."""
        return np.asarray(self.target - self.output(t))

    def forward_kernel(self, t: Array) -> np.ndarray:
        """Return H = |h|²/N = Pz + M/z + ½(|h_0|² − |w_0|²)/N, √(1 + γ_0²f²) at infinite width."""
        (P, M), z = self._halves, self.growth(t)
        return np.asarray(P * z + M / z + (self.hh - self.ww) / 2)

    def backward_kernel(self, t: Array) -> np.ndarray:
        """Return G = |w|²/N = H − (|h_0|² − |w_0|²)/N."""
        return np.asarray(self.forward_kernel(t) - (self.hh - self.ww))


def backprop_error_rate(error: Array, target: float, gamma: float) -> np.ndarray:
    """Return Δ̇ = −2√(1 + γ_0²(y − Δ)²) Δ of gradient descent at infinite width.

    >>> backprop_error_rate(1.0, target=1.0, gamma=5.0).item()
    -2.0
    """
    error = finite(error, "Δ")
    return np.asarray(-2 * np.sqrt(1 + gamma**2 * (target - error) ** 2) * error)
