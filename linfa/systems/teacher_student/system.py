"""TeacherStudent: a teacher, a student and a rule; the equations of their overlaps, and the run they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from linfa.arrays import Array, Rng, generator
from linfa.errors import InputError
from linfa.provenance import describe
from linfa.rules.backprop import Backprop
from linfa.rules.interface import AbstractRule, State
from linfa.systems.teacher_student.activation import AbstractActivation
from linfa.systems.teacher_student.checks import (
    check_activation,
    check_count,
    check_overlaps,
    check_rate,
    check_rule,
    check_shapes,
    checked_array,
)
from linfa.systems.teacher_student.equations import METHOD, integrate
from linfa.systems.teacher_student.erf import Erf
from linfa.systems.teacher_student.labels import labelled
from linfa.systems.teacher_student.moments import Overlaps, covariance, generalisation_error, moments
from linfa.systems.teacher_student.simulation import Online, weights_with
from linfa.systems.teacher_student.starts import gaussian_overlaps

if TYPE_CHECKING:
    import xarray as xr

_AXES = {"Q": 2, "R": 2, "T": 2, "v": 1, "heads": 1}


@dataclass(frozen=True, eq=False)
class TeacherStudent:
    """A student of K hidden units that learns a teacher of M, one fresh example per step, N → ∞, time = steps/N.

    With v^r = v under backprop, fixed under feedback alignment and direct feedback, and the moments of the error e,

        Ṙ_in = η v^r_i ⟨e g′(λ_i) ν_n⟩,      v̇_i = η ⟨e g(λ_i)⟩
        Q̇_ik = η v^r_i ⟨e g′(λ_i) λ_k⟩ + (i ↔ k) + η² v^r_i v^r_k [⟨e² g′(λ_i) g′(λ_k)⟩ + σ² ⟨g′(λ_i) g′(λ_k)⟩]
        ε_g = ½⟨e²⟩                                                  (Refinetti, d'Ascoli, Ohana & Goldt 2021)

    Args:
        Q: Q_ik = w_i·w_k/N at the start, shape (..., K, K).
        R: R_in = w_i·B_n/N at the start, shape (..., K, M).
        T: T_nm = B_n·B_m/N, shape (..., M, M).
        v: the student's read-out at the start, shape (..., K).
        heads: the teacher's read-out A, shape (..., M).
        rule: any rule whose feedback is fixed or a function of v; its matrices have shape (..., 1, K).
        activation: g, of student and teacher.
        learning_rate: η.
        noise: σ, the standard deviation of the teacher's output noise; ε_g does not count it.
        readout_rate: η of the read-out where it differs; 0 keeps v (the soft committee machine).

    Leading axes are a batch of students, and broadcast.

    Raises:
        InputError: where shapes do not fit, the overlaps are those of no weights, or the equations do not close.

    >>> import linfa
    >>> rule = linfa.FeedbackAlignment((np.array([[1.0, -1.0]]),))
    >>> pair = TeacherStudent(np.eye(2), np.zeros((2, 1)), np.eye(1), np.zeros(2), np.ones(1), rule)
    >>> run = pair.solve(t=50.0, saves=5)
    >>> bool(run["generalisation_error"][-1] < 0.1 * run["generalisation_error"][0])
    True
    >>> np.sign(run["v"][-1].values).tolist()                           # the read-out takes the signs of the feedback
    [1.0, -1.0]
    """

    Q: np.ndarray
    R: np.ndarray
    T: np.ndarray
    v: np.ndarray
    heads: np.ndarray
    rule: AbstractRule = field(default_factory=Backprop)
    activation: AbstractActivation = field(default_factory=Erf)
    learning_rate: float = 0.2
    noise: float = 0.0
    readout_rate: float | None = None

    def __post_init__(self) -> None:
        for name, axes in _AXES.items():
            object.__setattr__(self, name, checked_array(getattr(self, name), axes, name))
        check_activation(self.activation)
        check_rate(self.learning_rate, "the learning rate")
        check_rate(self.noise, "noise", zero=True)
        check_rate(self._readout_rate, "the rate of the read-out", zero=True)
        check_shapes(self.Q, self.R, self.T, self.v, self.heads)
        check_rule(self.rule, self.v)
        self._broadcast()
        C = covariance(self.Q, self.R, self.T)
        check_overlaps(C)
        self.activation.check(C)

    @classmethod
    def of(cls, w: Array, B: Array, v: Array, heads: Array, **options: Any) -> TeacherStudent:
        """Return the system of given weights, w of shape (..., K, N) and B of shape (..., M, N).

        >>> TeacherStudent.of(np.ones((1, 4)), np.ones((2, 4)), np.zeros(1), np.ones(2)).R
        array([[1., 1.]])
        """
        w, B = checked_array(w, 2, "w"), checked_array(B, 2, "B")
        N = w.shape[-1]
        if B.shape[-1] != N:
            raise InputError(f"students and teachers read the same N inputs; got weights {w.shape} and {B.shape}")
        return cls(w @ w.mT / N, w @ B.mT / N, B @ B.mT / N, v, heads, **options)

    @classmethod
    def gaussian(
        cls,
        students: int,
        teachers: int,
        rng: Rng,
        n_in: int | None = None,
        members: tuple[int, ...] = (),
        *,
        student_scale: float = 1.0,
        teacher_scale: float = 1.0,
        readout_scale: float = 1.0,
        heads: Array | None = None,
        **options: Any,
    ) -> TeacherStudent:
        """Return Gaussian weights w ~ N(0, student_scale²), B ~ N(0, teacher_scale²), v ~ N(0, readout_scale²), A = 1.

        Args:
            students: K.
            teachers: M.
            rng: seed or generator.
            n_in: N, whose overlaps fluctuate by 1/√N (drawn exactly in law, without the weights); None for N = ∞.
            members: the shape of a batch.
            student_scale: of w.
            teacher_scale: of B.
            readout_scale: of v.
            heads: A, where it is not 1.
            **options: rule, activation, learning_rate, noise, readout_rate.

        >>> TeacherStudent.gaussian(2, 1, rng=0, student_scale=0.5).Q
        array([[0.25, 0.  ],
               [0.  , 0.25]])
        """
        check_count(students, "students")
        check_count(teachers, "teachers")
        if n_in is not None:
            check_count(n_in, "n_in", least=students + teachers)
        for name, scale in (("student", student_scale), ("teacher", teacher_scale), ("readout", readout_scale)):
            check_rate(scale, f"{name}_scale", zero=True)
        draw, K = generator(rng), students
        C = gaussian_overlaps(np.repeat([student_scale, teacher_scale], [K, teachers]), draw, n_in, members)
        v = readout_scale * draw.standard_normal((*members, K))
        A = np.ones(teachers) if heads is None else heads
        return cls(C[..., :K, :K], C[..., :K, K:], C[..., K:, K:], v, A, **options)

    def feedback(self, v: Array) -> Array:
        """Return v^r, what stands in for a read-out v, shape (..., K)."""
        hidden = np.zeros((*v.shape, 1))
        return self.rule.paths(State((hidden, v[..., None, :])))[0][..., 0]

    def velocity(self, state: Overlaps) -> Overlaps:
        """Return (Q̇, Ṙ, v̇)."""
        (Q, R, v), eta, K = state, self.learning_rate, self.v.shape[-1]
        m = moments(self.activation, covariance(Q, R, self.T), self._signed_heads(v), K)
        f = self.feedback(v)[..., None]
        drift = eta * f * m.field
        square = eta**2 * (f @ f.mT) * (m.square + self.noise**2 * m.slope)
        return Overlaps(drift[..., :K] + drift[..., :K].mT + square, drift[..., K:], self._readout_rate * m.value)

    def error(self, state: Overlaps) -> Array:
        """Return ε_g = ½⟨e²⟩, a sum of terms that cancel: to rounding of their size where the student has learnt."""
        T = np.broadcast_to(self.T, (*state.v.shape[:-1], *self.T.shape[-2:]))
        return generalisation_error(self.activation, covariance(state.Q, state.R, T), self._signed_heads(state.v))

    def solve(
        self, t: float, saves: int = 100, rtol: float = 1e-9, atol: float = 1e-12, max_evaluations: int = 200_000
    ) -> xr.Dataset:
        """Return the solution of the equations.

        Args:
            t: the end of time, in steps per input.
            saves: how many moments after the start, evenly spread.
            rtol: relative tolerance of each step.
            atol: absolute tolerance of each step.
            max_evaluations: give up after this many evaluations of the velocity.

        Returns:
            generalisation_error, Q, R, v and weight_alignment = cos(v^r, v), by time and member.

        Raises:
            InputError: for a value out of range, or where the evaluations do not suffice.
            DivergenceError: where the overlaps leave the finite numbers, or are no longer those of any weights.
        """
        check_rate(t, "the end of time t")
        check_count(saves, "saves")
        times, start = np.linspace(0, t, saves + 1), Overlaps(self.Q, self.R, self.v)
        states, evaluations = integrate(self.velocity, start, self.T, times, rtol, atol, max_evaluations)
        return self._labelled(times, states, {"method": METHOD, "rtol": rtol, "atol": atol, "evaluations": evaluations})

    def simulate(self, n_in: int, t: float, rng: Rng, saves: int = 100, repeats: int | None = None) -> xr.Dataset:
        """Return the online run at finite N, one example per step, from random weights with exactly these overlaps.

        Args:
            n_in: N ≥ K + M.
            t: the end of time: N t steps.
            rng: seed or generator; every run has streams of its own.
            saves: how many moments after the start, evenly spread over the steps.
            repeats: how many independent runs, on a dimension `repeat`; None for one, without it.

        Returns:
            The variables of `solve`; generalisation_error is that of the weights of the moment, not an estimate.

        Raises:
            InputError: for a value out of range.
            DivergenceError: where weights leave the finite numbers.

        >>> pair = TeacherStudent.gaussian(2, 1, rng=0)
        >>> run = pair.simulate(n_in=50, t=2.0, rng=1, saves=4, repeats=3)
        >>> run["R"].dims, run["R"].shape
        (('time', 'repeat', 'student', 'teacher'), (5, 3, 2, 1))
        """
        check_rate(t, "the end of time t")
        check_count(saves, "saves")
        units = self.v.shape[-1] + self.heads.shape[-1]
        check_count(n_in, "n_in, with room for K + M weight vectors,", least=units)
        steps = round(t * n_in)
        check_count(steps, "the number of steps, n_in · t,")
        if repeats is not None:
            check_count(repeats, "repeats")
        axes = {} if repeats is None else {"repeat": repeats}
        kept = np.unique(np.round(np.linspace(0, steps, min(saves, steps) + 1)).astype(int))
        states = list(self._online(n_in, generator(rng), tuple(axes.values())).run(kept))
        return self._labelled(kept / n_in, states, {"n_in": n_in, "steps": steps}, tuple(axes))

    def _online(self, n_in: int, rng: np.random.Generator, repeats: tuple[int, ...]) -> Online:
        lead, K, n = (*repeats, *self.v.shape[:-1]), self.v.shape[-1], self.v.shape[-1] + self.heads.shape[-1]
        C = np.broadcast_to(covariance(self.Q, self.R, self.T), (*lead, n, n)).reshape(-1, n, n)
        streams = [child.spawn(3) for child in rng.spawn(len(C))]
        W = np.stack([weights_with(c, n_in, first) for c, (first, _, _) in zip(C, streams, strict=True)])
        W = W.reshape(*lead, n, n_in)
        return Online(
            activation=self.activation,
            feedback=self._settled_feedback(),
            rates=(self.learning_rate, self._readout_rate),
            noise=self.noise,
            heads=self.heads,
            w=W[..., :K, :].copy(),
            B=W[..., K:, :],
            v=np.broadcast_to(self.v, (*lead, K)).copy(),
            draws=[(inputs, noise) for _, inputs, noise in streams],
        )

    def _settled_feedback(self) -> Callable[[Array], Array]:
        """Return the map v ↦ v^r, computed once where it does not depend on v."""
        if not self.rule.fixed_path:
            return self.feedback
        fixed = self.feedback(self.v)
        return lambda _: fixed

    @property
    def _readout_rate(self) -> float:
        return self.learning_rate if self.readout_rate is None else self.readout_rate

    def _signed_heads(self, v: Array) -> Array:
        """Return u = (−v, A)."""
        return np.concatenate([-v, np.broadcast_to(self.heads, (*v.shape[:-1], self.heads.shape[-1]))], axis=-1)

    def _broadcast(self) -> None:
        """Give Q, R, T, v and A the same batch axes, those of the feedback included."""
        leads = [getattr(self, name).shape[:-axes] for name, axes in _AXES.items()]
        try:
            lead = np.broadcast_shapes(*leads, self.feedback(self.v).shape[:-1])
        except ValueError as error:
            raise InputError(f"the batch axes of Q, R, T, v, heads and feedback must fit: {error}") from error
        for name, axes in _AXES.items():
            value = getattr(self, name)
            object.__setattr__(self, name, np.broadcast_to(value, (*lead, *value.shape[-axes:])))

    def _labelled(
        self, times: np.ndarray, states: list[Overlaps], attrs: dict[str, Any], axes: tuple[str, ...] = ()
    ) -> xr.Dataset:
        # A time axis in front is one more batch axis.
        run = Overlaps(*(np.stack(parts) for parts in zip(*states, strict=True)))
        axes = (*axes, *(f"member_{i}" for i in range(self.v.ndim - 1)))
        return labelled(times, run, self.error(run), self.feedback(run.v), axes, describe(self), attrs)
