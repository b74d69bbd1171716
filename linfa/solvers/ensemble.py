"""A batch of networks, member by member: the size of each state, steps of different lengths, who is still alive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

from linfa.arrays import Array, like, to_numpy
from linfa.errors import DivergenceError
from linfa.rules.interface import State

PerMember: TypeAlias = Any
"""One number per member on the host: an array of the batch's shape, which NumPy makes a scalar where that is ()."""


def parts(state: State) -> tuple[Array, ...]:
    """Return every array of a state."""
    return (*state.weights, *state.learnt)


def sizes(state: State, lead: tuple[int, ...]) -> PerMember:
    """Return the Frobenius norm of each member's whole state, shape `lead`, on the host.

    >>> sizes(State((np.array([[[3.0]], [[1.0]]]), np.array([[[4.0]], [[0.0]]]))), (2,))
    array([5., 1.])
    """
    squares = np.zeros(lead)
    for a in parts(state):
        xp = array_namespace(a)
        axes = tuple(range(len(lead), a.ndim))
        squares = squares + np.asarray(to_numpy(xp.sum(a * a, axis=axes)), dtype=float)
    return np.asarray(np.sqrt(squares))


def stretched(state: State, factor: PerMember) -> State:
    """Return each member's state times its own factor, one number per member."""

    def stretch(a: Array) -> Array:
        return like(factor.reshape(factor.shape + (1,) * (a.ndim - factor.ndim)), a) * a

    return state.map(stretch)


def chosen(mask: PerMember, yes: State, no: State) -> State:
    """Return `yes` for the members of a mask, and `no` for the others."""

    def choose(a: Array, b: Array) -> Array:
        xp = array_namespace(a)
        shaped = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return xp.where(xp.asarray(shaped, device=device(a)), a, b)

    if mask.all():
        return yes
    pairs = [choose(a, b) for a, b in zip(parts(yes), parts(no), strict=True)]
    return State(tuple(pairs[: len(yes.weights)]), tuple(pairs[len(yes.weights) :]))


def combined(start: State | None, factors: Sequence[float], states: Sequence[State]) -> State:
    """Return start + Σ_j factor_j · state_j.

    >>> one = State((np.ones((1, 1)),))
    >>> combined(None, [1.0, 2.0], [one, one]).weights[0]
    array([[3.]])
    """
    terms = list(zip(factors, states, strict=True))
    total = terms[0][1].times(terms[0][0]) if start is None else start.plus(*terms[0])
    for factor, state in terms[1:]:
        total = total.plus(factor, state)
    return total


def unit_of(reference: Array) -> float:
    """Return eps in the precision of an array."""
    return float(array_namespace(reference).finfo(reference.dtype).eps)


def verdict(lost: dict[int, str], lead: tuple[int, ...]) -> str:
    """Return the status of a run in which some members were lost.

    Args:
        lost: what happened, by the number of the member in the batch laid out flat.
        lead: the shape of the batch.

    Raises:
        DivergenceError: where none is left.

    >>> verdict({}, (8,)), verdict({2: "diverged at t = 0.5"}, (8,))
    ('finished', '1 of 8 lost: member 2 diverged at t = 0.5')
    """
    if not lost:
        return "finished"
    members = math.prod(lead)
    names = {i: ", ".join(map(str, np.unravel_index(i, lead))) if lead else "" for i in lost}
    told = "; ".join(f"member {names[i]} {what}" if lead else f"the run {what}" for i, what in lost.items())
    if len(lost) == members:
        raise DivergenceError(told)
    return f"{len(lost)} of {members} lost: {told}"
