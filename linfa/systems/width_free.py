"""The width-free system: the whole run of a network of any width, in a few small matrices, exactly.

Under a fixed feedback path every weight stays in the family W_l = α W_l(0) + M_l Z_l, and Z_l in the span of the level
below. With the coordinates Φ (p × n_0) and R_1 … R_{L−1} (p × p), one copy per power of α where weights decay,

    z_l = [Φ^(l−1) | R_1^(l−2) | … | R_{l−1}^(0)],      Z_l = z_l basis_{l−1}ᵀ
    c_l = [α^l I; α^{l−1} Y_1; … ; Y_l],                 X_l = basis_l c_l
    Y_l = Z_l X_{l−1} = z_l 𝒢_{l−1} c_{l−1},             f = X_L x
    Φ̇^(k) = α^k E,      Ṙ_j^(k) = α^k E Y_jᵀ,           α̇ = 0

in continuous time, and the same with sums for gradient descent and mini-batch SGD on any loss: momentum and decay act
on the coordinates as they act on the weights. Derived in theory/width_free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from array_api_compat import array_namespace, device

from linfa.arrays import Array, Rng, eye, inner, norm
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.systems.drawn import Drawn
from linfa.systems.interface import AbstractSystem, Labelled, Samples
from linfa.systems.reduction import Reduction, next_basis
from linfa.weights import Weights


@dataclass(frozen=True, eq=False)
class WidthFree(AbstractSystem):
    """A network of any width under a fixed feedback path, simulated in coordinates that do not know the width.

    Args:
        weights: the start W(0), where it exists as matrices; None for drawn or limiting Gram matrices.
        rule: feedback alignment, ρ-FA, direct feedback, or read-out only.
        reduction: the Gram matrices; computed once from weights and rule where they are not given.
        copies: whether weights decay, which takes one copy of the coordinates per power of α; solvers set it.
        areas: whether only the antisymmetric parts of R_1 … R_{L−1} are kept; see `flowing`.

    Raises:
        NoLawError: where the feedback path moves (backprop, sign-concordant, Kolen–Pollack, …).

    >>> import linfa
    >>> net, task = linfa.Weights.standard((3, 40, 40, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    >>> rule = linfa.FeedbackAlignment.random(net, rng=2)
    >>> full, free = (linfa.solve(s(net, rule), task, linfa.Flow(t=3.0)) for s in (linfa.Full, WidthFree))
    >>> bool(abs(full.loss - free.loss).max() < 1e-9)
    True
    """

    weights: Weights | None
    rule: AbstractRule
    reduction: Reduction | None = None
    copies: bool = False
    areas: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rule, AbstractRule):
            raise InputError(f"WidthFree takes a rule such as linfa.FeedbackAlignment; got {self.rule!r}")
        if self.reduction is None:
            if not isinstance(self.weights, Weights):
                raise InputError("WidthFree takes linfa.Weights as its start, or a Reduction that stands for them")
            object.__setattr__(self, "reduction", Reduction.of(self.weights, self.rule))

    @classmethod
    def gaussian(
        cls,
        widths: Sequence[int],
        rng: Rng,
        *,
        members: int | None = None,
        weight_scale: float | Sequence[float] = 1.0,
        feedback_scale: float | Sequence[float] = 1.0,
    ) -> WidthFree:
        """Return a Gaussian network of any finite width under feedback alignment, drawn exactly in law.

        Arguments as for `Reduction.gaussian`; the cost does not depend on the hidden widths.

        >>> WidthFree.gaussian((784, 10**9, 10**9, 10), rng=0).widths
        (784, 1000000000, 1000000000, 10)
        """
        reduction = Reduction.gaussian(
            widths, rng, members=members, weight_scale=weight_scale, feedback_scale=feedback_scale
        )
        return cls(None, Drawn(), reduction)

    @property
    def grams(self) -> Reduction:
        """The Gram matrices."""
        assert self.reduction is not None  # filled in when the system was made
        return self.reduction

    @property
    def widths(self) -> tuple[int, ...]:
        """n_0 … n_L."""
        return self.grams.widths

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the Gram matrices."""
        return tuple(self.grams.readout.shape[:-2])

    def decaying(self) -> WidthFree:
        """Return the system with one copy of the coordinates per power of α."""
        if self.areas:
            raise InputError(_STEPS)
        return replace(self, copies=True)

    def flowing(self) -> WidthFree:
        """Return the system for continuous time alone, in which every law holds to rounding under any solver.

        There R_l + R_lᵀ = Z_l Z_lᵀ, so R_l = ½ Z_l Z_lᵀ + its area ½ (R_l − R_lᵀ), and only areas evolve:
        p n_0 + (L−1) p(p−1)/2 numbers, no law among them. Finite steps change R_l + R_lᵀ − Z_l Z_lᵀ, and are refused.

        >>> import linfa
        >>> net, task = linfa.Weights.standard((3, 9, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
        >>> free = WidthFree(net, linfa.FeedbackAlignment.random(net, rng=2)).flowing()
        >>> run = linfa.solve(free, task, linfa.Flow(t=3.0, rtol=1e-2, atol=1e-2, method="RK23"))
        >>> bool(linfa.laws.MatrixLaw().residual(run).max() < 1e-14)
        True
        """
        if self.copies:
            raise InputError(_STEPS)
        return replace(self, areas=True)

    def start(self) -> State:
        """Return α = 1, Φ = 0, R_j = 0, with an axis for the copies."""
        G, p, n, L = self.grams.readout, self.widths[-1], self.widths[0], self.grams.depth
        xp = array_namespace(G)

        def zeros(copies: int, columns: int) -> Array:
            shape = (*self.lead, copies if self.copies else 1, p, columns)
            return xp.zeros(shape, dtype=G.dtype, device=device(G))

        alpha = xp.ones((*self.lead, 1, 1, 1), dtype=G.dtype, device=device(G))
        return State((alpha, zeros(L, n), *(zeros(L - j, p) for j in range(1, L))))

    def _decays(self, state: State) -> bool:
        """Whether α may differ from 1: a state with copies; a single layer needs but one."""
        return bool(state.weights[1].shape[-3] > 1) or self.grams.depth == 1

    def rows(self, state: State) -> tuple[Array, ...]:
        """Return z_1 … z_L, linear in the coordinates."""
        _, Phi, *R = state.weights
        n, p, layers = self.widths[0], self.widths[-1], range(1, self.grams.depth + 1)
        if self._decays(state):
            picked = ((Phi[..., l - 1, :, :], *(R[j - 1][..., l - 1 - j, :, :] for j in range(1, l))) for l in layers)
            return tuple(self._xp.concat(parts, axis=-1) for parts in picked)
        if self.areas:
            return self._rows_of_areas(Phi[..., 0, :, :], tuple(r[..., 0, :, :] for r in R))
        whole = self._xp.concat((Phi, *R), axis=-1)[..., 0, :, :]
        return tuple(whole[..., : n + (l - 1) * p] for l in layers)

    def _rows_of_areas(self, Phi: Array, areas: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return z_1 … z_L with R_l = ½ z_l 𝒢_{l−1} z_lᵀ + area."""
        z = [Phi]
        for G, area in zip(self.grams.grams, areas, strict=False):
            square = (z[-1] @ G @ z[-1].mT) / 2
            # Its two halves are rounded apart; the symmetric part must be exactly that.
            z.append(self._xp.concat((z[-1], (square + square.mT) / 2 + area), axis=-1))
        return tuple(z)

    def expansion(self, state: State) -> tuple[Array, ...]:
        """Return k_1 … k_L, k_l = [α^{l−1} Y_1; … ; Y_l]: the coefficients c_l = [α^l I; k_l] without their identity.

        Y_l = z_l 𝒢_{l−1} c_{l−1} is taken from the left, so that p rows are multiplied and not n_0 columns.
        """
        n, rows, decays, a = self.widths[0], self.rows(state), self._decays(state), state.weights[0][..., 0, :, :]
        k = [rows[0]]  # Y_1 = Φ, for 𝒢_0 = I
        for l, (z, G) in enumerate(zip(rows[1:], self.grams.grams[1:], strict=True), 1):
            zG = z @ G
            if decays:
                k.append(self._xp.concat((a * k[-1], a**l * zG[..., :n] + zG[..., n:] @ k[-1]), axis=-2))
            else:
                k.append(self._xp.concat((k[-1], zG[..., :n] + zG[..., n:] @ k[-1]), axis=-2))
        return tuple(k)

    def passes(self, state: State, batch: Samples, step: int | None = None) -> Passes:
        """Return (h_0, k_1 … k_L, f) and (δ_L): the k_l stand in for the activities that are never made."""
        k, n = self.expansion(state), self.widths[0]
        top = self.grams.readout[..., :n]
        if self._decays(state):
            top = state.weights[0][..., 0, :, :] ** self.grams.depth * top
        f = batch.inputs @ (top + self.grams.readout[..., n:] @ k[-1]).mT
        # In continuous time there is no step; a saved moment has one, but asks for no velocity.
        return Passes((batch.inputs, *k, f), () if self.areas and step is not None else (batch.signal(f),))

    def velocity(self, state: State, passes: Passes) -> State:
        """Return Φ̇^(k) = α^k E and Ṙ_j^(k) = α^k E Y_jᵀ, with E = δ_Lᵀ h_0."""
        if not passes.signals:
            raise InputError(_STEPS)
        alpha, Phi, *R = state.weights
        h, *k, _ = passes.activities
        E, p, xp = passes.signals[-1].mT @ h, self.widths[-1], self._xp
        if not self._decays(state):
            S = (E @ k[-1].mT)[..., None, :, :]
            squares = tuple(S[..., (j - 1) * p : j * p] for j in range(1, len(R) + 1))
            if self.areas:
                squares = tuple((S_j - S_j.mT) / 2 for S_j in squares)
            return State((0 * alpha, E[..., None, :, :], *squares))

        def powers(value: Array, copies: int) -> Array:
            return xp.concat([alpha**i * value[..., None, :, :] for i in range(copies)], axis=-3)

        Y = (c[..., -p:, :] for c in k)
        moved = (powers(E @ y.mT, r.shape[-3]) for y, r in zip(Y, R, strict=False))
        return State((0 * alpha, powers(E, Phi.shape[-3]), *moved))

    @cached_property
    def _xp(self) -> Any:
        """The namespace of the arrays, looked up once: a run asks for it many thousand times."""
        return array_namespace(self.grams.readout)

    @cached_property
    def _frame(self) -> tuple[tuple[Array, Array, Array], ...]:
        """W_l(0), M_l and basis_{l−1} for l = 1 … L: the only arrays here that know the width."""
        if self.weights is None:
            raise InputError("this network was drawn without its weights, so there are none to lift to")
        basis, frame = eye(self.widths[0], self.weights[0]), []
        for W, M in zip(self.weights, self.rule.paths(State(self.weights.matrices)), strict=True):
            frame.append((W, M, basis))
            basis = next_basis(W, M, basis)
        return tuple(frame)

    @cached_property
    def _watched(self) -> bool:
        """Whether the rule learns: under a fixed path that is V_l = ∫ δ_Lᵀ h_l dt = Z_{l+1}, so it comes for free."""
        return self.weights is not None and len(self.rule.start(self.weights)) > 0

    def full(self, state: State) -> State:
        """Return W_l = α W_l(0) + M_l Z_l with Z_l = z_l basis_{l−1}ᵀ, and virtual read-outs V_l = Z_{l+1}.

        Raises:
            InputError: where the network was drawn without its weights.
        """
        if array_namespace(state.weights[0]) is not self._xp:  # trajectories keep NumPy arrays
            state = state.map(lambda part: self._xp.asarray(part, device=device(self.grams.readout)))
        a = state.weights[0][..., 0, :, :]
        Z = tuple(z @ basis.mT for (_, _, basis), z in zip(self._frame, self.rows(state), strict=True))
        W = tuple(a * W + M @ z for (W, M, _), z in zip(self._frame, Z, strict=True))
        return State(W, Z[1:] if self._watched else ())

    def sizes(self, state: State, passes: Passes) -> State:
        """Return ‖δ_L‖‖M_l‖ times the norms of what is added up to make X_{l−1} x, for every layer."""
        a, n = state.weights[0][..., 0, 0, 0], self.widths[0]
        E = norm(passes.signals[-1]) * norm(passes.activities[0])
        c = (n**0.5, *((n * a ** (2 * l) + norm(k) ** 2) ** 0.5 for l, k in enumerate(self.expansion(state)[:-1], 1)))
        Z = tuple(E * norm(basis) * size for (_, _, basis), size in zip(self._frame, c, strict=True))
        W = tuple(norm(M) * z for (_, M, _), z in zip(self._frame, Z, strict=True))
        return State(W, Z[1:] if self._watched else ())

    def spread(self, state: State, error: float) -> State:
        """Return ‖M_l‖‖basis_{l−1}‖ times the error of z_l, which areas pass on by R_l = ½ z_l 𝒢_{l−1} z_lᵀ + area."""
        errors = [error]
        for z, G in zip(self.rows(state), self.grams.grams, strict=True):
            errors.append(errors[-1] + error + norm(z) * norm(G) * errors[-1] if self.areas else error)
        Z = tuple(norm(basis) * e for (_, _, basis), e in zip(self._frame, errors, strict=False))
        W = tuple(norm(M) * z for (_, M, _), z in zip(self._frame, Z, strict=True))
        return State(W, Z[1:] if self._watched else ())

    def parts(self, state: State) -> Labelled:
        """Return α, Φ and R_1 … R_{L−1}, each with an axis of copies."""
        alpha, Phi, *R = state.weights
        found: Labelled = {
            "alpha": (("one", "one_row", "one_column"), alpha),
            "Phi": (("copy", "output", "input"), Phi),
        }
        return found | {f"R_{j}": ((f"copy_{j}", "output", "output_"), r) for j, r in enumerate(R, 1)}

    def alignments(self, state: State, batch: Samples, step: int | None) -> Labelled:
        """Return cos(B_l, W_l) and the layer law ½‖W_l‖² − ⟨B_{l+1}, W_{l+1}⟩, without making any weights."""
        if self.grams.squares is None or not self.rule.layerwise or self.grams.depth == 1:
            return {}
        xp, a, p = array_namespace(state.weights[0]), state.weights[0][..., 0, 0, 0], self.widths[-1]
        WW, BW, BB = self.grams.squares
        top = self.grams.readout.mT @ self.grams.readout
        grams = (*self.grams.grams, top)
        squares, aligned = [], []
        for l, z in enumerate(self.rows(state), 1):
            below, here = grams[l - 1], grams[l]
            cross, H = here[..., :-p, -p:], here[..., -p:, -p:]
            squares.append(a**2 * WW[l - 1] + 2 * a * inner(z, cross.mT) + inner(H @ z, z @ below))
            if l > 1:
                aligned.append(a * BW[l - 2] + inner(z, below[..., -p:, :]))
        cosines = [_ratio(b, (w * n) ** 0.5) for b, w, n in zip(aligned, squares[1:], BB, strict=True)]
        law = [w / 2 - b for w, b in zip(squares, aligned, strict=False)]
        return {
            "weight_alignment": (("feedback_layer",), xp.stack(cosines, axis=-1)),
            "layer_law": (("hidden",), xp.stack(law, axis=-1)),
        }


_STEPS = "this system keeps areas only, which is for continuous time: make finite steps with the system as it was made"


def _ratio(b: Array, size: Array) -> Array:
    """Return b / size; zero where a factor vanishes (no direction, no alignment)."""
    xp = array_namespace(b)
    return xp.where(size > 0, b / xp.where(size > 0, size, xp.ones_like(size)), xp.zeros_like(b))
