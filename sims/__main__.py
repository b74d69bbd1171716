"""`python -m sims [STUDY…]`: run studies, keep every finished cell, go on after an interruption, record long runs."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

from linfa.errors import InputError, LinfaError, missing_extra

try:
    import typer
except ImportError:
    sys.exit(str(missing_extra("typer", "figures", "for the command line of the rooms")))

from sims.made import VARIABLE, asked_for
from sims.recorded import record
from sims.registry import find
from sims.study import Interrupted, Study, cache_folder, collect

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    studies: Annotated[list[str] | None, typer.Argument(help="Which studies; all where none is named.")] = None,
    fast: Annotated[bool, typer.Option("--fast/--full", help="Embedded data in seconds, or everything.")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; one per core by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for what trains; cuda where there is one.")] = None,
    recording: Annotated[
        bool, typer.Option("--record", help="Keep the full preset's results in sims/records.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print one line per study and stop.")] = False,
) -> None:
    """Run studies and keep their results."""
    try:
        if device is not None:
            os.environ[VARIABLE] = device  # workers inherit it
        asked_for()
        if listing:
            for study in find(studies or []):
                typer.echo(f"{study.name:<19} {study.paper:<48}{study.claim}")
            return
        for study in _recordable(studies or [], fast) if recording else find(studies or []):
            began = time.perf_counter()
            results = collect(study, fast, jobs=jobs)
            typer.echo(f"{study.name}: {len(results)} cells in {time.perf_counter() - began:.1f} s")
            if recording:
                size = sum(path.stat().st_size for path in record(study, results))
                typer.echo(f"{study.name}: recorded, {size / 1024:.0f} kB")
        typer.echo(f"results are kept in {cache_folder()}")
    except Interrupted as stop:
        typer.echo(str(stop), err=True)
        raise typer.Exit(130) from None
    except LinfaError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(2) from None


def _recordable(names: list[str], fast: bool) -> list[Study]:
    """Return the studies of the given names that keep records; all that do where none is named."""
    if fast:
        raise InputError("the full preset is what is recorded: say --full --record")
    found = find(names)
    if names and (others := [study.name for study in found if not study.recorded]):
        raise InputError(f"of {', '.join(others)} no record is kept: leave --record away")
    return [study for study in found if study.recorded]


if __name__ == "__main__":
    app()
