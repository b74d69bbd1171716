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
from sims.rates import bounded, first_that_ends, ranked, split
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

FEW_IMAGES = tuple(replace(lenet(data, 5), train=20_000, test=4_000) for data in ("mnist", "fashion_mnist"))
"""A part of the grey images: minutes on one core."""

DIGITS = replace(lenet("digits", 4), net="small", batch=32)
"""The same on embedded digits, in seconds."""

RATES = {"small": (0.01, 0.003, 0.001), "lenet-mnist": (0.03, 0.01, 0.003, 0.001), "lenet-cifar": (0.1, 0.03, 0.01)}
"""η to choose from; 0.1 is BioTorch's for CIFAR-10, for grey images we do not know theirs."""


@dataclass(frozen=True)
class Cell:
    """A setting under a rule, at one of several rates.

    Args:
        setting: all but the rate.
        rates: η to choose from by a pilot; one is taken as it is.
        held: training images that are held out of the pilot.
        learnt: at most how many others it learns from.
        pilot: its epochs.
    """

    setting: Classifier
    rates: tuple[float, ...]
    held: int = 2_000
    learnt: int = 8_000
    pilot: int = 2

    def at(self, rate: float) -> Classifier:
        """Return the setting at a rate."""
        return replace(self.setting, optimiser=replace(self.setting.optimiser, rate=rate))

    def run(self, rate: float) -> xr.Dataset:
        """Return a run at a rate; see `sims.rates.bounded` for what counts as diverged."""
        history = classifier.trained(self.at(rate))
        bounded(history["loss"].values, 10)
        return history

    def preferred(self, rate: float) -> float:
        """Return the accuracy of the pilot on held-out training images."""
        images, short = split(self.setting.images(), self.held, self.learnt), replace(self.at(rate), epochs=self.pilot)
        history = classifier.trained(short, images=images)
        bounded(history["loss"].values, 10)
        return float(history["test_accuracy"][-1])


def under(settings: tuple[Classifier, ...], seeds: tuple[int, ...] = (0,), **pilot: int) -> tuple[Cell, ...]:
    """Return every setting under every rule, from several starts."""
    return tuple(
        Cell(replace(setting, rule=rule, seed=seed), RATES.get(setting.net, (setting.optimiser.rate,)), **pilot)
        for setting in settings
        for rule in RULES
        for seed in seeds
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return every rule on digits; or on all images, which takes a GPU."""
    return under((DIGITS,), held=300, pilot=1) if fast else under(WHOLE)


def part(fast: bool) -> tuple[Cell, ...]:
    """Return every rule in part; fast, one of them on digits for one epoch."""
    return under((replace(DIGITS, epochs=1),), held=300, pilot=1)[:1] if fast else under(FEW_IMAGES)


def compute(cell: Cell) -> xr.Dataset:
    """Train, and return the mean loss and the test accuracy by epoch, and the rate; angles are for `convnets`."""
    rate, history = first_that_ends(ranked(cell.rates, cell.preferred), cell.run)
    return history[["loss", "test_accuracy"]].assign(rate=rate)


PAPER = "Sanfiz & Akrout 2021 (BioTorch)"
CLAIM = "The error is least with backprop, close to it with signs, and far above with fixed or direct random feedback."
STUDY = Study("rule_benchmark", PAPER, CLAIM, cells, compute, trains=True, recorded=2)
PART = Study("rule_benchmark_part", PAPER, f"{CLAIM} On a part of the images, without a GPU.", part, compute, True, 2)
