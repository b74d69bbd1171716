"""The one verb: solve(system, task, solver) → Trajectory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj
from tqdm import tqdm

from linfa.arrays import to_numpy
from linfa.errors import DivergenceError, InputError
from linfa.laws.interface import AbstractLaw
from linfa.laws.ledger import Entry, Ledger
from linfa.provenance import describe
from linfa.rules.interface import State
from linfa.solvers.ensemble import chosen
from linfa.solvers.interface import AbstractSolver, Outcome
from linfa.solvers.members import broken, summary
from linfa.systems.interface import AbstractSystem, Labelled
from linfa.systems.width_free import WidthFree
from linfa.task import Task
from linfa.trajectory import Trajectory
from linfa.version import __version__
from linfa.weights import Weights

Observable = Callable[[Weights], Any]
"""A function of the weights that gives a number or an array of a fixed shape."""

MOST_BYTES = 4 * 2**30
"""States that would take more memory than this are not kept without being asked about."""


def solve(
    system: AbstractSystem,
    task: Task,
    solver: AbstractSolver,
    *,
    laws: Iterable[AbstractLaw] = (),
    observe: Mapping[str, Observable] | None = None,
    states: bool = True,
    progress: bool = False,
) -> Trajectory:
    """Let a system learn a task, and return what was seen on the way.

    Args:
        system: what evolves, from where, and under which rule.
        task: what is to be learnt.
        solver: how time passes.
        laws: laws that are watched at every step, with the ledger where steps are finite; recorded as drift, residual
            (drift less account), scale (the sum of magnitudes of their terms) and bound (what rounding or tolerance
            can have done).
        observe: further observables by name, functions of the weights.
        states: whether the weights are kept at every saved moment.
        progress: whether a bar is shown.

    Returns:
        The run: loss, weight and update alignment, observables, laws, states, and provenance.

    Raises:
        InputError: where network, task and solver do not fit, or the states would not fit in memory.
        NoLawError: where a law does not hold for the rule.
        DivergenceError: where the weights leave the finite numbers, of a batch those of every member; its `partial` is
            the run until then.

    Members of a batch that diverge are nan from there on, in observables too, and named in `run.status`. An observable
    of a batch gives one value per member, leading axes first; one that mixes the members is nan where one is lost.

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> rule = linfa.FeedbackAlignment.random(net, rng=2)
    >>> law, steps = linfa.laws.MatrixLaw(), linfa.Descent(0.1, steps=50, momentum=0.9)
    >>> run = solve(linfa.Full(net, rule), task, steps, laws=[law])
    >>> bool(law.residual(run).max() < 1e-14), bool(law.drift(run).max() > 1e-3)
    (True, True)
    """
    watched = (laws,) if isinstance(laws, AbstractLaw) else tuple(laws)
    _check_kinds(system, task, solver, watched, observe)
    system.check(task.n_in, task.n_out)
    ran = solver.takes(system)
    numbers = sum(math.prod(part.shape) for _, part in ran.parts(ran.start()).values())
    needed = 8 * solver.moments() * numbers
    if states and needed > MOST_BYTES:
        raise InputError(
            f"keeping {solver.moments()} states of {numbers:,} numbers takes {needed / 2**30:.1f} GiB: "
            "lower the solver's saves, or solve with states=False and name what you need in laws or observe"
        )
    observe = dict(observe or {})
    _check_names(system, watched, observe)
    _check_lift(system, watched, observe)
    with tqdm(total=100, disable=not progress, desc=system.rule.name, unit="%", leave=False) as bar:
        seen = _Seen(ran, task, watched, observe, states, bar)
        outcome = solver.run(ran, task, seen)
    attrs = {
        "summary": summary(outcome.status),
        "system": type(system).__name__,
        "evaluations": outcome.evaluations,
        "steps": outcome.steps,
        "stepped": int(solver.stepped),
        "depth": len(system.widths) - 1,
        "members": " ".join(seen.members),
        "parts": " ".join(ran.parts(ran.start())),
        "laws": " ".join(law.name for law in watched),
        "learnt": len(ran.start().learnt),
        "provenance": json.dumps(
            {"linfa": __version__, "system": describe(system), "task": describe(task), "solver": describe(solver)}
        ),
    }
    run = Trajectory(seen.dataset(attrs, outcome), system.rule, outcome.pieces, ran)
    if outcome.lost.all():
        error = DivergenceError(f"the run {run.summary}" if not seen.lead else run.summary)
        error.partial = run
        raise error
    return run


def _check_kinds(system: Any, task: Any, solver: Any, laws: Any, observe: Any) -> None:
    """Raise InputError where an argument is not what its place is for."""
    needed = (
        (system, AbstractSystem, "linfa.Full"),
        (task, Task, "linfa.Task"),
        (solver, AbstractSolver, "linfa.Flow"),
    )
    for thing, kind, example in needed:
        if not isinstance(thing, kind):
            raise InputError(
                f"solve takes a system, a task and a solver, in this order; got {type(thing).__name__} where "
                f"{example}(…) was needed"
            )
    if not all(isinstance(law, AbstractLaw) for law in laws):
        raise InputError(f"laws are objects such as linfa.laws.MatrixLaw(); got {laws!r}")
    if observe is not None and not isinstance(observe, Mapping):
        raise InputError(f"observables are given by name, {{name: function}}; got {type(observe).__name__}")


def _check_names(system: AbstractSystem, laws: tuple[AbstractLaw, ...], observe: Mapping[str, Observable]) -> None:
    """Raise InputError, before anything runs, where two records would have one name."""
    names = [law.name for law in laws]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"each law is watched once; {', '.join(twice)} came twice")
    taken = {"time", "step", "layer", "hidden", "feedback_layer", "loss", "weight_alignment", "update_alignment"}
    taken |= {
        "layer_law",
        "status",
        "reached",
        *system.parts(system.start()),
        *(f"{n}_{part}" for n in names for part in Entry._fields),
    }
    clash = sorted(taken & set(observe))
    if clash:
        raise InputError(f"observables need names of their own; {', '.join(clash)} is recorded already: rename it")


def _check_lift(system: AbstractSystem, laws: tuple[AbstractLaw, ...], observe: Mapping[str, Observable]) -> None:
    """Raise InputError, before anything runs, where laws or observables need weights that do not exist."""
    if not (laws or observe) or not isinstance(system, WidthFree) or system.weights is not None:
        return
    what = f"laws=[{', '.join(map(repr, laws))}]" if laws else f"observe={{{', '.join(map(repr, observe))}}}"
    raise InputError(
        f"{what} asks for weights, and this network was drawn without its weights: leave it out (what can be known "
        "without them is recorded anyway), or give them, linfa.WidthFree(linfa.Weights.standard(widths, rng), rule)"
    )


class _Seen:
    """The recorder: one row per saved moment and observable."""

    def __init__(
        self,
        system: AbstractSystem,
        task: Task,
        laws: tuple[AbstractLaw, ...],
        observe: dict[str, Observable],
        states: bool,
        bar: Any,
    ) -> None:
        self.system, self.observe, self.states, self.bar = system, observe, states, bar
        start = system.start()
        self.ledgers = tuple(Ledger(law, system.rule, system.full(start)) for law in laws)
        self.batch = task.everything(start.weights[0])
        self.lead = tuple(system.lead)
        self.members = tuple(f"member_{i}" for i in range(len(self.lead)))
        self.times: list[float] = []
        self.steps: list[int] = []
        self.dims: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, list[np.ndarray]] = {}

    def save(self, time: float, step: int, state: State) -> None:
        """Record a moment."""
        self.times.append(time)
        self.steps.append(step)
        system, batch = self.system, self.batch
        self._put("loss", self.members, batch.value(system.passes(state, batch, step).activities[-1]))
        self._label(system.alignments(state, batch, step))
        if self.observe:
            self._observe(state, step)
        for ledger in self.ledgers:
            for part, values in ledger.read(system.full(state))._asdict().items():
                self._layers(f"{ledger.law.name}_{part}", "hidden", values)
        if self.states:
            self._label(system.parts(state))

    def advance(self, fraction: float) -> None:
        """Move the bar."""
        self.bar.update(round(100 * fraction) - self.bar.n)

    def dataset(self, attrs: dict[str, Any], outcome: Outcome) -> Any:
        """Return what was recorded, and how the run ended, as a labelled dataset."""
        import xarray as xr

        L = len(self.system.widths) - 1
        first = 2 if self.system.rule.layerwise else 1
        coordinates = {
            "time": ("time", self.times),
            "step": ("time", self.steps),
            "layer": ("layer", np.arange(1, L + 1)),
            "feedback_layer": ("feedback_layer", np.arange(first, first + L - 1)),
            "hidden": ("hidden", np.arange(1, L)),
        }
        variables = {name: (("time", *self.dims[name]), np.stack(rows)) for name, rows in self.rows.items()}
        variables |= {"status": (self.members, outcome.status), "reached": (self.members, outcome.reached)}
        return xr.Dataset(variables, coords=coordinates, attrs=attrs)

    def _observe(self, state: State, step: int) -> None:
        """Record the observables; weights are finite numbers, so the start stands in for members that were lost."""
        lost = broken(state, self.lead) > 0
        weights = self.system.lift(chosen(~lost, state, self.system.start()) if lost.any() else state)
        for name, function in self.observe.items():
            value = function(weights)
            value = np.array(to_numpy(value) if is_array_api_obj(value) else value)
            if name in self.rows and value.shape != self.rows[name][0].shape:
                raise InputError(
                    f"observables keep their shape; {name} went from {self.rows[name][0].shape} to {value.shape}"
                )
            each = value.shape[: len(self.lead)] == self.lead
            if not np.all(np.isfinite(value[~lost] if each else value)):
                raise InputError(f"observables must be finite; {name} gave {value} at step {step}")
            if lost.any():
                value = value.astype(np.result_type(value, np.float32))
                value[lost if each else ...] = np.nan
            axes = tuple(f"{name}_{axis}" for axis in range(value.ndim))
            self._put(name, (*self.members, *axes[len(self.lead) :]) if each else axes, value)

    def _label(self, labelled: Labelled) -> None:
        for name, (dims, value) in labelled.items():
            self._put(name, (*self.members, *dims), value)

    def _layers(self, name: str, axis: str, values: tuple[Any, ...]) -> None:
        shape = self.lead
        rows = [np.broadcast_to(to_numpy(v), shape) for v in values]
        self._put(name, (*self.members, axis), np.stack(rows, axis=-1) if rows else np.zeros((*shape, 0)))

    def _put(self, name: str, dims: tuple[str, ...], value: Any) -> None:
        self.dims[name] = dims
        # A copy: solvers may go on in the same memory.
        self.rows.setdefault(name, []).append(np.array(to_numpy(value)))


__all__ = ["Observable", "Outcome", "solve"]
