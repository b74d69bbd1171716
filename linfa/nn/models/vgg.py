"""Plain convolutional nets of variable depth, after VGG (Simonyan & Zisserman 2015)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from linfa.errors import InputError


def vgg(
    depth: int = 9,
    *,
    channels: int = 3,
    classes: int = 10,
    widths: Sequence[int] = (64, 128, 256, 512),
    norm: bool = True,
) -> nn.Sequential:
    """Return depth − 1 convolutions 3×3 in stages that end in a pool of 2, a global mean, and a dense layer.

    Args:
        depth: how many layers have weights; the convolutions are spread over the stages evenly, later stages first.
        channels: of the input.
        classes: how many outputs.
        widths: the channels of the stages; the input's sides are halved once per stage.
        norm: whether BatchNorm follows each convolution (in the place of its bias).

    Raises:
        InputError: where the depth leaves a stage without a convolution.

    >>> [m.out_channels for m in vgg(7).modules() if isinstance(m, nn.Conv2d)]
    [64, 128, 256, 256, 512, 512]
    """
    stages = len(widths)
    if not isinstance(depth, int) or depth <= stages:
        raise InputError(f"{stages} stages and a dense layer need a depth of at least {stages + 1}; got {depth}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    number, before = 0, channels
    for s, width in enumerate(widths, start=1):
        for _ in range((depth - 1) // stages + (stages - s < (depth - 1) % stages)):
            number += 1
            layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=1, bias=not norm)
            if norm:
                layers[f"norm{number}"] = nn.BatchNorm2d(width)
            layers[f"act{number}"] = nn.ReLU()
            before = width
        layers[f"pool{s}"] = nn.MaxPool2d(2)
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(before, classes)
    return nn.Sequential(layers)
