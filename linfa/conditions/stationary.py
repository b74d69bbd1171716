"""No spurious stationary points: the first layer must hear every component of the error."""

from __future__ import annotations

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.conditions.interface import AbstractCondition
from linfa.rules.interface import AbstractRule, State
from linfa.task import Task


class NoSpuriousStationary(AbstractCondition):
    """σ_p(M_1) − (rounding): M_1 (n_1, p) of full column rank makes M_1E = 0 ⇒ E = 0, at any depth and loss.

    At a stationary point U_1 = M_1E = 0, so with rank M_1 = p every stationary point is one of zero error, E = 0. The
    margin is the p-th singular value of M_1 less max(n_1, p) eps σ_1(M_1), what rounding can make of an exact zero;
    where n_1 < p there is no p-th singular value and it counts as zero. For feedback alignment
    M_1 = (B_L … B_2)ᵀ, so every hidden width must be ≥ p. A rule whose path moves is judged at the state.
    Derived in theory's A6; `certify` decides the rank exactly.

    >>> import linfa, numpy as np
    >>> net = linfa.Weights.standard((3, 2, 2), rng=0)
    >>> ranks = [np.diag([4.0, 3.0]), np.diag([4.0, 0.0])]
    >>> rules = [linfa.FeedbackAlignment((B,)) for B in ranks]
    >>> [bool(NoSpuriousStationary().margin(rule, linfa.State(net.matrices)) > 0) for rule in rules]
    [True, False]
    """

    name = "no_spurious_stationary"
    statement = "Where the first layer hears every component of the error, learning stops only at zero error."
    latex = r"\sigma_p(M_1)"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return σ_p(M_1) less its rounding, shape (...,) of the feedback's own leading axes."""
        M = rule.paths(state)[0]
        n, p = M.shape[-2:]
        xp = array_namespace(M)
        s = xp.linalg.svdvals(M)
        smallest = s[..., p - 1] if n >= p else xp.zeros_like(s[..., 0])
        return smallest - max(n, p) * xp.finfo(M.dtype).eps * s[..., 0]
