"""The width-free reduction: under a fixed feedback path a whole run is a system whose size no hidden width enters."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    DEPTH,
    LAYER,
    Derivation,
    E,
    M,
    Relation,
    Word,
    X,
    letter,
    powers,
    rewrite,
    substitute,
    width,
)
from theory.claim import Claim, Proof

l = LAYER
n0, p = width(0), width(DEPTH)
eta, mu, decay = sympy.symbols("η μ λ")


def coordinate(name: str, layer: sympy.Expr) -> Word:
    """A letter of the shape of Z_l, p × n_{l−1}."""
    return letter(name, p, width(layer - 1), index=layer)


def square(name: str, layer: sympy.Expr) -> Word:
    """A letter of the shape of R_l, p × p."""
    return letter(name, p, p, index=layer)


W0 = letter("W(0)", width(l), width(l - 1), index=l)
Z, Z_next, R = coordinate("Z", l), coordinate("Z", l + 1), square("R", l)
W = W0 + M(l) @ Z
Y = Z @ X(l - 1)
S, S_next = E() @ X(l - 1).T, E() @ (W @ X(l - 1)).T
"""What drives Z_l and Z_{l+1}: E X_{l−1}ᵀ and E X_lᵀ, with X_l = W_l X_{l−1}."""

Phi = letter("Φ", p, n0)
A = letter("A", width(l - 1), n0, index=l - 1)
T = letter("T", width(l - 1), (l - 1) * p, index=l - 1)
Ys = letter("Y:", (l - 1) * p, n0, index=l - 1)
Rs = letter("R:", p, (l - 1) * p, index=l - 1)
"""Blocks over all j < l: T = [T_{l−1,1} … T_{l−1,l−1}], Y: = [Y_1; …; Y_{l−1}], R: = [R_1 … R_{l−1}]."""


def derive(proof: Proof) -> None:
    """The weights reduce to Z_l, these to Φ and the R_l, the widths to Gram matrices; then the same in finite steps."""
    proof.say(
        "Hypothesis: the paths M_l are constant. Depth, widths, W_l(0), data and loss are arbitrary, and so is the "
        "error E at every moment. Define Z_l by Z_l(0) = 0 and Ż_l = E X_{l−1}ᵀ (p × n_{l−1}), so that Φ := Z_1 = ∫E "
        "dt; R_l by R_l(0) = 0 and Ṙ_l = Ż_l Z_lᵀ (p × p); and Y_l := Z_l X_{l−1} (p × n_0). Below, l is any layer."
    )
    flow(proof)
    products(proof)
    gram(proof)
    zero_start(proof)
    steps(proof)
    momentum_and_decay(proof)
    moving_path(proof)


def flow(proof: Proof) -> None:
    """W_l = W_l(0) + M_l Z_l, Z_{l+1} = Z_l W_l(0)ᵀ + R_l M_lᵀ, R_l + R_lᵀ = Z_l Z_lᵀ."""
    d = Derivation({Z: S, Z_next: S_next, R: S @ Z.T})
    proof.equal("d(W_l(0) + M_l Z_l)/dt is the velocity U_l = M_l E X_{l−1}ᵀ", d(W), M(l) @ E() @ X(l - 1).T)
    proof.equal("Ż_{l+1} = Ż_l W_lᵀ", d(Z_next), d(Z) @ W.T)
    proof.vanishes("d(Z_{l+1} − Z_l W_l(0)ᵀ − R_l M_lᵀ)/dt", d(Z_next - Z @ W0.T - R @ M(l).T))
    proof.vanishes("d(R_l + R_lᵀ − Z_l Z_lᵀ)/dt", d(R + R.T - Z @ Z.T))
    proof.equal("Ṙ_l = E Y_lᵀ", d(R), E() @ Y.T)
    proof.say(
        "All of these vanish at the start, so they are identities at all times. Hence Φ and the antisymmetric parts of "
        "R_1 … R_{L−1} determine the net: Z_1 = Φ; Z_l gives the symmetric part ½Z_l Z_lᵀ of R_l, and with it Z_{l+1}; "
        "and so on. These are p n_0 + (L−1)p(p−1)/2 numbers at any hidden widths, and Φ alone where p = 1."
    )
    proof.fails("R_l is not symmetric: the rate of its Lévy area R_l − R_lᵀ", d(R - R.T))


def products(proof: Proof) -> None:
    """X_l = A_l + Σ_j T_{l,j} Y_j and Z_{l+1} = Φ A_lᵀ + Σ_j R_j T_{l,j}ᵀ, by induction on l."""
    proof.say(
        "Put A_l := W_l(0) … W_1(0) and T_{l,j} := W_l(0) … W_{j+1}(0) M_j, j ≤ l, and collect the blocks "
        "T_l := [T_{l,1} … T_{l,l}] (n_l × lp), Y:_l := [Y_1; …; Y_l] (lp × n_0), R:_l := [R_1 … R_l] (p × lp). Then "
        "A_l = W_l(0)A_{l−1} and T_l = [W_l(0)T_{l−1}, M_l], that is T_l Y:_l = W_l(0)T_{l−1}Y:_{l−1} + M_l Y_l and "
        "R:_l T_lᵀ = R:_{l−1}T_{l−1}ᵀW_l(0)ᵀ + R_l M_lᵀ. Induction on l, from A_0 = I and empty blocks: "
        "if X_{l−1} = A_{l−1} + T_{l−1}Y:_{l−1} and Z_l = Φ A_{l−1}ᵀ + R:_{l−1}T_{l−1}ᵀ, then"
    )
    below = {X(l - 1): A + T @ Ys}
    proof.equal(
        "X_l = W_l X_{l−1} = A_l + T_l Y:_l",
        substitute(W @ X(l - 1), below),
        W0 @ A + W0 @ T @ Ys + M(l) @ substitute(Y, below),
    )
    proof.equal(
        "Z_{l+1} = Z_l W_l(0)ᵀ + R_l M_lᵀ = Φ A_lᵀ + R:_l T_lᵀ",
        substitute(Z @ W0.T + R @ M(l).T, {Z: Phi @ A.T + Rs @ T.T}),
        Phi @ (W0 @ A).T + (Rs @ T.T @ W0.T + R @ M(l).T),
    )


def gram(proof: Proof) -> None:
    """Y_l knows the width n_{l−1} only through A_{l−1}ᵀA_{l−1}, T_{l−1}ᵀA_{l−1} and T_{l−1}ᵀT_{l−1}."""
    sizes = (n0, (l - 1) * p)
    AA, TT = letter("AᵀA", n0, n0, symmetric=True), letter("TᵀT", sizes[1], sizes[1], symmetric=True)
    grams = (Relation(A.T @ A, AA), Relation(T.T @ T, TT), Relation(T.T @ A, letter("TᵀA", sizes[1], n0)))
    reduced = rewrite((Phi @ A.T + Rs @ T.T) @ (A + T @ Ys), grams)
    proof.show("So Y_l = Z_l X_{l−1} in the Gram matrices of A_{l−1} and T_{l−1} (each one letter)", reduced)
    sides = {side for a in reduced.letters() for side in (a.rows, a.cols)}
    proof.holds("No letter in it has a side n_{l−1}: the sides are n_0, p and (l−1)p", sides == {n0, p, (l - 1) * p})
    proof.say(
        "Y_l needs Φ, R_j and Y_j with j < l only; Φ̇ = E, Ṙ_j = E Y_jᵀ; and E depends on the weights through X_L = "
        "A_L + T_L Y:_L alone, made of matrices with p rows. So (Φ, R_1, …, R_{L−1}) obey a closed system, which the "
        "hidden widths enter through Gram matrices of the start, computed once."
    )


def zero_start(proof: Proof) -> None:
    """From W(0) = 0 the weights are M_l R_{l−1} M_{l−1}ᵀ, and the R_l close on themselves."""
    path, G = letter("M", width(l - 1), p, index=l - 1), letter("G", p, p, index=l - 1, symmetric=True)
    below, rate = square("R", l - 1), square("Ṙ", l - 1)
    Z_dot = Derivation({below: rate})(below @ path.T)
    proof.equal(
        "Zero start: Z_l = R_{l−1}M_{l−1}ᵀ, hence Ṙ_l = Ż_l Z_lᵀ = Ṙ_{l−1}G_{l−1}R_{l−1}ᵀ with G_l := M_lᵀM_l",
        rewrite(Z_dot @ (below @ path.T).T, (Relation(path.T @ path, G),)),
        rate @ G @ below.T,
    )


def steps(proof: Proof) -> None:
    """W_l ← W_l + ηU_l: the same coordinates, with sums; only the symmetric part of R_l is no longer given."""
    proof.say(
        "Finite steps W_l ← W_l + ηU_l, of any size η (it may change from step to step), on any batches. Let Z_l ← "
        "Z_l + ηE X_{l−1}ᵀ and R_l ← R_l + ηE Y_lᵀ, where everything on the right is taken before the step."
    )
    after = {Z: Z + eta * S, Z_next: Z_next + eta * S_next, R: R + eta * E() @ Y.T}

    def change(Q: Word) -> Word:
        return substitute(Q, after) - Q

    proof.equal("W_l(0) + M_l Z_l changes by ηU_l", change(W), eta * M(l) @ E() @ X(l - 1).T)
    proof.vanishes("the change of Z_{l+1} − Z_l W_l(0)ᵀ − R_l M_lᵀ", change(Z_next - Z @ W0.T - R @ M(l).T))
    proof.say("The inductions for X_l, Z_l and Y_l used these two identities and no derivative, so they hold here too.")
    area = change(R + R.T - Z @ Z.T)
    proof.equal("R_l + R_lᵀ − Z_l Z_lᵀ changes by exactly −η²(E X_{l−1}ᵀ)(E X_{l−1}ᵀ)ᵀ", area, -(eta**2) * S @ S.T)
    proof.fails("so all of R_l is to be kept in discrete time: at second order in η", powers(area, eta)[2])


def momentum_and_decay(proof: Proof) -> None:
    """SGD with momentum and decay: one copy of the coordinates for each power of α, each with a velocity of its own."""
    proof.say(
        "Momentum and decay: v_l ← μv_l + U_l − λW_l, W_l ← W_l + ηv_l, from v_l(0) = 0. Now W_l = αW_l(0) + M_l Z_l "
        "and v_l = aW_l(0) + M_l V_l with numbers α, a that start at 1, 0 and move as a ← μa − λα, α ← α + ηa. Keep "
        "copies Z_l^k, R_l^k with velocities V_l^k, Q_l^k, k = 0, 1, …; Z_l := Z_l^0, Y_l := Z_l X_{l−1}. Copy k is "
        "driven by α^k times the old source: V_l^k ← μV_l^k + α^k E X_{l−1}ᵀ − λZ_l^k, Z_l^k ← Z_l^k + ηV_l^k, and "
        "Q_l^k ← μQ_l^k + α^k E Y_lᵀ − λR_l^k, R_l^k ← R_l^k + ηQ_l^k."
    )
    alpha, a, alpha_k = sympy.symbols("α a α^k")
    weights, v = alpha * W0 + M(l) @ Z, a * W0 + M(l) @ coordinate("V", l)
    a_after, V_after = mu * a - decay * alpha, mu * coordinate("V", l) + S - decay * Z
    v_after = mu * v + M(l) @ S - decay * weights
    proof.equal("v_l keeps its form", v_after, a_after * W0 + M(l) @ V_after)
    proof.equal(
        "and W_l keeps its own",
        weights + eta * v_after,
        (alpha + eta * a_after) * W0 + M(l) @ (Z + eta * V_after),
    )
    source = E() @ (weights @ X(l - 1)).T
    proof.equal("E X_lᵀ = αE X_{l−1}ᵀW_l(0)ᵀ + E Y_lᵀM_lᵀ", source, alpha * S @ W0.T + E() @ Y.T @ M(l).T)
    names = ("Z^k", "V^k", "Z^(k+1)", "V^(k+1)")
    Zk, Vk, Z_up, V_up = (coordinate(name, at) for name, at in zip(names, (l + 1, l + 1, l, l), strict=True))
    Rk, Qk = square("R^k", l), square("Q^k", l)
    after = {
        Vk: mu * Vk + alpha_k * source - decay * Zk,
        V_up: mu * V_up + alpha * alpha_k * S - decay * Z_up,
        Qk: mu * Qk + alpha_k * E() @ Y.T - decay * Rk,
    }
    gap, gap_v = Zk - Z_up @ W0.T - Rk @ M(l).T, Vk - V_up @ W0.T - Qk @ M(l).T
    proof.equal(
        "The gap g := Z_{l+1}^k − Z_l^{k+1}W_l(0)ᵀ − R_l^kM_lᵀ and that of the velocities, g_v: g_v goes to μg_v − λg",
        substitute(gap_v, after),
        mu * gap_v - decay * gap,
    )
    proof.say(
        "and g to g + η times that. Both start at zero and stay there: Z_{l+1}^k = Z_l^{k+1}W_l(0)ᵀ + R_l^kM_lᵀ, that "
        "is Z_l = Φ^{l−1}A_{l−1}ᵀ + Σ_{j<l} R_j^{l−1−j}T_{l−1,j}ᵀ with copy indices above and Φ^k := Z_1^k. Likewise, "
        "with α^{l−j}Y_j in the blocks, X_l = α^l A_l + Σ_{j≤l} α^{l−j}T_{l,j}Y_j: the same Gram matrices."
    )
    below = {X(l - 1): alpha_k * A + T @ Ys}
    proof.equal(
        "X_l, the induction step (α^k stands for α^{l−1})",
        substitute(weights @ X(l - 1), below),
        alpha * alpha_k * W0 @ A + W0 @ T @ (alpha * Ys) + M(l) @ substitute(Y, below),
    )
    proof.say("Without decay α = 1 and all copies are one; without momentum α ← (1 − ηλ)α, Z_l^k ← (1 − ηλ)Z_l^k + …")
    first, second = letter("E", p, n0, index=1), letter("E", p, n0, index=2)
    one_buffer = (mu * first + second) @ (eta * first).T
    proof.fails(
        "A buffer on Φ alone is wrong (R_1 ← R_1 + ηV_1Y_1ᵀ): after the errors E_1, E_2 its velocity of R_1 is off by",
        one_buffer - (mu * first @ (0 * first).T + second @ (eta * first).T),
    )


def moving_path(proof: Proof) -> None:
    """Where the path moves, M_l Z_l is not the change of the weights."""
    moving = Derivation({Z: S, M(l): letter("Ṁ", width(l), p, index=l)})
    proof.say("Tight: the path must not move. Backprop's path M_l = (W_L … W_{l+1})ᵀ does.")
    proof.fails("with a moving path, d(W_l(0) + M_l Z_l)/dt − U_l", moving(W) - M(l) @ E() @ X(l - 1).T)


CLAIM = Claim(
    name="width_free",
    statement="Under a fixed feedback path training is a closed system in p n_0 + (L−1)p(p−1)/2 numbers at any width, "
    "and its finite-step form (p n_0 + (L−1)p² numbers; with decay, one copy per layer) is exact too.",
    latex=r"W_l = W_l(0) + M_l Z_l,\quad Z_{l+1} = Z_l W_l(0)^\top + R_l M_l^\top,\quad "
    r"\dot R_l = \dot Z_l Z_l^\top,\quad R_l + R_l^\top = Z_l Z_l^\top",
    derive=derive,
)
