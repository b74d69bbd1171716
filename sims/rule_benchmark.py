"""Study `rule_benchmark`: six rules on sets and nets of BioTorch's benchmark (Sanfiz & Akrout 2021), in fewer epochs.

Weights and feedback start Xavier-uniform, biases at zero; every layer sends its error back through its B; SGD with
momentum 0.9, and a rate that falls to a tenth at the fractions of the epochs at which it falls there.
"""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from sims import classifier
from sims.classifier import Classifier, Optimiser
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

PART_OF_WHOLE = tuple(replace(lenet(data, 4), train=6_000, test=2_000) for data in ("mnist", "fashion_mnist"))
"""What one core does in minutes."""

DIGITS = replace(lenet("digits", 4), net="small", batch=32)
"""The same on embedded digits, in seconds."""


def under(settings: tuple[Classifier, ...], seeds: tuple[int, ...] = (0,)) -> tuple[Classifier, ...]:
    """Return every setting under every rule, from several starts."""
    return tuple(replace(setting, rule=rule, seed=seed) for setting in settings for rule in RULES for seed in seeds)


def cells(fast: bool) -> tuple[Classifier, ...]:
    """Return every rule on digits; or on all images, which takes a GPU."""
    return under((DIGITS,) if fast else WHOLE)


def part(fast: bool) -> tuple[Classifier, ...]:
    """Return every rule on a part of the images; fast, one of them on digits for one epoch."""
    return (replace(DIGITS, rule="bp", epochs=1),) if fast else under(PART_OF_WHOLE, (0, 1, 2))


def compute(cell: Classifier) -> xr.Dataset:
    """Train, and return the mean loss and the test accuracy by epoch; angles are for `convnets`."""
    return classifier.compute(cell)[["loss", "test_accuracy"]]


PAPER = "Sanfiz & Akrout 2021 (BioTorch)"
CLAIM = "The error is least with backprop, close to it with signs, and far above with fixed or direct random feedback."
STUDY = Study("rule_benchmark", PAPER, CLAIM, cells, compute, trains=True, recorded=1)
PART = Study("rule_benchmark_part", PAPER, f"{CLAIM} On a part of the images, without a GPU.", part, compute, True, 1)
