"""Discrete time: full batch or mini-batches, momentum, weight decay, a schedule; exactly torch's SGD.

    v ← μv + U(s) − λs,     s ← s + η_k v          (no dampening, no Nesterov; what the rule learns moves alike)

It is called descent as in the field, although only backprop descends a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.errors import InputError
from linfa.laws.ledger import Ledger
from linfa.rules.interface import Passes, State
from linfa.solvers.interface import AbstractSolver, Outcome, Recorder, check_whole, is_real, is_whole, save_steps
from linfa.solvers.members import Members, broken
from linfa.solvers.schedules import AbstractSchedule, as_schedule
from linfa.systems.interface import AbstractSystem, Samples
from linfa.task import Task


@dataclass(frozen=True)
class Descent(AbstractSolver):
    """SGD with momentum and decay, on every sample at once or on mini-batches.

    Args:
        learning_rate: η, a number or a schedule (`Constant`, `StepDecay`, `Cosine`).
        steps: how many.
        batch: samples per step, drawn without replacement epoch by epoch; None for all at once.
        momentum: 0 ≤ μ < 1.
        decay: λ ≥ 0, coupled as in torch: added to the update before momentum.
        saves: how many moments are recorded after the start, evenly spread.
        seed: of the order of the samples.

    Raises:
        InputError: for a value out of range.

    >>> import linfa
    >>> task = linfa.Task.teacher(3, 2, rng=0)
    >>> net = linfa.Weights.standard((3, 2), rng=1)
    >>> run = linfa.solve(linfa.Full(net, linfa.Backprop()), task, Descent(learning_rate=0.5, steps=60))
    >>> bool(run.loss[-1] < 1e-30)
    True
    """

    stepped: ClassVar[bool] = True
    learning_rate: float | AbstractSchedule
    steps: int
    batch: int | None = None
    momentum: float = 0.0
    decay: float = 0.0
    saves: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate)
        check_whole(steps=self.steps, saves=self.saves)
        if self.batch is not None and not is_whole(self.batch):
            raise InputError(f"a batch holds a whole number ≥ 1 of samples; got {self.batch}")
        if not (is_real(self.momentum) and 0 <= self.momentum < 1):
            raise InputError(f"momentum must satisfy 0 ≤ μ < 1; got {self.momentum}")
        if not (is_real(self.decay) and math.isfinite(self.decay) and self.decay >= 0):
            raise InputError(f"decay must be finite and ≥ 0; got {self.decay}")

    def moments(self) -> int:
        """Return how many moments will be saved."""
        return len(save_steps(self.steps, self.saves))

    def takes(self, system: AbstractSystem) -> AbstractSystem:
        """Return the system as it must be simulated where weights decay."""
        return system.decaying() if self.decay else system

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Take the steps; report to the recorder."""
        rate, kept = as_schedule(self.learning_rate), set(save_steps(self.steps, self.saves).tolist())
        s, time, members = system.start(), 0.0, Members(tuple(system.lead))
        batches = _batches(task, self.batch, self.seed, s.weights[0])
        v = still = s.times(0.0)
        driven = bool(self.momentum or self.decay)
        recorder.save(time, 0, s)
        # Overflow on the way to divergence is found and reported below, not warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(self.steps):
                # A NumPy scalar would lift float32 weights to float64.
                eta = float(rate(k))
                passes = system.passes(s, next(batches), k)
                if self._lose_outputs(members, system, s, passes, f"at step {k}", eta):
                    s = members.shown(s, time)
                members.move_to(time)
                v_next = system.velocity(s, passes)
                drive = v.times(float(self.momentum)).plus(-float(self.decay), s) if driven else still
                v_next = drive.plus(1.0, v_next) if driven else v_next
                s_next = s.plus(eta, v_next)
                if recorder.ledgers:
                    self._enter(recorder.ledgers, system, s, s_next, eta, drive, v, passes)
                s, v, time = s_next, v_next, time + eta
                if k + 1 in kept:
                    members.lose_broken(system, s, f"after step {k + 1}", _ADVICE.format(eta=eta))
                    members.move_to(time)
                if members.lost.all():
                    break
                if k + 1 in kept:
                    recorder.save(time, k + 1, members.shown(s, time))
                    recorder.advance((k + 1) / self.steps)
        return members.outcome(k + 1, k + 1)

    def _lose_outputs(
        self, members: Members, system: AbstractSystem, s: State, passes: Passes, when: str, eta: float
    ) -> bool:
        """Give up members whose outputs are not finite: weights that are not show there one step later, cheaply."""
        outputs = passes.activities[-1]
        xp = array_namespace(outputs)
        if bool(xp.all(xp.isfinite(outputs))):
            return False
        who = members.going & (broken(State((outputs,)), members.lead) > 0)
        if who.any():
            members.lose_broken(system, s, when, _ADVICE.format(eta=eta))
            members.lose(who, lambda i: f"diverged: the output is no longer finite {when}; {_ADVICE.format(eta=eta)}")
        return bool(who.any())

    def _enter(
        self,
        ledgers: tuple[Ledger, ...],
        system: AbstractSystem,
        s: State,
        s_next: State,
        eta: float,
        drive: State,
        v: State,
        passes: Passes,
    ) -> None:
        """Let the ledgers see a step, in terms of the weights that the states stand for."""
        before, after, drive = system.full(s), system.full(s_next), system.full(drive)
        sizes = system.sizes(s, passes).plus(self.momentum, system.full(v).norms()).plus(self.decay, before.norms())
        # Sums over samples and over widths are what is rounded.
        terms = passes.activities[0].shape[-2] + sum(system.widths) + 8
        unit = float(array_namespace(s.weights[0]).finfo(s.weights[0].dtype).eps) * terms
        for ledger in ledgers:
            ledger.step(before, after, eta, drive, sizes, unit)


_ADVICE = "the learning rate {eta:g} is too large for this start and task: lower it, or start smaller"


def _batches(task: Task, size: int | None, seed: int, reference: Array) -> Iterator[Samples]:
    """Yield batches for ever: all samples each time, or epochs in an order that depends on (seed, epoch) alone."""
    if size is None:
        everything = task.everything(reference)
        while True:
            yield everything
    whole = task.samples(reference)
    N = whole.inputs.shape[0]
    if size > N:
        raise InputError(f"a batch of {size} is more than the {N} samples there are")
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(N)
        for first in range(0, N, size):
            yield whole.take(order[first : first + size])
        epoch += 1
