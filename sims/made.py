"""Where and when a result was made: by which version, on which processor or card, on what day, in how long.

None of it decides what a result holds, so that none of it is part of the name under which a result is kept.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import linfa
from linfa.errors import InputError, missing_extra

if TYPE_CHECKING:
    import torch

VARIABLE = "LINFA_DEVICE"
"""The environment variable that `--device` sets, and worker processes inherit."""


@dataclass(frozen=True)
class Made:
    """Where and when one result was made.

    Args:
        linfa: the version that made it.
        date: the day, in UTC.
        device: cpu or cuda.
        machine: the processor or the card, in its maker's words.
        seconds: how long it took.
    """

    linfa: str
    date: str
    device: str
    machine: str
    seconds: float


def asked_for() -> str | None:
    """Return the device that was asked for by name, or None for whichever there is.

    Raises:
        InputError: where it is neither cpu nor cuda.
    """
    name = os.environ.get(VARIABLE) or None
    if name not in (None, "cpu", "cuda"):
        raise InputError(f"studies train on cpu or on cuda; got {name} (from --device or ${VARIABLE})")
    return name


def device() -> torch.device:
    """Return where studies train: the device that was asked for; else cuda where there is one, else the cpu.

    Raises:
        InputError: where cuda was asked for and torch sees none.
        MissingExtraError: without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "torch", "for the studies that train networks") from error
    available, name = torch.cuda.is_available(), asked_for()
    if name == "cuda" and not available:
        raise InputError("cuda was asked for, and torch sees no card here: leave --device away, or say cpu")
    return torch.device(name or ("cuda" if available else "cpu"))


def here(trains: bool, seconds: float) -> Made:
    """Return what there is to note of a result that was computed just now.

    Args:
        trains: whether it was made on `device()`, or by NumPy.
        seconds: how long it took.
    """
    where = device() if trains else None
    kind = "cpu" if where is None else where.type
    return Made(linfa.__version__, datetime.now(UTC).date().isoformat(), kind, _machine(kind), round(seconds, 2))


def _machine(kind: str) -> str:
    """Return the card's name or the processor's."""
    if kind == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def told(made: Sequence[Made]) -> str:
    """Return where and when results were made, all of one study, in words.

    >>> a, b = (Made("0.1.0", day, "cpu", "a processor", 30.0) for day in ("2025-01-02", "2025-01-03"))
    >>> told([a, b])
    '2025-01-02 to 2025-01-03 on a processor by linfa 0.1.0, 60 s of computing'
    """
    days, machines, versions = ([*sorted({getattr(m, what) for m in made})] for what in ("date", "machine", "linfa"))
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    seconds = sum(m.seconds for m in made)
    spent = (
        f"{seconds:.0f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
        if seconds < 6e4
        else f"{seconds / 3600:.0f} h"
    )
    return f"{day} on {', '.join(machines)} by linfa {', '.join(versions)}, {spent} of computing"
