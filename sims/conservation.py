"""Study `conservation`: the laws of every rule on deep linear networks trained on real images.

For each rule, depth and way of stepping: what the laws leave unexplained (with and without the ledger), the two sides
of the neuron law against each other, and controls — laws of other rules, which must drift here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

import linfa
from linfa.laws import REGISTRY as LAWS
from linfa.laws import MatrixLaw, NeuronLaw
from linfa.rules.interface import AbstractLayerwise, AbstractRule
from sims.study import Study

NEURONS = 16
"""How many neurons of each hidden layer are recorded one by one, at most."""


@dataclass(frozen=True)
class Source:
    """An image set, and the scales that fit it: its covariance decides how long and how fast one can go.

    Args:
        name: of the image set.
        samples: how many training images.
        pixels: n_0.
        hidden: the width of every hidden layer.
        horizon: the end of time of the flows, and of the plain steps that are compared with them.
        rates: the three step sizes of the drift.
        momentum_rate: the step size of SGD with momentum.
    """

    name: str
    samples: int
    pixels: int
    hidden: int
    horizon: float
    rates: tuple[float, float, float]
    momentum_rate: float


DIGITS = Source("digits", 1437, 64, 24, horizon=2.0, rates=(0.02, 0.04, 0.08), momentum_rate=0.0025)
MNIST = Source("mnist", 4000, 784, 32, horizon=0.2, rates=(0.001, 0.002, 0.004), momentum_rate=0.001)


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        data: the name of the image set.
        samples: how many training images.
        widths: n_0 … n_L.
        rule: a registry name.
        loss: a name of linfa.losses.LOSSES.
        solver: how time passes.
        clock: what the figure calls that: flow, descent or SGD.
        seed: of the start; the feedback has the next one.
        scale: of the start, relative to the standard one.
    """

    data: str
    samples: int
    widths: tuple[int, ...]
    rule: str
    loss: str
    solver: linfa.Flow | linfa.Descent
    clock: str
    seed: int = 0
    scale: float = 0.5


def compute(cell: Cell) -> xr.Dataset:
    """Return losses, alignments, laws, sides and controls of one run, without its weights."""
    task = linfa.Task.from_data(
        *linfa.data.load(cell.data), loss=linfa.losses.LOSSES[cell.loss], samples=cell.samples, rng=cell.seed
    )
    net = linfa.Weights.standard(cell.widths, rng=cell.seed, scale=cell.scale)
    rule = linfa.rules.make(cell.rule, net, cell.seed + 1)
    laws = [law() for law in LAWS.values() if law().applies_to(rule)]
    run = linfa.solve(linfa.Full(net, rule), task, cell.solver, laws=laws)
    data = run.dataset.drop_vars([n for n in run.dataset.data_vars if str(n).startswith(("W_", "learnt_"))])
    data = data.assign({f"control_{name}": law.drift(run, other) for name, law, other in _controls(net, rule)})
    if NeuronLaw().applies_to(rule):
        data = data.assign(_sides(run)).assign(power=_power(run, task))
    return data


def _controls(net: linfa.Weights, rule: AbstractRule) -> Iterator[tuple[str, linfa.laws.AbstractLaw, AbstractRule]]:
    """Yield laws that do not hold for a rule, with the rule that each belongs to."""
    if not isinstance(rule, linfa.Backprop):
        yield "balancedness", MatrixLaw(), linfa.Backprop()
    start = linfa.State(net.matrices, rule.start(net))
    frozen = rule.at(0)
    if isinstance(frozen, AbstractLayerwise) and not rule.fixed_path:
        yield "frozen_feedback", NeuronLaw(), linfa.FeedbackAlignment(frozen.feedback(start))


def _sides(run: linfa.Trajectory) -> dict[str, xr.DataArray]:
    """Return how much both sides of the neuron law have changed, and by how much they differ, summed over neurons."""
    law = NeuronLaw()
    sides = [law.sides(run.rule, state) for state in run.states()]
    kept = min(NEURONS, *(len(layer) for layer in sides[0][0]))
    incoming, outgoing = (np.stack([np.stack([s[:kept] for s in side[i]]) for side in sides]) for i in (0, 1))
    total = np.array([[np.sum(a) - np.sum(b) for a, b in zip(*side, strict=True)] for side in sides])
    dims = ("time", "hidden", "neuron")
    return {
        "incoming": xr.DataArray(incoming - incoming[0], dims=dims),
        "outgoing": xr.DataArray(outgoing - outgoing[0], dims=dims),
        "layer_drift": xr.DataArray(total - total[0], dims=("time", "hidden")),
    }


def _power(run: linfa.Trajectory, task: linfa.Task) -> xr.DataArray:
    """Return ‖U_l‖² of the hidden layers: half its time integral is the drift per unit of step size."""
    system = linfa.Full(run.weights(0), run.rule)
    batch = task.everything(run.weights(0)[0])
    rows = []
    for state in run.states():
        U = system.passes(state, batch).updates()[:-1]
        rows.append([float(np.sum(u * u)) for u in U])
    return xr.DataArray(np.array(rows), dims=("time", "hidden"))


def _widths(source: Source, depth: int) -> tuple[int, ...]:
    return (source.pixels, *(source.hidden,) * (depth - 1), 10)


def _plain(source: Source, rate: float) -> linfa.Descent:
    return linfa.Descent(rate, round(source.horizon / rate), saves=25)


def _cells(source: Source, depth: int, rule: str, steps: int) -> Iterator[Cell]:
    """Yield one cell per clock: the flow, plain steps, and SGD with momentum and decay."""
    momentum = linfa.Descent(source.momentum_rate, steps, batch=32, momentum=0.9, decay=1e-3, saves=60)
    clocks: dict[str, tuple[str, linfa.Flow | linfa.Descent]] = {
        "flow": ("squared", linfa.Flow(t=source.horizon, saves=40)),
        "descent": ("squared", _plain(source, source.rates[1])),
        "sgd": ("softmax-ce", momentum),
    }
    if not linfa.rules.make(rule, linfa.Weights.zero((1, 1, 1))).autonomous:
        del clocks["flow"]
    for clock, (loss, solver) in clocks.items():
        yield Cell(source.name, source.samples, _widths(source, depth), rule, loss, solver, clock)


def step_cells(source: Source) -> tuple[Cell, ...]:
    """Return feedback alignment at the three step sizes."""
    widths = _widths(source, 3)
    return tuple(
        Cell(source.name, source.samples, widths, "fa", "squared", _plain(source, rate), "descent")
        for rate in source.rates
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, digits at depth 3 (feedback alignment 2 … 5); full, every depth, and MNIST."""
    found: list[Cell] = []
    for rule in linfa.rules.REGISTRY:
        for depth in (2, 3, 4, 5):
            if depth == 3 or not fast or rule == "fa":
                found += _cells(DIGITS, depth, rule, 300 if fast else 3000)
            if not fast and linfa.data.present("mnist"):
                found += _cells(MNIST, depth, rule, 2000)
    found += step_cells(DIGITS)
    return tuple(dict.fromkeys(found))


STUDY = Study(
    name="conservation",
    paper="Robertson & Koyejo 2024; Lillicrap et al. 2016",
    claim="What flows into a neuron is paid for by what its outgoing weights gain along the feedback, to rounding.",
    cells=cells,
    compute=compute,
)
