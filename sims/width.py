"""Study `width`: what a run under fixed feedback needs of the width of the network, which is next to nothing.

Three questions, on real images: whether the width-free run is the full one (losses and weights, side by side), how many
operations and evaluations the two take as the width grows, and how fast networks of growing width meet their limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

import linfa
from linfa.arrays import norm
from linfa.systems.infinite_width import SCALINGS
from sims.study import Study


@dataclass(frozen=True)
class Agreement:
    """One network, trained twice by the same steps: with its weights, and without its width.

    Args:
        data: the name of the image set.
        samples: how many training images.
        widths: n_0 … n_L.
        rule: a registry name, of a rule whose path is fixed.
        solver: mini-batch steps on softmax cross-entropy.
        seed: of the start; the feedback has the next one.
    """

    data: str
    samples: int
    widths: tuple[int, ...]
    rule: str
    solver: linfa.Descent
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return both losses, and how far the weights are apart, relative to their norm, by layer."""
        task = _images(self.data, self.samples, linfa.SoftmaxCrossEntropy())
        net = linfa.Weights.standard(self.widths, rng=self.seed, scale=0.7)
        rule = linfa.rules.make(self.rule, net, self.seed + 1)
        full, free = (linfa.solve(system(net, rule), task, self.solver) for system in (linfa.Full, linfa.WidthFree))
        apart = [
            [float(norm(a - b) / norm(a)) for a, b in zip(full.weights(k), free.weights(k), strict=True)]
            for k in range(len(full))
        ]
        found = full.dataset[["loss"]].assign(
            width_free=free.loss, apart=xr.DataArray(np.array(apart), dims=("time", "layer"))
        )
        return found.drop_attrs()


@dataclass(frozen=True)
class Cost:
    """One flow of a network of some width, with its weights and without.

    Args:
        data: the name of the image set.
        samples: how many training images.
        hidden: the width of every hidden layer.
        depth: L.
        horizon: the end of time, in units of n_0/n, in which the read-out learns at any width.
    """

    data: str
    samples: int
    hidden: int
    depth: int
    horizon: float

    def measure(self) -> xr.Dataset:
        """Return how many evaluations of the velocity both runs took, and how many operations one takes."""
        task = _images(self.data, self.samples, linfa.Squared())
        widths = (task.n_in, *(self.hidden,) * (self.depth - 1), task.n_out)
        net = linfa.Weights.standard(widths, rng=0)
        rule = linfa.FeedbackAlignment.random(net, rng=1)
        flow = linfa.Flow(self.horizon * task.n_in / self.hidden, rtol=1e-7, atol=1e-9, saves=1)
        runs = [linfa.solve(system(net, rule), task, flow, states=False) for system in (linfa.Full, linfa.WidthFree)]
        return xr.Dataset(
            {
                "evaluations": ("system", [run.dataset.attrs["evaluations"] for run in runs]),
                "operations": ("system", [full_operations(widths), free_operations(widths)]),
                "loss": ("system", [float(run.loss[-1]) for run in runs]),
            },
            coords={"system": ["full", "width-free"]},
        )


@dataclass(frozen=True)
class Limit:
    """An ensemble of networks of one width, or of infinite width, drawn without their weights.

    Args:
        data: the name of the image set.
        samples: how many training images.
        scaling: a name of linfa.systems.infinite_width.SCALINGS.
        depth: L.
        hidden: the widths of the hidden layers.
        members: how many networks.
        solver: full-batch steps on the squared loss.
        seed: of the draws; the limit has the same one.
    """

    data: str
    samples: int
    scaling: str
    depth: int
    hidden: tuple[int, ...]
    members: int
    solver: linfa.Descent
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the losses by width, time and member, those of the limit, and the outputs' distance from it."""
        task = _images(self.data, self.samples, linfa.Squared())
        n, p, L = task.n_in, task.n_out, self.depth
        family = SCALINGS[self.scaling]()
        systems = [family.drawn((n, *(h,) * (L - 1), p), self.seed, members=self.members) for h in self.hidden]
        systems.append(family.limit(n, p, L, self.seed, members=self.members))
        losses = [linfa.solve(system, task, self.solver, states=False).loss for system in systems]
        gap = [np.sqrt(((loss - losses[-1]) ** 2).mean("member_0")) for loss in losses[:-1]]
        return xr.Dataset(
            {
                "loss": (("hidden_width", "time", "member"), np.stack(losses[:-1])),
                "limit": (("time", "member"), losses[-1].values),
                "gap": (("hidden_width", "time"), np.stack(gap)),
            },
            coords={"hidden_width": list(self.hidden), "time": losses[-1]["time"].values},
        )


def full_operations(widths: tuple[int, ...], samples: int | None = None) -> int:
    """Return the operations of the matrix products of one full velocity: forward, backward, updates.

    Args:
        widths: n_0 … n_L.
        samples: N; None where moments stand for the samples, and n_0 columns go through the network.

    >>> full_operations((1, 1, 1), samples=1)
    10
    """
    N, pairs = widths[0] if samples is None else samples, [a * b for a, b in pairwise(widths)]
    return 2 * N * (2 * sum(pairs) + sum(pairs[1:])) + (2 * N * widths[0] * widths[-1] if samples is None else 0)


def free_operations(widths: tuple[int, ...], samples: int | None = None) -> int:
    """Return the operations of the matrix products of one width-free velocity, in which no hidden width occurs.

    >>> free_operations((3, 10, 2), samples=5) == free_operations((3, 10**9, 2), samples=5)
    True
    """
    n, p, L = widths[0], widths[-1], len(widths) - 1
    N = n if samples is None else samples
    # z_l 𝒢_{l−1}, then its last columns times k_{l−1}; the read-out; outputs and E; E times all Y_jᵀ.
    levels = sum(2 * p * (n + (l - 1) * p) ** 2 + 2 * p * (l - 1) * p * n for l in range(2, L + 1))
    ends = 2 * p * L * p * n + 4 * N * n * p + 2 * p * n * L * p
    return levels + ends + (2 * N * n * p if samples is None else 0)


def _images(data: str, samples: int, loss: linfa.losses.AbstractLoss) -> linfa.Task:
    return linfa.Task.from_data(*linfa.data.load(data), loss=loss, samples=samples)


RULES = ("fa", "rho-fa", "dfa", "readout")

SGD = linfa.Descent(0.005, 400, batch=32, momentum=0.9, decay=1e-3, saves=40)
SLOW = linfa.Descent(0.0002, 2000, batch=32, momentum=0.9, decay=1e-3, saves=40)


def cells(fast: bool) -> tuple[Agreement | Cost | Limit, ...]:
    """Return the cells: fast, digits in narrow nets and few widths; full, wider ones, deeper ones, and MNIST."""
    samples, n = 1437, 100 if fast else 400
    found: list[Agreement | Cost | Limit] = [Agreement("digits", samples, (64, n, n, 10), rule, SGD) for rule in RULES]
    found += [Cost("digits", samples, n, 3, 3.0) for n in ((20, 50, 100, 200) if fast else (20, 50, 100, 200, 500))]
    hidden = tuple(10**k for k in range(2, 9))
    steps = linfa.Descent(0.005, 200 if fast else 2000, saves=20)
    for scaling in SCALINGS:
        for depth in (3,) if fast else (2, 3, 5):
            found.append(Limit("digits", samples, scaling, depth, hidden, 10 if fast else 40, steps))
    if not fast and linfa.data.present("mnist"):
        found += [Agreement("mnist", 4000, (784, n, n, 10), rule, SLOW) for rule in RULES]
    return tuple(found)


def compute(cell: Agreement | Cost | Limit) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="width",
    paper="Bordelon & Pehlevan 2022; theory/width_free",
    claim="A run under fixed feedback is a handful of small matrices at any width, and their limits at infinite width.",
    cells=cells,
    compute=compute,
)
