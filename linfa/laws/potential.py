"""The laws of a feedback that is a gradient, B = ∇Φ: one per neuron, and one matrix per layer where Φ allows it.

Both rest on U_l W_lᵀ = B_{l+1}ᵀ U_{l+1}, which holds for every layer-wise rule, any error and any data, because both
sides are M_l E X_lᵀ. R_{l+1} is what the potential is read on: W_{l+1} for most rules, the moving B_{l+1} for
Kolen–Pollack, the virtual read-out V_l for direct feedback; in each case the rule moves it by U_{l+1} (or E X_lᵀ).
"""

from __future__ import annotations

from collections.abc import Iterator

from array_api_compat import array_namespace

from linfa.arrays import Array, norm, sym
from linfa.errors import NoLawError
from linfa.laws.interface import AbstractLaw, Layers
from linfa.rules.interface import AbstractRule, State
from linfa.rules.potential import Potential


def _layers(rule: AbstractRule, *states: State) -> Iterator[tuple[Potential, list[Array], list[Array]]]:
    """Yield, for l = 1 … L−1, Φ_{l+1} and the parts W_l and R_{l+1} of each state."""
    readers = [rule.readers(s) for s in states]
    for k in range(len(states[0].weights) - 1):
        yield rule.potential(k), [s.weights[k] for s in states], [R[k] for R in readers]


def _first(rule: AbstractRule) -> Potential:
    """Return the first potential of a rule, or φ = 0 where there is no hidden layer and hence no feedback."""
    try:
        return rule.potential(0)
    except IndexError:
        return Potential()


def _sensitivity(rule: AbstractRule, state: State, sizes: State) -> Layers:
    """Return 2(‖W_l‖ a_l + ‖|B_{l+1}|‖ r_{l+1}): Cauchy–Schwarz on both terms of either differential."""
    return tuple(2 * (norm(W) * a + norm(phi.bound(R)) * r) for phi, (W, a), (R, r) in _layers(rule, state, sizes))


def _terms(rule: AbstractRule, state: State) -> Layers:
    """Return max_k ‖W_l[k,:]‖² + 2 ⟨|B_{l+1}[:,k]|, |R_{l+1}[:,k]|⟩."""
    largest = []
    for phi, (W,), (R,) in _layers(rule, state):
        xp = array_namespace(W)
        per_neuron = xp.sum(W * W, axis=-1) + 2 * xp.sum(phi.bound(R) * xp.abs(R), axis=-2)
        largest.append(xp.max(per_neuron, axis=-1))
    return tuple(largest)


class NeuronLaw(AbstractLaw):
    """½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]) is conserved for every hidden neuron k (Robertson & Koyejo 2024; our statement).

    The half of the matrix law's diagonal, and more: it also holds for feedback that follows signs. The quantity of
    layer l has shape (..., n_l). Derived in theory/potential.

    >>> import linfa
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> NeuronLaw().applies_to(linfa.SignConcordant.uniform(net)), NeuronLaw().applies_to(linfa.StrictNormalSign())
    (True, False)
    """

    name = "neuron"
    statement = (
        "Half the squared norm of a neuron's incoming weights, less the feedback potential of its outgoing ones."
    )
    latex = r"\tfrac12\lVert W_l[k,:]\rVert^2 - \Phi(W_{l+1}[:,k])"

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError where the feedback is no gradient."""
        _first(rule)

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return ½ Σ_j W_l[k,j]² and Σ_i φ(R_{l+1}[i,k])."""
        incoming, outgoing = [], []
        for phi, (W,), (R,) in _layers(rule, state):
            xp = array_namespace(W)
            incoming.append(xp.sum(W * W, axis=-1) / 2)
            outgoing.append(xp.sum(phi.value(R), axis=-2))
        return tuple(incoming), tuple(outgoing)

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return ⟨W_l[k,:], u_l[k,:]⟩ − ⟨B_{l+1}[:,k], r_{l+1}[:,k]⟩."""
        return tuple(
            array_namespace(W).sum(W * w, axis=-1) - array_namespace(W).sum(phi.gradient(R) * r, axis=-2)
            for phi, (W, w), (R, r) in _layers(rule, state, u)
        )

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return ½‖u_l[k,:]‖² less the bend of the potential; for feedback alignment the first term alone."""
        return tuple(
            array_namespace(w).sum(w * w, axis=-1) / 2 - array_namespace(w).sum(phi.defect(R, r), axis=-2)
            for phi, (_, w), (R, r) in _layers(rule, state, u)
        )

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return 2(‖W_l‖ a_l + ‖|B_{l+1}|‖ r_{l+1})."""
        return _sensitivity(rule, state, sizes)

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return max_k ‖W_l[k,:]‖² + 2 ⟨|B_{l+1}[:,k]|, |R_{l+1}[:,k]|⟩."""
        return _terms(rule, state)


class MatrixLaw(AbstractLaw):
    """C_l = W_l W_lᵀ − Ψ(W_{l+1}) is conserved, a symmetric matrix per hidden layer.

    Feedback alignment: C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1}) (two layers: Lillicrap et al. 2016, eq. 14); backprop:
    the balancedness W_l W_lᵀ − W_{l+1}ᵀ W_{l+1}; Kolen–Pollack: W_l W_lᵀ − B_{l+1}ᵀ B_{l+1}. In general
    Ψ(R) = α RᵀR + sym(bᵀR) for φ(w) = ½αw² + bw. The quantity of layer l has shape (..., n_l, n_l).
    Derived in theory/matrix_law.

    >>> import numpy as np
    >>> import linfa
    >>> W, V, B = np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
    >>> MatrixLaw().quantity(linfa.FeedbackAlignment((B,)), linfa.State((W, V)))[0]
    array([[-5., -2.],
           [-2.,  4.]])
    """

    name = "matrix"
    statement = "W_l W_lᵀ less the symmetrised product of feedback and outgoing weights."
    latex = r"W_l W_l^\top - B_{l+1}^\top W_{l+1} - W_{l+1}^\top B_{l+1}"

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError where the feedback is no gradient, or acts entry by entry."""
        if _first(rule).magnitude is not None:
            raise NoLawError(
                f"{rule.name}: sign(W) acts entry by entry, so ⟨B[:,j], dW[:,k]⟩ is no differential for j ≠ k and only "
                "the diagonal is conserved: use NeuronLaw"
            )

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return W_l W_lᵀ and α R_{l+1}ᵀR_{l+1} + sym(b_{l+1}ᵀ R_{l+1})."""
        incoming, outgoing = [], []
        for phi, (W,), (R,) in _layers(rule, state):
            incoming.append(W @ W.mT)
            traded = phi.alpha * (R.mT @ R)
            outgoing.append(traded if phi.linear is None else traded + sym(phi.linear.mT @ R))
        return tuple(incoming), tuple(outgoing)

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return sym(u_l W_lᵀ − B_{l+1}ᵀ r_{l+1})."""
        return tuple(sym(w @ W.mT - phi.gradient(R).mT @ r) for phi, (W, w), (R, r) in _layers(rule, state, u))

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return u_l u_lᵀ − α r_{l+1}ᵀ r_{l+1}; for feedback alignment the first term alone, never negative."""
        return tuple(w @ w.mT - phi.alpha * (r.mT @ r) for phi, (_, w), (_, r) in _layers(rule, state, u))

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return 2(‖W_l‖ a_l + ‖|B_{l+1}|‖ r_{l+1})."""
        return _sensitivity(rule, state, sizes)

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return max_k ‖W_l[k,:]‖² + 2 ⟨|B_{l+1}[:,k]|, |R_{l+1}[:,k]|⟩."""
        return _terms(rule, state)
