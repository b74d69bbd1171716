"""Study `teacher_student`: online learning of a teacher under fixed feedback, and deep linear nets on random targets.

Are the equations of the order parameters the mean of the simulation; which of the equivalent solutions is found; how
often does ReLU recover its teacher; how do alignment and error run; and what makes the alignment of a deep net poor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

import linfa
from linfa.arrays import cosine
from linfa.closed_forms.alignment import late_exponent, spread_cosine
from linfa.systems.teacher_student import AbstractActivation, Erf, Linear, ReLU, TeacherStudent
from sims.study import Study

ACTIVATIONS: dict[str, AbstractActivation] = {"linear": Linear(), "relu": ReLU(), "erf": Erf()}
"""By the names that cells use."""

PARAMETERS = ("generalisation_error", "Q", "R", "v")
"""What simulation and equations are compared by."""

RARE = 1e-6
"""How rarely a test of all order parameters together refuses equations that are right."""

LEARNT = 0.02
"""Below this ε_g a student has learnt its teacher; those that have not stay far above it."""


@dataclass(frozen=True)
class Orders:
    """Online runs at finite N against the equations of N → ∞, from the same overlaps.

    Args:
        feedback: v^r, one entry per student.
        teachers: M, with A_m = 1.
        n_in: N.
        t: the end of time, in steps per input.
        repeats: how many runs.
        learning_rate: η.
        seed: of the overlaps; the runs have the next one.
    """

    feedback: tuple[float, ...]
    teachers: int
    n_in: int
    t: float
    repeats: int
    learning_rate: float = 0.2
    seed: int = 8

    def measure(self) -> xr.Dataset:
        """Return the solution, the mean and the standard error of the runs, one run, and the largest Student's t."""
        pair = TeacherStudent.gaussian(
            len(self.feedback),
            self.teachers,
            self.seed,
            n_in=self.n_in,
            rule=fixed(self.feedback),
            learning_rate=self.learning_rate,
        )
        runs = pair.simulate(self.n_in, self.t, self.seed + 1, saves=40, repeats=self.repeats)
        # Steps are whole, and steps / N is rounded on its own.
        solved = pair.solve(self.t, saves=40).assign_coords(time=runs["time"])
        mean, error = runs.mean("repeat"), runs.std("repeat", ddof=1) / np.sqrt(self.repeats)
        found = xr.merge(
            [
                solved[list(PARAMETERS)].rename({name: f"solved_{name}" for name in PARAMETERS}),
                mean[list(PARAMETERS)],
                error[list(PARAMETERS)].rename({name: f"error_{name}" for name in PARAMETERS}),
            ],
            combine_attrs="drop",
        )
        one = runs["generalisation_error"].isel(repeat=0, drop=True)
        largest, count = self.largest(found)
        allowed = stats.t.isf(RARE / 2 / count, self.repeats - 1)
        return found.assign(one=one, largest=largest, allowed=allowed, repeats=self.repeats).drop_attrs()

    @staticmethod
    def largest(found: xr.Dataset) -> tuple[float, int]:
        """Return the largest |mean − solution| in standard errors after the start, and of how many it is."""
        apart = [np.abs(found[name] - found[f"solved_{name}"])[1:] / found[f"error_{name}"][1:] for name in PARAMETERS]
        return max(float(a.max()) for a in apart), sum(a.size for a in apart)


@dataclass(frozen=True)
class Breaking:
    """Which of the equivalent students is found: small starts, and the start at zero; erf, K = M = 2.

    Args:
        feedback: v^r; empty for backprop.
        starts: how many.
        t: the end of time.
        seed: of the starts, the same for every rule.
    """

    feedback: tuple[float, ...]
    starts: int
    t: float
    seed: int = 3

    def measure(self) -> xr.Dataset:
        """Return v and ε_g from small starts, and ε_g from zero, by time."""
        rule = fixed(self.feedback) if self.feedback else linfa.Backprop()
        small = TeacherStudent.gaussian(
            2, 2, self.seed, 1000, (self.starts,), student_scale=0.1, readout_scale=0.1, learning_rate=0.5, rule=rule
        )
        zero = TeacherStudent(
            np.zeros((2, 2)), np.zeros((2, 2)), small.T[0], np.zeros(2), np.ones(2), rule, learning_rate=0.5
        )
        run = small.solve(self.t, 150, rtol=1e-5, atol=1e-8).rename(member_0="start")
        still = zero.solve(self.t, 150, rtol=1e-5, atol=1e-8)
        return run[["v", "generalisation_error"]].assign(from_zero=still["generalisation_error"]).drop_attrs()


@dataclass(frozen=True)
class Recovery:
    """How often ReLU students under feedback of independent fair signs learn their teacher, each from its own start.

    Args:
        students: K.
        teachers: M.
        members: how many networks.
        t: the end of time.
        learning_rate: η.
        seed: of signs and starts.
    """

    students: int
    teachers: int
    members: int
    t: float
    learning_rate: float = 0.3
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return ε_g at the end, and how many signs were positive, by member."""
        draw = np.random.default_rng([self.seed, self.students])
        signs = draw.choice([-1.0, 1.0], (self.members, self.students))
        pair = TeacherStudent.gaussian(
            self.students,
            self.teachers,
            draw,
            1000,
            (self.members,),
            student_scale=0.1,
            readout_scale=0.1,
            learning_rate=self.learning_rate,
            rule=linfa.FeedbackAlignment((signs[:, None, :],)),
            activation=ReLU(),
        )
        end = pair.solve(self.t, 1, rtol=1e-5, atol=1e-7)["generalisation_error"][-1].values
        return xr.Dataset({"error": ("member", end), "positive": ("member", np.sum(signs > 0, axis=1))})

    @staticmethod
    def interval(found: xr.Dataset, level: float) -> tuple[float, float, float]:
        """Return the fraction that has learnt, and its Clopper–Pearson interval of a level."""
        learnt = found["error"].values < LEARNT
        low, high = stats.binomtest(int(learnt.sum()), len(learnt)).proportion_ci(level)
        return float(learnt.mean()), float(low), float(high)


@dataclass(frozen=True)
class Course:
    """Error and alignment through time, for one activation, K = M = 2.

    Args:
        activation: a name of ACTIVATIONS.
        feedback: v^r.
        t: the end of time.
        learning_rate: η.
        seed: of the start, the same for every activation.
    """

    activation: str
    feedback: tuple[float, float]
    t: float
    learning_rate: float = 0.2
    seed: int = 5

    def measure(self) -> xr.Dataset:
        """Return ε_g and cos(v^r, v) at moments that are evenly spread in t, finer at the start."""
        pair = TeacherStudent.gaussian(
            2,
            2,
            self.seed,
            1000,
            student_scale=0.1,
            readout_scale=0.1,
            learning_rate=self.learning_rate,
            activation=ACTIVATIONS[self.activation],
            rule=fixed(self.feedback),
        )
        early, late = (pair.solve(t, 200, rtol=1e-6, atol=1e-8) for t in (self.t / 100, self.t))
        run = xr.concat([early, late.isel(time=slice(3, None))], "time", combine_attrs="drop")
        return run[["generalisation_error", "weight_alignment", "v"]]


@dataclass(frozen=True)
class Deep:
    """A linear network of three layers on a linear teacher, where feedback alignment and direct feedback differ.

    Args:
        rule: a registry name.
        widths: n_0 … n_3.
        spectrum: of the teacher.
        scale: of the start, relative to the standard one.
        t: the end of time.
        seed: of the teacher; start and feedback have the next ones.
    """

    rule: str
    widths: tuple[int, int, int, int]
    spectrum: tuple[float, ...]
    scale: float
    t: float
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the loss, the alignment of the read-out, and that of the first layer's update, by time."""
        task = linfa.Task.teacher(self.widths[0], self.widths[-1], self.seed, spectrum=self.spectrum)
        net = linfa.Weights.standard(self.widths, self.seed + 1, self.scale)
        system = linfa.Full(net, linfa.rules.make(self.rule, net, self.seed + 2))
        run = linfa.solve(system, task, linfa.Flow(self.t, rtol=1e-8, atol=1e-11, saves=120), states=False)
        return xr.Dataset(
            {
                "loss": ("time", run.loss.values),
                "weight_alignment": ("time", run.alignment.values[:, -1]),
                "update_alignment": ("time", run.update_alignment.values[:, 0]),
            },
            coords={"time": run.times.values},
        )


@dataclass(frozen=True)
class RandomTargets:
    """A linear network of three layers, from zero, under direct feedback, on targets that know nothing of the inputs.

    y ~ N(0, [[1, α(1−β)], [α(1−β), α²]]), x ~ N(0, I)

    Args:
        alpha: α, the ratio of the outputs' standard deviations.
        betas: β, one minus their correlation.
        seeds: how many; each draws data and feedback.
        samples: N.
        widths: n_0 … n_3.
        epochs: of `batch` samples at `learning_rate`: the time is learning_rate × steps.
        batch: samples per step.
        learning_rate: η.
        steps: whether these steps are taken; otherwise the flow runs for their time.
    """

    alpha: float
    betas: tuple[float, ...]
    seeds: int
    samples: int = 1000
    widths: tuple[int, int, int, int] = (9, 100, 100, 2)
    epochs: int = 10_000
    batch: int = 32
    learning_rate: float = 1e-3
    steps: bool = False

    def measure(self) -> xr.Dataset:
        """Return cos(W_l, M_lM_{l−1}ᵀ) for l = 2, 3 at the end, measured and as E3 has it, by β and seed."""
        found = [[self._run(beta, seed) for seed in range(self.seeds)] for beta in self.betas]
        dims = ("beta", "seed", "layer")
        measured, predicted = (np.array([[run[i] for run in row] for row in found]) for i in range(2))
        return xr.Dataset(
            {"alignment": (dims, measured), "predicted": (dims, predicted)},
            coords={"beta": list(self.betas), "layer": [2, 3]},
        )

    def _run(self, beta: float, seed: int) -> tuple[list[float], list[float]]:
        task, net = self.task(beta, seed), linfa.Weights.zero(self.widths)
        rule = linfa.DirectFeedback.random(net, seed)
        run = linfa.solve(linfa.WidthFree(net, rule), task, self.solver(seed))
        W, M = run.weights(-1), rule.paths(linfa.State(net.matrices))
        sigma = np.linalg.svd(task.optimum, compute_uv=False)
        measured = [float(cosine(W[l], M[l] @ M[l - 1].T)) for l in (1, 2)]
        return measured, [float(spread_cosine(sigma, late_exponent(l, 3))) for l in (1, 2)]

    def task(self, beta: float, seed: int) -> linfa.Task:
        """Return the samples of a seed; targets of different α, β are one Gaussian draw, transformed."""
        draw, off = np.random.default_rng([seed, 1]), self.alpha * (1 - beta)
        x, z = (draw.standard_normal((self.samples, n)) for n in (self.widths[0], 2))
        return linfa.Task.from_samples(x, z @ np.linalg.cholesky([[1.0, off], [off, self.alpha**2]]).T)

    def solver(self, seed: int) -> linfa.Flow | linfa.Descent:
        """Return the steps, or the flow over their time."""
        steps = self.epochs * -(-self.samples // self.batch)
        if self.steps:
            return linfa.Descent(self.learning_rate, steps, batch=self.batch, saves=1, seed=seed)
        return linfa.Flow(self.learning_rate * steps, rtol=1e-7, atol=1e-10, saves=1)


def fixed(feedback: tuple[float, ...]) -> linfa.FeedbackAlignment:
    """Return feedback alignment with v^r as given."""
    return linfa.FeedbackAlignment((np.array([feedback]),))


Cell = Orders | Breaking | Recovery | Course | Deep | RandomTargets

SIGNS = ((1.0, 1.0), (1.0, -1.0))
"""The feedbacks of the small starts."""


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, fewer runs, members and targets; full, the paper's sizes where they are known."""
    found: list[Cell] = [Orders((1.0, -0.7, 0.5), 2, 250 if fast else 1000, 20.0, 16 if fast else 24)]
    found += [Breaking(feedback, 6 if fast else 10, 400.0 if fast else 3000.0) for feedback in ((), *SIGNS)]
    members = (24, 16, 8) if fast else (200, 200, 100)
    found += [Recovery(K, 2, n, 200.0 if fast else 400.0) for K, n in zip((2, 3, 4), members, strict=True)]
    found += [Course(name, (1.5, 0.5), t) for name, t in (("linear", 100.0), ("relu", 1000.0), ("erf", 3000.0))]
    spectrum = tuple(0.7**i for i in range(5))
    found += [Deep(rule, (10, 50, 50, 5), spectrum, 0.1, 20.0) for rule in ("bp", "fa", "dfa")]
    levels, seeds = ((0.2, 0.6, 1.0), 2) if fast else ((0.2, 0.4, 0.6, 0.8, 1.0), 5)
    found += [RandomTargets(alpha, levels, seeds) for alpha in levels]
    return (*found, *(() if fast else (RandomTargets(0.6, (0.6,), 1, steps=True),)))


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="teacher_student",
    paper="Refinetti, d'Ascoli, Ohana & Goldt 2021",
    claim="Fixed feedback first aligns the student and then lets it learn; it picks one of the equivalent solutions, "
    "and for ReLU may pick none.",
    cells=cells,
    compute=compute,
)
