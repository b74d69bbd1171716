"""One training step of an MLP with six layers of width 1024 under direct feedback, over plain backprop's.

The blocks are cut from each other, so the products that carry the error from layer to layer are never made.
Processor time of this process, contenders in turns, float32.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

import linfa.nn
from linfa.nn import models
from tests.benchmarks.nn_step import step_of
from tests.benchmarks.timing import Row, compare


def rows() -> Iterator[Row]:
    """Yield one comparison per batch size."""
    for batch in (128, 512):
        g = torch.Generator().manual_seed(0)
        x, y = torch.randn(batch, 784, generator=g), torch.randint(0, 10, (batch,), generator=g)
        widths = (784, *[1024] * 5, 10)
        contenders = {"backprop (torch)": step_of(models.make("mlp", widths=widths), x, y)}
        for name, rule in {"DFA": "dfa", "FA": "fa"}.items():
            model = linfa.nn.convert(models.make("mlp", widths=widths), rule, example=x[:1])
            contenders[name] = step_of(model, x, y)
        yield compare(f"six layers of width 1024, batch {batch}", contenders, rounds=15, clock=time.process_time)
