"""The cost of a width-free run against the width: the one pass over the weights, and everything else, which is flat.

Widths (20, n, n, 5). Given matrices: the pass over them (Gram matrices) apart from a run from these on, n = 10³ and 10⁴
(10⁵ would hold 80 GB a layer); hidden matrices given by factors of rank 4 and the outer ones by seeds, never made, to
n = 10⁶. Drawn in law (Gaussian, no matrices): draw and run together, n = 10³ … 10⁹.

A run is 500 steps at the rate 1/n, which keeps them equally many and equally far, or a flow to t = 20 by Radau at rtol
1e-6: the flow is faster by ‖M_l‖² ∼ n, so that an explicit method would take steps of the order 1/n, and an implicit
one does not. Processor time in float64 on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import linfa
from linfa.matrices import Factored, Seeded
from linfa.solvers import AbstractSolver
from tests.benchmarks.timing import Row, compare

STEPS, T = 500, 20.0


def solvers(n: int) -> dict[str, AbstractSolver]:
    """Return the solvers by what they are called."""
    return {
        f"{STEPS} steps": linfa.Descent(1.0 / n, STEPS, saves=1),
        f"flow to t = {T:g}": linfa.Flow(T, rtol=1e-6, atol=1e-9, method="Radau", saves=1),
    }


def dense(n: int) -> tuple[linfa.Weights, linfa.FeedbackAlignment]:
    """Return a network and its feedback as arrays."""
    net = linfa.Weights.standard((20, n, n, 5), rng=0)
    return net, linfa.FeedbackAlignment.random(net, rng=1)


def implicit(n: int) -> tuple[linfa.Weights, linfa.FeedbackAlignment]:
    """Return a network and its feedback as factors and seeds."""
    outer = [Seeded(shape, shape[1] ** -0.5, seed=i) for i, shape in enumerate([(n, 20), (5, n), (5, n)])]
    hidden = [Factored.random((n, n), 4, rng=i) for i in (3, 4)]
    return linfa.Weights((outer[0], hidden[0], outer[1])), linfa.FeedbackAlignment((hidden[1], outer[2]))


def given(n: int, task: linfa.Task, rounds: int, made: Callable[[int], Any] = dense) -> Row:
    """Return what the pass over given matrices costs, and a run after it."""
    net, rule = made(n)
    # The run itself asks for the Gram matrices alone; without matrices there is no provenance to hash either.
    drawn = replace(linfa.WidthFree.gaussian((20, n, n, 5), rng=0), reduction=linfa.WidthFree(net, rule).grams)
    contenders: dict[str, Callable[[], object]] = {
        "one pass: Gram matrices": lambda: linfa.WidthFree(net, rule),
        **{name: lambda s=s: linfa.solve(drawn, task, s, states=False) for name, s in solvers(n).items()},
    }
    return compare(f"given matrices, {made.__name__}, n = {n:,}", contenders, rounds, clock=time.process_time)


def rows(
    matrices: Sequence[int] = (10**3, 10**4),
    factors: Sequence[int] = (10**3, 10**4, 10**5, 10**6),
    draws: Sequence[int] = (10**3, 10**4, 10**5, 10**6, 10**9),
    rounds: int = 5,
) -> Iterator[Row]:
    """Yield given matrices by width, then draws of every width taking turns."""
    task = linfa.Task.teacher(20, 5, rng=2)
    for n in matrices:
        yield given(n, task, rounds)
    for n in factors:
        yield given(n, task, 1, implicit)
    for name in solvers(1):
        contenders = {
            f"n = {n:,}": lambda n=n, name=name: linfa.solve(
                linfa.WidthFree.gaussian((20, n, n, 5), rng=0), task, solvers(n)[name], states=False
            )
            for n in draws
        }
        yield compare(f"drawn in law, {name}", contenders, rounds, clock=time.process_time)
