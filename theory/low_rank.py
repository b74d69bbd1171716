"""A net narrower than its target: feedback alignment finds the target projected onto a sketch, from every start.

Factorise Y ≈ W_2W_1 (p × n_0) through n_1 = r hidden units: Ẇ_1 = BᵀE, Ẇ_2 = EW_1ᵀ with E = Y − W_2W_1 (white inputs,
Σ_xx = I) and B = B_2 (p × r). The setting is that of Garg & Vempala 2021.
"""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    B,
    Derivation,
    E,
    Relation,
    Scalar,
    W,
    Word,
    identity,
    inner,
    letter,
    rewrite,
    substitute,
    sym,
    trace,
    width,
    zero,
)
from linfa.symbolic.relations import rewrite_trace
from theory.claim import Claim, Proof
from theory.notation import half, quarter, square, target

n0, r, p = (width(l) for l in range(3))
Y, W1 = target(2), W(1)
A = letter("A", r, n0)
"""The sketch A = BᵀY."""
Q = letter("Q", r, r)
"""Q = BᵀW_2."""
e = A - Q @ W1
"""e = BᵀE = A − Q W_1."""
SKETCH = Derivation({W1: e, Q: e @ W1.T})
"""d/dt of (W_1, Q), which closes on itself."""


def derive(proof: Proof) -> None:
    """What rest means; why every run gets there; what it costs; the variant that keeps W_2 optimal."""
    rest(proof)
    sketch(proof)
    bounded(proof)
    limit(proof)
    price(proof)
    hypothesis(proof)
    optimal_readout(proof)


def rest(proof: Proof) -> None:
    """Stationary points: W_2W_1 = Y P, P the projector on row(W_1), which contains row(BᵀY)."""
    error, N = E(2), letter("N", r, r, symmetric=True)
    P = W1.T @ N @ W1
    still = (
        Relation(B(2).T @ error, 0 * W1),
        Relation(error @ W1.T, 0 * W(2)),
        Relation(W1 @ W1.T @ N @ W1, W1),
    )
    whole = error + W(2) @ W1
    proof.say(
        "Any n_1. At rest BᵀE = 0 and E W_1ᵀ = 0. Let N := (W_1W_1ᵀ)⁺, so that P := W_1ᵀN W_1 projects onto row(W_1) "
        "and W_1P = W_1; Y = E + W_2W_1."
    )
    proof.equal("Y P = W_2W_1", rewrite(whole @ P, still), W(2) @ W1)
    proof.vanishes("BᵀY(I − P), so row(BᵀY) ⊂ row(W_1)", rewrite(B(2).T @ whole @ (identity(n0) - P), still))
    proof.say(
        "If rank BᵀY = r the two row spaces are equal, for rank W_1 ≤ r: P = P_row(BᵀY), and W_2W_1 = Y P_row(BᵀY) at "
        "every stationary point. If rank BᵀY = rank Y, row(Y) = row(BᵀY) ⊂ row(W_1): W_2W_1 = Y, zero loss, at every "
        "one."
    )


def sketch(proof: Proof) -> None:
    """A = BᵀY and Q = BᵀW_2 obey the same dynamics with r outputs and the identity for feedback."""
    velocity = FEEDBACK_ALIGNMENT.net(2).velocity
    into = (Relation(B(2).T @ Y, A), Relation(B(2).T @ W(2), Q))
    flow = Derivation({w: substitute(u, {E(2): Y - W(2) @ W1}) for w, u in velocity.items()})
    proof.say("From now on rank BᵀY = r = n_1, any start. Put A := BᵀY, Q := BᵀW_2 (r × r), e := BᵀE = A − Q W_1.")
    proof.equal("Ẇ_1 = e", rewrite(flow(W1), into), SKETCH(W1))
    proof.equal("Q̇ = e W_1ᵀ: a square net of its own, with feedback I", rewrite(B(2).T @ flow(W(2)), into), SKETCH(Q))


def bounded(proof: Proof) -> None:
    """H = ½‖Q‖² − ⟨A, W_1⟩ falls by ‖e‖² and is bounded below by the law."""
    height, C = square(Q) * half - inner(A, W1), W1 @ W1.T - sym(Q)
    proof.vanishes("The matrix law: d(W_1W_1ᵀ − Q − Qᵀ)/dt", SKETCH(C))
    proof.equal("H := ½‖Q‖² − ⟨A, W_1⟩ has Ḣ = −‖e‖² (as in the claim lyapunov)", SKETCH(height), -square(e))
    gap = square(Q - identity(r)) * quarter + square(A - W1 * half)
    proof.equal(
        "H = ¼‖Q‖² − ‖A‖² − ¼(r + tr C) + two squares, ¼‖Q − I‖² and ‖A − ½W_1‖²",
        height,
        square(Q) * quarter - square(A) - (trace(identity(r)) + trace(C)) * quarter + gap,
    )
    proof.equal("‖W_1‖² = tr C + 2 tr Q", square(W1), trace(C) + trace(Q) * 2)
    proof.equal("ė = −e W_1ᵀW_1 − Q e", SKETCH(e), -(e @ W1.T @ W1) - Q @ e)
    proof.say(
        "H(t) ≤ H(0) bounds Q, then tr Q bounds W_1: the flow exists for all times. H is bounded below, so ∫‖e‖²dt < "
        "∞; ė is bounded; so e → 0 (Barbalat's lemma)."
    )


def limit(proof: Proof) -> None:
    """W_1 itself need not settle: its row space does, and W_2 follows."""
    P = letter("P", n0, n0, symmetric=True)
    proof.equal("A(I − P) = e(I − P), P = P_row(W_1)", A @ (identity(n0) - P), _cut(e @ (identity(n0) - P), P))
    proof.say(
        "So A(I − P) → 0. Q W_1 = A − e → A has rank r and Q is bounded, so the least singular value of W_1 stays "
        "above some c > 0 from some time on (σ_r(Q W_1) ≤ ‖Q‖σ_r(W_1)). Two projectors of rank r with A(I − P) → 0, "
        "rank A = r: P → P_row(A)."
    )
    plus, rate = letter("W_1⁺", n0, r), letter("(W_1⁺)'", n0, r)
    inverse = (Relation(W1 @ plus, identity(r)), Relation(plus @ W1 @ W1.T, W1.T))
    lag = W(2) - Y @ plus
    error = Y - W(2) @ W1
    d = Derivation({W(2): error @ W1.T, plus: rate})
    proof.equal(
        "W_2 follows: with W_1⁺ = W_1ᵀ(W_1W_1ᵀ)⁻¹, the lag W_2 − Y W_1⁺ =: D has Ḋ = −D W_1W_1ᵀ − Y d(W_1⁺)/dt",
        rewrite(d(lag), inverse),
        rewrite(-(lag @ W1 @ W1.T) - Y @ rate, inverse),
    )
    proof.say(
        "W_1W_1ᵀ ⪰ c² and d(W_1⁺)/dt → 0 (it is linear in Ẇ_1 = e with bounded coefficients), so D → 0, and W_2W_1 = "
        "D W_1 + Y P → Y P_row(BᵀY), from every start. (The estimates of this paragraph and of Barbalat's lemma are "
        "said, not computed.)"
    )


def _cut(X: Word, P: Word) -> Word:
    return rewrite(X, (Relation(W1 @ P, W1),))


def price(proof: Proof) -> None:
    """The loss is that of a random sketch, not Eckart and Young's."""
    P = letter("P", n0, n0, symmetric=True)
    projector = (Relation(P @ P, P),)
    proof.equal(
        "‖Y‖² = ‖Y P‖² + ‖Y(I − P)‖²: what is lost is ½‖Y(I − P)‖²",
        trace(Y @ Y.T),
        trace(rewrite(Y @ P @ P @ Y.T + Y @ (identity(n0) - P) @ (identity(n0) - P) @ Y.T, projector)),
    )
    proof.say("The best rank r loses ½Σ_{i>r}σ_i² (Eckart–Young). Y = diag(2, 1), r = 1, B = (1, 1)ᵀ:")
    wanted, feedback = sympy.diag(2, 1), sympy.Matrix([1, 1])
    row = feedback.T * wanted
    left = wanted - wanted * row.T * row / (row * row.T)[0]
    proof.fails("the excess ‖Y(I − P)‖² − σ_2²", sum(x**2 for x in left) - 1)


def hypothesis(proof: Proof) -> None:
    """Where rank BᵀY < r the limit depends on the start."""
    proof.say(
        "rank BᵀY = r is needed: if B = 0 then W_1 stays, every point with W_2 = Y W_1⁺ is at rest, and W_2W_1 = "
        "Y P_row(W_1(0)). With Y = I_2 and r = 1, two starts, W_1 = (1, 0) and (0, 1), end apart by"
    )
    ends = [sympy.eye(2) * row.T * row for row in (sympy.Matrix([[1, 0]]), sympy.Matrix([[0, 1]]))]
    proof.fails("the difference of the limits", ends[0] - ends[1])


def optimal_readout(proof: Proof) -> None:
    """FA*: W_2 = Y W_1⁺ at every moment."""
    P = letter("P", n0, n0, symmetric=True)
    residual = A @ (identity(n0) - P)
    onto = (Relation(W1 @ P, W1), Relation(P @ P, P))
    d = Derivation({W1: residual})
    proof.say(
        "FA*: W_2 = Y W_1⁺ is kept optimal, rank W_1(0) = r. Then E = Y(I − P) and Ẇ_1 = A(I − P), P = P_row(W_1)."
    )
    proof.vanishes("d(W_1W_1ᵀ)/dt", rewrite(d(W1 @ W1.T), onto))
    slope = inner(A, residual)
    squared = trace(rewrite(residual @ residual.T, onto))
    proof.equal("d⟨A, W_1⟩/dt = ‖A(I − P)‖²", slope, squared)
    proof.say(
        "W_1W_1ᵀ constant keeps W_1 bounded and of rank r, so ∫‖A(I − P)‖²dt < ∞, and as above A(I − P) → 0, P → "
        "P_row(A) if rank A = r: the same limit."
    )
    _one_unit(proof, slope, P)


def _one_unit(proof: Proof, slope: Scalar, P: Word) -> None:
    """R = 1: two rows have one angle, and ⟨A, W_1⟩ = aρs."""
    t, length, norm = sympy.symbols("t a ρ", positive=True)
    start, s = sympy.Symbol("x_0", real=True), sympy.Symbol("s", real=True)
    cosine = sympy.tanh(length * t / norm + start)
    along, across = (letter(name, r, n0) for name in ("h", "g"))
    one = identity(r)
    orthonormal = (
        Relation(along @ along.T, one),
        Relation(across @ across.T, one),
        Relation(along @ across.T, zero(r, r)),
        Relation(across @ along.T, zero(r, r)),
    )
    sketched, learnt = along * length, along * (norm * s) + across * (norm * sympy.sqrt(1 - s**2))
    proof.say(
        "r = 1: ρ = |W_1| = |W_1(0)| and a = |BᵀY| are constant. Any two rows are A = a h and W_1 = ρ(s h + √(1 − s²) "
        "g), with h, g orthonormal and s = cos∠(W_1, BᵀY); P = W_1ᵀW_1/ρ². (The letter for r stays: tr I = r = 1.)"
    )
    proof.equal(
        "‖W_1‖² = ρ²",
        trace(rewrite(learnt @ learnt.T, orthonormal)),
        trace(one) * norm**2,
    )
    proof.equal(
        "⟨A, W_1⟩ = aρs",
        trace(rewrite(learnt @ sketched.T, orthonormal)),
        trace(one) * (length * norm * s),
    )
    rate = rewrite_trace(substitute(slope, {A: sketched, P: learnt.T @ learnt / norm**2}), orthonormal)
    proof.equal(
        "so the step above, d⟨A, W_1⟩/dt = ⟨A, A(I − P)⟩, reads ṡ = (a/ρ)(1 − s²)",
        rate / (length * norm),
        trace(one) * (length / norm * (1 - s**2)),
    )
    proof.vanishes(
        "solved, for |s(0)| < 1, by s = tanh(a t/ρ + artanh s(0)): ṡ − (a/ρ)(1 − s²)",
        sympy.diff(cosine, t) - length / norm * (1 - cosine**2),
    )
    proof.equal("at t = 0, with x_0 = artanh s(0), s", cosine.subs(t, 0), sympy.tanh(start))
    proof.say("From s(0) = −1 it stays at −1, where P is P_row(BᵀY) already.")


CLAIM = Claim(
    name="low_rank",
    statement="White inputs (Σ_xx = I): factorising Y ≈ W_2W_1 through r units, feedback alignment ends at W_2W_1 = "
    "Y P_row(BᵀY) from every start if rank BᵀY = r; so does FA*, with W_1W_1ᵀ constant (r = 1: the cosine to BᵀY is "
    "a tanh).",
    latex=r"W_2 W_1 \to Y P_{\mathrm{row}(B^\top Y)},\qquad \tfrac{d}{dt}\left(\tfrac12\lVert B^\top W_2\rVert^2 - "
    r"\langle B^\top Y, W_1\rangle\right) = -\lVert B^\top E\rVert^2",
    derive=derive,
)
