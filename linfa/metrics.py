"""Numbers that describe a network: alignment, accuracy, participation ratio, principal angles.

Alignments are signed cosines: −1 is anti-alignment, and a metric that hid the sign would hide it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float
from scipy.linalg import subspace_angles

from linfa.arrays import Array, cosine, to_numpy
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, State
from linfa.systems.full import Full
from linfa.systems.interface import Samples
from linfa.task import Task
from linfa.weights import Weights


def loss(weights: Weights, task: Task) -> Array:
    """Return the mean loss E[ℓ(f(x), y)] over all samples, one number per network.

    >>> task = Task.from_samples(np.eye(2), np.ones((2, 1)))
    >>> float(loss(Weights.zero((2, 1)), task))
    0.5
    """
    batch = task.everything(weights[0])
    return batch.value(_output(weights, batch.inputs))


def accuracy(weights: Weights, task: Task) -> Array:
    """Return the fraction of samples whose largest output is the largest target (one output: whose sign agrees).

    >>> task = Task.from_samples(np.eye(2), np.eye(2))
    >>> float(accuracy(Weights((np.eye(2),)), task))
    1.0
    """
    if task.inputs is None:
        raise InputError("accuracy counts samples, and this task has moments only")
    batch = task.samples(weights[0])
    f, xp = _output(weights, batch.inputs), array_namespace(weights[0])
    if task.n_out == 1:
        right = (f > 0) == (batch.targets > 0)
        return xp.mean(xp.astype(right[..., 0], f.dtype), axis=-1)
    right = xp.argmax(f, axis=-1) == xp.argmax(batch.targets, axis=-1)
    return xp.mean(xp.astype(right, f.dtype), axis=-1)


def weight_alignment(rule: AbstractRule, state: State) -> tuple[Array, ...]:
    """Return cos(B_l, W_l) for l = 2 … L; for direct feedback cos(F_l, W_L … W_{l+1}) for l = 1 … L−1."""
    return tuple(cosine(B, W) for B, W in rule.stand_ins(state))


def update_alignment(system: Full, state: State, batch: Samples, step: int | None = None) -> tuple[Array, ...]:
    """Return cos(U_l, −∇_l) for l = 1 … L: the rule's update against the negative gradient, at the same weights."""
    _, cosines = system.alignments(state, batch, step)["update_alignment"]
    return tuple(cosines[..., l] for l in range(cosines.shape[-1]))


def participation_ratio(matrix: Float[Any, "*batch m n"]) -> Array:
    """Return (Σσ²)²/Σσ⁴ of the singular values: how many directions share a matrix; zero for the zero matrix.

    >>> float(participation_ratio(np.eye(3)))
    3.0
    """
    xp = array_namespace(matrix)
    s2 = xp.linalg.svdvals(matrix) ** 2
    top = xp.sum(s2**2, axis=-1)
    return xp.sum(s2, axis=-1) ** 2 / xp.where(top > 0, top, xp.ones_like(top))


def principal_angles(A: Float[Any, "n a"], B: Float[Any, "n b"]) -> Float[np.ndarray, " k"]:
    """Return the principal angles in radians, largest first, between the column spans (Björck & Golub 1973).

    >>> principal_angles(np.eye(3)[:, :1], np.eye(3)[:, 1:2]) / np.pi
    array([0.5])
    """
    return np.asarray(subspace_angles(to_numpy(A), to_numpy(B)))


def _output(weights: Weights, inputs: Array) -> Array:
    h = inputs
    for W in weights:
        h = h @ W.mT
    return h
