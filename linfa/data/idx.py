"""The IDX format of MNIST and Fashion-MNIST: a big-endian header, then the bytes, gzipped.

    00 00 | 08 (unsigned byte) | number of dimensions | each dimension as a 32-bit integer | the bytes

Source: LeCun, Cortes & Burges, The MNIST database of handwritten digits (page with the file format), 1998.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linfa.data.sets import Images
from linfa.errors import DataError


def read_idx(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the uint8 array of a gzipped IDX file that is known to have this shape.

    Raises:
        DataError: the magic number, a dimension or the length is another, or the compression is damaged.

    """
    expected = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    try:
        with gzip.open(path, "rb") as file:
            header = file.read(len(expected))
            # One byte more than can be right is enough to know, and bounds what a forged file can inflate to.
            content = file.read(prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}): delete it and call again") from error
    if header != expected:
        raise DataError(
            f"{path} must begin as an IDX file of unsigned bytes of shape {shape}, {expected.hex()}; "
            f"it begins {header.hex() or 'with nothing'}: delete it and call again"
        )
    if len(content) != prod(shape):
        raise DataError(
            f"{path} must hold {prod(shape)} bytes after its header; it holds "
            f"{'more' if len(content) > prod(shape) else len(content)}: delete it and call again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_mnist(paths: Sequence[Path], *, train: int, test: int, shape: tuple[int, int]) -> Images:
    """Return the four arrays of a set that is kept like MNIST.

    Args:
        paths: the gzipped IDX files in the order of `Images`.
        train: number of training images.
        test: number of test images.
        shape: (H, W) of one image.

    Returns:
        `Images` with one channel.

    """
    shapes: tuple[tuple[int, ...], ...] = ((train, *shape), (train,), (test, *shape), (test,))
    x, y, test_x, test_y = (read_idx(path, form) for path, form in zip(paths, shapes, strict=True))
    return Images(x[:, None], y, test_x[:, None], test_y)
