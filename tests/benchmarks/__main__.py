"""`python -m tests.benchmarks [NAME…]`: run benchmarks and print a table of times and ratios."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from tests import benchmarks


def main(names: list[str]) -> int:
    """Print every row of the named benchmarks, or of all."""
    modules = (m.name for m in pkgutil.iter_modules(benchmarks.__path__))
    known = [name for name in modules if name not in {"__main__", "timing"}]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"the known benchmarks are {', '.join(known)}; got {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in names or known:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        print(f"\n{name}: {module.__doc__.splitlines()[0]}\n")
        for row in module.rows():
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
