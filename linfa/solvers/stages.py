"""The stage equations of Gauss–Legendre collocation, z_i = h f(s + Σ_j a_ij z_j), solved to rounding.

Fixed-point iteration contracts while the step is short against the flow; where it does not, Newton's method with a
Krylov solver (SciPy's) takes over for the members of the batch that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import scipy.optimize

from linfa.arrays import like, to_numpy
from linfa.rules.interface import State
from linfa.solvers.ensemble import PerMember, chosen, combined, parts, sizes, stretched

SWEEPS = 60
"""How many fixed-point iterations are made before Newton is asked."""


@dataclass(frozen=True)
class Tableau:
    """The coefficients of s-stage collocation at the Gauss–Legendre nodes, order 2s (Butcher 1964).

    Args:
        c: the nodes.
        A: a_ij = ∫_0^{c_i} ℓ_j, with b_i a_ij + b_j a_ji = b_i b_j: quadratic invariants are kept (Cooper 1987).
        b: the weights.
    """

    c: tuple[float, ...]
    A: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def ahead(self) -> np.ndarray:
        """Return ℓ_j(1 + c_i): the stages of the next step of equal length, extrapolated from this one's."""
        c = np.array(self.c)
        basis = [np.poly1d(np.delete(c, j), r=True) for j in range(len(c))]
        return np.array([poly(1 + c) / poly(x) for poly, x in zip(basis, c, strict=True)]).T

    def estimate(self) -> tuple[float, ...]:
        """Return weights on f(s), the stages and f(s⁺) whose sum, times h, is O(h^{s+2}): the embedded estimate.

        The divided difference over (0, c_1 … c_s, 1), scaled to Lobatto's end weight 1/((s+1)(s+2)); with one stage it
        is the difference between Simpson's rule and the midpoint rule.

        >>> [round(w, 12) for w in TABLEAUX[1].estimate()]
        [0.166666666667, -0.333333333333, 0.166666666667]
        """
        nodes = np.array([0.0, *self.c, 1.0])
        weights = np.array([1 / np.prod([x - y for y in nodes if y != x]) for x in nodes])
        s = len(self.c)
        return tuple(map(float, weights / weights[-1] / ((s + 1) * (s + 2))))


_3, _15 = sqrt(3), sqrt(15)

TABLEAUX = {
    1: Tableau((1 / 2,), ((1 / 2,),), (1.0,)),
    2: Tableau(
        (1 / 2 - _3 / 6, 1 / 2 + _3 / 6),
        ((1 / 4, 1 / 4 - _3 / 6), (1 / 4 + _3 / 6, 1 / 4)),
        (1 / 2, 1 / 2),
    ),
    3: Tableau(
        (1 / 2 - _15 / 10, 1 / 2, 1 / 2 + _15 / 10),
        (
            (5 / 36, 2 / 9 - _15 / 15, 5 / 36 - _15 / 30),
            (5 / 36 + _15 / 24, 2 / 9, 5 / 36 - _15 / 24),
            (5 / 36 + _15 / 30, 2 / 9 + _15 / 15, 5 / 36),
        ),
        (5 / 18, 4 / 9, 5 / 18),
    ),
}
"""By the number of stages (Hairer, Lubich & Wanner 2006, table II.1.1)."""


class Solved(NamedTuple):
    """What solving the stage equations gave."""

    z: list[State]
    """z_1 … z_s, in units of the state."""
    gap: PerMember
    """max_i ‖z_i − h f(s + Σ_j a_ij z_j)‖ at the last look, one number per member."""
    found: PerMember
    """Which members' equations are solved to rounding."""


@dataclass(frozen=True)
class Stages:
    """Solver of the stage equations of one tableau and field.

    Args:
        tableau: the coefficients.
        field: f, from a state to its velocity.
        lead: the shape of the batch.
        eps: of the precision.
        unit: relative rounding error of one evaluation of f, eps times the lengths of its sums.
    """

    tableau: Tableau
    field: Callable[[State], State]
    lead: tuple[int, ...]
    eps: float
    unit: float

    def points(self, s: State, z: list[State]) -> list[State]:
        """Return S_i = s + Σ_j a_ij z_j."""
        return [combined(s, row, z) for row in self.tableau.A]

    def sweep(self, s: State, h: PerMember, z: list[State]) -> list[State]:
        """Return h f(S_i)."""
        return [stretched(self.field(S), h) for S in self.points(s, z)]

    def largest(self, z: list[State]) -> PerMember:
        """Return max_i ‖z_i‖, by member."""
        return np.max([sizes(x, self.lead) for x in z], axis=0)

    def solve(self, s: State, h: PerMember, guess: list[State], scale: PerMember, patient: bool = False) -> Solved:
        """Return stages that satisfy their equations to rounding relative to a scale, as far as that succeeds.

        Newton–Krylov takes on the members that need it together; with `patient` those it fails on are tried once more,
        one by one, so that one without a solution does not take others with it.
        """
        solved = self._fixed_point(s, h, guess, scale)
        if solved.found.all():
            return solved
        start, todo = self._nearest(s, h, guess), np.asarray(~solved.found)
        solved = self._newton(s, h, solved, start, scale, todo)
        for i in np.flatnonzero(~solved.found) if patient and todo.sum() > 1 else ():
            alone = np.zeros(todo.size, dtype=bool)
            alone[i] = True
            solved = self._newton(s, h, solved, start, scale, alone.reshape(self.lead))
        return solved

    def _fixed_point(self, s: State, h: PerMember, z: list[State], scale: PerMember) -> Solved:
        """Iterate z ← h f(S(z)) until what the next sweep would change is below rounding, or no longer shrinks."""
        found, gaps = np.zeros(self.lead, dtype=bool), []
        for sweep in range(SWEEPS):
            after = self.sweep(s, h, z)
            gaps.append(self.largest([a.plus(-1.0, b) for a, b in zip(after, z, strict=True)]))
            z, gap, last = after, gaps[-1], gaps[max(sweep - 1, 0)]
            with np.errstate(invalid="ignore", divide="ignore"):
                ahead = np.where(gap > 0, gap * np.minimum(1.0, gap / last), 0.0)
                pace = (gap / gaps[max(sweep - 4, 0)]) ** 0.25
            stalls = (sweep > 0) & (gap >= last / 2)
            found |= (4 * ahead <= self.eps * scale) | (stalls & (gap <= self.unit * scale))
            # Where the sweeps that are left would not do, Newton is cheaper.
            slow = (sweep >= 8) & (gap * pace ** (SWEEPS - sweep) > self.eps * scale)
            if (found | slow | ~np.isfinite(gap)).all():
                break
        return Solved(z, gap, found & np.isfinite(gap))

    def _nearest(self, s: State, h: PerMember, guess: list[State]) -> list[State]:
        """Return, for each member, which of two starts is closer to solving its equations: the guess, or h f(s)."""
        plain = [stretched(self.field(s), h)] * len(guess)
        gaps = []
        for z in (guess, plain):
            gaps.append(self.largest([a.plus(-1.0, b) for a, b in zip(self.sweep(s, h, z), z, strict=True)]))
        return [chosen(gaps[0] <= gaps[1], a, b) for a, b in zip(guess, plain, strict=True)]

    def _newton(
        self, s: State, h: PerMember, solved: Solved, start: list[State], scale: PerMember, todo: PerMember
    ) -> Solved:
        """Solve the equations of some members by Newton–Krylov."""
        todo = np.asarray(todo & np.isfinite(self.largest(start)))
        size = np.where(scale > 0, scale, 1.0)[todo]
        if not todo.any():
            return solved
        clean = [chosen(todo, a, b) for a, b in zip(start, solved.z, strict=True)]

        def gaps(x: np.ndarray) -> np.ndarray:
            z = self._unflat(x * _repeat(size, x), clean, todo)
            after = self.sweep(s, h, z)
            found = self._flat([b.plus(-1.0, a) for a, b in zip(after, z, strict=True)], todo)
            return np.asarray(found / _repeat(size, found))

        x = self._flat(clean, todo)
        x = x / _repeat(size, x)
        try:
            x = scipy.optimize.newton_krylov(gaps, x, f_tol=self.unit / 4, maxiter=40, rdiff=sqrt(self.eps))
        except scipy.optimize.NoConvergence as stopped:
            x = np.asarray(stopped.args[0])
        except (ValueError, FloatingPointError):  # SciPy's word for steps into nan
            return solved
        z = self._unflat(x * _repeat(size, x), clean, todo)
        gap = self.largest([a.plus(-1.0, b) for a, b in zip(self.sweep(s, h, z), z, strict=True)])
        return Solved(z, gap, solved.found | (todo & (gap <= self.unit * scale)))

    def _flat(self, z: list[State], todo: PerMember) -> np.ndarray:
        return np.concatenate([_take(x, todo) for x in z], axis=1).ravel()

    def _unflat(self, x: np.ndarray, template: list[State], todo: PerMember) -> list[State]:
        pieces = np.split(x.reshape(int(todo.sum()), -1), len(template), axis=1)
        return [_put(piece, t, todo) for piece, t in zip(pieces, template, strict=True)]


def _repeat(size: PerMember, x: np.ndarray) -> np.ndarray:
    """Return each member's number once per entry of its part of x."""
    return np.asarray(np.repeat(size, x.size // size.size))


def _take(state: State, todo: PerMember) -> np.ndarray:
    """Return some members' states as rows."""
    rows = [np.asarray(to_numpy(a), dtype=float).reshape(*todo.shape, -1)[todo] for a in parts(state)]
    return np.concatenate(rows, axis=-1).reshape(int(todo.sum()), -1)


def _put(rows: np.ndarray, state: State, todo: PerMember) -> State:
    """Return the state with some members replaced by rows."""
    made, at = [], 0
    for a in parts(state):
        values = np.array(to_numpy(a), dtype=float).reshape(*todo.shape, -1)
        width = values.shape[-1]
        values[todo] = rows[:, at : at + width]
        made.append(like(values.reshape(a.shape), a))
        at += width
    L = len(state.weights)
    return State(tuple(made[:L]), tuple(made[L:]))
