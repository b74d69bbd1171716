"""What it costs to certify a run: SGD with momentum and decay, with the ledgers of the laws and without.

Processor time on one thread; medians of three rounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import linfa
from tests.benchmarks.timing import Row, compare


def rows() -> Iterator[Row]:
    """Yield one comparison per width, on digits with mini-batches of 32."""
    task = linfa.Task.from_data(*linfa.data.load("digits"), loss=linfa.SoftmaxCrossEntropy())
    for n in (32, 128, 512):
        net = linfa.Weights.standard((64, n, n, 10), rng=0, scale=0.5)
        system = linfa.Full(net, linfa.FeedbackAlignment.random(net, rng=1))
        steps = linfa.Descent(0.01, 200, batch=32, momentum=0.9, decay=1e-3, saves=2)

        def run(*laws: linfa.laws.AbstractLaw, system: linfa.Full = system, steps: linfa.Descent = steps) -> None:
            linfa.solve(system, task, steps, laws=laws, states=False)

        yield compare(
            f"200 steps, widths (64, {n}, {n}, 10)",
            {
                "none": run,
                "neuron law": lambda run=run: run(linfa.laws.NeuronLaw()),
                "matrix law": lambda run=run: run(linfa.laws.MatrixLaw()),
            },
            rounds=3,
            clock=time.process_time,
            warm=n < 512,
        )
