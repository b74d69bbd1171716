"""What closed forms ask of a network, a rule and a task; each says which hypothesis failed, and by how much.

Hypotheses are exact; numbers are judged to `SLACK`, relative to their own size: what whitening or a singular value
decomposition in double precision leaves. A hypothesis missed by less moves the solution by about as little.
"""

from __future__ import annotations

import math

import numpy as np

from linfa.arrays import Array, to_numpy
from linfa.errors import InputError
from linfa.losses import Squared
from linfa.rules import Backprop
from linfa.rules.interface import AbstractRule, State
from linfa.task import Task
from linfa.weights import Weights

SLACK = 1e-10
"""How far from exact a hypothesis may be, relative to the size of what it speaks of."""


def require(holds: bool | np.bool_, form: str, hypothesis: str, found: str) -> None:
    """Raise InputError, naming the hypothesis that failed, unless it holds.

    >>> require(False, "E2", "Σ_xx = I", "it is off by 1")
    Traceback (most recent call last):
    linfa.errors.InputError: E2 needs Σ_xx = I; it is off by 1
    """
    if not holds:
        raise InputError(f"{form} needs {hypothesis}; {found}")


def matrices(weights: Weights, form: str, depth: int | None = None) -> tuple[np.ndarray, ...]:
    """Return the weights of one network as float64 matrices, of a given depth where one is asked for."""
    one = all(W.ndim == 2 for W in weights)
    require(one, form, "one network", "the weights have leading axes: index them")
    if depth is not None:
        require(weights.depth == depth, form, f"{depth} layers", f"this network has {weights.depth}")
    return tuple(np.asarray(to_numpy(W), dtype=float) for W in weights)


def squared(task: Task, weights: Weights, form: str) -> np.ndarray:
    """Return Σ_yx of a squared-loss task that fits the network."""
    found = type(task.loss).__name__
    require(isinstance(task.loss, Squared), form, "the squared loss", f"this task has {found}")
    ends = weights.widths[0], weights.widths[-1]
    fits = ends == (task.n_in, task.n_out)
    require(fits, form, f"a task of {ends[0]} inputs and {ends[1]} outputs", f"this one has {task.n_in}, {task.n_out}")
    return np.asarray(task.cross, dtype=float)


def whitened(task: Task, weights: Weights, form: str) -> np.ndarray:
    """Return Σ_yx of a whitened squared-loss task, Σ_xx = I."""
    cross = squared(task, weights, form)
    off = float(np.abs(task.second - np.eye(task.n_in)).max())
    require(off <= SLACK * task.n_in, form, "whitened inputs, Σ_xx = I", f"an entry is off by {off:.3g}: whiten them")
    return cross


def fixed_paths(rule: AbstractRule, weights: Weights, form: str) -> tuple[np.ndarray, ...]:
    """Return the feedback paths M_1 … M_L of a rule whose paths never move."""
    why = f"{rule.name} moves its own, or has none"
    require(rule.fixed_path, form, "a fixed feedback path (feedback alignment, ρ-FA, direct feedback)", why)
    rule.check(weights)
    paths = rule.paths(State(weights.matrices, rule.start(weights)))
    return tuple(np.asarray(to_numpy(M), dtype=float) for M in paths)


def backprop(rule: AbstractRule, form: str) -> None:
    """Raise InputError unless the rule is backprop."""
    require(isinstance(rule, Backprop), form, "backprop", f"the rule is {rule.name}")


def finite(values: Array, what: str) -> np.ndarray:
    """Return values as float64, or say that they must be finite."""
    array = np.asarray(to_numpy(values) if hasattr(values, "dtype") else values, dtype=float)
    if not np.all(np.isfinite(array)):
        raise InputError(f"{what} must be finite; got {array}")
    return array


def moments(t: Array) -> np.ndarray:
    """Return times as float64, or say that they must be finite and ≥ 0."""
    times = finite(t, "times")
    if np.any(times < 0):
        raise InputError(f"times must be ≥ 0, the start is at t = 0; got {float(times.min())}")
    return times


def number(value: float, what: str) -> float:
    """Return a finite number, or say that it must be one."""
    if not math.isfinite(value):
        raise InputError(f"{what} must be a finite number; got {value}")
    return float(value)
