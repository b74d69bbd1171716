"""Figure `rule_laws`: every rule and every kind of net against its own law, in units of rounding."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.rule_laws import STUDY, Cell
from sims.study import Result

LAWS = {
    ("usf", "mlp"): ("uSF", r"½‖$W_l$‖² − Σ $M$|$W_{l+1}$|"),
    ("frsf", "mlp"): ("frSF", r"½‖$W_l$‖² − Σ $M$|$W_{l+1}$|"),
    ("kp", "mlp"): ("Kolen–Pollack", r"½‖$W_l$‖² − ½‖$B_{l+1}$‖²"),
    ("dfa", "mlp"): ("DFA, virtual read-out", r"½‖$W_l$‖² − ⟨$F_l,V_l$⟩"),
    ("fa", "batchnorm"): ("FA, BatchNorm", r"½γ² + ½β² − ⟨$B,W_{l+1}$⟩"),
    ("fa", "resnet8"): ("FA, residual stream", r"Σ ½‖$\cdot$‖² − Σ ⟨$B,W$⟩"),
}
"""The heading of every run's panel, and its law for one channel."""

BARE: dict[str, Any] = style.SIMULATION | {"color": "#999999"}
CONTROL: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 0.8, "marker": "x", "markersize": 3.5}


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:  # noqa: ARG001 — both presets are drawn alike
    """Return one panel per run and their caption."""
    results = {(r.cell.rule, r.cell.net): r for r in collect(STUDY)}
    sheet = style.sheet(style.DOUBLE, 4.6)
    grid = sheet.subplots(2, 3, sharey=True)
    for axes, letter, (key, (title, law)) in zip(grid.flat, "abcdef", LAWS.items(), strict=True):
        style.letter(axes, letter, title)
        _panel(axes, results[key], law)
    for axes in grid[:, 0]:
        axes.set_ylabel("residual / (eps · scale)")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    held = {"color": style.RULES["fa"].color} | style.SIMULATION
    handles = [
        Line2D([], [], label="its law, with the ledger (the rule's colour)", **held),
        Line2D([], [], label="its law, no account", **BARE),
        Line2D([], [], label="control: the law of BP, plain steps charged", **CONTROL),
        Line2D([], [], label="one unit a step", **style.ROUNDING),
    ]
    sheet.legend(handles=handles, loc="outside lower center", ncols=2)
    return sheet, _caption(results)


def _panel(axes: Axes, result: Result, law: str) -> None:
    """One run: what is left of its worst channel."""
    data, look = result.data, style.look(_look(result.cell), line=True)
    axes.semilogy(data["step"], data["none"], **BARE)
    axes.semilogy(data["step"], data["balance"], **CONTROL, markevery=8)
    axes.semilogy(data["step"], data["ledger"], **look, markevery=8)
    axes.plot(data["step"], 1 + data["step"], **style.ROUNDING)
    axes.set(ylim=(1e-2, 3e8))
    axes.text(0.03, 0.97, law, transform=axes.transAxes, va="top")


def _look(cell: Cell) -> str:
    return "dfa-virtual" if cell.rule == "dfa" else cell.rule


def _caption(results: dict[tuple[str, str], Result]) -> str:
    first: Cell = next(iter(results.values())).cell
    images = first.images
    held = max(float(r.data["ledger"].max()) for r in results.values())
    broken = min(float(r.data["balance"][-1]) for r in results.values())
    bare = min(float(r.data["none"][-1]) for r in results.values())
    resnet, deep = results["fa", "resnet8"].data, results["fa", "resnet8"].cell.rate
    rates = f"{first.rate:g}" + (f" ({deep:g} in f)" if deep != first.rate else "")
    accuracy = ", ".join(
        f"{LAWS[key][0]} {100 * float(r.data['test_accuracy'][-1]):.0f} %" for key, r in results.items()
    )
    return (
        f"Nets on {images.samples} random images of {SETS[images.name]}, {100 * images.noise:.0f} % of the labels "
        f"replaced by other classes: {'–'.join(map(str, first.widths))} ReLU units without biases (a to d), the same "
        f"with BatchNorm (e), a residual net of depth 8 (f: {resnet.attrs['laws']} laws, {resnet.attrs['channels']} "
        f"channels). Plain SGD, η = {rates}, batches of {first.batch}, {first.epochs} epochs, softmax "
        "cross-entropy, float32; every layer but the first sends its error back by the rule.\n\n"
        "Each panel: what is left unexplained of the worst channel of all laws. With the ledger it is at most "
        f"{held:.1f} units of rounding, at any time and under any rule (dotted: one unit a step, which "
        "rounding every weight can cost; rounded gradients can cost more where steps are large). Without an account it "
        f"ends at {bare:.0e} units or more: finite steps, the eps of BatchNorm and virtual read-outs have their part. "
        f"Control: the law of backprop, with the account of plain steps that is its own, ends {broken:.0e} units off "
        "or more.\n\n"
        f"Accuracy on clean test images: {accuracy}.\n\n"
        "The law of feedback alignment per neuron is Robertson & Koyejo's (2024, arXiv 2306.01870); those of the other "
        "rules, of norms and of streams, the account and all settings are ours."
    )


FIGURE = Figure(
    name="rule_laws",
    title="Every rule has a law of its own",
    paper="Robertson & Koyejo 2024",
    claim="Each feedback that is a gradient conserves its own potential, through BatchNorm and shortcuts, to rounding.",
    alt="Six panels, one per rule or kind of net. In each, the residual with the ledger stays below a hundred units of "
    "rounding, mostly near one, while two other lines, no account and the law of backprop, rise far above.",
    draw=draw,
)
