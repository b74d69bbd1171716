"""The width-free system: the whole run of a network of any width, in a few small matrices, exactly.

Under a fixed feedback path every weight stays in the family W_l = α W_l(0) + M_l Z_l, and Z_l in the span of the level
below, Z_l = z_l basis_{l−1}ᵀ. The state is α, Φ (p × n_0) and R_1 … R_{L−1} (p × p); `coordinates` says what the z_l
are and how all of it moves, `reduction` what the start and the feedback leave behind, `wishart` how that is drawn
without them, and `lift` how weights come back. Derived in theory/width_free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from array_api_compat import array_namespace, device

from linfa.arrays import Array, Rng, generator, norm
from linfa.errors import InputError
from linfa.rules.interface import AbstractRule, Passes, State
from linfa.systems.coordinates import Coordinates
from linfa.systems.drawn import Drawn
from linfa.systems.interface import AbstractSystem, Labelled, Samples
from linfa.systems.lift import Lift
from linfa.systems.reduction import Reduction, check_members, check_path
from linfa.systems.wishart import deviations, draw
from linfa.weights import Weights, check_widths


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
        if self.weights is not None and not isinstance(self.weights, Weights):
            raise InputError(f"WidthFree takes linfa.Weights as its start; got {type(self.weights).__name__}")
        if self.reduction is None:
            if self.weights is None:
                raise InputError("WidthFree takes linfa.Weights as its start, or a Reduction that stands for them")
            object.__setattr__(self, "reduction", Reduction.of(self.weights, self.rule))
        elif not isinstance(self.reduction, Reduction):
            raise InputError(f"the Gram matrices are a linfa.systems.Reduction; got {type(self.reduction).__name__}")
        check_path(self.rule)
        if self.weights is not None and self.weights.widths != self.widths:
            raise InputError(f"the Gram matrices have widths {self.widths}, the weights {self.weights.widths}")

    @classmethod
    def gaussian(
        cls,
        widths: Sequence[int],
        rng: Rng,
        *,
        members: int | None = None,
        weight_scale: float | Sequence[float] = 1.0,
        feedback_scale: float | Sequence[float] = 1.0,
        rho: float = 0.0,
    ) -> WidthFree:
        """Return a Gaussian network of any finite width under feedback alignment or ρ-FA, drawn exactly in law.

        W_l(0)[i, j] ~ N(0, weight_scale²/n_{l−1}) and B_l = ρ W_l(0) + √(1−ρ²) B̃_l with B̃_l[i, j] ~
        N(0, feedback_scale²/n_{l−1}), as `Weights.standard` and `FeedbackAlignment.interpolated` draw them. Derived in
        `linfa.systems.wishart`. Draws with one seed and growing widths converge.

        Args:
            widths: n_0 … n_L; the cost does not depend on n_1 … n_{L−1}.
            rng: a seed or generator.
            members: how many independent networks; None for one without a leading axis.
            weight_scale: of the start; one number, or L numbers for W_1 … W_L.
            feedback_scale: of B̃; one number, or L − 1 numbers for B̃_2 … B̃_L.
            rho: ρ, the correlation of the feedback with the start; 0 is feedback alignment.

        Raises:
            InputError: for widths, members, scales or a correlation that are none.

        >>> net = WidthFree.gaussian((784, 10**9, 10**9, 10), rng=0, rho=0.5)
        >>> [round(float(start.BW / (start.WW * start.BB) ** 0.5), 3) for start in net.grams.squares[1:]]
        [0.5, 0.5]
        """
        widths = check_widths(widths)
        s = deviations(weight_scale, widths[:-1], "weight_scale")
        tau = deviations(feedback_scale, widths[1:-1], "feedback_scale")
        if not (isinstance(rho, int | float) and -1 <= rho <= 1):
            raise InputError(f"ρ is a correlation, −1 ≤ ρ ≤ 1; got {rho!r}")
        lead = () if members is None else (check_members(members),)
        return cls(None, Drawn(), draw(widths, s, tau, float(rho), generator(rng), lead))

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
            raise InputError(
                "this system has copies for the decay of weights, which the flow does not have: give the system as it "
                "was made"
            )
        return replace(self, areas=True)

    @cached_property
    def coordinates(self) -> Coordinates:
        """What evolves, and what it says."""
        return Coordinates(self.grams, self.copies, self.areas)

    def start(self) -> State:
        """Return α = 1, Φ = 0, R_j = 0, with an axis for the copies."""
        return self.coordinates.start()

    def passes(self, state: State, batch: Samples, step: int | None = None) -> Passes:
        """Return (h_0, k_1 … k_L, f) and (δ_L): the k_l stand in for the activities that are never made."""
        k = self.coordinates.expansion(state)
        f = batch.inputs @ self.coordinates.product(state, k).mT
        # In continuous time there is no step; a saved moment has one, but asks for no velocity.
        return Passes((batch.inputs, *k, f), () if self.areas and step is not None else (batch.signal(f),))

    def velocity(self, state: State, passes: Passes) -> State:
        """Return Φ̇^(k) = α^k E and Ṙ_j^(k) = α^k E Y_jᵀ, with E = δ_Lᵀ h_0."""
        if not passes.signals:
            raise InputError(_STEPS)
        h, *k, _ = passes.activities
        return self.coordinates.velocity(state, passes.signals[-1].mT @ h, tuple(k))

    @cached_property
    def _lift(self) -> Lift:
        if self.weights is None:
            raise InputError("this network was drawn without its weights, so there are none to lift to")
        return Lift(self.weights, self.rule)

    def full(self, state: State) -> State:
        """Return W_l = α W_l(0) + M_l Z_l with Z_l = z_l basis_{l−1}ᵀ, and virtual read-outs V_l = Z_{l+1}.

        Raises:
            InputError: where the network was drawn without its weights.
        """
        lift = self._lift
        xp = array_namespace(self.grams.readout)
        if array_namespace(state.weights[0]) is not xp:  # trajectories keep NumPy arrays
            state = state.map(lambda part: xp.asarray(part, device=device(self.grams.readout)))
        return lift.full(state.weights[0][..., 0, :, :], self.coordinates.rows(state))

    def sizes(self, state: State, passes: Passes) -> State:
        """Return ‖δ_L‖‖M_l‖ times the norms of what is added up to make X_{l−1} x, for every layer."""
        a, n = state.weights[0][..., 0, 0, 0], self.widths[0]
        E = norm(passes.signals[-1]) * norm(passes.activities[0])
        c = (
            n**0.5,
            *(
                (n * a ** (2 * l) + norm(k) ** 2) ** 0.5
                for l, k in enumerate(self.coordinates.expansion(state)[:-1], 1)
            ),
        )
        return self._through_bases(tuple(E * size for size in c))

    def spread(self, state: State, error: float) -> State:
        """Return ‖M_l‖‖basis_{l−1}‖ times the error of z_l, which areas pass on by R_l = ½ z_l 𝒢_{l−1} z_lᵀ + area."""
        errors = [error]
        for z, G in zip(self.coordinates.rows(state)[:-1], self.grams.grams, strict=False):
            errors.append(errors[-1] + error + norm(z) * norm(G) * errors[-1] if self.areas else error)
        return self._through_bases(tuple(errors))

    def _through_bases(self, sizes: tuple[Array, ...]) -> State:
        """Return ‖M_l‖‖basis_{l−1}‖ times the size of z_l, for W_l; without ‖M_l‖ for virtual read-outs."""
        norms = [self.grams.sizes(l) for l in range(1, self.grams.depth + 1)]
        Z = tuple(basis * size for (basis, _), size in zip(norms, sizes, strict=True))
        W = tuple(M * z for (_, M), z in zip(norms, Z, strict=True))
        return State(W, Z[1:] if self.weights is not None and self._lift.watched else ())

    def reach(self) -> State:
        """Return how far some weight moves at most where a coordinate moves by one, or one where that is more."""
        return self.coordinates.reach()

    @property
    def terms(self) -> int:
        """How many numbers are added up in a velocity: products with Gram matrices, level by level."""
        n, p, L = self.widths[0], self.widths[-1], self.grams.depth
        return L * (n + L * p)

    def moving(self, state: State) -> State:
        """Return the coordinates without α, which moves in steps with decay alone."""
        return State(state.weights[1:])

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
        xp, a = array_namespace(state.weights[0]), state.weights[0][..., 0, 0, 0]
        numbered = list(enumerate(self.coordinates.rows(state), 1))
        squares = [self.grams.square(l, a, z) for l, z in numbered]
        aligned = [self.grams.aligned(l, a, z) for l, z in numbered[1:]]
        # A square that is made by subtraction may be rounded below zero.
        floor = xp.zeros_like(squares[0])
        sizes = [(xp.maximum(W, floor) * B.BB) ** 0.5 for W, B in zip(squares[1:], self.grams.squares[1:], strict=True)]
        cosines = [_ratio(b, size) for b, size in zip(aligned, sizes, strict=True)]
        law = [W / 2 - b for W, b in zip(squares, aligned, strict=False)]
        return {
            "weight_alignment": (("feedback_layer",), xp.stack(cosines, axis=-1)),
            "layer_law": (("hidden",), xp.stack(law, axis=-1)),
        }


_STEPS = "this system keeps areas only, which is for continuous time: make finite steps with the system as it was made"


def _ratio(b: Array, size: Array) -> Array:
    """Return b / size; zero where a factor vanishes (no direction, no alignment), nan where it is none."""
    xp = array_namespace(b)
    return xp.where(size == 0, xp.zeros_like(b), b / xp.where(size == 0, xp.ones_like(size), size))
