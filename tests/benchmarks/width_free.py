"""What a wide network costs: SciPy on every weight against the width-free run, and draws of any width."""

from __future__ import annotations

from collections.abc import Iterator

import linfa
from tests.benchmarks.timing import Row, compare


def rows(
    full: tuple[int, ...] = (100, 500, 2000),
    drawn: tuple[int, ...] = (10**3, 10**5, 10**7, 10**9),
    stepped: tuple[int, ...] = (100, 1000),
) -> Iterator[Row]:
    """Yield flows at equal tolerance (DOP853 on every weight first), and draws.

    Explicit methods take steps of the order 1/n here, so that the full run at n = 2000 lasts minutes: it is cut short.
    """
    task = linfa.Task.teacher(20, 5, rng=2)
    for n in full:
        net = linfa.Weights.standard((20, n, n, 5), rng=0)
        t, rule = 20.0 if n <= 500 else 0.1, linfa.FeedbackAlignment.random(net, rng=1)

        def run(
            method: str = "DOP853",
            system: type = linfa.WidthFree,
            net: linfa.Weights = net,
            rule: linfa.FeedbackAlignment = rule,
            t: float = t,
        ) -> None:
            flow = linfa.Flow(t, rtol=1e-6, atol=1e-9, method=method, saves=1)
            linfa.solve(system(net, rule), task, flow, states=False)

        yield compare(
            f"flow to t = {t:g}, widths (20, {n}, {n}, 5)",
            {
                "every weight": lambda run=run: run(system=linfa.Full),
                "width-free": run,
                "width-free, LSODA": lambda run=run: run("LSODA"),
                "of which Gram matrices": lambda net=net, rule=rule: linfa.WidthFree(net, rule),
            },
            rounds=3 if n <= 500 else 1,
        )
    # The rate falls as the width grows, so that the steps are equally many and equally far.
    yield compare(
        "draw, and 500 steps, widths (20, n, n, 5)",
        {
            f"n = {n:.0e}": lambda n=n: linfa.solve(
                linfa.WidthFree.gaussian((20, n, n, 5), rng=0), task, linfa.Descent(1.0 / n, 500, saves=1), states=False
            )
            for n in drawn
        },
        rounds=5,
    )
    digits = linfa.Task.from_data(*linfa.data.load("digits"), loss=linfa.SoftmaxCrossEntropy())
    steps = linfa.Descent(0.002, 200, batch=32, saves=1)
    for n in stepped:
        net = linfa.Weights.standard((64, n, n, 10), rng=0, scale=0.5)
        rule = linfa.FeedbackAlignment.random(net, rng=1)
        systems = {"every weight": linfa.Full(net, rule), "width-free": linfa.WidthFree(net, rule)}
        yield compare(
            f"200 steps of 32 digits, widths (64, {n}, {n}, 10)",
            {name: lambda s=s: linfa.solve(s, digits, steps, states=False) for name, s in systems.items()},
            rounds=3,
        )
