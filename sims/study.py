"""What a study is, and how its cells are computed: once, in any order, by any executor, each kept when it is done.

A study is a tuple of *cells*, frozen configurations that say everything about one computation, and a function from a
cell to a labelled result. A result is filed under the hash of its cell and of the source that computes it, so that
nothing stale is ever shown; it is written whole or not at all, so that an interruption loses nothing that was finished.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import xarray as xr
from tqdm import tqdm

import linfa
from linfa.errors import InputError, LinfaError, ResultError
from linfa.provenance import describe, digest
from linfa.trajectory import load_dataset, save_dataset
from sims.made import Made, asked_for, here

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Study:
    """A question, the cells that answer it, and how one cell is computed.

    Args:
        name: on command lines and in file names.
        paper: whose claim it tests.
        claim: what should be seen, in one sentence.
        cells: the cells of the fast preset (True) or the full one (False); each a frozen dataclass.
        compute: a module-level function from a cell to its result.
        trains: whether it trains with torch, on the `sims.made.device()` of the command line.
        recorded: whether the results of the full preset are kept in the repository (`sims.recorded`), as a number:
            which version of what they hold. Raise it when `compute` changes what it returns.
    """

    name: str
    paper: str
    claim: str
    cells: Callable[[bool], tuple[Any, ...]]
    compute: Callable[[Any], xr.Dataset]
    trains: bool = False
    recorded: int = 0


@dataclass(frozen=True)
class Result:
    """A cell with its result, and where and when that was made, if it was filed."""

    cell: Any
    data: xr.Dataset
    made: Made | None = None


class Interrupted(LinfaError):  # noqa: N818 — nothing went wrong
    """The study was stopped by hand; what had finished is kept."""


def cache_folder() -> Path:
    """Return where results are kept: $LINFA_CACHE, or `.cache/sims` of the checkout."""
    chosen = os.environ.get("LINFA_CACHE")
    return Path(chosen).expanduser() if chosen else CHECKOUT / ".cache" / "sims"


def source_digest(study: Study) -> str:
    """Return the SHA-256 of every file that a result depends on: the library's, the study's, and what that imports."""
    package = Path(linfa.__file__).parent
    module = sys.modules[study.compute.__module__]
    named = {part if inspect.ismodule(part) else inspect.getmodule(part) for part in vars(module).values()}
    rooms = [m for m in named if m is not None and m.__name__.split(".")[0] == __name__.split(".")[0]]
    own = {Path(__file__), Path(study.compute.__code__.co_filename), *(Path(str(m.__file__)) for m in rooms)}
    digests = hashlib.sha256()
    for path in [*sorted(package.rglob("*.py")), *sorted(own)]:
        digests.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digests.hexdigest()


def path_of(study: Study, cell: Any, source: str, cache: Path | None = None) -> Path:
    """Return the file of a cell's result."""
    name = digest({"study": study.name, "cell": describe(cell), "source": source})[:24]
    return (cache or cache_folder()) / study.name / f"{name}.nc"


def collect(
    study: Study,
    fast: bool = True,
    *,
    jobs: int | None = None,
    cache: Path | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> list[Result]:
    """Return the results of every cell of a study, computing those that are not yet kept.

    Args:
        study: the study.
        fast: which preset.
        jobs: worker processes, by default one per core.
        cache: where results are kept.
        executor: computes the cells in place of the worker processes (a cluster's, for one).
        progress: whether a bar is shown.

    Raises:
        Interrupted: after ctrl-C; running cells are finished and kept, waiting ones are dropped.
    """
    cells, source = study.cells(fast), source_digest(study)
    paths = [path_of(study, cell, source, cache) for cell in cells]
    kept = [_kept(path, study) for path in paths]
    todo = [(cell, path) for cell, path, data in zip(cells, paths, kept, strict=True) if data is None]
    if todo:
        _check_folder(todo[0][1].parent)
        jobs = min(jobs or os.cpu_count() or 1, len(todo))
        _compute(study, todo, executor or workers(jobs), executor is None, len(cells), progress)
    return [
        opened(cell, load_dataset(path) if data is None else data)
        for cell, path, data in zip(cells, paths, kept, strict=True)
    ]


def opened(cell: Any, data: xr.Dataset) -> Result:
    """Return a result that was loaded from its file, apart from what is noted there beside it."""
    attrs = dict(data.attrs)
    made = Made(**json.loads(attrs.pop("made")))
    attrs.pop("holds", None)
    data.attrs = attrs
    return Result(cell, data, made)


def _check_folder(folder: Path) -> None:
    """Raise InputError where results cannot be kept, before any is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"results cannot be kept in {folder} ({error}): set LINFA_CACHE to a folder of yours"
        ) from error


def workers(jobs: int) -> ProcessPoolExecutor:
    """Return fresh worker processes with one BLAS thread each: the same bits however many there are."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by the workers when they load NumPy, and by nobody else any more
    return ProcessPoolExecutor(jobs, mp_context=_Deaf())


class _Deaf(SpawnContext):
    """Starts processes that leave ctrl-C to their parent from their first instruction on, while they still import."""

    class Process(SpawnProcess):
        """A process that inherits the ignored signal; the parent hears it again at once."""

        def start(self) -> None:
            """Start with SIGINT ignored, where signals can be set at all (in the main thread)."""
            if threading.current_thread() is not threading.main_thread():
                super().start()
                return
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                super().start()
            finally:
                signal.signal(signal.SIGINT, before)


def _kept(path: Path, study: Study) -> xr.Dataset | None:
    """Return a result that is kept and whole; None where it is absent, damaged, or of another device than asked for."""
    try:
        data = load_dataset(path)
    except ResultError:
        return None
    wanted = asked_for() if study.trains else None
    return data if wanted in (None, json.loads(data.attrs["made"])["device"]) else None


def _keep(study: Study, cell: Any, path: Path) -> None:
    """Compute a cell and file its result, with where and when it was made."""
    began = time.perf_counter()
    data = study.compute(cell)
    made = here(study.trains, time.perf_counter() - began)
    save_dataset(data.assign_attrs(cell=json.dumps(describe(cell)), made=json.dumps(asdict(made))), path)


def _compute(
    study: Study, todo: Sequence[tuple[Any, Path]], pool: Executor, own: bool, total: int, progress: bool
) -> None:
    """Compute cells, keeping each as soon as it is done."""
    waiting: list[Future[None]] = []
    try:
        waiting = [pool.submit(_keep, study, cell, path) for cell, path in todo]
        done = as_completed(waiting)
        for future in tqdm(done, study.name, total, disable=not progress, initial=total - len(todo), unit="cell"):
            future.result()
    except KeyboardInterrupt:
        for future in waiting:
            future.cancel()
        if own:
            pool.shutdown(wait=True, cancel_futures=True)
        kept = total - len(todo) + sum(f.done() and not f.cancelled() and f.exception() is None for f in waiting)
        raise Interrupted(
            f"{study.name} was interrupted; {kept} of {total} cells are kept, and the same command goes on from there"
        ) from None
    finally:
        if own:
            pool.shutdown(wait=True, cancel_futures=True)
