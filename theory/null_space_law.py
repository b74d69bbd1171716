"""The null-space law: what a fixed feedback path cannot reach never moves, and no other linear law holds."""

from __future__ import annotations

from linfa.symbolic import (
    BACKPROP,
    DEPTH,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    LAYER,
    READ_OUT_ONLY,
    Derivation,
    E,
    M,
    Relation,
    W,
    Word,
    X,
    identity,
    inner,
    letter,
    rewrite,
    width,
    zero,
)
from theory.claim import Claim, Proof

l = LAYER
M_plus = letter("M⁺", width(DEPTH), width(l), index=l)
"""The Moore–Penrose inverse M_l⁺."""
P = letter("P", width(l), width(l), index=l, symmetric=True)
"""The orthogonal projector onto what M_l does not reach."""


def unreached(path: Word, inverse: Word) -> Word:
    """P_l = I − M_l M_l⁺."""
    return identity(path.rows) - path @ inverse


def derive(proof: Proof) -> None:
    """P_l M_l = 0, and M_l does not move."""
    _projector(proof)
    proof.say("Every rule with a fixed path has Ẇ_l = M_l E X_{l−1}ᵀ, at any depth, with E and X_{l−1} arbitrary.")
    velocity = M(l) @ E() @ X(l - 1).T
    still = (Relation(P @ M(l), zero(width(l), width(DEPTH))),)
    proof.vanishes("d/dt (P_l W_l)", Derivation({W(l): velocity}, still)(P @ W(l)))
    for rule in (FEEDBACK_ALIGNMENT, DIRECT_FEEDBACK):
        flow = rule.flow(l)
        proof.vanishes(f"d/dt (P_l W_l) under {rule.name}", flow.derivation(P @ W(l)))
    proof.vanishes("under read-out only M_l = 0, P_l = I, and W_l itself", READ_OUT_ONLY.flow(l).derivation(W(l)))
    proof.say(
        "The law is one number for each α of a basis of the null space of M_lᵀ and each column of W_l: by rank–nullity "
        "(n_l − rank M_l)·n_{l−1} independent linear laws."
    )
    _no_others(proof, velocity)
    _moving_path(proof)


def _projector(proof: Proof) -> None:
    proof.say("M⁺ is Penrose's inverse: M M⁺ M = M, M⁺ M M⁺ = M⁺, and M M⁺ is symmetric, hence so is P_l.")
    penrose = (Relation(M(l) @ M_plus @ M(l), M(l)), Relation(M_plus @ M(l) @ M_plus, M_plus))
    projector = unreached(M(l), M_plus)
    proof.vanishes("P_l M_l, from M M⁺ M = M", rewrite(projector @ M(l), penrose))
    proof.vanishes("P_l P_l − P_l", rewrite(projector @ projector - projector, penrose))


def _no_others(proof: Proof, velocity: Word) -> None:
    """⟨A, W_l⟩ moves for some error unless M_lᵀ A = 0."""
    A = letter("A", *W(l).shape)
    reached = M(l).T @ A @ X(l - 1)
    rate = inner(A, velocity)
    chosen = inner(A, M(l) @ reached @ X(l - 1).T)
    proof.show("Tight: a linear quantity ⟨A, W_l⟩ moves at the rate", rate)
    proof.equal("for the error E := M_lᵀ A X_{l−1} that is ‖M_lᵀ A X_{l−1}‖²", chosen, inner(reached, reached))
    proof.say(
        "If M_lᵀ A ≠ 0, some weights below give M_lᵀ A X_{l−1} ≠ 0: ⟨A, W_l⟩ is conserved for every error and from "
        "every start only if M_lᵀ A = 0, which is the law. Sums over layers bring nothing new, because X_{l−1} is of "
        "degree l − 1 in the weights, so that the layers' rates cannot cancel for all of them."
    )


def _moving_path(proof: Proof) -> None:
    """Under backprop α ⊥ range(M_l) at one moment is no longer so at the next."""
    flow, α = BACKPROP.flow(l), letter("α", width(l), 1)
    now = Relation(α.T @ W(l + 1).T, zero(1, width(l + 1)))
    first = flow.derivation(α.T @ W(l))
    proof.vanishes(
        "Where the path moves: backprop, with αᵀ W_{l+1}ᵀ = 0 at this moment; d/dt αᵀ W_l", rewrite(first, (now,))
    )
    proof.fails("but d²/dt² αᵀ W_l, at constant error", rewrite(flow.derivation(first), (now,)))


CLAIM = Claim(
    name="null_space_law",
    statement="What a fixed feedback path does not reach never moves: P_l W_l is constant with P_l = I − M_l M_l⁺, "
    "(n_l − rank M_l)·n_{l−1} numbers, and no other linear quantity is conserved.",
    latex=r"\frac{d}{dt} P_l W_l = 0,\quad P_l = I - M_l M_l^{+}",
    derive=derive,
)
