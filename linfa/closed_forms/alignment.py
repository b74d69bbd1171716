"""E3: from a zero start, with orthogonal feedback paths, the whole run and its alignment are explicit at any depth.

With Σ_xx = I, Σ_yx = U σ Vᵀ and M_lᵀM_l = g_l I for every hidden layer (M_l the feedback paths: feedback alignment or
direct feedback), Φ = U φ Vᵀ and

    W_1 = M_1Φ,   W_{l+1} = M_{l+1} U s_l Uᵀ M_lᵀ,   s_1 = ½φ²,   s_{l+1} = ½g_l s_l²,   so s_l ∝ φ^{2^l},
    φ̇ = σ − κφ^{2^L − 1},   κ = ∏_{l<L} g_l s_l(1),
    cos∠(W_{l+1}, M_{l+1}M_lᵀ) = Σφ^e/√(pΣφ^{2e}),   e = 2^l.

Early φ ∝ σ, so the exponent of σ is 2^l; in the end φ ∝ σ^{1/(2^L−1)}, so it is 2^l/(2^L − 1). Derived from theory's
L5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import SLACK, finite, fixed_paths, matrices, require, whitened
from linfa.closed_forms.power_flow import PowerFlow
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the zero start with orthogonal feedback (E3)"


def early_exponent(layer: int) -> float:
    """Return 2^l: W_{l+1} ∝ σ^{2^l} in the modes of the target at the start.

    >>> early_exponent(2)
    4.0
    """
    return float(2**layer)


def late_exponent(layer: int, depth: int) -> float:
    """Return 2^l/(2^L − 1): W_{l+1} ∝ σ^e in the modes of the target in the end.

    >>> late_exponent(1, depth=2)
    0.6666666666666666
    """
    return float(2**layer / (2**depth - 1))


def spread_cosine(spectrum: Array, exponent: float = 1.0) -> np.ndarray:
    """Return Σσ^e/√(pΣσ^{2e}), the cosine between diag(σ^e) and the identity, over the last axis.

    >>> spread_cosine([2.0, 1.0, 0.5, 0.25], early_exponent(1)).round(3)
    np.float64(0.643)
    """
    values = finite(spectrum, "the spectrum")
    top = np.max(values, axis=-1, keepdims=True)
    if np.any(values < 0) or np.any(top == 0):
        raise InputError(f"singular values are ≥ 0, and one of them must be > 0; got {values.tolist()}")
    powers = (values / top) ** exponent
    return np.asarray(np.sum(powers, axis=-1) / np.sqrt(values.shape[-1] * np.sum(powers**2, axis=-1)))


@dataclass(frozen=True, eq=False)
class ZeroStart:
    """A deep network that starts at zero, under feedback paths with orthogonal columns of one length per layer.

    Args:
        spectrum: the p singular values σ ≥ 0 of Σ_yx (zeros included), shape (p,).
        gains: g_1 … g_{L−1} > 0 with M_lᵀM_l = g_l I, shape (L−1,).
        frames: (U, V, M_1 … M_L) where they belong to a network: U (p, p), V (n_0, p).

    Raises:
        InputError: for values out of range.

    >>> start = ZeroStart([2.0, 1.0, 0.5, 0.25], gains=[1.0, 1.0])
    >>> start.early_alignment.round(4).tolist(), start.final_alignment.round(4).tolist()
    ([0.643, 0.5323], [0.9767, 0.9185])
    """

    spectrum: Array
    gains: Array
    frames: tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]] | None = None

    def __post_init__(self) -> None:
        for name in ("spectrum", "gains"):
            object.__setattr__(self, name, np.atleast_1d(finite(getattr(self, name), name)))
        if self.spectrum.ndim != 1 or np.any(self.spectrum < 0) or not np.any(self.spectrum > 0):
            raise InputError(f"singular values are ≥ 0, and one of them must be > 0; got {self.spectrum.tolist()}")
        if self.gains.ndim != 1 or self.gains.size == 0 or np.any(self.gains <= 0):
            raise InputError(f"every hidden layer has a gain g_l > 0; got {self.gains.tolist()}")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> ZeroStart:
        """Return the solution of a network, or say which hypothesis fails.

        Raises:
            InputError: unless all weights are zero, the feedback paths are fixed with M_lᵀM_l = g_l I, and inputs are
                whitened.

        >>> import linfa
        >>> net, task = linfa.Weights.zero((2, 3, 1)), linfa.Task.teacher(2, 1, rng=0)
        >>> ZeroStart.of(net, linfa.FeedbackAlignment.random(net, rng=1), task).spectrum.round(12).tolist()
        [1.0]
        """
        require(weights.depth >= 2, _FORM, "two layers or more", f"this network has {weights.depth}")
        size = max(float(np.abs(W).max()) for W in matrices(weights, _FORM))
        require(size == 0, _FORM, "a zero start", f"a weight is {size:.3g} in magnitude")
        Y = whitened(task, weights, _FORM)
        M, p = fixed_paths(rule, weights, _FORM), task.n_out
        gains = []
        for l, path in enumerate(M[:-1], 1):
            G = path.T @ path
            g = float(np.trace(G)) / p
            off = float(np.abs(G - g * np.eye(p)).max())
            orthogonal = g > 0 and off <= SLACK * g * p
            require(orthogonal, _FORM, f"M_{l}ᵀM_{l} = g I", f"with g = {g:.3g} an entry is off by {off:.3g}")
            gains.append(g)
        U, s, Vt = np.linalg.svd(Y)
        spectrum, V = np.zeros(p), np.zeros((task.n_in, p))
        spectrum[: len(s)], V[:, : len(s)] = s, Vt[: len(s)].T
        return cls(spectrum, np.array(gains), (U, V, M))

    @property
    def depth(self) -> int:
        """L."""
        return int(self.gains.size) + 1

    @cached_property
    def _units(self) -> np.ndarray:
        """s_1 … s_{L−1} at φ = 1: s_1 = ½, s_{l+1} = ½ g_l s_l²."""
        units = [0.5]
        for g in self.gains[:-1]:
            units.append(0.5 * g * units[-1] ** 2)
        return np.array(units)

    @property
    def flow(self) -> PowerFlow:
        """φ̇ = σ − κφ^{2^L − 1}, κ = ∏ g_l s_l(1)."""
        return PowerFlow(self.spectrum, float(np.prod(self.gains * self._units)), 2**self.depth - 1)

    @property
    def early_alignment(self) -> np.ndarray:
        """cos∠(W_{l+1}, M_{l+1}M_lᵀ) for t → 0, l = 1 … L−1."""
        return np.array([spread_cosine(self.spectrum, early_exponent(l)) for l in range(1, self.depth)])

    @property
    def final_alignment(self) -> np.ndarray:
        """cos∠(W_{l+1}, M_{l+1}M_lᵀ) for t → ∞, l = 1 … L−1; modes with σ = 0 never move."""
        return np.array([spread_cosine(self.spectrum, late_exponent(l, self.depth)) for l in range(1, self.depth)])

    def alignment(self, t: Array) -> np.ndarray:
        """Return cos∠(W_{l+1}, M_{l+1}M_lᵀ) at times t > 0, shape (*t, L−1)."""
        phi = self.flow.at(t)
        if np.any(phi.max(axis=-1) == 0):
            raise InputError("at t = 0 every weight is zero and has no direction: use early_alignment")
        return np.stack([spread_cosine(phi, early_exponent(l)) for l in range(1, self.depth)], axis=-1)

    def excess_loss(self, t: Array) -> np.ndarray:
        """Return ½Σ(σ − κφ^m)², the loss above its least value; shape of t."""
        return np.asarray(np.sum(self.flow.error(t) ** 2, axis=-1) / 2)

    def weights(self, t: float) -> Weights:
        """Return the weights of the whole network at one time.

        Raises:
            InputError: where the solution does not belong to a network.
        """
        if self.frames is None:
            raise InputError("this solution belongs to no network: make it with ZeroStart.of(weights, rule, task)")
        U, V, M = self.frames
        phi = self.flow.at(np.asarray(t, dtype=float))
        layers = [M[0] @ (U * phi) @ V.T]
        for l, unit in enumerate(self._units, 1):
            layers.append(M[l] @ (U * (unit * phi ** (2**l))) @ U.T @ M[l - 1].T)
        return Weights(tuple(layers))
