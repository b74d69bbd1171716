"""D1 and D2: what one finite step does to a law, as a polynomial in η, and how far a run drifts."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    BACKPROP,
    FEEDBACK_ALIGNMENT,
    LAYER,
    RATE,
    B,
    Flow,
    W,
    Word,
    increment,
    letter,
    powers,
    substitute,
    sym,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import U, e, master, sample

l, η = LAYER, RATE


def C(layer: sympy.Expr) -> Word:
    """C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1})."""
    return W(layer) @ W(layer).T - sym(B(layer + 1).T @ W(layer + 1))


def balancedness(layer: sympy.Expr) -> Word:
    """W_l W_lᵀ − W_{l+1}ᵀ W_{l+1}."""
    return W(layer) @ W(layer).T - W(layer + 1).T @ W(layer + 1)


def derive(proof: Proof) -> None:
    """Quadratic in W_l, linear in W_{l+1}: only the square of the step is left."""
    proof.say(
        "One step W_l ← W_l + ηU_l, with the U_l of any batch and loss: the increment of a quantity is a polynomial "
        "in η, its term in η is the derivative along the flow. E is arbitrary at each step, so that batches may "
        "change."
    )
    flow = FEEDBACK_ALIGNMENT.flow(l)
    defect = increment(C(l), flow)
    proof.holds("ΔC_l has no term but η²", list(defect) == [2])
    proof.equal("D1, linear nets: ΔC_l = η² U_l U_lᵀ", defect[2], _square(flow, l))
    for depth in (2, 3, 4):
        whole = FEEDBACK_ALIGNMENT.net(depth)
        for layer in map(sympy.Integer, range(1, depth)):
            change = increment(C(layer), whole)
            proof.holds(f"C_{layer} in a whole net of depth {depth}: η² only", list(change) == [2])
            proof.equal("and it is U_l U_lᵀ", change[2], _square(whole, layer))
    _monotone(proof)
    _neurons(proof)
    _backprop(proof)
    _drift(proof)


def _square(flow: Flow, layer: sympy.Expr) -> Word:
    return flow.velocity[W(layer)] @ flow.velocity[W(layer)].T


def _monotone(proof: Proof) -> None:
    x = letter("x", width(l), 1)
    length = U(l).T @ x
    proof.equal("C_l is Loewner-monotone: xᵀ U_l U_lᵀ x = ‖U_lᵀx‖² ≥ 0", x.T @ U(l) @ U(l).T @ x, length.T @ length)


def _neurons(proof: Proof) -> None:
    """½‖W_l[k,:]‖² − ⟨B, W_{l+1}[:,k]⟩ grows by ½η²‖U_l[k,:]‖², with any 1-homogeneous units."""
    neuron = e.T @ C(l) @ e * half
    taken = {W(l): W(l) + U(l) * η, W(l + 1): W(l + 1) + U(l + 1) * η}
    change = powers(substitute(neuron, taken, (master(B(l + 1)),)) - neuron, η)
    proof.holds(
        "Neurons with 1-homogeneous units, by the master identity of the batch: no term but η²", list(change) == [2]
    )
    proof.equal("and it is ½‖U_l[k,:]‖²", change[2], e.T @ U(l) @ U(l).T @ e * half)
    lower, upper = sample(B(l + 1))
    off = substitute(C(l), {W(l): W(l) + lower * η, W(l + 1): W(l + 1) + upper * η}) - C(l)
    proof.fails("Off the diagonal C_l is no law of units that are not linear: the term in η", powers(off, η)[1])


def _backprop(proof: Proof) -> None:
    flow = BACKPROP.flow(l)
    defect = increment(balancedness(l), flow)
    upper = flow.velocity[W(l + 1)]
    proof.holds("Backprop: balancedness changes by η² only", list(defect) == [2])
    proof.equal("namely η² (U_l U_lᵀ − U_{l+1}ᵀ U_{l+1})", defect[2], _square(flow, l) - upper.T @ upper)
    E, W_1, W_2 = sympy.Symbol("E", positive=True), sympy.Matrix([1, 0]), sympy.Matrix([[0, 1]])
    matrix = (W_2.T * E) * (W_2.T * E).T - (E * W_1.T).T * (E * W_1.T)
    proof.equal("which is indefinite: widths (1, 2, 1), W_1 = (1, 0)ᵀ, W_2 = (0, 1)", matrix, E**2 * sympy.diag(-1, 1))


def _drift(proof: Proof) -> None:
    """D2: the drift over a run, and its limit as η → 0."""
    d, u = sympy.symbols("d u", real=True)
    proof.equal(
        "D2: a drift of ½η Σ η‖U_l‖² before a step, plus the step's ½η²‖U_l‖² = ½η²u, is the same sum with one term "
        "more",
        η * (d / 2) + η**2 * u / 2,
        η * (d + η * u) / 2,
    )
    proof.say(
        "So ½tr C_l has drifted, after any number of steps, by exactly ½η Σ η‖U_l‖², never downwards; drift/η is half "
        "a left-point Riemann sum of ‖U_l‖² along the steps. If the field is locally Lipschitz and the flow exists up "
        "to T, the steps converge to it uniformly (Euler's method), and drift(T)/η → ½∫‖U_l‖²dt. That limit is a "
        "textbook theorem and not checked here, except in one case:"
    )
    T, b, c, w = sympy.symbols("T b c w", real=True)
    n, k = sympy.symbols("n k", integer=True, positive=True)
    proof.say(
        "The chain of widths 1 with L = 3 and constant error c: U_2 = B_3 c W_1 and W_1 = w + B_2B_3 c t, b = B_2B_3c."
    )
    total = sympy.summation(sympy.expand((c * (w + b * k * T / n)) ** 2), (k, 0, n - 1)) * T / n / 2
    integral = sympy.integrate(sympy.expand((c * (w + b * k)) ** 2), (k, 0, T)) / 2
    proof.equal(
        "with B_3 = 1, drift(T)/η of layer 2 with n steps of η = T/n, n → ∞",
        sympy.limit(sympy.expand(total), n, sympy.oo),
        integral,
    )


CLAIM = Claim(
    name="step_defect",
    statement="One step changes C_l by exactly η²U_lU_lᵀ (a neuron's quantity by ½η²‖U_l[k,:]‖², with 1-homogeneous "
    "units too), so the drift never has the wrong sign and drift/η → ½∫‖U_l‖²dt.",
    latex=r"\Delta C_l = \eta^2 U_l U_l^\top,\qquad \Delta\left(\tfrac12\lVert W_l[k,:]\rVert^2 - "
    r"\langle B_{l+1}[:,k], W_{l+1}[:,k]\rangle\right) = \tfrac12\eta^2\lVert U_l[k,:]\rVert^2",
    derive=derive,
)
