"""Feedback through a few channels, B = R P with a learnt R (PFA, Li & Benna 2024): a law per layer, none per neuron."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    LAYER,
    Derivation,
    E,
    M,
    Potential,
    Relation,
    Scalar,
    W,
    Word,
    X,
    inner,
    letter,
    potential,
    rewrite,
    trace,
    width,
    zero,
)
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import e, sample

l = LAYER
r = sympy.Symbol("r", integer=True, positive=True)
λ, κ = sympy.symbols("λ κ", positive=True)
NONE = sympy.Integer(0)
above = W(l + 1)
"""The outgoing weights W_{l+1}, for which R P stands in."""
P = letter("P", r, width(l), index=l + 1)
"""The fixed projection of the n_l neurons onto r channels."""
R = letter("R", width(l + 1), r, index=l + 1)
"""The learnt part of the feedback."""


def motion(decay: sympy.Expr = NONE) -> dict[Word, Word]:
    """Ẇ = U and Ṙ = U_{l+1} Pᵀ in a linear net, with the same decay on all of them."""
    update = M(l + 1) @ E() @ (W(l) @ X(l - 1)).T
    moving = {W(l): (R @ P).T @ M(l + 1) @ E() @ X(l - 1).T, above: update, R: update @ P.T}
    return {part: move - part * decay for part, move in moving.items()}


def gap() -> Word:
    """D = R − W_{l+1} Pᵀ."""
    return R - above @ P.T


def balance() -> Scalar:
    """½‖W_l‖² − ½‖R‖²."""
    return (inner(W(l), W(l)) - inner(R, R)) * half


def derive(proof: Proof) -> None:
    """R is the read-out W through the channels, up to a constant; its work is that of B."""
    proof.say(
        "PFA sends the error through r channels: B_{l+1} = R P, P of shape (r, n_l) fixed, Ṙ = U_{l+1}Pᵀ. "
        "Kolen–Pollack is r = n_l, P = I."
    )
    flow = Derivation(motion())
    proof.vanishes("d/dt (R − W_{l+1}Pᵀ)", flow(gap()))
    proof.vanishes("Linear nets: d/dt (½‖W_l‖² − ½‖R‖²)", flow(balance()))
    lower, upper = sample(R @ P)
    proof.vanishes(
        "1-homogeneous units, one sample and so any batch: the same",
        Derivation({W(l): lower, above: upper, R: upper @ P.T})(balance()),
    )
    fading = Derivation(motion(λ))
    proof.vanishes("With one decay λ: dD/dt + λD", fading(gap()) + gap() * λ)
    proof.vanishes("and dQ/dt + 2λQ, Q = ½‖W_l‖² − ½‖R‖²", fading(balance()) + balance() * (2 * λ))
    _potential(proof)
    _channels(proof, flow)
    _no_law_per_neuron(proof)
    proof.fails("Balancedness, ½‖W_l‖² − ½‖W_{l+1}‖²", flow((inner(W(l), W(l)) - inner(above, above)) * half))


def _potential(proof: Proof) -> None:
    """With R = W Pᵀ + D the feedback is a gradient in W, of ½‖R‖²."""
    D, H = letter("D", *R.shape), letter("H", *above.shape)
    learnt = above @ P.T + D
    feedback = learnt @ P
    proof.equal(
        "Why: R = W_{l+1}Pᵀ + D makes B = R P the gradient of Φ(W_{l+1}) = ½‖R‖²",
        Derivation({above: H})(inner(learnt, learnt) * half),
        inner(feedback, H),
    )
    found = potential(feedback, above)
    proof.holds("and the calculus finds it, per layer", isinstance(found, Potential) and found.per == "layer")


def _channels(proof: Proof, flow: Derivation) -> None:
    """Linear nets keep one law per eigenvector of P Pᵀ, and what P does not see of W_l."""
    t, α = letter("t", r, 1), letter("α", width(l), 1)
    eigen = Derivation(flow.images, (Relation(P @ P.T @ t, t * κ),))
    incoming = t.T @ P @ W(l)
    proof.vanishes(
        "Linear nets have more: for P Pᵀt = κt, d/dt (‖tᵀP W_l‖² − κ‖R t‖²), r laws in place of one",
        eigen(incoming @ incoming.T - (R @ t).T @ (R @ t) * κ),
    )
    unseen = Derivation(flow.images, (Relation(P @ α, zero(r, 1)),))
    proof.vanishes("and for Pα = 0, d/dt αᵀW_l", unseen(α.T @ W(l)))


def _no_law_per_neuron(proof: Proof) -> None:
    """⟨B[:,k], dW[:,k]⟩ is not closed where another neuron shares a channel with neuron k."""
    H, K = letter("H", *above.shape), letter("K", *above.shape)
    form = e.T @ P.T @ P @ K.T @ H @ e - e.T @ P.T @ P @ H.T @ K @ e
    proof.fails("Per neuron: the curl of ⟨B[:,k], dW_{l+1}[:,k]⟩ in directions H and K", trace(form))
    alone = rewrite(form, (Relation(P.T @ P @ e, e * κ),))
    proof.vanishes("is zero where the column P[:,k] is orthogonal to all others, PᵀP e_k = κ e_k", trace(alone))
    proof.say("which r < n_l channels cannot do for all neurons, unless some hear nothing.")
    x, y = sympy.symbols("x y", real=True)
    bottom = sympy.integrate((x + y).subs(y, 0), (x, 0, 1))
    top = sympy.integrate((x + y).subs(y, 1), (x, 1, 0))
    proof.fails(
        "Two neurons, one channel, P = (1, 1), W_{l+1} = (x, y), D = 0: once round the unit square ½‖W_l[1,:]‖² gains "
        "∮ (x + y) dx",
        bottom + top,
    )


CLAIM = Claim(
    name="partial_feedback",
    statement="Under partial feedback, B = R P with Ṙ = U Pᵀ, the gap R − W Pᵀ and ½‖W_l‖² − ½‖R_{l+1}‖² are constant "
    "in every hidden layer; single neurons have no law, unless they share no channel.",
    latex=r"\frac{d}{dt}\left(R_{l+1} - W_{l+1}P^\top\right) = 0,\qquad "
    r"\frac{d}{dt}\left(\tfrac12\lVert W_l\rVert^2 - \tfrac12\lVert R_{l+1}\rVert^2\right) = 0",
    derive=derive,
)
