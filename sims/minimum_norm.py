"""Study `minimum_norm`: fewer samples than inputs; which of the many maps that interpolate them is learnt?

Backprop, FA and DFA never change W_1 off the span of the data (P_⊥ projects on its complement), so at interpolation
(theory's A8), with V = W_L … W_2 as it is in the end,

    ‖V W_1‖² = ‖YX⁺‖² + ‖V W_1(0) P_⊥‖²

exactly: the least norm, and an excess that is known from the start and the layers above. It vanishes for W_1(0) = 0,
at any depth and whatever the other layers begin at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import linfa
from linfa.arrays import norm
from linfa.rules.interface import AbstractRule
from sims.study import Study

RULES = ("bp", "fa", "dfa")

PARTS = ("random", "span", "zero")
"""What W_1(0) is: random; the same without what lies off the span; zero."""


@dataclass(frozen=True)
class Images:
    """The first images of a set, centred, one-hot classes (less their means); far fewer than inputs.

    Args:
        data: its name.
        samples: N.
    """

    data: str
    samples: int

    def task(self) -> linfa.Task:
        """Return the task, squared loss; inputs of mean square norm one."""
        images, labels, *_ = linfa.data.load(self.data)
        x = images[: self.samples].reshape(self.samples, -1).astype(float)
        x = x - x.mean(0)
        y = np.eye(10)[labels[: self.samples]]
        return linfa.Task.from_samples(x / np.sqrt(np.mean(np.sum(x * x, axis=1))), y - y.mean(0))


@dataclass(frozen=True)
class Gaussian:
    """Gaussian inputs, a few of them, and Gaussian targets: everything can be fitted, nothing is to be learnt.

    Args:
        n_in: n_0.
        n_out: p.
        samples: N < n_0.
        seed: of both.
    """

    n_in: int
    n_out: int
    samples: int
    seed: int = 0

    def task(self) -> linfa.Task:
        """Return the task, squared loss."""
        draw = np.random.default_rng(self.seed)
        x = draw.standard_normal((self.samples, self.n_in)) / np.sqrt(self.n_in)
        return linfa.Task.from_samples(x, draw.standard_normal((self.samples, self.n_out)) / np.sqrt(self.n_out))


@dataclass(frozen=True)
class Cell:
    """Starts of several scales under one rule, to interpolation.

    Args:
        source: what is interpolated.
        rule: bp, fa or dfa.
        hidden: the widths of the hidden layers.
        scales: of W_1(0), relative to the standard start; the other layers start at the standard one.
        part: one of `PARTS`.
        steady: runs end where ‖velocity‖ ≤ steady · (1 + ‖state‖).
        seeds: how many starts and feedbacks.
    """

    source: Images | Gaussian
    rule: str
    hidden: tuple[int, ...]
    scales: tuple[float, ...]
    part: str = "random"
    steady: float = 1e-8
    seeds: int = 1

    def measure(self) -> xr.Dataset:
        """Return by seed and scale the norms over the least, measured and predicted, and how far the fit is from exact.

        On the span the map is Y X⁺ + D, and D says how much the measured excess may differ from the predicted one:
        by at most 2‖D‖ + ‖D‖² in units of the least norm.
        """
        task = self.source.task()
        return xr.concat([self._run(task, seed) for seed in range(self.seeds)], "seed")

    def _run(self, task: linfa.Task, seed: int) -> xr.Dataset:
        net, rule, off = self.starts(task, seed)
        # Tolerances stay far below the velocity at rest, or their noise would keep it up.
        flow = linfa.Flow(
            1e5, rtol=self.steady / 10, atol=self.steady / 1e3, saves=1, steady=self.steady, max_steps=10**6
        )
        run = linfa.solve(linfa.Full(net, rule), task, flow)
        end, best = run.weights(-1), task.optimum
        above = [np.eye(task.n_out)] * len(self.scales)
        for W in reversed(end[1:]):
            above = above @ W
        X, least = end.products()[-1], float(norm(best)) ** 2
        x = np.asarray(task.inputs)
        return xr.Dataset(
            {
                "excess": ("scale", norm(X) ** 2 / least - 1),
                "predicted": ("scale", norm(above @ net[0] @ off) ** 2 / least),
                "misfit": ("scale", norm((X - best) @ x.T) / norm(best @ x.T)),
                "left": ("scale", norm((X - best) @ (np.eye(task.n_in) - off)) / np.sqrt(least)),
                "off_span": ("scale", norm(end[0] @ off - net[0] @ off)),
                "moved": ("scale", norm(end[0] - net[0])),
            },
            coords={"scale": list(self.scales)},
        )

    def starts(self, task: linfa.Task, seed: int = 0) -> tuple[linfa.Weights, AbstractRule, np.ndarray]:
        """Return the starts, all scales at once, the rule, and P_⊥."""
        draw = np.random.default_rng(seed)
        widths = (task.n_in, *self.hidden, task.n_out)
        net = linfa.Weights.standard(widths, draw)
        off = np.eye(task.n_in) - np.linalg.pinv(np.asarray(task.inputs)) @ np.asarray(task.inputs)
        first = {"random": net[0], "span": net[0] - net[0] @ off, "zero": 0 * net[0]}[self.part]
        many = len(self.scales)
        batch = [np.array(self.scales)[:, None, None] * first, *(np.stack([W] * many) for W in net[1:])]
        rules = {
            "bp": linfa.Backprop(),
            "fa": linfa.FeedbackAlignment.random(net, draw),
            "dfa": linfa.DirectFeedback.random(net, draw),
        }
        return linfa.Weights(tuple(batch)), rules[self.rule], off


SCALES = (0.01, 0.0316, 0.1, 0.316, 1.0)


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, Gaussian samples and a few digits; full, wider, deeper, two sets of images."""
    if fast:
        sources: tuple[Images | Gaussian, ...] = (Gaussian(24, 3, 8), Images("digits", 12))
        return _crossed(sources, ((16,), (16, 16)), 1)
    images = Images("mnist", 10), Images("fashion_mnist", 10)
    return (
        *_crossed((Gaussian(40, 4, 12),), ((32,), (32, 32), (32, 32, 32)), 3),
        # Ten classes are slow to fit to the last digit, the more so from a small W_1.
        *_crossed(images, ((32,), (32, 32)), 1, SCALES[2:], 1e-6),
    )


def _crossed(
    sources: tuple[Images | Gaussian, ...],
    depths: tuple[tuple[int, ...], ...],
    seeds: int,
    scales: tuple[float, ...] = SCALES,
    steady: float = 1e-8,
) -> tuple[Cell, ...]:
    return tuple(
        Cell(source, rule, hidden, scales if part == "random" else (1.0,), part, steady, seeds)
        for source in sources
        for rule in RULES
        for hidden in depths
        for part in PARTS
    )


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="minimum_norm",
    paper="Robertson & Koyejo 2023 (v1); theory's A8",
    claim="Maps that FA, DFA and BP interpolate with have the least norm just if W_1 starts in the span of the data.",
    cells=cells,
    compute=compute,
    recorded=1,
)
