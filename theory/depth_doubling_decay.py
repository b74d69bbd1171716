"""D4: weight decay that doubles from layer to layer makes C_l fade as a whole, in continuous and in discrete time."""

from __future__ import annotations

import sympy

from linfa.symbolic import BACKPROP, FEEDBACK_ALIGNMENT, LAYER, B, Derivation, W, Word, substitute
from theory.claim import Claim, Proof
from theory.notation import half
from theory.step_defect import C, balancedness
from theory.units import U, e, master

l = LAYER
μ, μ_above, η, d, d_above = sympy.symbols("μ_l μ_{l+1} η d_l d_{l+1}", positive=True)
UPDATES = {part: FEEDBACK_ALIGNMENT.flow(l).velocity[part] for part in (W(l), W(l + 1))}
LETTERS = {W(l): U(l), W(l + 1): U(l + 1)}
"""The updates of a batch, of which a net of 1-homogeneous units knows the master identity only."""


def decayed(updates: dict[Word, Word], below: sympy.Expr, above: sympy.Expr) -> dict[Word, Word]:
    """Ẇ_l = U_l − μ_l W_l."""
    return {W(l): updates[W(l)] - W(l) * below, W(l + 1): updates[W(l + 1)] - W(l + 1) * above}


def shrunk(updates: dict[Word, Word], below: sympy.Expr, above: sympy.Expr) -> dict[Word, Word]:
    """W_l ← d_l (W_l + ηU_l): the decay after the step."""
    return {
        W(l): (W(l) + updates[W(l)] * η) * below,
        W(l + 1): (W(l + 1) + updates[W(l + 1)] * η) * above,
    }


def derive(proof: Proof) -> None:
    """W_l enters C_l twice, W_{l+1} once."""
    proof.say("Feedback alignment with Ẇ_l = U_l − μ_l W_l: W_lW_lᵀ decays at 2μ_l, B_{l+1}ᵀW_{l+1} at μ_{l+1} = 2μ_l.")
    flow = Derivation(decayed(UPDATES, μ, 2 * μ))
    proof.vanishes("dC_l/dt + 2μ_l C_l, so C_l(t) = e^{−2μ_l t} C_l(0)", flow(C(l)) + C(l) * (2 * μ))
    master_identity = (master(B(l + 1)),)
    neuron = e.T @ C(l) @ e * half
    units = Derivation(decayed(LETTERS, μ, 2 * μ), master_identity)
    proof.vanishes("Neurons with 1-homogeneous units: dQ/dt + 2μ_l Q, Q = ½(C_l)_kk", units(neuron) + neuron * (2 * μ))

    proof.say("Discrete: W_l ← d_l(W_l + ηU_l), with d_{l+1} = d_l²; η and d_l may change from step to step.")
    square = UPDATES[W(l)] @ UPDATES[W(l)].T
    proof.equal(
        "C_l ← d_l²(C_l + η²U_lU_lᵀ)", substitute(C(l), shrunk(UPDATES, d, d**2)), (C(l) + square * η**2) * d**2
    )
    proof.equal(
        "and per neuron, Q ← d_l²(Q + ½η²‖U_l[k,:]‖²)",
        substitute(neuron, shrunk(LETTERS, d, d**2), master_identity),
        (neuron + e.T @ U(l) @ U(l).T @ e * (half * η**2)) * d**2,
    )
    proof.say("For all layers at once: μ_l = 2^{l−1}μ_1, d_l = d_1^(2^{l−1}), whatever the depth.")
    _tight(proof)


def _tight(proof: Proof) -> None:
    other = Derivation(decayed(UPDATES, μ, μ_above))
    proof.fails("Tight: with any other μ_{l+1}, dC_l/dt + 2μ_l C_l", other(C(l)) + C(l) * (2 * μ))
    proof.fails(
        "in particular with the same decay everywhere", Derivation(decayed(UPDATES, μ, μ))(C(l)) + C(l) * (2 * μ)
    )
    square = UPDATES[W(l)] @ UPDATES[W(l)].T
    before = {part: part * factor + UPDATES[part] * η for part, factor in zip(UPDATES, (d, d**2), strict=True)}
    proof.fails(
        "Decay before the step, W ← dW + ηU, is another rule: C_l⁺ − d_l²C_l − η²U_lU_lᵀ",
        substitute(C(l), before) - C(l) * d**2 - square * η**2,
    )
    descent = BACKPROP.flow(l).velocity
    equal = Derivation({part: descent[part] - part * μ for part in (W(l), W(l + 1))})
    proof.vanishes(
        "Backprop needs the same decay everywhere instead: d/dt balancedness + 2μ balancedness",
        equal(balancedness(l)) + balancedness(l) * (2 * μ),
    )


CLAIM = Claim(
    name="depth_doubling_decay",
    statement="Weight decay that doubles from layer to layer, μ_{l+1} = 2μ_l, gives C_l(t) = e^{−2μ_l t}C_l(0); in "
    "steps with d_{l+1} = d_l², C_l ← d_l²(C_l + η²U_lU_lᵀ).",
    latex=r"\mu_{l+1} = 2\mu_l \Rightarrow C_l(t) = e^{-2\mu_l t} C_l(0),\qquad "
    r"d_{l+1} = d_l^2 \Rightarrow C_l \leftarrow d_l^2\,(C_l + \eta^2 U_l U_l^\top)",
    derive=derive,
)
