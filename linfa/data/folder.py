"""A set on disc: four .npy files in one folder, which appear together or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from tokenize import TokenError

import numpy as np

from linfa.data.sets import Images, ImageSet
from linfa.errors import DataError

FILES = {field: f"{field}.npy" for field in Images._fields}
"""The file of each array."""


def root() -> Path:
    """Return ``$LINFA_DATA``, or else ``linfa/data`` in the cache folder that the platform gives a user."""
    if chosen := os.environ.get("LINFA_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        base = base if os.path.isabs(base) else "~/.cache"  # the XDG rules void a relative path
    return Path(base).expanduser() / "linfa" / "data"


def missing(folder: Path) -> list[str]:
    """Return the names of the files that a complete set still lacks."""
    return [name for name in FILES.values() if not (folder / name).is_file()]


def read(folder: Path, image_set: ImageSet, *, mmap: bool = False) -> Images:
    """Return the arrays of a complete folder, or raise DataError where they have not the form of the set."""
    mapped = Images(**{field: _map(folder / name) for field, name in FILES.items()})
    try:
        image_set.check(mapped, str(folder))
    except DataError as error:
        raise DataError(f"{error}: replace the file, or delete it and call again") from error
    return mapped if mmap else Images(*(np.array(array, order="C") for array in mapped))


def _map(path: Path) -> np.memmap:
    """Return the array of one .npy file, mapped: header and length are checked before anything is read."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        surplus = path.stat().st_size - array.offset - array.nbytes
        if surplus:
            raise ValueError(f"{surplus} bytes more than its header says")
    # Beside ValueError, the parsers under NumPy's let these through for a damaged header.
    except (ValueError, OSError, EOFError, TypeError, OverflowError, SyntaxError, MemoryError, TokenError) as error:
        raise DataError(f"{path} is not a whole .npy array ({error}): delete it and call again") from error
    return array


def write(folder: Path, image_set: ImageSet, images: Images) -> None:
    """Write the four arrays so that at no instant, whatever interrupts, a part of them passes for a set.

    Everything is written aside first. The moves then replace what exists before they add what is missing,
    so that a folder which was incomplete (the only reason to write) stays so until the very last of them.
    """
    image_set.check(images, "the official archives")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as name:
            staging = Path(name)
            for field, array in images._asdict().items():
                with open(staging / FILES[field], "wb") as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
            absent = missing(folder)
            for filename in sorted(FILES.values(), key=absent.__contains__):
                os.replace(staging / filename, folder / filename)
    except OSError as error:
        raise DataError(
            f"the arrays of {image_set.name} could not be written ({error}): "
            f"make room in {folder} and allow writing there, or set LINFA_DATA to another folder"
        ) from error
