"""Rates: exponential where dominance has a margin, 1/t on separable data, local at a solution.

Every rate is a differential inequality dL/dt ≤ −cL^q with c derived below under the hypotheses named with it.
"""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    B,
    E,
    Relation,
    Sigma,
    W,
    Word,
    identity,
    inner,
    letter,
    rewrite,
    substitute,
    trace,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half, square

n_0, n_1, p = (width(k) for k in range(3))
N = sympy.Symbol("N", integer=True, positive=True)
kappa, lam = sympy.symbols("κ λ", positive=True)


def derive(proof: Proof) -> None:
    """The comparison, then q = 1 (three settings), q = 2 (two losses), then the local rate."""
    _comparison(proof)
    _lyapunov_rate(proof)
    _scalar_linear(proof)
    _gram(proof)
    _exponential(proof)
    _logistic(proof)
    _local(proof)
    _local_sign(proof)
    _eventually(proof)
    _tight(proof)


def _comparison(proof: Proof) -> None:
    """dL/dt ≤ −cL^q gives the curve."""
    t, c = sympy.symbols("t c", positive=True)
    L = sympy.Function("L", positive=True)(t)
    slope = sympy.diff(L, t)
    proof.equal(
        "q = 1: d(e^{ct}L)/dt = e^{ct}(L̇ + cL) ≤ 0, so L ≤ L_0e^{−ct}",
        sympy.diff(sympy.exp(c * t) * L, t),
        sympy.exp(c * t) * (slope + c * L),
    )
    proof.equal(
        "q = 2: d(1/L − ct)/dt = −(L̇ + cL²)/L² ≥ 0, so L ≤ L_0/(1 + cL_0t)",
        sympy.diff(1 / L - c * t, t),
        -(slope + c * L**2) / L**2,
    )


def _spectral_gap(A: Word, J: Word) -> Relation:
    """ΣΣ = λΣ + JJᵀ: λ is the least non-zero eigenvalue of Σ, so that Σ² − λΣ ⪰ 0."""
    return Relation(A @ A, A * lam + J @ J.T)


def _lyapunov_rate(proof: Proof) -> None:
    """Derive q = 1 for two linear layers and p outputs."""
    Y, S, J = letter("Y", p, n_0), Sigma(), letter("J", n_0, n_0)
    R = Y - W(2) @ W(1)
    heard = R.T @ B(2)
    proof.say(
        "q = 1, two linear layers, any p, squared loss. Hypothesis: C_1 ⪯ −κ on range(Bᵀ), κ > 0; λ is the least "
        "non-zero eigenvalue of Σ = Σ_xx. Notation of the claim lyapunov: E = RΣ, R = Y − X, V − V* = ½tr(BᵀRΣRᵀB)."
    )
    reached, K = letter("Ĉ", p, p, symmetric=True), letter("K", p, sympy.Symbol("r"))
    below = Relation(reached, -(K @ K.T) - B(2) @ B(2).T * kappa)
    proof.equal(
        "B C_1 Bᵀ = −κBBᵀ − KKᵀ bounds the last term of V̇: ½tr(EᵀBC_1BᵀE) = −½κ‖BᵀE‖² − ½‖KᵀE‖²",
        trace(rewrite(E(2).T @ reached @ E(2), (below,))) * half,
        square(B(2).T @ E(2)) * (-kappa / 2) - square(K.T @ E(2)) * half,
    )
    proof.equal(
        "Σ² = λΣ + JJᵀ gives ‖BᵀE‖² = 2λ(V − V*) + ‖JᵀRᵀB‖²",
        trace(rewrite(heard.T @ S @ S @ heard, (_spectral_gap(S, J),))),
        trace(heard.T @ S @ heard) * lam + square(J.T @ heard),
    )
    proof.say(
        "So V̇ ≤ −κλ(V − V*): V − V* ≤ e^{−κλt}(V(0) − V*), and L − L* ≤ (V − V*)/σ_min(B)² where B has full row rank."
    )


def _scalar_linear(proof: Proof) -> None:
    """Derive q = 1 for two linear layers and one output."""
    flow = FEEDBACK_ALIGNMENT.net(2)
    proof.say(
        "q = 1, two linear layers, p = 1, squared loss. Hypothesis: layer dominance, κ = −½tr C_1 > 0. Here "
        "L itself falls."
    )
    slope = inner(E(2), flow.derivation(W(2) @ W(1))) * -1
    proof.equal(
        "at any p: dL/dt = −⟨E, Ẋ⟩ = −‖EW_1ᵀ‖² − tr(EᵀW_2BᵀE)",
        slope,
        square(E(2) @ W(1).T) * -1 - trace(E(2).T @ W(2) @ B(2).T @ E(2)),
    )
    e, b, w = letter("e", 1, n_0), letter("b", 1, n_1), letter("w", 1, n_1)
    gain = sympy.Symbol("g")
    proof.equal(
        "for p = 1 the number g = W_2Bᵀ = ⟨W_2, B⟩ comes out of the trace: −g‖E‖²",
        trace(rewrite(e.T @ w @ b.T @ e, (Relation(w @ b.T, gain * identity(1)),))) * -1,
        square(e) * -gain,
    )
    proof.say(
        "⟨W_2, B⟩ = κ + ½‖W_1‖² ≥ κ (claim dominance) and ‖E‖² ≥ 2λ(L − L*) as above, so d(L − L*)/dt ≤ −2κλ(L − L*). "
        "With m neurons of margin ≥ κ_min, κ ≥ mκ_min."
    )


def _gram(proof: Proof) -> None:
    """Derive q = 1 for homogeneous units, one output, squared loss."""
    mu, alpha = sympy.symbols("μ α", positive=True)
    x, D, r = letter("x", n_0, N), letter("D", N, N, symmetric=True), letter("r", 1, N)
    q = r @ D @ x.T
    proof.say(
        "q = 1, one output, homogeneous units, squared loss; notation of A2 in the claim dominance, N samples, "
        "r_i = f_i − y_i, q_k = rD_kxᵀ/N, L = ‖r‖²/2N. Hypotheses: κ = min_k κ_k > 0, and the Gram matrix "
        "G(t) = Σ_kD_kxᵀxD_k (N×N) has λ_min(G(t)) ≥ λ_0 > 0 along the whole run."
    )
    proof.equal("N²‖q_k‖² = r D_kxᵀxD_k rᵀ, neuron k's part of rGrᵀ", square(q), trace(r @ D @ x.T @ x @ D @ r.T))
    l_0, loss = sympy.symbols("λ_0 L", positive=True)
    proof.equal(
        "κΣ_k‖q_k‖² ≥ κλ_0‖r‖²/N² with ‖r‖² = 2NL: c = 2κλ_0/N",
        kappa * l_0 * (2 * N * loss) / N**2,
        2 * kappa * l_0 / N * loss,
    )
    proof.say(
        "The second hypothesis holds by itself for m linear units (D_k = I, G = m xᵀx, λ_0 = mμ) and for leaky units "
        "with σ' ≥ α > 0, if the inputs are linearly independent, xᵀx ⪰ μI, μ > 0 (so N ≤ n_0):"
    )
    K, J, v = letter("K", N, N), letter("J", N, N), letter("v", N, 1)
    independent = Relation(x.T @ x, mu * identity(N) + K @ K.T)
    leaky = Relation(D @ D, alpha**2 * identity(N) + J @ J.T)
    proof.equal(
        "xᵀx = μI + KKᵀ and D_k² = α²I + JJᵀ give vᵀD_kxᵀxD_kv = μα²‖v‖² + squares, so λ_0 = mμα²",
        trace(rewrite(v.T @ D @ x.T @ x @ D @ v, (independent, leaky))),
        square(v) * (mu * alpha**2) + square(J.T @ v) * mu + square(K.T @ D @ v),
    )
    proof.say(
        "For ReLU (α = 0), or N > n_0 with kinks, λ_0 > 0 is a hypothesis on the run and nothing here supplies it."
    )


def _exponential(proof: Proof) -> None:
    """Derive q = 2 for the exponential loss."""
    proof.say(
        "q = 2, one output, labels y_i = ±1, m homogeneous units with α ≤ σ' (α > 0: leaky or linear), exponential "
        "loss ℓ_i = e^{−y_if_i}. Hypotheses: κ = min_k κ_k > 0, and |u| = 1 with y_iu·x_i ≥ γ > 0 (separable data). "
        "Then −q_k·u = (1/N)Σ_iℓ_iσ'_{ki}y_iu·x_i."
    )
    loss, slope, margin, alpha, gamma, m = sympy.symbols("ℓ s g α γ m", nonnegative=True)
    term = sympy.expand(loss * (alpha + slope) * (gamma + margin) - alpha * gamma * loss)
    proof.holds(
        "with σ' = α + s, y u·x = γ + g and s, g ≥ 0 each term exceeds αγℓ_i by a polynomial with coefficients ≥ 0",
        all(c > 0 for c in sympy.Poly(term, loss, slope, margin, alpha, gamma).coeffs()),
    )
    q, u = letter("q", 1, n_0), letter("u", n_0, 1)
    rest = q - q @ u @ u.T
    proof.equal(
        "‖q‖² − (q·u)² = ‖q − (q·u)u‖² ≥ 0, so ‖q_k‖² ≥ α²γ²L²",
        trace(q @ q.T - q @ u @ u.T @ q.T),
        trace(rewrite(rest @ rest.T, (Relation(u.T @ u, identity(1)),))),
    )
    L = sympy.Symbol("L", positive=True)
    proof.equal(
        "κΣ_k‖q_k‖² ≥ κmα²γ²L²: c = κmα²γ²",
        kappa * m * (alpha * gamma * L) ** 2,
        kappa * m * alpha**2 * gamma**2 * L**2,
    )
    proof.say("For linear units Σ_kκ_k = −½tr C_1 may stand for mκ: q_k is the same for all k (c = −½tr C_1 γ²).")


def _logistic(proof: Proof) -> None:
    """Derive q = 2 for the logistic loss: ℓ' in terms of ℓ, and the chord of 1 − e^{−ℓ}."""
    z = sympy.Symbol("z", real=True)
    loss = sympy.log(1 + sympy.exp(-z))
    proof.vanishes(
        "Logistic loss ℓ = log(1 + e^{−z}), z = yf: −dℓ/dz = 1 − e^{−ℓ}", sympy.diff(loss, z) + 1 - sympy.exp(-loss)
    )
    s, top = sympy.symbols("ℓ M", positive=True)
    g = 1 - sympy.exp(-s)
    proof.holds("1 − e^{−ℓ} is concave, its second derivative −e^{−ℓ} < 0", sympy.diff(g, s, 2).is_negative)
    chord = s * g.subs(s, top) / top
    proof.vanishes("so on [0, M] it lies above its chord ℓ(1 − e^{−M})/M, which it meets at 0", (g - chord).subs(s, 0))
    proof.vanishes("and at M", (g - chord).subs(s, top))
    proof.say(
        "κ ≥ 0 makes L fall, so ℓ_i ≤ NL ≤ NL_0 =: M at all times, and ℓ_i in the last paragraph is replaced by "
        "1 − e^{−ℓ_i} ≥ ℓ_i(1 − e^{−M})/M: c = κmα²γ²((1 − e^{−NL_0})/(NL_0))²."
    )


def _local(proof: Proof) -> None:
    """A7: the linearised flow of E at zero error, two layers, whitened."""
    net = FEEDBACK_ALIGNMENT.net(2)
    proof.say("Local rate (A7), two layers, whitened, Σ = I: E = Y − W_2W_1, so Ė = −Ẋ.")
    motion = -net.derivation(W(2) @ W(1))
    proof.equal("exactly, Ė = −(EW_1ᵀW_1 + W_2BᵀE)", motion, -(E(2) @ W(1).T @ W(1)) - W(2) @ B(2).T @ E(2))
    for k in (1, 2):
        proof.vanishes(
            f"U_{k} is of first order in E, so to first order around a solution Ė = −T(E), T(E) = EW_1ᵀW_1 + W_2BᵀE "
            f"with the W of the solution; at E = 0 the weights rest, U_{k}",
            substitute(net.velocity[W(k)], {E(2): E(2) * 0}),
        )
    S, inverse, upper = letter("S", p, p), letter("S⁻¹", p, p), letter("R", p, p)
    Q, Lambda, F = letter("Q", n_0, n_0), letter("Λ", n_0, n_0, symmetric=True), letter("Ẽ", p, n_0)
    relations = (
        Relation(W(2) @ B(2).T, S @ upper @ inverse),
        Relation(W(1).T @ W(1), Q @ Lambda @ Q.T),
        Relation(inverse @ S, identity(p)),
        Relation(Q.T @ Q, identity(n_0)),
    )
    T = substitute(-motion, {E(2): S @ F @ Q.T})
    proof.equal(
        "With W_2Bᵀ = SRS⁻¹, R upper triangular (complex Schur form), W_1ᵀW_1 = QΛQᵀ, Λ diagonal, and E = SẼQᵀ: "
        "S⁻¹T(E)Q = RẼ + ẼΛ",
        rewrite(inverse @ T @ Q, relations),
        upper @ F + F @ Lambda,
    )
    proof.say(
        "Its column j is (R + Λ_jjI)Ẽ_j, upper triangular with diagonal λ_i(W_2Bᵀ) + λ_j(W_1ᵀW_1): these are all p "
        "n_0 decay rates, with multiplicity. (Transposes here stand for algebra only; for complex S the same lines "
        "hold.)"
    )


def _local_sign(proof: Proof) -> None:
    """Where C_1 ⪯ 0, no rate has a negative real part."""
    a, b = sympy.symbols("a b", real=True)
    x, y = letter("x", n_1, 1), letter("y", n_1, 1)
    A, K, V = letter("A", n_1, n_1), letter("K", n_1, sympy.Symbol("r")), W(1)
    pair = (Relation(A @ x, x * a - y * b), Relation(A @ y, x * b + y * a))
    proof.say(
        "Their sign. The non-zero λ_i(W_2Bᵀ) are those of A = BᵀW_2. Let A(x + iy) = (a + ib)(x + iy), that is Ax = "
        "ax − by, Ay = bx + ay; then x + iy ∈ range(Bᵀ) if a + ib ≠ 0, and there sym(A) = W_1W_1ᵀ − C_1 = W_1W_1ᵀ + "
        "KKᵀ if C_1 ⪯ 0."
    )
    proof.equal(
        "xᵀAx + yᵀAy = a(‖x‖² + ‖y‖²)",
        trace(rewrite(x.T @ A @ x, pair)) + trace(rewrite(y.T @ A @ y, pair)),
        (square(x) + square(y)) * a,
    )
    symmetric = letter("Â", n_1, n_1, symmetric=True)
    grams = (Relation(symmetric, V @ V.T + K @ K.T),)
    proof.equal(
        "and ½xᵀsym(A)x = ½‖W_1ᵀx‖² + ½‖Kᵀx‖²",
        trace(rewrite(x.T @ symmetric @ x, grams)) * half,
        square(V.T @ x) * half + square(K.T @ x) * half,
    )
    proof.say(
        "So a ≥ 0, and a > 0 if W_1W_1ᵀ − C_1 is positive definite on range(Bᵀ): then every rate has a positive real "
        "part."
    )


def _eventually(proof: Proof) -> None:
    """Matrix dominance and Σ_yx of rank p: exponential in the end, from every such start and for every Σ."""
    mu = sympy.Symbol("μ", positive=True)
    gram, K = letter("Ĝ", p, p, symmetric=True), letter("K", p, sympy.Symbol("r"))
    proof.say(
        "In the end, any Σ. Hypotheses: B of full row rank, C_1 ⪯ 0 (matrix dominance, e.g. the zero start), rank "
        "Σ_yx = p. By the claim dominance range(W_1) ⊆ range(Bᵀ); by the claim lyapunov the run stays in a compact "
        "set and its limit points have W_2W_1Σ = Σ_yx, so W_1 has rank p there and W_1W_1ᵀ is positive definite on "
        "range(Bᵀ). By compactness W_1W_1ᵀ ⪰ μ > 0 on range(Bᵀ) from some time on: B W_1W_1ᵀBᵀ = μBBᵀ + KKᵀ."
    )
    proof.equal(
        "Then ‖W_1ᵀBᵀE‖² = μ‖BᵀE‖² + ‖KᵀE‖²",
        trace(rewrite(E(2).T @ gram @ E(2), (Relation(gram, B(2) @ B(2).T * mu + K @ K.T),))),
        square(B(2).T @ E(2)) * mu + square(K.T @ E(2)),
    )
    proof.say(
        "and V̇ ≤ −½‖W_1ᵀBᵀE‖² ≤ −½μ‖BᵀE‖² ≤ −μλ(V − V*): exponential from then on (μ and the time are not given in "
        "advance). So ∫‖E‖dt < ∞, and the weights themselves converge."
    )


def _tight(proof: Proof) -> None:
    w, v, b = sympy.Integer(1), sympy.Integer(-2), sympy.Integer(1)
    proof.fails(
        "Tight: without C_1 ⪯ 0 a solution may repel. n = (1,1,1), Σ = b = 1, w_1 = 1, w_2 = −2, y = −2: the rate "
        "w_2b + w_1² is negative, its negative part",
        sympy.Max(-(v * b + w**2), 0),
    )
    s, W_1 = sympy.Symbol("s"), sympy.ones(1, 2)
    covariance, gain = sympy.diag(1, 2), sympy.eye(2)
    whitened, general = W_1.T * W_1 + gain, (W_1.T * W_1 + gain) * covariance
    proof.fails(
        "and the formula needs Σ = I: for n = (2,1,1), W_1 = (1,1), W_2B = 1, Σ = diag(1,2) the operator E ↦ "
        "E(W_1ᵀW_1 + W_2B)Σ has another characteristic polynomial, even with Σ^{1/2}W_1ᵀW_1Σ^{1/2} in place of "
        "W_1ᵀW_1; the difference",
        general.charpoly(s).as_expr()
        - (sympy.diag(1, sympy.sqrt(2)) * W_1.T * W_1 * sympy.diag(1, sympy.sqrt(2)) + gain).charpoly(s).as_expr(),
    )
    proof.fails(
        "(nor is it that of the whitened operator)", general.charpoly(s).as_expr() - whitened.charpoly(s).as_expr()
    )
    t = sympy.Symbol("t", positive=True)
    x = 1 / sympy.sqrt(1 + t)
    proof.vanishes(
        "κ > 0 is needed for an exponential rate: n = (1,1,1), Σ = b = 1, y = 0, w_1(0) = 1, w_2 = ½w_1² (κ = 0) has "
        "w_1 = (1 + t)^{−1/2}; ẇ_1 + w_2w_1",
        sympy.diff(x, t) + x**3 / 2,
    )


CLAIM = Claim(
    name="rates",
    statement=(
        "dL/dt ≤ −cL^q: two linear layers c = κλ (V, p outputs) or 2κλ (one output), homogeneous units 2κλ_0/N, q = "
        "1; exponential loss κmα²γ², logistic that times ((1−e^{−NL_0})/NL_0)², q = 2; near a whitened solution the "
        "rates are λ_i(W_2Bᵀ) + λ_j(W_1ᵀW_1)."
    ),
    latex=(
        r"\dot{\mathcal L} \le -c\,\mathcal L^q,\qquad V - V^* \le e^{-\kappa\lambda t}(V(0) - V^*),\qquad "
        r"\mathcal L \le \frac{\mathcal L_0}{1 + \kappa m\alpha^2\gamma^2\mathcal L_0 t},\qquad "
        r"\lambda_i(W_2B^\top) + \lambda_j(W_1^\top W_1)"
    ),
    derive=derive,
)
