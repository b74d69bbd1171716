"""Open: depth L ≥ 3 where the first layer does not hear every output (a hidden layer narrower than the output).

What is known needs no rank at all: H = ½‖M_1W_L‖² − ⟨M_1Y, W_1⟩ falls, and a ladder of matrix laws bounds it below.
"""

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
    Sigma,
    W,
    Word,
    X,
    inner,
    letter,
    rewrite,
    substitute,
    sym,
    trace,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half, quarter, square, target

l, L = LAYER, DEPTH
Y = target(L)
RESIDUAL = Y - W(L) @ X(L - 1)


def Q(layer: object) -> Word:
    """Q_l = B_2ᵀ…B_lᵀ, of shape (n_1, n_l): Q_1 = I, Q_L = M_1."""
    return letter("Q", width(1), width(layer), index=layer)


def derive(proof: Proof) -> None:
    """The falling function without rank, its bound, what follows; then what is missing."""
    proof.say(
        "With M_1 of full column rank depth is not open: the claim convergence holds at every L. The scalar chain "
        "(claim scalar_chain) is inside it, and no stationary point is spurious (claim stationary_points). Left is "
        "rank M_1 < p, that is, generically, a hidden layer narrower than the output; feedback alignment, squared "
        "loss, any start."
    )
    _falls(proof)
    _ladder(proof)
    _below(proof)
    proof.say(
        "So from every start, at every depth and with feedback of any rank: W_1 and M_1W_L stay bounded, the flow "
        "exists for all times (d½‖W_L‖²/dt = ⟨X_L, E⟩ ≤ ¼tr YΣYᵀ, and each layer is bounded by the next), and ∫‖M_1(Y "
        "− X_L)Σ^{1/2}‖²dt < ∞: what the first layer hears of the error is square integrable in time. At L = 2 it "
        "tends to zero (claim lyapunov)."
    )
    proof.leave_open(
        "Open, for L ≥ 3 and rank M_1 < p: whether M_1E → 0 (the other layers, hence dX_L/dt, may be unbounded, so "
        "square integrable is not enough), whether the loss converges, and to what. Open for L ≥ 3 at any rank: a "
        "function of the error alone that falls monotonically under dominance, as V does for two layers."
    )


def _falls(proof: Proof) -> None:
    flow = Derivation({W(L): E() @ X(L - 1).T, W(1): M(1) @ E()})
    height = square(M(1) @ W(L)) * half - inner(M(1) @ Y, W(1))
    slope = flow(height)
    proof.equal(
        "H = ½‖M_1W_L‖² − ⟨M_1Y, W_1⟩ has Ḣ = −⟨M_1(Y − X_L), M_1E⟩ for any E",
        slope,
        inner(M(1) @ RESIDUAL, M(1) @ E()) * -1,
    )
    heard = M(1) @ RESIDUAL
    proof.equal(
        "and for the squared loss Ḣ = −tr M_1(Y − X_L)Σ(Y − X_L)ᵀM_1ᵀ = −‖M_1(Y − X_L)Σ^{1/2}‖² ≤ 0",
        substitute(slope, {E(): RESIDUAL @ Sigma()}),
        trace(heard @ Sigma() @ heard.T) * -1,
    )


def _ladder(proof: Proof) -> None:
    """‖Q_lW_l‖² ≤ ‖Q_{l+1}W_{l+1}‖² + constants, from Q_1W_1 = W_1 up to Q_LW_L = M_1W_L."""
    step = (Relation(Q(l) @ B(l + 1).T, Q(l + 1)),)
    flow = FEEDBACK_ALIGNMENT.flow(l)
    law = W(l) @ W(l).T - sym(B(l + 1).T @ W(l + 1))
    proof.vanishes(
        "Let Q_{l+1} = Q_lB_{l+1}ᵀ, Q_1 = I, Q_L = M_1. By the matrix law Q_lC_lQ_lᵀ is constant, d/dt",
        Q(l) @ flow.derivation(law) @ Q(l).T,
    )
    proof.equal(
        "Q_lC_lQ_lᵀ = Q_lW_l(Q_lW_l)ᵀ − sym(Q_{l+1}W_{l+1}Q_lᵀ)",
        rewrite(Q(l) @ law @ Q(l).T, step),
        Q(l) @ W(l) @ W(l).T @ Q(l).T - sym(Q(l + 1) @ W(l + 1) @ Q(l).T),
    )
    here, above = Q(l) @ W(l), Q(l + 1) @ W(l + 1)
    constant = square(here) - inner(above, Q(l)) * 2
    proof.equal(
        "so with c_l = tr Q_lC_lQ_lᵀ: ‖Q_{l+1}W_{l+1}‖² + ‖Q_l‖² + c_l − ‖Q_lW_l‖² = ‖Q_{l+1}W_{l+1} − Q_l‖² ≥ 0",
        square(above) + square(Q(l)) + constant - square(here),
        square(above - Q(l)),
    )
    proof.say("Added up: ‖W_1‖² ≤ ‖M_1W_L‖² + S, S = Σ_{l<L}(‖Q_l‖² + c_l) a constant of the start.")


def _below(proof: Proof) -> None:
    top, S, y = sympy.symbols("‖M_1W_L‖² S ‖M_1Y‖²", positive=True)
    target = M(1) @ Y
    proof.equal(
        "⟨M_1Y, W_1⟩ ≤ ‖M_1Y‖² + ¼‖W_1‖², the difference being a square",
        square(target) + square(W(1)) * quarter - inner(target, W(1)),
        square(target - W(1) * half),
    )
    proof.equal("hence H ≥ ¼‖M_1W_L‖² − ‖M_1Y‖² − ¼S", top / 2 - (y + (top + S) / 4), top / 4 - y - S / 4)


CLAIM = Claim(
    name="open_depth",
    statement=(
        "Open: what feedback alignment of depth L ≥ 3 tends to where M_1 has rank < p; known: it exists for all "
        "times, W_1 stays bounded and ∫‖M_1(Y − X_L)Σ^{1/2}‖²dt is finite, from every start."
    ),
    latex=r"L \ge 3,\ \operatorname{rank} M_1 < p:\quad M_1E \to 0\,?\quad \mathcal L \to\ ?",
    derive=derive,
)
