"""Trajectory: what a run saw, labelled (xarray), with how it was made; saved and loaded without loss; plots nothing."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linfa.errors import InputError, ResultError
from linfa.provenance import array_digest
from linfa.report import drifts, told
from linfa.rules.interface import AbstractRule, State
from linfa.rules.restore import pack, unpack
from linfa.solvers.ensemble import Layout
from linfa.solvers.members import is_lost
from linfa.systems.interface import AbstractSystem
from linfa.weights import Weights

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Trajectory:
    r"""A run.

    Args:
        dataset: everything that was recorded, with dimension `time`; layers are counted as in the paper, from 1.
        rule: the rule it was made by.
        pieces: the flow's interpolants, where they were kept.
        system: the system in the coordinates that were recorded (`solver.takes(system)`); None for a loaded run.

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> run = linfa.solve(linfa.Full(net, linfa.Backprop()), task, linfa.Flow(t=1.0, saves=4))
    >>> run.loss.dims, len(run), run.weights(-1).widths
    (('time',), 5, (3, 4, 2))
    >>> run.status, float(run.reached)
    ('finished', 1.0)
    >>> rule, law = linfa.FeedbackAlignment.random(net, rng=2), linfa.laws.MatrixLaw()
    >>> run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.1, steps=50), laws=[law])
    >>> print("\n".join(repr(run).split("\n")[:2]))
    Full under fa, one network, by Descent over 0 ≤ t ≤ 5: 51 moments, 50 steps
      status  finished
    """

    dataset: xr.Dataset
    rule: AbstractRule
    pieces: tuple[Any, ...] = ()
    system: AbstractSystem | None = None

    def __repr__(self) -> str:
        return told(self)

    def __len__(self) -> int:
        return int(self.dataset.sizes["time"])

    @property
    def times(self) -> xr.DataArray:
        """The saved moments: flow time, or the sum of learning rates."""
        return self.dataset["time"]

    @property
    def loss(self) -> xr.DataArray:
        """The mean loss over all samples, by time."""
        return self.dataset["loss"]

    @property
    def alignment(self) -> xr.DataArray:
        """The weight alignment cos(B_l, W_l), signed, by time and layer."""
        return self._recorded("weight_alignment")

    @property
    def update_alignment(self) -> xr.DataArray:
        """The update alignment cos(U_l, −∇_l), signed, by time and layer."""
        return self._recorded("update_alignment")

    def _recorded(self, name: str) -> xr.DataArray:
        if name not in self.dataset:
            raise InputError(
                f"this run recorded no {name}: its system has no full weights at hand; lift it, or observe it"
            )
        return self.dataset[name]

    @property
    def provenance(self) -> dict[str, Any]:
        """How the run was made: version, system, task, solver."""
        return dict(json.loads(self.dataset.attrs["provenance"]))

    @property
    def status(self) -> Any:
        """How it ended: finished, steady, step cap reached at t = …, diverged: …; of a batch, labelled by member."""
        found = self.dataset["status"]
        return found if self.members else str(found.values)

    @property
    def reached(self) -> xr.DataArray:
        """The time that was reached, by member."""
        return self.dataset["reached"]

    @property
    def lost(self) -> xr.DataArray:
        """Whether the weights left the finite numbers, by member."""
        found = self.dataset["status"]
        return found.copy(data=np.vectorize(is_lost, otypes=[bool])(found.values)).rename("lost")

    @property
    def summary(self) -> str:
        """How it ended, in one line."""
        return str(self.dataset.attrs["summary"])

    @property
    def drifts(self) -> xr.Dataset:
        """How far each law drifted: its largest relative drift and residual, by law, member and hidden layer."""
        return drifts(self)

    @property
    def stepped(self) -> bool:
        """Whether time passed in finite steps."""
        return bool(self.dataset.attrs["stepped"])

    @property
    def depth(self) -> int:
        """Depth L."""
        return int(self.dataset.attrs["depth"])

    @property
    def members(self) -> tuple[str, ...]:
        """The dimensions that number the networks of a batch."""
        return tuple(self.dataset.attrs["members"].split()) if self.dataset.attrs["members"] else ()

    def coordinates(self, k: int) -> State:
        """Return the state of the system at the k-th saved moment, in its own coordinates.

        Raises:
            InputError: where the states were not kept.
        """
        names = self.dataset.attrs["parts"].split()
        if names[0] not in self.dataset:
            raise InputError(
                "this run kept no states: solve with states=True, or give what you need as laws or observe"
            )
        row = self.dataset.isel(time=k)
        return self._split(tuple(row[name].values for name in names))

    def state(self, k: int) -> State:
        """Return the weights, and what the rule learnt, at the k-th saved moment.

        Raises:
            InputError: where the states were not kept, or a loaded run has reduced coordinates only.
        """
        coordinates = self.coordinates(k)
        if "W_1" in self.dataset:
            return coordinates
        if self.system is None:
            raise InputError(
                "this run was made in reduced coordinates and loaded from a file, which knows no full weights: lift "
                "them with the system as its solver took it, system = solver.takes(system), by "
                "system.lift(run.coordinates(k))"
            )
        return self.system.full(coordinates)

    def _split(self, parts: tuple[np.ndarray, ...]) -> State:
        learnt = int(self.dataset.attrs["learnt"])
        return State(parts[: len(parts) - learnt], parts[len(parts) - learnt :])

    def weights(self, k: int) -> Weights:
        """Return the weights at the k-th saved moment."""
        return Weights(self.state(k).weights)

    def states(self) -> Iterator[State]:
        """Yield the states, one per saved moment."""
        return (self.state(k) for k in range(len(self)))

    def at(self, t: float) -> Weights:
        """Return the weights at any time of a flow that was solved with dense=True.

        Raises:
            InputError: where there are no interpolants, or the time lies outside the run.
        """
        if not self.pieces:
            raise InputError("weights between the saved moments need Flow(..., dense=True); they are not kept in files")
        end = float(self.times[-1])
        if not 0 <= t <= end:
            raise InputError(f"the run covers 0 ≤ t ≤ {end:g}; got t = {t}")
        ends = [piece.t for piece in self.pieces]
        y = self.pieces[min(int(np.searchsorted(ends, t)), len(ends) - 1)](t)
        state = Layout(self.coordinates(0), ()).state(y)
        return Weights((self.system.full(state) if self.system else state).weights)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run as netCDF, whole or not at all, and return the path."""
        arrays, about = pack(self.rule)
        dataset = self.dataset.assign({name: (_dims(name, a), a) for name, a in arrays.items()})
        dataset.attrs["rule"] = json.dumps(about)
        return save_dataset(dataset, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Return a saved run.

        Raises:
            ResultError: where the file is absent, cut short, altered, or no saved run.
        """
        dataset = load_dataset(path)
        if "rule" not in dataset.attrs:
            raise ResultError(f"{path} holds a labelled result, but not a run: it was not written by Trajectory.save")
        about = json.loads(dataset.attrs.pop("rule"))
        names = [str(n) for n in dataset.data_vars if str(n).startswith("rule_")]
        rule = unpack({n: dataset[n].values for n in names}, about)
        return cls(dataset.drop_vars(names), rule)


def _dims(name: str, array: np.ndarray) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in range(array.ndim))


def content_digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over names, dimensions and values of a labelled result, attributes included."""
    named = sorted(dataset.variables.items())
    parts = {str(n): [list(map(str, v.dims)), array_digest(_bytes(v.values))] for n, v in named}
    attributes = {k: str(v) for k, v in sorted(dataset.attrs.items()) if k != "content"}
    return hashlib.sha256(json.dumps([parts, attributes], sort_keys=True).encode()).hexdigest()


def _bytes(values: np.ndarray) -> np.ndarray:
    """Return words as UTF-8, so that they are hashed by what they say; numbers as they are."""
    return np.char.encode(values.astype(str), "utf-8") if values.dtype.kind in "OUT" else values


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a labelled result as netCDF with a digest of its content, whole or not at all; return the path."""
    target = Path(path)
    if target.is_dir():
        raise ResultError(f"{target} is a folder: name the file that the result should be written to")
    dataset = dataset.assign_attrs(content=content_digest(dataset))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise ResultError(f"no result can be written to {target} ({error}): choose another folder") from error
    with unfinished as folder:
        # An ordinary file in a folder of its own: who may read it is what the umask says, unlike of a temporary file.
        whole = Path(folder) / target.name
        dataset.to_netcdf(whole, engine="h5netcdf")
        os.replace(whole, target)
    return target


def load_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Return a labelled result whose content is what was written.

    Raises:
        ResultError: where the file is absent, cut short or altered.
    """
    import xarray as xr

    source = Path(path)
    if not source.is_file():
        raise ResultError(f"there is no result at {source}: check the path, or make it again")
    try:
        with xr.open_dataset(source, engine="h5netcdf", decode_times=False) as opened:
            dataset = opened.load()
        words = {n: v.astype(str) for n, v in dataset.variables.items() if v.dtype.kind in "OT"}
        dataset = dataset.assign({n: v for n, v in words.items() if n in dataset.data_vars})
        sound = dataset.attrs.get("content") == content_digest(dataset)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ResultError(f"{source} is not a complete netCDF result ({error}): delete it and make it again") from error
    if not sound:
        raise ResultError(
            f"{source} does not hold what was written to it (its digest differs): delete it and make it again"
        )
    del dataset.attrs["content"]
    return dataset
