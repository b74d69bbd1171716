"""Figure `conservation`: the law that links incoming, outgoing and feedback weights, to rounding, on real images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures import style
from figures.figure import Collect, Figure
from figures.slope import slope
from sims.conservation import STUDY, Cell
from sims.study import Result

EPS = float(np.finfo(float).eps)

DEPTH = 3
"""The depth of panels a, b and c; panel d has every depth that was run."""

SHIFT = 0.6
"""How far apart the diagonals of panel a are."""

FLOOR = 1e-18
"""Where the logarithmic axes begin."""

HOLDS = {"matrix": "s", "neuron": "o", "null_space": "^", "direct": "D", "feedback_gap": "*"}
"""The marker of each law."""

CONTROLS = {
    "balancedness": ("x", "balancedness (a law of BP)"),
    "frozen_feedback": ("+", "feedback frozen at the start"),
}
"""The marker and the name of each law that belongs to another rule."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the four panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 7.6)
    grid = sheet.add_gridspec(3, 3, width_ratios=(1.25, 1, 0.8), height_ratios=(1, 1, 1.35))
    sides, drift, rate = (sheet.add_subplot(part) for part in (grid[:, 0], grid[0, 1], grid[0, 2]))
    ledger, controls = (sheet.add_subplot(grid[row, 1:]) for row in (1, 2))
    seen = Seen(
        gap=_sides(sides, results),
        slope=_drift(drift, rate, results),
        ledger=_ledger(ledger, results),
        controls=_controls(controls, results),
    )
    origins = {"simulation": style.SIMULATION | {"color": style.RULES["fa"].color}, "theory": style.THEORY}
    lines = [Line2D([], [], label=n, **o) for n, o in (origins | {"rounding, ε of float64": style.ROUNDING}).items()]
    sheet.legend(handles=lines, loc="outside lower center", ncols=3)
    return sheet, _caption(results, seen, fast)


class Reach(NamedTuple):
    """The range of something relative that panel c or d shows."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:.0e} to {self.most:.0e}"


class Seen(NamedTuple):
    """What the caption says of the panels."""

    gap: float
    """The largest distance of a point of panel a from its diagonal, relative to the largest change."""
    slope: float
    """The slope of panel b′."""
    ledger: tuple[Reach, Reach]
    """Panel c at the end, without the ledger and with it."""
    controls: tuple[Reach, Reach]
    """Panel d, laws that hold and laws that do not."""


def relative(data: xr.Dataset, law: str, part: str) -> xr.DataArray:
    """Return the drift or residual of a law over time, in its worst layer, relative to the sum of its terms."""
    top = data[f"{law}_scale"].max("time")
    return (data[f"{law}_{part}"] / top.where(top > 0, 1.0)).max("hidden")


def _pairs(results: list[Result]) -> Iterator[tuple[Cell, xr.Dataset]]:
    return ((r.cell, r.data) for r in results)


def _all(results: list[Result], rule: str, clock: str) -> list[Result]:
    """Return the runs of a rule on digits at the depth of panels a to c."""
    wanted = (rule, clock, "digits", DEPTH)
    return [r for r in results if (r.cell.rule, r.cell.clock, r.cell.data, len(r.cell.widths) - 1) == wanted]


def _one(results: list[Result], rule: str, clock: str) -> Result:
    """Return the run of a rule on digits at the depth of panels a to c, where there is but one."""
    (run,) = _all(results, rule, clock)
    return run


def _steps(results: list[Result]) -> dict[float, xr.Dataset]:
    """Return the runs of panel b by their step size, smallest first."""
    runs = {r.cell.solver.learning_rate: r.data for r in _all(results, "fa", "descent")}
    return dict(sorted(runs.items()))


def _has(results: list[Result], clock: str) -> list[str]:
    """Return the rules that have the neuron law and were run under a clock."""
    runs = {c.rule for c, d in _pairs(results) if c.clock == clock and "neuron_residual" in d}
    return [rule for rule in style.RULES if rule in runs]


def _sides(axes: Axes, results: list[Result]) -> float:
    """Panel a: one point per neuron and moment, each rule on a diagonal of its own. Return the largest gap."""
    style.letter(axes, "a", "the law's two sides, in continuous time")
    gaps, rules = [], _has(results, "flow")
    for i, rule in enumerate(rules):
        data = _one(results, rule, "flow").data
        unit = float(np.abs(data["incoming"]).max())
        x, y = (data[side].isel(time=slice(None, None, 8)).values.ravel() / unit for side in ("outgoing", "incoming"))
        up = SHIFT * (len(rules) - 1 - i)
        ends = np.array([min(y.min(), -0.1), 1.05])
        axes.plot(ends, ends + up, **style.THEORY | {"zorder": 2})
        axes.plot(x, y + up, **style.look(rule), zorder=3)
        axes.plot(1.2, 1.05 + up, **style.look(rule) | {"markersize": 5})
        axes.text(1.32, 1.05 + up, style.RULES[rule].label, va="center")
        gaps.append(float(np.abs(data["incoming"] - data["outgoing"]).max()) / unit)
    axes.set_xlabel(r"change of $\Phi(W_{l+1}[:,k])$, relative")
    axes.set_ylabel(r"change of ½$\Vert W_l[k,:]\Vert^2$, relative; each rule shifted up by " + f"{SHIFT:g}")
    axes.set(xlim=(-1.1, 2.2), ylim=(-0.5, None), xticks=(-1, 0, 1), yticks=(0, 1))
    axes.spines["bottom"].set_bounds(-1, 1)
    axes.spines["left"].set_bounds(-0.2, 1)
    return max(gaps)


def _drift(over_time: Axes, over_rate: Axes, results: list[Result]) -> float:
    """Panel b: the drift of plain descent against its prediction ½η∫‖U‖²dt. Return the measured slope in η."""
    style.letter(over_time, "b", "drift of plain descent, FA")
    per_rate = _one(results, "fa", "flow").data["power"].sum("hidden").cumulative_integrate("time") / 2
    runs, ends = _steps(results), []
    rates = list(runs)
    for (rate, data), marker in zip(runs.items(), cycle("ovD")):
        drift = data["layer_drift"].sum("hidden")
        ends.append(float(drift[-1]))
        over_time.plot(drift["time"], drift, **style.look("fa", line=True) | {"marker": marker}, markevery=4)
        over_time.plot(per_rate["time"], rate * per_rate, **style.THEORY)
        where = (float(drift["time"][-1]), ends[-1])
        over_time.annotate(f"η = {rate:g}", where, (0, 4), textcoords="offset points", ha="right")
        over_rate.plot(rate, ends[-1], **style.look("fa") | {"marker": marker, "markersize": 5})
    span = np.array([rates[0] / 1.5, rates[-1] * 1.5])
    over_rate.loglog(span, span * float(per_rate[-1]), **style.THEORY)
    for axis, ticks in ((over_rate.xaxis, rates), (over_rate.yaxis, [float(f"{end:.1g}") for end in ends])):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    over_time.set(xlabel="time, steps × η", ylabel="drift, all neurons", ylim=(None, 1.15 * ends[-1]))
    over_rate.set(xlabel="step size η", ylabel="drift at the end")
    measured = slope(rates, ends, "the slope of drift against step size")
    style.letter(over_rate, "b′", f"slope {measured:.2f}")
    return measured


def _ledger(axes: Axes, results: list[Result]) -> tuple[Reach, Reach]:
    """Panel c: SGD with momentum and decay, without the ledger and with it. Return both ranges at the end."""
    style.letter(axes, "c", "mini-batch SGD with momentum and decay")
    ends: dict[str, list[float]] = {"drift": [], "residual": []}
    for i, rule in enumerate(_has(results, "sgd")):
        data = _one(results, rule, "sgd").data
        for part, last in ends.items():
            values = relative(data, "neuron", part)
            last.append(float(values[-1]))
            axes.semilogy(data["step"], values.where(values > 0), **style.look(rule, line=True), markevery=(i, 12))
    bounds = [relative(_one(results, rule, "sgd").data, "neuron", "bound") for rule in _has(results, "sgd")]
    top = np.max(bounds, axis=0)
    axes.semilogy(bounds[0]["step"], np.where(top > 0, top, np.nan), **style.THEORY)
    axes.axhline(EPS, **style.ROUNDING)
    axes.set(xlabel="step", ylabel="unexplained, relative", ylim=(FLOOR, 1e3))
    named = {"without the ledger": max(ends["drift"]), "bound on what rounding can do": float(top.max())}
    for text, height in (named | {"with the ledger": max(ends["residual"])}).items():
        axes.text(0.98, 4 * height, text, transform=axes.get_yaxis_transform(), ha="right", va="bottom")
    drift, residual = (Reach(min(v), max(v)) for v in ends.values())
    return drift, residual


def _controls(axes: Axes, results: list[Result]) -> tuple[Reach, Reach]:
    """Panel d: for each rule, the laws that hold beside those that do not. Return both ranges."""
    style.letter(axes, "d", "laws that hold, and controls that must not")
    held: list[float] = []
    broken: list[float] = []
    runs = [(cell, data) for cell, data in _pairs(results) if cell.clock == "sgd"]
    rules = [rule for rule in style.RULES if any(cell.rule == rule for cell, _ in runs)]
    for cell, data in runs:
        row, color = rules.index(cell.rule), style.RULES[cell.rule].color
        found = [law for law in HOLDS if f"{law}_residual" in data]
        for law in found:
            held.append(float(relative(data, law, "residual").max()))
            axes.plot(held[-1], row, HOLDS[law], color=color, markerfacecolor="none", markeredgewidth=0.8)
        if not found:
            axes.text(EPS, row, "no law", ha="center", va="center", bbox={"color": "white", "pad": 1})
        for name, (marker, _) in CONTROLS.items():
            if f"control_{name}" in data:
                broken.append(float(data[f"control_{name}"].max()))
                axes.plot(broken[-1], row, marker, color=color, markersize=5, markeredgewidth=1.1)
    axes.axvline(EPS, **style.ROUNDING)
    axes.set(xscale="log", xlabel="unexplained, relative; the worst of each run", xlim=(FLOOR, 10))
    axes.set_yticks(range(len(rules)), [style.RULES[rule].label for rule in rules])
    axes.invert_yaxis()
    axes.grid(axis="y", linewidth=0.4, color="#dddddd")
    names = {marker: law.replace("_", " ") for law, marker in HOLDS.items()} | dict(CONTROLS.values())
    marks = [Line2D([], [], color="black", marker=m, ls="none", mfc="none", label=n) for m, n in names.items()]
    frame = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 1.0}
    axes.legend(handles=marks, loc="center", bbox_to_anchor=(0.5, 0.5), handlelength=1, **frame)
    return Reach(min(held), max(held)), Reach(min(broken), max(broken))


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    flow, sgd = (_one(results, "fa", clock) for clock in ("flow", "sgd"))
    cell, solver = sgd.cell, sgd.cell.solver
    runs = [c for c, _ in _pairs(results) if c.clock == "sgd"]
    sets = ", ".join(dict.fromkeys(f"{c.data} (η = {c.solver.learning_rate:g})" for c in runs))
    rules = ", ".join(dict.fromkeys(style.RULES[c.rule].label for c in runs))
    depths = _depths(runs)
    worse = sum(bool(d["loss"][-1] > d["loss"][0]) for c, d in _pairs(results) if c.clock == "sgd")
    grown = f" In {worse} of them the loss grew: the law does not ask for learning." if worse else ""
    return f"""What to see. (a) Every point is one hidden neuron at one moment of a run in continuous time: the change \
of half the squared norm of its incoming weights against the change of the feedback potential Φ of its outgoing ones, \
for feedback alignment ⟨B[:,k], ΔW[:,k]⟩. The points lie on the diagonal for every rule that has the law, within \
{seen.gap:.0e} of the largest change; what is left is the solver's tolerance, and largest for the rules whose \
feedback jumps where a weight changes its sign. (b) Finite steps make the law drift, always upwards under feedback \
alignment, in proportion to the step size: the dashed lines are the prediction ½η∫‖U‖²dt, with U taken from the flow; \
the measured exponent is {seen.slope:.2f}, and 1 is its limit for small steps. (c) Under mini-batch SGD with momentum \
and decay the law has drifted by {seen.ledger[0]} of the sum of magnitudes of its terms at the end; with the ledger, \
the exact account of what steps, momentum and decay do to it, {seen.ledger[1]} remains unexplained, below the dashed \
bound on what rounding can do. Colours and markers as in a. (d) For every rule, the laws that hold stay within \
{seen.controls[0]} (open symbols), laws of other rules leave {seen.controls[1]} (crosses): a test that can fail.

What was run. Deep linear networks on {cell.samples} training images of {cell.data}, widths \
{"–".join(map(str, cell.widths))}, standard initialisation times {cell.scale:g}, seed {cell.seed}. (a) Flow of the \
squared loss to t = {flow.cell.solver.t:g} at relative tolerance {flow.cell.solver.rtol:g}. (b) Full-batch steps at \
η = {", ".join(f"{rate:g}" for rate in _steps(results))} to the same time, feedback alignment. (c) Softmax \
cross-entropy, batches of {solver.batch}, η = {solver.learning_rate:g}, momentum {solver.momentum:g}, \
decay {solver.decay:g}, {solver.steps} steps: under feedback alignment the loss goes \
from {float(sgd.data["loss"][0]):.2f} to {float(sgd.data["loss"][-1]):.2f}. (d) SGD as in c on {sets}: \
the {len(runs)} runs of the {"fast" if fast else "full"} preset, under {rules}, hidden widths all alike, {depths}; \
each symbol is the worst layer and moment of one run.{grown}

Whose it is. That a law per neuron links incoming, outgoing and feedback weights is Robertson & Koyejo's (2024) claim; \
the two-layer matrix form is eq. 14 of Lillicrap et al. (2016). The formula per neuron, the potentials of the other \
rules, the drift's prediction and the ledger are our statement, and so are data, widths and rates."""


def _depths(runs: list[Cell]) -> str:
    """Return at which depths rules were run: the common ones, then those of a few rules only."""
    found = {rule: {len(c.widths) - 1 for c in runs if c.rule == rule} for rule in {c.rule for c in runs}}
    common = set.intersection(*found.values())
    more = {rule: sorted(depths - common) for rule, depths in sorted(found.items()) if depths - common}
    text = f"at depth {', '.join(map(str, sorted(common)))}"
    return text + "".join(f", {style.RULES[rule].label} also at {', '.join(map(str, d))}" for rule, d in more.items())


FIGURE = Figure(
    name="conservation",
    title="A law links incoming, outgoing and feedback weights, and holds to rounding",
    paper=STUDY.paper,
    claim=(
        "What a neuron's incoming weights gain, its outgoing weights gain along the feedback: exactly, in continuous "
        "time, in discrete time with the ledger, and under mini-batch SGD with momentum and decay."
    ),
    alt=(
        "Four panels. a: for every rule, the changes of the law's two sides lie on a diagonal. b: the law's drift "
        "under plain descent grows in proportion to the step size, close to the predicted lines. c: under SGD with "
        "momentum and decay the law drifts visibly without the ledger and by rounding errors with it. d: for every "
        "rule, laws that hold sit at the rounding level, laws of other rules over ten orders of magnitude above it."
    ),
    draw=draw,
)
