"""The laws of a feedback path that never moves: what it cannot reach stays, and what two layers share is traded.

With U_l = M_l E X_{l−1}ᵀ and M_l fixed (feedback alignment, direct feedback, ρ-FA, read-out only):

* αᵀW_l never moves for α ⊥ range(M_l);
* where M_lᵀα = M_{l+1}ᵀβ the two layers hear the same error, and αᵀW_lW_lᵀα' − βᵀW_{l+1}α' − αᵀW_{l+1}ᵀβ' is
  conserved for any two such pairs.

Together they are all the laws there are where every hidden layer is at least as wide as the output and the feedback is
generic; for narrower nets that is certified for a table of widths (theory/completeness). With two layers they are all
if and only if rank B_2 = p or rank [B_2ᵀ, W_1] = n_1 (theory/completeness_two_layers): read-out only has more laws,
those of a learner whose W_1 stands still.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from array_api_compat import array_namespace, device

from linfa.arrays import Array, like, norm, sym, to_numpy
from linfa.errors import NoLawError
from linfa.laws.interface import AbstractLaw, Layers
from linfa.rules.interface import AbstractRule, State


def _check_fixed(rule: AbstractRule) -> None:
    if not rule.fixed_path:
        raise NoLawError(
            f"{rule.name}: the feedback path M_l moves with the weights, so what it reaches changes and neither the "
            "null space of M_l nor a shared error is preserved: use NeuronLaw or MatrixLaw where they apply"
        )


def _paths(rule: AbstractRule, state: State) -> tuple[Array, ...]:
    """Return M_1 … M_L; a rule with batched feedback has one path per network and is refused."""
    M = rule.paths(state)
    if any(m.ndim > 2 for m in M):
        raise NoLawError("the fixed-path laws need one feedback for all networks of a batch; this one has leading axes")
    return M


# Rules are frozen and hash by identity, so the factorisations of a rule are made once. The state only lends its shapes.
_CACHE = 16


class _ByRule:
    """The key of the cache: a rule, and the kind of arrays that it is asked for.

    A fixed path reads of a state only its output width, dtype and device; an empty read-out lends these.
    """

    def __init__(self, rule: AbstractRule, state: State) -> None:
        last = state.weights[-1]
        self.rule, self.state = rule, State((last[..., :0],))
        self.key = (id(rule), last.shape[-2], type(last), str(last.dtype), str(device(last)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByRule) and self.key == other.key and self.rule is other.rule

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=_CACHE)
def _unreached(key: _ByRule) -> tuple[Array, ...]:
    """Return orthonormal bases N_l (n_l, n_l − rank M_l) of what the path does not reach, l = 1 … L−1."""
    bases = []
    for M in _paths(key.rule, key.state)[:-1]:
        U, s, _ = np.linalg.svd(to_numpy(M), full_matrices=True)
        bases.append(like(U[:, _rank(s, M) :], M))
    return tuple(bases)


@lru_cache(maxsize=_CACHE)
def _shared(key: _ByRule) -> tuple[tuple[Array, Array, float], ...]:
    """Return, for l = 1 … L−1, bases (A_l, B_l) with M_lᵀA_l = M_{l+1}ᵀB_l, and the condition number of M_{l+1}.

    A_l spans the α whose M_lᵀα lies in range(M_{l+1}ᵀ); β = (M_{l+1}ᵀ)⁺M_lᵀα is the representative of least norm (any
    other differs by a β with M_{l+1}ᵀβ = 0, which adds a null-space law).
    """
    M = [to_numpy(m) for m in _paths(key.rule, key.state)]
    pairs = []
    for lower, upper in zip(M, M[1:], strict=False):
        U, s, Vt = np.linalg.svd(upper.T, full_matrices=True)
        r = _rank(s, upper)
        # The part of M_lᵀα outside range(M_{l+1}ᵀ) must vanish.
        outside = U[:, r:].T @ lower.T
        _, s_out, Vt_out = np.linalg.svd(outside, full_matrices=True)
        A = Vt_out[_rank(s_out, lower) if s_out.size else 0 :].T
        B = (Vt[:r].T / s[:r]) @ (U[:, :r].T @ (lower.T @ A))
        condition = float(s[0] / s[r - 1]) if r else 1.0
        reference = key.state.weights[0]
        pairs.append((like(A, reference), like(B, reference), condition))
    return tuple(pairs)


def _rank(singular: np.ndarray, matrix: Array) -> int:
    """Return the numerical rank: singular values above the rounding of the matrix they came from."""
    M = to_numpy(matrix)
    scale = np.linalg.norm(M, 2) if M.size else 0.0
    return int(np.sum(singular > scale * max(M.shape) * np.finfo(M.dtype).eps * 8))


def _longest(A: Array) -> Array:
    """Return the largest Euclidean norm of a row, zero where there is none."""
    xp = array_namespace(A)
    squares = xp.sum(A * A, axis=-1)
    return xp.sqrt(xp.max(squares, axis=-1)) if A.shape[-2] else xp.sum(squares, axis=-1)


class NullSpaceLaw(AbstractLaw):
    """αᵀW_l never moves for α ⊥ range(M_l): N_lᵀW_l is conserved, N_l an orthonormal basis of what is not reached.

    The quantity of layer l has shape (..., n_l − rank M_l, n_{l−1}). Derived in theory/null_space_law.

    >>> import numpy as np
    >>> import linfa
    >>> W, V, B = np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
    >>> abs(NullSpaceLaw().quantity(linfa.FeedbackAlignment((B,)), linfa.State((W, V)))[0])
    array([[2.]])
    """

    name = "null_space"
    statement = "The part of W_l that the feedback path does not reach never moves."
    latex = r"P_l W_l,\quad P_l = I - M_l M_l^{+}"

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError where the feedback path moves."""
        _check_fixed(rule)

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return N_lᵀW_l, and zero."""
        Q = tuple(N.mT @ W for N, W in zip(_unreached(_ByRule(rule, state)), state.weights, strict=False))
        return Q, tuple(0 * q for q in Q)

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return N_lᵀu_l."""
        return tuple(N.mT @ w for N, w in zip(_unreached(_ByRule(rule, state)), u.weights, strict=False))

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return zero: the quantity is linear."""
        return tuple(0 * d for d in self.differential(rule, state, u))

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return the size of the layer."""
        return tuple(sizes.weights[:-1])

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return max_j ‖W_l[:,j]‖."""
        return tuple(_longest(W.mT) for W in state.weights[:-1])


class DirectFeedbackLaw(AbstractLaw):
    """A_lᵀW_lW_lᵀA_l − sym(B_lᵀW_{l+1}A_l) is conserved, where M_lᵀA_l = M_{l+1}ᵀB_l: any fixed path, any width.

    If n_{l+1} ≥ p and the feedback is generic, A_l spans everything and the law is the matrix law with the effective
    feedback M_l M_{l+1}⁺; a hidden layer narrower than the output loses laws, exactly here. The quantity of layer l has
    shape (..., a_l, a_l). Derived in theory/direct_feedback.

    >>> import linfa
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> rule = linfa.DirectFeedback.random(net, rng=1)
    >>> DirectFeedbackLaw().quantity(rule, linfa.State(net.matrices))[0].shape
    (4, 4)
    """

    name = "direct"
    statement = "Two layers that hear the same error trade incoming against outgoing weights along it."
    latex = r"A_l^\top W_l W_l^\top A_l - \mathrm{sym}(B_l^\top W_{l+1} A_l),\quad M_l^\top A_l = M_{l+1}^\top B_l"

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError where the feedback path moves."""
        _check_fixed(rule)

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return A_lᵀW_lW_lᵀA_l and sym(B_lᵀW_{l+1}A_l)."""
        incoming, outgoing = [], []
        W = state.weights
        for l, (A, B, _) in enumerate(_shared(_ByRule(rule, state))):
            AW = A.mT @ W[l]
            incoming.append(AW @ AW.mT)
            outgoing.append(sym(B.mT @ W[l + 1] @ A))
        return tuple(incoming), tuple(outgoing)

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return sym(A_lᵀu_lW_lᵀA_l − B_lᵀu_{l+1}A_l)."""
        W, w = state.weights, u.weights
        return tuple(
            sym(A.mT @ w[l] @ (A.mT @ W[l]).mT - B.mT @ w[l + 1] @ A)
            for l, (A, B, _) in enumerate(_shared(_ByRule(rule, state)))
        )

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return A_lᵀu_lu_lᵀA_l, which is never negative."""
        pairs = _shared(_ByRule(rule, state))
        return tuple(A.mT @ w @ (A.mT @ w).mT for (A, _, _), w in zip(pairs, u.weights, strict=False))

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return 2(‖W_l‖ a_l + κ_{l+1}‖B_l‖ a_{l+1}), κ the condition number at which B_l was solved for."""
        W, a = state.weights, sizes.weights
        return tuple(
            2 * (norm(W[l]) * a[l] + condition * norm(B) * a[l + 1])
            for l, (_, B, condition) in enumerate(_shared(_ByRule(rule, state)))
        )

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return max_i ‖(A_lᵀW_l)[i,:]‖² + 2 max_i ‖B_l[:,i]‖ max_i ‖(W_{l+1}A_l)[:,i]‖."""
        W = state.weights
        return tuple(
            _longest(A.mT @ W[l]) ** 2 + 2 * _longest(B.mT) * _longest((W[l + 1] @ A).mT)
            for l, (A, B, _) in enumerate(_shared(_ByRule(rule, state)))
        )
