"""How a flow is followed to the next moment: one network by SciPy's steppers, a batch by steps of its own.

Both take one step at a time, let the ledgers see what tolerance it was taken at, and judge who rests, who has had steps
enough and who left the finite numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.integrate

from linfa.arrays import Array, to_numpy
from linfa.rules.interface import State
from linfa.solvers.ensemble import Layout, PerMember, at_rest
from linfa.solvers.explicit import PAIRS, Paces, Pair
from linfa.solvers.interface import Outcome, Recorder
from linfa.solvers.members import Members
from linfa.solvers.outlook import Outlook
from linfa.systems.interface import AbstractSystem
from linfa.task import Task

if TYPE_CHECKING:
    from linfa.solvers.flow import Flow

METHODS: dict[str, type[scipy.integrate.OdeSolver]] = {
    **PAIRS,
    "Radau": scipy.integrate.Radau,
    "BDF": scipy.integrate.BDF,
    "LSODA": scipy.integrate.LSODA,
}
"""The adaptive methods by SciPy's names."""

_BLOWS_UP = "the flow itself may blow up in finite time: start smaller, or shorten t"


class AbstractClock(ABC):
    """A flow under way."""

    def __init__(self, flow: Flow, system: AbstractSystem, task: Task, start: State, recorder: Recorder) -> None:
        self.flow, self.system, self.recorder = flow, system, recorder
        self.batch = task.everything(start.weights[0])
        self.layout = Layout(start, tuple(system.lead))
        self.outlook = Outlook(flow.t, flow.max_steps, tuple(system.lead))
        # Weights are what the tolerance is meant for; a coordinate may move them by more than it moves itself.
        self.atol = flow.atol / self.layout.rows(system.reach())

    members: Members
    """What became of whom."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many steps were taken, by the member that took most."""

    @abstractmethod
    def step(self, moment: float) -> None:
        """Take one step, not beyond a moment."""

    def done(self) -> float:
        """Return how much of the run is done, 0 … 1: of its time, or of its steps where they end first."""
        going = self.members.time[self.members.going]
        return max(float(going.min()) / self.flow.t if going.size else 1.0, self.steps / self.flow.max_steps)

    def _cap(self, taken: PerMember) -> None:
        """Stop who has made all steps, and whose end is out of reach of them."""
        flow, members = self.flow, self.members
        members.cap((taken >= flow.max_steps) & (members.time < flow.t))
        # A stiff method lengthens its steps where less moves; and who looks for rest does not mean to come to the end.
        if flow.method in PAIRS and flow.steady is None:
            members.foresee_cap(self.outlook.out_of_reach(members.time, taken), flow.t, self.outlook.BEYOND)

    @abstractmethod
    def state(self) -> State:
        """Return the present state."""

    @abstractmethod
    def outcome(self) -> Outcome:
        """Return how the run ended."""

    def _widen(self, before: Array, after: Array, stepped: Any) -> None:
        """Let the ledgers see how far a step may err: the root mean square of error/(atol + rtol|y|) is below one."""
        if not self.recorder.ledgers or not stepped.any():
            return
        largest = max(float(np.abs(to_numpy(y)[stepped]).max()) for y in (before, after))
        error = math.sqrt(self.layout.size) * (self.flow.atol + self.flow.rtol * largest)
        s, s_next = self.layout.state(before), self.layout.state(after)
        bound = self.system.spread(s_next, error)
        for ledger in self.recorder.ledgers:
            ledger.widen(self.system.full(s), self.system.full(s_next), bound)


class Alone(AbstractClock):
    """SciPy's stepper, restarted at every saved moment with the step size it had reached."""

    def __init__(self, flow: Flow, system: AbstractSystem, task: Task, start: State, recorder: Recorder) -> None:
        super().__init__(flow, system, task, start, recorder)
        self.members, self.taken, self.evaluations = Members(()), 0, 0
        self.y, self.pieces = self.layout.rows(start), list[Any]()
        self.inner: Any = None
        self.pace: float | None = None
        # SciPy would search for a first step for ever.
        if not np.all(np.isfinite(self._velocity(0.0, self.y))):
            self.members.lose(np.asarray(True), lambda _: _OVERFLOWS)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.taken

    def state(self) -> State:
        """Return the present state."""
        return self.layout.state(self.y)

    def outcome(self) -> Outcome:
        """Return how the run ended."""
        return self.members.outcome(self.evaluations, self.steps, tuple(self.pieces))

    def step(self, moment: float) -> None:
        """Take one step, not beyond a moment."""
        inner = self._stepper(moment)
        message = inner.step()
        if inner.status == "failed" or not np.all(np.isfinite(inner.y)):
            when, advice = f"at t = {inner.t:g}", f"{_BLOWS_UP}. {message or ''}".rstrip()
            self.members.lose_broken(self.system, self.layout.state(inner.y), when, advice)
            self.members.lose(np.asarray(True), lambda _: f"diverged: no step is short enough {when}; {advice}")
            return
        before, self.y, self.taken = self.y, inner.y, self.taken + 1
        self.members.move_to(inner.t)
        self._remember_pace()
        if self.flow.dense:
            self.pieces.append(inner.dense_output())
        self._widen(before, self.y, np.asarray(True))
        if self.flow.steady is not None:
            velocity = self.layout.state(self._velocity(inner.t, self.y))
            self.members.rest(at_rest(velocity, self.state(), self.flow.steady, ()))
        self._cap(np.asarray(self.taken))

    def _stepper(self, moment: float) -> Any:
        if self.inner is None or self.inner.status != "running":
            now, flow = float(self.members.time), self.flow
            first = None if self.pace is None else min(self.pace, moment - now)
            self.inner = METHODS[flow.method](
                self._velocity, now, self.y, moment, rtol=flow.rtol, atol=self.atol, first_step=first
            )
        return self.inner

    def _remember_pace(self) -> None:
        """Keep the step size; the last step before a moment is cut short and says little."""
        size = getattr(self.inner, "h_abs", None) or self.inner.step_size
        if self.inner.status == "running" or self.pace is None or size > self.pace:
            self.pace = float(size)

    def _velocity(self, _: float, y: np.ndarray) -> np.ndarray:
        self.evaluations += 1
        s = self.layout.state(y)
        return np.asarray(self.layout.rows(self.system.velocity(s, self.system.passes(s, self.batch))))


class Together(AbstractClock):
    """A batch, every member at its own pace."""

    def __init__(self, flow: Flow, system: AbstractSystem, task: Task, start: State, recorder: Recorder) -> None:
        super().__init__(flow, system, task, start, recorder)
        pair, first = Pair.named(flow.method), flow.t / flow.saves
        self.paces = Paces(pair, system, self.batch, start, flow.rtol, self.atol, first)
        self.members = self.paces.members
        finite = np.isfinite(to_numpy(self.paces.f)).all(axis=-1)
        self.members.lose(~finite, lambda _: _OVERFLOWS)

    @property
    def steps(self) -> int:
        """How many steps were taken, by the member that took most."""
        return int(self.paces.taken.max())

    def state(self) -> State:
        """Return the present state."""
        return self.layout.state(self.paces.y)

    def outcome(self) -> Outcome:
        """Return how the run ended."""
        return self.members.outcome(self.paces.evaluations, self.steps)

    def step(self, moment: float) -> None:
        """Let every member that has not reached a moment try one step, not beyond it."""
        paces, members, before = self.paces, self.members, self.paces.y
        good = paces.step(moment)
        self._widen(before, paces.y, good)
        if self.flow.steady is not None:
            members.rest(good & at_rest(self.layout.state(paces.f), self.state(), self.flow.steady, members.lead))
        self._cap(paces.taken)
        members.lose(
            paces.stuck() & ~good,
            lambda i: f"diverged: no step is short enough at t = {members.time.flat[i]:g}; {_BLOWS_UP}",
        )


_OVERFLOWS = "diverged: the velocity overflows at the start; start smaller"
