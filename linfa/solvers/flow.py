"""Continuous time, ṡ = velocity(s), by adaptive explicit or implicit methods behind one face.

One NumPy network is followed by SciPy; a batch, or torch, by the same explicit methods in one call, every member at its
own pace. Every saved moment is the end of a step, not an interpolation, so that its accuracy is the solver's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import is_numpy_array

from linfa.errors import InputError
from linfa.rules.interface import State
from linfa.solvers.clocks import METHODS, AbstractClock, Alone, Together
from linfa.solvers.ensemble import parts, unit_of
from linfa.solvers.explicit import PAIRS
from linfa.solvers.interface import AbstractSolver, Outcome, Recorder, check_end, check_steady, check_whole, is_real
from linfa.systems.interface import AbstractSystem
from linfa.task import Task

LEAST = 1e-100
"""The least absolute tolerance: methods divide by it, and square that."""


@dataclass(frozen=True)
class Flow(AbstractSolver):
    """The flow of a rule over 0 ≤ t ≤ T by an adaptive method.

    Args:
        t: T, in units of time (one unit of flow is 1/η steps of small rate η).
        rtol: relative tolerance of each step.
        atol: absolute tolerance of each step, in units of the weights, > 0: a weight may pass through zero, where rtol
            allows no error. Where it is below rounding, ε times what is added up, it only costs steps.
        method: DOP853 (explicit, order 8), RK45, RK23, Radau or BDF (stiff), LSODA (switches).
        saves: how many moments are recorded after the start, evenly spread.
        steady: a member rests where ‖velocity‖ ≤ steady · (1 + ‖state‖), and the run stops where all rest; None runs
            to T.
        max_steps: a member goes no further after this many steps; what it did until then is recorded. Without `steady`,
            an explicit method stops early where at its pace T is a hundred times as many steps away.
        dense: keep the interpolants, so that `run.at(t)` gives the weights at any time (in memory only).

    A batch costs one velocity of the whole batch per stage for as long as its slowest member takes to the next saved
    moment; members that wait, rest or are lost are computed and thrown away.

    Raises:
        InputError: for a value out of range, an unknown method, or a batch under what only SciPy's steppers do: stiff
            methods and dense=True.

    >>> import linfa
    >>> net, task = linfa.Weights.zero((1, 1)), linfa.Task.from_moments([[1.0]], [[1.0]], [[1.0]])
    >>> run = linfa.solve(linfa.Full(net, linfa.Backprop()), task, Flow(t=1.0))
    >>> bool(abs(run.weights(-1)[0][0, 0] - (1 - np.exp(-1))) < 1e-8)
    True
    """

    stepped: ClassVar[bool] = False
    t: float
    rtol: float = 1e-9
    atol: float = 1e-12
    method: str = "DOP853"
    saves: int = 100
    steady: float | None = None
    max_steps: int = 100_000
    dense: bool = False

    def __post_init__(self) -> None:
        check_end(self.t)
        rtol, atol = self.rtol, self.atol
        if not (is_real(rtol) and is_real(atol) and 1e-13 <= rtol < math.inf and LEAST <= atol < math.inf):
            raise InputError(
                f"tolerances must satisfy rtol ≥ 1e-13 and atol ≥ {LEAST:g}; got {self.rtol} and {self.atol}"
            )
        if self.method not in METHODS:
            raise InputError(f"the known methods are {', '.join(METHODS)}; got {self.method!r}")
        check_whole(saves=self.saves, max_steps=self.max_steps)
        check_steady(self.steady)

    def moments(self) -> int:
        """Return how many moments will be saved, at most."""
        return self.saves + 1

    def takes(self, system: AbstractSystem) -> AbstractSystem:
        """Return the system in coordinates that keep its laws whatever the steps are, where it has such coordinates."""
        return system.flowing()

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Follow the flow; report to the recorder."""
        system.rule.at(None)
        start = system.start()
        numpy = all(is_numpy_array(a) for a in parts(start))
        # In double precision, whatever the weights came in: an adaptive method has no use for less.
        start = start.map(lambda a: np.asarray(a, dtype=float)) if numpy else start
        alone = numpy and not system.lead
        if not alone:
            self._check_batch(start)
        recorder.save(0.0, 0, start)
        # Overflow on the way to divergence is found and reported, not warned about.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self._follow((Alone if alone else Together)(self, system, task, start, recorder), recorder)

    def _follow(self, clock: AbstractClock, recorder: Recorder) -> Outcome:
        members = clock.members
        for k in range(1, self.saves + 1):
            moment = self.t * k / self.saves
            while (members.going & (members.time < moment)).any():
                clock.step(moment)
                recorder.advance(clock.done())
            if members.lost.all():
                break
            moment = members.moment(moment)
            if moment > self.t * (k - 1) / self.saves:
                recorder.save(moment, clock.steps, members.shown(clock.state(), moment))
            if not members.going.any():
                break
        recorder.advance(1.0)
        return clock.outcome()

    def _check_batch(self, start: State) -> None:
        """Raise InputError for what only SciPy's steppers do, which follow one NumPy network."""
        alone = "is for one network of NumPy arrays; for a batch, or torch,"
        if self.method not in PAIRS:
            raise InputError(f"{self.method} {alone} take {', '.join(PAIRS)}, or Gauss, which is implicit too")
        if self.dense:
            raise InputError(f"dense=True {alone} raise saves")
        eps = max(unit_of(a) for a in parts(start))
        if self.rtol < 450 * eps:
            raise InputError(
                f"steps to rtol = {self.rtol:g} need more digits than {start.weights[0].dtype} has: give float64 "
                f"arrays, or rtol ≥ {450 * eps:.0e}"
            )
