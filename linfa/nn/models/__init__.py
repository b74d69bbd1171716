"""The models of the papers, as plain torch modules by name: `linfa.nn.models.make("resnet20")`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from linfa.errors import InputError
from linfa.nn.models.initialise import xavier
from linfa.nn.models.lenet import lenet_cifar, lenet_mnist, moskovitz
from linfa.nn.models.mlp import mlp
from linfa.nn.models.resnet import resnet, resnet18
from linfa.nn.models.vgg import vgg

REGISTRY: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "lenet-mnist": lenet_mnist,
    "lenet-cifar": lenet_cifar,
    "moskovitz": moskovitz,
    "vgg": vgg,
    "resnet": resnet,
    "resnet20": functools.partial(resnet, 20),
    "resnet56": functools.partial(resnet, 56),
    "resnet18": functools.partial(resnet18, classes=10, small=True),
    "resnet18-imagenet": resnet18,
}
"""Every model by name, with its default options."""

SIDES = {"lenet-mnist": 32, "moskovitz": 24, "resnet18-imagenet": 224}
"""The sides of the images a model is made for, where they are not 32; an MLP's widths say theirs."""


def make(
    name: str, *, seed: int = 0, initialise: Callable[[nn.Module], None] | None = None, **options: Any
) -> nn.Module:
    """Return a new model; the same seed draws the same weights, and torch's own random state is left alone.

    Args:
        name: one of `REGISTRY`.
        seed: of the initial weights.
        initialise: draws the weights anew, such as `xavier` (BioTorch); None for torch's defaults.
        options: of the model's function.

    Raises:
        InputError: where the name is unknown, or the model has no such option.

    >>> net = make("mlp", widths=(64, 32, 10), bias=False, initialise=xavier)
    >>> sum(p.numel() for p in net.parameters())
    2368
    """
    if name not in REGISTRY:
        raise InputError(f"a model has one of the names {', '.join(REGISTRY)}; got {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = REGISTRY[name](**options)
        except TypeError as error:
            raise InputError(f"the model {name!r} cannot be made with {options}: {error}") from error
        if initialise is not None:
            initialise(model)
    return model


__all__ = [
    "REGISTRY",
    "SIDES",
    "lenet_cifar",
    "lenet_mnist",
    "make",
    "mlp",
    "moskovitz",
    "resnet",
    "resnet18",
    "vgg",
    "xavier",
]
