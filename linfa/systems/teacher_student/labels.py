"""What was seen of a teacher and a student, as a labelled dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from linfa.arrays import Array, cosine
from linfa.systems.teacher_student.moments import Overlaps
from linfa.version import __version__

if TYPE_CHECKING:
    import xarray as xr


def labelled(
    times: np.ndarray,
    run: Overlaps,
    error: Array,
    feedback: Array,
    axes: tuple[str, ...],
    system: Any,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return the run by time, `axes` and unit, with how it was made.

    Args:
        times: shape (times,).
        run: Q, R and v, with an axis for time in front.
        error: ε_g, shape (times, ...).
        feedback: v^r, shape (..., K), broadcast against v.
        axes: the names of the axes between time and the units.
        system: the description of the system.
        attrs: how it was run.
    """
    import xarray as xr

    dims = ("time", *axes)
    variables = {
        "generalisation_error": (dims, error),
        "Q": ((*dims, "student", "other_student"), run.Q),
        "R": ((*dims, "student", "teacher"), run.R),
        "v": ((*dims, "student"), run.v),
        "weight_alignment": (dims, cosine(feedback[..., None], run.v[..., None])),
    }
    made = json.dumps({"linfa": __version__, "system": system, **attrs})
    return xr.Dataset(variables, coords={"time": times}, attrs={**attrs, "provenance": made})
