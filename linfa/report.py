"""What a run says of itself: how far each law drifted, and the few lines that print(run) shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from linfa.trajectory import Trajectory


def drifts(run: Trajectory) -> xr.Dataset:
    """Return the largest drift and residual of every law that a run watched, relative to the law's terms.

    Returns:
        `drift` (max over time of |Q − Q(0)|) and `residual` (what the ledger leaves of it) by law, member and hidden
        layer. Where no law was watched and the system shows its layer law by itself, that one, relative to its largest
        value; it has a residual in continuous time only, where nothing may drift. Without either there are no rows.
    """
    import xarray as xr

    data, rows = run.dataset, []
    for name in data.attrs["laws"].split():
        top = data[f"{name}_scale"].max("time")
        parts = {part: _relative(data[f"{name}_{part}"], top) for part in ("drift", "residual")}
        rows.append(xr.Dataset(parts).assign_coords(law=name))
    if not rows and "layer_law" in data:
        value = data["layer_law"]
        moved = _relative(abs(value - value.isel(time=0)), abs(value).max("time"))
        parts = {"drift": moved, "residual": moved * (np.nan if run.stepped else 1.0)}
        rows.append(xr.Dataset(parts).assign_coords(law="layer"))
    return xr.concat(rows, "law") if rows else xr.Dataset(coords={"law": np.zeros(0, dtype=str)})


def _relative(values: xr.DataArray, top: xr.DataArray) -> xr.DataArray:
    return (values.max("time") / top.where(top > 0, 1.0)).drop_vars("time", errors="ignore")


def told(run: Trajectory) -> str:
    """Return what a run was and came to, in a few lines."""
    solver, end = run.provenance["solver"]["type"], float(run.times[-1])
    system, batch = run.dataset.attrs["system"], run.status.shape if run.members else ()
    nets = f"{' × '.join(map(str, batch))} networks" if batch else "one network"
    lines = [
        f"{system} under {run.rule.name}, {nets}, by {solver} over 0 ≤ t ≤ {end:g}: {len(run)} moments, "
        f"{run.dataset.attrs['steps']} steps",
        f"  status  {run.summary}",
        f"  loss    {_losses(run)}",
    ]
    found = drifts(run)
    for law in found["law"].values:
        drift, residual = (float(found[part].sel(law=law).max()) for part in ("drift", "residual"))
        left = "" if np.isnan(residual) else f", residual {residual:.1e}"
        lines.append(f"  law     {law}: drift {drift:.1e}{left}, relative to its terms")
    return "\n".join(lines if found["law"].size else [*lines, "  law     none was watched: solve with laws=[…]"])


def _losses(run: Trajectory) -> str:
    first, last = run.loss.values[0], run.loss.values[-1]
    if not run.members:
        return f"{float(first):.4g} → {float(last):.4g}"
    left = np.isfinite(last) & ~(run.lost.values & ~run.lost.values.all())
    if not left.any():
        return f"{first.mean():.4g} on average → nan"
    return f"{first[left].mean():.4g} → {last[left].mean():.4g} on average over {int(left.sum())}"
