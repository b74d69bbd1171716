"""One step of mini-batch SGD on digits (64, n, n, 10) and MNIST (784, n, n, 10): a plain torch loop against linfa.

The loop is written by hand: forward, signals sent back through the fixed B_l, and W_l += η δ_lᵀ h_{l−1} in place under
torch.no_grad. Batches of 32, softmax cross-entropy, one thread, processor time; medians over the steps of all rounds,
contenders taking turns. A step lasts from one call for the learning rate to the next, which counts drawing the batch;
the width-free pass over the weights (once per run) is a row of its own, and the losses that linfa records at the start
and the end are not counted.

Equal accuracy: all see the same samples in the same order, and the errors are ‖W − reference‖ / ‖W − W(0)‖ over all
layers after the last step, the reference being torch in float64. A float64 contender above 1e-9 fails.
512 samples are kept of each set, for the time per step does not depend on how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import linfa
from linfa.systems.interface import AbstractSystem
from tests.benchmarks.by_hand import Matrices, by_torch
from tests.benchmarks.timing import Row, compare

SAMPLES, BATCH = 512, 32


@dataclass(frozen=True)
class Stopwatch(linfa.solvers.AbstractSchedule):
    """A constant rate that remembers when it was asked for."""

    rate: float
    moments: list[float] = field(default_factory=list)

    def __call__(self, step: int) -> float:
        self.moments.append(time.process_time())
        return self.rate

    def described(self) -> dict[str, object]:
        """Return what belongs to the provenance of a run."""
        return {"type": "Stopwatch", "rate": self.rate}


def by_linfa(system: AbstractSystem, task: linfa.Task, rate: float, steps: int) -> tuple[list[float], Matrices]:
    """Return the seconds of all steps but the last, and the weights after it."""
    watch = Stopwatch(rate)
    run = linfa.solve(system, task, linfa.Descent(watch, steps, batch=BATCH, saves=1))
    return list(np.diff(watch.moments)), run.weights(-1).matrices


def order(steps: int) -> Iterator[np.ndarray]:
    """Yield the samples of each step, in the order of `linfa.Descent` with seed 0."""
    for step in range(steps):
        epoch, place = divmod(step * BATCH, SAMPLES)
        yield np.random.default_rng([0, epoch]).permutation(SAMPLES)[place : place + BATCH]


def row(data: str, n: int, steps: int, rounds: int) -> Iterator[Row]:
    """Yield the times per step at one width, and that of the pass over the weights."""
    task = linfa.Task.from_data(*linfa.data.load(data)[:2], loss=linfa.SoftmaxCrossEntropy(), samples=SAMPLES)
    net = linfa.Weights.standard((task.n_in, n, n, task.n_out), rng=0, scale=0.5)
    rule, rate = linfa.FeedbackAlignment.random(net, rng=1), 0.2 / n
    systems = {"linfa.Full": linfa.Full(net, rule), "linfa.WidthFree": linfa.WidthFree(net, rule)}
    spent: dict[str, list[float]] = {}
    final: dict[str, Matrices] = {}
    for _ in range(rounds):
        for dtype in ("float64", "float32"):
            name = f"torch, {dtype}"
            for seconds, final[name] in by_torch(net, rule, task.inputs, task.targets, rate, order(steps), dtype):
                spent.setdefault(name, []).append(seconds)
        for name, system in systems.items():
            seconds, final[name] = by_linfa(system, task, rate, steps)
            spent.setdefault(name, []).extend(seconds)
    yield Row(
        f"one step of {BATCH} of {data}, widths {net.widths}, {rounds} × {steps} steps",
        {name: float(np.median(seconds)) for name, seconds in spent.items()},
        errors(final, net.matrices),
    )
    yield compare("… once per run", {"Gram matrices": lambda: linfa.WidthFree(net, rule)}, 2, clock=time.process_time)


def errors(final: dict[str, Matrices], start: Matrices) -> dict[str, float]:
    """Return how far each ended from torch in float64, relative to how far that moved."""

    def distance(a: Matrices, b: Matrices) -> float:
        return float(np.sqrt(sum(np.sum((np.asarray(x) - np.asarray(y)) ** 2) for x, y in zip(a, b, strict=True))))

    exact = final["torch, float64"]
    found = {name: distance(W, exact) / distance(exact, start) for name, W in final.items()}
    if any(error > 1e-9 for name, error in found.items() if name != "torch, float32"):
        raise AssertionError(f"the contenders did not make the same steps: {found}")
    return found


def rows(sets: Sequence[str] = ("digits", "mnist"), widths: Sequence[int] = (100, 1000)) -> Iterator[Row]:
    """Yield the comparison by data set and width; sets that are not at hand are left out with the reason."""
    for data in sets:
        if not linfa.data.present(data):
            print(f"  {data} is left out, for it is not in $LINFA_DATA: linfa.data.load({data!r}) would fetch it")
            continue
        for n in widths:
            yield from row(data, n, steps=max(10, 60_000 // n) if n > 100 else 300, rounds=3 if n <= 1000 else 2)
