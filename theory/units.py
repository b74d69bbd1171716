"""One hidden layer of positively 1-homogeneous units in words: what the claims say of neurons, at every width.

A window of a net of linear, ReLU or leaky ReLU units, seen through one sample, or through the updates of a whole batch.
In linear nets D_l = I, and what is said here of the diagonal holds for whole matrices.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy

from linfa.symbolic import LAYER, Derivation, Relation, W, Word, letter, rewrite, width

l = LAYER

D = letter("D", width(l), width(l), index=l, symmetric=True)
"""D_l = diag σ'(z_l), for one sample."""
e = letter("e", width(l), 1)
"""e_k, the unit vector of a hidden neuron k."""
h = letter("h", width(l - 1), 1)
"""h_{l−1}, the input of the layer, for one sample."""
δ = letter("δ", width(l + 1), 1)
"""δ_{l+1}, the signal that reaches the layer above, for one sample: arbitrary."""


def U(layer: sympy.Expr) -> Word:
    """U_l, the update of a whole batch, as a letter."""
    return letter("U", width(layer), width(layer - 1), index=layer)


def sample(feedback: Word) -> tuple[Word, Word]:
    """U_l = δ_l h_{l−1}ᵀ and U_{l+1} = δ_{l+1} h_lᵀ of one sample, δ_l = D_l Bᵀ δ_{l+1} and h_l = D_l W_l h_{l−1}."""
    return D @ feedback.T @ δ @ h.T, δ @ (D @ W(l) @ h).T


def of_neuron(A: Word, slope: sympy.Expr) -> Word:
    """e_kᵀ A e_k for one sample, where D_l e_k = σ'(z_k) e_k because D_l is diagonal."""
    return rewrite(e.T @ A @ e, (Relation(D @ e, e * slope),))


def passed_on(feedback: Word) -> Relation:
    """U_l W_lᵀ = Bᵀ U_{l+1}, of every layer-wise rule in a linear net: both are M_l E X_lᵀ (theory/matrix_law)."""
    return Relation(U(l) @ W(l).T, feedback.T @ U(l + 1))


def master(feedback: Word) -> Relation:
    """The master identity of a batch, (U_l W_lᵀ)_kk = (Bᵀ U_{l+1})_kk; proved in theory/potential."""
    return Relation(e.T @ U(l) @ W(l).T @ e, e.T @ feedback.T @ U(l + 1) @ e)


def flow_of_neuron(feedback: Word, further: Mapping[Word, Word] | None = None) -> Derivation:
    """d/dt of a neuron's quantity e_kᵀ Q e_k with Ẇ = U, in a net of any such units.

    Args: feedback: B_{l+1}, as a word; further: how further letters move, or other motions of W_l and W_{l+1}.
    """
    return Derivation({W(l): U(l), W(l + 1): U(l + 1), **(further or {})}, (master(feedback),))
