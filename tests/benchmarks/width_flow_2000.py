"""The flow of `width_flow` at n = 2000, once: minutes for every weight, a fraction of a second width-free."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.timing import Row
from tests.benchmarks.width_flow import row

LONG = "about 4 minutes, a single run of each"


def rows() -> Iterator[Row]:
    """Yield the comparison at n = 2000."""
    yield row(2000, 1e-7, {"Bosh3": 1e-7}, 1)
