"""A batch of networks, member by member: the size of each state, steps of different lengths, who is still alive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

from linfa.arrays import Array, like, to_numpy
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


def at_rest(velocity: State, state: State, steady: float, lead: tuple[int, ...]) -> PerMember:
    """Return which members move no more: ‖velocity‖ ≤ steady · (1 + ‖state‖)."""
    return sizes(velocity, lead) <= steady * (1 + sizes(state, lead))


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


class Layout:
    """Where the numbers of a state lie in one row per member, and back.

    Args:
        state: any state of the system.
        lead: the shape of the batch.

    >>> layout = Layout(State((np.zeros((2, 1, 3)), np.zeros((2, 1, 1)))), (2,))
    >>> rows = np.arange(8.0).reshape(2, 4)
    >>> layout.state(rows).weights[1][:, 0, 0].tolist(), bool((layout.rows(layout.state(rows)) == rows).all())
    ([3.0, 7.0], True)
    """

    def __init__(self, state: State, lead: tuple[int, ...]) -> None:
        shapes = [tuple(a.shape) for a in parts(state)]
        # Looked up once: a run asks for it many thousand times.
        self._xp = array_namespace(*parts(state))
        ends = np.cumsum([math.prod(shape[len(lead) :]) for shape in shapes]).tolist()
        self.lead, self.L, self.size = lead, len(state.weights), ends[-1]
        self._cuts = [(slice(a, b), s) for a, b, s in zip([0, *ends], ends, shapes, strict=False)]

    def rows(self, state: State) -> Array:
        """Return the numbers of a state, shape (*lead, size)."""
        reshape, flat = self._xp.reshape, (*self.lead, -1)
        return self._xp.concat([reshape(a, flat) for a in parts(state)], axis=-1)

    def state(self, rows: Array) -> State:
        """Return the state whose numbers lie in rows; it shares their memory."""
        made = tuple([self._xp.reshape(rows[..., cut], shape) for cut, shape in self._cuts])
        return State(made[: self.L], made[self.L :])
