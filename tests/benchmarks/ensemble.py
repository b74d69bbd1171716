"""An ensemble of networks (20, 100, 100, 5) to t = 20, per trajectory: linfa, diffrax under vmap, and SciPy.

Every contender starts from the matrices of the ensemble (drawn once, not timed). linfa makes their Gram matrices and
follows all members at once, each at its own pace; `drawn in law` draws as many members without their matrices instead.
diffrax, compiled beforehand, follows them under one vmap, and one after the other under lax.map; SciPy takes one after
the other. Where nothing is shared a few networks are enough, for the time per trajectory does not depend on how many.

Equal accuracy: relative tolerance 1e-5, absolute 1e-8, methods of order 3 (Bogacki & Shampine's pair, the fastest of
every contender here). The error is the median over members of ‖W(20) − reference‖ / ‖W(20) − W(0)‖, the reference being
the width-free ensemble by DOP853 at 1e-11; above 1e-5 the benchmark fails. float64, one thread, processor time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import linfa
from tests.benchmarks.by_hand import Matrices, by_diffrax, by_scipy, missing, paths
from tests.benchmarks.timing import Row, compare

WIDTHS, T, RTOL, BOUND = (20, 100, 100, 5), 20.0, 1e-5, 1e-5


def drawn(members: int) -> tuple[linfa.Weights, linfa.FeedbackAlignment]:
    """Return an ensemble as matrices."""
    draw = np.random.default_rng(0)
    nets = [linfa.Weights.standard(WIDTHS, draw) for _ in range(members)]
    feedback = [linfa.FeedbackAlignment.random(net, draw).matrices for net in nets]
    return linfa.Weights(stacked([net.matrices for net in nets])), linfa.FeedbackAlignment(stacked(feedback))


def stacked(each: list[Matrices]) -> Matrices:
    """Return matrices with the networks along a leading axis."""
    return tuple(map(np.stack, zip(*each, strict=True)))


def first(count: int, matrices: Matrices) -> Matrices:
    """Return the matrices of the first networks."""
    return tuple(W[:count] for W in matrices)


def judge(net: linfa.Weights, rule: linfa.FeedbackAlignment, task: linfa.Task) -> Callable[[Any], float | None]:
    """Return the median relative error over the members that were followed; no more than the bound."""
    tight = linfa.Flow(T, rtol=1e-11, atol=1e-14, saves=1)
    exact = linfa.solve(linfa.WidthFree(net, rule), task, tight).weights(-1).matrices

    def distances(a: Matrices, b: Matrices) -> np.ndarray:
        return np.sqrt(sum(np.sum((np.asarray(x) - y) ** 2, axis=(-1, -2)) for x, y in zip(a, b, strict=True)))

    def error(found: Matrices | None) -> float | None:
        if found is None:
            return None
        there, start = (first(len(found[0]), matrices) for matrices in (exact, net.matrices))
        relative = float(np.median(distances(found, there) / distances(start, there)))
        if not relative < BOUND:
            raise AssertionError(f"the error {relative:.1e} is above {BOUND:.0e}: the comparison is not fair")
        return relative

    return error


def contenders(
    net: linfa.Weights, rule: linfa.FeedbackAlignment, task: linfa.Task, alone: int, vmapped: int
) -> Iterator[tuple[str, int, Callable[[], Matrices | None]]]:
    """Yield what each is called, how many networks it follows, and the call that does."""
    W, M, members = net.matrices, paths(net, rule), len(net[0])
    flow = linfa.Flow(T, rtol=RTOL, atol=1e-3 * RTOL, method="RK23", saves=1)

    def one_by_one() -> Matrices:
        pairs = zip(zip(*first(alone, W), strict=True), zip(*first(alone, M), strict=True), strict=True)
        return stacked([by_scipy(w, m, task.cross, T, RTOL, "RK23") for w, m in pairs])

    def in_law() -> None:
        linfa.solve(linfa.WidthFree.gaussian(WIDTHS, rng=0, members=members), task, flow)

    yield f"SciPy, {alone} one by one", alone, one_by_one
    if vmapped and not missing("diffrax"):
        for over, k in {"vmap": vmapped, "lax.map": alone}.items():
            yield f"diffrax, {over} of {k}", k, by_diffrax(first(k, W), first(k, M), task.cross, T, RTOL, "Bosh3", over)
    yield "linfa", members, lambda: linfa.solve(linfa.WidthFree(net, rule), task, flow).weights(-1).matrices
    yield "linfa, drawn in law", members, in_law


def row(members: int, alone: int, vmapped: int, rounds: int) -> Row:
    """Return seconds per trajectory: `members` networks by linfa, `vmapped` by one vmap, `alone` one by one."""
    task, (net, rule) = linfa.Task.teacher(20, 5, rng=2), drawn(members)
    named = list(contenders(net, rule, task, alone, vmapped))
    runs, error = {name: run for name, _, run in named}, judge(net, rule, task)
    whole = compare("", runs, rounds, error, time.process_time, warm=rounds > 1)
    per = {name: whole.seconds[name] / count for name, count, _ in named}
    rates = ", ".join(f"{1 / seconds:.0f}" for seconds in per.values())
    return Row(f"per trajectory, {members} networks {WIDTHS} ({rates} trajectories per second)", per, whole.errors)


def rows() -> Iterator[Row]:
    """Yield the comparison for 200 networks."""
    yield row(200, alone=10, vmapped=20, rounds=3)
