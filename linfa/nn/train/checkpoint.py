"""Checkpoints: written whole or not at all, read without running anything they hold, refused where they do not fit.

A file is what torch.save writes, followed by its SHA-256; torch.load(path, weights_only=True) reads it too.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from linfa.errors import ResultError

_MARK = b"linfa checkpoint"


def write(path: str | os.PathLike[str], payload: dict[str, Any]) -> None:
    """Write a checkpoint in the place of an older one; whenever the process ends, one of the two is there, whole.

    Raises:
        ResultError: where nothing can be written.
    """
    target = Path(path)
    # One name: what a killed process leaves behind is written over by the next one.
    part = target.with_name(f".{target.name}.part")
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getvalue()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content + _MARK + hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise ResultError(f"no checkpoint can be written to {target} ({error}): give another path") from error


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU.

    Raises:
        ResultError: where the file is absent, no checkpoint, or not what was written.
    """
    source = Path(path)
    if not source.is_file():
        raise ResultError(f"there is no checkpoint at {source}: check the path")
    file = source.read_bytes()
    content, mark, digest = file[: -32 - len(_MARK)], file[-32 - len(_MARK) : -32], file[-32:]
    if mark != _MARK or hashlib.sha256(content).digest() != digest:
        raise ResultError(
            f"{source} is cut short, altered, or no checkpoint of linfa.nn.train: delete it to begin anew, or give "
            "another path"
        )
    try:
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise ResultError(f"{source} holds more than tensors, numbers and words; it was not run: {error}") from error


def check(path: str | os.PathLike[str], there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise ResultError unless a checkpoint was made by this configuration; the message says what differs.

    >>> check("run.pt", {"rules": {"fc1": "fa"}}, {"rules": {"fc1": "usf"}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.ResultError: run.pt was made by another configuration: rules: fc1 is 'fa' there and 'usf' here; ...
    """
    old, new = dict(_flat(there)), dict(_flat(here))
    different = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    drawn = [key.removeprefix(_DRAWN) for key in different if key.startswith(_DRAWN)]
    plain = [key for key in different if not key.startswith(_DRAWN)]
    if different:
        told = [f"{key} is {_told(old, key)} there and {_told(new, key)} here" for key in plain[:3]]
        more = f" (and {len(plain) - 3} more)" if len(plain) > 3 else ""
        # Another rule is drawn otherwise, too: where more is known, it is what is told.
        what = f"{', '.join(told)}{more}" if plain else _drawn_otherwise(drawn)
        raise ResultError(
            f"{path} was made by another configuration: {what}; give another path, or delete the file to begin anew"
        )


_DRAWN = "feedback: "


def _drawn_otherwise(layers: Sequence[str]) -> str:
    """Return in words that the feedback of some layers is not what the run began with."""
    if layers == [""]:
        who = "the model"
    else:
        more = f" and {len(layers) - 4} more" if len(layers) > 4 else ""
        who = f"layer{'s' if len(layers) > 1 else ''} {', '.join(layers[:4])}{more}"
    return (
        f"the feedback of {who} was drawn otherwise: another rule option (rho, draw) or seed, or it was set by hand, "
        "started from other weights or has learnt since (then convert the model as before)"
    )


def _told(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"


def _flat(thing: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) for every leaf of a description."""
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _flat(value, f"{name}: {key}" if name else str(key))
    elif isinstance(thing, list | tuple):
        for number, value in enumerate(thing):
            yield from _flat(value, f"{name}[{number}]")
    else:
        yield name, thing
