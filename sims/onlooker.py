"""Who looks on while a study's net trains: a watcher of `linfa.nn.train` that is asked once, and keeps nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class AbstractOnlooker(ABC):
    """A watcher of runs that are never taken up again: studies keep whole cells, and no checkpoints."""

    every: int
    """Steps between two entries."""

    @abstractmethod
    def log(self, step: int) -> Mapping[str, Any]:
        """Return what is seen after a step, by name."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 -- nothing was kept
        """Take nothing."""
