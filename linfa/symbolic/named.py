"""The rules that are counted by name: the only table of their names, and the feedback paths of those whose paths stay.

`closure` draws the letters as integers, `orbit_rank` as Gaussian numbers; the paths made of them are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeAlias

import numpy as np

from linfa.errors import InputError
from linfa.symbolic.dual import Array

Draw: TypeAlias = Callable[..., Array]


def _feedback_alignment(weights: Sequence[Array], draw: Draw) -> list[Array]:
    """M_l = B_{l+1}ᵀ M_{l+1}."""
    return list(accumulate((draw(*W.shape).T for W in reversed(weights[1:])), _chain, initial=_unit(weights)))[::-1]


def _chain(M: Array, Bt: Array) -> Array:
    return np.asarray(Bt @ M)


def _direct(weights: Sequence[Array], draw: Draw) -> list[Array]:
    """M_l = F_lᵀ."""
    unit = _unit(weights)
    return [*(draw(W.shape[0], len(unit)) for W in weights[:-1]), unit]


def _read_out(weights: Sequence[Array], _draw: Draw) -> list[Array]:
    """M_l = 0 below the read-out."""
    unit = _unit(weights)
    return [*(np.zeros((W.shape[0], len(unit)), dtype=int).astype(W.dtype) for W in weights[:-1]), unit]


def _unit(weights: Sequence[Array]) -> Array:
    return np.eye(weights[-1].shape[0], dtype=int).astype(weights[-1].dtype)


FIXED: dict[str, Callable[[Sequence[Array], Draw], list[Array]]] = {
    "fa": _feedback_alignment,
    "dfa": _direct,
    "rho-fa": _feedback_alignment,
    "readout": _read_out,
}
"""Rules whose paths M_1, …, M_L = I stay: name → (weights, draw of a matrix of a shape) ↦ the paths."""

RULES = ("bp", *FIXED, "kp")
"""All rules that are counted by name."""

_NOT_COUNTED = {
    "dfa-virtual": 'its weights move as those of "dfa": count that; the virtual read-outs only watch',
    "interpolated": "its feedback has an α of its own: linfa.symbolic.closure(widths, linfa.symbolic.interpolated(α)) "
    "counts its laws",
    "brsf": "its feedback is drawn anew at every step, so it is no flow whose laws could be counted",
}
_NO_POLYNOMIAL = (
    "its feedback is no polynomial of the weights, so there is no exact closure to count; linfa.symbolic.find decides "
    "whether the feedback has a potential, which is a law for each neuron"
)


def check_rule(rule: str, counted_by: str, known: Sequence[str] = RULES) -> str:
    """The name of a rule that can be counted.

    Raises: InputError for the others: why it cannot be counted for a rule of `linfa.rules`, else which ones can.

    >>> check_rule("dfa", "closure")
    'dfa'
    """
    if rule in known:
        return rule
    from linfa.rules import REGISTRY

    if rule in RULES:
        raise InputError(f"{counted_by} does not count {rule!r}: linfa.symbolic.closure does, by the same name")
    if rule in REGISTRY:
        raise InputError(f"{counted_by} does not count {rule!r}: {_NOT_COUNTED.get(rule, _NO_POLYNOMIAL)}")
    raise InputError(f"unknown rule {rule!r}; the rules that {counted_by} counts by name are {', '.join(known)}")
