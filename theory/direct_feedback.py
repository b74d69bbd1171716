"""Any fixed path, direct feedback first of all: two layers that hear the same error trade weights along it."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    DEPTH,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    Derivation,
    E,
    F,
    M,
    Relation,
    W,
    Word,
    X,
    identity,
    letter,
    rewrite,
    substitute,
    sym,
    trace,
    width,
)
from theory.claim import Claim, Proof

l = LAYER
k = sympy.Symbol("k", integer=True, positive=True)
a, b = letter("a", width(l), k), letter("b", width(l + 1), k)
"""k pairs of vectors, one in each column: M_lᵀ a = M_{l+1}ᵀ b."""
M_plus = letter("M⁺", width(DEPTH), width(l + 1), index=l + 1)
"""The pseudo-inverse M_{l+1}⁺."""
VELOCITY = {W(l): M(l) @ E() @ X(l - 1).T, W(l + 1): M(l + 1) @ E() @ (W(l) @ X(l - 1)).T}
"""Two layers of a net with any fixed path: M_l, M_{l+1}, E and X_{l−1} are arbitrary."""


def shared(a: Word, b: Word) -> Word:
    """aᵀ W_l W_lᵀ a − sym(bᵀ W_{l+1} a); its entry (i, j) is the law of the pairs i and j."""
    return a.T @ W(l) @ W(l).T @ a - sym(b.T @ W(l + 1) @ a)


def C(feedback: Word) -> Word:
    """W_l W_lᵀ − sym(Bᵀ W_{l+1}), the matrix law of a feedback B."""
    return W(l) @ W(l).T - sym(feedback.T @ W(l + 1))


def derive(proof: Proof) -> None:
    """What layer l hears along a is what layer l + 1 hears along b."""
    proof.say(
        "Let M_1, …, M_L = I be any paths that do not move; each column of a and b is a pair (α, β) with "
        "M_lᵀα = M_{l+1}ᵀβ: layer l hears along α what layer l + 1 hears along β."
    )
    flow = Derivation(VELOCITY, (Relation(a.T @ M(l), b.T @ M(l + 1)),))
    proof.vanishes("d/dt [aᵀW_l W_lᵀa − sym(bᵀW_{l+1}a)]", flow(shared(a, b)))
    layered = Derivation(VELOCITY, (Relation(M(l), B(l + 1).T @ M(l + 1)),))
    proof.vanishes(
        "Feedback alignment: a = I, b = B_{l+1}, the matrix law", layered(shared(identity(width(l)), B(l + 1)))
    )
    _converse(proof)
    _effective(proof)
    _last_hidden_layer(proof)
    _lost(proof)
    proof.fails("Without M_lᵀa = M_{l+1}ᵀb", Derivation(VELOCITY)(shared(a, b)))
    proof.fails("C_l with a B_{l+1} that has nothing to do with the paths", Derivation(VELOCITY)(C(B(l + 1))))


def _converse(proof: Proof) -> None:
    """A pair that does not hear the same error is moved by some error."""
    α, β = letter("α", width(l), 1), letter("β", width(l + 1), 1)
    heard, seen = M(l).T @ α - M(l + 1).T @ β, (W(l) @ X(l - 1)).T @ α
    rate = trace(Derivation(VELOCITY)(shared(α, β)))
    proof.show("Tight: for any α and β, whether they hear the same or not, the quantity moves at the rate", rate)
    proof.equal(
        "for the error E := (M_lᵀα − M_{l+1}ᵀβ)(X_lᵀα)ᵀ that is 2‖M_lᵀα − M_{l+1}ᵀβ‖² ‖X_lᵀα‖²",
        substitute(rate, {E(): heard @ seen.T}),
        trace(heard.T @ heard @ seen.T @ seen) * 2,
    )


def _effective(proof: Proof) -> None:
    """Where M_{l+1} has full column rank, direct feedback is feedback alignment."""
    proof.say(
        "If M_{l+1} has full column rank p (which needs n_{l+1} ≥ p, and holds for generic feedback), then "
        "M_{l+1}⁺M_{l+1} = I_p. Let B_{l+1}ᵀ := M_l M_{l+1}⁺."
    )
    injective = (Relation(M_plus @ M(l + 1), identity(width(DEPTH))),)
    feedback = (M(l) @ M_plus).T
    proof.equal("It carries the path on: B_{l+1}ᵀ M_{l+1} = M_l", rewrite(feedback.T @ M(l + 1), injective), M(l))
    proof.vanishes("d/dt [W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1})]", Derivation(VELOCITY, injective)(C(feedback)))
    proof.say(
        "So if every hidden layer l ≥ 2 has M_l of full column rank, direct feedback is feedback alignment with these "
        "B_2, …, B_L: same paths, same trajectory, same laws."
    )


def _last_hidden_layer(proof: Proof) -> None:
    for depth in (2, 3, 4):
        last, top = sympy.Integer(depth - 1), sympy.Integer(depth)
        law = W(last) @ W(last).T - sym(F(last, top).T @ W(top))
        flow = DIRECT_FEEDBACK.net(depth)
        proof.vanishes(
            f"The last hidden layer (M_L = I) has B_L = F_{{L−1}}; a whole net of depth {depth}", flow.derivation(law)
        )
    C_1 = W(1) @ W(1).T - sym(B(2).T @ W(2))
    proof.vanishes("as feedback alignment has in every layer", FEEDBACK_ALIGNMENT.net(3).derivation(C_1))


def _lost(proof: Proof) -> None:
    """A hidden layer narrower than the output loses laws."""
    proof.say(
        "The α that have a β are those with M_lᵀα ∈ range(M_{l+1}ᵀ), the null space of N M_lᵀ where the p − rank "
        "M_{l+1} rows of N span the null space of M_{l+1}. Generic F have rank M_{l+1} = min(n_{l+1}, p) and rank N "
        "M_lᵀ = min(n_l, p − rank M_{l+1}), because some F have, and a lower rank is the vanishing of polynomials "
        "(this count is argued, not checked here). So min(n_l, p − n_{l+1}) directions are lost, exactly where the "
        "hidden layer l + 1 ≥ 2 is narrower than the output; feedback alignment loses none."
    )
    F_1, F_2 = sympy.Matrix([[1, 0, 0], [0, 1, 0]]), sympy.Matrix([[1], [0]])
    α, β = sympy.Matrix([0, 1, 0]), sympy.Symbol("β", real=True)
    heard = F_1 * α - F_2 * β
    distance = sympy.expand((heard.T * heard)[0])
    proof.holds(
        f"Widths (2, 3, 1, 2), F_1 = [I 0], F_2 = (1, 0)ᵀ, α = (0, 1, 0): ‖F_1α − F_2β‖² = {distance} > 0 for every β",
        distance.is_positive,
    )
    found = sympy.Matrix([[0, 1]]) * F_1
    proof.equal("There N = (0, 1), and N F_1 leaves n_1 − 1 = 2 of 3 directions", 3 - found.rank(), sympy.Integer(2))


CLAIM = Claim(
    name="direct_feedback",
    statement="Under any fixed path aᵀW_l W_lᵀa − sym(bᵀW_{l+1}a) is constant for M_lᵀa = M_{l+1}ᵀb; where M_{l+1} has "
    "full column rank that is the matrix law with feedback M_l M_{l+1}⁺, and a narrower hidden layer loses laws.",
    latex=r"\frac{d}{dt}\left(a^\top W_l W_l^\top a - \mathrm{sym}(b^\top W_{l+1} a)\right) = 0,\quad "
    r"M_l^\top a = M_{l+1}^\top b",
    derive=derive,
)
