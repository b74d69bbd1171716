"""Fair comparison: the contenders take turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """Median times of some contenders, the first being the reference of the ratios."""

    label: str
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        reference = next(iter(self.seconds.values()))
        cells = [f"{name} {1e3 * s:10.3f} ms ({s / reference:6.3f}×)" for name, s in self.seconds.items()]
        return f"  {self.label:<44}" + "   ".join(cells)


def compare(label: str, contenders: Mapping[str, Callable[[], object]], rounds: int = 7) -> Row:
    """Return the median of `rounds` turns of each contender, after one turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - began)
    return Row(label, {name: float(np.median(t)) for name, t in times.items()})
