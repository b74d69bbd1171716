"""A rule as named arrays and plain numbers, and back: how a saved run keeps the rule it was made by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from linfa.arrays import to_numpy
from linfa.errors import ResultError
from linfa.rules.backprop import Backprop
from linfa.rules.batch_random_sign import BatchRandomSign
from linfa.rules.direct_feedback import DirectFeedback
from linfa.rules.feedback_alignment import FeedbackAlignment
from linfa.rules.interface import AbstractRule, State
from linfa.rules.interpolated import Interpolated
from linfa.rules.kolen_pollack import KolenPollack
from linfa.rules.sign_concordant import SignConcordant
from linfa.rules.strict_normal_sign import StrictNormalSign
from linfa.weights import Weights

CLASSES: dict[str, type[AbstractRule]] = {
    c.__name__: c
    for c in (
        Backprop,
        BatchRandomSign,
        DirectFeedback,
        FeedbackAlignment,
        Interpolated,
        KolenPollack,
        SignConcordant,
        StrictNormalSign,
    )
}
"""The rules that a file can be turned back into; a rule of a user's own adds itself here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Unrestored(AbstractRule):
    """The rule of a loaded run that is not known here: the run's records are whole, but laws cannot be evaluated anew.

    Args:
        made_by: the class that made the run.
    """

    name: ClassVar[str] = "unrestored"
    made_by: str

    def _unknown(self) -> ResultError:
        return ResultError(
            f"this run was made by a rule {self.made_by!r} that a file cannot be turned back into; make the rule again "
            "and give it to the law, or add the class to linfa.rules.restore.CLASSES before loading"
        )

    def signals(self, state: State, delta: Any) -> NoReturn:
        """Raise ResultError: the rule is not known."""
        raise self._unknown()

    def stand_ins(self, state: State) -> NoReturn:
        """Raise ResultError: the rule is not known."""
        raise self._unknown()

    def potential(self, k: int) -> NoReturn:
        """Raise ResultError: the rule is not known."""
        raise self._unknown()

    def check(self, weights: Weights) -> NoReturn:
        """Raise ResultError: the rule is not known."""
        raise self._unknown()


def pack(rule: AbstractRule) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a rule by name, and its class and plain fields.

    >>> arrays, about = pack(FeedbackAlignment((np.ones((2, 3)),)))
    >>> list(arrays), about["class"]
    (['rule_matrices_0'], 'FeedbackAlignment')
    """
    if type(rule).__name__ not in CLASSES:
        return {}, {"class": getattr(rule, "made_by", type(rule).__name__), "fields": {}}
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]  # every rule is a dataclass
        value = getattr(rule, field.name)
        if isinstance(value, tuple) and any(hasattr(v, "shape") for v in value):
            arrays |= {f"rule_{field.name}_{i}": to_numpy(v) for i, v in enumerate(value)}
        else:
            plain[field.name] = value
    return arrays, {"class": type(rule).__name__, "fields": plain}


def unpack(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> AbstractRule:
    """Return the rule that `pack` took apart, or `Unrestored` where its class is not known here."""
    name = about["class"]
    if name not in CLASSES:
        return Unrestored(name)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in about["fields"].items()}
    count: dict[str, int] = {}
    for key in arrays:
        stem = key.removeprefix("rule_").rsplit("_", 1)[0]
        count[stem] = count.get(stem, 0) + 1
    for stem, n in count.items():
        fields[stem] = tuple(arrays[f"rule_{stem}_{i}"] for i in range(n))
    return CLASSES[name](**fields)
