"""How images are varied while a model trains: on the device, each a function of uniform numbers it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import seed_of, uniform
from linfa.solvers.interface import is_whole


class AbstractAugmentation(ABC):
    """A way to vary images."""

    numbers: ClassVar[int]
    """How many uniform numbers it takes per image."""

    @abstractmethod
    def varied(self, x: Tensor, u: Tensor) -> Tensor:
        """Return images as they are trained on.

        Args:
            x: shape (N, C, H, W).
            u: uniform numbers in (0, 1), shape (N, `numbers`).
        """

    @abstractmethod
    def plain(self, x: Tensor) -> Tensor:
        """Return images as they are tested on."""


@dataclass(frozen=True)
class Flip(AbstractAugmentation):
    """Mirror every image, left to right, with probability one half; tests see it as it is."""

    numbers: ClassVar[int] = 1

    def varied(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the images, some of them mirrored."""
        return torch.where((u < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)

    def plain(self, x: Tensor) -> Tensor:
        """Return the images."""
        return x


@dataclass(frozen=True)
class Pad(AbstractAugmentation):
    """Put a margin of zeros around every image, in training and in tests: MNIST's 28×28 become 32×32 by Pad(2).

    Zeros stand for black: images are padded before they are standardised.
    """

    numbers: ClassVar[int] = 0
    margin: int

    def __post_init__(self) -> None:
        if not is_whole(self.margin):
            raise InputError(f"a margin is a whole number ≥ 1; got {self.margin}")

    def varied(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the images with their margin."""
        return self.plain(x)

    def plain(self, x: Tensor) -> Tensor:
        """Return the images with their margin."""
        return nn.functional.pad(x, (self.margin,) * 4)


@dataclass(frozen=True)
class Crop(AbstractAugmentation):
    """Cut a square out of every image, anywhere; tests see the middle of the image without the padding.

    Args:
        size: of the square: 24 (Moskovitz et al. 2018), 32 with a padding of 4 (He et al. 2016).
        padding: zeros on each side before the cut.

    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> Crop(2).plain(x).flatten().tolist(), Crop(2).varied(x, torch.tensor([[0.99, 0.0]])).flatten().tolist()
    ([5.0, 6.0, 9.0, 10.0], [8.0, 9.0, 12.0, 13.0])
    """

    numbers: ClassVar[int] = 2
    size: int
    padding: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.size) or not (self.padding == 0 or is_whole(self.padding)):
            raise InputError(
                f"a crop has a size ≥ 1 and a padding ≥ 0, whole numbers; got {self.size} and {self.padding}"
            )

    def varied(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the squares, each from a place of its own."""
        x = nn.functional.pad(x, (self.padding,) * 4)
        places = [(u[:, i] * self._free(side)).long()[:, None] for i, side in enumerate(x.shape[2:])]
        row, column = (place + torch.arange(self.size, device=x.device) for place in places)
        image = torch.arange(len(x), device=x.device)
        cut = x[image[:, None, None], :, row[:, :, None], column[:, None, :]]
        return cut.permute(0, 3, 1, 2).contiguous()

    def plain(self, x: Tensor) -> Tensor:
        """Return the middles."""
        top, left = ((self._free(side) - 1) // 2 for side in x.shape[2:])
        return x[:, :, top : top + self.size, left : left + self.size]

    def _free(self, side: int) -> int:
        """Return in how many places the square can lie."""
        if side < self.size:
            raise InputError(f"a crop of {self.size} was asked for from an image with a side of {side}")
        return side - self.size + 1


def vary(x: Tensor, ways: tuple[AbstractAugmentation, ...], seed: int, step: int, at: slice, total: int) -> Tensor:
    """Return a batch varied in every way, one after the other: a function of (seed, step) and the place in the batch.

    Args:
        x: the part of the batch that lies here, shape (n, …).
        ways: how.
        seed: of the training.
        step: which.
        at: where the part lies in the whole batch.
        total: how many samples the whole batch has.
    """
    for number, way in enumerate(ways):
        u = uniform((total, way.numbers), seed_of(seed, "augmentation", number, step), torch.float32, x.device)
        x = way.varied(x, u[at])
    return x
