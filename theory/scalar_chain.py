"""A chain of scalars of any depth: feedback alignment is one polynomial equation, and it succeeds from every start."""

from __future__ import annotations

import sympy

from theory.claim import Claim, Proof

w, b, c, m, E, x = sympy.symbols("w b c m E x", real=True)
w_next = sympy.Symbol("w'", real=True)
second, cross = sympy.Symbol("σ_xx", positive=True), sympy.Symbol("σ_yx", real=True)

DEPTHS = (2, 3, 4)


def derive(proof: Proof) -> None:
    """The law gives W_{l+1}; the polynomial; its sign at infinity; convergence; what fails without the hypotheses."""
    proof.say(
        "All widths are 1: W_l = w_l, B_l = b_l. Hypotheses: squared loss with σ_xx = E[x²] > 0, and b_l ≠ 0 for l ≥ "
        "2. ẇ_l = m_l E x_{l−1} with m_l = b_{l+1} … b_L, x_l = w_l … w_1, E = σ_yx − x_L σ_xx."
    )
    law(proof)
    polynomial(proof)
    leading(proof)
    convergence(proof)
    hypotheses(proof)


def law(proof: Proof) -> None:
    """2c_l = w_l² − 2b_{l+1}w_{l+1} is constant, so w_{l+1} is a polynomial of w_l."""
    rate, rate_next = b * m * E * x, m * E * (w * x)
    proof.vanishes(
        "d/dt (w_l² − 2b_{l+1}w_{l+1}), with m_l = b_{l+1}m_{l+1} and x_l = w_l x_{l−1}",
        2 * w * rate - 2 * b * rate_next,
    )
    proof.equal(
        "so with 2c_l := C_l(0), w_{l+1} = (w_l² − 2c_l)/(2b_{l+1})",
        sympy.solve(w**2 - 2 * b * w_next - 2 * c, w_next)[0],
        following(w, b, c),
    )


def following(weight: sympy.Expr, feedback: sympy.Expr, constant: sympy.Expr) -> sympy.Expr:
    """w_{l+1} = (w_l² − 2c_l)/(2b_{l+1})."""
    return (weight**2 - 2 * constant) / (2 * feedback)


def polynomial(proof: Proof) -> None:
    """The degree and leading coefficient of w_l in w_1, by induction on l."""
    a, d = sympy.Symbol("a", nonzero=True), sympy.Symbol("d", integer=True, positive=True)
    w_1, r, l, L = (
        sympy.Symbol("w_1", positive=True),
        sympy.Symbol("r"),
        *sympy.symbols("l L", integer=True, positive=True),
    )
    proof.say(
        "Induction: w_1 has degree d_1 = 1 and leading coefficient a_1 = 1 in itself. If w_l = a w_1^d (1 + r) with r "
        "→ 0 as |w_1| → ∞ (written for w_1 > 0; powers of w_1 are formal), then"
    )
    remainder = 2 * r + r**2 - 2 * c / (a**2 * w_1 ** (2 * d))
    proof.equal(
        "w_{l+1} = a² w_1^{2d} (1 + r')/(2b_{l+1}), r' = 2r + r² − 2c_l/(a² w_1^{2d}) → 0",
        following(a * w_1**d * (1 + r), b, c),
        a**2 / (2 * b) * w_1 ** (2 * d) * (1 + remainder),
    )
    proof.say("So d_{l+1} = 2d_l, a_{l+1} = a_l²/(2b_{l+1}): d_l = 2^{l−1}, and b_{l+1}a_{l+1} = a_l²/2 > 0.")
    proof.equal("deg x_L = d_1 + … + d_L = 2^L − 1, which is odd", sympy.summation(2 ** (l - 1), (l, 1, L)), 2**L - 1)


def leading(proof: Proof) -> None:
    """Ẇ_1 = m_1(σ_yx − x_L σ_xx) has the leading coefficient −σ_xx ∏ a_l²/2 < 0."""
    a = sympy.Symbol("a", real=True, nonzero=True)
    proof.say(
        "ẇ_1 = m_1(σ_yx − σ_xx x_L) has degree 2^L − 1 and the leading coefficient −σ_xx m_1 a_1 … a_L = "
        "−σ_xx ∏_{l=2}^{L} b_l a_l = −σ_xx ∏_{l=1}^{L−1} a_l²/2."
    )
    proof.holds("Its factors: σ_xx > 0", second.is_positive)
    proof.holds("and a_l²/2 > 0, because a_l ≠ 0", (a**2 / 2).is_positive)
    for depth in DEPTHS:
        start, velocity = expanded(depth)
        written = sympy.Poly(velocity, start)
        proof.equal(f"written out for L = {depth}: degree 2^{depth} − 1", written.degree(), 2**depth - 1)
        a_l, expected = sympy.Integer(1), -second
        for l in range(2, depth + 1):
            expected, a_l = expected * a_l**2 / 2, a_l**2 / (2 * _feedback(l))
        proof.equal("and leading coefficient −σ_xx ∏ a_l²/2", written.LC(), expected)


def _feedback(layer: int) -> sympy.Symbol:
    return sympy.Symbol(f"b_{layer}", real=True, nonzero=True)


def expanded(depth: int) -> tuple[sympy.Symbol, sympy.Expr]:
    """w_1 and ẇ_1 as a polynomial of w_1, with symbols for all b_l and c_l."""
    start = sympy.Symbol("w_1", real=True)
    weight = output = start
    path = sympy.Integer(1)
    for l in range(2, depth + 1):
        weight = following(weight, _feedback(l), sympy.Symbol(f"c_{l - 1}", real=True))
        output, path = output * weight, path * _feedback(l)
    return start, sympy.expand(path * (cross - second * output))


def convergence(proof: Proof) -> None:
    """A scalar equation that points inwards at both ends."""
    proof.say(
        "A polynomial q of odd degree with negative leading coefficient has q(w) → −∞ for w → ∞ and q(w) → ∞ for w → "
        "−∞. So every solution of ẇ_1 = q(w_1) stays bounded, exists for all t ≥ 0, is monotone (autonomous, one "
        "dimension) and tends to a root of q; with it w_2, …, w_L, being polynomials of w_1, converge. At the root "
        "m_1 E = 0, and m_1 = b_2 … b_L ≠ 0: so E = 0."
    )
    output, target = sympy.symbols("x_L σ_yy", real=True)
    loss = (target - 2 * output * cross + output**2 * second) / 2
    error = cross - output * second
    proof.equal("E = −dℓ/dx_L", error, -sympy.diff(loss, output))
    proof.equal(
        "ℓ = E²/(2σ_xx) + ½(σ_yy − σ_yx²/σ_xx): E = 0 is the least loss of any linear map, zero if y is a multiple of "
        "x",
        loss,
        error**2 / (2 * second) + (target - cross**2 / second) / 2,
    )


def hypotheses(proof: Proof) -> None:
    """Without b ≠ 0, or with backprop, there are starts that never learn."""
    proof.say(
        "The hypothesis b_l ≠ 0 is needed: let L = 2, b_2 = 0 and w_1(0) = 0. Then ẇ_1 = 0 and ẇ_2 = E w_1 = 0, but"
    )
    proof.fails("E at this stationary point", (cross - x * second).subs(x, 0))
    proof.say(
        "Backprop has such starts at any depth ≥ 2: at w = 0 all paths w_L … w_{l+1} (l < L) and x_{L−1} vanish, "
        "nothing moves, and E = σ_yx again. 'Zero loss' is short for zero excess loss, unless y is a "
        "multiple of x."
    )


CLAIM = Claim(
    name="scalar_chain",
    statement="In a chain of scalars under feedback alignment (any depth, all B_l ≠ 0) Ẇ_1 is a polynomial in W_1 of "
    "degree 2^L − 1 with negative leading coefficient, so the squared loss reaches its minimum from every start.",
    latex=r"W_{l+1} = \frac{W_l^2 - 2c_l}{2B_{l+1}},\qquad "
    r"\dot W_1 = -\sigma_{xx}\prod_{l=1}^{L-1}\frac{a_l^2}{2}\; W_1^{2^L-1} + \dots",
    derive=derive,
)
