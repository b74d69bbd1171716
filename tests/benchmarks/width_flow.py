"""The flow to t = 20 of a network (20, n, n, 5): every weight by SciPy and by diffrax, against the width-free run.

Equal accuracy: each contender has a power of ten as its relative tolerance (absolute: a thousandth of it) at which
‖W(20) − reference‖ / ‖W(20) − W(0)‖, all layers together, stays below 1e-5. The error is measured and printed, and a
contender above the bound fails the benchmark; the reference is the width-free run by DOP853 at 1e-12, which must agree
to 1e-10 with the one by LSODA at 1e-13. Of SciPy's methods RK23 is the fastest here on every weight (its stiff ones,
LSODA too, hold a dense Jacobian of all weights: 550 GB at n = 500), of diffrax's Bosh3.

Times are processor time in float64 on one thread. The width-free run starts from the matrices: its Gram matrices, the
provenance of the run (hashes of all weights) and the recorded losses are counted. diffrax's compilation is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

import linfa
from tests.benchmarks.by_hand import Matrices, by_diffrax, by_scipy, missing, paths
from tests.benchmarks.timing import Row, compare

T, BOUND = 20.0, 1e-5


def free_run(
    net: linfa.Weights, rule: linfa.FeedbackAlignment, task: linfa.Task, rtol: float, method: str
) -> linfa.Trajectory:
    """Return the width-free run, from the matrices of the start."""
    flow = linfa.Flow(T, rtol=rtol, atol=1e-3 * rtol, method=method, saves=1)
    return linfa.solve(linfa.WidthFree(net, rule), task, flow)


def judge(net: linfa.Weights, rule: linfa.FeedbackAlignment, task: linfa.Task) -> Callable[[object], float]:
    """Return the distance from a tight reference, relative to how far the weights moved; no more than the bound."""
    exact = free_run(net, rule, task, 1e-12, "DOP853").weights(-1).matrices

    def distance(a: Matrices, b: Matrices) -> float:
        return float(np.sqrt(sum(np.sum((np.asarray(x) - y) ** 2) for x, y in zip(a, b, strict=True))))

    moved = distance(exact, net.matrices)

    def error(made: object, most: float = BOUND) -> float:
        found = made.weights(-1).matrices if isinstance(made, linfa.Trajectory) else made
        relative = distance(found, exact) / moved
        if not relative < most:
            raise AssertionError(f"the error {relative:.1e} is above {most:.0e}: the comparison is not fair")
        return relative

    error(free_run(net, rule, task, 1e-13, "LSODA"), 1e-10)
    return error


def row(n: int, scipy: float, diffrax: dict[str, float], rounds: int) -> Row:
    """Return the comparison at one width, with relative tolerances for SciPy's RK23 and for diffrax's methods."""
    task, net = linfa.Task.teacher(20, 5, rng=2), linfa.Weights.standard((20, n, n, 5), rng=0)
    rule = linfa.FeedbackAlignment.random(net, rng=1)
    W, M = net.matrices, paths(net, rule)
    contenders: dict[str, Callable[[], object]] = {
        "SciPy RK23": lambda: by_scipy(W, M, task.cross, T, scipy, "RK23"),
    }
    if diffrax and not missing("diffrax"):
        for method, rtol in diffrax.items():
            contenders[f"diffrax {method}"] = by_diffrax(W, M, task.cross, T, rtol, method)
    for method, rtol in {"RK23": 1e-5, "LSODA": 1e-4}.items():
        contenders[f"width-free {method}"] = lambda rtol=rtol, method=method: free_run(net, rule, task, rtol, method)
    error = judge(net, rule, task)
    label = f"flow to t = {T:g}, widths (20, {n}, {n}, 5), {rounds} round{'s' * (rounds > 1)}"
    return compare(label, contenders, rounds, error, time.process_time, warm=rounds > 1)


def rows() -> Iterator[Row]:
    """Yield the comparison at n = 100 and n = 500."""
    yield row(100, 1e-5, {"Bosh3": 1e-5, "Tsit5": 1e-5}, 5)
    yield row(500, 1e-6, {"Bosh3": 1e-6, "Tsit5": 1e-6}, 3)
