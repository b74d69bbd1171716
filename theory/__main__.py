"""`python -m theory`: check every claim; `python -m theory NAME`: print its derivation step by step."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from linfa.errors import InputError, missing_extra
from theory.claim import Status, Verdict
from theory.registry import claims

try:
    import typer
except ImportError:
    sys.exit(str(missing_extra("typer", "figures", "for the command line of the rooms")))

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which claims; all where none is named.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for programs.")] = False,
) -> None:
    """Check claims; the exit code is 1 if one does not close, 2 for an unknown name."""
    try:
        wanted = claims(names)
    except InputError as error:
        typer.echo(f"InputError: {error}", err=True)
        raise typer.Exit(2) from None
    verdicts: list[Verdict] = []
    for claim in wanted:
        verdicts.append(claim.check())
        if not as_json:
            typer.echo(derivation(verdicts[-1]) if names else line(verdicts[-1]))
    if as_json:
        typer.echo(json.dumps([verdict.as_json() for verdict in verdicts], ensure_ascii=False, indent=2))
    elif not names:
        typer.echo(summary(verdicts))
    if any(verdict.status is Status.FAILED for verdict in verdicts):
        raise typer.Exit(1)


def line(verdict: Verdict) -> str:
    """Return name, status, what was checked, time and statement on one line; and the reason where it failed."""
    how = f"{verdict.status.value:<11}{verdict.counted():<23}{verdict.seconds:7.2f} s"
    text = f"{verdict.claim.name:<28}{how}  {verdict.claim.statement}"
    return f"{text}\n    {verdict.reason}" if verdict.reason else text


def derivation(verdict: Verdict) -> str:
    """Return the statement, the numbered steps, and how it ended."""
    head = [verdict.claim.name, verdict.claim.statement, verdict.claim.latex, ""]
    steps = [f"{i}. {step}" for i, step in enumerate(verdict.steps, 1)]
    end = f"{verdict.status.value}, {verdict.counted()}, in {verdict.seconds:.2f} s"
    end += f": {verdict.reason}" if verdict.reason else ""
    return "\n".join([*head, *steps, "", end, ""])


def summary(verdicts: list[Verdict]) -> str:
    """Return how many claims there are of each status, and how much of them was checked."""
    counts = {s.value: sum(v.status is s for v in verdicts) for s in Status}
    listed = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    steps = f"{sum(v.closed for v in verdicts)} steps closed, {sum(v.said for v in verdicts)} in words"
    return f"{len(verdicts)} claims in {sum(v.seconds for v in verdicts):.1f} s: {listed}; {steps}"


if __name__ == "__main__":
    app()
