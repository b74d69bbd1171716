"""What `import linfa` adds to importing the parts of NumPy and SciPy that it needs; each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.timing import Row, compare


def fresh(statement: str) -> None:
    """Run a statement in a new interpreter."""
    subprocess.run([sys.executable, "-c", statement], check=True)


def rows() -> Iterator[Row]:
    """Yield the comparison."""
    yield compare(
        "fresh interpreter",
        {
            "numpy + scipy": lambda: fresh("import numpy, scipy.integrate, scipy.linalg"),
            "linfa": lambda: fresh("import linfa"),
        },
        rounds=9,
    )
