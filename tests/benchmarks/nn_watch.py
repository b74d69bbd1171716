"""What it costs to watch ResNet-20 train under feedback alignment: the ledger at every step, monitors every 50 steps.

Processor time of 50 training steps on 128 images, contenders in turns, float32; angles against true backprop on a probe
of 16 images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

import linfa.nn
from linfa.nn import models, monitors
from tests.benchmarks.nn_step import images
from tests.benchmarks.timing import Row, compare

LONG = "about five minutes"
STEPS = 50


def training(watched: bool) -> Callable[[], None]:
    """Return 50 steps, with ledger and monitors or without."""
    x, y = images()
    model = linfa.nn.convert(models.make("resnet20"), "fa")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    if watched:
        streams = linfa.nn.laws(model, x[:2])
        ledger = linfa.nn.LawLedger(streams, optimizer)
        seen = [monitors.WeightAngle(), monitors.UpdateAngle(), monitors.NormRatio(), monitors.Dominance(streams)]
        watch = linfa.nn.Monitors(model, seen, x[:16], lambda f: torch.nn.functional.cross_entropy(f, y[:16]))

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        if watched:
            ledger.read()
            watch.read()

    return run


def rows() -> Iterator[Row]:
    """Yield one comparison."""
    contenders = {"FA": training(False), "FA, watched": training(True)}
    yield compare(f"{STEPS} steps of ResNet-20, 128 images", contenders, rounds=5, clock=time.process_time, warm=False)
