"""What a condition is: one signed margin, positive where the condition holds, and one statement of what follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from linfa.arrays import Array, to_numpy
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, State
from linfa.task import Task

if TYPE_CHECKING:
    import xarray as xr

    from linfa.trajectory import Trajectory


class AbstractCondition(ABC):
    """A condition on a rule, a state and, for some, a task. Margins are floating-point; `certify` decides exactly."""

    name: ClassVar[str]
    """The name in results and on axes."""
    statement: ClassVar[str]
    """What holds, and what follows from it, in one sentence."""
    latex: ClassVar[str]
    """The margin in LaTeX."""
    axis: ClassVar[str | None] = None
    """The last axis of the margin, "hidden" where there is one margin per hidden layer; None: one per network."""

    @abstractmethod
    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return the signed margin, positive where the condition holds.

        Args:
            rule: how the error comes back.
            state: the weights; leading axes are a batch of networks.
            task: what is learnt; some conditions do not look at it.

        Returns:
            Shape (...,), or (..., L−1) where `axis` is "hidden".

        Raises:
            InputError: where a task is needed and not given, or the network does not fit.
            NoLawError: where the condition does not speak of the rule; the message is the reason.
        """

    def along(self, run: Trajectory, task: Task | None = None) -> xr.DataArray:
        """Return the margin at every saved moment of a run, by (time, members, hidden where `axis` says so).

        Raises:
            InputError: where the run kept no states, or as for `margin`.
        """
        import xarray as xr  # labelled results load xarray; conditions alone need not

        rows = []
        for state in run.states():
            values = to_numpy(self.margin(run.rule, state, task))
            own = values.shape[values.ndim - 1 :] if self.axis else ()
            rows.append(np.broadcast_to(values, (*state.weights[0].shape[:-2], *own)))
        dims = ("time", *run.members, *((self.axis,) if self.axis else ()))
        coordinates: dict[str, Any] = {"time": run.dataset["time"]}
        if self.axis:
            coordinates[self.axis] = np.arange(1, run.depth)
        attrs = {"statement": self.statement, "latex": self.latex}
        return xr.DataArray(np.stack(rows), dims=dims, coords=coordinates, name=self.name, attrs=attrs)


def needs_task(task: Task | None, name: str) -> Task:
    """Return the task, or say that the condition looks at it."""
    if task is None:
        raise InputError(f"{name} depends on what is learnt: give the task, margin(rule, state, task)")
    return task


def needs_hidden(state: State, name: str) -> None:
    """Raise InputError where there is no hidden layer to speak of."""
    if len(state.weights) < 2:
        raise InputError(f"{name} speaks of hidden layers; this network has a single weight matrix and none")
