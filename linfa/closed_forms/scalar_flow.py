"""A scalar equation ẋ = q(x), q a polynomial: where it ends, when it is where, and where it is when.

From a start with q ≠ 0, x moves monotonically to the first zero x* of q on its way. With x = x* + (x_0 − x*) e^{−u} and
the divided difference g(x) = (q(x) − q(x*))/(x − x*) < 0,

    u̇ = −g(x),      t(u) = ∫_0^u du'/(−g),

an integral without singularity, however close to rest. No time step is ever taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.integrate import quad

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import finite, moments, number
from linfa.errors import InputError

MOST_STEPS = 20_000
"""A zero that is not found after this many steps is not there to be found in double precision."""

PRECISION = 1e-13
"""Relative accuracy that is asked of the integrals."""


@runtime_checkable
class Field(Protocol):
    """A polynomial q of one variable, given by its expansions."""

    def taylor(self, x: float) -> np.ndarray:
        """Return a_0, a_1, … of q(x + h) = Σ a_k h^k."""
        ...

    def quotient(self, x: float, root: float) -> float:
        """Return (q(x) − q(root))/(x − root), computed without the difference."""
        ...


@dataclass(frozen=True, eq=False)
class Polynomial:
    """q(x) = Σ a_k x^k of low degree, by its coefficients.

    >>> cubic = Polynomial(np.array([1.0, 0.0, 0.0, -1.0]))
    >>> cubic.taylor(2.0).tolist(), cubic.quotient(2.0, 1.0)
    ([-7.0, -12.0, -6.0, -1.0], -7.0)
    """

    coefficients: np.ndarray

    def taylor(self, x: float) -> np.ndarray:
        """Return the coefficients of q(x + h), by Horner's scheme in h."""
        shifted = np.zeros(len(self.coefficients))
        for a in self.coefficients[::-1]:
            shifted[1:] = x * shifted[1:] + shifted[:-1]
            shifted[0] = x * shifted[0] + a
        return shifted

    def quotient(self, x: float, root: float) -> float:
        """Return Σ_k b_k x^k, b the coefficients of q divided by x − root."""
        total = carried = 0.0
        for a in self.coefficients[:0:-1]:
            carried = carried * root + float(a)
            total = total * x + carried
        return total


def first_zero(taylor: Callable[[float], np.ndarray], start: float, level: float = 0.0) -> float:
    """Return the first x at which q(x) = level, on the way from the start in the direction of q − level.

    With d = sign(q − level), d(q(x + dh) − level) = |a_0| + Σ d^{k+1} a_k h^k ≥ |a_0| − Σ max(−d^{k+1} a_k, 0) h^k: up
    to the one positive root of the right side there is no zero. It is stepped to again and again: Newton's method
    where that is safe, and never past a zero, however many lie beyond.

    Raises:
        InputError: where q never reaches the level in that direction.

    >>> first_zero(Polynomial(np.array([1.0, 0.0, 0.0, -1.0])).taylor, -3.0)
    1.0
    """
    x = float(start)
    direction = h = 0.0
    for _ in range(MOST_STEPS):
        a = np.array(taylor(x), dtype=float)
        a[0] -= level
        sign = float(np.sign(a[0]))
        if sign == 0:
            return x
        if direction and sign != direction:
            # Rounding has carried x past the zero, by as much as the last step was rounded: one step back.
            back = a[0] / a[1] if a[1] else 0.0
            return float(x - back) if abs(back) <= 8 * np.finfo(float).eps * max(abs(x), abs(h)) else x
        direction = sign
        h = _safe_step(abs(a[0]), np.maximum(-(direction ** np.arange(2, len(a) + 1)) * a[1:], 0.0))
        if not math.isfinite(h):
            raise InputError(f"ẋ = q(x) has no rest on the way from x = {start:g}: it runs away to infinity")
        if x + direction * h == x:
            return x
        x = float(x + direction * h)
    raise InputError(f"no zero was found within {MOST_STEPS} steps from x = {start:g}: q is too flat there")


def _safe_step(height: float, falls: np.ndarray) -> float:
    """Return the positive h with Σ_{k≥1} falls_k h^k = height, or infinity where nothing falls."""
    orders = np.flatnonzero(falls > 0) + 1
    if not len(orders):
        return math.inf
    c = falls[orders - 1]
    h = float(np.min(np.exp((math.log(height) - np.log(c)) / orders)))
    for _ in range(60):  # Newton from the right on a convex function: monotone
        terms = c * h**orders
        step = (float(terms.sum()) - height) / float((orders * terms).sum() / h)
        if not step > np.finfo(float).eps * h:
            break
        h -= step
    return h


@dataclass(frozen=True, eq=False)
class ScalarFlow:
    """The solution of ẋ = q(x) from one start.

    Args:
        field: q.
        start: x(0).

    >>> flow = ScalarFlow(Polynomial(np.array([0.0, 1.0, -1.0])), 0.5)   # logistic growth
    >>> flow.limit, bool(abs(flow.time(0.75) - np.log(3)) < 1e-14)
    (1.0, True)
    >>> flow.at(np.array([0.0, np.log(3)])).round(12).tolist()
    [0.5, 0.75]
    """

    field: Field
    start: float

    def __post_init__(self) -> None:
        number(self.start, "the start x(0)")

    @cached_property
    def limit(self) -> float:
        """x(∞): the first zero of q on the way."""
        return first_zero(self.field.taylor, self.start)

    def time(self, x: Array) -> np.ndarray:
        """Return t(x) for x between the start and the limit, which takes for ever.

        Raises:
            InputError: for a point that is never passed.
        """
        points = finite(x, "points")
        whole = self.start - self.limit
        with np.errstate(divide="ignore", invalid="ignore"):
            left = (points - self.limit) / whole if whole else np.where(points == self.start, 1.0, np.nan)
        if not np.all((left >= 0) & (left <= 1)):
            raise InputError(f"x moves from {self.start:g} to {self.limit:g} and never passes {points}")
        with np.errstate(divide="ignore"):
            u = -np.log(left)
        times = [self._elapsed(0.0, end) if math.isfinite(end) else math.inf for end in u.ravel().tolist()]
        return np.reshape(np.array(times), u.shape)

    def at(self, t: Array) -> np.ndarray:
        """Return x(t), of the shape of t."""
        times = moments(t)
        flat, left = times.ravel(), np.zeros(times.size)
        u = now = 0.0
        for i in np.argsort(flat, kind="stable"):
            u, now = self._later(u, flat[i] - now), flat[i]
            left[i] = math.exp(-u)
            if self.limit + (self.start - self.limit) * left[i] == self.limit:
                break  # arrived, to rounding: so at all later times
        return np.asarray(self.limit + (self.start - self.limit) * left.reshape(times.shape))

    def _pace(self, u: float) -> float:
        """Return u̇ = −g."""
        return -self.field.quotient(self.limit + (self.start - self.limit) * math.exp(-u), self.limit)

    def _elapsed(self, u: float, end: float) -> float:
        # Pieces of unit length: what the start does is over soon, and is not to be overlooked.
        cuts = [u, *(c for c in (u + 1, u + 4, u + 16, u + 64, u + 256) if c < end), end]
        parts = (_integral(lambda v: 1 / self._pace(v), a, b) for a, b in zip(cuts, cuts[1:], strict=False))
        return math.fsum(parts)

    def _later(self, u: float, dt: float) -> float:
        """Return u after another dt: Newton's method, kept within what is known to be too early or too late."""
        if dt == 0 or self.start == self.limit:
            return u
        low, high = u, math.inf
        guess = u + min(1.0, dt * self._pace(u))
        for _ in range(200):
            gap = dt - self._elapsed(u, guess)
            low, high = (guess, high) if gap > 0 else (low, guess)
            step = gap * self._pace(guess)
            if abs(step) <= 4 * np.finfo(float).eps * max(1.0, guess) or abs(gap) <= PRECISION / 100 * dt:
                break
            following = min(guess + step, guess + 1 + (guess - u))
            guess = following if low < following < high else (low + high) / 2
        return guess


def _integral(f: Callable[[float], float], a: float, b: float) -> float:
    # The full output keeps quad from warning where rounding is all that is left of the error.
    return float(quad(f, a, b, epsabs=0.0, epsrel=PRECISION, limit=500, full_output=1)[0])
