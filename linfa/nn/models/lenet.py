"""Small convolutional nets: the two LeNets of BioTorch's benchmarks, and architecture 1 of Moskovitz et al. 2018."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

Activation = Callable[[], nn.Module]


def lenet_mnist(*, channels: int = 1, classes: int = 10, activation: Activation = nn.ReLU) -> nn.Sequential:
    """Return conv 1→6→16→120 (5×5, pool 2 after the first two), dense 120→84→10, for images of 32×32.

    >>> sum(p.numel() for p in lenet_mnist().parameters())
    61706

    Source: Sanfiz & Akrout 2021, after LeCun et al. 1998; MNIST is padded from 28×28 (`linfa.nn.train.Pad(2)`).
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5),
            act1=activation(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            act2=activation(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 120, 5),
            act3=activation(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(120, 84),
            act4=activation(),
            fc2=nn.Linear(84, classes),
        )
    )


def lenet_cifar(*, channels: int = 3, classes: int = 10, activation: Activation = nn.ReLU) -> nn.Sequential:
    """Return conv 3→32→64→128 (3×3, pool 2 after the first two), global mean, dense 128→256→10, for 32×32.

    >>> sum(p.numel() for p in lenet_cifar().parameters())
    128842

    Source: Sanfiz & Akrout 2021.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3),
            act1=activation(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3),
            act2=activation(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(64, 128, 3),
            act3=activation(),
            pool3=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(128, 256),
            act4=activation(),
            fc2=nn.Linear(256, classes),
        )
    )


def moskovitz(*, channels: int = 3, classes: int = 10, activation: Activation = nn.ReLU) -> nn.Sequential:
    """Return architecture 1: conv 3→64→64 (5×5, pool 2 after each), dense 576→384→192→10, for crops of 24×24.

    >>> sum(p.numel() for p in moskovitz().parameters())
    404746

    Source: Moskovitz, Litwin-Kumar & Abbott 2018; no normalisation.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 64, 5),
            act1=activation(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(64, 64, 5),
            act2=activation(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(576, 384),
            act3=activation(),
            fc2=nn.Linear(384, 192),
            act4=activation(),
            fc3=nn.Linear(192, classes),
        )
    )
