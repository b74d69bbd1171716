"""From reduced coordinates back to weights, the only place of a width-free run that knows the width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from linfa.arrays import Array, eye
from linfa.matrices import outer
from linfa.rules.interface import AbstractRule, State
from linfa.systems.reduction import next_basis
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class Lift:
    """W_l = α W_l(0) + M_l Z_l with Z_l = z_l basis_{l−1}ᵀ; implicit where W_l(0) is.

    Args:
        weights: W(0).
        rule: a rule with a fixed path.
    """

    weights: Weights
    rule: AbstractRule

    @cached_property
    def frame(self) -> tuple[tuple[Array, Array, Array], ...]:
        """W_l(0), M_l and basis_{l−1} for l = 1 … L, kept from the first lift on."""
        basis, frame = eye(self.weights.widths[0], self.weights[0]), []
        for W, M in zip(self.weights, self.rule.paths(State(self.weights.matrices)), strict=True):
            frame.append((W, M, basis))
            basis = next_basis(W, M, basis)
        return tuple(frame)

    @cached_property
    def watched(self) -> bool:
        """Whether the rule learns: under a fixed path that is V_l = ∫ δ_Lᵀ h_l dt = Z_{l+1}, so it comes for free."""
        return len(self.rule.start(self.weights)) > 0

    def full(self, alpha: Array, rows: tuple[Array, ...]) -> State:
        """Return W_1 … W_L, and virtual read-outs V_l = Z_{l+1}, of α and z_1 … z_L."""
        Z = tuple(z @ basis.mT for (_, _, basis), z in zip(self.frame, rows, strict=True))
        W = tuple(alpha * W + outer(M, z, beside=W) for (W, M, _), z in zip(self.frame, Z, strict=True))
        return State(W, Z[1:] if self.watched else ())
