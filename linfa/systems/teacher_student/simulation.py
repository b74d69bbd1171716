"""The online run itself: one fresh Gaussian input per step, N inputs, nothing averaged.

    e = Σ_m A_m g(ν_m) + σξ − Σ_k v_k g(λ_k),     λ = w x/√N,     ν = B x/√N
    w_k ← w_k + (η/√N) v^r_k g′(λ_k) e x,         v_k ← v_k + (η/N) e g(λ_k),         time = steps/N

Inputs are drawn in blocks. Within a block the weights move along its inputs only, so what a step does to later fields
is known from the Gram matrix of the inputs: λ_k(x′) ← λ_k(x′) + (η/N) v^r_k g′(λ_k) e x·x′. The weights are written
once per block; the run is the same as step by step, to rounding, at the cost of matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from linfa.arrays import Array
from linfa.errors import DivergenceError
from linfa.systems.teacher_student.activation import AbstractActivation
from linfa.systems.teacher_student.moments import Overlaps

BLOCK = 32
"""Inputs per block."""


def weights_with(C: np.ndarray, n_in: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights whose overlaps are exactly C (to rounding), otherwise uniformly distributed; shape (K + M, N).

    >>> W = weights_with(np.array([[2.0, 0.5], [0.5, 1.0]]), 100, np.random.default_rng(0))
    >>> np.round(W @ W.T / 100, 12).tolist()
    [[2.0, 0.5], [0.5, 1.0]]
    """
    values, vectors = np.linalg.eigh(C)
    frame, triangle = np.linalg.qr(rng.standard_normal((n_in, len(C))))
    frame = frame * np.sign(np.diagonal(triangle))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(np.sqrt(n_in) * root @ frame.T)


@dataclass
class Online:
    """An ensemble of online runs, one generator per member; leading axes number the members.

    Args:
        activation: g.
        feedback: the map from the read-out v to v^r.
        rates: η of the hidden layer and of the read-out.
        noise: σ.
        heads: A, shape (..., M).
        w: student weights, shape (..., K, N); moved in place.
        B: teacher weights, shape (..., M, N).
        v: read-out, shape (..., K).
        draws: for each member, in the order of its flat index, the generators of inputs and of noise.
    """

    activation: AbstractActivation
    feedback: Callable[[Array], Array]
    rates: tuple[float, float]
    noise: float
    heads: np.ndarray
    w: np.ndarray
    B: np.ndarray
    v: np.ndarray
    draws: list[tuple[np.random.Generator, np.random.Generator]]

    def run(self, kept: np.ndarray) -> Iterator[Overlaps]:
        """Yield the overlaps at each of the kept steps, in increasing order."""
        step = 0
        for stop in kept:
            while step < stop:
                rows = min(BLOCK, int(stop) - step)
                step += rows
                with np.errstate(over="ignore", invalid="ignore"):
                    self._block(rows)
                    self._check(step)
            yield self.overlaps()

    def overlaps(self) -> Overlaps:
        """Return Q, R and v as they are now."""
        N = self.w.shape[-1]
        return Overlaps(self.w @ self.w.mT / N, self.w @ self.B.mT / N, self.v.copy())

    def _block(self, rows: int) -> None:
        lead, N, g = self.v.shape[:-1], self.w.shape[-1], self.activation
        eta, eta_v = self.rates
        x = self._drawn(lambda inputs, _: inputs.standard_normal((rows, N)))
        xi = self._drawn(lambda _, noise: noise.standard_normal(rows))
        fields, gram = x @ self.w.mT / np.sqrt(N), x @ x.mT / N
        target = np.sum(self.heads[..., None, :] * g.value(x @ self.B.mT / np.sqrt(N)), axis=-1) + self.noise * xi
        steps = np.empty((*lead, rows, self.v.shape[-1]))
        for j in range(rows):
            now = fields[..., j, :]
            h = g.value(now)
            e = (target[..., j] - np.sum(self.v * h, axis=-1))[..., None]
            steps[..., j, :] = eta * self.feedback(self.v) * g.slope(now) * e
            self.v = self.v + eta_v / N * e * h
            fields[..., j + 1 :, :] += gram[..., j, j + 1 :, None] * steps[..., j, None, :]
        self.w += steps.mT @ x / np.sqrt(N)

    def _drawn(self, draw: Callable[[np.random.Generator, np.random.Generator], np.ndarray]) -> np.ndarray:
        """Return one draw per member."""
        each = [draw(*pair) for pair in self.draws]
        return np.stack(each).reshape(*self.v.shape[:-1], *each[0].shape)

    def _check(self, step: int) -> None:
        # Squares, because overlaps are what is asked of the weights.
        lengths, heads = (np.isfinite(np.sum(part**2, axis=-1)) for part in (self.w, self.v))
        bad = ~(np.all(lengths, axis=-1) & heads)
        if np.any(bad):
            layer = "v" if np.all(lengths) else "w"
            raise DivergenceError(
                f"the simulation diverged: {layer} is no longer finite after step {step} in {np.sum(bad)} of "
                f"{bad.size} runs; lower the learning rate, or start smaller"
            )
