"""The calculus against the clock: the whole theory room, a count by closure, the matrix law at symbolic depth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from linfa.laws import count
from linfa.symbolic import FEEDBACK_ALIGNMENT, LAYER, B, W, find, sym
from tests.benchmarks.timing import Row, compare

ROOT = Path(__file__).resolve().parents[2]


def whole_room() -> None:
    """Check every claim in a fresh interpreter."""
    subprocess.run([sys.executable, "-m", "theory"], cwd=ROOT, check=True, capture_output=True)


def matrix_law() -> None:
    """Differentiate C_l at symbolic l, and ask for the zero word."""
    C = W(LAYER) @ W(LAYER).T - sym(B(LAYER + 1).T @ W(LAYER + 1))
    if not FEEDBACK_ALIGNMENT.flow(LAYER).derivation(C).is_zero():
        raise AssertionError("the matrix law does not close")


def rows() -> Iterator[Row]:
    """Yield the comparison of each with what it must stay under."""
    yield compare("the whole room (must stay under 60 s)", {"python -m theory": whole_room}, rounds=1)
    yield compare(
        "(3, 4, 2, 3) (must stay under 5 s)",
        {"count, fa": lambda: count((3, 4, 2, 3)), "count, dfa": lambda: count((3, 4, 2, 3), rule="dfa")},
    )
    yield compare(
        "feedback alignment (must stay under 1 s)",
        {"matrix law, symbolic l": matrix_law, "find all laws": lambda: find(FEEDBACK_ALIGNMENT)},
    )
