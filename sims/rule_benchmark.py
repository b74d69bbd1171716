"""Study `rule_benchmark`: six rules on sets and nets of BioTorch's benchmark (Sanfiz & Akrout 2021), in fewer epochs.

Weights and feedback start Xavier-uniform, biases at zero; every layer sends its error back through its B; SGD with
momentum 0.9, and a rate that falls to a tenth at the fractions of the epochs at which it falls there. Where a pilot on
held-out images says that a rule does better at another rate, it has that one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import xarray as xr

from sims import classifier
from sims.classifier import Classifier, Optimiser
from sims.rates import first_that_ends, ranked, split
from sims.study import Study

RULES = ("bp", "fa", "dfa", "usf", "brsf", "frsf")


def lenet(data: str, epochs: int) -> Classifier:
    """Return LeNet for images of 28×28, padded: batch 64, λ = 1e-3, rate falls at 1/2 and 3/4; the rate is ours."""
    sgd = Optimiser("sgd", 0.01, 1e-3, 0.9, (epochs // 2, 3 * epochs // 4))
    return Classifier(data, "lenet-mnist", "", sgd, epochs, xavier=True, pad=2, batch=64)


def cifar(net: str, epochs: int) -> Classifier:
    """Return a net for CIFAR-10: batch 128, rate 0.1, λ = 1e-4, rate falls at 2/5, 3/5 and 4/5; 45,000 images."""
    sgd = Optimiser("sgd", 0.1, 1e-4, 0.9, tuple(k * epochs // 5 for k in (2, 3, 4)))
    return Classifier("cifar10", net, "", sgd, epochs, train=45_000, xavier=True, crop=32, margin=4, flip=True)


WHOLE = (
    lenet("mnist", 12),
    lenet("fashion_mnist", 12),
    *(cifar(net, 15) for net in ("lenet-cifar", "resnet20", "resnet56")),
)
"""All images, for fewer epochs than published; for a GPU."""

FEW = tuple(replace(lenet(data, 5), train=20_000, test=4_000) for data in ("mnist", "fashion_mnist"))
"""A part of the grey images: minutes on one core, two starts each."""

FEWER = (
    replace(cifar("lenet-cifar", 8), train=10_000, test=4_000),
    replace(cifar("resnet20", 6), train=10_000, test=4_000),
)
"""A part of CIFAR-10: half an hour on one core."""

DIGITS = replace(lenet("digits", 4), net="small", batch=32)
"""The same on embedded digits, in seconds."""

RATES = {"lenet-mnist": (0.01, 0.003, 0.001), "lenet-cifar": (0.1, 0.01)}
"""η to choose from; 0.1 is BioTorch's for CIFAR-10, for grey images we do not know theirs."""

HELD, LEARNT = 2_000, 8_000
"""Training images of a pilot of one epoch: how many are held out of it, and at most how many it learns from."""


@dataclass(frozen=True)
class Cell:
    """A setting under a rule, at one of several rates.

    Args:
        setting: all but the rate.
        rates: η to choose from by a pilot; one is taken as it is.
    """

    setting: Classifier
    rates: tuple[float, ...]

    def at(self, rate: float) -> Classifier:
        """Return the setting at a rate."""
        return replace(self.setting, optimiser=replace(self.setting.optimiser, rate=rate))

    def pilot(self, rate: float) -> float:
        """Return the accuracy on held-out training images after an epoch."""
        images = split(self.setting.images(), HELD, LEARNT)
        return float(classifier.trained(replace(self.at(rate), epochs=1), images=images)["test_accuracy"][-1])


def under(settings: tuple[Classifier, ...], seeds: tuple[int, ...] = (0,)) -> tuple[Cell, ...]:
    """Return every setting under every rule, from several starts."""
    return tuple(
        Cell(replace(setting, rule=rule, seed=seed), RATES.get(setting.net, (setting.optimiser.rate,)))
        for setting in settings
        for rule in RULES
        for seed in seeds
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return every rule on digits; or on all images, which takes a GPU."""
    return under((DIGITS,) if fast else WHOLE)


def part(fast: bool) -> tuple[Cell, ...]:
    """Return every rule in part; fast, one of them on digits for one epoch."""
    return under((replace(DIGITS, epochs=1),))[:1] if fast else (*under(FEWER), *under(FEW, (0, 1)))


def compute(cell: Cell) -> xr.Dataset:
    """Train, and return the mean loss and the test accuracy by epoch, and the rate; angles are for `convnets`."""
    rates = ranked(cell.rates, cell.pilot)
    rate, history = first_that_ends(rates, lambda rate: classifier.trained(cell.at(rate)))
    return history[["loss", "test_accuracy"]].assign(rate=rate)


PAPER = "Sanfiz & Akrout 2021 (BioTorch)"
CLAIM = "The error is least with backprop, close to it with signs, and far above with fixed or direct random feedback."
STUDY = Study("rule_benchmark", PAPER, CLAIM, cells, compute, trains=True, recorded=2)
PART = Study("rule_benchmark_part", PAPER, f"{CLAIM} On a part of the images, without a GPU.", part, compute, True, 2)
