"""`python -m figures [NAME…]`: draw figures into a gallery that opens from disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tqdm import tqdm

from linfa.errors import LinfaError, missing_extra

try:
    import typer
except ImportError:
    sys.exit(str(missing_extra("typer", "figures", "for the command line of the rooms")))

from sims.made import VARIABLE, asked_for
from sims.study import Interrupted

DEFAULT = Path(__file__).resolve().parent / "gallery"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which figures; all where none is named.")] = None,
    fast: Annotated[bool, typer.Option("--fast/--full", help="Embedded data in seconds, or everything.")] = True,
    out: Annotated[Path, typer.Option(help="The gallery's folder.", show_default="figures/gallery")] = DEFAULT,
    listing: Annotated[bool, typer.Option("--list", help="Print one line per figure and stop.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; one per core by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for what trains; cuda where there is one.")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute what is recorded once more.")] = False,
) -> None:
    """Draw figures as PNG and PDF, with captions, and the page that shows them."""
    try:
        if find_spec("matplotlib") is None:
            raise missing_extra("matplotlib", "figures", "to draw the figures")
        from figures.registry import find  # here: the workers of a study load this module too, and draw nothing

        chosen = find(names or [])
        if listing:
            typer.echo("\n".join(figure.line() for figure in chosen))
            return
        if device is not None:
            os.environ[VARIABLE] = device  # workers inherit it
        asked_for()
        _draw([figure.name for figure in chosen], fast, out, jobs, rerun)
    except LinfaError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo((out / "index.html").resolve())


def _draw(names: Sequence[str], fast: bool, out: Path, jobs: int | None, rerun: bool) -> None:
    """Draw figures one after the other, each with the page; after ctrl-C, say what is finished and how to go on."""
    from figures.gallery import Sources, make, write_page
    from figures.registry import FIGURES

    finished = 0
    try:
        for name in tqdm(names, "figures", unit="figure"):
            make(FIGURES[name], out, Sources(fast, jobs, rerun=rerun))
            write_page(out, list(FIGURES))
            finished += 1
    except (Interrupted, KeyboardInterrupt) as stop:
        preset = ("--fast" if fast else "--full") + " --rerun" * rerun
        where = "" if out == DEFAULT else f" --out {out}"
        typer.echo(
            f"{stop or 'interrupted'}. {finished} of {len(names)} figures are finished in {out}; go on with: "
            f"python -m figures {' '.join(names[finished:])} {preset}{where}",
            err=True,
        )
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app()
