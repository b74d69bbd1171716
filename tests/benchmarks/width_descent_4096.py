"""The steps of `width_descent` at n = 4096, where every weight takes tenths of a second a step."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.timing import Row
from tests.benchmarks.width_descent import rows as all_rows

LONG = "about a minute"


def rows() -> Iterator[Row]:
    """Yield the comparison at n = 4096."""
    yield from all_rows(widths=(4096,))
