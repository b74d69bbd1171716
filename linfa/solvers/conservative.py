"""An explicit step that keeps every law of a fixed feedback path to rounding, at any step size.

    W_l⁺ = W_l + h M_l E X̄_{l−1}ᵀ,     X̄_l = ½ (W_l + W_l⁺) X̄_{l−1},     X̄_0 = I

Because the mean weight carries the activity to the layer above, both C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1}) and P_l W_l
are the same before and after the step, exactly: C_l⁺ − C_l = h sym(M_l E X̄_lᵀ − B_{l+1}ᵀ M_{l+1} E X̄_lᵀ) = 0. With E at
the start the order is 1; with E at a half step, made by the same step, it is 2. The layers are done from the bottom up,
so nothing is solved for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linfa.arrays import Array
from linfa.errors import InputError, NoLawError
from linfa.rules.interface import Passes, State
from linfa.solvers.ensemble import at_rest, chosen, unit_of
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
from linfa.systems.full import Full
from linfa.systems.interface import AbstractSystem, Samples
from linfa.task import Task


@dataclass(frozen=True)
class Conservative(AbstractSolver):
    """The flow of a rule with a fixed path over 0 ≤ t ≤ T, in equal steps that keep its laws to rounding.

    Args:
        t: T.
        steps: how many.
        order: 1 (one error per step) or 2 (two).
        saves: how many moments are recorded after the start, evenly spread.
        steady: a member rests where ‖velocity‖ ≤ steady · (1 + ‖state‖); None runs to T.

    Raises:
        InputError: for a value out of range.
        NoLawError: where the rule's path moves.

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> rule, law = linfa.FeedbackAlignment.random(net, rng=2), linfa.laws.MatrixLaw()
    >>> run = linfa.solve(linfa.Full(net, rule), task, Conservative(t=2.0, steps=10))
    >>> bool(law.residual(run).max() < 1e-14)
    True
    """

    stepped: ClassVar[bool] = False
    t: float
    steps: int
    order: int = 2
    saves: int = 100
    steady: float | None = None

    def __post_init__(self) -> None:
        check_end(self.t)
        check_whole(steps=self.steps, saves=self.saves)
        check_steady(self.steady)
        if self.order not in (1, 2):
            raise InputError(f"the conservative step has order 1 or 2; got {self.order}")

    def moments(self) -> int:
        """Return how many moments will be saved."""
        return len(save_steps(self.steps, self.saves))

    def run(self, system: AbstractSystem, task: Task, recorder: Recorder) -> Outcome:
        """Take the steps; report to the recorder."""
        if not isinstance(system, Full):
            raise InputError(
                f"the conservative step moves full weights, and {type(system).__name__} has none: simulate linfa.Full, "
                "or use Gauss, which keeps the laws of any system"
            )
        if not system.rule.fixed_path or system.rule.start(system.weights):
            raise NoLawError(
                f"{system.rule.name}: the conservative step needs a feedback path that never moves and learns nothing; "
                "use Gauss, which keeps the quadratic laws of every rule, or Flow"
            )
        batch, h = task.everything(system.weights[0]), self.t / self.steps
        kept = set(save_steps(self.steps, self.saves).tolist())
        s, members, last = system.start(), Members(system.lead), 0.0
        advice = f"the step {h:g} is too long: take more steps"
        recorder.save(0.0, 0, s)
        # What is rounded: sums over samples and over widths.
        unit = unit_of(s.weights[0]) * (sum(system.widths) + batch.inputs.shape[0] + 8)
        # Overflow on the way to divergence is found and reported below, not warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(1, self.steps + 1):
                first = system.passes(s, batch)
                if self.steady is not None:
                    members.move_to((k - 1) * h)
                    members.rest(at_rest(system.velocity(s, first), s, self.steady, members.lead))
                passes, after = self._step(system, s, first, batch, h)
                after = after if self.steady is None else chosen(members.going | members.lost, after, s)
                if recorder.ledgers:
                    self._widen(recorder, system, s, after, passes, unit, h)
                s = after
                if k in kept or not members.going.any():
                    members.lose_broken(system, s, f"at t = {k * h:g}", advice)
                    members.move_to(k * h)
                    if members.lost.all():
                        break
                    if (moment := members.moment(k * h)) > last:
                        recorder.save(moment, k, members.shown(s, moment))
                        recorder.advance(k / self.steps)
                        last = moment
                if not members.going.any():
                    break
        return members.outcome(self.order * k, k)

    def _widen(
        self, recorder: Recorder, system: Full, s: State, after: State, passes: Passes, unit: float, h: float
    ) -> None:
        """Let the ledgers see what rounding can have done in a step."""
        made = s.norms().plus(1.0, after.norms()).plus(h, system.sizes(s, passes))
        for ledger in recorder.ledgers:
            ledger.widen(s, after, made.times(unit))

    def _step(self, system: Full, s: State, passes: Passes, batch: Samples, h: float) -> tuple[Passes, State]:
        """Return the passes whose error the step uses, and the state after it, from the passes at its start."""
        if self.order == 2:
            passes = system.passes(mean_step(s, passes.signals, batch.inputs, h / 2), batch)
        return passes, mean_step(s, passes.signals, batch.inputs, h)


def mean_step(s: State, signals: tuple[Array, ...], inputs: Array, h: float) -> State:
    """Return W_l⁺ = W_l + h δ_lᵀ h̄_{l−1} with h̄_l = ½ (W_l + W_l⁺) h̄_{l−1}, from the bottom up."""
    activity, after = inputs, []
    for W, delta in zip(s.weights, signals, strict=True):
        after.append(W + h * (delta.mT @ activity))
        activity = activity @ ((W + after[-1]) / 2).mT
    return State(tuple(after))
