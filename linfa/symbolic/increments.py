"""Finite steps: by exactly how much a quantity changes, as a polynomial in the learning rate η.

V⁺ = μ V + U − λ W ,   W⁺ = W + η V⁺ ,   Δ Q = Q(W⁺) − Q(W) = Σ_k η^k Δ_k
"""

from __future__ import annotations

from typing import TypeVar

import sympy

from linfa.symbolic.alphabet import letter
from linfa.symbolic.derivation import powers, substitute
from linfa.symbolic.letters import Letter
from linfa.symbolic.rules import Flow
from linfa.symbolic.words import Coefficient, Scalar, Word

Expression = TypeVar("Expression", Word, Scalar)
RATE = sympy.Symbol("η", positive=True)


def velocity_letter(weights: Word) -> Word:
    """The momentum buffer V_l of a weight W_l (VB_l of a feedback that learns)."""
    source = weights.letters()[0]
    assert isinstance(source, Letter)
    return letter("V" if source.name == "W" else f"V{source.name}", *weights.shape, index=source.index)


def increment(
    quantity: Expression, flow: Flow, *, momentum: Coefficient = 0, decay: Coefficient = 0
) -> dict[int, Expression]:
    """The exact change of a quantity in one step of a rule, by powers of η.

        Q(W + η (μ V + U − λ W)) − Q(W) = Σ_k η^k Δ_k

    Args: quantity: a word or a sum of traces; flow: of the rule (its velocities are the updates U); momentum: μ;
        decay: λ.
    Returns: {k: Δ_k}, without the powers that vanish: empty when nothing changes.

    >>> from linfa.symbolic.letters import LAYER
    >>> from linfa.symbolic.rules import FEEDBACK_ALIGNMENT
    >>> from linfa.symbolic.alphabet import B, W
    >>> from linfa.symbolic.words import sym
    >>> C = W(LAYER) @ W(LAYER).T - sym(B(LAYER + 1).T @ W(LAYER + 1))
    >>> increment(C, FEEDBACK_ALIGNMENT.flow(LAYER))
    {2: B_{l+1}ᵀ M_{l+1} E X_{l-1}ᵀ X_{l-1} Eᵀ M_{l+1}ᵀ B_{l+1}}

    Source: theory.md D1; derived in theory/.
    """
    return powers(substitute(quantity, step(flow, momentum=momentum, decay=decay), flow.relations) - quantity, RATE)


def step(flow: Flow, *, momentum: Coefficient = 0, decay: Coefficient = 0) -> dict[Word, Word]:
    """Where each moving letter goes in one step: W ↦ W + η (μ V + U − λ W)."""
    return {w: w + RATE * (velocity_letter(w) * momentum + update - w * decay) for w, update in flow.velocity.items()}
