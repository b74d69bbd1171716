"""`python -m tests.benchmarks [NAME…] [--list]`: run benchmarks and print a table of times and ratios.

Without a name all but the long ones are run, a few minutes in all. A benchmark is a module with a function `rows`; a
long one says in LONG how long. Every contender has one thread, unless the environment says otherwise before the start.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Libraries read these once, when they are loaded, so nothing is imported before.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")


class Benchmark(NamedTuple):
    """What a benchmark says of itself."""

    title: str
    """The first line of its docstring."""
    long: str
    """How long a long one takes; empty for the others."""


def known() -> dict[str, Benchmark]:
    """Return the benchmarks by name, read but not loaded: each may need what another does without."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        made = {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}
        set_ = {ast.unparse(part.targets[0]): part.value for part in tree.body if isinstance(part, ast.Assign)}
        if "rows" in made:
            long = ast.literal_eval(set_["LONG"]) if "LONG" in set_ else ""
            found[path.stem] = Benchmark(str(ast.get_docstring(tree)).splitlines()[0], long)
    return found


def rows_of(name: str) -> Iterator[Any]:
    """Yield the rows of a benchmark."""
    yield from importlib.import_module(f"tests.benchmarks.{name}").rows()


def main(arguments: list[str]) -> int:
    """Print every row of the named benchmarks, or of all that are not long."""
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all but the long ones, see --list")
    parser.add_argument("--list", action="store_true", help="print the names and what they compare")
    options, benches = parser.parse_args(arguments), known()
    unknown = [name for name in options.names if name not in benches]
    if unknown:
        print(f"the known benchmarks are {', '.join(benches)}; got {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in options.names or [name for name, bench in benches.items() if options.list or not bench.long]:
        length = f" (by name only: {benches[name].long})" if benches[name].long else ""
        print(f"{name}{length}: {benches[name].title}")
        if not options.list:
            for row in rows_of(name):
                print(row, flush=True)
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
