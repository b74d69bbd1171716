"""How a result was made, as plain JSON: configuration, seeds, version, and hashes that any machine agrees on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from linfa.arrays import to_numpy
from linfa.errors import InputError


def array_digest(array: Any) -> str:
    """Return the SHA-256 of an array's shape, dtype and little-endian bytes: the same on every machine.

    >>> array_digest(np.zeros(1)) == array_digest(np.zeros(1, ">f8"))
    True
    """
    values = to_numpy(array)
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    found = hashlib.sha256(f"{little.dtype.str}{list(values.shape)}".encode())
    if little.size:
        found.update(little.reshape(-1).view(np.uint8).data)  # wide nets hash their weights at every run: no copies
    return found.hexdigest()


def describe(thing: Any) -> Any:
    """Return a configuration as plain JSON: dataclasses by type and field, arrays by shape, dtype and hash.

    >>> describe({"rate": 0.1, "at": (1, 2)})
    {'rate': 0.1, 'at': [1, 2]}
    """
    if hasattr(thing, "described"):
        return thing.described()
    if thing is None or isinstance(thing, str | bool | int | float):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        parts = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
        return {"type": type(thing).__name__, **parts}
    if isinstance(thing, Mapping):
        return {str(k): describe(v) for k, v in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    if hasattr(thing, "shape"):
        return {"shape": list(thing.shape), "dtype": str(thing.dtype), "sha256": array_digest(thing)}
    raise InputError(
        "a configuration holds numbers, strings, arrays and dataclasses of these, so that it can be recorded; "
        f"got {type(thing).__name__}"
    )


def digest(thing: Any) -> str:
    """Return the SHA-256 of a description: the name under which a result is cached.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(describe(thing), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
