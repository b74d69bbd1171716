"""Implicit Gauss–Legendre steps: every linear and quadratic law to rounding, at any step size the stages solve for.

    z_i = h f(s + Σ_j a_ij z_j),     s⁺ = s + Σ_i b_i z_i,     b_i a_ij + b_j a_ji = b_i b_j

Where dQ(S)[f(S)] = 0 for every S, a quadratic Q changes by Σ_i b_i dQ(S_i)[z_i] = 0 (Cooper 1987); s stages have order
2s, and the map is symmetric: a step back undoes a step forth. One stage is the implicit midpoint rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array, norm
from linfa.errors import InputError
from linfa.rules.interface import Passes, State
from linfa.rules.sign_concordant import SignConcordant
from linfa.solvers.ensemble import PerMember, at_rest, chosen, combined, sizes, stretched, unit_of
from linfa.solvers.interface import (
    AbstractSolver,
    Outcome,
    Recorder,
    check_end,
    check_steady,
    check_whole,
    save_steps,
)
from linfa.solvers.members import Members
from linfa.solvers.stages import TABLEAUX, Solved, Stages
from linfa.systems.interface import AbstractSystem
from linfa.task import Task

SHORTEST = 1e-10
"""A member that must take steps shorter than this part of the whole time is given up: it approaches a pole."""

_UNSOLVED = "has stage equations that neither fixed-point nor Newton iteration solves"


@dataclass(frozen=True)
class Gauss(AbstractSolver):
    """The flow of any rule over 0 ≤ t ≤ T by implicit Gauss–Legendre steps, for one network or a batch.

    Args:
        t: T.
        steps: how many equal steps; with `rtol`, how many to begin with.
        stages: 1, 2 or 3, of order 2, 4 or 6.
        rtol: each member of a batch chooses its own steps so that the embedded estimate stays below rtol‖s‖, width-free
            ‖s‖ of the coordinates without α; it is O(h^{s+2}), so it is careful for 2 and 3 stages. None takes equal
            steps.
        saves: how many moments are recorded after the start, evenly spread.
        max_steps: with `rtol`, stop after this many attempts, and return what there is with the status "step cap …".
        steady: a member rests where ‖velocity‖ ≤ steady · (1 + ‖state‖); None runs to T.

    The law of sign-concordant feedback holds |W|: it is kept between sign flips, and moves by the step's error at one.
    A member whose stage equations neither fixed-point nor Newton iteration solves is lost.

    Raises:
        InputError: for a value out of range.

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> system = linfa.Full(net, linfa.FeedbackAlignment.random(net, rng=2))
    >>> run = linfa.solve(system, task, Gauss(t=5.0, steps=5))
    >>> bool(linfa.laws.MatrixLaw().residual(run).max() < 1e-14)
    True
    """

    stepped: ClassVar[bool] = False
    t: float
    steps: int
    stages: int = 2
    rtol: float | None = None
    saves: int = 100
    max_steps: int = 100_000
    steady: float | None = None

    def __post_init__(self) -> None:
        check_end(self.t)
        check_whole(steps=self.steps, saves=self.saves, max_steps=self.max_steps)
        check_steady(self.steady)
        if isinstance(self.stages, bool) or self.stages not in TABLEAUX:
            raise InputError(f"Gauss has 1, 2 or 3 stages; got {self.stages}")
        if self.rtol is not None and not (math.isfinite(self.rtol) and self.rtol >= 1e-13):
            raise InputError(f"rtol must be finite and ≥ 1e-13, or None for equal steps; got {self.rtol}")

    def moments(self) -> int:
        """Return how many moments will be saved, at most."""
        return len(save_steps(self.steps, self.saves)) if self.rtol is None else self.saves + 1

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Take the steps; report to the recorder."""
        system.rule.at(None)
        march = _March(self, system, task, recorder)
        recorder.save(0.0, 0, march.s)
        # Overflow on the way to divergence is found and reported, not warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            return march.equal() if self.rtol is None else march.adaptive(self.rtol)


class _March:
    """A run under way."""

    def __init__(self, how: Gauss, system: AbstractSystem, task: Task, recorder: Recorder) -> None:
        self.how, self.system, self.recorder = how, system, recorder
        self.s, self.lead = system.start(), tuple(system.lead)
        reference = self.s.weights[0]
        self.batch = task.everything(reference)
        eps, samples = unit_of(reference), self.batch.inputs.shape[0]
        self.tableau = TABLEAUX[how.stages]
        self.stages = Stages(self.tableau, self.field, self.lead, eps, eps * (system.terms + samples + 8))
        # Laws are read off the full weights.
        self.unit = eps * (sum(system.widths) + samples + 8)
        self.members, self.fastest = Members(self.lead), np.zeros(self.lead)
        self.evaluations = self.steps = 0
        self.bent = isinstance(system.rule, SignConcordant)

    def field(self, s: State) -> State:
        """Return f(s)."""
        self.evaluations += 1
        return self.system.velocity(s, self.passes(s))

    def passes(self, s: State) -> Passes:
        """Return the passes over all samples."""
        return self.system.passes(s, self.batch)

    def equal(self) -> Outcome:
        """Take equal steps."""
        members, kept, h = self.members, save_steps(self.how.steps, self.how.saves), self.how.t / self.how.steps
        ahead, z = self.tableau.ahead(), [stretched(self.field(self.s), np.full(self.lead, h))] * self.how.stages
        for k in range(1, self.how.steps + 1):
            lengths = np.where(members.going, h, 0.0)
            solved, s = self.attempt(lengths, z, patient=True)
            self.lose(members.going & ~solved.found, lengths)
            self.accept(solved, s, lengths, members.going)
            members.move_to(k * h)
            if self.how.steady is not None:
                members.rest(at_rest(self.field(self.s), self.s, self.how.steady, self.lead))
            z = [chosen(members.going, combined(None, row, solved.z), self.s.times(0.0)) for row in ahead.tolist()]
            if (k in kept or not members.going.any()) and not members.lost.all():
                self.save(k * h, k / self.how.steps)
            if not members.going.any():
                break
        return members.outcome(self.evaluations, self.steps)

    def adaptive(self, rtol: float) -> Outcome:
        """Take steps whose estimated error stays below the tolerance, each member its own."""
        members, attempts = self.members, 0
        pace, now = np.full(self.lead, self.how.t / self.how.steps), self.field(self.s)
        for k in range(1, self.how.saves + 1):
            moment = self.how.t * k / self.how.saves
            while (busy := members.going & (members.time < moment)).any():
                if attempts == self.how.max_steps:
                    members.cap(members.going)
                    break
                attempts += 1
                left = moment - members.time
                lengths = np.where(busy, np.minimum(pace, left), 0.0)
                solved, s = self.attempt(lengths, [stretched(now, lengths)] * self.how.stages)
                after = self.field(s)
                error = self.error(now, solved, after, lengths, s, rtol)
                good = busy & solved.found & (error <= 1)
                with np.errstate(divide="ignore"):
                    factor = np.clip(0.9 * error ** (-1 / (self.how.stages + 2)), 0.2, 5.0)
                wish = lengths * np.where(solved.found & np.isfinite(error), factor, 0.25)
                # A step cut short by a moment says little about how long the next one may be.
                pace = np.where(busy, np.where(good & (lengths == left), np.maximum(pace, wish), wish), pace)
                now = chosen(good, after, now)
                self.accept(solved, s, lengths, good)
                members.move_to(np.where(good, np.where(lengths == left, moment, members.time + lengths), members.time))
                if self.how.steady is not None:
                    members.rest(good & at_rest(now, self.s, self.how.steady, self.lead))
                self.lose(busy & (pace < SHORTEST * self.how.t), pace, "meets no tolerance")
            if members.lost.all():
                break
            moment = members.moment(moment)
            if moment > self.how.t * (k - 1) / self.how.saves:
                self.save(moment, k / self.how.saves)
            if not members.going.any():
                break
        return members.outcome(self.evaluations, self.steps)

    def attempt(self, h: PerMember, guess: list[State], patient: bool = False) -> tuple[Solved, State]:
        """Return the stages of a step and the state after it."""
        scale = sizes(self.s, self.lead) + np.maximum(self.fastest * h, self.stages.largest(guess))
        solved = self.stages.solve(self.s, h, guess, scale, patient)
        return solved, combined(self.s, self.tableau.b, solved.z)

    def error(self, now: State, solved: Solved, after: State, h: PerMember, s: State, rtol: float) -> PerMember:
        """Return the embedded estimate relative to what is allowed, member by member; rounding always is."""
        first, *inner, last = self.tableau.estimate()
        ends = stretched(combined(None, (first, last), (now, after)), h)
        scale = np.maximum(*(sizes(self.system.moving(x), self.lead) for x in (self.s, s)))
        allowed = rtol * scale + self.stages.unit * sizes(s, self.lead)
        error = sizes(combined(ends, inner, solved.z), self.lead)
        return error / np.where(allowed > 0, allowed, 1.0)

    def accept(self, solved: Solved, s: State, h: PerMember, good: PerMember) -> None:
        """Go on to a state for the members of a mask, and let the ledgers see the step."""
        if not good.any():
            return
        s = chosen(good, s, self.s)
        with np.errstate(divide="ignore"):
            speed = np.where(good & (h > 0), self.stages.largest(solved.z) / np.where(h > 0, h, 1.0), 0.0)
        self.fastest = np.maximum(self.fastest, speed)
        if self.recorder.ledgers:
            self.widen(solved, s, h, good)
        self.s, self.steps = s, self.steps + 1

    def widen(self, solved: Solved, s: State, h: PerMember, good: PerMember) -> None:
        """Let the ledgers see what rounding, and what is left of the stage equations, can have done."""
        system, unit = self.system, self.unit
        around = sizes(self.s, self.lead) + sizes(s, self.lead) + self.stages.largest(solved.z)
        bound = system.spread(s, float(np.max((unit * around + solved.gap)[good])))
        for b, S in zip(self.tableau.b, self.stages.points(self.s, solved.z), strict=True):
            S = chosen(good, S, self.s)
            bound = bound.plus(unit * b * float(h.max()), system.sizes(S, self.passes(S)))
        if self.bent:
            bound = bound.plus(1.0, flipped(self.s, s, self.stages.points(self.s, solved.z)))
        before, after = system.full(self.s), system.full(s)
        for ledger in self.recorder.ledgers:
            ledger.widen(before, after, bound)

    def lose(self, who: PerMember, h: PerMember, fault: str = _UNSOLVED) -> None:
        """Give members up, and say why."""

        def why(i: int) -> str:
            t, length = self.members.time.flat[i], h.flat[i]
            return (
                f"stopped at t = {t:g}: a step of length {length:g} {fault}; take more steps or set rtol; where that "
                "does not help the flow itself blows up there: shorten t or start smaller"
            )

        self.members.lose(who, why)

    def save(self, time: float, fraction: float) -> None:
        """Record a moment."""
        self.recorder.save(time, self.steps, self.members.shown(self.s, time))
        self.recorder.advance(fraction)


def flipped(before: State, after: State, points: list[State]) -> State:
    """Return the norms of how far those entries went that change sign: |w| is quadratic in them no more."""

    def part(a: Array, b: Array, *inner: Array) -> Array:
        xp = array_namespace(a)
        path = [a, *inner, b]
        signs = xp.stack([xp.sign(x) for x in path])
        flips = xp.any(signs != signs[0, ...], axis=0)
        far = sum(abs(y - x) for x, y in zip(path, path[1:], strict=False))
        return norm(xp.where(flips, 2 * far, xp.zeros_like(far)))

    weights = zip(before.weights, after.weights, *(S.weights for S in points), strict=True)
    return State(tuple(part(*w) for w in weights), before.norms().learnt)
