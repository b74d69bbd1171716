"""The ledger: the exact account of how finite steps, momentum and decay change a law's quantity.

SGD as in torch, v⁺ = μv + U − λs and s⁺ = s + ηv⁺ (no dampening, no Nesterov). Because dQ(s)[U] = 0,

    Q(s⁺) − Q(s) = η dQ(s)[μv − λs] + D(s, ηv⁺)

exactly, at every step: *quantity − account* stays put to rounding, in any precision. Theory's D1 (plain steps) and D3
(its scalar recursion per neuron) are special cases. Derived in theory/ledger.
"""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.laws.interface import AbstractLaw, Layers
from linfa.rules.interface import AbstractRule, State


class Entry(NamedTuple):
    """What the ledger says of a moment, one number per hidden layer (and per network of a batch)."""

    drift: Layers
    """max |Q − Q(0)|."""
    residual: Layers
    """max |Q − Q(0) − account|: what remains unexplained."""
    scale: Layers
    """The largest sum of magnitudes of the terms of one component."""
    bound: Layers
    """What rounding (after steps) or the solver's tolerance (in a flow) can have done, summed over the run."""


class Ledger:
    """The running account of one law along one run.

    Args:
        law: the law.
        rule: the rule of the run.
        state: the state at the start.

    Raises:
        NoLawError: where the law does not hold for the rule.
    """

    def __init__(self, law: AbstractLaw, rule: AbstractRule, state: State) -> None:
        law.check(rule)
        self.law, self.rule = law, rule
        self.start = law.quantity(rule, state)
        self.account = tuple(0 * q for q in self.start)
        self.error = tuple(0 * s for s in law.sensitivity(rule, state, state.norms()))

    def step(self, before: State, after: State, rate: float, drive: State, sizes: State, unit: float) -> None:
        """Enter one step s⁺ = s + η v⁺, v⁺ = drive + U.

        Args:
            before: s.
            after: s⁺.
            rate: η.
            drive: μv − λs, what momentum and decay add to the rule's own update.
            sizes: for each part, the sum of norms of what was added up to make v⁺.
            unit: relative rounding error of one step's sums: eps times the number of terms.
        """
        # The step that was really taken: s⁺ − s differs from ηv⁺ by the rounding of s⁺.
        u = after.plus(-1.0, before)
        first = self.law.differential(self.rule, before, drive)
        second = self.law.defect(self.rule, before, u)
        self.account = tuple(a + rate * d + b for a, d, b in zip(self.account, first, second, strict=True))
        self.widen(before, after, before.norms().plus(1.0, after.norms()).plus(rate, sizes).times(unit))

    def widen(self, before: State, after: State, sizes: State) -> None:
        """Add to the bound what errors of the given sizes, made between two states, can do to the quantity."""
        for state in (before, after):
            more = self.law.sensitivity(self.rule, state, sizes)
            self.error = tuple(e + m for e, m in zip(self.error, more, strict=True))

    def read(self, state: State) -> Entry:
        """Return drift, residual, scale and bound at a state."""
        batch = state.weights[0].ndim - 2
        drift = tuple(q - q0 for q, q0 in zip(self.law.quantity(self.rule, state), self.start, strict=True))
        residual = tuple(d - a for d, a in zip(drift, self.account, strict=True))
        return Entry(
            tuple(largest(d, batch) for d in drift),
            tuple(largest(r, batch) for r in residual),
            self.law.terms(self.rule, state),
            self.error,
        )


def largest(array: Array, batch: int) -> Array:
    """Return max |array| over all but the first `batch` axes; zero where a law has no component.

    >>> import numpy as np
    >>> largest(np.array([[1.0, -3.0]]), 1)
    array([3.])
    """
    xp = array_namespace(array)
    axes = tuple(range(batch, array.ndim))
    if 0 in array.shape[batch:]:
        return xp.sum(array, axis=axes)
    return xp.max(xp.abs(array), axis=axes)
