"""The gallery: a folder with every figure as PNG and PDF, its caption, how it was made, and a page that shows them.

Every file is written whole or not at all. The page is rebuilt from what lies in the folder, so that drawing some
figures keeps the others.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Sheet

import linfa
from figures import style
from figures.figure import Figure
from figures.page import page
from linfa.errors import InputError
from linfa.provenance import digest
from sims.made import told
from sims.recorded import recorded
from sims.study import Result, Study, collect

KEYS = {"name", "title", "paper", "claim", "alt", "caption", "inches", "preset", "linfa", "studies"}
"""What is kept of how a figure was made."""

ASKED = {"study", "recorded", "made", "configurations"}
"""What is kept of each study that it was drawn from."""


class Sources:
    """Asks studies for their results, and notes which were asked: the `collect` that a figure is drawn with.

    Args:
        fast: which preset.
        jobs: worker processes of the studies.
        cache: where their results are kept.
        rerun: whether the full preset is computed also where there is a record of it.
    """

    def __init__(self, fast: bool, jobs: int | None = None, cache: Path | None = None, *, rerun: bool = False) -> None:
        self.fast, self.jobs, self.cache, self.rerun = fast, jobs, cache, rerun
        self.asked: list[dict[str, Any]] = []

    def __call__(self, study: Study) -> list[Result]:
        """Return the results of a study: those on record in the full preset, or else computing what is not kept.

        Raises:
            ResultError: where there is a record that does not fit any more.
        """
        record = None if self.fast or self.rerun else recorded(study)
        results = collect(study, self.fast, jobs=self.jobs, cache=self.cache) if record is None else record
        self.asked.append(
            {
                "study": study.name,
                "recorded": record is not None,
                "made": told([result.made for result in results if result.made is not None]),
                "configurations": [digest(result.cell)[:16] for result in results],
            }
        )
        return results


def make(figure: Figure, folder: Path, sources: Sources) -> None:
    """Draw a figure into a folder: NAME.png, NAME.pdf, NAME.txt (the caption) and NAME.json (how it was made)."""
    with style.applied():
        sheet, caption = figure.draw(sources.fast, sources)
        caption = "\n\n".join([caption, *map(_origin, sources.asked)])
        about = {
            "name": figure.name,
            "title": figure.title,
            "paper": figure.paper,
            "claim": figure.claim,
            "alt": figure.alt,
            "caption": caption,
            "inches": [float(x) for x in sheet.get_size_inches()],
            "preset": "fast" if sources.fast else "full",
            "linfa": linfa.__version__,
            "studies": sources.asked,
        }
        pictures = {kind: _picture(sheet, kind, figure.title) for kind in ("png", "pdf")}
    for kind, content in pictures.items():
        write(folder / f"{figure.name}.{kind}", content)
    write(folder / f"{figure.name}.txt", f"{figure.title}\n\n{caption}\n".encode())
    write(folder / f"{figure.name}.json", json.dumps(about, indent=1, ensure_ascii=False).encode())


def _origin(asked: dict[str, Any]) -> str:
    """Return where and when the data of a study were made, in one sentence."""
    return f"Data of the study {asked['study']}: {'recorded' if asked['recorded'] else 'computed'} {asked['made']}."


def shown(folder: Path, order: Sequence[str]) -> list[dict[str, Any]]:
    """Return how each complete figure of a folder was made: known names in their order, then whatever else there is."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        about = _about(path)
        if about is not None and all(path.with_suffix(f".{kind}").is_file() for kind in ("png", "pdf", "txt")):
            found[path.stem] = about
    return [found[name] for name in dict.fromkeys([*order, *found]) if name in found]


def _about(path: Path) -> dict[str, Any] | None:
    """Return how a figure was made, or None for a file that `make` did not write."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    whole = isinstance(about, dict) and about.keys() >= KEYS and about["name"] == path.stem
    return about if whole and all(asked.keys() >= ASKED for asked in about["studies"]) else None


def write_page(folder: Path, order: Sequence[str]) -> Path:
    """Write index.html from what lies in a folder, and return its path."""
    return write(folder / "index.html", page(shown(folder, order)).encode())


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    Raises:
        InputError: where the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"the gallery needs a folder to write to; {path.parent} is none ({error.strerror}): name another with --out"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _picture(sheet: Sheet, kind: str, title: str) -> bytes:
    """Return a picture's bytes, the same ones whenever it is drawn: no date, no version of what drew it."""
    plain: dict[str, dict[str, Any]] = {
        "pdf": {"Creator": "linfa", "CreationDate": None, "Producer": None},
        "png": {"Software": None},
    }
    buffer = BytesIO()
    sheet.savefig(buffer, format=kind, metadata={"Title": title} | plain[kind])
    return buffer.getvalue()
