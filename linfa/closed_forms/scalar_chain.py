"""E1: a chain of scalars of any depth under a fixed feedback path is one polynomial equation, and it always learns.

    w_{l+1} = (w_l² − 2c_l)/(2b_{l+1}),      ẇ_1 = m_1(σ_yx − σ_xx w_L … w_1) = q(w_1),      deg q = 2^L − 1

The leading coefficient of q is negative, so every start ends at w_L … w_1 = σ_yx/σ_xx. Derived in theory/scalar_chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import finite, fixed_paths, matrices, require, squared
from linfa.closed_forms.scalar_flow import ScalarFlow
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.task import Task
from linfa.weights import Weights

_FORM = "the scalar chain (E1)"


@dataclass(frozen=True, eq=False)
class ScalarChain:
    """The flow of w_1 … w_L, all widths one, squared loss.

    Args:
        weights: w_1(0) … w_L(0), shape (L,).
        feedback: b_2 … b_L, shape (L−1,), none of them zero.
        cross: σ_yx = E[y x].
        second: σ_xx = E[x²] > 0.

    Raises:
        InputError: where a feedback weight or σ_xx is zero, or a value is not finite.

    >>> chain = ScalarChain([0.0, 0.0, 0.0], [1.0, 1.0], cross=1.0, second=1.0)
    >>> chain.polynomial.tolist()               # ẇ = 1 − w · w²/2 · w⁴/8
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0625]
    >>> round(float(np.prod(chain.limit)), 12)
    1.0
    """

    weights: Array
    feedback: Array
    cross: float
    second: float = 1.0

    def __post_init__(self) -> None:
        for name, what in (("weights", "w_1(0) … w_L(0)"), ("feedback", "b_2 … b_L")):
            object.__setattr__(self, name, finite(getattr(self, name), what))
        L = self.weights.size
        if self.weights.shape != (L,) or L == 0 or self.feedback.shape != (L - 1,):
            raise InputError(
                f"a chain of L ≥ 1 weights has L − 1 feedback weights; got {self.weights.shape}, {self.feedback.shape}"
            )
        finite([self.cross, self.second], "σ_yx and σ_xx")
        require(bool(np.all(self.feedback != 0)), _FORM, "every b_l ≠ 0", f"b_2 … b_L are {self.feedback.tolist()}")
        require(self.second > 0, _FORM, "σ_xx > 0", f"σ_xx is {self.second}")
        with np.errstate(over="ignore", invalid="ignore"):
            expanded = self.taylor(float(self.weights[0]))
        if not np.all(np.isfinite(expanded)):
            raise InputError(f"degree 2^{L} − 1 overflows at w_1(0) = {self.weights[0]:g}: start smaller, or shallower")

    @classmethod
    def of(cls, weights: Weights, rule: AbstractRule, task: Task) -> ScalarChain:
        """Return the solution of a network of scalars under any fixed feedback path, b_{l+1} := m_l/m_{l+1}.

        Raises:
            InputError: with the hypothesis that failed.
        """
        W = matrices(weights, _FORM)
        require(set(weights.widths) == {1}, _FORM, "widths that are all 1", f"they are {weights.widths}")
        cross = squared(task, weights, _FORM)
        m = np.array([M.item() for M in fixed_paths(rule, weights, _FORM)])
        require(bool(np.all(m != 0)), _FORM, "feedback that reaches every layer", f"the paths m_l are {m.tolist()}")
        return cls(np.array([w.item() for w in W]), m[:-1] / m[1:], cross.item(), float(task.second.item()))

    @property
    def depth(self) -> int:
        """L."""
        return int(self.weights.size)

    @cached_property
    def constants(self) -> np.ndarray:
        """c_l = ½w_l(0)² − b_{l+1}w_{l+1}(0), shape (L−1,)."""
        return np.asarray(self.weights[:-1] ** 2 / 2 - self.feedback * self.weights[1:])

    @property
    def path(self) -> float:
        """m_1 = b_2 … b_L."""
        return float(np.prod(self.feedback))

    @property
    def polynomial(self) -> np.ndarray:
        """The coefficients of q in powers of w_1, from the constant up; shape (2^L,)."""
        return np.asarray(self.taylor(0.0) + 0.0)  # no negative zeros

    @cached_property
    def flow(self) -> ScalarFlow:
        """The equation ẇ_1 = q(w_1) from w_1(0)."""
        return ScalarFlow(self, float(self.weights[0]))

    @property
    def limit(self) -> np.ndarray:
        """w_1(∞) … w_L(∞), shape (L,)."""
        return self.lift(np.asarray(self.flow.limit))

    def at(self, t: Array) -> np.ndarray:
        """Return w_1(t) … w_L(t), shape (*t, L)."""
        return self.lift(self.flow.at(t))

    def lift(self, first: Array) -> np.ndarray:
        """Return w_1 … w_L that belong to values of w_1, shape (..., L)."""
        chain = [finite(first, "w_1")]
        for b, c in zip(self.feedback, self.constants, strict=True):
            chain.append((chain[-1] ** 2 - 2 * c) / (2 * b))
        return np.stack(chain, axis=-1)

    def excess_loss(self, t: Array) -> np.ndarray:
        """Return ℓ − ℓ* = E²/(2σ_xx) at times t."""
        error = self.cross - self.second * np.prod(self.at(t), axis=-1)
        return np.asarray(error**2 / (2 * self.second))

    def taylor(self, x: float) -> np.ndarray:
        """Return the coefficients of q(x + h) in powers of h, shape (2^L,)."""
        weight = output = np.array([x, 1.0])
        for b, c in zip(self.feedback, self.constants, strict=True):
            weight = np.convolve(weight, weight) / (2 * b)
            weight[0] -= c / b
            output = np.convolve(output, weight)
        q = -self.path * self.second * output
        q[0] += self.path * self.cross
        return np.asarray(q)

    def quotient(self, x: float, root: float) -> float:
        """Return (q(x) − q(root))/(x − root): divided differences through the recursion, [w_l²] = (w_l + w_l')[w_l]."""
        v, w = self.lift(np.array([x, root])).tolist()
        difference = total = 1.0
        product = w[0]
        for l, b in enumerate(self.feedback.tolist(), 1):
            difference *= (v[l - 1] + w[l - 1]) / (2 * b)
            total = v[l] * total + difference * product
            product *= w[l]
        return -self.path * self.second * total
