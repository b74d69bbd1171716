"""uSF-SN, B = ‖W‖_F sign(W)/√N, has no law: its 1-form is not closed, and no combination of neurons repairs it."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    LAYER,
    B,
    E,
    Obstruction,
    W,
    X,
    inner,
    letter,
    norm,
    potential,
    sign,
    substitute,
    trace,
    width,
)
from theory.claim import Claim, Proof

l = LAYER
N = sympy.Symbol("N", positive=True)
v, v_other, rest = sympy.symbols("v v' R", positive=True)
"""Magnitudes |w|, |w'| of two entries of W_{l+1}, and the sum of squares of the others."""
s, s_other = sympy.symbols("s s'", real=True)
"""Their signs."""


def feedback(w: sympy.Expr, w_other: sympy.Expr, sign_of_w: sympy.Expr) -> sympy.Expr:
    """B = ‖W‖_F sign(w)/√N at the entry w, with ‖W‖_F² = w² + w'² + R."""
    return sympy.sqrt(w**2 + w_other**2 + rest) * sign_of_w / sympy.sqrt(N)


def curl() -> sympy.Expr:
    """∂B(w)/∂w' − ∂B(w')/∂w."""
    w, w_other = sympy.symbols("w w'", real=True)
    form = sympy.diff(feedback(w, w_other, s), w_other) - sympy.diff(feedback(w_other, w, s_other), w)
    return form.subs({w: s * v, w_other: s_other * v_other})


def derive(proof: Proof) -> None:
    """The curl; what it does around a loop; and why no function of neurons' norms and W is conserved."""
    proof.say(
        "Let W = W_{l+1} have N entries, none of them zero, with fixed signs: B = ρ sign(W)/√N with ρ = ‖W‖_F. Write "
        "w = s v and w' = s' v' for two of them, v, v' > 0."
    )
    ρ = sympy.sqrt(v**2 + v_other**2 + rest)
    stated = (s * s_other) * (v_other - v) / (ρ * sympy.sqrt(N))
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        values = dict(zip((s, s_other), signs, strict=True))
        proof.equal(
            f"signs {signs}: ∂B(w)/∂w' − ∂B(w')/∂w = s s'(|w'| − |w|)/(√N ‖W‖)",
            curl().subs(values),
            stated.subs(values),
        )
    proof.fails(
        "It vanishes where |w| = |w'| and nowhere else: at |w| = 1, |w'| = 2, signs +",
        stated.subs({s: 1, s_other: 1, v: 1, v_other: 2}),
    )
    above = W(l + 1)
    found = potential(norm(above) * sign(above), above)
    proof.holds("The calculus, asked about ‖W‖ sign(W), refuses", isinstance(found, Obstruction))
    _loop(proof)
    _forced(proof)
    _one_neuron(proof)
    _two_neurons(proof)
    _one_output(proof)
    proof.say(
        "So where the read-out W has two entries or more, every twice differentiable conserved F(r_1, r_2, …, W) is "
        "constant while signs do not change. With a single entry B = W, which is backprop; what depends on more of W_l "
        "than norms is not excluded here."
    )
    _one_entry(proof)


def _one_entry(proof: Proof) -> None:
    """B = W, which is backprop."""
    for sign_of_w in (1, -1):
        alone = feedback(sign_of_w * v, sympy.Integer(0), sympy.Integer(sign_of_w)).subs({rest: 0, N: 1})
        proof.equal(f"One entry, w' = R = 0 and N = 1, sign {sign_of_w:+d}: B = W", alone, sign_of_w * v)


def _loop(proof: Proof) -> None:
    """Around a closed path of W the incoming norm comes back changed."""
    θ, ρ = sympy.symbols("θ ρ", positive=True)
    along, start, end = sympy.cos(θ) + sympy.sin(θ), sympy.pi / 12, sympy.pi / 4
    proof.say(
        "What it means: let W = ρ(cos θ, sin θ) go round 1 ≤ ρ ≤ 2, π/12 ≤ θ ≤ π/4, so that ½‖W_l‖² gains ∮⟨B, dW⟩ = "
        "∮ ρ d(ρ cos θ + ρ sin θ)/√2: out along θ = π/12, up the outer arc, back along θ = π/4, down the inner arc."
    )
    radial = sympy.integrate(ρ, (ρ, 1, 2)) * (along.subs(θ, start) - along.subs(θ, end))
    arcs = sympy.integrate(sympy.diff(along, θ), (θ, start, end)) * (2**2 - 1**2)
    gain = sympy.expand((radial + arcs) / sympy.sqrt(2))
    proof.equal("W returns, and ½‖W_l‖² has gained", gain, sympy.Rational(3, 4) * (2 - sympy.sqrt(3)))
    inside = (sympy.cos(θ) - sympy.sin(θ)) / sympy.sqrt(2) * ρ
    green = sympy.integrate(sympy.integrate(inside, (ρ, 1, 2)), (θ, start, end))
    proof.equal("which is the integral of the curl (|w| − |w'|)/(√2 ρ) over the inside (Green)", gain, green)
    proof.fails("No Φ(W) can account for that gain", gain)


def _forced(proof: Proof) -> None:
    """Some error moves F unless ∂F/∂W = −B diag(∂F/∂r)."""
    above = W(l + 1)
    slopes = letter("f", width(l), width(l), symmetric=True)
    partial = letter("F_W", *above.shape)
    feedback, error = B(l + 1), E(l + 1)
    update = error @ X(l).T
    G = feedback @ slopes + partial
    proof.say(
        "No cleverer quantity either. Let F(r_1, r_2, …, W) be conserved for every error, r_k = ½‖W_l[k,:]‖², W the "
        "read-out of a linear net, U = E X_lᵀ, and f = diag(∂F/∂r_k). By the master identity dr_k = ⟨B[:,k], U[:,k]⟩, "
        "so"
    )
    rate = trace(slopes @ feedback.T @ update) + inner(partial, update)
    proof.equal("dF/dt = ⟨G, U⟩ with G := B f + ∂F/∂W", rate, inner(G, update))
    proof.equal(
        "and for the error E := G X_l it is ‖G X_l‖²", substitute(rate, {error: G @ X(l)}), inner(G @ X(l), G @ X(l))
    )
    proof.say(
        "If X_l has full row rank (generic weights, no earlier width below n_l), G = 0: ∂F/∂W[:,k] = −(∂F/∂r_k) B[:,k]."
    )


def _one_neuron(proof: Proof) -> None:
    """F(r, x, y) conserved means F_x = −F_r a and F_y = −F_r b; mixed derivatives then give F_r · curl = 0."""
    r, x, y = sympy.symbols("r x y")
    a, b = sympy.Function("a")(x, y), sympy.Function("b")(x, y)
    f = sympy.Function("f")(r, x, y)
    proof.say(
        "Let x and y be two entries of one neuron, a and b their feedback, r its norm, f = F_r: F_x = −fa, F_y = −fb."
    )
    forced = {sympy.diff(f, x): -a * sympy.diff(f, r), sympy.diff(f, y): -b * sympy.diff(f, r)}
    mixed = sympy.diff(-f * a, y) - sympy.diff(-f * b, x)
    proof.equal(
        "∂²F/∂x∂y = ∂²F/∂y∂x, with f_x = ∂_r(−f a) and f_y = ∂_r(−f b): f·(∂_x b − ∂_y a)",
        mixed.subs(forced),
        f * (sympy.diff(b, x) - sympy.diff(a, y)),
    )
    proof.say(
        "which must vanish: f = 0 wherever |x| ≠ |y|, so F does not depend on r_k, nor on W[:,k], as soon as p ≥ 2."
    )


def _two_neurons(proof: Proof) -> None:
    """Let x belong to neuron 1 and y to neuron 2: F_x = −f a, F_y = −g b."""
    r, q, x, y = sympy.symbols("r_1 r_2 x y")
    a, b = sympy.Function("a")(x, y), sympy.Function("b")(x, y)
    f, g = sympy.Function("f")(r, q, x, y), sympy.Function("g")(r, q, x, y)
    proof.say(
        "For p = 1 a neuron has one outgoing entry. Let x belong to neuron 1 and y to neuron 2, f = F_{r_1}, g = "
        "F_{r_2}."
    )
    cross = sympy.diff(f, q)
    forced = {sympy.diff(f, y): -b * cross, sympy.diff(g, x): -a * cross}
    mixed = sympy.diff(-f * a, y) - sympy.diff(-g * b, x)
    proof.equal(
        "∂²F/∂x∂y = ∂²F/∂y∂x, with f_{r_2} = g_{r_1}, f_y = ∂_{r_1}(−g b), g_x = ∂_{r_2}(−f a): g ∂_x b − f ∂_y a",
        mixed.subs(forced),
        g * sympy.diff(b, x) - f * sympy.diff(a, y),
    )
    ratio = sympy.diff(feedback(v_other, v, 1), v) * v_other - sympy.diff(feedback(v, v_other, 1), v_other) * v
    proof.vanishes("here ∂_x b : ∂_y a = |x| : |y|, so that f : g = |x| : |y|", ratio)


def _one_output(proof: Proof) -> None:
    """With f = q v for every neuron, the mixed derivatives force q = 0."""
    r, r_other = sympy.symbols("r_1 r_2")
    q = sympy.Function("q")(r, r_other, v, v_other)
    c = sympy.sqrt(v**2 + v_other**2 + rest) / sympy.sqrt(N)
    proof.say(
        "So F_{r_k} = q v_k for some q, v_k = |W[k]|, and F_{v_k} = −q v_k ρ/√N. Three mixed derivatives must agree:"
    )
    first = sympy.diff(q * v, r_other) - sympy.diff(q * v_other, r)
    second = sympy.diff(q * v_other, v) - sympy.diff(-q * v * c, r_other)
    third = sympy.diff(q * v, v) - sympy.diff(-q * v * c, r)
    for name, condition in (("r_1 r_2", first), ("r_2 v_1", second), ("r_1 v_1", third)):
        proof.show(f"{name}: this must vanish", condition)
    proof.equal(
        "v_2·(third) − v_1·(second) + v_1 (ρ/√N)·(first)", third * v_other - second * v + first * v * c, q * v_other
    )
    proof.say("so q v_2 = 0, hence q = 0, and F depends on no r_k and on no entry of W.")


CLAIM = Claim(
    name="strict_normal_sign",
    statement="uSF-SN, B = ‖W‖_F sign(W)/√N, has no law: the curl of ⟨B, dW⟩ is s s'(|w'| − |w|)/(√N‖W‖), and no "
    "function of the incoming norms and a read-out of two entries or more is conserved, X_{L−1} of full row rank.",
    latex=r"\frac{\partial B(w)}{\partial w'} - \frac{\partial B(w')}{\partial w} = "
    r"\frac{s s' (|w'| - |w|)}{\sqrt{N}\,\lVert W\rVert_F} \neq 0",
    derive=derive,
)
