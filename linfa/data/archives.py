"""Fetching an official archive: no byte of it is interpreted before its checksum agrees."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeAlias

from linfa.data.sets import Archive
from linfa.errors import DataError, missing_extra

Downloader: TypeAlias = Callable[[str, str, Any], Any]
"""Writes what a url holds to a path; called as pooch calls its downloaders: (url, path, pooch)."""


def agrees(path: Path, archive: Archive) -> bool:
    """Return whether a file is there and has the checksum of the archive."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(archive.algorithm, usedforsecurity=False))
    return digest.hexdigest() == archive.digest


def obtain(archive: Archive, folder: Path, purpose: str, downloader: Downloader | None = None) -> Path:
    """Return the path of an archive whose checksum agrees: the one in the folder, or else a download.

    Args:
        archive: addresses and checksum.
        folder: where the archive is looked for and kept; made if need be.
        purpose: what it is for, as the error for an absent pooch says it.
        downloader: fetches a url instead of pooch's own.

    Returns:
        The path. A download appears there only once its checksum agrees; otherwise it is removed unopened.

    Raises:
        DataError: no mirror gave the file; one line per mirror says why.
        MissingExtraError: pooch is not installed and the archive is not there.

    """
    path = folder / archive.filename
    if agrees(path, archive):
        return path
    try:
        import pooch
    except ImportError as error:
        raise missing_extra("pooch", "data", purpose) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"  {folder} cannot be made ({error}): set LINFA_DATA to a folder that can") from error
    failures = [f"  {path} is there, but is not {_checksum(archive)}"] if path.is_file() else []
    for url in archive.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=_checksum(archive),
                fname=archive.filename,
                path=folder,
                downloader=downloader,
                progressbar=sys.stderr.isatty(),
            )
        # What requests raises is an OSError; a ValueError means another checksum, the file deleted by pooch.
        except (OSError, ValueError) as error:
            failures.append(f"  {url}: {type(error).__name__}: {shorten(str(error), 280)}")
        else:
            return path
    raise DataError("\n".join(failures))


def _checksum(archive: Archive) -> str:
    return f"{archive.algorithm}:{archive.digest}"
