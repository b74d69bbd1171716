"""Study `guided`: what the conservation law suggests for feedback alignment, tried on convolutional nets.

Fixed feedback but for backprop and uSF, weights and feedback Xavier-uniform, SGD with momentum; each way at the rate
that does best on held-out images. Two suggestions, and what they must be told apart from:

    dominated, aligned, scaled      starts along the feedback, or with its lengths (`sims.starts`)
    graded                          decay that halves from layer to layer, λ_{l+1} = λ_l/2
    decayed                         the same decay in all layers                                    (control)

Why graded: under decay what a neuron owes fades as long as λ_{l+1} ≤ 2λ_l, and wherever training comes to rest,

    ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩ = (λ_l/λ_{l+1}) ‖W_l[k,:]‖²

for every neuron k, whatever the loss, the data and the start (theory's decay_dominance): aligned, and the more so the
more decay falls on what comes in rather than on what goes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from linfa.errors import DivergenceError
from sims.classifier import Classifier, Optimiser
from sims.made import device
from sims.rates import split
from sims.starts import begin, watched
from sims.study import Study

if TYPE_CHECKING:
    from torch import nn

    from linfa.nn.train import Data


@dataclass(frozen=True)
class Way:
    """A rule, where it starts, and how its weights decay.

    Args:
        rule: its name.
        start: of `sims.starts`.
        decay: λ_1.
        falls: λ_{l+1}/λ_l.
    """

    rule: str
    start: str = "random"
    decay: float = 0.0
    falls: float = 1.0


WAYS = {
    "bp": Way("bp"),
    "fa": Way("fa"),
    "dominated": Way("fa", "dominated"),
    "aligned": Way("fa", "aligned"),
    "scaled": Way("fa", "scaled"),
    "graded": Way("fa", decay=1e-2, falls=0.5),
    "decayed": Way("fa", decay=5e-3),
    "usf": Way("usf"),
}
"""λ of `decayed` is about the mean of `graded`'s over the layers of the nets below."""


@dataclass(frozen=True)
class Cell:
    """A net and its images under one way, from several starts, at several rates.

    Args:
        setting: all else; its rule, rate and decay are the way's.
        name: of the way.
        way: the way.
        rates: η to choose from.
        seeds: how many starts.
        held: training images that are not learnt from; the rate does best on them, as a mean over the starts.
    """

    setting: Classifier
    name: str
    way: Way
    rates: tuple[float, ...]
    seeds: int
    held: int = 1000

    def measure(self) -> xr.Dataset:
        """Return what `train` does at the best of the rates, by seed, and what the rates were worth."""
        images = self.setting.images()
        runs = {rate: self._runs(images, rate) for rate in self.rates}
        worth = {rate: float(np.mean([run["held"] for run in found] or [0])) for rate, found in runs.items()}
        best = max(self.rates, key=worth.__getitem__)
        if not runs[best]:
            raise DivergenceError(f"{self.name} diverges at every rate, {', '.join(map(str, self.rates))}")
        tried = xr.DataArray(list(worth.values()), {"tried": list(worth)}, "tried")
        return xr.concat(runs[best], "seed").assign(rate=best, worth=tried)

    def _runs(self, images: Data, rate: float) -> list[xr.Dataset]:
        """Return the runs at a rate, none where one of them diverges."""
        try:
            return [self.train(images, rate, seed) for seed in range(self.seeds)]
        except DivergenceError:
            return []

    def train(self, images: Data, rate: float, seed: int) -> xr.Dataset:
        """Return one run, and its accuracy on what is held out."""
        from linfa.nn.train import SGD

        cell, parts, where = replace(self.setting, rule=self.way.rule, seed=seed), split(images, self.held), device()
        net, example = cell.model(images, where), cell.plain(images.test_inputs[:2], images).to(where)
        begin(net, example, self.way.start)
        layers = [name for name, module in net.named_modules() if hasattr(module, "weight")]
        decay = {name: self.way.decay * self.way.falls**l for l, name in enumerate(layers)}
        training = replace(cell.training(), optimiser=SGD(rate, cell.optimiser.momentum, decay))
        learnt = replace(images, inputs=parts.inputs, targets=parts.targets)
        found = watched(net, learnt, training, example)
        run = {name: ("epoch", value) if np.ndim(value) else value for name, value in found.items()}
        return xr.Dataset(run | {"held": self._accuracy(net, parts)})

    def _accuracy(self, net: nn.Module, parts: Data) -> float:
        """Return the accuracy on what is held out."""
        import torch

        net.eval()
        with torch.no_grad():
            said = net(self.setting.plain(parts.test_inputs, parts).to(next(net.parameters()).device)).argmax(1)
        return float((said.cpu() == parts.test_targets).double().mean())


WHOLE = (
    Classifier("mnist", "lenet-mnist", "", Optimiser("sgd", momentum=0.9), 20, xavier=True, pad=2, batch=64),
    Classifier("fashion_mnist", "lenet-mnist", "", Optimiser("sgd", momentum=0.9), 20, xavier=True, pad=2, batch=64),
    Classifier(
        "cifar10", "moskovitz", "", Optimiser("sgd", momentum=0.9), 30, xavier=True, crop=24, flip=True, batch=64
    ),
)
"""All images, for a GPU."""

DIGITS = Classifier("digits", "small", "", Optimiser("sgd", momentum=0.9), epochs=4, xavier=True, pad=2, batch=32)
"""Architecture 1 in small on embedded digits."""

LENET = Classifier(
    "fashion_mnist", "lenet-mnist", "", Optimiser("sgd", momentum=0.9), 6, 6_000, 2_000, xavier=True, pad=2, batch=64
)
"""Part of Fashion-MNIST."""

CIFAR = Classifier(
    "cifar10",
    "moskovitz",
    "",
    Optimiser("sgd", momentum=0.9),
    6,
    10_000,
    2_000,
    xavier=True,
    crop=24,
    flip=True,
    batch=64,
)
"""Architecture 1 on part of CIFAR-10."""


def ways(setting: Classifier, seeds: int, names: tuple[str, ...] = tuple(WAYS), **options: int) -> tuple[Cell, ...]:
    """Return a setting under several ways, at four rates each: higher ones where errors come back truly or by sign."""
    high, low = (0.1, 0.03, 0.01, 0.003), (0.03, 0.01, 0.003, 0.001)
    return tuple(
        Cell(setting, name, WAYS[name], low if WAYS[name].rule == "fa" else high, seeds, **options) for name in names
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return ways on digits; or every way on three sets from three starts, which takes a GPU."""
    if fast:
        return ways(DIGITS, 1, ("bp", "fa", "dominated", "aligned", "scaled"), held=100)
    return tuple(cell for setting in WHOLE for cell in ways(setting, 3, held=5000))


def part(fast: bool) -> tuple[Cell, ...]:
    """Return ways on a part of two sets; fast, one on digits for one epoch."""
    if fast:
        return ways(replace(DIGITS, epochs=1), 1, ("bp",), held=100)
    return (*ways(LENET, 2), *ways(CIFAR, 1, ("bp", "fa", "dominated", "aligned", "graded", "usf")))


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


PAPER = "after Robertson & Koyejo 2024"
CLAIM = "A start along the feedback closes a part of the gap between feedback alignment and backprop."
STUDY = Study("guided", PAPER, CLAIM, cells, compute, trains=True, recorded=1)
PART = Study("guided_part", PAPER, f"{CLAIM} On a part of the images, without a GPU.", part, compute, True, 1)
