"""Study `alignment`: how far weights turn towards their feedback, where that is known exactly, and where it is not.

From a zero start every upper weight W_{l+1} begins along M_{l+1}M_lᵀ, the product of the feedback paths on its two
sides. Three questions: whether simulated networks follow the closed form of that cosine (E3), how far they depart from
it where one of its hypotheses fails, and what is reached on real images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import linfa
from linfa.arrays import cosine, norm
from linfa.closed_forms import ZeroStart
from linfa.rules.interface import AbstractRule, State
from linfa.weights import draw_feedback
from sims.study import Study

RTOL = 1e-12
"""The relative tolerance."""

ATOL = {"full": 1e-30, "width-free": 1e-15}
"""The absolute tolerances: next to nothing for weights, since W_{l+1} begins as the power 2^l of a small time, and its
direction counts; coordinates without the width hold exact zeros, of which rounding is all that can be followed."""

IMAGES_RTOL = 1e-9
"""The relative tolerance on images."""

PARTS = (0.02, 0.12, 1.0)
"""The parts of a run that are looked at separately, so that it is seen on a logarithmic axis of time."""

MOMENTS = 20
"""How many moments are kept of each part."""

SPECTRUM = (2.0, 1.0, 0.5, 0.25)
"""The modes of theory's E3."""

VIOLATIONS = ("start", "feedback", "inputs")
"""What a control violates: the zero start, orthogonal feedback, whitened inputs."""


def orthogonal_feedback(rule: str, widths: tuple[int, ...], rng: np.random.Generator) -> AbstractRule:
    """Return feedback whose paths have orthonormal columns, M_lᵀM_l = I; hidden widths must not increase.

    >>> rule = orthogonal_feedback("fa", (3, 5, 4, 2), np.random.default_rng(0))
    >>> B_2, B_3 = rule.matrices
    >>> bool(np.allclose(B_3 @ B_2 @ B_2.T @ B_3.T, np.eye(2)))
    True
    """
    if rule == "dfa":
        return linfa.DirectFeedback(tuple(linfa.Weights.orthogonal((n, widths[-1]), rng)[0] for n in widths[1:-1]))
    return linfa.FeedbackAlignment(linfa.Weights.orthogonal(widths[1:], rng).matrices)


def alignment(weights: linfa.Weights, paths: tuple[np.ndarray, ...]) -> list[float]:
    """Return cos∠(W_{l+1}, M_{l+1}M_lᵀ), l = 1 … L−1."""
    return [float(cosine(weights[l], paths[l] @ paths[l - 1].T)) for l in range(1, weights.depth)]


def refusal(net: linfa.Weights, rule: AbstractRule, task: linfa.Task) -> str:
    """Return why the closed form does not hold, or nothing where it does."""
    try:
        ZeroStart.of(net, rule, task)
    except linfa.InputError as error:
        return str(error)
    return ""


def follow(system: Any, task: linfa.Task, t: float, paths: tuple[np.ndarray, ...], rtol: float = RTOL) -> xr.Dataset:
    """Return the cosines over time, early moments and late ones, the least ‖W_{l+1}‖, and the steps of the whole."""
    times, found, least, steps = [], [], [], 0
    atol = ATOL["full" if isinstance(system, linfa.Full) else "width-free"]
    for part in PARTS:
        run = linfa.solve(system, task, linfa.Flow(part * t, rtol=rtol, atol=atol, saves=MOMENTS))
        later = [k for k in range(len(run)) if float(run.times[k]) > (times[-1] if times else 0.0)]
        times += [float(run.times[k]) for k in later]
        found += [alignment(run.weights(k), paths) for k in later]
        least += [min(float(norm(W)) for W in run.weights(k)[1:]) for k in later]
        steps = run.dataset.attrs["steps"]
    layers = list(range(2, len(paths) + 1))
    data = {"cosine": (("time", "layer"), np.array(found)), "least": ("time", least), "steps": steps}
    return xr.Dataset(data, coords={"time": times, "layer": layers})


@dataclass(frozen=True)
class Exact:
    """A network for which the closed form holds, simulated with all its weights and width-free.

    Args:
        rule: fa or dfa.
        widths: n_0 … n_L.
        spectrum: σ, as many as outputs.
        t: the end of time.
        rtol: the relative tolerance of the solver.
        seed: of the feedback and the teacher.
    """

    rule: str
    widths: tuple[int, ...]
    spectrum: tuple[float, ...]
    t: float
    rtol: float = RTOL
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the cosines of both systems and of the closed form, and how far the solver lets them be apart.

        Each step errs in W_l by at most √D(atol + rtol‖W_l‖), and what φ errs W_{l+1} ∝ φ^{2^l} errs 2^l times over.
        """
        rng = np.random.default_rng(self.seed)
        net, rule = linfa.Weights.zero(self.widths), orthogonal_feedback(self.rule, self.widths, rng)
        task = linfa.Task.teacher(self.widths[0], self.widths[-1], rng, spectrum=self.spectrum)
        paths, closed = rule.paths(State(net.matrices)), ZeroStart.of(net, rule, task)
        runs = [follow(system(net, rule), task, self.t, paths, self.rtol) for system in (linfa.Full, linfa.WidthFree)]
        both = xr.concat(runs, "system").assign_coords(system=["full", "width-free"])
        atol = xr.DataArray([ATOL[name] for name in both["system"].values], dims="system")
        bound = 2**net.depth * both["steps"] * np.sqrt(net.size) * (self.rtol + atol / both["least"])
        return both.assign(closed=(("time", "layer"), closed.alignment(both["time"].values)), bound=bound)


@dataclass(frozen=True)
class Control:
    """Networks that violate one hypothesis of the closed form, by more and more.

    Args:
        violated: one of `VIOLATIONS`.
        sizes: ε, how much: the scale of the start, of what is added to the feedback, of what is added to Σ_xx.
        widths: n_0 … n_L.
        spectrum: σ.
        t: the end of time.
        seed: of everything that is drawn.
    """

    violated: str
    sizes: tuple[float, ...]
    widths: tuple[int, ...]
    spectrum: tuple[float, ...]
    t: float
    seed: int = 0

    def network(self, size: float) -> tuple[linfa.Weights, AbstractRule, linfa.Task]:
        """Return the network, the rule and the task at one ε; at ε = 0 the closed form holds."""
        rng, p, n = np.random.default_rng(self.seed), self.widths[-1], self.widths[0]
        B = orthogonal_feedback("fa", self.widths, rng).matrices
        task = linfa.Task.teacher(n, p, rng, spectrum=self.spectrum)
        net, G = linfa.Weights.standard(self.widths, rng), rng.standard_normal((n, n))
        skew = draw_feedback(net, rng)
        amount = {name: size * (name == self.violated) for name in VIOLATIONS}
        B = tuple(b + amount["feedback"] * g for b, g in zip(B, skew, strict=True))
        xx = (np.eye(n) + amount["inputs"] * (G @ G.T / n)) / (1 + amount["inputs"])
        xx = (xx + xx.T) / 2
        # The map to be learnt and the mean power of the inputs stay what they were.
        T = task.cross
        task = linfa.Task.from_moments(xx, T @ xx, T @ xx @ T.T)
        return net.map(lambda W: amount["start"] * W), linfa.FeedbackAlignment(B), task

    def measure(self) -> xr.Dataset:
        """Return the cosines by ε, the closed form of ε = 0, and why it is refused otherwise."""
        runs, why = [], []
        for size in self.sizes:
            net, rule, task = self.network(size)
            runs.append(follow(linfa.Full(net, rule), task, self.t, rule.paths(State(net.matrices))))
            why.append(refusal(net, rule, task))
        data = xr.concat(runs, "size").assign_coords(size=list(self.sizes))
        closed = ZeroStart.of(*self.network(0.0)).alignment(data["time"].values)
        return data.assign(closed=(("time", "layer"), closed), refused=("size", why))


@dataclass(frozen=True)
class Images:
    """Feedback alignment on images, from where the closed form holds to how it is used.

    Args:
        data: the name of the image set.
        hidden: the widths of the hidden layers.
        whitened: whether the inputs are whitened, on the span of the images.
        orthogonal: whether the feedback paths have orthonormal columns; Gaussian otherwise.
        scale: of the standard start; zero for the zero start.
        t: the end of time.
        seed: of everything that is drawn.
    """

    data: str
    hidden: tuple[int, ...]
    whitened: bool
    orthogonal: bool
    scale: float
    t: float
    seed: int = 0

    def task(self) -> linfa.Task:
        """Return the images as they are, or in orthonormal coordinates of their span, where Σ_xx = I."""
        task = linfa.Task.from_data(*linfa.data.load(self.data))
        if not self.whitened:
            return task
        values, Q = task.spectrum
        white = task.cross @ (Q / np.sqrt(values))
        return linfa.Task.from_moments(np.eye(len(values)), white, task.target_second)

    def measure(self) -> xr.Dataset:
        """Return the cosines, the closed form's where it holds, its two limits, or why it is refused."""
        task, rng = self.task(), np.random.default_rng(self.seed)
        widths = (task.n_in, *self.hidden, task.n_out)
        net = linfa.Weights.standard(widths, rng, scale=self.scale)
        rule: AbstractRule = linfa.FeedbackAlignment.random(net, rng)
        if self.orthogonal:
            rule = orthogonal_feedback("fa", widths, rng)
        found = follow(linfa.Full(net, rule), task, self.t, rule.paths(State(net.matrices)), IMAGES_RTOL)
        refused = refusal(net, rule, task)
        found = found.assign(refused=refused)
        if refused:
            return found
        closed = ZeroStart.of(net, rule, task)
        return found.assign(
            closed=(("time", "layer"), closed.alignment(found["time"].values)),
            spectrum=("mode", closed.spectrum),
            early=("layer", closed.early_alignment),
            final=("layer", closed.final_alignment),
        )


def _cells(fast: bool) -> Iterator[Exact | Control | Images]:
    p, n = len(SPECTRUM), 12 if fast else 128
    for depth in (2, 3, 4) if fast else (2, 3, 4, 5):
        yield Exact("fa", (6, *(n,) * (depth - 1), p), SPECTRUM, t=40.0)
    yield Exact("dfa", (6, n, n, p), SPECTRUM, t=40.0)
    if not fast:
        many = tuple(2.0 * k**-0.5 for k in range(1, 17))
        for depth in (2, 3, 4):
            yield Exact("fa", (24, *(64,) * (depth - 1), len(many)), many, t=40.0)
    sizes = (0.01, 0.1, 1.0) if fast else (0.01, 0.03, 0.1, 0.3, 1.0)
    for violated in VIOLATIONS:
        yield Control(violated, sizes, (6, n, n, p), SPECTRUM, t=40.0)
    hidden = (24, 24) if fast else (100, 100)
    yield Images("digits", hidden, whitened=True, orthogonal=True, scale=0.0, t=300.0)
    for orthogonal, scale in ((True, 0.0), (False, 0.0), (False, 1.0)):
        yield Images("digits", hidden, whitened=False, orthogonal=orthogonal, scale=scale, t=20.0)


def cells(fast: bool) -> tuple[Exact | Control | Images, ...]:
    """Return exact runs at several depths, three controls, and digits; full, wider, deeper, and with more modes."""
    return tuple(_cells(fast))


def compute(cell: Exact | Control | Images) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="alignment",
    paper="Lillicrap et al. 2016; theory's E3",
    claim="From zero, under orthogonal feedback, the alignment of every layer is a function of the target's spectrum.",
    cells=cells,
    compute=compute,
)
