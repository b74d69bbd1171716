"""The potential principle: ½‖W_l[k,:]‖² grows by ⟨B, dW_{l+1}⟩, which is conserved against Φ exactly if B = ∇Φ."""

from __future__ import annotations

import sympy

from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    Derivation,
    E,
    M,
    Obstruction,
    Potential,
    W,
    Word,
    X,
    hadamard,
    inner,
    letter,
    potential,
    sign,
    substitute,
    sym,
    trace,
    width,
)
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import U, e, flow_of_neuron, of_neuron, sample

l = LAYER
α = sympy.Symbol("α")
above = W(l + 1)
"""The outgoing weights W_{l+1}."""
MAGNITUDES = letter("m", width(l + 1), width(l), index=l + 1)
"""Fixed magnitudes m_{l+1} ≥ 0 of sign-concordant feedback."""


def quadratic_rows() -> dict[str, tuple[Word, Word]]:
    """The rows of theory §3 that are polynomial: feedback B, and a word whose k-th diagonal entry is Φ(W[:,k])."""
    return {
        "backprop, B = W": (above, above.T @ above * half),
        "feedback alignment (ρ-FA too), B fixed": (B(l + 1), sym(B(l + 1).T @ above) * half),
        "interpolated, αW + (1 − α)B_0": (
            above * α + B(l + 1) * (1 - α),
            above.T @ above * (α / 2) + sym(B(l + 1).T @ above) * ((1 - α) / 2),
        ),
    }


def sign_rows() -> dict[str, Word]:
    """The rows that follow signs: feedback B = m ⊙ sign(W), with Φ = Σ m |W|."""
    return {
        "uSF, s·sign(W)": sign(above) * sympy.Symbol("s", positive=True),
        "frSF and uSF-Init, m ⊙ sign(W)": hadamard(MAGNITUDES, sign(above)),
    }


def derive(proof: Proof) -> None:
    """Euler's identity moves the derivative of the unit from one side to the other."""
    _homogeneous_units(proof)
    _master_identity(proof)
    _sufficient(proof)
    _necessary(proof)
    for name, (feedback, phi) in quadratic_rows().items():
        _quadratic_row(proof, name, feedback, phi)
    _signs(proof)
    _redrawn(proof)


def _homogeneous_units(proof: Proof) -> None:
    """σ'(z) z = σ(z) for σ(z) = az (z > 0), bz (z < 0), and any convention at 0."""
    a, b, z = sympy.symbols("a b z", real=True)
    proof.say(
        "A positively 1-homogeneous unit is σ(z) = az for z > 0 and bz for z < 0: linear, ReLU, leaky ReLU. Euler's "
        "identity (at z = 0 both sides are zero, whatever number is taken as σ'(0)):"
    )
    for side, slope in (("z > 0", a), ("z < 0", b)):
        proof.vanishes(f"σ'(z) z − σ(z), {side}", sympy.diff(slope * z, z) * z - slope * z)
    tanh = (sympy.diff(sympy.tanh(z), z) * z - sympy.tanh(z)).subs(z, 1)
    proof.fails("σ = tanh at z = 1, the reason why there is no such law: σ'(z) z − σ(z)", tanh)


def _master_identity(proof: Proof) -> None:
    slope = sympy.Symbol("σ'(z_k)")
    lower, upper = sample(B(l + 1))
    proof.say(
        "For one sample let D_l = diag σ'(z_l), so that h_l = D_l W_l h_{l−1} by Euler. Whatever the feedback B_{l+1} "
        "is at this instant, and whatever signal δ_{l+1} reaches the layer above:"
    )
    proof.show("U_l = D_l B_{l+1}ᵀ δ_{l+1} h_{l−1}ᵀ", lower)
    proof.show("U_{l+1} = δ_{l+1} h_lᵀ", upper)
    proof.equal(
        "Master identity, (U_l W_lᵀ)_kk = (B_{l+1}ᵀ U_{l+1})_kk, that is ⟨U_l[k,:], W_l[k,:]⟩ = "
        "⟨U_{l+1}[:,k], B_{l+1}[:,k]⟩",
        of_neuron(lower @ W(l).T, slope),
        of_neuron(B(l + 1).T @ upper, slope),
    )
    proof.say(
        "It is linear in the sample, hence true of any batch. A bias is a column of W_l whose input is 1. It needs the "
        "layer-wise feedback: direct feedback has it with virtual read-outs only (theory/virtual_readouts)."
    )
    proof.fails(
        "Off the diagonal, with units that are not linear: U_l W_lᵀ − B_{l+1}ᵀ U_{l+1}",
        lower @ W(l).T - B(l + 1).T @ upper,
    )


def _sufficient(proof: Proof) -> None:
    incoming = W(l) @ W(l).T * half
    growth = flow_of_neuron(B(l + 1))(e.T @ incoming @ e)
    work = e.T @ sym(B(l + 1).T @ U(l + 1)) @ e * half
    proof.equal("So ½‖W_l[k,:]‖² grows by ⟨B_{l+1}[:,k], dW_{l+1}[:,k]⟩, with any feedback", growth, work)
    proof.say(
        "If B = ∇Φ and Φ is a sum over columns, that is dΦ(W_{l+1}[:,k]), and ½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]) is "
        "constant for every hidden neuron k; if Φ does not split, Σ_k ½‖W_l[k,:]‖² − Φ(W_{l+1}) is."
    )


def _necessary(proof: Proof) -> None:
    """If Q = ½‖W_l‖² − Φ(W_{l+1}) is conserved for every error, then B = ∇Φ along every direction that is reached."""
    G = letter("G", *above.shape)
    update = M(l + 1) @ E() @ X(l).T
    reached = M(l + 1).T @ G @ X(l)
    proof.say(
        "Conversely let ½‖W_l‖² − Φ(W_{l+1}) be conserved in a linear net, for some differentiable Φ, and G := B − ∇Φ. "
        "Its rate is ⟨G, U_{l+1}⟩ with U_{l+1} = M_{l+1} E X_lᵀ."
    )
    proof.equal(
        "For the error E := M_{l+1}ᵀ G X_l it is ‖M_{l+1}ᵀ G X_l‖²",
        substitute(inner(G, update), {E(): reached}),
        inner(reached, reached),
    )
    proof.say(
        "So M_{l+1}ᵀ G X_l = 0; where M_{l+1}ᵀ is injective (the read-out: M_L = I) and X_l has full row rank, G = 0, "
        "B = ∇Φ, and ⟨B, dW⟩ is closed. Closed is enough, because W ranges over a whole space (Poincaré)."
    )
    _confined(proof)


def _confined(proof: Proof) -> None:
    """Where W_{l+1} moves along a line only, every 1-form is closed: an exception to *only if*."""
    J = letter("J", width(l + 1), width(l + 1))
    curl = potential(J @ above, above)
    assert isinstance(curl, Obstruction)
    proof.fails("That W_{l+1} is free is needed. B = J W is no gradient unless J is symmetric: its curl", curl.curl)
    r, x, y, u = sympy.symbols("r x y u", real=True)
    velocity = {r: -y * u, x: u, y: sympy.Integer(0)}
    rate = sum(sympy.diff(r + x * y, s) * v for s, v in velocity.items())
    proof.vanishes(
        "but for one neuron, W_{l+1} = (x, y)ᵀ under the fixed path M_{l+1} = (1, 0)ᵀ, and the quarter turn J: "
        "d/dt (½‖W_l‖² + xy), where ½‖W_l‖² = r grows by ⟨JW, Ẇ⟩ = −yẋ and y stays",
        rate,
    )


def _quadratic_row(proof: Proof, name: str, feedback: Word, phi: Word) -> None:
    """One row of the table: Φ is a potential of B, and the neuron's quantity is constant."""
    H = letter("H", *above.shape)
    proof.equal(f"{name}: dΦ = ⟨B, dW⟩", Derivation({above: H})(trace(phi)), inner(feedback, H))
    conserved = e.T @ (W(l) @ W(l).T * half - phi) @ e
    proof.vanishes(f"{name}: d/dt [½‖W_l[k,:]‖² − Φ(W_{{l+1}}[:,k])]", flow_of_neuron(feedback)(conserved))
    found = potential(feedback, above)
    proof.holds(f"{name}: the calculus finds it, per neuron", isinstance(found, Potential) and found.per == "neuron")


def _signs(proof: Proof) -> None:
    """Φ = m|w| is no C¹ function; its work is exact along every path all the same."""
    m, p, q = sympy.symbols("m p q", positive=True)
    t = sympy.Symbol("t", real=True)
    proof.say(
        "Signs: φ(w) = m|w| has φ'(w) = m sign(w) except at w = 0. Along an absolutely continuous path w(t) still "
        "d|w|/dt = sign(w)ẇ almost everywhere (|·| is Lipschitz, and ẇ(t) = 0 at almost every t with w(t) = 0), so "
        "that nothing is lost where a sign flips, nor where it sticks to zero. The work ∫ m sign(w) dw of single "
        "pieces:"
    )
    proof.equal("from p > 0 to q > 0: m|q| − m|p|", sympy.integrate(m, (t, p, q)), m * q - m * p)
    proof.equal("from −p to −q: m|q| − m|p|", sympy.integrate(-m, (t, -p, -q)), m * q - m * p)
    flipped = sympy.integrate(-m, (t, -p, 0)) + sympy.integrate(m, (t, 0, q))
    proof.equal("through the flip, from −p to q: m|q| − m|p|", flipped, m * q - m * p)
    flipped = sympy.integrate(m, (t, p, 0)) + sympy.integrate(-m, (t, 0, -q))
    proof.equal("and from p to −q: m|q| − m|p|", flipped, m * q - m * p)
    for name, feedback in sign_rows().items():
        found = potential(feedback, above)
        proof.holds(
            f"{name}: the calculus finds the same, per neuron", isinstance(found, Potential) and found.per == "neuron"
        )
        proof.say(f"{name}: {found.statement}")


def _redrawn(proof: Proof) -> None:
    """brSF: m is redrawn at each step, independently of the state and of the layers above."""
    S, mean = letter("S", *above.shape), letter("m̄", *above.shape)
    other = letter("m'", *above.shape)

    def surplus(m: Word, reference: Word) -> object:
        return inner(hadamard(m, S) - hadamard(reference, S), U(l + 1))

    proof.say(
        "brSF draws m_{l+1} anew at each step. A Φ would need ∇Φ = m ⊙ S for every draw m at once (S = sign W): no law."
    )
    proof.fails("Two draws m, m' ask for two gradients: m ⊙ S − m' ⊙ S", hadamard(MAGNITUDES, S) - hadamard(other, S))
    proof.say(
        "In expectation: by the master identity ½‖W_l‖² − Σ m̄|W_{l+1}|, with m̄ = E m, moves at first order by "
        "⟨(m − m̄) ⊙ S, U_{l+1}⟩ per unit of η."
    )
    mixed = surplus((MAGNITUDES + other) * half, mean)
    average = (surplus(MAGNITUDES, mean) + surplus(other, mean)) * half
    proof.equal("That is affine in m", mixed, average)
    proof.vanishes("and zero at m = m̄", surplus(mean, mean))
    free = B(l + 1).letters()[0] not in FEEDBACK_ALIGNMENT.flow(l).velocity[above].letters()
    proof.holds("and U_{l+1} does not contain the feedback B_{l+1} = m_{l+1} ⊙ S of its own layer", free)
    proof.say(
        "so its expectation, given the state and the batch, is zero where layers are drawn independently: the "
        "quantity is a martingale up to terms in η² and to sign flips."
    )


CLAIM = Claim(
    name="potential",
    statement="With 1-homogeneous units ½‖W_l[k,:]‖² grows by ⟨B_{l+1}, dW_{l+1}⟩ under every layer-wise rule; it is "
    "conserved against a Φ(W_{l+1}) if and, where W_{l+1} is free to move, only if B = ∇Φ.",
    latex=r"\langle U_l[k,:], W_l[k,:]\rangle = \langle U_{l+1}[:,k], B_{l+1}[:,k]\rangle,\qquad "
    r"\tfrac12\lVert W_l[k,:]\rVert^2 - \Phi(W_{l+1}[:,k])\ \text{conserved} \iff B = \nabla\Phi",
    derive=derive,
)
