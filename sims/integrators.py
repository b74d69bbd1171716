"""Study `integrators`: what solvers do to the laws and to the solution, against step size, cost and time.

One run of feedback alignment on real images, in continuous time, by every solver at several step sizes or tolerances.
Errors are measured against the same flow at the tightest tolerance there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr

import linfa
from linfa.laws import MatrixLaw
from sims.study import Study

Solver = linfa.Descent | linfa.Flow | linfa.Conservative | linfa.Gauss

ORDERS: dict[str, int] = {
    "Euler": 1,
    "Conservative 1": 1,
    "Conservative 2": 2,
    "Gauss 1": 2,
    "Gauss 2": 4,
    "Gauss 3": 6,
}
"""The order that each method of equal steps claims."""

ADAPTIVE = ("RK45", "DOP853", "LSODA")
"""The methods that choose their steps, by SciPy's names."""

MOMENTS = 50
"""How many moments of the long runs are kept."""


@dataclass(frozen=True)
class Problem:
    """The flow that is solved.

    Args:
        data: the name of the image set.
        samples: how many training images.
        widths: n_0 … n_L.
        rule: a registry name.
        t: the end of time.
        seed: of the start; the feedback has the next one.
        scale: of the start, relative to the standard one.
    """

    data: str
    samples: int
    widths: tuple[int, ...]
    rule: str
    t: float
    seed: int = 0
    scale: float = 0.5

    def system(self) -> linfa.Full:
        """Return the network under its rule."""
        net = linfa.Weights.standard(self.widths, rng=self.seed, scale=self.scale)
        return linfa.Full(net, linfa.rules.make(self.rule, net, self.seed + 1))

    def task(self) -> linfa.Task:
        """Return the images."""
        return linfa.Task.from_data(*linfa.data.load(self.data), samples=self.samples, rng=self.seed)


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        problem: the flow that is solved.
        method: the solver's name on the axes.
        solver: the solver.
        series: whether this run is long, kept over time, and compared with nothing.
    """

    problem: Problem
    method: str
    solver: Solver
    series: bool = False


@lru_cache(maxsize=4)
def reference(problem: Problem) -> linfa.Weights:
    """Return the end of a flow at the tightest tolerance."""
    flow = linfa.Flow(problem.t, rtol=1e-13, atol=1e-15, saves=1)
    return linfa.solve(problem.system(), problem.task(), flow).weights(-1)


@lru_cache(maxsize=4)
def euler_drift(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return times, and the drift of the matrix law under Euler's steps per unit of step size: max |∫ U_l U_lᵀ dt|.

    One step changes C_l by η² U_l U_lᵀ exactly, so that drift/η → |∫ U_l U_lᵀ dt| for small steps; relative to the
    law's terms, in the worst layer, as drifts are.
    """
    system, task, law = problem.system(), problem.task(), MatrixLaw()
    run = linfa.solve(system, task, linfa.Flow(problem.t, rtol=1e-8, saves=400))
    batch, states = task.everything(system.weights[0]), list(run.states())
    worst = np.zeros(len(states))
    for l in range(len(problem.widths) - 2):
        U = np.stack([system.passes(s, batch).updates()[l] for s in states])
        powers = U @ U.transpose(0, 2, 1)
        steps = np.diff(run.times.values)[:, None, None]
        integral = np.cumsum(steps * (powers[1:] + powers[:-1]) / 2, axis=0)
        scale = max(float(law.terms(run.rule, s)[l]) for s in states)
        worst[1:] = np.maximum(worst[1:], np.abs(integral).max(axis=(1, 2)) / scale)
    return run.times.values, worst


def distance(weights: linfa.Weights, others: linfa.Weights) -> float:
    """Return ‖W − W'‖ relative to ‖W'‖, over all layers."""
    off, size = (
        np.sqrt(sum(float(np.sum(a * a)) for a in arrays))
        for arrays in ([a - b for a, b in zip(weights, others, strict=True)], list(others))
    )
    return float(off / size)


def compute(cell: Cell) -> xr.Dataset:
    """Return the drift of the matrix law over time, the error at the end, steps and evaluations."""
    run = linfa.solve(cell.problem.system(), cell.problem.task(), cell.solver)
    drift = MatrixLaw().drift(run).max("hidden")
    about = {name: run.dataset.attrs[name] for name in ("steps", "evaluations")}
    data = xr.Dataset({"drift": drift, "loss": run.loss}).assign(about)
    if cell.method == "Euler":
        times, rate = euler_drift(cell.problem)
        step = cell.problem.t / run.dataset.attrs["steps"]
        data = data.assign(predicted=("time", step * np.interp(run.times.values, times, rate)))
    return data if cell.series else data.assign(error=distance(run.weights(-1), reference(cell.problem)))


def stepper(method: str, t: float, steps: int, saves: int = 1) -> Solver:
    """Return a method of equal steps.

    >>> stepper("Gauss 2", 1.0, 10).stages
    2
    """
    name, _, number = method.partition(" ")
    if name == "Conservative":
        return linfa.Conservative(t, steps, order=int(number), saves=saves)
    if name == "Gauss":
        return linfa.Gauss(t, steps, stages=int(number), saves=saves)
    return linfa.Descent(t / steps, steps, saves=saves)


def problem(fast: bool) -> Problem:
    """Return the flow of a preset."""
    return Problem("digits", 1437, (64, 12, 12, 10) if fast else (64, 24, 24, 10), "fa", t=1.0)


def _cells(fast: bool) -> Iterator[Cell]:
    short = problem(fast)
    counts = (20, 40, 80, 160) if fast else (20, 40, 80, 160, 320, 640)
    for method in ORDERS:
        for steps in counts:
            yield Cell(short, method, stepper(method, short.t, steps))
    for method in ADAPTIVE:
        for rtol in (1e-3, 1e-5, 1e-7, 1e-9) if fast else (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11):
            yield Cell(short, method, linfa.Flow(short.t, rtol=rtol, atol=rtol / 10, method=method, saves=1))
    long = Problem(short.data, short.samples, short.widths, short.rule, t=20.0)
    steps = 400 if fast else 800
    for method in ORDERS:
        yield Cell(long, method, stepper(method, long.t, steps, MOMENTS), series=True)
    for method in ADAPTIVE:
        yield Cell(long, method, linfa.Flow(long.t, method=method, rtol=1e-3, atol=1e-6, saves=MOMENTS), series=True)


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return every method at every step size or tolerance, and one long run of each."""
    return tuple(_cells(fast))


STUDY = Study(
    name="integrators",
    paper="Hairer, Lubich & Wanner 2006",
    claim="Gauss and conservative steps keep the laws to rounding at any step size; common solvers let them drift.",
    cells=cells,
    compute=compute,
)
