"""The rule of a network that was drawn without its matrices: feedback alignment, of which only Gram matrices exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from linfa.arrays import Array
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, State
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class Drawn(AbstractRule):
    """Feedback alignment (or ρ-FA) whose matrices were never made; a width-free system carries what is known of them.

    >>> Drawn().name
    'fa'
    """

    name: ClassVar[str] = "fa"
    layerwise: ClassVar[bool] = True
    fixed_path: ClassVar[bool] = True

    def signals(self, state: State, delta: Array) -> NoReturn:
        """Raise InputError: there are no matrices."""
        raise InputError(
            "this network was drawn without its feedback matrices; only its loss, outputs and alignments can be asked "
            "for"
        )

    def stand_ins(self, state: State) -> NoReturn:
        """Raise InputError: there are no matrices."""
        self.signals(state, None)

    def potential(self, k: int) -> NoReturn:
        """Raise InputError: there are no matrices."""
        raise InputError("this network was drawn without its feedback matrices, so no law can be evaluated on it")

    def check(self, weights: Weights) -> None:
        """Accept every network."""
