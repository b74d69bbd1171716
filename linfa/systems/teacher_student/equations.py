"""The equations of the order parameters through time, by an adaptive method of order 8."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from linfa.errors import DivergenceError, InputError
from linfa.systems.teacher_student.checks import least_eigenvalue
from linfa.systems.teacher_student.moments import Overlaps, covariance

METHOD = "DOP853"
"""SciPy's name of the method; moments between its steps come from its interpolant of order 7."""


def integrate(
    velocity: Callable[[Overlaps], Overlaps],
    start: Overlaps,
    T: np.ndarray,
    times: np.ndarray,
    rtol: float,
    atol: float,
    max_evaluations: int,
) -> tuple[list[Overlaps], int]:
    """Return the overlaps at the given times, and how often the velocity was computed.

    Raises:
        InputError: for tolerances out of range, or where the evaluations do not suffice.
        DivergenceError: where the overlaps leave the finite numbers, or are no longer those of any weights.
    """
    # An overlap may be zero, where rtol allows no error; the method divides by atol, and squares that.
    if not (1e-13 <= rtol < 1 and 1e-100 <= atol < math.inf):
        raise InputError(f"tolerances must satisfy 1e-13 ≤ rtol < 1 and atol ≥ 1e-100; got {rtol} and {atol}")
    reached, evaluations = 0.0, 0

    def flat(t: float, y: np.ndarray) -> np.ndarray:
        nonlocal reached, evaluations
        reached, evaluations = t, evaluations + 1
        if evaluations > max_evaluations:
            raise InputError(
                f"{max_evaluations} evaluations only reached t = {t:g} of {times[-1]:g}: the equations are stiff, as a "
                "large learning rate makes them; lower it, or allow more"
            )
        return _flat(velocity(_shaped(y, start)))

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        run = solve_ivp(flat, (0.0, float(times[-1])), _flat(start), METHOD, t_eval=times, rtol=rtol, atol=atol)
    if run.status != 0 or not np.all(np.isfinite(run.y)):
        raise DivergenceError(
            f"the order parameters diverged near t = {reached:g}: the learning rate is too large for these scales; "
            "lower it, start smaller, or shorten t"
        )
    states = [_shaped(y, start) for y in run.y.T]
    for t, state in zip(times, states, strict=True):
        C = covariance(state.Q, state.R, T)
        if np.any(least_eigenvalue(C) < -max(math.sqrt(rtol), 1e-8) * np.trace(C, axis1=-2, axis2=-1)):
            raise DivergenceError(f"at t = {t:g} the overlaps are those of no weights: accuracy was lost, lower rtol")
    return states, evaluations


def _flat(state: Overlaps) -> np.ndarray:
    return np.concatenate([part.ravel() for part in state])


def _shaped(y: np.ndarray, like: Overlaps) -> Overlaps:
    ends = np.cumsum([0, *(part.size for part in like)])
    return Overlaps(*(y[a:b].reshape(part.shape) for a, b, part in zip(ends, ends[1:], like, strict=False)))
