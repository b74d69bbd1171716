"""E2: two layers whose weights, feedback and target share their singular vectors learn mode by mode, one cubic each.

With Σ_xx = I, Σ_yx = U λ Vᵀ, B = U c Rᵀ, W_1 = R θ_1 Vᵀ, W_2 = U θ_2 Rᵀ, every mode obeys

    θ̇_1 = c(λ − θ_1θ_2),   θ̇_2 = θ_1(λ − θ_1θ_2),   θ_2 = θ_1²/(2c) + K,      θ̇_1 = cλ − cKθ_1 − ½θ_1³

The setting is that of Girotti, Mitliagkas & Gidel 2021. From a zero start, φ = θ_1/c obeys φ̇ = λ − ½c²φ³ and is solved
by `PowerFlow`. Derived from theory's E2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linfa.arrays import Array, sym
from linfa.closed_forms.frames import SLACK, common_frame, mode_strengths, partners
from linfa.closed_forms.hypotheses import finite, fixed_paths, matrices, require, whitened
from linfa.closed_forms.power_flow import PowerFlow
from linfa.closed_forms.scalar_flow import Polynomial, ScalarFlow, first_zero
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the aligned modes (E2)"


@dataclass(frozen=True, eq=False)
class AlignedModes:
    """The modes of a two-layer network, each with its own target, feedback and start.

    Args:
        targets: λ, the singular values to be learnt, shape (k,).
        feedback: c ≠ 0, shape (k,) or one number.
        first: θ_1(0), shape (k,) or one number.
        second: θ_2(0), likewise.
        frames: (U, R, V) with one column per mode, where the modes belong to a network.

    Raises:
        InputError: where a feedback weight is zero or a value is not finite.

    >>> modes = AlignedModes([0.5, 1.0, 2.0], 1.0)
    >>> modes.learning_times(0.01).round(3).tolist()       # from zero, large components first
    [4.769, 3.004, 1.893]
    >>> modes = AlignedModes.with_constant([0.5, 1.0, 2.0], 1.0, first=-2.5, constant=-3.0)
    >>> modes.learning_times(0.01).round(3).tolist()       # small components first
    [0.916, 0.974, 1.304]
    """

    targets: Array
    feedback: Array
    first: Array = 0.0
    second: Array = 0.0
    frames: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", np.atleast_1d(finite(self.targets, "λ")))
        for name in ("feedback", "first", "second"):
            values = finite(getattr(self, name), name)
            if values.shape not in ((), self.targets.shape) or self.targets.ndim != 1:
                raise InputError(f"{name} must be one number, or one per mode {self.targets.shape}; got {values.shape}")
            object.__setattr__(self, name, np.broadcast_to(values, self.targets.shape))
        silent = np.flatnonzero(self.feedback == 0).tolist()
        require(not silent, _FORM, "feedback c ≠ 0 for every mode", f"it is zero for modes {silent}")

    @classmethod
    def with_constant(cls, targets: Array, feedback: Array, first: Array, constant: Array) -> AlignedModes:
        """Return modes given θ_1(0) and the conserved K = θ_2 − θ_1²/(2c) in place of θ_2(0)."""
        c, theta, K = finite(feedback, "feedback"), finite(first, "first"), finite(constant, "K")
        with np.errstate(divide="ignore", invalid="ignore"):
            second = np.where(c == 0, 0.0, theta**2 / (2 * c) + K)
        return cls(targets, feedback, first, second)

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> AlignedModes:
        """Return the modes of a network, or say which hypothesis fails.

        Raises:
            InputError: unless there are two layers, a fixed feedback path that hears every output, whitened inputs, and
                W_1, W_2, B, Σ_yx that are diagonal together.

        >>> import linfa
        >>> net, task = linfa.Weights.zero((2, 2, 2)), linfa.Task.teacher(2, 2, rng=0, spectrum=[2.0, 1.0])
        >>> rule = linfa.FeedbackAlignment((np.eye(2),))
        >>> sorted(AlignedModes.of(net, rule, task).targets.round(12).tolist())
        [1.0, 2.0]
        """
        W_1, W_2 = matrices(weights, _FORM, depth=2)
        Y = whitened(task, weights, _FORM)
        B = fixed_paths(rule, weights, _FORM)[0].T
        U = common_frame(B @ B.T, Y @ Y.T, sym(B @ W_2.T), W_2 @ W_2.T, sym(B @ W_1 @ Y.T), B @ W_1 @ W_1.T @ B.T)
        c = np.linalg.norm(B.T @ U, axis=0)
        heard = bool(np.all(c > SLACK * max(np.linalg.norm(B), np.finfo(float).tiny)))
        require(heard, _FORM, "feedback of full row rank, heard by every mode", f"its strengths are {c.tolist()}")
        R = B.T @ U / c
        V = partners(U, Y, U @ R.T @ W_1)
        mode_strengths(B, U, R, "B", _FORM)
        orthonormal(R, _FORM, "hidden")
        orthonormal(V, _FORM, "input")
        targets = mode_strengths(Y, U, V, "Σ_yx", _FORM)
        first, second = mode_strengths(W_1, R, V, "W_1", _FORM), mode_strengths(W_2, U, R, "W_2", _FORM)
        return cls(targets, c, first, second, (U, R, V))

    # What is conserved, and where it ends ---------------------------------------------------------------------------

    @cached_property
    def constants(self) -> np.ndarray:
        """K = θ_2(0) − θ_1(0)²/(2c), shape (k,)."""
        return np.asarray(self.second - self.first**2 / (2 * self.feedback))

    @property
    def thresholds(self) -> np.ndarray:
        """λ_c = (⅔|cK|)^{3/2}/|c| where cK < 0: three rests if |λ| < λ_c, one if |λ| > λ_c; 0 where cK ≥ 0.

        >>> AlignedModes.with_constant([1.0], 1.0, -2.5, -1.5).thresholds.tolist()
        [1.0]
        """
        depth = np.maximum(-self.feedback * self.constants, 0.0)
        return np.asarray((2 * depth / 3) ** 1.5 / np.abs(self.feedback))

    def roots(self) -> tuple[np.ndarray, ...]:
        """Return the real θ_1 at which each mode rests, increasing; a double root, at λ_c, counts twice."""
        return tuple(_real_cubic_roots(q) for q in self._cubics)

    @property
    def limits(self) -> np.ndarray:
        """θ_1(∞), shape (k,)."""
        return np.array([flow.limit for flow in self._flows])

    # When -----------------------------------------------------------------------------------------------------------

    def at(self, t: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return (θ_1(t), θ_2(t)), each of shape (*t, k)."""
        first = np.stack([flow.at(t) for flow in self._flows], axis=-1)
        return first, np.asarray(first**2 / (2 * self.feedback) + self.constants)

    def strength(self, t: Array) -> np.ndarray:
        """Return s(t) = θ_1θ_2, what has been learnt of λ; shape (*t, k)."""
        first, second = self.at(t)
        return np.asarray(first * second)

    def excess_loss(self, t: Array) -> np.ndarray:
        """Return ½Σ(λ − s)², the loss above its least value; shape of t."""
        return np.asarray(np.sum((self.targets - self.strength(t)) ** 2, axis=-1) / 2)

    def learning_times(self, fraction: float = 0.01) -> np.ndarray:
        """Return the first time with |λ − s| ≤ fraction · |λ|, per mode; shape (k,).

        The error λ − s keeps its sign, so that this is the first zero of λ − s ∓ fraction λ on the way.
        """
        if not 0 < fraction < 1:
            raise InputError(f"the fraction of λ that may be missing lies between 0 and 1; got {fraction}")
        return np.array([self._learnt(i, fraction) for i in range(len(self.targets))])

    def weights(self, t: float) -> Weights:
        """Return the weights of the whole network at one time.

        Raises:
            InputError: where the modes do not belong to a network.
        """
        if self.frames is None:
            raise InputError("these modes belong to no network: make them with AlignedModes.of(weights, rule, task)")
        U, R, V = self.frames
        first, second = self.at(np.asarray(t, dtype=float))
        return Weights(((R * first) @ V.T, (U * second) @ R.T))

    # From zero ------------------------------------------------------------------------------------------------------

    def from_zero(self, mode: int) -> PowerFlow:
        """Return φ = θ_1/c of one mode that starts at zero: t(φ) in closed form, with κ = ½c².

        Raises:
            InputError: where the mode does not start at θ_1 = θ_2 = 0.
        """
        start = float(self.first[mode]), float(self.second[mode])
        require(start == (0.0, 0.0), "t(φ)", "a zero start", f"mode {mode} starts at θ_1, θ_2 = {start}")
        return PowerFlow(self.targets[mode], float(self.feedback[mode]) ** 2 / 2, 3)

    @cached_property
    def _cubics(self) -> tuple[np.ndarray, ...]:
        c, K = self.feedback, self.constants
        return tuple(np.array([a, -b, 0.0, -0.5]) for a, b in zip(c * self.targets, c * K, strict=True))

    @cached_property
    def _flows(self) -> tuple[ScalarFlow, ...]:
        pairs = zip(self._cubics, self.first.tolist(), strict=True)
        return tuple(ScalarFlow(Polynomial(q), start) for q, start in pairs)

    def _learnt(self, i: int, fraction: float) -> float:
        flow, q = self._flows[i], Polynomial(self._cubics[i]).taylor
        now, enough = float(q(flow.start)[0]), fraction * abs(float(self.feedback[i] * self.targets[i]))
        if abs(now) <= enough:
            return 0.0
        if enough == 0:
            return float("inf")
        return float(flow.time(first_zero(q, flow.start, float(np.copysign(enough, now)))))


def orthonormal(frame: np.ndarray, form: str, which: str) -> None:
    """Raise InputError unless the columns that are not zero are orthonormal."""
    gram = frame.T @ frame
    off = float(np.abs(gram - np.diag(np.diag(gram))).max())
    require(off <= SLACK, form, "modes that are orthogonal", f"two {which} modes have the inner product {off:.3g}")


def _real_cubic_roots(q: np.ndarray) -> np.ndarray:
    """Return the real roots of q_0 + q_1x − ½x³ by the trigonometric and hyperbolic formulae of Viète.

    >>> _real_cubic_roots(np.array([0.0, 2.0, 0.0, -0.5])).round(12).tolist()
    [-2.0, 0.0, 2.0]
    """
    p, r = 2 * float(q[1]), 2 * float(q[0])  # x³ = px + r
    if p > 0 and abs(r) <= 2 * (p / 3) ** 1.5:
        angle = np.arccos(r / (2 * (p / 3) ** 1.5)) / 3
        return np.sort(2 * np.sqrt(p / 3) * np.cos(angle - 2 * np.pi * np.arange(3) / 3))
    if p > 0:
        z = np.arccosh(abs(r) / (2 * (p / 3) ** 1.5)) / 3
        return np.array([np.copysign(2 * np.sqrt(p / 3) * np.cosh(z), r)])
    if p < 0:
        return np.array([2 * np.sqrt(-p / 3) * np.sinh(np.arcsinh(r / (2 * (-p / 3) ** 1.5)) / 3)])
    return np.array([np.cbrt(r)])
