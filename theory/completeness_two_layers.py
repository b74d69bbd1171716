"""Two layers under feedback alignment: all brackets by hand, so all laws; and exactly when {L2, L3} are all of them.

The two families: L2, P W_1 with P = I − M M⁺; L3, C = W_1W_1ᵀ − sym(M W_2). Here M = M_1 = B_2ᵀ and M_2 = I.
"""

from __future__ import annotations

import sympy

from linfa.symbolic import Derivation, Relation, W, Word, identity, letter, rewrite, sym, width
from theory.claim import Claim, Proof

n0, n1, p = width(0), width(1), width(2)
M = letter("M", n1, p)
Velocity = tuple[Word, Word]


def error(name: str) -> Word:
    """A constant K of the shape of the error E."""
    return letter(name, p, n0)


def field(K: Word) -> Velocity:
    """X_K(W_1, W_2) = (M K, K W_1ᵀ)."""
    return M @ K, K @ W(1).T


def along(X: Velocity, Y: Velocity) -> Velocity:
    """D Y·X, the change of the field Y along the field X."""
    d = Derivation({W(1): X[0], W(2): X[1]})
    return d(Y[0]), d(Y[1])


def bracket(X: Velocity, Y: Velocity) -> Velocity:
    """[X, Y] = D Y·X − D X·Y."""
    return tuple(a - b for a, b in zip(along(X, Y), along(Y, X), strict=True))  # type: ignore[return-value]


def derive(proof: Proof) -> None:
    """The brackets, the dimension of the algebra, the kernel of the laws; then what is missing without genericity."""
    proof.say(
        "A law, valid for every loss and every data set, is a function Q of θ = (W_1, W_2) that is constant along θ̇ "
        "= X_E for whatever E; and every K ∈ R^{p×n_0} is the error of some task at θ (squared loss, Σ_yx = K + "
        "W_2W_1Σ_xx). So dQ annihilates all X_K, hence their brackets, hence Lie(θ), the values at θ of the Lie "
        "algebra they generate (the method of Marcotte, Gribonval & Peyré 2023). The laws {L2, L3} are complete at θ "
        "where nothing but Lie(θ) is annihilated by all of their differentials."
    )
    brackets(proof)
    laws_hold(proof)
    full_rank(proof)
    any_rank(proof)
    missing(proof)
    count(proof)


def brackets(proof: Proof) -> None:
    """The algebra is nilpotent of step two: [X_K, X_K'] is constant, and longer brackets vanish."""
    X, Y, V = field(error("K")), field(error("K'")), field(error("K''"))
    first = bracket(X, Y)
    proof.vanishes("[X_K, X_K'], first layer", first[0])
    Omega = error("K'") @ error("K").T - error("K") @ error("K'").T
    proof.equal("[X_K, X_K'], second layer: ΩMᵀ with Ω = K'Kᵀ − KK'ᵀ", first[1], Omega @ M.T)
    proof.vanishes("Ω is antisymmetric: Ω + Ωᵀ", Omega + Omega.T)
    second = bracket(V, first)
    proof.vanishes("[X_K'', [X_K, X_K']], first layer", second[0])
    proof.vanishes("[X_K'', [X_K, X_K']], second layer", second[1])
    u, a, b = letter("u", n0, 1), letter("e_i", p, 1), letter("e_j", p, 1)
    unit = (Relation(u.T @ u, identity(1)),)
    proof.equal(
        "K = e_i uᵀ, K' = e_j uᵀ with |u| = 1 give Ω = e_j e_iᵀ − e_i e_jᵀ: every antisymmetric Ω is in the span",
        rewrite(b @ u.T @ (a @ u.T).T - a @ u.T @ (b @ u.T).T, unit),
        b @ a.T - a @ b.T,
    )
    proof.say("Hence, for any W and any B_2: Lie(θ) = {(M K, K W_1ᵀ + Ω Mᵀ): K ∈ R^{p×n_0}, Ω = −Ωᵀ ∈ R^{p×p}}.")


P = letter("P", n1, n1, symmetric=True)


def laws_hold(proof: Proof) -> None:
    """The laws annihilate Lie(θ)."""
    K, Omega = error("K"), letter("Ω", p, p)
    antisymmetric = Omega - Omega.T
    d = Derivation({W(1): M @ K, W(2): K @ W(1).T + antisymmetric @ M.T}, (Relation(P @ M, 0 * M),))
    proof.say("L2: P W_1, where P = I − M M⁺ projects off the range of M = B_2ᵀ. L3: C = W_1W_1ᵀ − sym(M W_2).")
    proof.vanishes("dL2 on Lie(θ), where Ω is written Ω − Ωᵀ", d(P @ W(1)))
    proof.vanishes("dL3 on Lie(θ)", d(W(1) @ W(1).T - sym(M @ W(2))))


Q = letter("M⁺", p, n1)
N = letter("N", p, p, symmetric=True)
H = letter("H", p, n1)
PENROSE = (
    Relation(M @ Q @ M, M),
    Relation(Q @ M, identity(p) - N),
    Relation(M @ N, 0 * M),
    Relation(N @ N, N),
)
"""N = I − M⁺M projects onto the null space of M."""


def full_rank(proof: Proof) -> None:
    """Full rank p of B_2: the kernel of the differentials is Lie(θ), at every θ."""
    K = error("K")
    proof.say(
        "The converse. Let (V_1, V_2) be annihilated by dL2 and dL3. P V_1 = 0 says V_1 = M K with K = M⁺V_1. Put "
        "H := K W_1ᵀ − V_2; then dL3 = sym(V_1W_1ᵀ − M V_2) = sym(M H), which therefore vanishes."
    )
    V_2 = K @ W(1).T - H
    d = Derivation({W(1): M @ K, W(2): V_2})
    proof.equal("dL3 on (M K, K W_1ᵀ − H)", d(W(1) @ W(1).T - sym(M @ W(2))), sym(M @ H))
    proof.say("First case: rank B_2 = p, that is M⁺M = I (so n_1 ≥ p).")
    antisymmetric(proof, M, Q, H)
    proof.say(
        "So (V_1, V_2) = (M K, K W_1ᵀ − ΩMᵀ) ∈ Lie(θ): {L2, L3} are complete at every θ. The only genericity used is "
        "rank B_2 = p; nothing is asked of W_1, W_2, n_0."
    )


def antisymmetric(proof: Proof, path: Word, inverse: Word, A: Word) -> None:
    """If sym(M H) = 0 and M⁺M = I, then H = ΩMᵀ with an antisymmetric Ω = −M⁺Hᵀ."""
    residue, Omega, unit = sym(path @ A), -(inverse @ A.T), (Relation(inverse @ path, identity(path.cols)),)
    proof.say("Put Ω := −M⁺Hᵀ.")
    proof.equal("M⁺ sym(M H) = H − ΩMᵀ, so H = ΩMᵀ", rewrite(inverse @ residue, unit), A - Omega @ path.T)
    proof.equal(
        "M⁺ sym(M H) M⁺ᵀ = −(Ω + Ωᵀ), so Ω is antisymmetric",
        rewrite(inverse @ residue @ inverse.T, unit),
        -(Omega + Omega.T),
    )


def any_rank(proof: Proof) -> None:
    """Any rank of B_2: still complete where the columns of B_2ᵀ and W_1 together span R^{n_1}."""
    proof.say(
        "Second case: any B_2, but rank [M, W_1] = n_1. Then M S + W_1 T = I for some S (p × n_1), T (n_0 × n_1). With "
        "N := I − M⁺M, put Ω_1 := −M⁺Hᵀ(I − N), Ω_2 := N H Sᵀ − S HᵀN and K' := N H Tᵀ."
    )
    S, T = letter("S", p, n1), letter("T", n0, n1)
    first = -(Q @ H.T @ (identity(p) - N))
    second = N @ H @ S.T - S @ H.T @ N
    extra = N @ H @ T.T

    def clean(A: Word) -> Word:
        return rewrite(A, PENROSE)

    residue = sym(M @ H)
    proof.equal("Ω_1Mᵀ = (I − N)H − M⁺ sym(M H)", clean(first @ M.T), clean(H - N @ H - Q @ residue))
    proof.equal("Ω_1 + Ω_1ᵀ = −M⁺ sym(M H) M⁺ᵀ", clean(first + first.T), clean(-(Q @ residue @ Q.T)))
    proof.vanishes("Ω_2 + Ω_2ᵀ", second + second.T)
    proof.vanishes("M K'", clean(M @ extra))
    spanned = (*PENROSE, Relation(W(1) @ T, identity(n1) - M @ S))
    proof.equal("Ω_2Mᵀ + K'W_1ᵀ = N H", rewrite(second @ M.T + extra @ W(1).T, spanned), N @ H)
    proof.say(
        "With sym(M H) = 0: H = (Ω_1 + Ω_2)Mᵀ + K'W_1ᵀ, both Ω antisymmetric, M K' = 0. So (V_1, V_2) = (M(K − K'), "
        "(K − K')W_1ᵀ − (Ω_1 + Ω_2)Mᵀ) ∈ Lie(θ): complete again. For n_1 ≤ p and rank B_2 = n_1 this holds at every θ."
    )


def missing(proof: Proof) -> None:
    """Neither: a direction that no law of {L2, L3} forbids and that no bracket reaches."""
    nu, tau, K, Omega = letter("ν", p, 1), letter("τ", n1, 1), error("K"), letter("Ω", p, p)
    off = (Relation(M @ nu, 0 * M @ nu), Relation(M.T @ tau, 0 * M.T @ tau), Relation(W(1).T @ tau, 0 * W(1).T @ tau))
    proof.say(
        "Tight: if both fail there are ν ≠ 0 with M ν = 0 and τ ≠ 0 with Mᵀτ = 0, W_1ᵀτ = 0. The direction (0, ντᵀ) is "
        "free of {L2, L3}, but not in Lie(θ), whose second layers all annihilate τ."
    )
    d = Derivation({W(1): 0 * W(1), W(2): nu @ tau.T}, off)
    proof.vanishes("dL2 on it", d(P @ W(1)))
    proof.vanishes("dL3 on it", d(W(1) @ W(1).T - sym(M @ W(2))))
    proof.vanishes("(K W_1ᵀ + ΩMᵀ)τ", rewrite((K @ W(1).T + Omega @ M.T) @ tau, off))
    proof.fails("whereas (ντᵀ)τ", nu @ tau.T @ tau)
    proof.say(
        "So {L2, L3} are complete at θ if and only if rank B_2 = p or rank [B_2ᵀ, W_1] = n_1. Example of a gap: B_2 = "
        "0 (read-out only) with n_0 < n_1, where W_2τ stays for τ ⊥ range W_1."
    )


def count(proof: Proof) -> None:
    """The dimensions, from the spaces above."""
    n_0, n_1, outputs, r, rho = sympy.symbols("n_0 n_1 p r ρ", integer=True, positive=True)
    proof.say(
        "Dimensions, counted by hand with rank–nullity: r := rank B_2, ρ := rank [B_2ᵀ, W_1]. Lie(θ): the M K make r "
        "n_0 dimensions; the (0, K W_1ᵀ + ΩMᵀ) with M K = 0 make r(r−1)/2 + r(p−r) through Ω, and K adds (p−r)(ρ−r). "
        "Kernel of dL2, dL3: the M K again; then sym(M H) = 0 leaves (p−r)n_1 for N H and r(r−1)/2 for M H = M Ω'Mᵀ "
        "with Ω' antisymmetric on the range of Mᵀ."
    )
    lie = r * n_0 + r * (r - 1) / 2 + r * (outputs - r) + (outputs - r) * (rho - r)
    kernel = r * n_0 + (outputs - r) * n_1 + r * (r - 1) / 2
    parameters = n_1 * n_0 + outputs * n_1
    proof.equal("kernel − dim Lie, the laws missing, is (p−r)(n_1−ρ)", kernel - lie, (outputs - r) * (n_1 - rho))
    full = lie.subs({r: outputs})
    proof.equal("rank B_2 = p: dim Lie(θ) = p n_0 + p(p−1)/2", full, outputs * n_0 + outputs * (outputs - 1) / 2)
    L2, L3 = (n_1 - r) * n_0, n_1 * r - r * (r - 1) / 2
    proof.equal("#laws = (n_1−r)n_0 of L2 + r n_1 − r(r−1)/2 more of L3", parameters - kernel, L2 + L3)
    narrow = lie.subs({r: n_1, rho: n_1})
    proof.equal(
        "n_1 ≤ p, rank B_2 = n_1: dim Lie(θ) = n_1 n_0 + n_1(2p − n_1 − 1)/2",
        narrow,
        n_1 * n_0 + n_1 * (2 * outputs - n_1 - 1) / 2,
    )
    proof.say(
        "The rank of the differentials, #laws, is the same at every θ; so where {L2, L3} are complete every law is, "
        "locally, a function of them (constant-rank theorem)."
    )


CLAIM = Claim(
    name="completeness_two_layers",
    statement="For two layers under feedback alignment the null-space and quadratic laws {L2, L3} are all laws if rank "
    "B_2 = p, when dim Lie = p n_0 + p(p−1)/2 everywhere; in general iff rank B_2 = p or rank [B_2ᵀ, W_1] = n_1.",
    latex=r"[X_K, X_{K'}] = (0, (K'K^\top - KK'^\top)B_2),\quad "
    r"\dim\mathrm{Lie}(\theta) = p\,n_0 + \tfrac{p(p-1)}{2}\ \text{ if } \operatorname{rank} B_2 = p",
    derive=derive,
)
