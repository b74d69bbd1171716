"""Feedback alignment converges: deep linear nets, any depth, any start, squared loss, M_1 of full column rank.

The read-out pays for what is learnt: d/dt (½‖W_L‖² − ⟨Y, Φ⟩) = −2(L − L*), Φ = ∫E dt. The first layer writes Φ down,
the laws bound every layer by the one above, so the left side is bounded below.
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
    X,
    identity,
    inner,
    letter,
    rewrite,
    substitute,
    trace,
    width,
    zero,
)
from theory.claim import Claim, Proof
from theory.notation import half, square, target

l, L = LAYER, DEPTH
p, n_0 = width(L), width(0)
Y, PHI = target(L), letter("Φ", p, n_0)
RESIDUAL = Y - W(L) @ X(L - 1)


def derive(proof: Proof) -> None:
    """The identity, the lower bound, the conclusion, other losses, and where it fails."""
    _setting(proof)
    _identity(proof)
    _ladder(proof)
    _written_down(proof)
    _bound(proof)
    _conclusion(proof)
    _convex(proof)
    _tight(proof)


def _setting(proof: Proof) -> None:
    proof.say(
        "A linear net of any depth L and any widths, under a fixed path: Ẇ_l = M_lEX_{l−1}ᵀ, M_L = I, M_l = "
        "B_{l+1}ᵀM_{l+1} with constant B (feedback alignment; direct feedback where such B exist, e.g. F_2, …, "
        "F_{L−1} of full row rank). Squared loss: Σ = Σ_xx ⪰ 0 and Σ_yx = YΣ, Y = Σ_yxΣ⁺, as second moments have it, "
        "so E = (Y − X_L)Σ and L − L* = ½tr((Y − X_L)Σ(Y − X_L)ᵀ) ≥ 0. Hypothesis: M_1 has full column rank p; σ is "
        "its least singular value. Nothing is asked of the start."
    )


def _identity(proof: Proof) -> None:
    """d/dt (½‖W_L‖² − ⟨Y, Φ⟩) = −2(L − L*)."""
    for depth in (2, 3, 4):
        net = FEEDBACK_ALIGNMENT.net(depth)
        below = identity(n_0)
        for k in range(1, depth):
            below = W(k) @ below
        proof.equal(
            f"the read-out of depth {depth} moves as U_L = EX_{{L−1}}ᵀ", net.velocity[W(depth)], E(depth) @ below.T
        )
    U = E() @ X(L - 1).T
    proof.equal(
        "at every depth, for any E: ⟨W_L, U_L⟩ = ⟨X_L, E⟩, X_L = W_LX_{L−1}",
        inner(W(L), U),
        inner(W(L) @ X(L - 1), E()),
    )
    flow = Derivation({W(L): U, PHI: E()})
    slope = flow(square(W(L)) * half - inner(Y, PHI))
    proof.equal("so H = ½‖W_L‖² − ⟨Y, Φ⟩, Φ̇ = E, has Ḣ = −⟨Y − X_L, E⟩", slope, inner(RESIDUAL, E()) * -1)
    proof.equal(
        "and for the squared loss Ḣ = −tr((Y − X_L)Σ(Y − X_L)ᵀ) = −2(L − L*)",
        substitute(slope, {E(): RESIDUAL @ Sigma()}),
        trace(RESIDUAL @ Sigma() @ RESIDUAL.T) * -1,
    )


def _ladder(proof: Proof) -> None:
    """‖W_l‖² ≤ ‖W_{l+1}‖² + constants."""
    flow = FEEDBACK_ALIGNMENT.flow(l)
    law = square(W(l)) - inner(B(l + 1), W(l + 1)) * 2
    proof.vanishes(
        "Every layer is bounded by the next. The matrix law's trace c_l = ‖W_l‖² − 2⟨B_{l+1}, W_{l+1}⟩ has dc_l/dt",
        flow.derivation(law),
    )
    proof.equal(
        "‖W_{l+1}‖² + ‖B_{l+1}‖² + c_l − ‖W_l‖² = ‖W_{l+1} − B_{l+1}‖² ≥ 0: so ‖W_l‖² ≤ ‖W_{l+1}‖² + ‖B_{l+1}‖² + c_l",
        square(W(l + 1)) + square(B(l + 1)) + law - square(W(l)),
        square(W(l + 1) - B(l + 1)),
    )
    proof.equal(
        "where, evaluated at the start, ‖B_{l+1}‖² + c_l = ‖W_{l+1} − B_{l+1}‖² + ‖W_l‖² − ‖W_{l+1}‖²",
        square(B(l + 1)) + law,
        square(W(l + 1) - B(l + 1)) + square(W(l)) - square(W(l + 1)),
    )
    now, above, first, here, there, S, s = sympy.symbols("w_l w_{l+1} w_1(0) w_l(0) w_{l+1}(0) S_l s_{l+1}")
    proof.equal(
        "The differences telescope. With w_l = ‖W_l‖², s_l = ‖W_l(0) − B_l‖² and S_l = s_2 + … + s_l: from "
        "w_1 ≤ w_l + w_1(0) − w_l(0) + S_l (equality for l = 1) follows the same for l + 1, the right side becoming",
        (now + first - here + S).subs(now, above + s + here - there),
        above + first - there + (S + s),
    )
    proof.say("So ‖W_1‖² ≤ ‖W_L‖² + ‖W_1(0)‖² − ‖W_L(0)‖² + S at all times, S = Σ_{l=2}^L ‖W_l(0) − B_l‖².")


def _written_down(proof: Proof) -> None:
    """‖Φ‖² ≤ 2(‖W_1‖² + ‖W_1(0)‖²)/σ²."""
    V, K = letter("V", width(1), n_0), letter("K", sympy.Symbol("r"), p)
    sigma = sympy.Symbol("σ", positive=True)
    proof.vanishes(
        "The first layer writes Φ down: d/dt (W_1 − M_1Φ)", Derivation({W(1): M(1) @ E(), PHI: E()})(W(1) - M(1) @ PHI)
    )
    gram = Relation(M(1).T @ M(1), sigma**2 * identity(p) + K.T @ K)
    proof.equal(
        "M_1ᵀM_1 ⪰ σ²I, that is M_1ᵀM_1 = σ²I + KᵀK, makes ‖W_1 − W_1(0)‖² = ‖M_1Φ‖² = σ²‖Φ‖² + ‖KΦ‖²",
        trace(rewrite(PHI.T @ M(1).T @ M(1) @ PHI, (gram,))),
        square(PHI) * sigma**2 + square(K @ PHI),
    )
    proof.equal(
        "2‖W_1‖² + 2‖W_1(0)‖² − ‖W_1 − W_1(0)‖² is a square (W_1(0) is written V)",
        square(W(1)) * 2 + square(V) * 2 - square(W(1) - V),
        square(W(1) + V),
    )
    proof.equal(
        "and ⟨Y, Φ⟩ ≤ 2‖Y‖²/σ² + ⅛σ²‖Φ‖²",
        square(Y) * (2 / sigma**2) + square(PHI) * (sigma**2 / 8) - inner(Y, PHI),
        square(Y * (2 / sigma) - PHI * (sigma / 2)) * half,
    )


def _bound(proof: Proof) -> None:
    """Put together: H ≥ ¼‖W_L‖² − constants, hence ∫(L − L*) ≤ K."""
    y, sigma, S = sympy.symbols("y σ S", positive=True)
    w_L, first, last = sympy.symbols("w_L w_1(0) w_L(0)", nonnegative=True)
    w_1 = w_L + first - last + S
    phi = 2 * (w_1 + first) / sigma**2
    below = w_L / 2 - (2 * y / sigma**2 + sigma**2 * phi / 8)
    constant = 2 * y / sigma**2 + first / 2 - last / 4 + S / 4
    proof.equal("Together (y = ‖Y‖²): H ≥ ¼w_L − 2y/σ² − ½w_1(0) + ¼w_L(0) − ¼S", below, w_L / 4 - constant)
    K = first / 4 + last / 8 + S / 8 + y / sigma**2
    proof.equal(
        "H(0) = ½‖W_L(0)‖² never rises, so ¼‖W_L(t)‖² + 2∫_0^t(L − L*) ≤ 2K, "
        "K = ¼‖W_1(0)‖² + ⅛‖W_L(0)‖² + ⅛Σ_{l=2}^L‖W_l(0) − B_l‖² + ‖Y‖²/σ²; 2K is",
        last / 2 + constant,
        2 * K,
    )


def _conclusion(proof: Proof) -> None:
    proof.say(
        "‖W_L‖² ≤ 8K bounds every ‖W_l‖ by the ladder: the flow exists for all times and stays in a compact set. "
        "There L − L* is Lipschitz in time; it is ≥ 0 with ∫_0^∞(L − L*)dt ≤ K < ∞, so it tends to zero (Barbalat's "
        "lemma): the loss converges to its least value from every start. Also min_{s≤t} L(s) − L* ≤ K/t, and E → 0 "
        "since ‖E‖² ≤ 2λ_max(Σ)(L − L*)."
    )
    proof.say(
        "Not said: that L falls all the way (it may rise, see the claim lyapunov), how fast L itself falls, that the "
        "weights tend to one point (open_convergence), anything of finite steps or of momentum."
    )


def _convex(proof: Proof) -> None:
    """Any convex differentiable loss: ⟨Y − X, E⟩ ≥ ℓ(X) − ℓ(Y)."""
    proof.say(
        "Other losses (this paragraph adds to the identity above only the definition of convexity): let ℓ be convex "
        "in X_L, C¹ with locally Lipschitz gradient, bounded below, and E = −∇ℓ(X_L). For every linear map Y, ⟨Y − "
        "X_L, E⟩ ≥ ℓ(X_L) − ℓ(Y), so Ḣ ≤ −(ℓ(X_L) − ℓ(Y)), and the bounds above give ¼‖W_L(T)‖² + ∫_0^T(ℓ(X_L) − "
        "ℓ(Y))dt ≤ 2K: the flow exists for all times and (1/T)∫_0^Tℓ(X_L)dt ≤ ℓ(Y) + 2K/T against every Y (it enters "
        "K). If Y is a minimiser, the loss converges to its least value as before; if there is none (separable data), "
        "the time average, hence the limit inferior, of the loss tends to inf ℓ."
    )


def _tight(proof: Proof) -> None:
    v, u = letter("v", p, 1), letter("u", n_0, 1)
    unheard = (Relation(M(1) @ v, zero(width(1), 1)),)
    nothing = substitute(RESIDUAL @ Sigma(), {X(L - 1): zero(width(L - 1), n_0)})
    error = rewrite(nothing, (Relation(Y @ Sigma(), v @ u.T),))
    proof.equal("Tight: the start W_1 = 0, where X_{L−1} = 0, with Σ_yx = YΣ = vuᵀ ≠ 0 has E = vuᵀ", error, v @ u.T)
    proof.vanishes(
        "so that if M_1v = 0 nothing ever moves (claim stationary_points, with numbers); U_1",
        rewrite(M(1) @ error, unheard),
    )
    proof.vanishes("and U_L = EX_{L−1}ᵀ", substitute(error @ X(L - 1).T, {X(L - 1): zero(width(L - 1), n_0)}))
    proof.say(
        "The path must be fixed: the first layer of backprop writes down ∫W_2ᵀ…W_LᵀE dt, from which Φ cannot be read, "
        "and indeed backprop stays at its saddle W = 0 (claim stationary_points)."
    )
    U = E() @ X(L - 1).T
    proof.fails(
        "And the read-out must learn by the error itself: with U_L = ½EX_{L−1}ᵀ in its place Ḣ + ⟨Y − X_L, E⟩",
        Derivation({W(L): U * half, PHI: E()})(square(W(L)) * half - inner(Y, PHI)) + inner(RESIDUAL, E()),
    )


CLAIM = Claim(
    name="convergence",
    statement=(
        "Deep linear nets under feedback alignment, squared loss, any depth and any start: if M_1 has full column "
        "rank the loss converges to its least value, with ∫(L − L*)dt ≤ ¼‖W_1(0)‖² + ⅛‖W_L(0)‖² + ⅛Σ‖W_l(0) − B_l‖² + "
        "‖Y‖²/σ_min(M_1)²."
    ),
    latex=(
        r"\frac{d}{dt}\left(\tfrac12\lVert W_L\rVert^2 - \langle Y, \Phi\rangle\right) = -2(\mathcal L - \mathcal "
        r"L^*),\qquad \int_0^\infty (\mathcal L - \mathcal L^*)\,dt \le \tfrac14\lVert W_1(0)\rVert^2 + "
        r"\tfrac18\lVert W_L(0)\rVert^2 + \tfrac18\sum_{l=2}^L\lVert W_l(0) - B_l\rVert^2 + \frac{\lVert "
        r"Y\rVert^2}{\sigma_{\min}(M_1)^2}"
    ),
    derive=derive,
)
