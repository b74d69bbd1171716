"""Study `loss_decay`: how fast the loss falls under feedback alignment, beside the rates that are proved.

Two linear layers from starts along the feedback, of chosen margin κ = −½ tr C_1 (theory's A5):

    squared, one output         L − L* ≤ (L_0 − L*) e^{−2κλt}
    squared, several outputs    V − V* ≤ (V_0 − V*) e^{−κλt},  V = ½E‖Bᵀ(y − f)‖²,  κ = −λ_max(C_1) on range Bᵀ
    squared, any start          min_{s ≤ t} L(s) − L* ≤ K/t
    exponential, logistic       L ≤ L_0/(1 + cL_0t) on data that a direction separates with margin γ; c ∝ κγ²

λ is the least non-zero eigenvalue of Σ_xx. All bounds come from `linfa.conditions`, evaluated at the start alone. What
the last one leaves out is alignment that grows: of separable data the study measures

    c_t = −L̇/(γ²⟨W_2, B⟩L²),  −L̇ = ⟨W_2, B⟩‖E‖² + ‖EW_1ᵀ‖²,  c_t ≥ 1 (exponential; logistic once L is small)

since ‖E‖ ≥ γL. Because ⟨W_2, B⟩ = ½‖W_1‖² + κ it tends to 3 if E and the rows of W_1 end along the widest direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import nnls

import linfa
from linfa import metrics
from linfa.conditions import AverageRate, LyapunovRate, ScalarOutputRate, SeparableRate
from linfa.conditions.rates import AbstractRate
from linfa.rules.interface import State
from sims.study import Study

TIMES = 60
"""How many moments there are, evenly spread on the axis of the bound."""

KINDS = {
    "scalar": "squared, one output",
    "lyapunov": "squared, ten outputs",
    "average": "squared, opposed start",
    "exponential": "exponential, separable",
    "logistic": "logistic, separable",
}


@dataclass(frozen=True)
class Images:
    """Images of a set, centred; white for the squared loss, so that λ = 1.

    Args:
        data: its name.
        samples: N, the first ones (of the two classes, where there are two).
        side: images are averaged in blocks down to side × side.
    """

    data: str
    samples: int
    side: int

    def task(self, kind: str) -> linfa.Task:
        """Return what is learnt: 0 against 1 (±1), or ten classes (one-hot)."""
        images, labels, *_ = linfa.data.load(self.data)
        two = kind != "lyapunov"
        kept = np.flatnonzero(labels < (2 if two else 10))[: self.samples]
        x, y = images[kept, 0].astype(float), labels[kept].astype(int)
        block = x.shape[-1] // self.side
        x = x.reshape(len(x), self.side, block, self.side, block).mean((2, 4)).reshape(len(x), -1)
        x = x - x.mean(0)
        targets = 2.0 * y[:, None] - 1 if two else np.eye(10)[y]
        if kind in ("exponential", "logistic"):
            x = x / np.sqrt(np.mean(np.sum(x * x, axis=1)))
            return linfa.Task.from_samples(x, targets, linfa.losses.LOSSES[kind])
        return linfa.Task.from_samples(x, targets).whitened()


@dataclass(frozen=True)
class Cell:
    """One run, and its bound.

    Args:
        images: what is learnt.
        kind: one of `KINDS`.
        hidden: n.
        kappa: the margin that the start has, κ > 0; for the opposed start the read-out is −κB/‖B‖².
        scale: of W_1(0) ~ N(0, scale²/n_0); 0 for several outputs.
        t: the end of time.
        seeds: how many starts and feedbacks.
    """

    images: Images
    kind: str
    hidden: int
    kappa: float
    scale: float
    t: float
    seeds: int = 1

    def measure(self) -> xr.Dataset:
        """Return what is bounded, the bound, and the rate (1/K, c, …) by seed and time."""
        task = self.images.task(self.kind)
        return xr.concat([self._run(task, seed) for seed in range(self.seeds)], "seed")

    def _run(self, task: linfa.Task, seed: int) -> xr.Dataset:
        net, rule = self.start(task, seed)
        state, rate = State(net.matrices), self.rate(task)
        straight = self.kind in ("scalar", "lyapunov")
        times = np.linspace(0, self.t, TIMES) if straight else np.geomspace(1e-2, self.t, TIMES)
        run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(self.t, saves=1, rtol=1e-10, atol=1e-13, dense=True))
        weights = [run.at(float(t)) for t in times]
        measured = np.array([self._bounded(task, W, rule) for W in weights])
        if self.kind == "average":
            # The least so far, of all moments there are: an upper bound on the least of all.
            measured = np.minimum.accumulate(measured)
        data: dict[str, Any] = {
            "measured": ("time", measured),
            "bound": ("time", rate.bound(rule, state, task, times)),
            "rate": float(rate.margin(rule, state, task)),
            "first": float(metrics.loss(net, task)),
        }
        if isinstance(rate, SeparableRate):
            data["constant"] = ("time", [constant(task, W, rule, rate.direction) for W in weights])
        return xr.Dataset(data, coords={"time": times})

    def start(self, task: linfa.Task, seed: int = 0) -> tuple[linfa.Weights, linfa.FeedbackAlignment]:
        """Return the start and the rule."""
        draw = np.random.default_rng(seed)
        W = self.scale / np.sqrt(task.n_in) * draw.standard_normal((self.hidden, task.n_in))
        B = draw.standard_normal((task.n_out, self.hidden)) / np.sqrt(self.hidden)
        if self.kind == "lyapunov":
            # W_1 = 0 and W_2 = cB: −C_1 = 2c BᵀB, whose least eigenvalue on range(Bᵀ) is 2c σ_min(B)².
            c = self.kappa / (2 * np.linalg.svd(B, compute_uv=False)[-1] ** 2)
            return linfa.Weights((0 * W, c * B)), linfa.FeedbackAlignment((B,))
        along = B / np.sum(B * B)
        V = -self.kappa * along if self.kind == "average" else (self.kappa + np.sum(W * W) / 2) * along
        return linfa.Weights((W, V)), linfa.FeedbackAlignment((B,))

    def rate(self, task: linfa.Task) -> AbstractRate:
        """Return the rate that is proved."""
        if self.kind in ("exponential", "logistic"):
            return SeparableRate(widest(np.asarray(task.inputs) * np.asarray(task.targets)))
        rates: dict[str, Any] = {"scalar": ScalarOutputRate, "lyapunov": LyapunovRate, "average": AverageRate}
        return rates[self.kind]()  # type: ignore[no-any-return]

    def _bounded(self, task: linfa.Task, weights: linfa.Weights, rule: linfa.FeedbackAlignment) -> float:
        if self.kind in ("exponential", "logistic"):
            return float(metrics.loss(weights, task))
        # On white inputs L − L* = ½‖(X − X*)P‖², P the projector on their span, without the cancellation.
        gap = (weights.products()[-1] - task.optimum) @ task.second
        return float(np.sum((rule.matrices[0].T @ gap if self.kind == "lyapunov" else gap) ** 2)) / 2


def widest(Z: np.ndarray) -> np.ndarray:
    """Return the direction u that separates with the widest margin, argmax_u min_n z_n·u/‖u‖, z_n = y_nx_n.

    It is the shortest vector of the convex hull of the z_n: min ‖Zᵀα‖² + (Σα − 1)² over α ≥ 0 has it up to a factor.

    Args:
        Z: z_n in rows.

    Raises:
        InputError: where no direction separates.

    >>> u = widest(np.array([[2.0, 1.0], [2.0, -1.0]]))
    >>> (u / np.linalg.norm(u)).round(12) + 0.0
    array([1., 0.])
    """
    alpha, _ = nnls(np.vstack([Z.T, np.ones(len(Z))]), np.append(np.zeros(Z.shape[1]), 1.0))
    u = np.asarray(Z.T @ alpha)
    if not np.min(Z @ u) > 1e-9 * np.linalg.norm(u):
        raise linfa.InputError("no direction separates these samples: take fewer of them, or other classes")
    return u


def constant(task: linfa.Task, weights: linfa.Weights, rule: linfa.FeedbackAlignment, u: np.ndarray) -> float:
    """Return c_t = −L̇/(γ²⟨W_2, B⟩L²) of two layers with one output, γ = min_n y_nu·x_n/‖u‖.

    >>> task = linfa.Task.from_samples([[2.0], [-1.0]], [[1.0], [-1.0]], linfa.Exponential())
    >>> net, rule = linfa.Weights((np.zeros((1, 1)), np.ones((1, 1)))), linfa.FeedbackAlignment((np.ones((1, 1)),))
    >>> constant(task, net, rule, np.ones(1))  # E = (2 + 1)/2, γ = L = 1
    2.25
    """
    W, V = weights
    x, y = np.asarray(task.inputs), np.asarray(task.targets)
    E = np.mean(task.loss.signal(x @ W.T @ V.T, y) * x, axis=0)
    gamma = float(np.min(y[:, 0] * (x @ u))) / float(np.linalg.norm(u))
    aligned = float(np.sum(V * rule.matrices[0]))
    fall = aligned * np.sum(E * E) + np.sum((W @ E) ** 2)
    return float(fall / (gamma**2 * aligned * metrics.loss(weights, task) ** 2))


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, digits; full, MNIST too, from several starts, and longer."""
    found: list[Cell] = []
    seeds, end = (1, 1e4) if fast else (5, 1e8)
    for images in (Images("digits", 100, 8),) if fast else (Images("digits", 300, 8), Images("mnist", 400, 7)):
        for k in (0.3, 1.0, 3.0):
            found += [
                Cell(images, "scalar", 32, k, 0.1, 6 / k, seeds),
                Cell(images, "lyapunov", 32, k, 0.0, 12 / k, seeds),
            ]
            found += [Cell(images, "average", 32, k, 0.5, 1e3, seeds)]
            found += [Cell(images, kind, 32, k, 0.1, end, seeds) for kind in ("exponential", "logistic")]
    return tuple(found)


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="loss_decay",
    paper="Robertson & Koyejo 2024; theory.md A5",
    claim="From dominated starts losses fall at least as proved: exponentially if squared, as 1/t on separable data.",
    cells=cells,
    compute=compute,
    recorded=1,
)
