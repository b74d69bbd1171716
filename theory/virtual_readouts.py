"""Direct feedback with virtual read-outs: matrices that watch give every layer its law back."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    DEPTH,
    LAYER,
    Derivation,
    E,
    F,
    Relation,
    W,
    Word,
    X,
    letter,
    substitute,
    sym,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import D, e, h, of_neuron

l = LAYER
η = sympy.Symbol("η", positive=True)


def V(layer: sympy.Expr, depth: sympy.Expr = DEPTH) -> Word:
    """The virtual read-out V_l, of the shape (n_L, n_l) of F_l."""
    return letter("V", width(depth), width(layer), index=layer)


def watched() -> Word:
    """W_l W_lᵀ − sym(F_lᵀ V_l)."""
    return W(l) @ W(l).T - sym(F(l).T @ V(l))


def motion() -> dict[Word, Word]:
    """Ẇ_l = F_lᵀ E X_{l−1}ᵀ and V̇_l = E[δ_L h_lᵀ] = E X_lᵀ, in linear nets."""
    return {W(l): F(l).T @ E() @ X(l - 1).T, V(l): E() @ (W(l) @ X(l - 1)).T}


def derive(proof: Proof) -> None:
    """F_l plays the part of the feedback of a read-out from layer l that nobody reads."""
    proof.say(
        "Direct feedback sends δ_L to layer l through F_l and passes over layer l + 1, whose weights then do not "
        "account for ‖W_l‖². Let V_l learn as a read-out of layer l would, V̇_l = E[δ_L h_lᵀ]; it feeds nothing back."
    )
    moving = motion()
    proof.equal("Both are F_lᵀ E X_lᵀ: U_l W_lᵀ = F_lᵀ V̇_l", moving[W(l)] @ W(l).T, F(l).T @ moving[V(l)])
    proof.vanishes("d/dt [W_l W_lᵀ − sym(F_lᵀ V_l)], at every depth and from any V_l(0)", Derivation(moving)(watched()))
    _neurons(proof)
    _steps(proof, moving)
    _what_they_are(proof)
    upper = F(l + 1).T @ E() @ (W(l) @ X(l - 1)).T
    without = W(l) @ W(l).T - sym(letter("B", *W(l + 1).shape, index=l + 1).T @ W(l + 1))
    proof.fails(
        "Tight: with the layer above in place of V_l, and a fixed B_{l+1} that has nothing to do with the paths",
        Derivation({**moving, W(l + 1): upper})(without),
    )


def _neurons(proof: Proof) -> None:
    """One sample of a net with 1-homogeneous units: δ_l = D_l F_lᵀ δ_L, h_l = D_l W_l h_{l−1}."""
    top, slope = letter("δ", width(DEPTH), 1, index=DEPTH), sympy.Symbol("σ'(z_k)")
    update, watching = D @ F(l).T @ top @ h.T, top @ (D @ W(l) @ h).T
    proof.equal(
        "1-homogeneous units, one sample and so any batch: (U_l W_lᵀ)_kk = (F_lᵀ V̇_l)_kk",
        of_neuron(update @ W(l).T, slope),
        of_neuron(F(l).T @ watching, slope),
    )
    batch, seen = letter("U", *W(l).shape, index=l), letter("V̇", *V(l).shape, index=l)
    identity = Relation(e.T @ batch @ W(l).T @ e, e.T @ F(l).T @ seen @ e)
    neuron = e.T @ watched() @ e * half
    proof.vanishes(
        "d/dt [½‖W_l[k,:]‖² − ⟨V_l[:,k], F_l[:,k]⟩]", Derivation({W(l): batch, V(l): seen}, (identity,))(neuron)
    )


def _steps(proof: Proof, moving: dict[Word, Word]) -> None:
    taken = {part: part + move * η for part, move in moving.items()}
    square = moving[W(l)] @ moving[W(l)].T
    proof.equal("One step changes it by exactly η² U_l U_lᵀ", substitute(watched(), taken) - watched(), square * η**2)


def _what_they_are(proof: Proof) -> None:
    """The last one is the read-out; the others are coordinates of the layer above."""
    upper = F(l + 1).T @ E() @ (W(l) @ X(l - 1)).T
    flow = Derivation({**motion(), W(l + 1): upper})
    difference = W(l + 1) - F(l + 1).T @ V(l)
    proof.vanishes(
        "What V_l is: d/dt (W_{l+1} − F_{l+1}ᵀ V_l), the layer above seen through its path", flow(difference)
    )
    last = DEPTH - 1
    top = E() @ X(last).T
    both = Derivation({W(DEPTH): top, V(last): top})
    proof.vanishes("and above the last hidden layer (M_L = I) d/dt (W_L − V_{L−1})", both(W(DEPTH) - V(last)))
    proof.say(
        "So from V(0) = 0 the last of these laws is the law of feedback alignment with B_L = F_{L−1}, up to a constant."
    )


CLAIM = Claim(
    name="virtual_readouts",
    statement="Under direct feedback W_l W_lᵀ − sym(F_lᵀV_l) is constant in every hidden layer, with virtual read-outs "
    "V̇_l = E[δ_L h_lᵀ]; per neuron, ½‖W_l[k,:]‖² − ⟨V_l[:,k], F_l[:,k]⟩, with 1-homogeneous units.",
    latex=r"\frac{d}{dt}\left(W_l W_l^\top - F_l^\top V_l - V_l^\top F_l\right) = 0,\quad "
    r"\dot V_l = \mathbb{E}[\delta_L h_l^\top]",
    derive=derive,
)
