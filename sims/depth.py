"""Study `depth`: how well rules learn as nets grow deeper, plain and residual, and where the error loses its way.

    VGG       1, 2, 4 convolutions 3×3 in each of three stages, pools between them, a dense layer: 4, 7, 13 layers
    residual  1, 2, 3 blocks of two convolutions in each of three stages: 8, 14, 20 layers

Both have 16, 32 and 64 channels and BatchNorm. After the last step the angles between the signal that is sent and the
true one are read at the output of every layer, ∠(ż_l, true ż_l), and between every layer's two ways, ∠(W_l, B_l): a
signal that passes layers one after the other, each of which turns it by θ_l in a direction of its own, is off by

    cos ∠ = Π_l cos θ_l

where no shortcut passes them by, so that feedback near a right angle leaves nothing of the error after a layer or two,
and signs leave something of it after many.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import product

import xarray as xr

from sims.classifier import Classifier, trained
from sims.rule_benchmark import cifar
from sims.study import Study

RULES = ("bp", "fa", "dfa", "usf", "frsf", "usf-sn")

DEPTHS = {"vgg": (4, 7, 13), "resnet": (8, 14, 20)}
"""Layers with weights, by family."""


@dataclass(frozen=True)
class Deep:
    """A classifier of some depth.

    Args:
        setting: its net is "vgg" or "resnet".
        depth: how many layers have weights.
        widths: the channels of the stages of "vgg"; () for a residual net, which has 16, 32, 64.
    """

    setting: Classifier
    depth: int
    widths: tuple[int, ...] = ()

    def options(self) -> dict[str, object]:
        """Return what the net is made with."""
        return {"depth": self.depth} | ({"widths": self.widths} if self.widths else {})


def deepened(
    setting: Classifier, depths: dict[str, tuple[int, ...]], widths: tuple[int, ...] = (16, 32, 64)
) -> tuple[Deep, ...]:
    """Return a setting in nets of both families and of every depth, under every rule, the shallow ones first."""
    return tuple(
        Deep(replace(setting, net=net, rule=rule), depth, widths if net == "vgg" else ())
        for net, found in depths.items()
        for depth, rule in product(found, RULES)
    )


DIGITS = replace(cifar("", 4), data="digits", train=400, test=200, crop=0, margin=0, flip=False, batch=64)
"""The same on embedded digits, in seconds."""

FEW_IMAGES = replace(cifar("", 8), train=5_000, test=2_000, crop=24, margin=0)
"""A part of CIFAR-10, on crops: twenty-five minutes on one core."""


def cells(fast: bool) -> tuple[Deep, ...]:
    """Return small nets on digits; or all depths on CIFAR-10 from two starts, and deeper ones, which takes a GPU."""
    if fast:
        return deepened(DIGITS, {"vgg": (4, 7), "resnet": (8, 14)}, (8, 16, 32))
    deeper = {net: (*depths, depths[-1] + 6) for net, depths in DEPTHS.items()}
    return tuple(cell for seed in (0, 1) for cell in deepened(replace(cifar("", 15), seed=seed), deeper))


def part(fast: bool) -> tuple[Deep, ...]:
    """Return every net under every rule on a part of the images; fast, one of them on digits for one epoch."""
    small = (Deep(replace(DIGITS, net="vgg", rule="bp", epochs=1), 4, (8, 16, 32)),)
    return small if fast else deepened(FEW_IMAGES, DEPTHS)


def compute(cell: Deep) -> xr.Dataset:
    """Train, and return the mean loss and accuracies by epoch, and the last angles in radians by layer."""
    from linfa.nn.monitors import SignalAngle, WeightAngle
    from linfa.nn.train import Monitored

    last = Monitored((SignalAngle(), WeightAngle()), every=sys.maxsize)
    run = trained(cell.setting, {"last": last}, **cell.options()).isel(last_step=-1, drop=True)
    names = {f"last_{kind}_angle": f"{kind}_angle" for kind in ("signal", "weight")}
    layers = {f"last_{kind}_angle_place": f"{kind}_layer" for kind in ("signal", "weight")}
    kept = run[["loss", "accuracy", "test_accuracy", *names]].rename(names | layers)
    return kept.drop_attrs().assign_attrs(steps=run.attrs["steps"])


PAPER = "Moskovitz et al. 2018"
CLAIM = "The deeper the net, the less feedback alignment learns of what backprop does; rules of signs learn most of it."
STUDY = Study("depth", PAPER, CLAIM, cells, compute, trains=True, recorded=1)
PART = Study("depth_part", PAPER, f"{CLAIM} On a part of the images, without a GPU.", part, compute, True, 1)
