"""Under decay that does not more than double from layer to layer, what a neuron owes to dominance fades."""

from __future__ import annotations

import sympy

from linfa.symbolic import LAYER, B, Derivation, W, Word, rewrite, substitute
from theory.claim import Claim, Proof
from theory.depth_doubling_decay import LETTERS, UPDATES, d, d_above, decayed, shrunk, μ, μ_above
from theory.notation import half
from theory.step_defect import C
from theory.units import U, e, master, passed_on

l, η = LAYER, sympy.Symbol("η", positive=True)
Q = e.T @ C(l) @ e * half
"""½‖W_l[k,:]‖² − ⟨B_{l+1}[:,k], W_{l+1}[:,k]⟩ of a neuron: what it owes; κ_k = −Q is its margin."""


def length(A: Word) -> Word:
    """‖A[k,:]‖²."""
    return e.T @ A @ A.T @ e


def derive(proof: Proof) -> None:
    """What is owed, in continuous time, at rest, and in steps."""
    proof.say("Feedback alignment with Ẇ_l = U_l − μ_l W_l, 1-homogeneous units, any loss, data and start.")
    flow = Derivation(decayed(LETTERS, μ, μ_above), (master(B(l + 1)),))
    proof.vanishes(
        "dQ/dt + μ_{l+1} Q + (μ_l − ½μ_{l+1}) ‖W_l[k,:]‖²",
        flow(Q) + Q * μ_above + length(W(l)) * (μ - μ_above / 2),
    )
    proof.say(
        "So if μ_{l+1} ≤ 2μ_l, then Q(t) ≤ e^{−μ_{l+1}t} Q(0) (Grönwall): a neuron that alignment dominates at the "
        "start is dominated for ever, and one that is not owes less and less, ⟨B_{l+1}[:,k], W_{l+1}[:,k]⟩ ≥ "
        "½‖W_l[k,:]‖² − e^{−μ_{l+1}t} Q(0). Norms may fade as well: what is proved is lim sup Q ≤ 0, and not that κ is "
        "positive after some time. Doubling is the case of equality (theory/depth_doubling_decay)."
    )
    _rest(proof)
    _steps(proof)
    _tight(proof)


def _rest(proof: Proof) -> None:
    """U_l = μ_l W_l in the master identity."""
    rest = {U(l): W(l) * μ, U(l + 1): W(l + 1) * μ_above}
    identity = e.T @ U(l) @ W(l).T @ e - e.T @ B(l + 1).T @ U(l + 1) @ e
    proof.equal(
        "At rest, U_l = μ_l W_l, the master identity is μ_l ‖W_l[k,:]‖² − μ_{l+1} ⟨B_{l+1}[:,k], W_{l+1}[:,k]⟩ = 0",
        substitute(identity, rest),
        length(W(l)) * μ - e.T @ B(l + 1).T @ W(l + 1) @ e * μ_above,
    )
    relation = passed_on(B(l + 1))
    proof.equal(
        "and in linear nets μ_l W_lW_lᵀ − μ_{l+1} B_{l+1}ᵀW_{l+1} = 0, so that B_{l+1}ᵀW_{l+1} ⪰ 0 is symmetric",
        substitute(relation.pattern - relation.replacement, rest),
        W(l) @ W(l).T * μ - B(l + 1).T @ W(l + 1) * μ_above,
    )
    proof.say(
        "Wherever training comes to rest, with momentum too, every neuron that is alive is aligned with its feedback: "
        "by (μ_l/μ_{l+1})‖W_l[k,:]‖²."
    )


def _steps(proof: Proof) -> None:
    """W_l ← d_l(W_l + ηU_l)."""
    identity = (master(B(l + 1)),)
    stated = (Q + length(U(l)) * (half * η**2)) * d_above - length(W(l) + U(l) * η) * ((d_above - d**2) / 2)
    proof.equal(
        "Steps W_l ← d_l(W_l + ηU_l): Q⁺ = d_{l+1}(Q + ½η²‖U_l[k,:]‖²) − ½(d_{l+1} − d_l²)‖(W_l + ηU_l)[k,:]‖²",
        substitute(Q, shrunk(LETTERS, d, d_above), identity),
        rewrite(stated, identity),
    )
    proof.say(
        "If d_l² ≤ d_{l+1}, what is owed shrinks by d_{l+1} at every step, but for the step's own ½η²‖U_l[k,:]‖²."
    )


def _tight(proof: Proof) -> None:
    proof.fails(
        "Tight: for μ_{l+1} = 3μ_l the term in ‖W_l[k,:]‖² has the other sign",
        Derivation(decayed(LETTERS, μ, 3 * μ), (master(B(l + 1)),))(Q) + Q * (3 * μ),
    )
    without = Derivation(dict(UPDATES))
    proof.vanishes("Without decay dQ/dt (linear nets): a debt stays for ever", without(Q))


CLAIM = Claim(
    name="decay_dominance",
    statement="Under decay with μ_{l+1} ≤ 2μ_l what a neuron owes fades, Q_k(t) ≤ e^{−μ_{l+1}t}Q_k(0), whatever the "
    "start; and at rest, if μ_{l+1} > 0, ⟨B_{l+1}[:,k], W_{l+1}[:,k]⟩ = (μ_l/μ_{l+1})‖W_l[k,:]‖²: every neuron whose "
    "weights have not died is aligned.",
    latex=r"\dot Q_k = -\mu_{l+1} Q_k - (\mu_l - \tfrac12\mu_{l+1})\lVert W_l[k,:]\rVert^2,\qquad "
    r"U = \mu W \Rightarrow \langle B_{l+1}[:,k], W_{l+1}[:,k]\rangle = "
    r"\tfrac{\mu_l}{\mu_{l+1}}\lVert W_l[k,:]\rVert^2",
    derive=derive,
)
