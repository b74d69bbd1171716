"""`python -m sims [STUDY…]`: run studies, keep every finished cell, go on where it was interrupted."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from linfa.errors import LinfaError, missing_extra

try:
    import typer
except ImportError:
    sys.exit(str(missing_extra("typer", "figures", "for the command line of the rooms")))

from sims.registry import find
from sims.study import Interrupted, cache_folder, collect

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    studies: Annotated[list[str] | None, typer.Argument(help="Which studies; all where none is named.")] = None,
    fast: Annotated[bool, typer.Option("--fast/--full", help="Embedded data in seconds, or everything.")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; one per core by default.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print one line per study and stop.")] = False,
) -> None:
    """Run studies and keep their results."""
    try:
        if listing:
            for study in find(studies or []):
                typer.echo(f"{study.name:<16} {study.paper:<48}{study.claim}")
            return
        for study in find(studies or []):
            began = time.perf_counter()
            results = collect(study, fast, jobs=jobs)
            typer.echo(f"{study.name}: {len(results)} cells in {time.perf_counter() - began:.1f} s")
        typer.echo(f"results are kept in {cache_folder()}")
    except Interrupted as stop:
        typer.echo(str(stop), err=True)
        raise typer.Exit(130) from None
    except LinfaError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
