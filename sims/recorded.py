"""Recorded results: what a long run produced, kept in the repository as small files, shown without computing it again.

A study opts in (`Study(recorded=1)`); `python -m sims STUDY --full --record` computes its full preset and writes one
netCDF file per cell into `sims/records/STUDY/`, with the cell's whole description (seeds among it) and where and when
it was made. A record is matched by that description, not by the source that made it, so that an edit does not throw
hours away. What no longer fits is refused and said, never shown: a cell that describes something else, another version
of what the results hold, a damaged file, an incomplete record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linfa.errors import InputError, ResultError
from linfa.provenance import describe, digest
from linfa.trajectory import load_dataset, save_dataset
from sims.study import Result, Study, opened

FOLDER = Path(__file__).resolve().parent / "records"


def record(study: Study, results: Sequence[Result], folder: Path | None = None) -> list[Path]:
    """Write the results of a study's full preset as its record, in the place of an older one; return the files.

    Args:
        study: that opted in.
        results: from `collect(study, fast=False)`.
        folder: where records are kept.

    Raises:
        InputError: where the study has not opted in.
    """
    if not study.recorded:
        raise InputError(f"the study {study.name} keeps no record: say Study(recorded=1) where it is defined")
    home = (folder or FOLDER) / study.name
    written = [_write(study, result, home) for result in results]
    for old in set(home.glob("*.nc")) - set(written):
        old.unlink()
    return written


def recorded(study: Study, folder: Path | None = None) -> list[Result] | None:
    """Return the recorded results of a study's full preset, in the order of its cells; None where there is no record.

    Raises:
        ResultError: where the record is damaged, incomplete, or made by another configuration; says what to do.
    """
    home = (folder or FOLDER) / study.name
    paths = sorted(home.glob("*.nc"))
    if not study.recorded or not paths:
        return None
    cells = study.cells(False)
    described = [_plain(cell) for cell in cells]
    found = {}
    for path in paths:
        data = _read(study, path)
        was = json.loads(data.attrs["cell"])
        if was not in described:
            raise _refused(study, path, f"was made for another configuration: {_difference(was, described)}")
        found[described.index(was)] = data
    if missing := len(cells) - len(found):
        raise _refused(study, home, f"lacks {missing} of {len(cells)} cells")
    return [opened(cell, found[k]) for k, cell in enumerate(cells)]


def on_record(study: Study, folder: Path | None = None) -> list[Result]:
    """Return the recorded results of a study's full preset; see `recorded`.

    Raises:
        ResultError: where there is no record, too.
    """
    found = recorded(study, folder)
    if found is None:
        raise ResultError(
            f"of {study.name} there is no record: make it with python -m sims {study.name} --full --record"
        )
    return found


def _write(study: Study, result: Result, home: Path) -> Path:
    if result.made is None:
        raise InputError("a record says where and when it was made: take the results from collect(study, fast=False)")
    notes = {"made": json.dumps(asdict(result.made)), "holds": int(study.recorded)}
    return save_dataset(result.data.assign_attrs(notes), home / f"{digest(result.cell)[:16]}.nc")


def _read(study: Study, path: Path) -> Any:
    """Return a recorded result, if it is whole and holds what the study's results hold today."""
    try:
        data = load_dataset(path)
    except ResultError as error:
        raise _refused(study, path, f"is damaged ({error})") from error
    if absent := sorted({"cell", "made", "holds"} - data.attrs.keys()):
        raise _refused(study, path, f"says nothing of its {', '.join(absent)}")
    if data.attrs["holds"] != study.recorded:
        raise _refused(
            study,
            path,
            f"holds version {data.attrs['holds']} of the results, the study has version {int(study.recorded)}",
        )
    return data


def _refused(study: Study, path: Path, why: str) -> ResultError:
    return ResultError(
        f"the record {path.parent.name}/{path.name} {why}; make it again with python -m sims {study.name} --full "
        "--record, or compute without it: python -m figures --full --rerun"
    )


def _plain(cell: Any) -> Any:
    """Return a cell's description as JSON has it."""
    return json.loads(json.dumps(describe(cell)))


def _difference(was: Any, described: Sequence[Any]) -> str:
    """Return in words how a description differs from the nearest of those that are wanted."""
    there = dict(_leaves(was))
    gaps = [
        [k for k in {**there, **here} if there.get(k) != here.get(k)] for here in (dict(_leaves(d)) for d in described)
    ]
    if not gaps:
        return "the study has no cells"
    nearest = min(range(len(gaps)), key=lambda i: len(gaps[i]))
    here = dict(_leaves(described[nearest]))
    return ", ".join(f"{k} was {there.get(k, 'absent')}, is {here.get(k, 'absent')}" for k in gaps[nearest][:4])


def _leaves(described: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of every entry of a description.

    >>> list(_leaves({"solver": {"rate": 0.1}, "widths": [2, 3]}))
    [('solver.rate', 0.1), ('widths', [2, 3])]
    """
    if not isinstance(described, dict):
        yield name, described
        return
    for key, value in described.items():
        yield from _leaves(value, f"{name}.{key}" if name else key)
