"""E4: Y ≈ W_2W_1 through r hidden units: where feedback alignment ends, what it costs, and FA* solved for all times.

    every limit of FA is Y P_row(BᵀY)      if rank BᵀY = r (whatever the start) or rank BᵀY = rank Y (zero loss)
    backprop ends at the best rank r       (Eckart & Young 1936), from almost every start

FA* keeps W_2 = YW_1⁺ optimal: Ẇ_1 = A(I − P), A = BᵀY, P = P_row(W_1). N = W_1W_1ᵀ is constant; with W_1 = N^{½}Q and
Ã = N^{−½}A, so is the antisymmetric part of ÃQᵀ, Ω := ½(ÃQᵀ − QÃᵀ), and Q̇ = Ã − ÃQᵀQ = Ã − 2ΩQ − QÃᵀQ is a Riccati
equation with constant coefficients:

    d/dt [N_t; D_t] = [[−2Ω, Ã], [Ãᵀ, 0]] [N_t; D_t],   N_0 = Q(0),  D_0 = I,      Q = N_t D_t⁻¹

For r = 1 it says cos∠(W_1, BᵀY) = tanh(‖BᵀY‖t/‖W_1‖ + artanh cos_0). The setting is that of Garg & Vempala 2021; limits
are derived in theory/low_rank, the solution for r > 1 here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import expm

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import finite, fixed_paths, matrices, moments, require, whitened
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the factorisation (E4)"


@dataclass(frozen=True, eq=False)
class Factorisation:
    """A target factorised through a hidden layer of width r under fixed feedback.

    Losses are those above the least loss of any linear map, ½‖Y − W_2W_1‖².

    Args:
        target: Y = Σ_yx, shape (p, n_0), with Σ_xx = I.
        feedback: B, shape (p, r).

    Raises:
        InputError: where shapes do not fit or a value is not finite.

    >>> narrow = Factorisation(np.diag([2.0, 1.0]), np.array([[1.0], [1.0]]))
    >>> narrow.limit.round(12).tolist(), round(narrow.excess_loss, 12), round(narrow.eckart_young, 12)
    ([[1.6, 0.8], [0.4, 0.2]], 0.8, 0.5)
    """

    target: Array
    feedback: Array

    def __post_init__(self) -> None:
        for name in ("target", "feedback"):
            object.__setattr__(self, name, finite(getattr(self, name), name))
        Y, B = self.target, self.feedback
        if Y.ndim != 2 or B.ndim != 2 or len(Y) != len(B) or 0 in (*Y.shape, *B.shape):
            raise InputError(f"Y (p, n_0) and B (p, r) must agree in p ≥ 1; got {Y.shape} and {B.shape}")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> Factorisation:
        """Return the factorisation that a two-layer network attempts, or say which hypothesis fails.

        Raises:
            InputError: unless there are two layers, a fixed feedback path and whitened inputs.
        """
        matrices(weights, _FORM, depth=2)
        Y = whitened(task, weights, _FORM)
        return cls(Y, fixed_paths(rule, weights, _FORM)[0].T)

    @property
    def width(self) -> int:
        """The hidden width r."""
        return int(self.feedback.shape[1])

    @property
    def sketch(self) -> np.ndarray:
        """A = BᵀY, shape (r, n_0)."""
        return np.asarray(self.feedback.T @ self.target)

    @cached_property
    def ranks(self) -> tuple[int, int]:
        """(rank BᵀY, rank Y), judged in floating point."""
        # Rounding in BᵀY is that of its factors, which may cancel.
        tolerance = max(self.target.shape + self.feedback.shape) * np.finfo(float).eps
        size = float(np.linalg.norm(self.target, 2) * np.linalg.norm(self.feedback, 2))
        sketch = int(np.sum(np.linalg.svd(self.sketch, compute_uv=False) > tolerance * size))
        return sketch, int(np.linalg.matrix_rank(self.target))

    @cached_property
    def projector(self) -> np.ndarray:
        """P = P_row(BᵀY), shape (n_0, n_0).

        Raises:
            InputError: where rank BᵀY is smaller than both r and rank Y, so that the limit depends on the start.
        """
        sketch, target = self.ranks
        hypothesis = "rank BᵀY to be r or rank Y, or the limit depends on the start"
        found = f"rank BᵀY = {sketch}, r = {self.width}, rank Y = {target}"
        require(sketch == min(self.width, target), _FORM, hypothesis, found)
        rows = np.linalg.svd(self.sketch, full_matrices=False)[2][:sketch]
        return np.asarray(rows.T @ rows)

    @property
    def limit(self) -> np.ndarray:
        """W_2W_1 → Y P_row(BᵀY), shape (p, n_0), from every start."""
        return np.asarray(self.target @ self.projector)

    @property
    def excess_loss(self) -> float:
        """½‖Y(I − P)‖²: what feedback alignment and FA* lose in the end."""
        return float(np.sum((self.target - self.limit) ** 2)) / 2

    @property
    def eckart_young(self) -> float:
        """½Σ_{i>r}σ_i²: what the best map of rank r loses, and backprop from almost every start."""
        return float(np.sum(np.linalg.svd(self.target, compute_uv=False)[self.width :] ** 2)) / 2

    @property
    def best(self) -> np.ndarray:
        """The best map of rank r, shape (p, n_0).

        Raises:
            InputError: where σ_r = σ_{r+1}, so that it is not unique.
        """
        U, s, Vt = np.linalg.svd(self.target, full_matrices=False)
        r = self.width
        unique = r >= len(s) or s[r - 1] > s[r] * (1 + 1e-12) or s[r] == 0
        require(unique, "the best map of rank r", "σ_r > σ_{r+1}", f"both are {s[min(r, len(s) - 1)]:g}")
        return np.asarray((U[:, :r] * s[:r]) @ Vt[:r])

    def sketch_bound(self) -> float:
        """Return a bound on the mean of `excess_loss` over Gaussian B: min_{k ≤ r−2} (1 + k/(r−k−1)) ½Σ_{i>k}σ_i².

        Halko, Martinsson & Tropp 2011, Theorem 10.5. It speaks of the law of B, not of this B.
        """
        squares = np.linalg.svd(self.target, compute_uv=False) ** 2
        r = self.width
        require(r >= 2, "the sketch bound", "r ≥ 2", f"r = {r}")
        return min((1 + k / (r - k - 1)) * float(np.sum(squares[k:])) / 2 for k in range(r - 1))

    # FA* ------------------------------------------------------------------------------------------------------------

    def optimal_readout(self, first: Array, t: Array) -> np.ndarray:
        """Return W_1(t) of FA*, where W_2 = YW_1⁺ at every time; shape (*t, r, n_0).

        Args:
            first: W_1(0), shape (r, n_0), of rank r.
            t: times ≥ 0.

        Raises:
            InputError: where W_1(0) has not full row rank.
        """
        W, times = finite(first, "W_1(0)"), moments(t)
        if W.shape != self.sketch.shape:
            raise InputError(f"W_1(0) must have shape {self.sketch.shape}; got {W.shape}")
        rank = int(np.linalg.matrix_rank(W))
        require(rank == self.width, "FA*", f"W_1(0) of rank r = {self.width}", f"its rank is {rank}")
        left, s, right = np.linalg.svd(W, full_matrices=False)
        root = (left * s) @ left.T  # N^{½}
        A, Q = (left / s) @ left.T @ self.sketch, left @ right
        flat, found = times.ravel(), np.empty((times.size, *W.shape))
        now = 0.0
        for i in np.argsort(flat, kind="stable"):
            Q, now = _riccati(Q, A, flat[i] - now), flat[i]
            found[i] = root @ Q
        return found.reshape(*times.shape, *W.shape)

    def alignment(self, first: Array, t: Array) -> np.ndarray:
        """Return cos∠(W_1, BᵀY) of FA* with r = 1, tanh(‖BᵀY‖t/‖W_1(0)‖ + artanh cos_0); shape of t.

        Raises:
            InputError: where r > 1, or a vector is zero.

        >>> narrow = Factorisation(np.eye(2), np.array([[1.0], [0.0]]))
        >>> narrow.alignment([[0.0, 2.0]], 2.0).round(12) == np.tanh(1).round(12)
        np.True_
        """
        w, A, times = np.ravel(finite(first, "W_1(0)")), self.sketch, moments(t)
        require(self.width == 1, "the tanh law", "r = 1", f"r = {self.width}: use optimal_readout")
        length, size = float(np.linalg.norm(A)), float(np.linalg.norm(w))
        require(length > 0 and size > 0, "the tanh law", "BᵀY ≠ 0 and W_1(0) ≠ 0", f"norms are {length:g}, {size:g}")
        cosine = np.clip(A[0] @ w / (length * size), -1.0, 1.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.tanh(length * times / size + np.arctanh(cosine)))


def _riccati(Q: np.ndarray, A: np.ndarray, t: float) -> np.ndarray:
    """Return Q(t) of Q̇ = A − AQᵀQ, QQᵀ = I, in steps in which the exponential stays well conditioned."""
    if t == 0:
        return Q
    # Rows of Q stay in the span of the rows of A and of Q: at most 2r dimensions.
    basis = np.linalg.qr(np.concatenate([Q, A]).T)[0]
    q, a = Q @ basis, A @ basis
    r, n = q.shape
    twist = a @ q.T - q @ a.T
    generator = np.block([[-twist, a], [a.T, np.zeros((n, n))]])
    steps = max(1, int(np.ceil(t * np.linalg.norm(generator, 2) / 2)))
    flow = expm(t / steps * generator)
    for _ in range(steps):
        numerator, denominator = np.split(flow @ np.concatenate([q, np.eye(n)]), [r])
        q = np.linalg.solve(denominator.T, numerator.T).T
    return np.asarray(q @ basis.T)
