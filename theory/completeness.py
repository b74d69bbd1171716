"""Any depth: with hidden widths ≥ p the laws {L2, L3} are all laws; for a table of widths, exactly counted.

Fixed paths: feedback alignment, ρ-FA and direct feedback. Gradient flow for comparison.
"""

from __future__ import annotations

from itertools import product

from linfa.symbolic import (
    DEPTH,
    LAYER,
    Derivation,
    M,
    Relation,
    W,
    Word,
    X,
    closure,
    letter,
    rewrite,
    substitute,
    sym,
    width,
)
from theory.claim import Claim, Proof
from theory.completeness_two_layers import antisymmetric

l = LAYER
n0, p = width(0), width(DEPTH)

TABLE = {
    (2, 3, 2): (7, 7, 6),
    (3, 3, 2): (8, 8, 6),
    (2, 4, 2): (11, 11, 10),
    (3, 4, 3): (12, 12, 10),
    (4, 5, 2): (21, 21, 15),
    (3, 2, 3): (3, 3, 3),
    (1, 3, 1): (5, 5, 5),
    (2, 2, 2, 2): (6, 6, 6),
    (2, 3, 3, 2): (15, 15, 12),
    (3, 2, 2, 3): (6, 4, 6),
    (2, 3, 1, 2): (8, 5, 7),
    (3, 4, 2, 3): (16, 11, 13),
}
"""Widths ↦ the number of laws under feedback alignment, direct feedback, gradient flow."""

SWEEPS = ((2, 4), (3, 3), (4, 2))
"""Pairs (L, n): all widths n_0, …, n_L ≤ n at depth L."""

DEEPEST = 6


def derive(proof: Proof) -> None:
    """By hand where no hidden layer is narrower than the output; by exact closure where one is."""
    proof.say(
        "As for two layers: a law of every loss and every data set annihilates the fields X_K = (M_l K X_{l−1}ᵀ)_l, K "
        "∈ R^{p×n_0}, hence Lie(θ); {L2, L3} are complete at θ where their differentials annihilate nothing else. "
        "Part one, by hand. Hypotheses: the M_l are constant and of full column rank p, l < L (so n_l ≥ p). L2: P_l "
        "W_l, P_l = I − M_l M_l⁺. L3: C_l = W_l W_lᵀ − sym(N_l W_{l+1}) with N_l M_{l+1} = M_l, where N_l = B_{l+1}ᵀ "
        "under feedback alignment and N_l = M_l M_{l+1}⁺ under direct feedback."
    )
    kernel(proof)
    brackets(proof)
    independence(proof)
    tables(proof)


def kernel(proof: Proof) -> None:
    """What the laws leave free: K and one antisymmetric matrix per hidden layer, at every θ."""
    N = letter("N", width(l), width(l + 1), index=l)
    zeta, H = letter("ζ", p, width(l - 1), index=l), letter("H", p, width(l), index=l)
    V_next = zeta @ W(l).T - H
    d = Derivation({W(l): M(l) @ zeta, W(l + 1): M(l + 1) @ V_next}, (Relation(N @ M(l + 1), M(l)),))
    proof.say(
        "A direction (V_l) annihilated by dL2 is V_l = M_l ζ_l (l < L: P_l V_l = 0; l = L: M_L = I). Put ζ_1 =: K and "
        "H_l := ζ_l W_lᵀ − ζ_{l+1}."
    )
    proof.equal("dC_l on it is sym(M_l H_l)", d(W(l) @ W(l).T - sym(N @ W(l + 1))), sym(M(l) @ H))
    antisymmetric(proof, M(l), letter("M⁺", p, width(l), index=l), H)
    proof.say(
        "So dL2 and dL3 annihilate exactly the (M_l ζ_l)_l with ζ_1 = K, ζ_{l+1} = ζ_l W_lᵀ + Ω_l M_lᵀ, Ω_l "
        "antisymmetric (the sign is absorbed). (K, Ω_1, …, Ω_{L−1}) is determined by it, because the M_l are "
        "injective: a space of dimension p n_0 + (L−1)p(p−1)/2 at every θ, the tangent space of the width-free "
        "reduction. It contains Lie(θ)."
    )


def brackets(proof: Proof) -> None:
    """[X_K, X_K'] has ζ_1 = 0 and Ω_l = K' X_{l−1}ᵀX_{l−1} Kᵀ − its transpose."""
    K, K2 = letter("K", p, n0), letter("K'", p, n0)
    D, D2 = letter("D", width(l - 1), n0, index=l - 1), letter("D'", width(l - 1), n0, index=l - 1)
    gram = X(l - 1).T @ X(l - 1)

    def beta(first: Word, second: Word) -> Word:
        return K2 @ first.T - K @ second.T

    def lifted(change: Word, source: Word) -> Word:
        d = Derivation({W(l): M(l) @ source @ X(l - 1).T, X(l - 1): change})
        return d(W(l) @ X(l - 1))

    proof.say(
        "Conversely, X_K itself has (K, 0, …, 0). For [X_K, X_K'] let D_l, D'_l be the changes of X_l along X_K, X_K': "
        "D_0 = 0. Its layer l is M_l β_l, where β_l := K'D_{l−1}ᵀ − K D'_{l−1}ᵀ, β_1 = 0."
    )
    field = Derivation({X(l - 1): D})
    other = Derivation({X(l - 1): D2})
    proof.equal(
        "layer l of [X_K, X_K']",
        field(M(l) @ K2 @ X(l - 1).T) - other(M(l) @ K @ X(l - 1).T),
        M(l) @ beta(D, D2),
    )
    Omega = K2 @ gram @ K.T - K @ gram @ K2.T
    proof.equal(
        "β_{l+1} = β_l W_lᵀ + Ω_l M_lᵀ with Ω_l = K' G_{l−1} Kᵀ − K G_{l−1} K'ᵀ, G_{l−1} := X_{l−1}ᵀX_{l−1}",
        beta(lifted(D, K), lifted(D2, K2)),
        beta(D, D2) @ W(l).T + Omega @ M(l).T,
    )
    proof.vanishes("Ω_l + Ω_lᵀ", Omega + Omega.T)
    a, b, u, v = letter("e_i", p, 1), letter("e_j", p, 1), letter("u", n0, 1), letter("v", n0, 1)
    number = letter("g", 1, 1, index=l - 1, symmetric=True)
    proof.equal(
        "K = e_i uᵀ, K' = e_j vᵀ: Ω_l = g_{l−1}(e_j e_iᵀ − e_i e_jᵀ) with the number g_{l−1} := uᵀG_{l−1}v",
        rewrite(substitute(Omega, {K: a @ u.T, K2: b @ v.T}), (Relation(u.T @ gram @ v, number),)),
        b @ number @ a.T - a @ number @ b.T,
    )


def independence(proof: Proof) -> None:
    """When the brackets of length two fill everything; and a certificate for every depth up to `DEEPEST` where not."""
    proof.say(
        "Over all u, v the vectors (g_0, …, g_{L−2}) span R^{L−1} if and only if G_0 = I, G_1, …, G_{L−2} are "
        "linearly independent. Then Lie(θ) is the whole space: dim Lie(θ) = p n_0 + (L−1)p(p−1)/2 and {L2, L3} are "
        "complete at θ, proved for all widths ≥ p. For L = 2 that is every θ. It is almost every θ when L−1 ≤ "
        "v(v+1)/2 (L−2 if v < n_0), v := min(n_0, …, n_{L−2}): W_1, W_2, … can be chosen one after the other so that "
        "G_1, G_2, … are any positive definite v × v blocks, and dependence is an algebraic condition on θ (an "
        "argument in words; nothing computes it here). For p = 1 there is no Ω_l at all."
    )
    proof.say(
        "For the deeper rest (n_0 = 1, say) longer brackets are needed. Again in words: fields X_K whose K has only "
        "the rows i and j are those of a net with these two outputs alone, and inside it sits the net (1, 2, …, 2), "
        "with zeros around it. So if that one net reaches all its 2 + (L−1) dimensions, then all Ω_l with entries at "
        "(i, j) are reached, for every pair, in every net of that depth with hidden widths ≥ p, at almost every θ and "
        "feedback."
    )
    for depth in range(2, DEEPEST + 1):
        smallest = closure((1, *(2 for _ in range(depth))))
        proof.certified(
            f"The net (1, 2, …, 2) of depth {depth}: dim Lie = {smallest.lie} = 2 + {depth - 1}, exactly",
            smallest.status == "certified" and smallest.lie == 2 + depth - 1,
        )


def tables(proof: Proof) -> None:
    """Exact counts: brackets and differentials of the laws at one rational point add up to the number of parameters."""
    proof.say(
        "Part two, by computation, where a hidden layer may be narrower than the output. At one integer point and "
        "feedback, the rank of brackets (≤ dim Lie) and the rank of the known laws' differentials (≤ D − dim Lie), "
        "both taken modulo a prime, which can only lower a rank, add up to D: so both are exact, at that point and so "
        "at almost every one (generic feedback). The known laws are {L2, L3}, and W_l W_lᵀ − W_{l+1}ᵀW_{l+1} for "
        "gradient flow."
    )
    for widths, laws in TABLE.items():
        counts = [closure(widths, rule) for rule in ("fa", "dfa", "bp")]
        proof.certified(
            f"{widths}: {laws[0]} laws (FA), {laws[1]} (DFA), {laws[2]} (gradient flow), and the known laws are all",
            all(c.status == "certified" and c.complete and c.laws == n for c, n in zip(counts, laws, strict=True)),
        )
    for depth, widest in SWEEPS:
        nets = list(product(range(1, widest + 1), repeat=depth + 1))
        proof.certified(
            f"all {len(nets)} nets of depth {depth} with widths ≤ {widest}: {{L2, L3}} are complete under FA and DFA",
            all(sound(widths, rule) for widths in nets for rule in ("fa", "dfa")),
        )
    narrow = closure((1, 2, 2, 1), "bp")
    proof.fails(
        "Tight: under gradient flow balancedness is not always all. (1, 2, 2, 1) has one field up to scale, so "
        f"{narrow.laws} laws, of which balancedness gives {narrow.found}; missing",
        narrow.laws - narrow.found,
    )


def sound(widths: tuple[int, ...], rule: str) -> bool:
    """Whether the known laws are certified to be all; and dim Lie is the formula's where no hidden layer is narrow."""
    counted = closure(widths, rule)
    inputs, *hidden, outputs = widths
    formula = outputs * inputs + len(hidden) * outputs * (outputs - 1) // 2
    return counted.status == "certified" and counted.complete and (min(hidden) < outputs or counted.lie == formula)


CLAIM = Claim(
    name="completeness",
    statement="For fixed paths {L2, L3} are all laws: by hand at any depth where the M_l have rank p and the X_lᵀX_l "
    "are independent, with dim Lie = p n_0 + (L−1)p(p−1)/2; by exact closure for a table of narrow and wide nets.",
    latex=r"\dim\mathrm{Lie}(\theta) = p\,n_0 + (L-1)\tfrac{p(p-1)}{2}\quad (n_1, \dots, n_{L-1} \ge p)",
    derive=derive,
)
