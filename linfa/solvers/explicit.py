"""Explicit Runge–Kutta steps of a whole batch in one call, every member at a pace of its own.

    k_1 = f(y),     k_i = f(y + h Σ_j a_ij k_j),     y⁺ = y + h Σ_i b_i k_i,     h one number per member

A step is taken where its embedded error, as a root mean square relative to atol + rtol·max(|y|, |y⁺|), is below one.
Coefficients, error and control are those of SciPy's RK23 (Bogacki & Shampine 1989), RK45 (Dormand & Prince 1980) and
DOP853 (Hairer, Nørsett & Wanner 1993, §II.4), so that a member of a batch makes the steps that it makes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.integrate
from array_api_compat import array_namespace

from linfa.arrays import Array, like, to_numpy
from linfa.rules.interface import State
from linfa.solvers.ensemble import Layout, PerMember
from linfa.solvers.members import Members
from linfa.systems.interface import AbstractSystem, Samples

PAIRS: dict[str, type[scipy.integrate.OdeSolver]] = {
    "DOP853": scipy.integrate.DOP853,
    "RK45": scipy.integrate.RK45,
    "RK23": scipy.integrate.RK23,
}
"""The explicit methods by SciPy's names."""


@dataclass(frozen=True)
class Pair:
    """A step and its embedded estimate.

    Args:
        A: a_ij, below the diagonal.
        b: b_i.
        errors: e_i of each estimate, on k_1 … k_s and f(y⁺): one of them, or that of order 5 and that of order 3.
        order: of the estimate; its error is proportional to h^{order + 1}.
    """

    A: np.ndarray
    b: np.ndarray
    errors: tuple[np.ndarray, ...]
    order: int

    @classmethod
    def named(cls, method: str) -> Pair:
        """Return a pair by SciPy's name.

        >>> pair = Pair.named("RK45")
        >>> pair.A.shape, round(float(pair.b.sum()), 12), abs(round(float(pair.errors[0].sum()), 12))
        ((6, 5), 1.0, 0.0)
        """
        known = PAIRS[method]
        errors = (known.E5, known.E3) if method == "DOP853" else (known.E,)
        return cls(np.asarray(known.A), np.asarray(known.B), errors, known.error_estimator_order)


class Paces:
    """A batch on its way: where its members are, how fast they move, and how long their next steps may be.

    Args:
        pair: the method.
        system: what moves.
        batch: all samples.
        start: the state at time zero.
        rtol: relative tolerance of each step.
        atol: absolute tolerance of each step; one number, or one for each of the state's.
        first: no first step is longer than this.
    """

    def __init__(
        self, pair: Pair, system: AbstractSystem, batch: Samples, start: State, rtol: float, atol: Array, first: float
    ) -> None:
        self.pair, self.system, self.batch, self.rtol, self.atol = pair, system, batch, rtol, atol
        self.members, self.layout = Members(tuple(system.lead)), Layout(start, tuple(system.lead))
        self.y = self.layout.rows(start)
        self.xp, self.evaluations, s = array_namespace(self.y), 0, len(pair.b)
        self.slopes = self.xp.stack([self.velocity(self.y)] * (s + 1))
        self.f = self.slopes[0, ...]
        self.taken = np.zeros(self.members.lead, dtype=int)
        self.fresh = np.ones(self.members.lead, dtype=bool)
        with np.errstate(divide="ignore"):
            self.pace = self._first(first)

    def velocity(self, y: Array) -> Array:
        """Return ẏ."""
        self.evaluations += 1
        s = self.layout.state(y)
        return self.layout.rows(self.system.velocity(s, self.system.passes(s, self.batch)))

    def step(self, moment: float) -> PerMember:
        """Try one step of every member that has not reached a moment, not beyond it; return who took it."""
        members = self.members
        busy, left = members.going & (members.time < moment), moment - members.time
        h = np.where(busy, np.minimum(self.pace, left), 0.0)
        y, f = self._attempt(h)
        error = self._error(h, y)
        good = busy & (error < 1)
        with np.errstate(divide="ignore"):
            factor = 0.9 * error ** (-1 / (self.pair.order + 1))
        # After a refusal the next step is no longer than the one that was taken in the end.
        grown = np.minimum(factor, np.where(self.fresh, 10.0, 1.0))
        wish = h * np.where(good, grown, np.where(error >= 1, np.maximum(factor, 0.2), 0.2))
        # A step cut short by a moment says little about how long the next one may be.
        self.pace = np.where(busy, np.where(good & (h == left), np.maximum(self.pace, wish), wish), self.pace)
        self.fresh = np.where(busy, good, self.fresh)
        self.y, self.f = self._where(good, y, self.y), self._where(good, f, self.f)
        members.move_to(np.where(good, np.where(h == left, moment, members.time + h), members.time))
        self.taken = self.taken + good
        return good

    def stuck(self) -> PerMember:
        """Return whose steps have shrunk to nothing: there the flow leaves the finite numbers."""
        return self.pace < 10 * np.spacing(self.members.time)

    def _attempt(self, h: PerMember) -> tuple[Array, Array]:
        """Return the state after a step, and its velocity; the slopes are kept."""
        xp, k, A, b = self.xp, self.slopes, like(self.pair.A, self.y), like(self.pair.b, self.y)
        length = like(h, self.y)[..., None]
        k[0, ...] = self.f
        for i in range(1, len(self.pair.b)):
            k[i, ...] = self.velocity(self.y + length * xp.tensordot(A[i, :i], k[:i, ...], axes=1))
        y = self.y + length * xp.tensordot(b, k[:-1, ...], axes=1)
        k[-1, ...] = self.velocity(y)
        return y, xp.asarray(k[-1, ...], copy=True)

    def _error(self, h: PerMember, y: Array) -> PerMember:
        """Return the error of a step relative to what is allowed."""
        scale = self._scale(self.xp.maximum(self.xp.abs(self.y), self.xp.abs(y)))
        sizes = [_rms(self.xp.tensordot(like(e, self.y), self.slopes, axes=1) / scale) for e in self.pair.errors]
        if len(sizes) == 1:
            return h * sizes[0]
        # Hairer, Nørsett & Wanner's way to weigh the estimates of order 5 and 3 (DOP853).
        five, three = sizes
        both = np.sqrt(five**2 + 0.01 * three**2)
        return h * five * np.where(both > 0, five / np.where(both > 0, both, 1.0), both)

    def _first(self, longest: float) -> PerMember:
        """Return first steps by the sizes of the state, its velocity, and how that changes over a tiny step."""
        scale = self._scale(self.xp.abs(self.y))
        d0, d1 = _rms(self.y / scale), _rms(self.f / scale)
        small = (d0 < 1e-5) | (d1 < 1e-5)
        h0 = np.minimum(np.where(small, 1e-6, 0.01 * d0 / np.where(small, 1.0, d1)), longest)
        ahead = self.velocity(self.y + like(h0, self.y)[..., None] * self.f)
        most = np.maximum(d1, _rms((ahead - self.f) / scale) / h0)
        still = most <= 1e-15
        h1 = np.where(
            still, np.maximum(1e-6, 1e-3 * h0), (0.01 / np.where(still, 1.0, most)) ** (1 / (self.pair.order + 1))
        )
        return np.minimum(np.minimum(100 * h0, h1), longest)

    def _scale(self, size: Array) -> Array:
        return self.atol + self.rtol * size

    def _where(self, who: PerMember, yes: Array, no: Array) -> Array:
        if who.all():
            return yes
        return self.xp.where(self.xp.asarray(who[..., None], device=yes.device), yes, no)


def _rms(rows: Array) -> PerMember:
    """Return the root mean square of each member's row, on the host."""
    xp = array_namespace(rows)
    return np.sqrt(np.asarray(to_numpy(xp.mean(rows * rows, axis=-1)), dtype=float))
