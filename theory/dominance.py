"""Dominance: a start with C_l ⪯ 0, with C_l[k,k] ≤ 0, or with tr C_l ≤ 0 stays aligned for ever, whatever is learnt."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    DEPTH,
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    Derivation,
    E,
    M,
    Relation,
    Scalar,
    W,
    Word,
    identity,
    increment,
    inner,
    letter,
    rewrite,
    substitute,
    sym,
    trace,
    width,
    zero,
)
from theory.claim import Claim, Proof
from theory.notation import at, half, square, target

l = LAYER
n = width(l)
e = letter("e", n, 1)


def C(layer: object) -> Word:
    """C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1})."""
    return W(layer) @ W(layer).T - sym(B(layer + 1).T @ W(layer + 1))


def kappa(direction: Word) -> Scalar:
    """κ(e) = ⟨W_{l+1}e, B_{l+1}e⟩ − ½‖W_lᵀe‖²; with e = e_k the margin κ_k of neuron k."""
    return inner(W(l + 1) @ direction, B(l + 1) @ direction) - square(W(l).T @ direction) * half


def derive(proof: Proof) -> None:
    """The identity, the three levels, the starts, the converses that fail, and the scalar output."""
    _identity(proof)
    _levels(proof)
    _starts(proof)
    _built(proof)
    _converses(proof)
    _without(proof)
    _steps(proof)
    _scalar_output(proof)


def _identity(proof: Proof) -> None:
    flow = FEEDBACK_ALIGNMENT.flow(l)
    layer = inner(W(l + 1), B(l + 1))
    proof.say(
        "Let l be any hidden layer of a net of any depth under feedback alignment; E, hence loss and data, is any."
    )
    proof.equal("A1: ⟨W_{l+1}, B_{l+1}⟩ = ½‖W_l‖² − ½ tr C_l", layer, square(W(l)) * half - trace(C(l)) * half)
    proof.equal("and along any direction e: κ(e) = −½ eᵀC_l e", kappa(e), trace(e.T @ C(l) @ e) * -half)
    proof.vanishes("dC_l/dt, by the matrix law", flow.derivation(C(l)))
    proof.vanishes("so every margin is constant, dκ(e)/dt", flow.derivation(kappa(e)))
    proof.equal(
        "alignment grows exactly as the incoming norm: d⟨W_{l+1}, B_{l+1}⟩/dt = d½‖W_l‖²/dt",
        flow.derivation(layer),
        flow.derivation(square(W(l)) * half),
    )
    proof.say(
        "C_l is constant, so each of the three sets {tr C_l ≤ 0} (layer dominance), {C_l[k,k] ≤ 0 for all k} (neuron "
        "dominance), {C_l ⪯ 0} (matrix dominance) is left by no trajectory and entered by none. Inside, ⟨W_{l+1}(t)e, "
        "B_{l+1}e⟩ = κ(e) + ½‖W_l(t)ᵀe‖² ≥ ½‖W_l(t)ᵀe‖² ≥ 0 for the e concerned: aligned for ever, strictly where "
        "κ(e) > 0 or W_lᵀe ≠ 0."
    )


def _levels(proof: Proof) -> None:
    """Matrix ⇒ neuron ⇒ layer."""
    constant, K, J = letter("C", n, n, symmetric=True), letter("K", n, sympy.Symbol("r")), letter("J", n, n)
    proof.say("C_l ⪯ 0 means C_l = −KKᵀ for some K.")
    margin = rewrite(e.T @ constant @ e, (Relation(constant, -(K @ K.T)),)) * -half
    proof.equal(
        "matrix ⇒ neuron: κ(e) = ½‖Kᵀe‖² ≥ 0 for every e, the e_k among them", trace(margin), square(K.T @ e) * half
    )
    rotated = rewrite(constant @ J @ J.T, (Relation(J @ J.T, identity(n)),))
    proof.equal(
        "neuron ⇒ layer: the margins along any orthonormal basis J (JJᵀ = I), such as the e_k, add up to −½ tr C_l",
        trace(rotated) * -half,
        trace(constant) * -half,
    )


def _starts(proof: Proof) -> None:
    c = sympy.Symbol("c", nonnegative=True)
    at_zero = substitute(C(l), {W(l): zero(n, width(l - 1))})
    proof.equal(
        "Starts, 1: W_l(0) = 0 leaves C_l = −sym(B_{l+1}ᵀW_{l+1}), so neuron dominance asks ⟨W_{l+1}[:,k], "
        "B_{l+1}[:,k]⟩ ≥ 0, matrix dominance sym(B_{l+1}ᵀW_{l+1}) ⪰ 0; W_{l+1}(0) = 0 or cB_{l+1}, c ≥ 0, has both",
        at_zero,
        -sym(B(l + 1).T @ W(l + 1)),
    )
    multiple = W(l) @ W(l).T - sym(B(l + 1).T @ (c * B(l + 1)))
    proof.equal(
        "2: W_{l+1}(0) = cB_{l+1} gives C_l = W_lW_lᵀ − 2cB_{l+1}ᵀB_{l+1}: matrix dominance is cB_{l+1}ᵀB_{l+1} ⪰ "
        "½W_lW_lᵀ",
        multiple,
        W(l) @ W(l).T - 2 * c * B(l + 1).T @ B(l + 1),
    )
    proof.equal(
        "and its diagonal, neuron dominance, is c‖B_{l+1}[:,k]‖² ≥ ½‖W_l[k,:]‖²: κ(e)",
        trace(e.T @ multiple @ e) * -half,
        square(B(l + 1) @ e) * c - square(W(l).T @ e) * half,
    )
    outside = (Relation(B(l + 1) @ e, zero(width(l + 1), 1)),)
    proof.equal(
        "Where W_lW_lᵀ leaves range(B_{l+1}ᵀ) no W_{l+1} whatever is matrix dominated: B_{l+1}e = 0 gives "
        "eᵀC_le = ‖W_lᵀe‖², positive unless W_lᵀe = 0",
        trace(rewrite(e.T @ C(l) @ e, outside)),
        square(W(l).T @ e),
    )
    proof.say(
        "Otherwise range(W_l) ⊆ range(B_{l+1}ᵀ), and c = ½‖W_l‖²/σ² is enough, σ the least non-zero singular value of "
        "B_{l+1}: both W_lW_lᵀ ⪯ ‖W_l‖²P and B_{l+1}ᵀB_{l+1} ⪰ σ²P, P the projector on range(B_{l+1}ᵀ)."
    )


def _built(proof: Proof) -> None:
    """W_1 = P_1G and W_l = c_lP_lB_l, the starts of linfa.dominated."""
    P, P_next = (letter("P", width(k), width(k), index=k, symmetric=True) for k in (l, l + 1))
    path = Relation(B(l + 1).T @ M(l + 1), M(l))
    onto = (Relation(P_next @ P_next, P_next), Relation(P_next @ M(l + 1), M(l + 1)), Relation(P @ M(l), M(l)), path)
    pseudo = letter("N", width(DEPTH), width(l + 1), index=l + 1)
    proof.say(
        "3, at every depth (linfa.dominated): P_l = M_lM_l⁺ projects on range(M_l); W_1(0) = P_1G, W_l(0) = "
        "c_lP_lB_l. Then P_lW_l = W_l, and C_l = W_lW_lᵀ − 2c_{l+1}B_{l+1}ᵀP_{l+1}B_{l+1}."
    )
    reached = B(l + 1).T @ M(l + 1) @ pseudo
    proof.equal(
        "the subtracted term lives in range(M_l) too: P_l B_{l+1}ᵀP_{l+1} = B_{l+1}ᵀP_{l+1}, with P_{l+1} = "
        "M_{l+1}M_{l+1}⁺",
        rewrite(P @ reached, (path, *onto)),
        rewrite(reached, (path,)),
    )
    proof.equal(
        "it is a square, αᵀB_{l+1}ᵀP_{l+1}B_{l+1}α = ‖P_{l+1}B_{l+1}α‖²",
        trace(e.T @ B(l + 1).T @ P_next @ B(l + 1) @ e),
        trace(rewrite(e.T @ B(l + 1).T @ P_next @ P_next @ B(l + 1) @ e, onto[:1])),
    )
    proof.equal(
        "and positive definite on range(M_l): P_{l+1}B_{l+1}α = 0 gives M_{l+1}ᵀP_{l+1}B_{l+1}α = M_lᵀα = 0, so α ⊥ "
        "range(M_l)",
        rewrite(M(l + 1).T @ P_next @ B(l + 1) @ e, onto),
        M(l).T @ e,
    )
    proof.say(
        "So c_2, …, c_L exist one after the other, each the least that makes C_l ⪯ 0 (matrix) or C_l[k,k] ≤ 0 "
        "(neuron), or more. A neuron with P_{l+1}B_{l+1}e_k = 0 has e_k ⊥ range(M_l), so W_l[k,:] = 0 and κ_k = 0."
    )


def _converses(proof: Proof) -> None:
    """Neither arrow can be turned round; B_2 = I, W_1 = 0, so that C_1 = −W_2 − W_2ᵀ."""
    numbers = {W(1): [[0], [0]], B(2): sympy.eye(2)}
    constant, u = C(l).at({l: 1}), sympy.Matrix([1, 1])
    C_1 = at(constant, numbers | {W(2): [[1, -2], [-2, 1]]})
    proof.holds(
        "n = (1,2,2), B_2 = I, W_1 = 0, W_2 = [[1,−2],[−2,1]]: κ_1 = κ_2 = 1", all(C_1[k, k] == -2 for k in (0, 1))
    )
    proof.fails("yet matrix dominance fails: the positive part of uᵀC_1u, u = (1,1),", sympy.Max((u.T * C_1 * u)[0], 0))
    C_1 = at(constant, numbers | {W(2): sympy.diag(2, -1)})
    proof.holds("W_2 = diag(2,−1): −½ tr C_1 = 1", -C_1.trace() / 2 == 1)
    proof.fails("yet neuron dominance fails: the positive part of C_1[2,2]", sympy.Max(C_1[1, 1], 0))


def _without(proof: Proof) -> None:
    """Show a neuron that is aligned at first (κ = −1) and misaligned at the end."""
    w, above = sympy.Symbol("w_1", real=True), sympy.Symbol("w_2", real=True)
    proof.say("Without dominance alignment can be lost: n = (1,1,1), Σ_xx = 1, b = 1, y = −½, w_1(0) = 2, w_2(0) = 1.")
    constant, aligned = C(l).at({l: 1}), inner(W(2), B(2))
    numbers = {B(2): [[1]], target(2): [[-half]]}
    first, start = {W(1): [[w]], W(2): [[above]]}, {W(1): [[2]], W(2): [[1]]}
    level = at(constant, numbers | start)[0]
    proof.holds("There C_1 = 2 > 0", level == 2)
    (solved,) = sympy.solve(at(constant, numbers | first)[0] - level, above)
    proof.equal("and the law, C_1 = 2 for ever, gives w_2", solved, w**2 / 2 - 1)
    error = {E(2): target(2) - W(2) @ W(1)}
    u_1, u_2 = (
        at(substitute(FEEDBACK_ALIGNMENT.net(2).velocity[W(k)], error), numbers | first)[0].subs(above, solved)
        for k in (1, 2)
    )
    proof.equal("so that ẇ_1 = y − w_2w_1", u_1, -(w - 1) * (w**2 + w - 1) / 2)
    falling = sympy.solve_univariate_inequality(u_1 < 0, w, relational=False)
    proof.holds("It is negative for 1 < w_1 ≤ 2", sympy.Interval.Lopen(1, 2).is_subset(falling))
    proof.vanishes("and at w_1 = 1, where the run ends, ẇ_1 and ẇ_2 are", sympy.Matrix([u_1, u_2]).subs(w, 1))
    product = at(aligned, numbers | first)[0].subs(above, solved)
    proof.holds("w_2b > 0 at the start", product.subs(w, 2) > 0)
    proof.fails(
        "and negative there: what alignment for ever would make vanish, max(−w_2b, 0),",
        sympy.Max(-product.subs(w, 1), 0),
    )


def _steps(proof: Proof) -> None:
    """Cones of the flow, not of finite steps."""
    flow = FEEDBACK_ALIGNMENT.flow(l)
    U = flow.velocity[W(l)]
    change = increment(kappa(e), flow)
    proof.holds(
        "Tight: a finite step of rate η is not the flow; it changes κ(e) by a multiple of η² alone", set(change) == {2}
    )
    proof.equal("and lowers it: the coefficient of η² is −½‖U_lᵀe‖²", change[2], square(U.T @ e) * -half)


def _scalar_output(proof: Proof) -> None:
    """A2: f = Σ_k a_k σ(w_k·x), σ homogeneous; N samples as columns of x, D_k the diagonal of σ'(w_k·x_i)."""
    N = sympy.Symbol("N", integer=True, positive=True)
    a, b = (letter(name, 1, 1, index=sympy.Symbol("k"), symmetric=True) for name in "ab")
    w, x, delta = letter("w", 1, width(0)), letter("x", width(0), N), letter("δ", 1, N)
    D = letter("D", N, N, symmetric=True)
    h, q = w @ x @ D, -(delta @ D @ x.T)
    velocity = {w: -(b @ q), a: delta @ h.T}
    proof.say(
        "A2. One output, f = Σ_k a_kσ(w_k·x) with σ(z) = σ'(z)z (linear, ReLU, leaky ReLU; the data are N columns x, "
        "D_k = diag σ'(w_k·x_i), h_k = w_kxD_k, δ = −(ℓ'_1, …, ℓ'_N)/N, q_k = −δD_kxᵀ = E[ℓ'σ'(w_k·x)x]). Feedback "
        "alignment is ẇ_k = −b_kq_k, ȧ_k = δh_kᵀ = −∂L/∂a_k. Where σ has a kink, D_k is any fixed choice of σ'(0) and "
        "derivatives are those of an absolutely continuous solution, almost everywhere."
    )
    flow = Derivation(velocity)
    neuron = inner(a, b) - square(w) * half
    proof.vanishes("κ_k = a_kb_k − ½‖w_k‖² is constant, dκ_k/dt", flow(neuron))
    signal = velocity[a] @ h + a @ velocity[w] @ x @ D
    proof.equal(
        "neuron k's share of dL/dt = −⟨δ, ḟ⟩, with ḟ = Σ_k ȧ_kh_k + a_kẇ_kxD_k: −(∂L/∂a_k)² − a_kb_k‖q_k‖²",
        inner(delta, signal) * -1,
        -square(delta @ h.T) - trace(a @ b @ q @ q.T),
    )
    proof.equal("a_kb_k = κ_k + ½‖w_k‖² ≥ κ_k", inner(a, b), neuron + square(w) * half)
    proof.say(
        "Summed: dL/dt = −Σ_k a_kb_k‖q_k‖² − ‖∇_aL‖² ≤ −κ Σ_k‖q_k‖² − ‖∇_aL‖² with κ = min_k κ_k; for κ ≥ 0 the loss "
        "never rises, whatever ℓ and the data."
    )
    smooth = {w: -(b @ q), a: delta @ letter("h", 1, N).T}
    proof.fails("Tight: without homogeneity (h_k ≠ w_kxD_k, as for tanh) dκ_k/dt", Derivation(smooth)(neuron))


CLAIM = Claim(
    name="dominance",
    statement=(
        "⟨W_{l+1}, B_{l+1}⟩ = ½‖W_l‖² − ½ tr C_l for ever, so C_l ⪯ 0, C_l[k,k] ≤ 0 or tr C_l ≤ 0 at the start keeps "
        "directions, neurons or the layer aligned; each implies the next and no converse holds; with one output and "
        "homogeneous units the loss then never rises."
    ),
    latex=(
        r"\langle W_{l+1}(t), B_{l+1}\rangle = \tfrac12\lVert W_l(t)\rVert^2 - \tfrac12\operatorname{tr} C_l,\qquad "
        r"\dot C_l = 0"
    ),
    derive=derive,
)
