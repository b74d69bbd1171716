"""What was seen while a model trained, labelled; saved and loaded without loss."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linfa.trajectory import load_dataset, save_dataset

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class History:
    """A training run.

    Args:
        dataset: by `epoch`, counted from 1: `loss` and `accuracy` (means over the epoch's batches, as the weights
            moved), `test_loss`, `test_accuracy`, `learning_rate`; accuracies where targets are class numbers. By
            `<watch>_step`, steps counted from 1: `<watch>_<key>`, layer by layer (law by law) along
            `<watch>_<key>_place`.
    """

    dataset: xr.Dataset

    def __repr__(self) -> str:
        head = (
            f"{self.dataset.attrs['rule']}: {self.dataset.sizes['epoch']} epochs, {self.dataset.attrs['steps']} steps"
        )
        rows = [f"  {name:<14}{self.dataset[name].values[-1]:.4g}" for name in _ROWS if name in self.dataset]
        return "\n".join([head, *rows])

    @property
    def loss(self) -> xr.DataArray:
        """The mean loss of each epoch's batches."""
        return self.dataset["loss"]

    @property
    def test_loss(self) -> xr.DataArray:
        """The mean loss over all test samples, after each epoch."""
        return self.dataset["test_loss"]

    @property
    def accuracy(self) -> xr.DataArray:
        """The fraction of training samples that were classified rightly as they were learnt, 0 … 1."""
        return self.dataset["accuracy"]

    @property
    def test_accuracy(self) -> xr.DataArray:
        """The fraction of test samples that are classified rightly after each epoch, 0 … 1."""
        return self.dataset["test_accuracy"]

    @property
    def reports(self) -> dict[str, str]:
        """What each watch had to say at the end, in words."""
        told = {k.removesuffix("_report"): v for k, v in self.dataset.attrs.items() if k.endswith("_report")}
        return {str(k): str(v) for k, v in told.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """How the run was made."""
        return dict(json.loads(self.dataset.attrs["provenance"]))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as netCDF, whole or not at all, and return the path."""
        return save_dataset(self.dataset, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """Return a saved run.

        Raises:
            ResultError: where the file is absent, cut short or altered.
        """
        return cls(load_dataset(path))


_ROWS = ("learning_rate", "loss", "accuracy", "test_loss", "test_accuracy")


def labelled(
    epochs: Sequence[Mapping[str, float]], logged: Mapping[str, Mapping[str, Any]], attrs: Mapping[str, Any]
) -> History:
    """Return a history of rows, one per epoch, and of what each watch logged.

    Args:
        epochs: the rows.
        logged: by watch, the `steps`, and the `values` at these steps by key and place ("" where there is one alone).
        attrs: of the dataset.

    >>> laws = {"steps": [5, 10], "values": {"residual": {"fc1": [0.0, 1.0], "fc2": [0.0, 2.0]}}}
    >>> run = labelled([{"loss": 2.0}, {"loss": 1.0}], {"laws": laws}, {})
    >>> run.loss.values.tolist(), run.dataset["laws_residual"].sel(laws_residual_place="fc2").values.tolist()
    ([2.0, 1.0], [0.0, 2.0])
    """
    import xarray as xr

    names = list(epochs[0]) if epochs else []
    variables: dict[str, Any] = {name: ("epoch", np.array([row[name] for row in epochs])) for name in names}
    coordinates: dict[str, Any] = {"epoch": np.arange(1, len(epochs) + 1)}
    for watch, found in logged.items():
        step = f"{watch}_step"
        coordinates[step] = np.array(found["steps"], dtype=int)
        for key, places in found["values"].items():
            arrays, name = {place: np.array(values) for place, values in places.items()}, f"{watch}_{key}"
            if "" not in arrays and all(array.ndim == 1 for array in arrays.values()):
                coordinates[f"{name}_place"] = list(arrays)
                variables[name] = ([step, f"{name}_place"], np.stack(list(arrays.values()), axis=1))
                continue
            for place, array in arrays.items():
                whole = f"{name}_{place}" if place else name
                variables[whole] = ([step, *(f"{whole}_{axis}" for axis in range(array.ndim - 1))], array)
    return History(xr.Dataset(variables, coordinates, dict(attrs)))
