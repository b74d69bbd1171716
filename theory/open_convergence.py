"""Open: do the weights themselves tend to one point, from every start, with p ≥ 2 outputs? The loss does converge."""

from __future__ import annotations

from linfa.symbolic import (
    DEPTH,
    B,
    Derivation,
    Relation,
    W,
    Word,
    X,
    inner,
    letter,
    rewrite,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half, square, target

L = DEPTH
p, n_0 = width(L), width(0)


def derive(proof: Proof) -> None:
    """What is known: the loss; one output; an exponential end. What is in the way: the bracket."""
    proof.say(
        "Convergence of the loss for p ≥ 2 without C_1 ⪯ 0 is not open: the claim convergence proves it at every "
        "depth, from every start, where M_1 has full column rank. There E → 0 and the weights stay bounded, so every "
        "limit point is a solution; but ∫‖E‖²dt < ∞ alone does not bound the length ∫‖E‖dt of the path."
    )
    _one_output(proof)
    _bracket(proof)
    proof.say(
        "Two layers, C_1 ⪯ 0, B of full row rank, rank Σ_yx = p: E dies exponentially in the end and the weights "
        "converge (claim rates)."
    )
    proof.leave_open(
        "Open: for p ≥ 2 and an arbitrary start, whether W(t) tends to a single solution, and whether L − L* falls "
        "faster than its integral tells (∫(L − L*)dt ≤ K)."
    )


def _one_output(proof: Proof) -> None:
    """H falls along any control at the rate of its gradient; for p = 1 it is a function of Φ."""
    Y, K, phi = target(L), letter("K", p, n_0), letter("Φ", p, n_0)
    control = Derivation({W(L): K @ X(L - 1).T, phi: K})
    proof.equal(
        "Push along any K in place of E: H = ½‖W_L‖² − ⟨Y, Φ⟩ changes by −⟨Y − X_L, K⟩",
        control(square(W(L)) * half - inner(Y, phi)),
        inner(Y - W(L) @ X(L - 1), K) * -1,
    )
    proof.say(
        "One output: all weights are polynomials of Φ ∈ R^{1×n_0} (claim width_free, p = 1), so H is one, its "
        "gradient is −(Y − X_L), and the flow Φ̇ = (Y − X_L)Σ = −∇H Σ is a gradient flow in the metric Σ⁻¹ on the "
        "rows in range(Σ), where Φ lives. It is bounded (claim convergence), so by Łojasiewicz's theorem for analytic "
        "functions Φ, and with it every weight, converges to one point."
    )


def _bracket(proof: Proof) -> None:
    """For p ≥ 2 pushes do not commute: W_2 is no function of Φ."""
    first, second = (letter(name, width(2), n_0) for name in ("K", "K'"))

    def push(K: Word) -> Derivation:
        return Derivation({W(1): B(2).T @ K, W(2): K @ W(1).T})

    bracket = push(first)(push(second)(W(2))) - push(second)(push(first)(W(2)))
    area = second @ first.T - first @ second.T
    proof.equal(
        "Two layers: pushes along K and K' do not commute, their bracket moves W_2 by (K'Kᵀ − KK'ᵀ)B",
        bracket,
        area @ B(2),
    )
    proof.fails(
        "so for p ≥ 2 W_2, hence H, is no function of Φ, and the flow is a gradient flow only along the pushes "
        "(sub-Riemannian): the bracket",
        bracket,
    )
    one = (Relation(second @ first.T, first @ second.T),)
    proof.vanishes("For p = 1, KK'ᵀ is a number and equals its transpose: the bracket", rewrite(area, one))


CLAIM = Claim(
    name="open_convergence",
    statement=(
        "Open: whether the weights tend to a single point from every start with p ≥ 2 outputs; the loss converges "
        "(claim convergence), and for one output the weights do."
    ),
    latex=r"\lim_{t\to\infty} W_l(t)\ \text{exists for every start, } p \ge 2\,?",
    derive=derive,
)
