"""What a rule of the torch backend is: a frozen recipe that gives a layer its feedback."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from linfa.errors import InputError
from linfa.nn.feedback import AbstractFeedback


@dataclass(frozen=True)
class Place:
    """Where a layer stands in its model, as far as a rule needs to know.

    Args:
        name: the layer's name in the model.
        seed: of what is drawn for it, from the model's seed and the name.
        inputs: the shape of one sample's input; None where no example was given.
        outputs: the shape of one sample's output, likewise.
        final: the shape of one sample's output of the whole model, likewise.
    """

    name: str
    seed: int
    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | None = None
    final: tuple[int, ...] | None = None

    def across(self, what: str) -> tuple[int, int]:
        """Return (numbers in the model's output, numbers in the layer's input): the shape of F.

        Raises:
            InputError: where no example was given; `what` opens the sentence.

        >>> Place("fc", seed=0, inputs=(3, 2), final=(5,)).across("direct feedback")
        (5, 6)
        """
        if self.inputs is None or self.final is None:
            where = repr(self.name) if self.name else "the model itself"
            raise InputError(
                f"{what} to {where} needs the sizes of its input and of the model's output: give convert an example "
                "batch, convert(model, rule, example=batch)"
            )
        return math.prod(self.final), math.prod(self.inputs)


class AbstractRule(ABC):
    """How the error comes back, for any layer of any model."""

    name: ClassVar[str]
    """The registry name."""

    direct: ClassVar[bool] = False
    """Whether the signal comes from the model's output, past all layers between."""

    @abstractmethod
    def feedback(self, layer: nn.Module, place: Place) -> AbstractFeedback:
        """Return the feedback of one layer, drawn for its place.

        Raises:
            InputError: where the layer cannot be served.
        """

    def sized(self, layer: nn.Module) -> bool:
        """Return whether the feedback of a layer is made for one size of its maps."""
        return False
