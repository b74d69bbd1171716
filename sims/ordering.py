"""Study `ordering`: in which order feedback alignment learns the components of a target, and how fast.

Two layers whose weights, feedback and target share their singular vectors learn mode by mode (E2). Simulated here are
whole networks, from which the modes are read; the closed form is what they are compared with. From a zero start large
components are learnt first, a regularisation; from another start small ones are, an anti-regularisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from scipy.optimize import brentq

import linfa
from linfa.arrays import norm
from linfa.conditions import LocalRate
from linfa.trajectory import Trajectory
from sims.alignment import orthogonal_feedback
from sims.study import Study

TABLE = (0.5, 1.0, 2.0, 2.7, 2.9, 3.2, 4.0, 6.0)
"""The targets λ of theory's table of the order of learning."""

STARTS = {"zero": (0.0, 0.0), "anti": (-2.5, -3.0)}
"""θ_1(0) and K = θ_2 − θ_1²/(2c) of the two kinds of start."""

FRACTION = 0.01
"""A component is learnt where this part of it is missing."""

RTOL, ATOL = 1e-10, 1e-13
"""The tolerances of the flows."""

GROWTH = 10
"""A nudge that has grown by this factor has left its rest."""


def haar(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return n × k orthonormal columns."""
    return np.asarray(np.linalg.qr(rng.standard_normal((n, k)))[0])


@dataclass(frozen=True)
class Modes:
    """A two-layer network in one frame: W_1 = R θ_1 Vᵀ, W_2 = U θ_2 Rᵀ, B = U Rᵀ, Σ_yx = U λ Vᵀ, Σ_xx = I.

    Args:
        targets: λ, as many as inputs and outputs.
        hidden: n_1, at least as many.
        first: θ_1(0).
        constant: K, so that θ_2(0) = ½θ_1(0)² + K.
        seed: of the frame.
    """

    targets: tuple[float, ...]
    hidden: int
    first: float
    constant: float
    seed: int = 0

    @cached_property
    def frames(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U, R, V."""
        rng, p = np.random.default_rng(self.seed), len(self.targets)
        return haar(p, p, rng), haar(self.hidden, p, rng), haar(p, p, rng)

    def network(self) -> linfa.Full:
        """Return the network under its feedback."""
        U, R, V = self.frames
        net = linfa.Weights((self.first * R @ V.T, (self.first**2 / 2 + self.constant) * U @ R.T))
        return linfa.Full(net, linfa.FeedbackAlignment((U @ R.T,)))

    def task(self) -> linfa.Task:
        """Return the target."""
        U, _, V = self.frames
        targets = np.array(self.targets)
        return linfa.Task.from_moments(np.eye(len(targets)), (U * targets) @ V.T, (U * targets**2) @ U.T)

    def strength(self, weights: linfa.Weights) -> np.ndarray:
        """Return s = diag(Uᵀ W_2 W_1 V), what has been learnt of λ."""
        U, _, V = self.frames
        return np.einsum("ik,ij,jk->k", U, weights.products()[-1], V)


def first_times(
    run: Trajectory, strength: Callable[[linfa.Weights], np.ndarray], targets: np.ndarray, fraction: float
) -> np.ndarray:
    """Return when |λ − s| first falls to a fraction of λ, by mode: bracketed by saved moments, found in between.

    Raises:
        InputError: where a mode is not learnt within the run.
    """
    missing = np.array([np.abs(targets - strength(run.weights(k))) for k in range(len(run))]) - fraction * targets
    if not np.all(np.any(missing <= 0, axis=0)):
        raise linfa.InputError(f"not every mode is learnt by t = {float(run.times[-1]):g}: run longer")
    found = []
    for mode, k in enumerate(np.argmax(missing <= 0, axis=0)):

        def left(t: float, mode: int = mode) -> float:
            return float(abs(targets[mode] - strength(run.at(t))[mode]) - fraction * targets[mode])

        found.append(brentq(left, float(run.times[k - 1]), float(run.times[k]), xtol=1e-13) if k else 0.0)
    return np.array(found)


@dataclass(frozen=True)
class Learning:
    """Components learnt side by side by one network, from one kind of start.

    Args:
        start: one of `STARTS`.
        targets: λ.
        hidden: n_1.
        t: the end of time.
    """

    start: str
    targets: tuple[float, ...]
    hidden: int
    t: float

    def modes(self) -> Modes:
        """Return the network."""
        return Modes(self.targets, self.hidden, *STARTS[self.start])

    def measure(self) -> xr.Dataset:
        """Return s over time and the learning times, by mode, and how much of the output lies outside the modes."""
        modes = self.modes()
        flow = linfa.Flow(self.t, rtol=RTOL, atol=ATOL, saves=200, dense=True)
        run = linfa.solve(modes.network(), modes.task(), flow)
        weights = [run.weights(k) for k in range(len(run))]
        s = np.array([modes.strength(w) for w in weights])
        U, _, V = modes.frames
        outside = [float(norm(w.products()[-1] - (U * x) @ V.T)) for w, x in zip(weights, s, strict=True)]
        return xr.Dataset(
            {
                "strength": (("time", "mode"), s),
                "learnt": ("mode", first_times(run, modes.strength, np.array(self.targets), FRACTION)),
                "outside": ("time", outside),
                "steps": run.dataset.attrs["steps"],
            },
            coords={"time": run.times.values, "mode": list(self.targets)},
        )


@dataclass(frozen=True)
class Halves:
    """How long a deep network needs for half of each component, under feedback with orthonormal paths.

    Args:
        targets: σ.
        depth: L.
        hidden: the width of every hidden layer.
        scale: of the random start, relative to the standard one; zero for the zero start.
        t: the end of time.
        seed: of everything that is drawn.
    """

    targets: tuple[float, ...]
    depth: int
    hidden: int
    scale: float
    t: float
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the half-times by σ, and how many steps the solver took."""
        rng, p = np.random.default_rng(self.seed), len(self.targets)
        widths, sigma = (p, *(self.hidden,) * (self.depth - 1), p), np.array(self.targets)
        U, V = haar(p, p, rng), haar(p, p, rng)
        rule = orthogonal_feedback("fa", widths, rng)
        net = linfa.Weights.standard(widths, rng, scale=self.scale)
        task = linfa.Task.from_moments(np.eye(p), (U * sigma) @ V.T, (U * sigma**2) @ U.T)
        run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(self.t, rtol=RTOL, atol=ATOL, saves=200, dense=True))

        def strength(weights: linfa.Weights) -> np.ndarray:
            return np.einsum("ik,ij,jk->k", U, weights.products()[-1], V)

        half = first_times(run, strength, sigma, 0.5)
        return xr.Dataset({"half": ("mode", half), "steps": run.dataset.attrs["steps"]}, coords={"mode": sigma})


@dataclass(frozen=True)
class Steps:
    """One component learnt by finite steps of many sizes: whether its rest holds a nudge, and where training ends.

    Args:
        target: λ.
        sizes: η in units of 1/r, r the rate at which errors die at the rest of the flow.
        steps: how many.
        hidden: n_1.
        nudge: how far, relative to θ_1, the rest is left at the start.
    """

    target: float
    sizes: tuple[float, ...]
    steps: int
    hidden: int
    nudge: float = 1e-6

    @property
    def rest(self) -> float:
        """θ_1 = (2λ)^{1/3}, where the flow from zero ends."""
        return float(np.cbrt(2 * self.target))

    def rate(self, weights: linfa.Weights) -> float:
        """Return r, the rate at which small errors die in the flow."""
        system = Modes((self.target,), self.hidden, 0.0, 0.0)
        return float(LocalRate().margin(system.network().rule, linfa.State(weights.matrices), system.task()))

    def measure(self) -> xr.Dataset:
        """Return by size: the factor of the error in one step, whether it stays, and r at the end of training."""
        still = Modes((self.target,), self.hidden, self.rest, 0.0)
        rate = self.rate(still.network().weights)
        found = [(*self.nudged(size / rate), self.trained(size / rate)) for size in self.sizes]
        factors, stays, ends = zip(*found, strict=True)
        return xr.Dataset(
            {"factor": ("size", list(factors)), "stays": ("size", list(stays)), "end": ("size", list(ends))},
            coords={"size": list(self.sizes)},
        ).assign(rate=rate)

    def nudged(self, eta: float) -> tuple[float, bool]:
        """Return e_1/e_0 of the error λ − s next to the rest, and whether it never outgrows its start."""
        modes = Modes((self.target,), self.hidden, self.rest * (1 + self.nudge), 0.0)
        try:
            run = linfa.solve(modes.network(), modes.task(), linfa.Descent(eta, self.steps, saves=self.steps))
        except linfa.DivergenceError:
            run = linfa.solve(modes.network(), modes.task(), linfa.Descent(eta, 1, saves=1))
            return self._factor(modes, run), False
        errors = [abs(self.target - float(modes.strength(run.weights(k))[0])) for k in range(len(run))]
        return self._factor(modes, run), max(errors) < GROWTH * errors[0]

    def trained(self, eta: float) -> float:
        """Return r where training from zero ends, infinite where it diverges."""
        modes = Modes((self.target,), self.hidden, 0.0, 0.0)
        try:
            run = linfa.solve(modes.network(), modes.task(), linfa.Descent(eta, self.steps, saves=1))
        except linfa.DivergenceError:
            return float("inf")
        return self.rate(run.weights(-1))

    def _factor(self, modes: Modes, run: Trajectory) -> float:
        before, after = (self.target - float(modes.strength(run.weights(k))[0]) for k in (0, 1))
        return after / before


def _cells(fast: bool) -> Iterator[Learning | Halves | Steps]:
    between = tuple(np.geomspace(0.2, 8.0, 11 if fast else 31).round(3).tolist())
    targets = tuple(sorted({*TABLE, *between}))
    for start in STARTS:
        yield Learning(start, targets, 24 if fast else 128, t=20.0)
    sigma = tuple(np.geomspace(0.1, 10.0, 7 if fast else 15).tolist())
    for depth in (2, 3) if fast else (2, 3, 4):
        for scale in (0.0, 0.1):
            yield Halves(sigma, depth, 12 if fast else 64, scale, t=15.0)
    apart = 0.2 if fast else 0.1
    sizes = tuple((apart * (np.arange(round(3 / apart)) + 0.5)).round(3).tolist())
    for target in (0.5, 2.0, 6.0):
        yield Steps(target, sizes, 200 if fast else 2000, 4 if fast else 64)


def cells(fast: bool) -> tuple[Learning | Halves | Steps, ...]:
    """Return both starts, half-times at several depths, and finite steps; full, wider nets and finer grids."""
    return tuple(_cells(fast))


def compute(cell: Learning | Halves | Steps) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="ordering",
    paper="Girotti, Mitliagkas & Gidel 2021",
    claim="From zero large components are learnt first; other starts learn small ones first, up to a threshold.",
    cells=cells,
    compute=compute,
)
