"""E6: backprop's own exact solutions, two layers, whitened: the λ-balanced Riccati flow, and Saxe's modes.

With W_2ᵀW_2 − W_1W_1ᵀ = λI, Q = [W_1ᵀ; W_2] and F = [[−½λI, Σ_yxᵀ], [Σ_yx, ½λI]], S = QQᵀ obeys Ṡ = FS + SF − S², so

    S(t) = e^{Ft}Q_0 [I + Q_0ᵀ H(t) Q_0]⁻¹ Q_0ᵀe^{Ft},      H(t) = ∫_0^t e^{2Fs}ds

(Fukumizu 1998; Braun et al. 2022; Dominé et al. 2024). H is ½(e^{Ft}F⁻¹e^{Ft} − F⁻¹) where F is invertible; as an
integral in the eigenbasis of F it needs no inverse, and the singular case λ = 0, n_0 ≠ p is like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from linfa.arrays import Array, sym
from linfa.closed_forms.frames import common_frame, mode_strengths, partners
from linfa.closed_forms.hypotheses import SLACK, backprop, finite, matrices, moments, require, whitened
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

STRETCH = 3.0
"""How far one application of the formula reaches, in units of 1/‖F‖: e^{‖F‖t} squared must not eat up the digits."""


@dataclass(frozen=True, eq=False)
class BalancedBackprop:
    """Gradient flow of two layers from a λ-balanced start.

    Args:
        target: Y = Σ_yx, shape (p, n_0), with Σ_xx = I.
        first: W_1(0), shape (n_1, n_0).
        second: W_2(0), shape (p, n_1).

    Raises:
        InputError: unless W_2ᵀW_2 − W_1W_1ᵀ = λI for some λ.

    >>> run = BalancedBackprop([[2.0]], first=[[0.1]], second=[[0.1]])
    >>> modes = SaxeModes([2.0], [0.01])
    >>> bool(abs(run.product(1.5).item() - modes.strength(1.5).item()) < 1e-14)
    True
    """

    target: Array
    first: Array
    second: Array

    def __post_init__(self) -> None:
        for name in ("target", "first", "second"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
        Y, W_1, W_2 = self.target, self.first, self.second
        shapes = Y.shape, W_1.shape, W_2.shape
        fits = all(len(s) == 2 for s in shapes) and Y.shape == (len(W_2), W_1.shape[1]) and len(W_1) == W_2.shape[1]
        if not fits:
            raise InputError(f"Y, W_1, W_2 have shapes (p, n_0), (n_1, n_0), (p, n_1); got {shapes}")
        gap = W_2.T @ W_2 - W_1 @ W_1.T
        off = float(np.linalg.norm(gap - self.imbalance * np.eye(len(gap))))
        size = float(np.linalg.norm(W_1) ** 2 + np.linalg.norm(W_2) ** 2)
        require(off <= SLACK * size, "the Riccati solution (E6)", "W_2ᵀW_2 − W_1W_1ᵀ = λI", f"it is off by {off:.3g}")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> BalancedBackprop:
        """Return the solution of a network, or say which hypothesis fails.

        Raises:
            InputError: unless there are two λ-balanced layers, backprop and whitened inputs.
        """
        form = "the Riccati solution (E6)"
        W_1, W_2 = matrices(weights, form, depth=2)
        backprop(rule, form)
        return cls(whitened(task, weights, form), W_1, W_2)

    @property
    def imbalance(self) -> float:
        """λ = tr(W_2ᵀW_2 − W_1W_1ᵀ)/n_1, conserved."""
        return float((np.sum(self.second**2) - np.sum(self.first**2)) / len(self.first))

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        p, n = self.target.shape
        shift = np.repeat([-self.imbalance / 2, self.imbalance / 2], [n, p])
        F = np.diag(shift)
        F[n:, :n], F[:n, n:] = self.target, self.target.T
        values, basis = np.linalg.eigh(F)
        return values, basis

    def gram(self, t: Array) -> np.ndarray:
        """Return S(t) = [[W_1ᵀW_1, W_1ᵀW_2ᵀ], [W_2W_1, W_2W_2ᵀ]], shape (*t, n_0+p, n_0+p)."""
        times = moments(t)
        values, basis = self._spectrum
        # S = QQᵀ knows Q up to a rotation of the hidden layer: a triangle of size n_0+p will do for any width.
        triangle = np.asarray(np.linalg.qr(np.concatenate([self.first, self.second.T], axis=1), mode="r"))
        Q = basis.T @ triangle.T
        flat, found = times.ravel(), np.empty((times.size, len(values), len(values)))
        now = 0.0
        for i in np.argsort(flat, kind="stable"):
            Q, now = _riccati(Q, values, flat[i] - now), flat[i]
            root = basis @ Q
            found[i] = root @ root.T
        return found.reshape(*times.shape, len(values), len(values))

    def product(self, t: Array) -> np.ndarray:
        """Return W_2W_1 at times t, shape (*t, p, n_0)."""
        n = self.target.shape[1]
        return self.gram(t)[..., n:, :n]

    def excess_loss(self, t: Array) -> np.ndarray:
        """Return ½‖Y − W_2W_1‖², the loss above its least value; shape of t."""
        return np.asarray(np.sum((self.target - self.product(t)) ** 2, axis=(-2, -1)) / 2)


def _riccati(Q: np.ndarray, f: np.ndarray, t: float) -> np.ndarray:
    """Return e^{Ft}Q L^{−ᵀ}, LLᵀ = I + QᵀH(t)Q, in the eigenbasis of F, in steps that compose exactly."""
    steps = max(1, int(np.ceil(t * float(np.abs(f).max()) / STRETCH)))
    grow, H = np.exp(f * t / steps)[:, None], (t / steps * _mean_growth(2 * f * t / steps))[:, None]
    for _ in range(steps if t > 0 else 0):
        L = np.linalg.cholesky(np.eye(Q.shape[1]) + Q.T @ (H * Q))
        Q = solve_triangular(L, (grow * Q).T, lower=True).T
    return Q


def _mean_growth(z: np.ndarray) -> np.ndarray:
    """Return (e^z − 1)/z, 1 at z = 0."""
    return np.asarray(np.divide(np.expm1(z), z, out=np.ones_like(z), where=z != 0))


@dataclass(frozen=True, eq=False)
class SaxeModes:
    """Gradient flow of two balanced layers whose start is aligned with the target, ṡ = 2s(σ − s), mode by mode.

    s(t) = σe^{2σt}/(e^{2σt} − 1 + σ/s_0)    (Saxe, McClelland & Ganguli 2014)

    Args:
        spectrum: σ ≥ 0, shape (k,).
        start: s(0) ≥ 0, shape (k,) or one number; zero is a saddle and stays.
        frames: (U, V), one column per mode, where the modes belong to a network.

    Raises:
        InputError: for values out of range.

    >>> modes = SaxeModes([2.0, 1.0, 0.0], 0.5)
    >>> modes.strength(np.log(3) / 2).round(12).tolist()   # 18/(9 − 1 + 4), 3/(3 − 1 + 2), 0.5/(1 + ½ ln 3)
    [1.5, 0.75, 0.322725112676]
    """

    spectrum: Array
    start: Array
    frames: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        for name in ("spectrum", "start"):
            object.__setattr__(self, name, np.atleast_1d(finite(getattr(self, name), name)))
        object.__setattr__(self, "start", np.broadcast_to(self.start, self.spectrum.shape))
        lowest = float(self.start.min())
        require(lowest >= 0, "Saxe's solution (E6)", "a start s(0) ≥ 0 in every mode", f"one is {lowest:g}")
        if np.any(self.spectrum < 0):
            raise InputError(f"singular values are ≥ 0; got {self.spectrum.tolist()}")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> SaxeModes:
        """Return the modes of a network, or say which hypothesis fails.

        Raises:
            InputError: unless there are two balanced layers, backprop, whitened inputs, and W_2W_1 and Σ_yx that are
                diagonal together, W_2W_1 without negative entries.
        """
        form = "Saxe's solution (E6)"
        balanced = BalancedBackprop.of(weights, rule, task)
        size = float(np.sum(balanced.first**2) + np.sum(balanced.second**2))
        off = abs(balanced.imbalance) * len(balanced.first)
        require(off <= SLACK * size, form, "balanced layers, λ = 0", f"λ is {balanced.imbalance:.3g}")
        Y, X = balanced.target, balanced.second @ balanced.first
        U = common_frame(Y @ Y.T, X @ X.T, sym(X @ Y.T))
        V = partners(U, Y, X)
        spectrum = mode_strengths(Y, U, V, "Σ_yx", form)
        start = mode_strengths(X, U, V, "W_2W_1", form)
        return cls(spectrum, start, (U, V))

    def strength(self, t: Array) -> np.ndarray:
        """Return s(t), shape (*t, k)."""
        t = moments(t)[..., None]
        z = 2 * self.spectrum * t
        return np.asarray(self.start / (np.exp(-z) + 2 * t * self.start * _mean_growth(-z)))

    def time(self, strength: Array) -> np.ndarray:
        """Return when s is reached, (1/2σ) ln[s(σ − s_0)/(s_0(σ − s))]; shape (..., k).

        Raises:
            InputError: for a strength that is never passed, or a mode with σ = 0.

        >>> SaxeModes([2.0], [0.5]).time(1.5).round(12) == (np.log(9) / 4).round(12)
        array([ True])
        """
        s, sigma, start = finite(strength, "s"), self.spectrum, self.start
        require(bool(np.all(sigma > 0)), "t(s)", "σ > 0", f"the spectrum is {sigma.tolist()}")
        if np.any((s - start) * (sigma - s) < 0) or np.any((s != start) & (start == 0)):
            raise InputError(f"s moves from {start.tolist()} to {sigma.tolist()} and never passes {s.tolist()}")
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.log(s * (sigma - start) / (start * (sigma - s))) / (2 * sigma)
        return np.asarray(np.where(s == start, 0.0, t))

    def product(self, t: float) -> np.ndarray:
        """Return W_2W_1 of the network at one time, shape (p, n_0).

        Raises:
            InputError: where the modes belong to no network.
        """
        if self.frames is None:
            raise InputError("these modes belong to no network: make them with SaxeModes.of(weights, rule, task)")
        U, V = self.frames
        return np.asarray((U * self.strength(t)) @ V.T)
