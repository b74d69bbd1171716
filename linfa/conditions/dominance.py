"""Dominance: how far a start is from aligned for ever, at the neuron, at the layer, as a matrix.

Under feedback that stays put the matrix law gives ⟨W_{l+1}(t), B_{l+1}⟩ = ½‖W_l(t)‖² − ½ tr C_l, so whatever is
positive in −C_l at the start is alignment that no data, no loss and no length of training takes away. In continuous
time every margin here is constant; a finite step lowers it by at most ½η²‖U_l[k,:]‖² (the law's exact defect).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import Array, like, sym, to_numpy
from linfa.conditions.interface import AbstractCondition, needs_hidden
from linfa.errors import InputError, NoLawError
from linfa.rules.interface import AbstractLayerwise, AbstractRule, State
from linfa.task import Task


def _feedback(rule: AbstractRule, state: State, name: str) -> tuple[Array, ...]:
    """Return B_2 … B_L of a rule for which ⟨B, W⟩ is itself the potential, or say why dominance is silent."""
    needs_hidden(state, name)
    if not isinstance(rule, AbstractLayerwise):
        rule.potential(0)  # brSF says here that its feedback is redrawn
        raise NoLawError(
            f"{rule.name}: dominance compares W_l with a feedback B_l that stands in for it; there is none"
        )
    if rule.potential(0).alpha != 0:
        raise NoLawError(
            f"{rule.name}: the feedback moves with the weights, so ⟨B_{{l+1}}, W_{{l+1}}⟩ does not grow as ½‖W_l‖² "
            "does and dominance at the start says nothing of later: use laws.MatrixLaw for what is conserved instead"
        )
    return rule.feedback(state)


def _differences(rule: AbstractRule, state: State, name: str) -> tuple[Array, ...]:
    """Return κ_k of every neuron, layer by layer."""
    kappas = []
    for W, W_next, B in zip(state.weights, state.weights[1:], _feedback(rule, state, name), strict=False):
        xp = array_namespace(W)
        kappas.append(xp.sum(W_next * B, axis=-2) - xp.sum(W * W, axis=-1) / 2)
    return tuple(kappas)


class NeuronDominance(AbstractCondition):
    """κ_k = ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩ − ½‖W_l[k,:]‖² of the worst neuron k of every hidden layer.

    κ_k is constant in continuous time, any data and loss, so κ_k ≥ 0 at the start keeps neuron k aligned for ever
    (in linear networks κ_k = −½ C_l[k,k]). Robertson & Koyejo 2024 in words; our statement. Also for sign-concordant
    feedback, where it is the whole law.

    >>> import linfa
    >>> W, V, B = np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
    >>> rule, state = linfa.FeedbackAlignment((B,)), linfa.State((W, V))
    >>> NeuronDominance().neurons(rule, state)[0], NeuronDominance().margin(rule, state)
    (array([ 2.5, -2. ]), array([-2.]))
    """

    name = "neuron_dominance"
    statement = "A neuron whose alignment outweighs half its squared incoming norm stays aligned for ever."
    latex = r"\kappa_k = \langle W_{l+1}[:,k], B_{l+1}[:,k]\rangle - \tfrac12\lVert W_l[k,:]\rVert^2"
    axis = "hidden"

    def neurons(self, rule: AbstractRule, state: State) -> tuple[Array, ...]:
        """Return κ_k of every neuron, one array (..., n_l) per hidden layer."""
        return _differences(rule, state, self.name)

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return min_k κ_k for every hidden layer, shape (..., L−1)."""
        worst = [array_namespace(k).min(k, axis=-1) for k in self.neurons(rule, state)]
        return array_namespace(worst[0]).stack(worst, axis=-1)


class LayerDominance(AbstractCondition):
    """−½ tr C_l = ⟨W_{l+1}, B_{l+1}⟩ − ½‖W_l‖² of every hidden layer: the neurons' margins added up.

    Constant in continuous time; ≥ 0 at the start keeps ⟨W_{l+1}(t), B_{l+1}⟩ ≥ ½‖W_l(t)‖² for ever. Derived in theory.

    >>> import linfa
    >>> W, V, B = np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
    >>> LayerDominance().margin(linfa.FeedbackAlignment((B,)), linfa.State((W, V)))
    array([0.5])
    """

    name = "layer_dominance"
    statement = "A layer whose alignment outweighs half its squared incoming norm stays aligned for ever."
    latex = r"-\tfrac12\operatorname{tr} C_l = \langle W_{l+1}, B_{l+1}\rangle - \tfrac12\lVert W_l\rVert^2"
    axis = "hidden"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return −½ tr C_l for every hidden layer, shape (..., L−1)."""
        total = [array_namespace(k).sum(k, axis=-1) for k in _differences(rule, state, self.name)]
        return array_namespace(total[0]).stack(total, axis=-1)


@dataclass(frozen=True)
class MatrixDominance(AbstractCondition):
    """−λ_max(C_l), C_l = W_l W_lᵀ − sym(B_{l+1}ᵀ W_{l+1}), of every hidden layer: dominance in every direction at once.

    C_l has no negative direction outside the range of M_l where W_l and W_{l+1} have nothing there, so a hidden layer
    wider than the output has margin ≤ 0 on the full space; with `reached` the margin is that on range(M_l), all that
    the feedback ever moves and all that the Lyapunov theorem asks. Derived in theory's A1.

    Args:
        reached: whether only the directions in range(M_l) count.

    >>> import linfa
    >>> W, V, B = np.zeros((2, 1)), np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]])
    >>> rule, state = linfa.FeedbackAlignment((B,)), linfa.State((W, V))
    >>> MatrixDominance().margin(rule, state) == 0, MatrixDominance(reached=True).margin(rule, state).round(12)
    (array([ True]), array([6.]))
    """

    name = "matrix_dominance"
    statement = "Where C_l has no positive direction, every combination of neurons stays aligned for ever."
    latex = r"-\lambda_{\max}(C_l),\quad C_l = W_l W_l^\top - \mathrm{sym}(B_{l+1}^\top W_{l+1})"
    axis = "hidden"
    reached: bool = False

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return −λ_max(C_l), or −λ_max(QᵀC_lQ) with Q an orthonormal basis of range(M_l); shape (..., L−1)."""
        B = _feedback(rule, state, self.name)
        if rule.potential(0).magnitude is not None:
            raise NoLawError(
                f"{rule.name}: sign(W) acts entry by entry, so only the diagonal of C_l stays: use NeuronDominance"
            )
        M = rule.paths(state) if self.reached else ()
        margins = []
        for l, (W, W_next, B_next) in enumerate(zip(state.weights, state.weights[1:], B, strict=False)):
            C = W @ W.mT - sym(B_next.mT @ W_next)
            margins.append(-largest_eigenvalue(C, range_basis(M[l]) if self.reached else None))
        return array_namespace(margins[0]).stack(margins, axis=-1)


def largest_eigenvalue(C: Array, Q: Array | None = None) -> Array:
    """Return λ_max(C), or λ_max(QᵀCQ), over leading batch axes.

    >>> float(largest_eigenvalue(np.diag([1.0, 3.0]), np.array([[1.0], [0.0]])))
    1.0
    """
    restricted = C if Q is None else Q.mT @ C @ Q
    return array_namespace(C).linalg.eigvalsh(restricted)[..., -1]


def range_basis(M: Array) -> Array:
    """Return orthonormal columns that span range(M), singular values below the rounding of M counted as zero.

    Raises:
        InputError: where M is zero, or carries leading axes (the ranks of a batch may differ).

    >>> abs(range_basis(np.array([[2.0, 4.0], [0.0, 0.0]])))
    array([[1.],
           [0.]])
    """
    if M.ndim > 2:
        raise InputError("the range of the feedback needs one feedback for all networks; this one has leading axes")
    U, s, _ = np.linalg.svd(to_numpy(M), full_matrices=False)
    rank = int(np.sum(s > s[0] * max(M.shape) * np.finfo(s.dtype).eps * 8))
    if rank == 0:
        raise InputError("the feedback path is zero: it reaches nothing, and nothing can be asked of its range")
    return like(U[:, :rank], M)
