"""The Lyapunov function of two layers: what the feedback hears of the error falls, even where the loss does not.

    V = ½ E‖Bᵀ(y − f)‖²,   V̇ = −‖BᵀE W_1ᵀ‖² − ½‖W_1ᵀBᵀE‖² + ½ tr(EᵀB C_1 BᵀE),   E = Σ_yx − W_2W_1Σ_xx

Proof. ∂V/∂X = −BBᵀE and Ẋ = E W_1ᵀW_1 + W_2BᵀE for X = W_2W_1, so V̇ = −‖BᵀEW_1ᵀ‖² − tr((BᵀE)ᵀ BᵀW_2 (BᵀE)); only the
symmetric part of BᵀW_2 counts, and sym(BᵀW_2) = W_1W_1ᵀ − C_1. Any Σ_xx: it enters through E alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linfa.arrays import Array, inner, like, norm, sym
from linfa.conditions.dominance import largest_eigenvalue, range_basis
from linfa.conditions.interface import AbstractCondition, needs_task
from linfa.errors import InputError, NoLawError
from linfa.losses import Squared
from linfa.rules.interface import AbstractRule, State
from linfa.task import Task


class Terms(NamedTuple):
    """The three terms whose sum is V̇, each of shape (...,)."""

    readout: Array
    """−‖BᵀE W_1ᵀ‖² ≤ 0: what the read-out's learning takes away."""
    hidden: Array
    """−½‖W_1ᵀBᵀE‖² ≤ 0: what the hidden layer's learning takes away once its weights have grown."""
    start: Array
    """+½ tr(EᵀB C_1 BᵀE): what the start adds for ever, ≤ 0 where C_1 ⪯ 0 on range(Bᵀ)."""

    def total(self) -> Array:
        """Return V̇."""
        return self.readout + self.hidden + self.start


class Lyapunov(AbstractCondition):
    """−λ_max(C_1) on range(Bᵀ), two layers, squared loss, fixed feedback: ≥ 0 makes V = ½ E‖Bᵀ(y−f)‖² fall for ever.

    Lillicrap et al. 2016, Theorem 1, is the whitened case with C_1 = 0. The loss itself may rise on the way. The
    condition is about the manner, not the end: with B of full row rank the loss reaches its least value from *every*
    start (`certify`, theorem "convergence"). Derived in theory/lyapunov.

    >>> import linfa
    >>> B, W, V = np.diag([2.0, 1.0]), np.zeros((2, 1)), np.diag([1.0, 3.0])
    >>> rule, state = linfa.FeedbackAlignment((B,)), linfa.State((W, V))
    >>> float(Lyapunov().margin(rule, state))
    4.0
    >>> task = linfa.Task.from_moments([[1.0]], [[1.0], [1.0]], [[1.0, 1.0], [1.0, 1.0]])
    >>> float(Lyapunov().value(rule, state, task)), float(Lyapunov().terms(rule, state, task).total())
    (2.5, -11.0)
    """

    name = "lyapunov"
    statement = (
        "Two layers, squared loss: where C_1 has no positive direction in range(Bᵀ), what the feedback hears of the "
        "error, ½E‖Bᵀ(y−f)‖², never grows."
    )
    latex = r"-\lambda_{\max}(C_1|_{\mathrm{range}\,B^\top})"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return −λ_max(QᵀC_1Q), Q an orthonormal basis of range(Bᵀ); shape (...,)."""
        B = _feedback(rule, state)
        return -largest_eigenvalue(_constant(B, state), range_basis(B.mT))

    def value(self, rule: AbstractRule, state: State, task: Task) -> Array:
        """Return V = ½ E‖Bᵀ(y − f)‖², shape (...,)."""
        B, task = _feedback(rule, state), _squared(task)
        G, W_1, W_2 = B @ B.mT, *state.weights
        if task.inputs is not None:
            batch = task.samples(W_1)
            r = batch.targets - batch.inputs @ (W_2 @ W_1).mT
            return inner(r @ G, r) / (2 * batch.inputs.shape[0])
        floor, X_star = _optimum(task)
        gap = W_2 @ W_1 - like(X_star, W_1)
        return inner(like(floor, W_1), G) / 2 + inner(G @ gap @ like(task.second, W_1), gap) / 2

    def terms(self, rule: AbstractRule, state: State, task: Task) -> Terms:
        """Return the three terms of V̇."""
        B, task = _feedback(rule, state), _squared(task)
        W_1, W_2 = state.weights
        BE = B.mT @ (like(task.cross, W_1) - W_2 @ W_1 @ like(task.second, W_1))
        C = _constant(B, state)
        return Terms(-(norm(BE @ W_1.mT) ** 2), -(norm(W_1.mT @ BE) ** 2) / 2, inner(C @ BE, BE) / 2)


def _constant(B: Array, state: State) -> Array:
    """Return C_1 = W_1W_1ᵀ − sym(BᵀW_2)."""
    W_1, W_2 = state.weights
    return W_1 @ W_1.mT - sym(B.mT @ W_2)


def _feedback(rule: AbstractRule, state: State) -> Array:
    """Return B = M_1ᵀ (p, n_1) of a two-layer network, or say why there is no such function."""
    if len(state.weights) != 2:
        raise InputError(f"the Lyapunov function is that of two layers; this network has {len(state.weights)}")
    if not rule.fixed_path:
        raise NoLawError(
            f"{rule.name}: V = ½E‖Bᵀ(y−f)‖² and its derivative need feedback that stays put, and this one moves"
        )
    return rule.paths(state)[0].mT


def _squared(task: Task | None) -> Task:
    task = needs_task(task, "lyapunov")
    if not isinstance(task.loss, Squared):
        raise InputError(f"the Lyapunov function is that of the squared loss; this task has {type(task.loss).__name__}")
    return task


def _optimum(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the least residual covariance Σ_yy − X*Σ_xxX*ᵀ, and X* = Σ_yxΣ_xx⁺."""
    X_star = task.optimum
    return task.target_second - X_star @ task.second @ X_star.T, X_star
