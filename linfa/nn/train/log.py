"""What those who look on have logged: who is asked when, and what of it a run that goes on keeps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from linfa.errors import InputError
from linfa.nn.train.processes import Processes
from linfa.nn.train.watch import Trained, Watch, Watcher


class Log:
    """The watchers of a run, and their entries.

    Args:
        watch: by name, what makes a watcher of what is `Trained`.
        processes: which process this is, among all; the mean over them is kept.
        device: of the model.
    """

    def __init__(self, watch: Watch, processes: Processes, device: torch.device) -> None:
        self.watch, self.processes, self.device = dict(watch), processes, device
        self.watchers: dict[str, Watcher] = {}
        self.entries: dict[str, dict[str, Any]] = {name: {"steps": [], "values": {}} for name in self.watch}
        self._before_end: dict[str, dict[str, Any]] = {}
        """The states of those who were asked because the run ended, as they were before that."""

    def begin(self, trained: Trained, state: Mapping[str, Any] | None, ended: bool) -> None:
        """Let the watchers take their places.

        Args:
            trained: what there is to look at.
            state: from `state_dict`, or None at the start.
            ended: whether no step is left to be made.

        Raises:
            InputError: where something cannot watch.
        """
        if state is not None:
            self.entries = state["logged"]
        for name, make in self.watch.items():
            watcher = make(trained)
            if not isinstance(watcher, Watcher):
                raise InputError(
                    f"the watcher {name!r} has every, log(step), state_dict() and load_state_dict(state); got "
                    f"{type(watcher).__name__}"
                )
            if state is not None:
                watcher.load_state_dict(state["watchers"][name] if ended else self._unended(name, state))
            self.watchers[name] = watcher

    def _unended(self, name: str, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a watcher's state without the entry that only a shorter run's end has asked for; take that out."""
        if name not in state.get("before_end", {}):  # of a checkpoint that is older, too
            return dict(state["watchers"][name])
        entries = self.entries[name]
        for column in (entries["steps"], *(c for places in entries["values"].values() for c in places.values())):
            column.pop()
        return dict(state["before_end"][name])

    def ask(self, step: int, last: bool) -> None:
        """Make the entries that are due after a step; after the last one, everybody's."""
        for name, watcher in self.watchers.items():
            due = step % watcher.every == 0
            if last and not due:
                # To look may change who looks, and in a longer run nobody would have looked now.
                self._before_end[name] = copy.deepcopy(watcher.state_dict())
            if last or due:
                self.entries[name]["steps"].append(step)
                for (key, place), value in self._looked_up(watcher.log(step)).items():
                    self.entries[name]["values"].setdefault(key, {}).setdefault(place, []).append(value.tolist())

    def _looked_up(self, log: Mapping[str, Any]) -> dict[tuple[str, str], Tensor]:
        """Return what was logged, by key and place, as the mean over processes; in one transfer from the device."""
        if "step" in log:
            raise InputError("a watcher cannot log anything under the name 'step': that is where it is logged")
        named = {key: found if isinstance(found, Mapping) else {"": found} for key, found in log.items()}
        flat = {(key, place): torch.as_tensor(v).detach() for key, found in named.items() for place, v in found.items()}
        if not flat:
            return {}
        row = torch.cat([v.to(self.device).double().reshape(-1) for v in flat.values()])
        parts = torch.split((self.processes.sum(row) / self.processes.size).cpu(), [v.numel() for v in flat.values()])
        return {at: part.view(v.shape) for (at, v), part in zip(flat.items(), parts, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs; every process takes part."""
        watchers = {name: watcher.state_dict() for name, watcher in self.watchers.items()}
        return {"logged": self.entries, "watchers": watchers, "before_end": self._before_end}

    def reports(self) -> dict[str, str]:
        """Return what those who have words for it say at the end."""
        able = {name: getattr(watcher, "report", None) for name, watcher in self.watchers.items()}
        return {f"{name}_report": report() for name, report in able.items() if report is not None}

    def close(self) -> None:
        """Let everybody look away."""
        for watcher in self.watchers.values():
            if (close := getattr(watcher, "close", None)) is not None:
                close()
