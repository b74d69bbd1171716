"""No spurious stationary points: where the first layer hears every component of the error, rest means no error."""

from __future__ import annotations

from linfa.symbolic import (
    BACKPROP,
    DEPTH,
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    E,
    M,
    Relation,
    Sigma,
    W,
    Word,
    X,
    identity,
    letter,
    rewrite,
    substitute,
    width,
    zero,
)
from theory.claim import Claim, Proof
from theory.notation import at, target

l = LAYER
n_0 = width(0)


def error(depth: int) -> Word:
    """E = (Y − X_L)Σ_xx, the error of the squared loss at the depth L."""
    whole = identity(n_0)
    for k in range(1, depth + 1):
        whole = W(k) @ whole
    return (target(depth) - whole) @ Sigma()


def derive(proof: Proof) -> None:
    """A left inverse of M_1 reads E off Ẇ_1 = M_1E; a vector that M_1 does not hear makes a spurious point."""
    _at_any_depth(proof)
    _widths(proof)
    _tight(proof)
    _backprop(proof)


def _at_any_depth(proof: Proof) -> None:
    J = letter("J", width(DEPTH), width(1))
    proof.say(
        "Any depth L, any loss and data, any rule with U_l = M_lEX_{l−1}ᵀ; M_1 (n_1, p) may even move, its rank is "
        "asked at the point. Full column rank means a left inverse J = (M_1ᵀM_1)⁻¹M_1ᵀ, JM_1 = I."
    )
    proof.equal(
        "J U_1 = J M_1E = E (X_0 = I)", rewrite(J @ M(1) @ E(), (Relation(J @ M(1), identity(width(DEPTH))),)), E()
    )
    proof.say(
        "A stationary point has U_1 = 0, hence E = 0, whatever the other weights are. E = −∂ℓ/∂X_L: for a convex loss "
        "of the linear map X_L, ℓ(Y) ≥ ℓ(X_L) + ⟨−E, Y − X_L⟩ = ℓ(X_L) for every linear map Y, so the point is a "
        "global minimum over all linear maps. Conversely E = 0 makes every U_l vanish."
    )
    proof.vanishes(
        "U_l at E = 0",
        substitute(M(l) @ E() @ X(l - 1).T, {E(): zero(width(DEPTH), width(0))}),
    )


def _widths(proof: Proof) -> None:
    proof.say(
        "Feedback alignment has M_1 = B_2ᵀ…B_Lᵀ, of rank ≤ min(n_1, …, n_{L−1}, p): rank p needs every hidden width ≥ "
        "p, and generic feedback then has it. Direct feedback has M_1 = F_1ᵀ and needs n_1 ≥ p alone; but where a "
        "later hidden layer is narrower than rank X*, E = 0 cannot be reached, and then there is no stationary point "
        "at all."
    )
    J, N = letter("J", width(l + 1), width(l)), letter("N", width(DEPTH), width(l + 1))
    inverses = (Relation(J @ B(l + 1).T, identity(width(l + 1))), Relation(N @ M(l + 1), identity(width(DEPTH))))
    proof.equal(
        "by induction from M_L = I: left inverses J of B_{l+1}ᵀ and N of M_{l+1} give NJ for M_l = B_{l+1}ᵀM_{l+1}, "
        "NJM_l",
        rewrite(N @ J @ B(l + 1).T @ M(l + 1), inverses),
        identity(width(DEPTH)),
    )


def _tight(proof: Proof) -> None:
    v, u = letter("v", width(DEPTH), 1), letter("u", n_0, 1)
    unheard = (Relation(M(1) @ v, zero(width(1), 1)),)
    proof.say(
        "Tight: if rank M_1 < p there is v ≠ 0 with M_1v = 0. Take a task with Y = vuᵀ, u ≠ 0, Σ_xx = I and W_1 = 0, "
        "the other weights anything: X_L = 0."
    )
    for depth in (2, 3, 4):
        spurious = {W(1): zero(*W(1).shape), target(depth): letter("v", width(depth), 1) @ u.T, Sigma(): identity(n_0)}
        proof.equal(
            f"depth {depth}: E = (Y − X_L)Σ_xx there",
            substitute(error(depth), spurious),
            letter("v", width(depth), 1) @ u.T,
        )
    proof.vanishes("U_1 = M_1vuᵀ", rewrite(M(1) @ v @ u.T, unheard))
    nothing = zero(width(l), width(0))
    proof.vanishes(
        "U_{l+1} = M_{l+1}EX_lᵀ for l ≥ 1, with X_l = 0", substitute(M(l + 1) @ E() @ X(l).T, {X(l): nothing})
    )
    numbers = {W(1): [[0]], W(2): [[5], [7]], B(2): [[1], [0]], target(2): [[0], [3]], Sigma(): [[1]]}
    rule = FEEDBACK_ALIGNMENT.net(2).velocity
    proof.say("In numbers: n = (1,1,2), B_2 = (1,0)ᵀ, so v = (0,1)ᵀ; Y = (0,3)ᵀ, Σ_xx = 1, W_1 = 0, W_2 = (5,7)ᵀ.")
    for k in (1, 2):
        proof.vanishes(f"U_{k}", at(substitute(rule[W(k)], {E(2): error(2)}), numbers))
    proof.fails("yet the error is not zero: E", at(error(2), numbers))


def _backprop(proof: Proof) -> None:
    """W = 0, the saddle that feedback alignment leaves and backprop does not."""
    net = BACKPROP.net(2)
    at_zero = {W(k): zero(*W(k).shape) for k in (1, 2)}
    for k in (1, 2):
        proof.vanishes(
            f"Backprop has M_1 = W_2ᵀ, of rank 0 at W = 0: U_{k} there", substitute(net.velocity[W(k)], at_zero)
        )
    proof.equal(
        "while E = (Y − X_2)Σ_xx is the whole of Σ_yx: a spurious stationary point for every task with Σ_yx ≠ 0",
        substitute(error(2), at_zero),
        target(2) @ Sigma(),
    )
    proof.fails(
        "which feedback alignment leaves, U_1 there",
        substitute(FEEDBACK_ALIGNMENT.net(2).velocity[W(1)], at_zero | {E(2): target(2) @ Sigma()}),
    )


CLAIM = Claim(
    name="stationary_points",
    statement=(
        "If M_1 has full column rank p (feedback alignment: all hidden widths ≥ p, generic feedback) every stationary "
        "point, at any depth and for any loss, has E = 0; without it some task has one with E ≠ 0."
    ),
    latex=r"\operatorname{rank} M_1 = p,\; M_1 E = 0 \;\Rightarrow\; E = 0",
    derive=derive,
)
