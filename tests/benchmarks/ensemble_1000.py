"""The comparison of `ensemble` for 1,000 networks, once, with diffrax following all of them under one vmap."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.ensemble import row
from tests.benchmarks.timing import Row

LONG = "about 3 minutes, a single run of each"


def rows() -> Iterator[Row]:
    """Yield the comparison."""
    yield row(1000, alone=20, vmapped=1000, rounds=1)
