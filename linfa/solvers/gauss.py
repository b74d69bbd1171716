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
from linfa.solvers.ensemble import PerMember, chosen, combined, sizes, stretched, unit_of, verdict
from linfa.solvers.interface import AbstractSolver, Outcome, Recorder, save_steps
from linfa.solvers.stages import TABLEAUX, Solved, Stages
from linfa.systems.interface import AbstractSystem
from linfa.task import Task


@dataclass(frozen=True)
class Gauss(AbstractSolver):
    """The flow of any rule over 0 ≤ t ≤ T by implicit Gauss–Legendre steps, for one network or a batch.

    Args:
        t: T.
        steps: how many equal steps; with `rtol`, how many to begin with.
        stages: 1, 2 or 3, of order 2, 4 or 6.
        rtol: each member of a batch chooses its own steps so that the embedded estimate stays below rtol‖s‖; the
            estimate is O(h^{s+2}), so it is careful for 2 and 3 stages. None takes equal steps.
        saves: how many moments are recorded after the start, evenly spread.
        max_steps: with `rtol`, stop after this many attempts, and return what there is with the status "step cap …".

    The law of sign-concordant feedback holds |W|: it is kept between sign flips, and moves by the step's error at one.
    A member whose stage equations neither fixed-point nor Newton iteration solves is lost: nan from there on, and named
    in the status; where no member is left, DivergenceError says when and what to do.

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

    def __post_init__(self) -> None:
        if not (math.isfinite(self.t) and self.t > 0):
            raise InputError(f"the end of time must be finite and > 0; got t = {self.t}")
        if min(self.steps, self.saves, self.max_steps) < 1:
            raise InputError(
                f"steps, saves and max_steps must be ≥ 1; got {self.steps}, {self.saves} and {self.max_steps}"
            )
        if self.stages not in TABLEAUX:
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
        eps, terms = unit_of(reference), sum(system.widths) + self.batch.inputs.shape[0] + 8
        self.tableau = TABLEAUX[how.stages]
        self.stages = Stages(self.tableau, self.field, self.lead, eps, eps * terms)
        self.time, self.fastest = np.zeros(self.lead), np.zeros(self.lead)
        self.alive = np.ones(self.lead, dtype=bool)
        self.lost: dict[int, str] = {}
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
        kept, h = save_steps(self.how.steps, self.how.saves), self.how.t / self.how.steps
        ahead, z = self.tableau.ahead(), [stretched(self.field(self.s), np.full(self.lead, h))] * self.how.stages
        for k in range(1, self.how.steps + 1):
            lengths = np.where(self.alive, h, 0.0)
            solved, s = self.attempt(lengths, z)
            self.lose(self.alive & ~solved.found, h)
            self.accept(solved, s, lengths, self.alive)
            self.time = np.where(self.alive, k * h, self.time)
            z = [chosen(self.alive, combined(None, row, solved.z), self.s.times(0.0)) for row in ahead.tolist()]
            if k in kept:
                self.save(k * h, k / self.how.steps)
        return Outcome(verdict(self.lost, self.lead), self.evaluations, self.steps)

    def adaptive(self, rtol: float) -> Outcome:
        """Take steps whose estimated error stays below the tolerance, each member its own."""
        pace, now, attempts = np.full(self.lead, self.how.t / self.how.steps), self.field(self.s), 0
        for k in range(1, self.how.saves + 1):
            moment = self.how.t * k / self.how.saves
            while (busy := self.alive & (self.time < moment)).any():
                if attempts == self.how.max_steps:
                    reached = float(self.time[self.alive].min())
                    return Outcome(f"step cap reached at t = {reached:g}", self.evaluations, self.steps)
                attempts += 1
                left = moment - self.time
                lengths = np.where(busy, np.minimum(pace, left), 0.0)
                solved, s = self.attempt(lengths, [stretched(now, lengths)] * self.how.stages)
                after = self.field(s)
                error = self.error(now, solved, after, lengths, s) / rtol
                good = busy & solved.found & (error <= 1)
                with np.errstate(divide="ignore"):
                    factor = np.clip(0.9 * error ** (-1 / (self.how.stages + 2)), 0.2, 5.0)
                wish = lengths * np.where(solved.found & np.isfinite(error), factor, 0.25)
                # A step cut short by a moment says little about how long the next one may be.
                pace = np.where(busy, np.where(good & (lengths == left), np.maximum(pace, wish), wish), pace)
                now = chosen(good, after, now)
                self.accept(solved, s, lengths, good)
                self.time = np.where(good & (lengths == left), moment, np.where(good, self.time + lengths, self.time))
                self.lose(busy & ~good & (pace < 1e-14 * self.how.t), pace)
            self.save(moment, k / self.how.saves)
        return Outcome(verdict(self.lost, self.lead), self.evaluations, self.steps)

    def attempt(self, h: PerMember, guess: list[State]) -> tuple[Solved, State]:
        """Return the stages of a step and the state after it."""
        scale = sizes(self.s, self.lead) + np.maximum(self.fastest * h, self.stages.largest(guess))
        solved = self.stages.solve(self.s, h, guess, scale)
        return solved, combined(self.s, self.tableau.b, solved.z)

    def error(self, now: State, solved: Solved, after: State, h: PerMember, s: State) -> PerMember:
        """Return the embedded estimate relative to the state, member by member."""
        first, *inner, last = self.tableau.estimate()
        ends = stretched(combined(None, (first, last), (now, after)), h)
        scale = np.maximum(sizes(self.s, self.lead), sizes(s, self.lead))
        error = sizes(combined(ends, inner, solved.z), self.lead)
        return error / np.where(scale > 0, scale, 1.0)

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
        system, unit = self.system, self.stages.unit
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

    def lose(self, members: PerMember, h: PerMember) -> None:
        """Give members up, and say why."""
        if not members.any():
            return
        for i in np.flatnonzero(members):
            t, length = float(self.time.flat[i]), float(np.broadcast_to(h, self.lead).flat[i])
            self.lost[int(i)] = (
                f"stopped at t = {t:g}: the stage equations of a step of length {length:g} were solved neither by "
                "fixed-point nor by Newton iteration; take more steps or set rtol, and where that does not help the "
                "flow itself blows up there: shorten t or start smaller"
            )
        self.alive &= ~members
        verdict(self.lost, self.lead)

    def save(self, time: float, fraction: float) -> None:
        """Record a moment; members that were lost are nan."""
        self.recorder.save(time, self.steps, chosen(self.alive, self.s, self.s.times(math.nan)))
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
