"""What an image set is: its arrays, their form, and the official archives that they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from linfa.errors import DataError


class Images(NamedTuple):
    """Images (N, C, H, W) and labels (N,) for training, then for testing: four uint8 arrays in this order.

    >>> Images(*(np.zeros(shape, np.uint8) for shape in [(2, 1, 8, 8), 2, (1, 1, 8, 8), 1])).test_images.shape
    (1, 1, 8, 8)
    """

    train_images: UInt8[np.ndarray, "n c h w"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m c h w"]
    test_labels: UInt8[np.ndarray, " m"]


@dataclass(frozen=True)
class Archive:
    """One official file: where it lies (mirrors, tried in order) and the published checksum.

    >>> Archive(("https://example.org/a/b.gz",), "sha256", "00").filename
    'b.gz'
    """

    urls: tuple[str, ...]
    algorithm: str
    digest: str

    @property
    def filename(self) -> str:
        """The last part of its address, and its name on disc."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True)
class ImageSet:
    """The form of a set, and how the archives become arrays.

    Args:
        name: what `load` and the folder call it.
        shape: (C, H, W) of one image.
        classes: labels are 0 … classes − 1.
        archives: the official files, in the order in which `convert` takes them.
        convert: reads the checked archives, executes nothing they contain, raises DataError.

    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    archives: tuple[Archive, ...]
    convert: Callable[[Sequence[Path]], Images]

    def check(self, images: Images, where: str) -> Images:
        """Return the images if they have the form of this set; raise DataError, naming `where`, if not.

        >>> tiny = ImageSet("tiny", (1, 2, 2), 3, (), convert=lambda paths: Images(x, y, x, y))
        >>> x, y = np.zeros((1, 1, 2, 2), np.uint8), np.array([2], np.uint8)
        >>> tiny.check(Images(x, y, x, y), "here").train_labels.item()
        2
        >>> tiny.check(Images(x, y, x, y + np.uint8(1)), "here")
        Traceback (most recent call last):
        linfa.errors.DataError: test_labels of tiny in here must lie in 0…2; the largest is 3
        """
        for field, array in images._asdict().items():
            form = self.shape if field.endswith("images") else ()
            if array.dtype != np.uint8 or array.ndim != 1 + len(form) or array.shape[1:] != form:
                raise DataError(
                    f"{field} of {self.name} in {where} must be uint8 of shape "
                    f"({', '.join(['N', *map(str, form)])}{'' if form else ','}); "
                    f"it is {array.dtype} of shape {array.shape}"
                )
        for split in ("train", "test"):
            x, y = getattr(images, f"{split}_images"), getattr(images, f"{split}_labels")
            if len(x) != len(y) or len(y) == 0:
                raise DataError(
                    f"{split}_images and {split}_labels of {self.name} in {where} must be equally many, "
                    f"at least one; they are {len(x)} and {len(y)}"
                )
            if y.max() >= self.classes:
                raise DataError(
                    f"{split}_labels of {self.name} in {where} must lie in 0…{self.classes - 1}; "
                    f"the largest is {y.max()}"
                )
        return images
