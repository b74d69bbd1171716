"""What a law is: one quantity, one statement, one exact account of what a finite step does to it.

The field U of a rule carries a law when the differential of the quantity Q vanishes along it, dQ(s)[U(s)] = 0, for any
error, any data, any state s. Everything else follows without another look at the rule:

* continuous time conserves Q;
* a step s → s + u with u = ηU changes Q by exactly its *defect* D(s, u) = Q(s + u) − Q(s) − dQ(s)[u];
* momentum and decay (v⁺ = μv + U − λs, s⁺ = s + ηv⁺) change Q by exactly η dQ(s)[μv − λs] + D(s, ηv⁺).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from linfa.arrays import Array
from linfa.errors import NoLawError
from linfa.rules.interface import AbstractRule, State

if TYPE_CHECKING:
    import xarray as xr

    from linfa.trajectory import Trajectory

Layers = tuple[Array, ...]
"""One array per hidden layer l = 1 … L−1."""


class AbstractLaw(ABC):
    """A conserved quantity, layer by layer, of every rule it applies to."""

    name: ClassVar[str]
    """The name in results and on axes."""
    statement: ClassVar[str]
    """The law in one sentence."""
    latex: ClassVar[str]
    """The conserved quantity in LaTeX."""

    @abstractmethod
    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError, with the reason, where the law does not hold for a rule."""

    @abstractmethod
    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return the two sides whose difference is conserved: incoming weights, and what they are traded against."""

    @abstractmethod
    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return dQ(s)[u], linear in u."""

    @abstractmethod
    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return D(s, u) = Q(s + u) − Q(s) − dQ(s)[u], written out, not subtracted."""

    @abstractmethod
    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return a bound on the sum of |terms| of dQ(s)[u] over all u whose parts have Frobenius norms ≤ sizes."""

    @abstractmethod
    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return the largest sum of |terms| that one component of Q is made of: what residuals are relative to."""

    def applies_to(self, rule: AbstractRule) -> bool:
        """Return whether the law holds for a rule; `check` gives the reason where it does not."""
        try:
            self.check(rule)
        except NoLawError:
            return False
        return True

    def quantity(self, rule: AbstractRule, state: State) -> Layers:
        """Return Q(s), layer by layer."""
        incoming, outgoing = self.sides(rule, state)
        return tuple(a - b for a, b in zip(incoming, outgoing, strict=True))

    def drift(self, run: Trajectory, rule: AbstractRule | None = None) -> xr.DataArray:
        """Return how far the quantity has moved from its start, relative to its terms, by (time, layer).

        Args:
            run: a trajectory that kept its states, or that was solved with this law among its `laws`.
            rule: evaluate the law as if the run had been made by another rule: a negative control.
        """
        from linfa.laws.record import drift  # labelled results load xarray; laws alone need not

        return drift(self, run, rule)

    def residual(self, run: Trajectory) -> xr.DataArray:
        """Return what the law leaves unexplained, relative to the law's terms, by (time, layer).

        In continuous time that is the drift. After finite steps it is the drift less the ledger's account, and zero to
        rounding; the ledger looks at every step, so the law must have been given to `solve` as one of its `laws`.

        Raises:
            NoLawError: where the rule has no such law, or the run stepped without the ledger.
        """
        from linfa.laws.record import residual

        return residual(self, run)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __eq__(self, other: Any) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))
