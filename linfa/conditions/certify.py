"""certify: is convergence guaranteed, by which theorem, and by what margin — or no guarantee, never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from linfa.arrays import Array
from linfa.conditions.exact import Interval
from linfa.conditions.theorems import THEOREMS, Case
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.solvers.interface import AbstractSolver
from linfa.systems.full import Full
from linfa.task import Task
from linfa.weights import Weights, as_weights


@dataclass(frozen=True)
class Certificate:
    """What is guaranteed of one network, one rule and one task.

    Args:
        guaranteed: whether a theorem below holds; False means that none does, not that the run will fail.
        theorem: its name, a key of `THEOREMS`, or None.
        margin: (lower, upper), floats between which the theorem's exact margin lies, proved by exact arithmetic.
        statement: the theorem's statement with the meaning of the margin, or "no guarantee".
        reasons: for every theorem tried and not applicable, "theorem: the hypothesis that fails"; "every
            theorem: …" where the setting that all of them share fails. Filled for guarantees too: what did not apply.
    """

    guaranteed: bool
    theorem: str | None
    margin: Interval | None
    statement: str
    reasons: tuple[str, ...]


def certify(
    weights: Weights | Sequence[Array],
    rule: AbstractRule,
    task: Task,
    *,
    solver: AbstractSolver | None = None,
    theorem: str | None = None,
) -> Certificate:
    """Return whether the loss is guaranteed to converge to its least value, by which theorem, with a margin.

    The weights, the feedback and the moments are taken as the exact numbers that their floats are, and every
    inequality is decided in exact integer arithmetic: a margin of zero is zero, and a change in the last bit counts.
    Floating point is used where Rump's bound proves what it says; what is neither proved so nor small enough to decide
    exactly (`exact.MOST_EXACT` rows) is a reason that begins with "undecided". The guarantee is about the exact
    flow of these numbers, not about a solver's approximation of it.

    Args:
        weights: the start, one network (no leading axes).
        rule: how the error comes back.
        task: what is learnt.
        solver: how time passes; None, or one of continuous time. A solver that takes finite steps has no guarantee.
        theorem: ask about this one only, a key of `THEOREMS`.

    Raises:
        InputError: where network, rule and task do not fit, or hold a batch, or a theorem is not known.

    >>> import numpy as np
    >>> import linfa
    >>> task = linfa.Task.teacher(3, 2, rng=0)
    >>> net, B = linfa.Weights.zero((3, 4, 2)), np.eye(2, 4)
    >>> certificate = certify(net, linfa.FeedbackAlignment((B,)), task)
    >>> certificate.theorem, certificate.margin
    ('lyapunov', (0.0, 0.0))
    >>> certify(net, linfa.FeedbackAlignment((0 * B,)), task, theorem="convergence").reasons
    ('convergence: M_1 must have full column rank p = 2; its rank is 0',)
    """
    case = _case(weights, rule, task, solver)
    if theorem is not None and theorem not in THEOREMS:
        raise InputError(f"the known theorems are {', '.join(THEOREMS)}; got {theorem!r}")
    if case.setting:
        return _none(f"every theorem: {failure}" for failure in case.setting)
    reasons: list[str] = []
    for candidate in THEOREMS.values() if theorem is None else (THEOREMS[theorem],):
        verdict = candidate.judge(case)
        if not verdict.failures:
            statement = f"{candidate.statement} Margin: {candidate.margin}."
            return Certificate(True, candidate.name, verdict.margin, statement, tuple(reasons))
        reasons += [f"{candidate.name}: {failure}" for failure in verdict.failures]
    return _none(reasons)


def _none(reasons: Iterable[str]) -> Certificate:
    return Certificate(False, None, None, "no guarantee", tuple(reasons))


def _case(weights: Weights | Sequence[Array], rule: AbstractRule, task: Task, solver: AbstractSolver | None) -> Case:
    if not isinstance(task, Task):
        raise InputError(f"certify takes a linfa.Task; got {type(task).__name__}")
    if solver is not None and not isinstance(solver, AbstractSolver):
        raise InputError(f"certify takes a solver such as linfa.Flow, or None; got {type(solver).__name__}")
    if not isinstance(weights, Weights | list | tuple):
        raise InputError(f"certify takes linfa.Weights, or a list of matrices W_1 … W_L; got {type(weights).__name__}")
    net = as_weights(weights)
    Full(net, rule).check(task.n_in, task.n_out)
    feedback = getattr(rule, "matrices", ())
    if any(A.ndim != 2 for A in (*net, *feedback)):
        raise InputError(
            "certify judges one network at a time; these weights or feedback have leading axes: index them"
        )
    return Case(net, rule, task, solver)
