"""Figure `practical_law`: the law of feedback alignment in practical training on noisy labels, and what breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.practical_law import STUDY, Cell
from sims.study import Result

INCOMING: dict[str, Any] = style.SIMULATION | {"color": style.RULES["fa"].color, "linewidth": 2.2}
OUTGOING: dict[str, Any] = style.SIMULATION | {"color": "#999999"}

ACCOUNTS = {"none": "no account", "defect": "½‖ΔW‖² of each step", "ledger": "the ledger"}
"""What is charged, in the words of panel d."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the four panels and their caption."""
    results = {_name(r.cell): r for r in collect(STUDY)}
    plain = results["SGD"]
    sheet = style.sheet(style.DOUBLE, 5.2)
    grid = sheet.add_gridspec(2, 3, height_ratios=(1, 1.1))
    a, b, c = (sheet.add_subplot(grid[0, k]) for k in range(3))
    for axes, letter, layer in ((a, "a", 1), (b, "b", 2)):
        _sides(axes, letter, plain.data.sel(layer=layer), layer)
    _neurons(c, plain.data)
    d = sheet.add_subplot(grid[1, :])
    _residuals(d, results)
    handles = [
        Line2D([], [], label=r"incoming, ½‖$W_l$‖²", **INCOMING),
        Line2D([], [], label=r"outgoing, ⟨$W_{l+1},B_{l+1}$⟩", **OUTGOING),
        Line2D([], [], label="outgoing + ledger", **style.THEORY),
        Line2D([], [], label="one unit a step, for rounding the weights", **style.ROUNDING),
    ]
    sheet.legend(handles=handles, loc="outside upper center", ncols=4)
    sheet.legend(handles=d.get_lines()[: len(LINES)], loc="outside lower center", ncols=3)
    return sheet, _caption(results, fast)


def _name(cell: Cell) -> str:
    """Return what sets a run apart."""
    if cell.optimiser == "adam":
        return "Adam"
    if cell.activation == "tanh":
        return "tanh units"
    return f"momentum {cell.momentum:g}" if cell.momentum else "SGD"


def _sides(axes: Axes, letter: str, data: xr.Dataset, layer: int) -> None:
    """Panels a and b: how far both sides have moved, and the outgoing side with the ledger's account."""
    style.letter(axes, letter, f"hidden layer {layer}, all neurons")
    axes.plot(data["step"], data["incoming"], **INCOMING)
    axes.plot(data["step"], data["outgoing"], **OUTGOING)
    axes.plot(data["step"], data["outgoing"] + data["account_ledger"], **style.THEORY)
    axes.set(xlabel="step", ylabel="change since the start")


def _neurons(axes: Axes, data: xr.Dataset) -> None:
    """Panel c: one point per neuron at the end."""
    style.letter(axes, "c", "every neuron, at the end")
    paid = (data["neuron_outgoing"] + data["neuron_ledger"]).values
    got = data["neuron_incoming"].values
    ends = np.array([min(paid.min(), got.min()), max(paid.max(), got.max())])
    axes.plot(ends, ends, **style.THEORY | {"zorder": 1})
    for layer, marker, face in ((0, "s", style.RULES["fa"].color), (1, "o", "white")):
        how = style.look("fa") | {"marker": marker, "markerfacecolor": face, "label": f"layer {layer + 1}"}
        axes.plot(paid[layer], got[layer], **how | {"markeredgecolor": style.RULES["fa"].color, "markersize": 3})
    axes.legend(loc="upper left", handletextpad=0.2)
    axes.set(xlabel="outgoing + ledger", ylabel="incoming")


LINES = (
    ("SGD", "ledger", "s", style.RULES["fa"].color),
    ("momentum 0.9", "ledger", "o", style.RULES["interpolated"].color),
    ("SGD", "none", "s", "#777777"),
    ("momentum 0.9", "defect", "o", "#777777"),
    ("tanh units", "defect", "x", "#777777"),
    ("Adam", "defect", "+", "#777777"),
)
"""The lines of panel d: run, account, marker, colour; in colour what must be rounding, in grey what must not."""


def _worst(data: xr.Dataset, account: str) -> xr.DataArray:
    """Return the residual of the worst neuron of all, over eps · scale."""
    return data[f"units_{account}"].max("layer")


def _residuals(axes: Axes, results: dict[str, Result]) -> None:
    """Panel d: what is left unexplained, in units of rounding."""
    style.letter(axes, "d", "what is left of the worst neuron, in units of eps · scale (float32)")
    for run, account, marker, color in LINES:
        data = results[run].data
        left = _worst(data, account)
        label = f"{run}, {ACCOUNTS[account]}"
        axes.semilogy(
            data["step"],
            left,
            color=color,
            marker=marker,
            markevery=6,
            label=label,
            **style.SIMULATION | {"linewidth": 1},
        )
    steps = results["SGD"].data["step"]
    axes.plot(steps, 1 + steps, **style.ROUNDING)
    axes.set(xlabel="step", ylabel="residual / (eps · scale)")


def _caption(results: dict[str, Result], fast: bool) -> str:
    plain, momentum = results["SGD"], results["momentum 0.9"]
    cell: Cell = plain.cell
    held = {name: float(_worst(r.data, "ledger").max()) for name, r in (("SGD", plain), ("momentum", momentum))}
    broken = {run: float(_worst(results[run].data, account)[-1]) for run, account, *_ in LINES[3:]}
    images = cell.images
    accuracy = ", ".join(f"{n} {100 * float(r.data['test_accuracy'][-1]):.0f} %" for n, r in results.items())
    return (
        f"Feedback alignment on {images.samples} random images of {SETS[images.name]}, {100 * images.noise:.0f} % of "
        f"the labels replaced by other classes: a net {'–'.join(map(str, cell.widths))} of ReLU units without biases, "
        f"softmax cross-entropy, batches of {cell.batch}, {cell.epochs} epochs, η = {cell.rate:g} "
        f"({momentum.cell.rate:g} with momentum, {results['Adam'].cell.rate:g} in Adam), float32.\n\n"
        "a, b: what has flowed into a layer (blue) against what its outgoing weights have gained along the feedback "
        "(grey). They differ by what finite steps cost, Σ ½‖ΔW‖², which is the whole account of plain steps: with it "
        "(dashed) they coincide. c: so they do neuron by neuron.\n\n"
        f"d: the largest residual of any neuron is {held['SGD']:.1f} units of rounding with plain steps and "
        f"{held['momentum']:.1f} with momentum, at any time. Controls: the account of plain steps does not explain "
        f"momentum ({broken['momentum 0.9']:.0e} units at the end), and there is no account of tanh units "
        f"({broken['tanh units']:.0e}), which are not positively homogeneous, or of Adam ({broken['Adam']:.0e}), which "
        "divides every entry of the gradient by another number.\n\n"
        f"Accuracy on clean test images: {accuracy}.\n\n"
        "The law per neuron, and the 4,000 images of MNIST with 20 % label noise, are Robertson & Koyejo's (2024, "
        "arXiv 2306.01870); "
        + ("the smaller digits, the" if fast else "the")
        + " net, its step sizes, the account of finite steps and the controls are ours: their settings are not known "
        "to us."
    )


FIGURE = Figure(
    name="practical_law",
    title="The law in practical training, on noisy labels",
    paper="Robertson & Koyejo 2024",
    claim="What flows into a neuron is paid for by what its outgoing weights gain along the feedback, to rounding.",
    alt="Two panels in which the incoming weights of a layer and its outgoing weights along the feedback grow "
    "together, a panel with one point per neuron on the diagonal, and a panel in which residuals stay at rounding "
    "with the ledger, and are thousands of times larger in the controls.",
    draw=draw,
)
