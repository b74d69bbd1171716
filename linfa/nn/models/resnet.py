"""Residual nets (He, Zhang, Ren & Sun 2016): those for CIFAR, with shortcuts without parameters, and ResNet-18."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from linfa.errors import InputError


class Widening(nn.Module):
    """Option A's shortcut: every second pixel, and maps of zeros behind the others.

    Args:
        added: how many maps of zeros.
        stride: which pixels are kept.
    """

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, h: Any) -> Any:
        """Return the thinned maps, and the zeros."""
        return nn.functional.pad(h[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class Block(nn.Module):
    """σ(N(W_2 ∗ σ(N(W_1 ∗ h))) + S h), with N a BatchNorm and S the shortcut.

    Args:
        before: channels that come.
        width: channels that go.
        stride: of the first convolution.
        projected: option B, a 1×1 convolution where the shape changes; or option A, `Widening`.
    """

    def __init__(self, before: int, width: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(before, width, stride, projected)
        self.act2 = nn.ReLU()

    def forward(self, h: Any) -> Any:
        """Return the block's output."""
        z = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(h)))))
        return self.act2(z + self.shortcut(h))


def _shortcut(before: int, width: int, stride: int, projected: bool) -> nn.Module:
    if before == width and stride == 1:
        return nn.Identity()
    if not projected:
        return Widening(width - before, stride)
    conv, norm = nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm))


def resnet(depth: int = 20, *, channels: int = 3, classes: int = 10) -> nn.Sequential:
    """Return a residual net for images of 32×32: 3 stages of (depth − 2)/6 blocks, 16, 32 and 64 channels.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110.
        channels: of the input.
        classes: how many outputs.

    Raises:
        InputError: for another depth.

    >>> sum(p.numel() for p in resnet(20).parameters()), sum(p.numel() for p in resnet(56).parameters())
    (269722, 853018)

    Source: He et al. 2016, section 4.2; shortcuts are option A, without parameters.
    """
    if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
        raise InputError(f"the depth of a residual net for CIFAR is 6n + 2 with n ≥ 1: 8, 14, 20, 32, …; got {depth}")
    stem = _stem(channels, 16, 3, 1)
    return nn.Sequential(stem | _stages([(depth - 2) // 6] * 3, (16, 32, 64), False) | _head(64, classes))


def resnet18(*, channels: int = 3, classes: int = 1000, small: bool = False) -> nn.Sequential:
    """Return ResNet-18: 4 stages of 2 blocks, 64 … 512 channels, projections (option B) where the shape changes.

    Args:
        channels: of the input.
        classes: how many outputs.
        small: a stem for images of 32×32, one convolution 3×3, in the place of 7×7 with stride 2 and a pool.

    >>> sum(p.numel() for p in resnet18().parameters())
    11689512

    Source: He et al. 2016, table 1; the small stem is common usage on CIFAR.
    """
    stem = _stem(channels, 64, 3, 1) if small else _stem(channels, 64, 7, 2)
    if not small:
        stem["pool"] = nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(stem | _stages([2] * 4, (64, 128, 256, 512), True) | _head(512, classes))


Layers = OrderedDict[str, nn.Module]


def _stem(channels: int, width: int, kernel: int, stride: int) -> Layers:
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return OrderedDict(conv=conv, norm=nn.BatchNorm2d(width), act=nn.ReLU())


def _stages(blocks: Sequence[int], widths: Sequence[int], projected: bool) -> Layers:
    """Return the stages; all but the first halve the sides."""
    stages: Layers = OrderedDict()
    before = widths[0]
    for s, (many, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        first = Block(before, width, 1 if s == 1 else 2, projected)
        rest = [Block(width, width, 1, projected) for _ in range(many - 1)]
        stages[f"stage{s}"], before = nn.Sequential(first, *rest), width
    return stages


def _head(width: int, classes: int) -> Layers:
    return OrderedDict(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(width, classes))
