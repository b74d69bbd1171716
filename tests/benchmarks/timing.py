"""Fair comparison: the contenders take turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """Median times of some contenders, the first being the reference of the ratios, and how far each one erred."""

    label: str
    seconds: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        reference = next(iter(self.seconds.values()))
        cells = [self._cell(name, s, s / reference) for name, s in self.seconds.items()]
        return f"  {self.label}\n" + "\n".join(cells)

    def _cell(self, name: str, seconds: float, ratio: float) -> str:
        error = f"   error {self.errors[name]:.1e}" if name in self.errors else ""
        times = f"{ratio:.2f}" if ratio >= 1 else f"1/{1 / ratio:.1f}"
        return f"    {name:<28}{1e3 * seconds:12.3f} ms   × {times}{error}"


def compare(
    label: str,
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    judge: Callable[[Any], float | None] = lambda made: None,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = True,
) -> Row:
    """Return the median of `rounds` turns of each contender.

    Args:
        label: what is compared.
        contenders: what is run, by name.
        rounds: how many turns count.
        judge: gives the error of what a contender returns, or None where there is none; asked after its last turn.
        clock: seconds; `time.process_time` counts every thread of this process and nothing else on the machine.
        warm: whether one turn is made first that does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    errors = {}
    for turn in range(-warm, rounds):
        for name, run in contenders.items():
            began = clock()
            made = run()
            spent = clock() - began
            if turn >= 0:
                times[name].append(spent)
            if turn == rounds - 1 and (error := judge(made)) is not None:
                errors[name] = error
            del made
    return Row(label, {name: float(np.median(t)) for name, t in times.items()}, errors)
