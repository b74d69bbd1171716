"""One training step of ResNet-20 on 128 images under every kind of rule, over plain backprop's.

Forward, loss, backward and SGD with momentum, float32, on the processor. Processor time of this process is counted, so
that other work on the machine falls out; the contenders take turns. BioTorch joins where it is installed, with its own
layers put in place of the same convolutions.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import linfa.nn
from linfa.nn import models
from tests.benchmarks.timing import Row, compare

LONG = "about three minutes"

RULES = {"FA": "fa", "uSF": "usf", "frSF": "frsf", "brSF": "brsf", "uSF-SN": "usf-sn"}
SEEDED = linfa.nn.rules.FeedbackAlignment(seeded=True)


def images(n: int = 128) -> tuple[Tensor, Tensor]:
    """Return random images and classes of CIFAR's shape."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 32, 32, generator=g), torch.randint(0, 10, (n,), generator=g)


def step_of(
    model: nn.Module, x: Tensor, y: Tensor, call: Callable[[Tensor], Tensor] | None = None
) -> Callable[[], None]:
    """Return one training step of a model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    forward = call or model

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(forward(x), y).backward()
        optimizer.step()

    return step


def biotorch(name: str) -> nn.Module:
    """Return ResNet-20 with BioTorch's layers: the same weights, converted by its own means."""
    from biotorch.module.biomodule import BioModule

    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it converted
        return BioModule(models.make("resnet20"), mode=name)


def rows() -> Iterator[Row]:
    """Yield the step in eager mode, and compiled."""
    x, y = images()
    contenders = {"backprop (torch)": step_of(models.make("resnet20"), x, y)}
    for name, rule in RULES.items():
        contenders[name] = step_of(linfa.nn.convert(models.make("resnet20"), rule), x, y)
    contenders["FA, seeded"] = step_of(linfa.nn.convert(models.make("resnet20"), SEEDED), x, y)
    if importlib.util.find_spec("biotorch"):
        for name, mode in {"BioTorch FA": "fa", "BioTorch uSF": "usf", "BioTorch frSF": "frsf"}.items():
            contenders[name] = step_of(biotorch(mode), x, y)
    else:
        print("    (biotorch is not installed, so it is left out)")
    yield compare("ResNet-20, 128 images, eager", contenders, rounds=15, clock=time.process_time)

    plain, fed = models.make("resnet20"), linfa.nn.convert(models.make("resnet20"), "fa")
    yield compare(
        "ResNet-20, 128 images, torch.compile",
        {
            "backprop (torch)": step_of(plain, x, y, torch.compile(plain)),
            "FA": step_of(fed, x, y, torch.compile(fed, fullgraph=True)),
        },
        rounds=15,
        clock=time.process_time,
    )
