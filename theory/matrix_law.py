"""The matrix law of feedback alignment, at every depth and width: C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1})."""

from __future__ import annotations

from linfa.symbolic import DEPTH, FEEDBACK_ALIGNMENT, LAYER, B, E, M, W, Word, X, sym
from theory.claim import Claim, Proof

l = LAYER


def C(layer: object) -> Word:
    """C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1})."""
    return W(layer) @ W(layer).T - sym(B(layer + 1).T @ W(layer + 1))


def derive(proof: Proof) -> None:
    """One line: both U_l W_lᵀ and B_{l+1}ᵀ U_{l+1} are M_l E X_lᵀ."""
    flow = FEEDBACK_ALIGNMENT.flow(l)
    U, U_next = flow.velocity[W(l)], flow.velocity[W(l + 1)]
    proof.say(
        "Let l be any hidden layer of a net of any depth L. The layers above enter through the path M_{l+1}, the "
        "layers below through X_{l−1}; both are arbitrary, and so is the error E (any loss, any data)."
    )
    proof.show("U_l = M_l E X_{l−1}ᵀ with M_l = B_{l+1}ᵀ M_{l+1}", U)
    proof.show("U_{l+1} = M_{l+1} E X_lᵀ with X_l = W_l X_{l−1}", U_next)
    proof.equal("U_l W_lᵀ = B_{l+1}ᵀ U_{l+1}", U @ W(l).T, B(l + 1).T @ U_next)
    proof.vanishes("dC_l/dt", flow.derivation(C(l)))

    proof.say(
        "The two ends, by induction: M_L = I starts the recursion M_l = B_{l+1}ᵀ M_{l+1}, X_0 = I starts "
        "X_l = W_l X_{l−1}, so every layer of every net is such a window."
    )
    for depth in (2, 3, 4):
        whole = FEEDBACK_ALIGNMENT.net(depth)
        for layer in range(1, depth):
            proof.vanishes(f"dC_{layer}/dt in a whole net of depth {depth}", whole.derivation(C(layer)))

    proof.say("Tight: the law needs the feedback of layer l+1 itself, used transposed as W_{l+1} would be.")
    proof.fails("without the outgoing term", flow.derivation(W(l) @ W(l).T))
    proof.fails("balancedness, backprop's law, under feedback alignment", flow.derivation(_balancedness()))
    direct = M(l) @ E(DEPTH) @ X(l - 1).T
    proof.fails("with a path M_l that is not B_{l+1}ᵀ M_{l+1}", direct @ W(l).T - B(l + 1).T @ U_next)


def _balancedness() -> Word:
    return W(l) @ W(l).T - W(l + 1).T @ W(l + 1)


CLAIM = Claim(
    name="matrix_law",
    statement="Feedback alignment conserves W_l W_lᵀ − B_{l+1}ᵀW_{l+1} − W_{l+1}ᵀB_{l+1} of every hidden layer.",
    latex=r"\frac{d}{dt}\left(W_l W_l^\top - B_{l+1}^\top W_{l+1} - W_{l+1}^\top B_{l+1}\right) = 0",
    derive=derive,
)
