"""Backprop is feedback alignment with B = W: the matrix law becomes balancedness, at every mixture in between."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    BACKPROP,
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    Derivation,
    E,
    Flow,
    M,
    W,
    Word,
    X,
    inner,
    interpolated,
    letter,
    sym,
)
from theory.claim import Claim, Proof

l = LAYER
α = sympy.Symbol("α")
η, η_next = sympy.symbols("η_l η_{l+1}", positive=True)


def mixed(layer: sympy.Expr, α: sympy.Expr, below: sympy.Expr = 1, above: sympy.Expr = 1) -> Word:
    """W_l W_lᵀ/η_l − [α W_{l+1}ᵀW_{l+1} + (1 − α) sym(B_{l+1}ᵀW_{l+1})]/η_{l+1}, of B = αW + (1 − α)B_0."""
    outgoing = W(layer + 1).T @ W(layer + 1) * α + sym(B(layer + 1).T @ W(layer + 1)) * (1 - α)
    return W(layer) @ W(layer).T / below - outgoing / above


def derive(proof: Proof) -> None:
    """B = W makes U the gradient; the potential of W is half a square, which is where a factor 2 goes."""
    flow = BACKPROP.flow(l)
    _gradient(proof, flow)
    proof.equal("U_l W_lᵀ = W_{l+1}ᵀ U_{l+1}", flow.velocity[W(l)] @ W(l).T, W(l + 1).T @ flow.velocity[W(l + 1)])
    proof.vanishes("d/dt (W_l W_lᵀ − W_{l+1}ᵀ W_{l+1})", flow.derivation(mixed(l, sympy.Integer(1))))
    for depth in (2, 3, 4):
        whole = BACKPROP.net(depth)
        for layer in range(1, depth):
            quantity = mixed(sympy.Integer(layer), sympy.Integer(1))
            proof.vanishes(f"the same of layer {layer} in a whole net of depth {depth}", whole.derivation(quantity))
    _bridge(proof)
    _learning_rates(proof)
    proof.say("Tight: B_{l+1} in the matrix law is not simply replaced by the W_{l+1} that now moves.")
    naive = W(l) @ W(l).T - sym(W(l + 1).T @ W(l + 1))
    proof.fails("C_l with W_{l+1} put in for B_{l+1}, along backprop", flow.derivation(naive))
    proof.fails("balancedness along feedback alignment", FEEDBACK_ALIGNMENT.flow(l).derivation(mixed(l, 1)))


def _gradient(proof: Proof, flow: Flow) -> None:
    """U_l is the negative gradient of the loss: what distinguishes B = W."""
    proof.say(
        "With B = W the path is M_lᵀ = W_L … W_{l+1}, so X_L = M_lᵀ W_l X_{l−1}; the loss falls by ⟨E, dX_L⟩ where "
        "the output moves by dX_L."
    )
    H = letter("H", *W(l).shape)
    moved = Derivation({W(l): H})(M(l).T @ W(l) @ X(l - 1))
    update = M(l) @ E() @ X(l - 1).T
    proof.equal(
        "⟨E, dX_L⟩ = ⟨U_l, H⟩ when W_l moves by H: U_l is minus the gradient", inner(E(), moved), inner(update, H)
    )
    proof.equal("and the path of the rule is that M_l", flow.paths[l], W(l + 1).T @ M(l + 1))


def _bridge(proof: Proof) -> None:
    """The law of B = αW + (1 − α)B_0 holds for every α and ends in both."""
    law = mixed(l, α)
    proof.vanishes(
        "In between, B = αW + (1 − α)B_0: d/dt (W_l W_lᵀ − α W_{l+1}ᵀW_{l+1} − (1 − α) sym(B_0ᵀ W_{l+1}))",
        interpolated(α).flow(l).derivation(law),
    )
    C = W(l) @ W(l).T - sym(B(l + 1).T @ W(l + 1))
    proof.equal("at α = 0 it is the matrix law C_l", law.at({α: 0}), C)
    proof.equal("at α = 1 it is balancedness", law.at({α: 1}), W(l) @ W(l).T - W(l + 1).T @ W(l + 1))


def _learning_rates(proof: Proof) -> None:
    proof.say("Per-layer learning rates, Ẇ_l = η_l U_l: each side of the law is divided by the rate of its layer.")
    flow = interpolated(α).flow(l)
    rated = Derivation({W(l): flow.velocity[W(l)] * η, W(l + 1): flow.velocity[W(l + 1)] * η_next})
    proof.vanishes("d/dt (W_l W_lᵀ/η_l − […]/η_{l+1}), for every α", rated(mixed(l, α, η, η_next)))
    proof.fails("without the division, at α = 0", rated(mixed(l, α)).at({α: 0}))


CLAIM = Claim(
    name="backprop_limit",
    statement="With the weights themselves as feedback the matrix law becomes balancedness; a law joins both for every "
    "B = αW + (1 − α)B_0, and learning rates η_l per layer divide its two sides.",
    latex=r"\frac{d}{dt}\left(\tfrac{1}{\eta_l} W_l W_l^\top - \tfrac{1}{\eta_{l+1}}\left[\alpha W_{l+1}^\top W_{l+1}"
    r" + (1-\alpha)\,\mathrm{sym}(B_0^\top W_{l+1})\right]\right) = 0",
    derive=derive,
)
