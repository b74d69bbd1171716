"""Laws read off a finished run: the drift of a quantity, and what is left of it after the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from linfa.arrays import to_numpy
from linfa.errors import NoLawError
from linfa.laws.ledger import largest
from linfa.rules.interface import AbstractRule

if TYPE_CHECKING:
    import xarray as xr

    from linfa.laws.interface import AbstractLaw
    from linfa.trajectory import Trajectory


def recorded(law: AbstractLaw, run: Trajectory) -> bool:
    """Return whether a run was solved with the law among its `laws`."""
    return f"{law.name}_residual" in run.dataset


def drift(law: AbstractLaw, run: Trajectory, rule: AbstractRule | None = None) -> xr.DataArray:
    """Return max |Q(t) − Q(0)| of each hidden layer, relative to the quantity's terms."""
    if rule is None and recorded(law, run):
        return _relative(run.dataset[f"{law.name}_drift"], run.dataset[f"{law.name}_scale"])
    rule = run.rule if rule is None else rule
    if rule is run.rule:
        law.check(rule)
    import xarray as xr

    if run.depth == 1:
        raise NoLawError("laws speak of hidden layers, and a network of one layer has none")
    batch = run.state(0).weights[0].ndim - 2
    start = law.quantity(rule, run.state(0))
    moved, scale = [], []
    for k in range(len(run)):
        state = run.state(k)
        change = (q - q0 for q, q0 in zip(law.quantity(rule, state), start, strict=True))
        moved.append(np.stack([to_numpy(largest(c, batch)) for c in change], axis=-1))
        scale.append(np.stack([to_numpy(s) for s in law.terms(rule, state)], axis=-1))
    dims = ("time", *run.members, "hidden")
    coordinates = {"time": run.dataset["time"], "hidden": np.arange(1, len(start) + 1)}
    return _relative(*(xr.DataArray(np.stack(x), dims=dims, coords=coordinates) for x in (moved, scale)))


def residual(law: AbstractLaw, run: Trajectory) -> xr.DataArray:
    """Return what a law leaves unexplained, relative to its terms: the drift of a flow, or drift less account."""
    if recorded(law, run):
        return _relative(run.dataset[f"{law.name}_residual"], run.dataset[f"{law.name}_scale"])
    law.check(run.rule)
    if run.stepped:
        raise NoLawError(
            f"finite steps change the {law.name} quantity by a known amount that the ledger must see step by step: "
            f"solve with laws=[{law!r}], or ask for law.drift(run)"
        )
    return drift(law, run)


def _relative(values: xr.DataArray, scale: xr.DataArray) -> xr.DataArray:
    """Return values over the largest scale of the run; zero stays zero where a layer has no terms at all."""
    top = scale.max("time")
    return values / top.where(top > 0, 1.0)
