"""What image sets and nets are called in pictures and captions."""

from __future__ import annotations

SETS = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "mnist+fashion_mnist": "MNIST + Fashion",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "teacher": "teacher",
}
"""Where samples come from, in the order in which they are shown."""

NETS = {
    "small": "a small net",
    "lenet-mnist": "LeNet",
    "lenet-cifar": "LeNet",
    "moskovitz": "architecture 1",
    "resnet20": "ResNet-20",
    "resnet56": "ResNet-56",
}
"""Nets of `sims.classifier`."""
