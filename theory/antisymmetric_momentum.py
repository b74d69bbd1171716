"""D5: with heavy-ball momentum an antisymmetric matrix per hidden layer shrinks by exactly β at every step."""

from __future__ import annotations

import sympy

from linfa.symbolic import LAYER, B, Derivation, W, Word, interpolated, letter, substitute
from theory.claim import Claim, Proof
from theory.units import U, passed_on, sample

l = LAYER
α, β = sympy.symbols("α β")
η, λ, γ = sympy.symbols("η λ γ", positive=True)
NONE = sympy.Integer(0)


def v(layer: sympy.Expr) -> Word:
    """The momentum v_l of W_l."""
    return letter("v", *W(layer).shape, index=layer)


def anti(A: Word) -> Word:
    """A − Aᵀ."""
    return A - A.T


def feedback() -> Word:
    """B = αW_{l+1} + (1 − α)B_0."""
    return W(l + 1) * α + B(l + 1) * (1 - α)


def angular() -> Word:
    """𝒜_l = (v_l W_lᵀ − W_l v_lᵀ) − (Bᵀ v_{l+1} − v_{l+1}ᵀ B)."""
    return anti(v(l) @ W(l).T) - anti(feedback().T @ v(l + 1))


UPDATES = {W(l): U(l), W(l + 1): U(l + 1)}
PASSED_ON = (passed_on(feedback()),)
"""U_l W_lᵀ = Bᵀ U_{l+1}: all that is used of the rule."""


def heavy_ball(updates: dict[Word, Word], decay: sympy.Expr = NONE) -> dict[Word, Word]:
    """One step: v ← βv + η(U − λW), W ← W + v."""
    after = {v(k): v(k) * β + (updates[W(k)] - W(k) * decay) * η for k in (l, l + 1)}
    return after | {W(k): W(k) + after[v(k)] for k in (l, l + 1)}


def derive(proof: Proof) -> None:
    """The square v vᵀ is symmetric and drops out; U Wᵀ = Bᵀ U does the rest."""
    proof.say("Heavy ball: v ← βv + ηU, W ← W + v, in linear nets, for B = αW + (1 − α)B_0.")
    field = interpolated(α).flow(l).velocity
    proof.equal("U_l W_lᵀ = Bᵀ U_{l+1}", field[W(l)] @ W(l).T, feedback().T @ field[W(l + 1)])
    proof.equal(
        "𝒜_l ← β𝒜_l, exactly, at every η and for every α (feedback alignment α = 0, backprop α = 1)",
        substitute(angular(), heavy_ball(UPDATES), PASSED_ON),
        angular() * β,
    )
    at_fixed = anti(v(l) @ W(l).T) - anti(B(l + 1).T @ v(l + 1))
    proof.equal(
        "at α = 0: 𝒜_l = (v_lW_lᵀ − W_lv_lᵀ) − (B_{l+1}ᵀv_{l+1} − v_{l+1}ᵀB_{l+1})", angular().at({α: 0}), at_fixed
    )
    proof.say("η and β may change from step to step: 𝒜_k = β_1 … β_k 𝒜_0, which is zero from v = 0.")
    spread = {v(k): v(k) * β + UPDATES[W(k)] for k in (l, l + 1)}
    spread |= {W(k): W(k) + spread[v(k)] * η for k in (l, l + 1)}
    proof.equal(
        "torch's form, v ← βv + U, W ← W + ηv, with a schedule of η too",
        substitute(angular(), spread, PASSED_ON),
        angular() * β,
    )
    motion = {W(k): v(k) for k in (l, l + 1)} | {v(k): UPDATES[W(k)] - v(k) * γ for k in (l, l + 1)}
    proof.vanishes(
        "Continuous time, Ẅ = −γẆ + U: d𝒜_l/dt + γ𝒜_l", Derivation(motion, PASSED_ON)(angular()) + angular() * γ
    )
    _tight(proof)


def _tight(proof: Proof) -> None:
    rest = substitute(angular(), heavy_ball(UPDATES, λ), PASSED_ON) - angular() * β
    proof.fails("Tight: with weight decay, 𝒜_l⁺ − β𝒜_l", rest)
    proof.vanishes("except under backprop, where WᵀW is symmetric: at α = 1", rest.at({α: 1}))
    wrong = anti(v(l) @ W(l).T) + anti(feedback().T @ v(l + 1))
    proof.fails(
        "With the other sign between the two terms", substitute(wrong, heavy_ball(UPDATES), PASSED_ON) - wrong * β
    )
    lower, upper = sample(B(l + 1))
    alignment = angular().at({α: 0})
    units = substitute(alignment, heavy_ball({W(l): lower, W(l + 1): upper}))
    proof.fails(
        "With units that are not linear 𝒜_l, all off the diagonal, has no law: one sample, 𝒜_l⁺ − β𝒜_l",
        units - alignment * β,
    )


CLAIM = Claim(
    name="antisymmetric_momentum",
    statement="Under heavy-ball momentum (v_lW_lᵀ − W_lv_lᵀ) − (B_{l+1}ᵀv_{l+1} − v_{l+1}ᵀB_{l+1}) is multiplied by β "
    "at every step, exactly, at any finite η.",
    latex=r"\mathcal{A}_l = (v_l W_l^\top - W_l v_l^\top) - (B_{l+1}^\top v_{l+1} - v_{l+1}^\top B_{l+1}),\qquad "
    r"\mathcal{A}_l \leftarrow \beta \mathcal{A}_l",
    derive=derive,
)
