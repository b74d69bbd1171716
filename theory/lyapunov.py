"""Two layers: V = ½E‖Bᵀ(y − f)‖² falls for ever where C_1 ⪯ 0 on range(Bᵀ), any Σ_xx; any start ends at its least."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    B,
    Derivation,
    E,
    Relation,
    Sigma,
    W,
    Word,
    inner,
    letter,
    rewrite,
    substitute,
    sym,
    trace,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import at, half, quarter, square, target

n_0, n_1, p = (width(k) for k in range(3))
Y, ERROR, B2 = target(2), E(2), B(2)
RESIDUAL = Y - W(2) @ W(1)
C = W(1) @ W(1).T - sym(B2.T @ W(2))
VALUE = trace(B2.T @ RESIDUAL @ Sigma() @ RESIDUAL.T @ B2) * half
HEIGHT = inner(B2.T @ W(2), B2.T @ W(2)) * half - inner(B2.T @ Y, W(1))


def velocity() -> dict[Word, Word]:
    """Ẇ_1 = BᵀE, Ẇ_2 = EW_1ᵀ."""
    return dict(FEEDBACK_ALIGNMENT.net(2).velocity)


def flow() -> Derivation:
    """d/dt with E = (Y − W_2W_1)Σ."""
    return Derivation({w: substitute(u, {ERROR: RESIDUAL @ Sigma()}) for w, u in velocity().items()})


def derive(proof: Proof) -> None:
    """The identity, its sign, boundedness, the limit, and what is lost without each hypothesis."""
    _identity(proof)
    _sign(proof)
    _height(proof)
    _bounded(proof)
    _limit(proof)
    _loss_may_rise(proof)
    _sufficient_only(proof)
    _rank(proof)


def _identity(proof: Proof) -> None:
    proof.say(
        "Two linear layers, squared loss, B = B_2, any Σ = Σ_xx ⪰ 0, Σ_yx = YΣ: E = (Y − X)Σ, X = W_2W_1, and V − V* "
        "= ½tr(Bᵀ(Y − X)Σ(Y − X)ᵀB) ≥ 0, V* the part of V that no linear map can lower. C_1 is constant (matrix law)."
    )
    terms = square(B2.T @ ERROR @ W(1).T) * -1 - square(W(1).T @ B2.T @ ERROR) * half
    start = trace(ERROR.T @ B2 @ C @ B2.T @ ERROR) * half
    proof.equal(
        "A3: V̇ = −‖BᵀEW_1ᵀ‖² − ½‖W_1ᵀBᵀE‖² + ½tr(EᵀB C_1 BᵀE), both sides written out in Y − X and Σ",
        flow()(VALUE),
        substitute(terms + start, {ERROR: RESIDUAL @ Sigma()}),
    )
    proof.say("Where it comes from: V̇ = −⟨BBᵀE, Ẋ⟩, Ẋ = EW_1ᵀW_1 + W_2BᵀE, and sym(BᵀW_2) = W_1W_1ᵀ − C_1.")


def _sign(proof: Proof) -> None:
    reached, K = letter("Ĉ", p, p, symmetric=True), letter("K", p, sympy.Symbol("r"))
    negative = rewrite(ERROR.T @ reached @ ERROR, (Relation(reached, -(K @ K.T)),))
    proof.equal(
        "C_1 ⪯ 0 on range(Bᵀ) means Ĉ = B C_1 Bᵀ = −KKᵀ for some K, so the last term is −½‖KᵀE‖²",
        trace(negative) * half,
        square(K.T @ ERROR) * -half,
    )
    proof.say(
        "Every term of V̇ is then ≤ 0: V is a Lyapunov function. Only range(Bᵀ) counts, for E enters through BᵀE. "
        "Starts: W_1(0) = 0 and W_2(0) = 0 or cB, c ≥ 0, and every matrix-dominated start of the claim dominance; "
        "Lillicrap et al. 2016, Theorem 1, has C_1 = 0 and Σ = I."
    )


def _height(proof: Proof) -> None:
    """A second function, which falls from every start and integrates V."""
    proof.equal(
        "From every start, whatever C_1 and the rank of B: H = ½‖BᵀW_2‖² − ⟨BᵀY, W_1⟩ has Ḣ = −2(V − V*)",
        flow()(HEIGHT),
        VALUE * -2,
    )


def _bounded(proof: Proof) -> None:
    """H ≥ ¼‖BᵀW_2‖² − const, by the trace of the matrix law."""
    P = letter("P", n_1, n_1, symmetric=True)
    onto = (Relation(P @ B2.T, B2.T), Relation(P @ P, P))
    A = B2.T @ W(2)
    gap = square(A) + trace(C) - square(W(1))
    proof.say("Boundedness is not assumed, it follows. P projects on range(Bᵀ), PBᵀ = Bᵀ, tr P = rank B.")
    proof.equal(
        "‖BᵀW_2‖² + tr P + tr C_1 − ‖W_1‖² = ‖BᵀW_2 − P‖² ≥ 0",
        gap + trace(P),
        trace(rewrite((A - P).T @ (A - P), onto)),
    )
    proof.equal(
        "⟨BᵀY, W_1⟩ ≤ ‖BᵀY‖² + ¼‖W_1‖², the difference being a square",
        square(B2.T @ Y) + square(W(1)) * quarter - inner(B2.T @ Y, W(1)),
        square(B2.T @ Y - W(1) * half),
    )
    proof.equal(
        "so H ≥ ¼‖BᵀW_2‖² − ‖BᵀY‖² − ¼(rank B + tr C_1): the difference is ‖BᵀY − ½W_1‖² + ¼‖BᵀW_2 − P‖²",
        HEIGHT - square(A) * quarter + square(B2.T @ Y) + (trace(C) + trace(P)) * quarter,
        square(B2.T @ Y - W(1) * half) + (gap + trace(P)) * quarter,
    )
    proof.say(
        "H ≤ H(0) bounds BᵀW_2, hence W_1, from every start and for every B. Full row rank p makes Bᵀ injective, so "
        "W_2 is bounded too. (For other B the part of W_2 outside range(B) may grow, at most as √t: d½‖W_2‖²/dt = ⟨X, "
        "E⟩ ≤ ¼tr YΣYᵀ, so that the flow exists for all times.)"
    )


def _limit(proof: Proof) -> None:
    proof.say(
        "∫_0^∞(V − V*)dt = ½(H(0) − lim H) < ∞ by the last two steps, and V − V* is Lipschitz in time (BᵀE and its "
        "derivative −BᵀẊΣ = −(BᵀEW_1ᵀW_1 + BᵀW_2BᵀE)Σ are bounded), so V → V* (Barbalat's lemma) and BᵀE → 0, from "
        "every start. With B of full row rank E → 0 and L → L*: no LaSalle argument is needed."
    )
    t = sympy.Symbol("t", positive=True)
    v = sympy.Function("v")(t)
    proof.equal("v = d(tv)/dt − tv̇, v = V − V*", v, sympy.diff(t * v, t) - t * sympy.diff(v, t))
    proof.say(
        "Where C_1 ⪯ 0 on range(Bᵀ), v̇ ≤ 0, so tv(t) ≤ ∫_0^tv: V − V* ≤ I/t with "
        "I = ½(H(0) + ‖BᵀY‖² + ¼(rank B + tr C_1)). From the zero start I = ½‖BᵀY‖² + ⅛rank B."
    )
    proof.equal(
        "Used above: Ẋ = EW_1ᵀW_1 + W_2BᵀE",
        Derivation(velocity())(W(2) @ W(1)),
        ERROR @ W(1).T @ W(1) + W(2) @ B2.T @ ERROR,
    )
    below = trace(Y @ Sigma() @ Y.T) * quarter - trace(W(2) @ W(1) @ Sigma() @ RESIDUAL.T)
    centred = W(2) @ W(1) - Y * half
    proof.equal(
        "and ⟨X, E⟩ ≤ ¼tr YΣYᵀ: ¼tr YΣYᵀ − ⟨X, E⟩ = tr (X − ½Y)Σ(X − ½Y)ᵀ ≥ 0",
        below,
        trace(centred @ Sigma() @ centred.T),
    )


def _loss_may_rise(proof: Proof) -> None:
    """Show theory.md's start with C_1 = 0 at which the ordinary loss rises."""
    feedback = sympy.diag(2, 1)
    readout = feedback.T.inv() * sympy.Matrix([[0, 1], [-1, 0]])
    numbers = {W(1): [[0], [0]], W(2): readout, B2: feedback, Y: [[1], [1]], Sigma(): [[1]]}
    proof.vanishes(
        "The ordinary loss may rise. n = (1,2,2), Σ = 1, B = diag(2,1), Y = (1,1), W_1 = 0, W_2 = B⁻ᵀ[[0,1],[−1,0]]: "
        "C_1",
        at(C, numbers),
    )
    loss = trace(RESIDUAL @ Sigma() @ RESIDUAL.T) * half
    proof.fails(
        "yet dL/dt = −⟨E, W_2BᵀE⟩ at the start, where falling would need max(dL/dt, 0) = 0,",
        sympy.Max(at(flow()(loss), numbers)[0], 0),
    )


def _sufficient_only(proof: Proof) -> None:
    y = sympy.Symbol("y", real=True)
    numbers = {W(1): [[1]], W(2): [[-2]], B2: [[1]], Y: [[y]], Sigma(): [[1]]}
    proof.holds(
        "Sufficient only. n = (1,1,1), Σ = b = 1, w_1 = 1, w_2 = −2: C_1 = w_1² − 2bw_2 = 5 > 0",
        at(C, numbers)[0] == 5,
    )
    proof.equal("there V̇ = E², E = y + 2, so that V rises unless E = 0", at(flow()(VALUE), numbers)[0], (y + 2) ** 2)
    proof.say("Yet L → L* from there as from every start, by the steps above: C_1 ⪯ 0 governs the manner, not the end.")


def _rank(proof: Proof) -> None:
    proof.say("Full row rank is needed for L → L*: n = (1,1,2), B = (1,0)ᵀ, Y = (0,1)ᵀ, Σ = 1, W = 0.")
    numbers = {W(1): [[0]], W(2): [[0], [0]], B2: [[1], [0]], Y: [[0], [1]], Sigma(): [[1]]}
    proof.vanishes("Nothing moves: Ẇ_1 = BᵀE", at(flow()(W(1)), numbers))
    proof.vanishes("and Ẇ_2 = EW_1ᵀ", at(flow()(W(2)), numbers))
    proof.fails("while E", at(RESIDUAL @ Sigma(), numbers))


CLAIM = Claim(
    name="lyapunov",
    statement=(
        "Two layers, squared loss, any Σ_xx: C_1 ⪯ 0 on range(Bᵀ) makes V = ½E‖Bᵀ(y−f)‖² fall for ever, V − V* ≤ "
        "const/t; from every start the weights W_1, BᵀW_2 stay bounded and V → V*, and with B of full row rank the "
        "loss converges to its least."
    ),
    latex=(
        r"\dot V = -\lVert B^\top E W_1^\top\rVert^2 - \tfrac12\lVert W_1^\top B^\top E\rVert^2 + "
        r"\tfrac12\operatorname{tr}(E^\top B\, C_1 B^\top E),\qquad "
        r"\tfrac{d}{dt}\left(\tfrac12\lVert B^\top W_2\rVert^2 - \langle B^\top Y, W_1\rangle\right) = -2(V - V^*)"
    ),
    derive=derive,
)
