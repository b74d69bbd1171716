"""Starts that satisfy alignment dominance by construction, so that the law keeps every weight aligned for ever.

With P_l the orthogonal projector on range(M_l), M_l = (B_L … B_{l+1})ᵀ, and a random G:

    W_1(0) = scale · P_1 G,        W_l(0) = c_l P_l B_l   (l ≥ 2)

Then W_l has its range in range(M_l), on which Bᵀ_{l+1} P_{l+1} B_{l+1} is positive definite, so that c_{l+1} can be
chosen, from the bottom up, as the least number with C_l ⪯ 0 (matrix) or C_l[k,k] ≤ 0 (neuron), times 1 + margin. The
top layer has P_L = I. Derived from theory's A1; only the starting point looks at B, nothing is transported afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import eigh

from linfa.arrays import Rng, generator
from linfa.errors import InputError
from linfa.weights import Weights, check_feedback_widths, check_scale, drawn

Least = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def matrix_dominated(
    feedback: Sequence[np.ndarray], n_in: int, rng: Rng, scale: float = 1e-2, margin: float = 1.0
) -> Weights:
    """Return weights with C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1}) ⪯ 0 for every hidden layer.

    Args:
        feedback: B_2 … B_L.
        n_in: n_0.
        rng: a seed or generator, for W_1.
        scale: the size of W_1, N(0, scale²/n_0) before it is projected.
        margin: how far beyond the least multiple, ≥ 0; W_{l+1} is 1 + margin times what dominance needs.

    >>> B = np.array([[1.0, 2.0, 0.0]])
    >>> W, V = matrix_dominated([B], n_in=2, rng=0)
    >>> bool(np.linalg.eigvalsh(W @ W.T - B.T @ V - V.T @ B).max() < 1e-12)
    True
    """
    return _dominated(feedback, n_in, rng, scale, margin, _least_matrix_multiple, "matrix_dominated")


def neuron_dominated(
    feedback: Sequence[np.ndarray], n_in: int, rng: Rng, scale: float = 1e-2, margin: float = 1.0
) -> Weights:
    """Return weights with ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩ ≥ ½‖W_l[k,:]‖² for every hidden neuron k.

    Arguments as for `matrix_dominated`, which asks for more and starts larger.

    >>> B = np.array([[1.0, 2.0]])
    >>> W, V = neuron_dominated([B], n_in=2, rng=0)
    >>> bool(np.all((V * B).sum(0) >= (W * W).sum(1) / 2))
    True
    """
    return _dominated(feedback, n_in, rng, scale, margin, _least_neuron_multiple, "neuron_dominated")


def _dominated(
    feedback: Sequence[np.ndarray],
    n_in: int,
    rng: Rng,
    scale: float,
    margin: float,
    least: Least,
    name: str,
) -> Weights:
    widths = check_feedback_widths(feedback, n_in)
    scale, margin = check_scale(scale), check_scale(margin, "margin")
    frames = _path_frames(feedback)
    G = scale / np.sqrt(n_in) * generator(rng).standard_normal((widths[1], n_in))
    matrices = [frames[0] @ (frames[0].T @ G)]
    for B, Q, Q_next in zip(feedback, frames[:-1], frames[1:], strict=True):
        PB = Q_next @ (Q_next.T @ B)
        c = (1 + margin) * least(matrices[-1], PB.T @ PB, Q)
        # A start at W_l = 0 is dominated by c = 0 already; c = margin keeps the layers above alive.
        matrices.append((c if c > 0 else margin) * PB)
    return Weights(tuple(matrices), drawn(name, rng, scale=scale, margin=margin))


def _path_frames(feedback: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return orthonormal bases of range(M_1) … range(M_L)."""
    frames = [np.eye(feedback[-1].shape[0])]
    for l, B in reversed(list(enumerate(feedback, 2))):
        U, s, _ = np.linalg.svd(B.T @ frames[0], full_matrices=False)
        rank = int(np.sum(s > s[0] * max(B.shape) * np.finfo(float).eps)) if s.size and s[0] > 0 else 0
        if rank == 0:
            raise InputError(f"dominance needs feedback that reaches every layer; B_L … B_{l} is zero")
        frames.insert(0, U[:, :rank])
    return frames


def _least_matrix_multiple(W: np.ndarray, BB: np.ndarray, Q: np.ndarray) -> float:
    """Return the least c with 2c BB ⪰ W Wᵀ on range(Q): half the top generalised eigenvalue."""
    top = eigh(Q.T @ W @ W.T @ Q, Q.T @ BB @ Q, eigvals_only=True)[-1]
    return max(float(top) / 2, 0.0)


def _least_neuron_multiple(W: np.ndarray, BB: np.ndarray, _: np.ndarray) -> float:
    """Return the least c with 2c BB[k,k] ≥ (W Wᵀ)[k,k] for every neuron that W reaches."""
    norms, gains = np.sum(W * W, axis=1), np.diag(BB)
    alive = gains > 0
    return float(np.max(norms[alive] / gains[alive], initial=0.0)) / 2
