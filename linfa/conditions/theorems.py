"""The theorems that guarantee convergence, each with its proof in brief and every hypothesis as code.

Throughout: continuous time, squared loss L = ½E‖y − f‖², X = W_L … W_1, X* = Σ_yxΣ_xx⁺, L* the least loss of any linear
map, E = Σ_yx − XΣ_xx = (X* − X)Σ_xx, Φ = ∫E dt. λ is the smallest non-zero eigenvalue of Σ_xx. The proofs in full:
theory's claims convergence, lyapunov and rates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from linfa.conditions.exact import (
    MOST_EXACT,
    Exact,
    Interval,
    enclosed,
    identity,
    inertia,
    rank,
    root,
    smallest,
    surely,
    surely_positive_definite,
)
from linfa.losses import Squared
from linfa.rules import Backprop, DirectFeedback, FeedbackAlignment
from linfa.rules.interface import AbstractRule
from linfa.solvers.interface import AbstractSolver
from linfa.task import Task
from linfa.weights import Weights

UNDECIDED = f"undecided (exact elimination stops at {MOST_EXACT} rows)"


FIXED = (FeedbackAlignment, DirectFeedback)
"""The rules whose path is known not to move. A rule of a user's own, or one derived from these, is not vouched for."""


@dataclass(frozen=True, eq=False)
class Case:
    """One network, one rule, one task, one way for time to pass."""

    weights: Weights
    rule: AbstractRule
    task: Task
    solver: AbstractSolver | None = None

    @cached_property
    def W(self) -> tuple[Exact, ...]:
        """W_1 … W_L, exactly."""
        return tuple(Exact.of(W) for W in self.weights)

    @cached_property
    def M(self) -> tuple[Exact, ...]:
        """M_1 … M_L = I of a fixed path, exactly (the rule is feedback alignment or direct feedback)."""
        last = identity(self.weights.widths[-1])
        if isinstance(self.rule, DirectFeedback):
            return (*(Exact.of(F).mT for F in self.rule.matrices), last)
        assert isinstance(self.rule, FeedbackAlignment)
        M = [last]
        for B in reversed(self.rule.matrices):
            M.insert(0, Exact.of(B).mT @ M[0])
        return tuple(M)

    @cached_property
    def start(self) -> Exact:
        """B C_1 Bᵀ, C_1 = W_1W_1ᵀ − sym(BᵀW_2), of two layers: exact, p × p, never anything larger."""
        (W_1, W_2), B = self.W, self.M[0].mT
        BW, mixed = B @ W_1, (B @ B.mT) @ (W_2 @ B.mT)
        return BW @ BW.mT - mixed - mixed.mT

    @cached_property
    def setting(self) -> tuple[str, ...]:
        """What is wrong with the setting that all theorems share: flow, squared loss, moments of a distribution."""
        return tuple(_setting(self.task, self.solver))


class Verdict(NamedTuple):
    """What a theorem says of a case: which hypotheses fail, and by how much the quantitative one holds."""

    failures: tuple[str, ...]
    margin: Interval | None = None


class AbstractTheorem(ABC):
    """A sufficient condition for L(t) → L*."""

    name: ClassVar[str]
    """The name in certificates."""
    statement: ClassVar[str]
    """Hypotheses and conclusion in one sentence."""
    margin: ClassVar[str]
    """What the margin measures."""

    @abstractmethod
    def hypotheses(self, case: Case) -> Iterator[str]:
        """Yield, for every qualitative hypothesis that fails, the sentence that says so."""

    @abstractmethod
    def decide(self, case: Case) -> Verdict:
        """Decide the quantitative hypothesis, exactly; called only where all others hold."""

    def judge(self, case: Case) -> Verdict:
        """Return what fails, or the margin."""
        failures = case.setting or tuple(self.hypotheses(case))
        return Verdict(failures) if failures else self.decide(case)


class LyapunovTheorem(AbstractTheorem):
    """Two layers, B of full row rank, C_1 ⪯ 0 on range(Bᵀ): V = ½E‖Bᵀ(y−f)‖² never grows, and the loss reaches L*.

    V̇ = −‖BᵀEW_1ᵀ‖² − ½‖W_1ᵀBᵀE‖² + ½tr(EᵀB C_1 BᵀE) ≤ 0 (theory's A3; Lillicrap et al. 2016, Theorem 1, is C_1 = 0 and
    Σ_xx = I). Convergence itself is that of `ConvergenceTheorem`. The margin may be zero: C_1 = 0 is inside.
    """

    name = "lyapunov"
    statement = (
        "Feedback alignment of two linear layers by flow, squared loss, B of full row rank, C_1 ⪯ 0 on range(Bᵀ): "
        "½E‖Bᵀ(y−f)‖² never grows and the loss converges to its least value."
    )
    margin = "−λ_max(C_1) on range(Bᵀ), ≥ 0"

    def hypotheses(self, case: Case) -> Iterator[str]:
        """Two layers, fixed feedback."""
        yield from _two_layers(case)
        yield from _fixed(case)

    def decide(self, case: Case) -> Verdict:
        """BBᵀ ≻ 0, and −BC_1Bᵀ ⪰ 0."""
        failures = tuple(_full_column_rank(case, 1))
        if failures:
            return Verdict(failures)
        B = case.M[0].mT
        margin = smallest(-case.start, B @ B.mT)
        if margin is None:
            return Verdict((f"{UNDECIDED}: C_1 on range(Bᵀ) is singular to rounding and has {B.shape[0]} rows",))
        if margin[0] < 0:
            return Verdict((f"C_1 ⪯ 0 on range(Bᵀ) fails: −λ_max(C_1) there is {_shown(margin)} < 0",))
        return Verdict((), margin)


class RegressionTheorem(AbstractTheorem):
    """One layer: linear regression. Ẋ = (X* − X)Σ_xx, so L − L* ≤ e^{−2λt}(L(0) − L*)."""

    name = "regression"
    statement = "A single linear layer by flow, squared loss: the loss converges to its least value exponentially."
    margin = "σ_min(M_1) = σ_min(I) = 1"

    def hypotheses(self, case: Case) -> Iterator[str]:
        """One layer, and a rule whose top layer learns by the error itself."""
        if case.weights.depth != 1:
            yield f"a single layer is needed; this network has {case.weights.depth}"
        if type(case.rule) not in (*FIXED, Backprop):
            yield f"the rule must be feedback alignment, direct feedback or backprop; it is {case.rule.name}"

    def decide(self, case: Case) -> Verdict:
        """Nothing is left to decide."""
        return Verdict((), (1.0, 1.0))


class ConvergenceTheorem(AbstractTheorem):
    """Fixed feedback that every hidden layer hears in full: the loss reaches L* from *every* start, at any depth.

    ⟨U_L, W_L⟩ = ⟨E, X⟩, so H = ½‖W_L‖² − ⟨Φ, X*⟩ falls, Ḣ = −2(L − L*). With M_l = B_{l+1}ᵀM_{l+1} (direct
    feedback: B_{l+1}ᵀ := M_lM_{l+1}⁺) the matrix law's trace bounds every layer by the next, ‖W_l‖² ≤ ‖W_{l+1}‖² +
    constant, and W_1 = W_1(0) + M_1Φ with M_1 injective bounds ‖Φ‖ by ‖W_1‖: H is bounded below, so all weights and
    ∫(L − L*) are bounded, L − L* is Lipschitz in time, and it tends to zero. For feedback alignment M_1 injective makes
    every M_l so.
    """

    name = "convergence"
    statement = (
        "Feedback alignment or direct feedback by flow, linear layers at any depth, squared loss, feedback paths of "
        "full column rank: from every start the loss converges to its least value."
    )
    margin = "σ_min(M_1) > 0 (direct feedback: the least σ_min(M_l) of the hidden layers)"

    def hypotheses(self, case: Case) -> Iterator[str]:
        """Fixed feedback."""
        yield from _fixed(case)

    def decide(self, case: Case) -> Verdict:
        """M_lᵀM_l ≻ 0 for l = 1, and for every hidden layer under direct feedback."""
        layers = range(1, case.weights.depth) if type(case.rule) is DirectFeedback else (1,)
        failures = tuple(failure for l in layers for failure in _full_column_rank(case, l))
        if failures:
            return Verdict(failures)
        paths = [case.M[l - 1] for l in layers] or [case.M[0]]
        # Positive is proved by now; (0, ∞) says so where a nearly singular path of many columns allows no better.
        found = [root(smallest(M.mT @ M, identity(M.shape[1])) or (0.0, math.inf)) for M in paths]
        return Verdict((), (min(low for low, _ in found), min(high for _, high in found)))


class ImbalanceTheorem(AbstractTheorem):
    """Backprop, two layers, D = W_1W_1ᵀ − W_2ᵀW_2 with n_0 positive or p negative eigenvalues: exponential rate.

    D is conserved. W_1W_1ᵀ ⪰ D gives λ_min(W_1ᵀW_1) ≥ λ_{n_0}(D), W_2ᵀW_2 ⪰ −D gives λ_min(W_2W_2ᵀ) ≥ λ_p(−D), for
    ever; with m the larger, dL/dt = −‖EW_1ᵀ‖² − ‖W_2ᵀE‖² ≤ −m‖E‖² ≤ −2mλ(L − L*).
    (Eigenvalues in decreasing order; imbalance as in Tarmoun et al. 2021 and Min et al. 2021.)
    """

    name = "imbalance"
    statement = (
        "Gradient flow of two linear layers, squared loss, D = W_1W_1ᵀ − W_2ᵀW_2 with n_0 positive or p negative "
        "eigenvalues: L − L* ≤ e^{−2mλt}(L(0) − L*), m the margin, λ the smallest non-zero eigenvalue of Σ_xx."
    )
    margin = "max(λ_{n_0}(D), λ_p(−D)) > 0"

    def hypotheses(self, case: Case) -> Iterator[str]:
        """Two layers, backprop."""
        yield from _two_layers(case)
        if type(case.rule) is not Backprop:
            yield f"gradient flow is needed; the rule is {case.rule.name}"
        if case.weights.depth == 2 and case.weights.widths[1] > MOST_EXACT:
            yield f"{UNDECIDED}: D has {case.weights.widths[1]} rows"

    def decide(self, case: Case) -> Verdict:
        """The inertia of D."""
        n_0, n_1, p = case.weights.widths
        W_1, W_2 = case.W
        D = W_1 @ W_1.mT - W_2.mT @ W_2
        found = inertia(D)
        margins = []
        if found.positive >= n_0:
            margins.append(enclosed(D, identity(n_1), n_1 - n_0))
        if found.negative >= p:
            margins.append(enclosed(-D, identity(n_1), n_1 - p))
        if not margins:
            return Verdict(
                (
                    f"D = W_1W_1ᵀ − W_2ᵀW_2 needs n_0 = {n_0} positive or p = {p} negative eigenvalues; "
                    f"it has {found.positive} and {found.negative}",
                )
            )
        return Verdict((), (max(low for low, _ in margins), max(high for _, high in margins)))


THEOREMS: dict[str, AbstractTheorem] = {
    theorem.name: theorem
    for theorem in (
        LyapunovTheorem(),
        RegressionTheorem(),
        ConvergenceTheorem(),
        ImbalanceTheorem(),
    )
}
"""Every theorem by name, those that say more first."""


def _setting(task: Task, solver: AbstractSolver | None) -> Iterator[str]:
    """Yield what keeps a task and a solver outside of every theorem."""
    if solver is not None and solver.stepped:
        yield f"continuous time is needed; {type(solver).__name__} takes finite steps"
    if type(task.loss) is not Squared:
        yield f"the squared loss is needed; the task has {type(task.loss).__name__}"
    elif task.inputs is None:
        yield from _moments(task.second, task.cross)


def _moments(xx: np.ndarray, yx: np.ndarray) -> Iterator[str]:
    """Yield what keeps Σ_xx, Σ_yx from being moments, to the last bit; those of samples always are."""
    if not np.array_equal(xx, xx.T):
        yield "Σ_xx must be exactly symmetric; it is so only to rounding: use (Σ_xx + Σ_xxᵀ)/2"
    elif not surely_positive_definite(xx):
        if len(xx) > MOST_EXACT:
            yield f"{UNDECIDED}: Σ_xx is singular to rounding and has {len(xx)} rows; give the samples instead"
            return
        second = Exact.of(xx)
        found = inertia(second)
        if found.negative:
            yield f"Σ_xx ⪰ 0 is needed; it has {found.negative} negative eigenvalues, if only by rounding"
        elif rank(second.stacked(Exact.of(yx))) > len(xx) - found.zero:
            yield "the rows of Σ_yx must lie in range(Σ_xx), or no least loss exists; they do not, if only by rounding"


def _two_layers(case: Case) -> Iterator[str]:
    if case.weights.depth != 2:
        yield f"two linear layers are needed; this network has {case.weights.depth}"


def _fixed(case: Case) -> Iterator[str]:
    if type(case.rule) not in FIXED:
        yield f"fixed feedback (feedback alignment or direct feedback) is needed; the rule is {case.rule.name}"


def _full_column_rank(case: Case, l: int) -> Iterator[str]:
    """Yield where M_l (n_l, p) has not full column rank p; for two layers M_1 = Bᵀ."""
    M = case.M[l - 1]
    p, gram = M.shape[1], M.mT @ M
    if surely(gram):
        return
    if p > MOST_EXACT:
        yield f"{UNDECIDED}: M_{l}ᵀM_{l} is singular to rounding and has {p} rows"
    elif (found := inertia(gram).positive) < p:
        yield f"M_{l} must have full column rank p = {p}; its rank is {found}"


def _shown(interval: Interval) -> str:
    low, high = interval
    return f"{low:g}" if low == high else f"in [{low:.12g}, {high:.12g}]"
