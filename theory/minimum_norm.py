"""Minimum norm: no rule of the family moves W_1 off the span of the data, so the start decides what is left there."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    BACKPROP,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    Derivation,
    E,
    M,
    Relation,
    Scalar,
    W,
    Word,
    identity,
    inner,
    letter,
    rewrite,
    substitute,
    trace,
    width,
)
from theory.claim import Claim, Proof

n0, n1, p = width(0), width(1), width(2)
samples = sympy.Symbol("N", integer=True, positive=True)

P = letter("P", n0, n0, symmetric=True)
"""The orthogonal projector onto the span of the inputs; P_⊥ = I − P."""
D, PLUS = letter("D", n0, samples), letter("D⁺", samples, n0)
"""The inputs, one per column, and their pseudo-inverse: P = D D⁺."""
Y = letter("Y", p, samples)
OFF = identity(n0) - P
PROJECTOR = (Relation(P @ P, P), Relation(P @ D, D), Relation(D @ PLUS, P))


def square(A: Word) -> Scalar:
    """‖A‖², with P a projector."""
    return trace(rewrite(A @ A.T, PROJECTOR))


def derive(proof: Proof) -> None:
    """W_1 P_⊥ is constant; at interpolation the squared norms add up; what fails."""
    proof.say(
        "D: the inputs as columns (n_0 × N); Y: the targets. P = D D⁺ projects onto their span, P_⊥ = I − P. X_L = "
        "W_2W_1 for two layers; for more read W_L … W_2 for W_2. Two statements follow, each with its own hypothesis."
    )
    stays(proof)
    interpolation(proof)
    steps(proof)
    left_over(proof)
    other_rules(proof)


def stays(proof: Proof) -> None:
    """E P_⊥ = 0, so Ẇ_1 P_⊥ = 0, whatever the path."""
    delta = letter("Δ", p, samples)
    error = delta @ D.T
    proof.say(
        "First: any loss of the outputs. E = −∂ℓ/∂X_L is a mean of δ xᵀ over samples, E = Δ Dᵀ with the signals as "
        "the columns of Δ; mini-batches are zero columns."
    )
    proof.vanishes("E P_⊥", rewrite(error @ OFF, PROJECTOR))
    velocity = substitute(M(1, 2) @ E(2), {E(2): error})
    proof.vanishes("d(W_1P_⊥)/dt = M_1E P_⊥, for any path M_1, fixed or moving", rewrite(velocity @ OFF, PROJECTOR))
    for rule in (FEEDBACK_ALIGNMENT, DIRECT_FEEDBACK, BACKPROP):
        for depth in (2, 3):
            seen = Relation(E(depth) @ P, E(depth))
            moved = Derivation(rule.net(depth).velocity)(W(1) @ OFF)
            proof.vanishes(f"d(W_1P_⊥)/dt, {rule.name}, {depth} layers", rewrite(moved, (seen,)))


def interpolation(proof: Proof) -> None:
    """‖X_L‖² = ‖Y D⁺‖² + ‖W_2 W_1(0) P_⊥‖²."""
    start = letter("W_1(0)", n1, n0)
    kept = (*PROJECTOR, Relation(W(1) @ P, W(1) - start @ OFF))
    product = W(2) @ W(1)
    proof.say("Second: suppose W_1P_⊥ = W_1(0)P_⊥ as just shown, and interpolation, W_2W_1 D = Y. Multiply by D⁺:")
    fitted = Relation(W(2) @ W(1) @ D, Y)
    proof.equal("W_2W_1P = Y D⁺", rewrite(product @ D @ PLUS, (fitted,)), Y @ PLUS)
    proof.equal("W_2W_1P_⊥ = W_2W_1(0)P_⊥", rewrite(product @ OFF, kept), W(2) @ start @ OFF)
    T = letter("X_L", p, n0)
    proof.equal("Pythagoras: ‖X_L‖² = ‖X_LP‖² + ‖X_LP_⊥‖²", inner(T.T, T.T), square(T @ P) + square(T @ OFF))
    proof.say(
        "So ‖W_2W_1‖² = ‖Y D⁺‖² + ‖W_2W_1(0)P_⊥‖². Every interpolating map has X_LP = Y D⁺, so ‖Y D⁺‖² is the least "
        "norm there is, reached by Y D⁺ alone: W_2W_1 is it if and only if W_2W_1(0)P_⊥ = 0. W_1(0)P_⊥ = 0 suffices, "
        "so W_1(0) = 0 does."
    )
    gram, inverse = letter("G", n0, n0, symmetric=True), letter("G⁺", n0, n0, symmetric=True)
    cross = letter("Σ_yx", p, n0)
    proof.equal(
        "Interpolation is not needed for the squared loss: E = 0, X_LΣ_xx = Σ_yx, gives X_LP = Σ_yxΣ_xx⁺, as P = "
        "Σ_xxΣ_xx⁺ (Σ_xx written G)",
        rewrite(T @ gram @ inverse, (Relation(T @ gram, cross),)),
        cross @ inverse,
    )


def steps(proof: Proof) -> None:
    """Finite steps, momentum and decay."""
    eta, mu, decay = sympy.symbols("η μ λ")
    v = letter("v", n1, n0)
    update = letter("U", n1, n0)
    seen = (Relation(update @ P, update),)
    after = mu * v + update - decay * W(1)
    proof.say("Finite steps, as in torch: v ← μv + U_1 − λW_1, W_1 ← W_1 + ηv, with v(0) = 0 and U_1P_⊥ = 0 as above.")
    proof.equal("v P_⊥ goes to μv P_⊥ − λW_1P_⊥", rewrite(after @ OFF, seen), (mu * v - decay * W(1)) @ OFF)
    moved = rewrite(eta * after @ OFF, seen)
    proof.equal(
        "so without decay it stays zero and W_1P_⊥ moves by ημv P_⊥ = 0 only",
        moved,
        eta * (mu * v - decay * W(1)) @ OFF,
    )
    proof.fails("with decay λ and v = 0, W_1P_⊥ is not constant: it moves by", substitute(moved, {v: 0 * v}))
    proof.say("but towards zero, by the factor 1 − ηλ (μ = 0): decay removes what the start had put off the span.")


def left_over(proof: Proof) -> None:
    """A net of widths (2, 1, 1): a start off the span that is read out in the end."""
    w = sympy.Symbol("w", positive=True)
    readout = w**2 / 2
    final = sympy.solve(readout * w - 1, w)
    proof.say(
        "Tight: n = (2, 1, 1), one sample x = (1, 0)ᵀ, y = 1, b = 1, W_1(0) = (0, 1), W_2(0) = 0. The law gives "
        "W_2 = ½w², where W_1 = (w, 1); feedback alignment moves w up from 0 until W_2w = 1 (ẇ = 1 − ½w³)."
    )
    proof.holds("one positive root: w³ = 2", len(final) == 1 and sympy.simplify(final[0] ** 3 - 2) == 0)
    proof.fails("‖W_2W_1‖² − ‖Y D⁺‖² = W_2²(w² + 1) − 1 = W_2²", (readout**2 * (w**2 + 1) - 1).subs(w, final[0]))


def other_rules(proof: Proof) -> None:
    """A step entry by entry leaves the span."""
    x, across = sympy.Matrix([[1, 2]]), sympy.Matrix([2, -1])
    proof.vanishes("Not every optimiser: for the sample x = (1, 2)ᵀ and E = xᵀ, E(2, −1)ᵀ", x * across)
    proof.fails(
        "but a step along sign(E), as Adam's first is, leaves the span: sign(E)(2, −1)ᵀ",
        x.applyfunc(sympy.sign) * across,
    )


CLAIM = Claim(
    name="minimum_norm",
    statement="FA, DFA and gradient descent never move W_1 off the span of the data; at interpolation ‖W_2W_1‖² = "
    "‖YX⁺‖² + ‖W_2W_1(0)P_⊥‖², so the norm is least if and only if the last term vanishes (W_1(0) = 0 suffices).",
    latex=r"\lVert W_2 W_1\rVert^2 = \lVert Y X^+\rVert^2 + \lVert W_2 W_1(0) P_\perp\rVert^2",
    derive=derive,
)
