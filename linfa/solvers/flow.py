"""Continuous time, ṡ = velocity(s): SciPy's adaptive methods behind one face.

Every saved moment is the end of a step, not an interpolation, so that its accuracy is the solver's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import scipy.integrate
from array_api_compat import is_numpy_array

from linfa.errors import InputError
from linfa.rules.interface import State
from linfa.solvers.interface import AbstractSolver, Outcome, Recorder, diverged
from linfa.systems.interface import AbstractSystem
from linfa.task import Task

METHODS: dict[str, type[scipy.integrate.OdeSolver]] = {
    "DOP853": scipy.integrate.DOP853,
    "RK45": scipy.integrate.RK45,
    "RK23": scipy.integrate.RK23,
    "Radau": scipy.integrate.Radau,
    "BDF": scipy.integrate.BDF,
    "LSODA": scipy.integrate.LSODA,
}
"""The adaptive methods by SciPy's names."""


@dataclass(frozen=True)
class Flow(AbstractSolver):
    """The flow of a rule over 0 ≤ t ≤ T by an adaptive method.

    Args:
        t: T, in units of time (one unit of flow is 1/η steps of small rate η).
        rtol: relative tolerance of each step.
        atol: absolute tolerance of each step, in units of the weights.
        method: DOP853 (explicit, order 8), RK45, RK23, Radau or BDF (stiff), LSODA (switches).
        saves: how many moments are recorded after the start, evenly spread.
        steady: stop where ‖velocity‖ ≤ steady · (1 + ‖state‖); None runs to T.
        max_steps: give up after this many.
        dense: keep the interpolants, so that `run.at(t)` gives the weights at any time (in memory only).

    Raises:
        InputError: for a value out of range, an unknown method, or weights that are not NumPy arrays.

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
        if not (math.isfinite(self.t) and self.t > 0):
            raise InputError(f"the end of time must be finite and > 0; got t = {self.t}")
        if not (math.isfinite(self.rtol) and self.rtol >= 1e-13 and math.isfinite(self.atol) and self.atol >= 0):
            raise InputError(f"tolerances must satisfy rtol ≥ 1e-13 and atol ≥ 0; got {self.rtol} and {self.atol}")
        if self.method not in METHODS:
            raise InputError(f"the known methods are {', '.join(METHODS)}; got {self.method!r}")
        if self.saves < 1 or self.max_steps < 1:
            raise InputError(f"saves and max_steps must be ≥ 1; got {self.saves} and {self.max_steps}")
        if self.steady is not None and not self.steady > 0:
            raise InputError(f"steady must be > 0, or None to run to the end; got {self.steady}")

    def moments(self) -> int:
        """Return how many moments will be saved, at most."""
        return self.saves + 1

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Follow the flow; report to the recorder."""
        start = system.start()
        if not all(is_numpy_array(a) for a in (*start.weights, *start.learnt)):
            raise InputError("Flow integrates NumPy arrays; move the weights to NumPy, or use Descent")
        system.rule.at(None)
        clock = _Clock(self, system, task, start)
        clock.check_start()
        recorder.save(0.0, 0, start)
        for k in range(1, self.saves + 1):
            moment = self.t * k / self.saves
            while clock.time < moment:
                clock.step(moment, recorder)
                if self.steady is not None and clock.speed() <= self.steady * (1 + np.linalg.norm(clock.y)):
                    recorder.save(clock.time, clock.steps, clock.state())
                    recorder.advance(1.0)
                    return clock.outcome("steady")
            recorder.save(clock.time, clock.steps, clock.state())
            recorder.advance(k / self.saves)
        return clock.outcome("finished")


@dataclass
class _Clock:
    """SciPy's stepper, restarted at every saved moment with the step size it had reached."""

    flow: Flow
    system: AbstractSystem
    task: Task
    start: State
    time: float = 0.0
    steps: int = 0
    evaluations: int = 0
    inner: Any = None
    pace: float | None = None
    pieces: list[Any] = field(default_factory=list)
    y: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.shapes = [a.shape for a in (*self.start.weights, *self.start.learnt)]
        self.y = _flat(self.start)
        # In double precision, whatever the weights came in: an adaptive method has no use for less.
        self.batch = self.task.everything(self.y)

    def check_start(self) -> None:
        """Raise DivergenceError where the flow cannot even begin: SciPy would search for a first step for ever."""
        with np.errstate(over="ignore", invalid="ignore"):
            first = self._velocity(0.0, self.y)
        if not np.all(np.isfinite(first)):
            raise diverged(self.system, self.start, "at the start", "the velocity overflows: start smaller")

    def state(self) -> State:
        """Return the present state."""
        return self._state(self.y)

    def outcome(self, status: str) -> Outcome:
        """Return how the run ended."""
        return Outcome(status, self.evaluations, self.steps, tuple(self.pieces))

    def speed(self) -> float:
        """Return ‖velocity‖ now."""
        return float(np.linalg.norm(self._velocity(self.time, self.y)))

    def step(self, moment: float, recorder: Recorder) -> None:
        """Take one step, not beyond a moment, and let the ledgers see what tolerance it was taken at."""
        if self.inner is None or self.inner.status != "running":
            first = None if self.pace is None else min(self.pace, moment - self.time)
            self.inner = METHODS[self.flow.method](
                self._velocity, self.time, self.y, moment, rtol=self.flow.rtol, atol=self.flow.atol, first_step=first
            )
        y = self.y
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            message = self.inner.step()
        if self.inner.status == "failed" or not np.all(np.isfinite(self.inner.y)):
            state = self._state(self.inner.y)
            raise diverged(self.system, state, f"at t = {self.inner.t:g}", _ADVICE + (message or ""))
        self.time, self.y, self.steps = self.inner.t, self.inner.y, self.steps + 1
        self._remember_pace()
        if self.steps > self.flow.max_steps:
            reached = f"t = {self.time:g} of {self.flow.t:g}"
            raise InputError(f"{self.flow.max_steps} steps only reached {reached}: {_LONGER}")
        if self.flow.dense:
            self.pieces.append(self.inner.dense_output())
        if recorder.ledgers:
            self._widen(recorder, y)

    def _widen(self, recorder: Recorder, y: np.ndarray) -> None:
        """Let the ledgers see how far a step may err: the root mean square of error/(atol + rtol|y|) is below one."""
        largest = max(np.abs(y).max(), np.abs(self.y).max())
        error = math.sqrt(y.size) * (self.flow.atol + self.flow.rtol * largest)
        before, after = self._state(y), self.state()
        for ledger in recorder.ledgers:
            ledger.widen(self.system.full(before), self.system.full(after), self.system.spread(after, error))

    def _remember_pace(self) -> None:
        """Keep the step size; the last step before a moment is cut short and says little."""
        size = getattr(self.inner, "h_abs", None) or self.inner.step_size
        if self.inner.status == "running" or self.pace is None or size > self.pace:
            self.pace = float(size)

    def _state(self, y: np.ndarray) -> State:
        ends = np.cumsum([0] + [math.prod(shape) for shape in self.shapes])
        parts = [y[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], self.shapes, strict=False)]
        L = len(self.start.weights)
        return State(tuple(parts[:L]), tuple(parts[L:]))

    def _velocity(self, _: float, y: np.ndarray) -> np.ndarray:
        self.evaluations += 1
        s = self._state(y)
        return _flat(self.system.velocity(s, self.system.passes(s, self.batch)))


_ADVICE = "the flow itself may blow up in finite time: start smaller, or shorten t. "
_LONGER = (
    "the problem is stiff (try method='LSODA' or 'Radau', or a smaller start), it rests (stop there with steady=1e-9), "
    "or max_steps is too small"
)


def _flat(state: State) -> np.ndarray:
    return np.concatenate([np.asarray(a, dtype=float).ravel() for a in (*state.weights, *state.learnt)])
