"""The archives of CIFAR-10 and CIFAR-100: pickles in a tar file, neither executed nor unpacked.

A pickle is a program that may call whatever it can name. The batches need three names, all NumPy's; here
these mean plain records that only remember what they are given, so that not even NumPy's own reconstruction
runs, and any other name is refused. Instructions that Python 2 did not write are refused before the first one
is followed.

Source: Krizhevsky 2009, Learning multiple layers of features from tiny images (page with the file format).
"""

from __future__ import annotations

import io
import pickle
import pickletools
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linfa.data.sets import Images
from linfa.errors import DataError

Bytes: TypeAlias = npt.NDArray[np.uint8]

SHAPE = (3, 32, 32)
"""(C, H, W) of one image; a batch keeps it as one row."""


class _Record:
    """What a pickle says of an array or of a dtype: the arguments and the state, looked at by nobody else."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: object) -> None:
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _BatchReader(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings, and NumPy arrays as records; refuses every other name."""

    names = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return _Record


def _survey(content: bytes) -> None:
    """Raise ValueError for what no pickle of Python 2 holds, and a few bytes could use to claim gigabytes."""
    for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        if instruction.proto > 2:
            raise ValueError(f"its instruction {instruction.name} is younger than Python 2")
        # Python 2 numbers what it remembers one by one; the reader would make room for any number.
        if instruction.name in ("PUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= count:
            raise ValueError(f"it remembers item {argument} after {count} instructions")


def read_batch(content: bytes, count: int, labels: bytes) -> tuple[Bytes, Bytes]:
    """Return the images (count, 3, 32, 32) and the labels (count,) of one pickled batch.

    Args:
        content: the pickle, as Python 2 wrote it.
        count: how many images it must hold.
        labels: the key of the labels, b"labels" or b"fine_labels".

    Raises:
        DataError: it is no such batch, or asks for anything beyond an array.

    """
    try:
        _survey(content)
        batch = _BatchReader(io.BytesIO(content), encoding="bytes").load()
        _, shape, dtype, fortran, pixels = batch[b"data"].state
        kind, row = dtype.arguments[0], prod(SHAPE)
        if kind not in (b"u1", "u1") or fortran or shape != (count, row) or type(pixels) is not bytes:
            raise ValueError(f"its data are {kind} of shape {shape}, not bytes of shape {(count, row)}")
        numbers = batch[labels]
        if type(numbers) is not list or len(numbers) != count or {*map(type, numbers)} - {int}:
            raise ValueError(f"it does not hold a list of {count} labels")
        # bytes() raises ValueError for a label beyond one byte, reshape for a wrong number of pixels.
        images = np.frombuffer(pixels, np.uint8).reshape(count, *SHAPE)
        return images, np.frombuffer(bytes(numbers), np.uint8)
    except (
        pickle.UnpicklingError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError,
        OverflowError, MemoryError, ImportError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(f"refused as a CIFAR batch: {type(error).__name__}: {error}") from error


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the content of these regular files of a tar.gz archive; every other member is passed over.

    Raises:
        DataError: one of them is absent, twice there or not a regular file, or the archive is damaged.

    """
    found: dict[str, bytes] = {}
    odd: list[str] = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name in names:
                    plain = member.isreg() and not member.issparse() and member.name not in found
                    file = archive.extractfile(member) if plain else None
                    if file is None:
                        odd.append(member.name)
                    else:
                        found[member.name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} is not a whole tar.gz archive ({error}): delete it and call again") from error
    if odd:
        raise DataError(f"{path}: {', '.join(odd)} must be one regular file each: delete it and call again")
    if absent := [name for name in names if name not in found]:
        raise DataError(f"{path} lacks {', '.join(absent)}: delete it and call again")
    return found


def read_cifar(paths: Sequence[Path], *, train: Mapping[str, int], test: Mapping[str, int], labels: bytes) -> Images:
    """Return the four arrays of a CIFAR archive.

    Args:
        paths: the one archive.
        train: how many images each training batch holds, by its name in the archive, in order.
        test: the same of the test batches.
        labels: the key of the labels in a batch.

    Returns:
        `Images` with three channels.

    """
    (path,) = paths
    content = read_members(path, [*train, *test])

    def split(batches: Mapping[str, int]) -> list[Bytes]:
        parts = [read_batch(content[name], count, labels) for name, count in batches.items()]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    try:
        return Images(*split(train), *split(test))
    except DataError as error:
        raise DataError(f"{path}: {error}: delete it and call again") from error
