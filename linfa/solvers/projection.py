"""Projection onto the laws: an explicit step, then the smallest change that makes every law what it was at the start.

    u = −J⁺ (Q(s) − Q(0)),     J[u] = dQ(s)[u],     s ← s + u     until Q(s) = Q(0) to rounding

J is the laws' own differential, so it is analytic, and J⁺ takes the change of least Frobenius norm (Gauss–Newton). Its
rank is the number of independent laws, D − dim Lie (theory/completeness): the entries of the quantities outnumber it,
and J⁺ cuts what is below rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array, eye, to_numpy
from linfa.errors import DivergenceError, InputError, NoLawError
from linfa.laws import REGISTRY
from linfa.laws.interface import AbstractLaw, Layers
from linfa.laws.ledger import largest
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.solvers.ensemble import PerMember, chosen, combined, parts, unit_of
from linfa.solvers.interface import AbstractSolver, Outcome, Recorder, check_end, check_whole, save_steps
from linfa.solvers.members import Members
from linfa.systems.full import Full
from linfa.systems.interface import AbstractSystem, Samples
from linfa.task import Task

MOST = 4000
"""More parameters than this would make J⁺ slow and large."""

RK: dict[int, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    1: ((), (1.0,)),
    2: (((0.5,),), (0.0, 1.0)),
    4: (((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
"""Explicit steps by order: Euler's, the midpoint rule, and Kutta's of 1901, as (a_ij below the diagonal, b_i)."""


def laws_of(rule: AbstractRule) -> tuple[AbstractLaw, ...]:
    """Return every law of the registry that a rule has.

    Raises:
        NoLawError: where it has none.
    """
    laws = tuple(law() for law in REGISTRY.values() if law().applies_to(rule))
    if not laws:
        raise NoLawError(f"{rule.name} has no law to be projected onto; use Flow")
    return laws


@dataclass(frozen=True, eq=False)
class Surface:
    """All states on which some laws have the values that they have at one state.

    Args:
        rule: the rule whose laws they are.
        laws: the laws.
        values: their quantities there, law by law.

    >>> import numpy as np
    >>> import linfa
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> rule, start = linfa.FeedbackAlignment.random(net, rng=1), linfa.State(net.matrices)
    >>> surface = Surface.through(rule, start)
    >>> off = start.map(lambda W: W + 1e-3)
    >>> bool(surface.distance(off) > 1e-3), bool(surface.distance(surface.project(off)) < 1e-15)
    (True, True)
    """

    rule: AbstractRule
    laws: tuple[AbstractLaw, ...]
    values: tuple[Layers, ...]

    @classmethod
    def through(cls, rule: AbstractRule, state: State, laws: Sequence[AbstractLaw] = ()) -> Surface:
        """Return the surface through a state, of some laws or of all that the rule has.

        Raises:
            NoLawError: where a law does not hold for the rule.
        """
        for law in laws:
            law.check(rule)
        laws = tuple(laws) or laws_of(rule)
        return cls(rule, laws, tuple(law.quantity(rule, state) for law in laws))

    def gap(self, state: State) -> Array:
        """Return Q(s) − Q(0), all laws and layers in one row."""
        gaps = []
        for law, values in zip(self.laws, self.values, strict=True):
            gaps += [q - q0 for q, q0 in zip(law.quantity(self.rule, state), values, strict=True)]
        return _rows(gaps, state.weights[0].ndim - 2)

    def distance(self, state: State) -> PerMember:
        """Return max |Q(s) − Q(0)|, member by member."""
        return to_numpy(largest(self.gap(state)[..., None], state.weights[0].ndim - 2))

    def jacobian(self, state: State) -> Array:
        """Return J, shape (..., laws' entries, numbers in a state): dQ(s) along every unit vector."""
        lead, units = tuple(state.weights[0].shape[:-2]), _units(state)
        wide, xp = state.map(lambda a: a[..., None, :, :]), array_namespace(state.weights[0])
        numbers = units.weights[0].shape[0]
        columns = []
        for law, values in zip(self.laws, self.values, strict=True):
            for d, q in zip(law.differential(self.rule, wide, units), values, strict=True):
                # A linear law's differential knows nothing of the members.
                columns.append(xp.broadcast_to(d, (*lead, numbers, *q.shape[len(lead) :])))
        return _rows(columns, len(lead) + 1).mT

    def rank(self, state: State) -> int:
        """Return how many of the laws are independent at a state, by the singular values of J."""
        J = to_numpy(self.jacobian(state))
        return int(np.linalg.matrix_rank(J, rtol=_cut(J)))

    def project(self, state: State) -> State:
        """Return the state after the corrections u = −J⁺ (Q(s) − Q(0)), with J of the first state throughout.

        Raises:
            DivergenceError: where they do not reach the surface.
        """
        back, found = self.restored(state)
        if not found.all():
            raise DivergenceError(f"{_SHORT} (they are off by {float(self.distance(back).max()):.1e})")
        return back

    def restored(self, state: State) -> tuple[State, PerMember]:
        """Return the nearest to the surface that the corrections came, and which members of a batch they brought there.

        A member is corrected for as long as that brings it closer.
        """
        J, lead = self.jacobian(state), tuple(state.weights[0].shape[:-2])
        inverse = array_namespace(J).linalg.pinv(J, rtol=_cut(J))
        best, last = state, np.full(lead, math.inf)
        for _ in range(50):
            distance = self.distance(state)
            closer = np.asarray(distance < last)
            if not closer.any():
                break
            best, last = chosen(closer, state, best), np.where(closer, distance, last)
            state = best.plus(-1.0, _state((inverse @ self.gap(best)[..., None])[..., 0], state))
        return best, last <= 1e3 * unit_of(J) * (1 + self.scale(best))

    def scale(self, state: State) -> PerMember:
        """Return the largest sum of magnitudes of the terms of the laws, member by member."""
        lead = tuple(state.weights[0].shape[:-2])
        terms = [np.broadcast_to(to_numpy(t), lead) for law in self.laws for t in law.terms(self.rule, state)]
        return np.max(terms, axis=0) if terms else np.zeros(lead)


_SHORT = "the projection does not reach the laws: the step before was too long, take more steps"


@dataclass(frozen=True)
class Projected(AbstractSolver):
    """The flow by equal explicit steps, each followed by the projection onto the laws of the rule.

    The projection keeps the order of the step. J⁺ costs the cube of the number of parameters: for small networks,
    where a law must hold exactly under a method that knows nothing of it.

    Args:
        t: T.
        steps: how many.
        order: 1 (Euler), 2 (midpoint) or 4 (Kutta).
        saves: how many moments are recorded after the start, evenly spread.

    Raises:
        InputError: for a value out of range.
        NoLawError: where the rule has no law.

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> system, law = linfa.Full(net, linfa.Backprop()), linfa.laws.MatrixLaw()
    >>> run = linfa.solve(system, task, Projected(t=1.0, steps=10))
    >>> bool(law.residual(run).max() < 1e-14)
    True
    """

    stepped: ClassVar[bool] = False
    t: float
    steps: int
    order: int = 4
    saves: int = 100

    def __post_init__(self) -> None:
        check_end(self.t)
        check_whole(steps=self.steps, saves=self.saves)
        if self.order not in RK:
            raise InputError(f"the explicit step has order 1, 2 or 4; got {self.order}")

    def moments(self) -> int:
        """Return how many moments will be saved."""
        return len(save_steps(self.steps, self.saves))

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Take the steps; report to the recorder."""
        if not isinstance(system, Full):
            raise InputError(f"the projection corrects full weights; {type(system).__name__} has none: use Gauss")
        system.rule.at(None)
        s = system.start()
        numbers = sum(math.prod(a.shape[-2:]) for a in parts(s))
        if numbers > MOST:
            raise InputError(
                f"projecting {numbers} parameters takes a pseudo-inverse of that size at every step (at most {MOST}): "
                "use Gauss or Conservative, which keep the laws at no such cost"
            )
        surface, members = Surface.through(system.rule, s), Members(tuple(system.lead))
        batch, h, evaluated = task.everything(s.weights[0]), self.t / self.steps, len(RK[self.order][1])
        unit = unit_of(s.weights[0]) * (sum(system.widths) + batch.inputs.shape[0] + numbers)
        kept = set(save_steps(self.steps, self.saves).tolist())
        recorder.save(0.0, 0, s)
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(1, self.steps + 1):
                passes, after = self._step(system, s, batch, h)
                members.lose_broken(system, after, f"at t = {k * h:g}", f"the step {h:g} is too long: take more steps")
                # Who was lost stays at the last state it had, for the pseudo-inverse to be that of numbers.
                after, found = surface.restored(chosen(members.going, after, s))
                self._lose(members, ~found, k * h)
                after = chosen(members.going, after, s)
                made = s.norms().plus(1.0, after.norms()).plus(h, system.sizes(s, passes)).times(unit)
                for ledger in recorder.ledgers:
                    ledger.widen(s, after, made)
                s = after
                members.move_to(k * h)
                if members.lost.all():
                    break
                if k in kept:
                    recorder.save(k * h, k, members.shown(s, k * h))
                    recorder.advance(k / self.steps)
        return members.outcome(evaluated * k, k)

    def _step(self, system: Full, s: State, batch: Samples, h: float) -> tuple[Passes, State]:
        """Return the passes at a state, and the state after one explicit step."""
        (A, b), passes = RK[self.order], system.passes(s, batch)
        slopes = [system.velocity(s, passes)]
        for row in A:
            S = combined(s, [h * a for a in row], slopes)
            slopes.append(system.velocity(S, system.passes(S, batch)))
        return passes, combined(s, [h * x for x in b], slopes)

    def _lose(self, members: Members, who: PerMember, t: float) -> None:
        """Give up the members that the projection does not bring back."""
        members.lose(who, lambda i: f"stopped at t = {t:g}: {_SHORT}")


def _rows(arrays: list[Array], lead: int) -> Array:
    """Return arrays with the axes behind the first `lead` laid out in one, end to end."""
    xp = array_namespace(arrays[0])
    return xp.concat([xp.reshape(a, (*a.shape[:lead], -1 if math.prod(a.shape) else 0)) for a in arrays], axis=-1)


def _units(state: State) -> State:
    """Return every unit vector of the space that a state lives in, along one axis in front of the matrices."""
    shapes = [tuple(a.shape[-2:]) for a in parts(state)]
    total = sum(map(math.prod, shapes))
    identity = eye(total, state.weights[0])
    return _split(identity, shapes, len(state.weights))


def _state(row: Array, like_: State) -> State:
    """Return the state whose numbers lie in a row."""
    return _split(row, [tuple(a.shape[-2:]) for a in parts(like_)], len(like_.weights))


def _split(rows: Array, shapes: list[tuple[int, ...]], L: int) -> State:
    xp, made, at = array_namespace(rows), [], 0
    for shape in shapes:
        width = math.prod(shape)
        made.append(xp.reshape(rows[..., at : at + width], (*rows.shape[:-1], *shape)))
        at += width
    return State(tuple(made[:L]), tuple(made[L:]))


def _cut(J: Array) -> float:
    """Return the singular values, relative to the largest, below which there is no law but rounding."""
    return 8.0 * unit_of(J) * int(max(J.shape[-2:]))
