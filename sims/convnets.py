"""Study `convnets`: feedback in architecture 1 of Moskovitz et al. 2018 under five rules, and the angles it keeps.

Conv 3→64→64 (5×5, pool 2 after each), dense 576→384→192→10, crops of 24×24: does plain feedback alignment learn there,
dense or as a transposed convolution, and do the signs of the weights with other magnitudes do as well as the weights?
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sims.classifier import Classifier, Optimiser, compute
from sims.study import Study


class Way(NamedTuple):
    """A rule as Lance & Kieu 2026 ran it."""

    rule: str
    std: float | None
    """Of B_0; None where the rule draws none."""
    decay: float
    """Of all weights; they give one for backprop alone."""


WAYS = (
    Way("bp", None, 1e-4),
    Way("fa-dense", 0.01, 0.0),
    Way("fa", 0.01, 0.0),
    Way("usf-init", 0.1, 0.0),
    Way("usf-sn", None, 0.0),
)
"""Adam at 1e-3 for all; `fa` in a convolution is a transposed convolution with a fixed kernel ("Toeplitz")."""

PAPER = Classifier("cifar10", "moskovitz", "", Optimiser(), epochs=50, crop=24, flip=True)
"""The setting of Lance & Kieu 2026; standardised channels and torch's start of the weights are ours."""

DIGITS = Classifier("digits", "small", "", Optimiser(), epochs=5, pad=2, batch=32)
"""The same order of layers on embedded digits, in seconds."""


def under(base: Classifier, way: Way, seed: int = 0) -> Classifier:
    """Return a setting under a rule."""
    return replace(base, rule=way.rule, std=way.std, seed=seed, optimiser=replace(base.optimiser, decay=way.decay))


def cells(fast: bool) -> tuple[Classifier, ...]:
    """Return every rule: on digits, or on all of CIFAR-10 from several starts, which takes a GPU."""
    base, seeds = (DIGITS, (0,)) if fast else (PAPER, (0, 1, 2))
    return tuple(under(base, way, seed) for seed in seeds for way in WAYS)


def part(fast: bool) -> tuple[Classifier, ...]:
    """Return every rule from one start, as published, two hours on one core; fast, one on digits for one epoch."""
    return (under(replace(DIGITS, epochs=1), WAYS[0]),) if fast else tuple(under(PAPER, way) for way in WAYS)


PAPERS = "Moskovitz et al. 2018; Lance & Kieu 2026"
CLAIM = (
    "Plain feedback alignment does not learn in convolutional nets what backprop does; the signs of the weights are "
    "enough."
)
STUDY = Study("convnets", PAPERS, CLAIM, cells, compute, trains=True, recorded=1)
PART = Study("convnets_part", PAPERS, f"{CLAIM} From one start, without a GPU.", part, compute, True, 1)
