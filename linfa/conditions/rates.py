"""Rates: how fast the loss falls, where that is proved, each with the bound it proves.

Global rates hold from the state they are evaluated at and for ever after; their margin is the rate, positive where the
rate says anything, and `bound` is the curve. The local rate is that of the linearised flow at zero error.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from linfa import metrics
from linfa.arrays import Array, like, norm, to_numpy
from linfa.conditions.dominance import LayerDominance
from linfa.conditions.interface import AbstractCondition, needs_hidden, needs_task
from linfa.conditions.lyapunov import Lyapunov
from linfa.errors import InputError, NoLawError
from linfa.losses import Exponential, Logistic, Squared
from linfa.rules.interface import AbstractLayerwise, AbstractRule, State
from linfa.task import Task
from linfa.weights import Weights

MOST_LOCAL = 2000
"""The linearised flow of more than this many numbers p n_0 is not diagonalised."""


class AbstractRate(AbstractCondition):
    """A rate, and the curve that it proves for one network (no leading axes)."""

    @abstractmethod
    def bound(self, rule: AbstractRule, state: State, task: Task, t: Array) -> np.ndarray:
        """Return what the proved bound is at times t after the state."""


class ScalarOutputRate(AbstractRate):
    """2κλ, two layers, one output, squared loss: L − L* ≤ e^{−2κλt}(L(0) − L*).

    dL/dt = −⟨W_2, B⟩‖E‖² − ‖EW_1ᵀ‖² ≤ −κ‖E‖², since ⟨W_2, B⟩ = ½‖W_1‖² + κ with κ = −½ tr C_1 (layer dominance), and
    ‖E‖² ≥ 2λ(L − L*), λ the smallest non-zero eigenvalue of Σ_xx. Derived in theory's A2 and A5.

    >>> import linfa
    >>> rule, state = linfa.FeedbackAlignment((np.array([[1.0]]),)), linfa.State((np.zeros((1, 1)), np.array([[3.0]])))
    >>> float(ScalarOutputRate().margin(rule, state, linfa.Task.from_moments([[2.0]], [[1.0]], [[1.0]])))
    12.0
    """

    name = "scalar_output_rate"
    statement = "Two layers, one output, squared loss: the excess loss falls at least as e^{−2κλt}."
    latex = r"2\kappa\lambda_{\min}^{+}(\Sigma_{xx}),\quad \kappa = -\tfrac12\operatorname{tr}C_1"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return 2κλ, shape (...,)."""
        task = _squared(task, self.name)
        _two_layers_one_output(rule, state, self.name)
        return 2 * LayerDominance().margin(rule, state)[..., 0] * smallest_input_eigenvalue(task)

    def bound(self, rule: AbstractRule, state: State, task: Task, t: Array) -> np.ndarray:
        """Return e^{−2κλt}(L(0) − L*), a bound on L(t) − L*."""
        rate = _proved(self.margin(rule, state, task), self.name)
        return np.asarray(_excess(state, task) * np.exp(-rate * np.asarray(t)))


class LyapunovRate(AbstractRate):
    """κλ, two layers, squared loss: V − V* ≤ e^{−κλt}(V(0) − V*), κ = −λ_max(C_1) on range(Bᵀ).

    V̇ ≤ ½tr(EᵀB C_1 BᵀE) ≤ −½κ‖BᵀE‖² and ‖BᵀE‖² ≥ 2λ(V − V*). With B of full row rank
    L − L* ≤ (V − V*)/σ_min(B)². Any number of outputs. Derived from theory's A3.

    >>> import linfa
    >>> rule, state = linfa.FeedbackAlignment((np.eye(2),)), linfa.State((np.zeros((2, 1)), 3 * np.eye(2)))
    >>> task = linfa.Task.from_moments([[2.0]], [[1.0], [1.0]], np.eye(2))
    >>> float(LyapunovRate().margin(rule, state, task))
    12.0
    """

    name = "lyapunov_rate"
    statement = "Two layers, squared loss: the excess of ½E‖Bᵀ(y−f)‖² falls at least as e^{−κλt}."
    latex = r"\kappa\lambda_{\min}^{+}(\Sigma_{xx}),\quad \kappa = -\lambda_{\max}(C_1|_{\mathrm{range}\,B^\top})"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return κλ, shape (...,)."""
        return Lyapunov().margin(rule, state) * smallest_input_eigenvalue(_squared(task, self.name))

    def bound(self, rule: AbstractRule, state: State, task: Task, t: Array) -> np.ndarray:
        """Return e^{−κλt}(V(0) − V*), a bound on V(t) − V*."""
        rate = _proved(self.margin(rule, state, task), self.name)
        B = to_numpy(rule.paths(state)[0]).T
        return np.asarray(np.sum((B.T @ _gap_root(state, task)) ** 2) / 2 * np.exp(-rate * np.asarray(t)))


class AverageRate(AbstractRate):
    """1/K, any depth, squared loss, *any* start, M_1 of full column rank: min_{s ≤ t} L(s) − L* ≤ K/t.

    K = ¼‖W_1‖² + ⅛‖W_L‖² + ⅛Σ_{l=2}^L‖W_l − B_l‖² + ‖X*‖²/σ_min(M_1)² bounds ∫(L − L*)dt. Direct feedback: B_{l+1}ᵀ :=
    M_lM_{l+1}⁺, where every M_l has full column rank. Derived in theory/convergence.

    >>> import linfa
    >>> rule, state = linfa.FeedbackAlignment((np.eye(1),)), linfa.State((np.zeros((1, 1)), np.zeros((1, 1))))
    >>> task = linfa.Task.from_moments([[1.0]], [[4.0]], [[16.0]])
    >>> float(1 / AverageRate().margin(rule, state, task))  # ⅛ + 16
    16.125
    """

    name = "average_rate"
    statement = "Fixed feedback of full column rank, squared loss: from any start the least loss so far falls as K/t."
    latex = (
        r"1/K,\quad K = \tfrac14\lVert W_1\rVert^2 + \tfrac18\lVert W_L\rVert^2"
        r" + \tfrac18\sum_l\lVert W_l - B_l\rVert^2 + \lVert X^*\rVert^2/\sigma_{\min}(M_1)^2"
    )

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return 1/K, or 0 where a path has not full column rank (judged in floating point); shape (...,)."""
        task = _squared(task, self.name)
        needs_hidden(state, self.name)
        if not rule.fixed_path:
            raise NoLawError(f"{rule.name}: {self.name} is proved for feedback that stays put, and this one moves")
        W, xp = state.weights, array_namespace(state.weights[0])
        M = [to_numpy(m) for m in rule.paths(state)]
        p = M[-1].shape[-1]
        if any(m.ndim > 2 for m in M):
            raise InputError(f"{self.name} needs one feedback for all networks; this one has leading axes")
        if any(np.linalg.matrix_rank(m) < p for m in M):
            return xp.zeros_like(xp.sum(W[0], axis=(-2, -1)))
        if isinstance(rule, AbstractLayerwise):
            B = rule.feedback(state)
        else:
            B = tuple(like((m @ np.linalg.pinv(above)).T, W[0]) for m, above in zip(M, M[1:], strict=False))
        reach = float(np.linalg.norm(_optimum(task)) / np.linalg.svd(M[0], compute_uv=False)[-1])
        gaps = sum((norm(w - b) ** 2 for w, b in zip(W[1:], B, strict=True)), start=0 * norm(W[0]))
        K = norm(W[0]) ** 2 / 4 + norm(W[-1]) ** 2 / 8 + gaps / 8 + reach**2
        # K = 0 only at a solution that is zero, where nothing moves: any rate is true.
        return 1 / xp.where(K > 0, K, xp.full_like(K, float(np.finfo(float).tiny)))

    def bound(self, rule: AbstractRule, state: State, task: Task, t: Array) -> np.ndarray:
        """Return K/t, a bound on min_{s ≤ t} L(s) − L*; t > 0."""
        speed = _proved(self.margin(rule, state, task), self.name, least=float(np.finfo(float).tiny))
        return np.asarray(1 / (speed * np.asarray(t)))


@dataclass(frozen=True, eq=False)
class SeparableRate(AbstractRate):
    """c = κγ² (exponential loss), two layers, one output: dL/dt ≤ −cL², so L ≤ L(0)/(1 + cL(0)t).

    κ = −½ tr C_1 as in `ScalarOutputRate`, γ = min_n y_n u·x_n/‖u‖ the margin of a direction u that separates the data:
    ‖E‖ ≥ ⟨E, u⟩/‖u‖ ≥ γL. Logistic loss: c times ((1 − e^{−NL(0)})/(NL(0)))², N samples. Derived in theory's A5.

    Args:
        direction: u, shape (n_0,); the best c is that of the maximum-margin direction.

    >>> import linfa
    >>> rule, state = linfa.FeedbackAlignment((np.array([[1.0]]),)), linfa.State((np.zeros((1, 1)), np.array([[3.0]])))
    >>> task = linfa.Task.from_samples([[2.0], [-1.0]], [[1.0], [-1.0]], linfa.Exponential())
    >>> float(SeparableRate(np.ones(1)).margin(rule, state, task))
    3.0
    """

    name = "separable_rate"
    statement = "Two layers, one output, exponential or logistic loss, separable data: L ≤ L(0)/(1 + cL(0)t)."
    latex = r"\kappa\gamma^2"
    direction: np.ndarray

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return c; negative where κ < 0, and −|κ|γ² where u does not separate the data. Shape (...,)."""
        task = needs_task(task, self.name)
        if not isinstance(task.loss, Exponential | Logistic) or task.inputs is None or task.targets is None:
            raise InputError(f"{self.name} is for the exponential or the logistic loss and a task with samples")
        _two_layers_one_output(rule, state, self.name)
        u = np.asarray(self.direction, float)
        if u.shape != (task.n_in,) or not np.all(np.isfinite(u)) or not np.any(u):
            raise InputError(
                f"the direction must be a finite non-zero vector of length {task.n_in}; got shape {u.shape}"
            )
        if not np.all(np.abs(task.targets) == 1):
            raise InputError("the exponential and the logistic rate need targets ±1")
        gamma = float(np.min(task.targets[:, 0] * (task.inputs @ (u / np.linalg.norm(u)))))
        kappa = LayerDominance().margin(rule, state)[..., 0]
        c = kappa * gamma**2 if gamma > 0 else -abs(kappa) * gamma**2
        if isinstance(task.loss, Exponential):
            return c
        xp = array_namespace(c)
        top = len(task.inputs) * metrics.loss(Weights(state.weights), task)
        return c * (-xp.expm1(-top) / top) ** 2

    def bound(self, rule: AbstractRule, state: State, task: Task, t: Array) -> np.ndarray:
        """Return L(0)/(1 + cL(0)t), a bound on L(t)."""
        c = _proved(self.margin(rule, state, task), self.name)
        L_0 = float(metrics.loss(Weights(state.weights), task))
        return np.asarray(L_0 / (1 + c * L_0 * np.asarray(t)))


class LocalRate(AbstractCondition):
    """min Re of the decay rates of E at zero error; two layers, whitened: λ_i(W_2Bᵀ) + λ_j(W_1ᵀW_1).

    To first order around E = 0 only E moves X, so Ė = −Σ_l (W_L … W_{l+1}M_l) E (X_{l−1}ᵀX_{l−1}) Σ_xx: one formula for
    every rule, depth and input covariance, on the E whose rows lie in range(Σ_xx). At a state of non-zero error it is
    the rate which that state would have if it were a solution. Positive: nearby errors die out exponentially.
    Derived in theory's A7.

    >>> import linfa
    >>> rule, state = linfa.FeedbackAlignment((np.eye(1),)), linfa.State((np.array([[2.0]]), np.array([[3.0]])))
    >>> LocalRate().rates(rule, state, linfa.Task.from_moments([[1.0]], [[6.0]], [[36.0]]))
    array([7.+0.j])
    """

    name = "local_rate"
    statement = "At a solution whose linearised decay rates have positive real parts, nearby errors die exponentially."
    latex = r"\min_{ij}\operatorname{Re}\lambda_i(W_2B^\top) + \lambda_j(W_1^\top W_1)"

    def rates(self, rule: AbstractRule, state: State, task: Task | None = None) -> np.ndarray:
        """Return the p · rank Σ_xx decay rates, complex, smallest real part first; shape (..., p rank Σ_xx)."""
        task = _squared(task, self.name)
        values, Q = _spectrum(task)
        p = state.weights[-1].shape[-2]
        if p * len(values) > MOST_LOCAL:
            raise InputError(
                f"the linearised flow of p · rank Σ_xx = {p * len(values)} numbers is too large to diagonalise; at "
                f"most {MOST_LOCAL}: whiten the inputs and project them on fewer directions"
            )
        weights = Weights(state.weights)
        X = [to_numpy(x) for x in weights.products()]
        W = [to_numpy(w) for w in weights]
        M = [to_numpy(m) for m in rule.paths(state)]
        # E = ẼQᵀ: in the eigenbasis of Σ_xx the operator is Σ_l A_l Ẽ K_l with A_l = W_L…W_{l+1}M_l.
        root = Q * np.sqrt(values)
        total: np.ndarray = np.zeros(())
        after = np.eye(p)
        for l in range(len(W), 0, -1):
            A, XQ = after @ M[l - 1], X[l - 1] @ root
            K = np.swapaxes(XQ, -1, -2) @ XQ
            total = total + np.einsum("...ij,...kl->...ikjl", A, K)
            after = after @ W[l - 1]
        n = p * len(values)
        found = np.linalg.eigvals(total.reshape(*total.shape[:-4], n, n)) + 0j
        return np.asarray(np.take_along_axis(found, np.argsort(found.real, axis=-1), axis=-1))

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return the least real part, shape (...,)."""
        return like(self.rates(rule, state, task)[..., 0].real, state.weights[0])


def smallest_input_eigenvalue(task: Task) -> float:
    """Return λ, the smallest eigenvalue of Σ_xx that is not zero to rounding.

    >>> smallest_input_eigenvalue(Task.from_samples(np.array([[2.0, 0.0]]), np.ones((1, 1))))
    4.0
    """
    return float(_spectrum(task)[0][0])


def _spectrum(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-zero eigenvalues of Σ_xx, increasing, and their eigenvectors as columns."""
    values, Q = task.spectrum
    if len(values) == 0:
        raise InputError("Σ_xx is zero: there is nothing to learn from, and no rate")
    return values, Q


def _optimum(task: Task) -> np.ndarray:
    """Return X* = Σ_yxΣ_xx⁺."""
    _spectrum(task)
    return task.optimum


def _gap_root(state: State, task: Task) -> np.ndarray:
    """Return (X − X*)Σ_xx^{1/2} in the eigenbasis, half of whose squared norm is L − L*."""
    values, Q = _spectrum(task)
    X = to_numpy(Weights(state.weights).products()[-1])
    return np.asarray((X - _optimum(task)) @ (Q * np.sqrt(values)))


def _proved(margin: Array, name: str, least: float = 0.0) -> float:
    """Return the rate of one network, or say that there is nothing to bound the loss with."""
    if margin.ndim > 0:
        raise InputError("this bound is for one network; the state has leading axes: index them")
    rate = float(margin)
    if rate < least:
        raise InputError(f"{name} proves nothing at this state: its hypotheses fail by a margin of {rate:g}")
    return rate


def _excess(state: State, task: Task) -> float:
    return float(np.sum(_gap_root(state, task) ** 2)) / 2


def _squared(task: Task | None, name: str) -> Task:
    task = needs_task(task, name)
    if not isinstance(task.loss, Squared):
        raise InputError(f"{name} is for the squared loss; this task has {type(task.loss).__name__}")
    return task


def _two_layers_one_output(rule: AbstractRule, state: State, name: str) -> None:
    """Raise where there are not two layers, fixed feedback and one output."""
    if len(state.weights) != 2:
        raise InputError(f"{name} is proved for two layers; this network has {len(state.weights)}")
    if not rule.fixed_path:
        raise NoLawError(f"{rule.name}: {name} is proved for feedback that stays put, and this one moves")
    if state.weights[-1].shape[-2] != 1:
        raise InputError(f"{name} is proved for one output; this network has {state.weights[-1].shape[-2]}")


__all__ = [
    "AbstractRate",
    "AverageRate",
    "LocalRate",
    "LyapunovRate",
    "ScalarOutputRate",
    "SeparableRate",
    "smallest_input_eigenvalue",
]
