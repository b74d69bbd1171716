"""Kolen–Pollack: feedback that learns with the weight's own update closes its gap, and keeps two quadratic laws."""

from __future__ import annotations

import sympy

from linfa.symbolic import KOLEN_POLLACK, LAYER, B, Derivation, W, Word, substitute
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import U, e, flow_of_neuron

l = LAYER
λ, η = sympy.symbols("λ η", positive=True)
UPDATES = KOLEN_POLLACK.flow(l).velocity
"""Without decay: Ẇ_l = U_l, Ẇ_{l+1} = Ḃ_{l+1} = U_{l+1}, with δ_l = B_{l+1}ᵀ δ_{l+1}."""


def decaying(moving: dict[Word, Word], rate: sympy.Expr = λ) -> dict[Word, Word]:
    """Ẇ = U − λW for every letter alike."""
    return {letter: update - letter * rate for letter, update in moving.items()}


def gap() -> Word:
    """D = B_{l+1} − W_{l+1}."""
    return B(l + 1) - W(l + 1)


def balance() -> Word:
    """W_l W_lᵀ − B_{l+1}ᵀ B_{l+1}."""
    return W(l) @ W(l).T - B(l + 1).T @ B(l + 1)


def derive(proof: Proof) -> None:
    """Both move by U_{l+1}; the law lives on B, which moves by its own work."""
    proof.say(
        "Kolen & Pollack 1994 (Akrout et al. 2019): Ẇ_l = U_l − λW_l and Ḃ_l = U_l − λB_l, the same λ ≥ 0 everywhere, "
        "B_{l+1} used in the backward pass."
    )
    flow = Derivation(decaying(dict(UPDATES)))
    proof.vanishes("The gap: dD/dt + λD, so D(t) = D(0)e^{−λt}", flow(gap()) + gap() * λ)
    proof.vanishes("Linear nets: dQ/dt + 2λQ, Q = W_l W_lᵀ − B_{l+1}ᵀB_{l+1}", flow(balance()) + balance() * (2 * λ))
    _neurons(proof)
    _without_decay(proof)
    _steps(proof)
    _tight(proof)


def _neurons(proof: Proof) -> None:
    moving = decaying({W(l): U(l), W(l + 1): U(l + 1), B(l + 1): U(l + 1)})
    neuron = e.T @ balance() @ e * half
    proof.vanishes(
        "1-homogeneous units: dq/dt + 2λq, q = ½‖W_l[k,:]‖² − ½‖B_{l+1}[:,k]‖², by the master identity",
        flow_of_neuron(B(l + 1), moving)(neuron) + neuron * (2 * λ),
    )
    proof.say("So q(t) = q(0)e^{−2λt}, and the same for Q: both are conserved where λ = 0 and die out where λ > 0.")


def _without_decay(proof: Proof) -> None:
    """For λ = 0 it is the interpolated rule with α = 1 and an offset."""
    D = gap()
    other = W(l) @ W(l).T - W(l + 1).T @ W(l + 1) - D.T @ W(l + 1) - W(l + 1).T @ D
    proof.equal(
        "With B = W + D: Q = W_lW_lᵀ − W_{l+1}ᵀW_{l+1} − sym(DᵀW_{l+1}) − DᵀD, backprop's balancedness where D has "
        "gone",
        balance(),
        other - D.T @ D,
    )


def _steps(proof: Proof) -> None:
    """One step of size η, decay included: what becomes of the gap and of Q, exactly."""
    taken = {letter: letter + move * η for letter, move in decaying(dict(UPDATES)).items()}
    proof.equal("Finite steps: the gap is multiplied by 1 − ηλ", substitute(gap(), taken), gap() * (1 - η * λ))
    plain = {letter: letter + move * η for letter, move in UPDATES.items()}
    square = UPDATES[W(l)] @ UPDATES[W(l)].T - UPDATES[B(l + 1)].T @ UPDATES[B(l + 1)]
    proof.equal(
        "and without decay Q grows by η²(U_lU_lᵀ − U_{l+1}ᵀU_{l+1}), of no sign (decay and momentum: theory/ledger)",
        substitute(balance(), plain) - balance(),
        square * η**2,
    )


def _tight(proof: Proof) -> None:
    μ = sympy.Symbol("μ", positive=True)
    apart = Derivation(decaying(dict(UPDATES)) | {B(l + 1): UPDATES[B(l + 1)] - B(l + 1) * μ})
    proof.fails("Tight: with another decay μ on B the gap does not close, dD/dt + λD", apart(gap()) + gap() * λ)
    below = Derivation(decaying(dict(UPDATES)) | {W(l): UPDATES[W(l)] - W(l) * μ})
    proof.fails("and with another decay μ on the layer below, dQ/dt + 2λQ", below(balance()) + balance() * (2 * λ))
    weights = W(l) @ W(l).T - W(l + 1).T @ W(l + 1)
    proof.fails("Balancedness of W alone, at λ = 0", Derivation(UPDATES)(weights))


CLAIM = Claim(
    name="kolen_pollack",
    statement="Under Kolen–Pollack with one decay λ the gap B − W falls as e^{−λt}, and W_l W_lᵀ − B_{l+1}ᵀB_{l+1} "
    "(per neuron with 1-homogeneous units) as e^{−2λt}: constant without decay.",
    latex=r"B_{l+1} - W_{l+1} \propto e^{-\lambda t},\qquad "
    r"W_l W_l^\top - B_{l+1}^\top B_{l+1} \propto e^{-2\lambda t}",
    derive=derive,
)
