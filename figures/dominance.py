"""Figure `dominance`: what a start that alignment dominates is promised, and what the others get."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.dominance import STARTS, STUDY, Paths, Phase
from sims.study import Result

COLORS = dict(zip(STARTS, (style.RULES[rule].color for rule in ("fa", "readout", "usf")), strict=True))
"""Blue, grey, orange."""

LEARNT = 0.05
"""A run counts as having learnt where at most this part of its loss is left."""


class Counts(NamedTuple):
    """How many starts there are, on how many L falls throughout, and how many learn."""

    starts: int
    fall: int
    learn: int

    def __str__(self) -> str:
        return f"{self.fall} of {self.starts} fell throughout, and {self.learn} learnt"


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the panels and their caption."""
    results = collect(STUDY)
    path = [r for r in results if isinstance(r.cell, Paths)][-1]
    phases = [r for r in results if isinstance(r.cell, Phase)]
    shown = [r for r in phases if r.cell.images.data == path.cell.images.data]
    sheet = style.sheet(style.DOUBLE, 5.9)
    grid = sheet.add_gridspec(3, 4, height_ratios=(1.15, 1, 1))
    _loss(sheet.add_subplot(grid[0, 0]), path)
    _aligned(sheet.add_subplot(grid[0, 1]), path)
    _dynamic(sheet.add_subplot(grid[0, 2]), path)
    _bound(sheet.add_subplot(grid[0, 3]), path)
    _diagrams(sheet, grid, shown)
    return sheet, _caption(path, phases, shown, fast)


def _lines(axes: Axes, result: Result, name: str) -> None:
    """Draw one curve per start; the first moment, which a logarithmic axis has no place for, is left out."""
    data = result.data.isel(time=slice(1, None))
    for start in STARTS:
        axes.plot(data["time"], data[name].sel(start=start), color=COLORS[start], label=start, **style.SIMULATION)
    axes.set(xscale="log", xlabel="time t")


def _loss(axes: Axes, result: Result) -> None:
    style.letter(axes, "a", "one net, three starts")
    _lines(axes, result, "loss")
    axes.set(yscale="log", ylabel="loss")
    axes.legend(loc="lower left", borderaxespad=0)


def _aligned(axes: Axes, result: Result) -> None:
    """Panel b: a_kb_k of every neuron, and the κ_k below which those of the dominated start cannot fall."""
    style.letter(axes, "b", "every neuron, and its κ")
    data = result.data.isel(time=slice(1, None))
    for start in reversed(STARTS):
        axes.plot(data["time"], data["aligned"].sel(start=start), color=COLORS[start], linewidth=0.7, alpha=0.8)
    for kappa in (data["kappa"].sel(start="dominated").min("neuron"), data["kappa"].sel(start="opposed").min("neuron")):
        axes.plot(data["time"], kappa, **style.THEORY)
    axes.axhline(0, **style.ROUNDING)
    axes.set(xscale="log", yscale="symlog", xlabel="time t", ylabel="$a_kb_k$")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_yticks((-0.1, 0, 0.1, 1), ("−0.1", "0", "0.1", "1"))
    axes.minorticks_off()


def _dynamic(axes: Axes, result: Result) -> None:
    style.letter(axes, "c", "dynamic dominance")
    _lines(axes, result, "mu")
    axes.axhline(0, **style.ROUNDING)
    axes.set(ylabel="μ(t)")


def _bound(axes: Axes, result: Result) -> None:
    """Panel d: how fast the loss falls, and how fast it must, from the dominated start."""
    style.letter(axes, "d", "dominated: −dL/dt, bound")
    data = result.data.isel(time=slice(1, None)).sel(start="dominated")
    axes.loglog(data["time"], -data["slope"], color=COLORS["dominated"], **style.SIMULATION)
    axes.loglog(data["time"], -data["bound"], **style.THEORY)
    axes.set(xlabel="time t", ylabel="−dL/dt")


def _diagrams(sheet: Sheet, grid: Any, results: list[Result]) -> None:
    """Panels e to l: by kind of net, where L falls throughout, and what is left of it."""
    kinds = list(dict.fromkeys((r.cell.relu, r.cell.images.outputs) for r in results))
    falls, lefts = [], []
    for i, kind in enumerate(kinds):
        runs = [r for r in results if (r.cell.relu, r.cell.images.outputs) == kind]
        name = f"{'ReLU' if kind[0] else 'linear'}, {'one output' if kind[1] == 1 else f'{kind[1]} classes'}"
        up, down = sheet.add_subplot(grid[1, i]), sheet.add_subplot(grid[2, i])
        style.letter(up, "efgh"[i], name)
        style.letter(down, "ijkl"[i], name)
        fell = np.stack([r.data["falls"].mean("draw") for r in runs])
        left = np.stack([r.data["left"].median("draw") for r in runs])
        falls.append(_map(up, runs, fell, cmap="Blues", vmin=0, vmax=1.4))
        lefts.append(_map(down, runs, np.clip(left, 1e-3, 1), cmap="magma_r", norm="log", vmin=1e-3, vmax=3))
        _promised(up, runs)
        for axes in (up, down):
            axes.set_ylabel("scale s of the start" if i == 0 else "")
            axes.tick_params(labelleft=i == 0)
        down.set_xlabel("∠(W₂, B) at the start")
    up_axes, down_axes = ([m.axes for m in maps] for maps in (falls, lefts))
    bar = sheet.colorbar(
        falls[-1], ax=up_axes, label="loss falls throughout", pad=0.01, boundaries=np.linspace(0, 1, 51)
    )
    bar.set_ticks((0, 0.5, 1), labels=("never", "half", "always"))
    bar = sheet.colorbar(
        lefts[-1], ax=down_axes, label="part of the loss left", pad=0.01, boundaries=np.geomspace(1e-3, 1, 51)
    )
    bar.set_ticks((1e-3, 1e-2, 1e-1, 1), labels=("≤ .001", ".01", ".1", "1"))
    bar.ax.minorticks_off()


def _map(axes: Axes, runs: list[Result], values: np.ndarray, **how: Any) -> Any:
    """Draw values (scale, angle) as even tiles, whatever the steps of the axes are."""
    angles, scales = runs[0].cell.angles, [r.cell.scale for r in runs]
    mesh = axes.pcolormesh(values, edgecolors="white", linewidth=0.5, **how)
    step = 1 if len(angles) < 6 else 2
    axes.set_xticks(np.arange(len(angles))[::step] + 0.5, [f"{a:.0f}°" for a in angles][::step])
    axes.set_yticks(np.arange(len(scales)) + 0.5, [f"{s:g}" for s in scales])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return mesh


def _condition(result: Result) -> np.ndarray:
    """Return which starts have the dominance that speaks of their kind: matrix for linear nets, neuron for ReLU."""
    return np.asarray(result.data["neuron" if result.cell.relu else "matrix"].values, dtype=bool)


def _promised(axes: Axes, runs: list[Result]) -> None:
    """Dots where every start is dominated, rings where some are."""
    for row, run in enumerate(runs):
        part = _condition(run).mean(0)
        for column, x in enumerate(part):
            if x > 0:
                fill = "white" if x == 1 else "none"
                axes.plot(
                    column + 0.5, row + 0.5, "o", markersize=4, color=fill, markeredgecolor="white", markeredgewidth=1
                )


def _count(results: list[Result], dominated: bool) -> Counts:
    """Return what became of the starts that are dominated, or of those that are not."""
    kept = [_condition(r) == dominated for r in results]
    falls, left = ([r.data[name].values for r in results] for name in ("falls", "left"))
    return Counts(
        sum(int(k.sum()) for k in kept),
        sum(int(f[k].sum()) for f, k in zip(falls, kept, strict=True)),
        sum(int((x[k] <= LEARNT).sum()) for x, k in zip(left, kept, strict=True)),
    )


def _told(results: list[Result]) -> str:
    """Return the counts of one kind of net."""
    relu, p = results[0].cell.relu, results[0].cell.images.outputs
    name = f"{'ReLU' if relu else 'linear'}, {'one output' if p == 1 else f'{p} classes'}"
    name, (yes, no) = name[0].upper() + name[1:], (_count(results, dominated) for dominated in (True, False))
    return f"{name}: of the dominated starts {yes}; of the others {no}"


def _caption(path: Result, phases: list[Result], shown: list[Result], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    cell, phase, data = path.cell, shown[0].cell, path.data
    kinds = dict.fromkeys((r.cell.relu, r.cell.images.outputs) for r in phases)
    counts = ". ".join(_told([r for r in phases if (r.cell.relu, r.cell.images.outputs) == kind]) for kind in kinds)
    several = [r for r in phases if not r.cell.relu and r.cell.images.outputs > 1]
    lyapunov = [r.data["lyapunov"].values[_condition(r)] for r in several]
    total, fell = sum(v.size for v in lyapunov), sum(int(v.sum()) for v in lyapunov)
    mu = data["mu"].min("time")
    peak = float((data["loss"].max("time") / data["loss"][0]).sel(start="opposed"))
    kappa = float(data["kappa"].sel(start="dominated")[0].min())
    drift = float((data["kappa"][0] - data["kappa"]).max())
    sets = ", ".join(dict.fromkeys(SETS[r.cell.images.data] for r in phases))
    more = " The full preset adds MNIST, scales, angles and draws." if fast else ""
    return f"""What to see. (a) One ReLU net with one output from three starts that share W_1 and every |a_k|: with \
the signs of the feedback (alignment dominates: κ_k = a_kb_k − ½‖w_k‖² ≥ {kappa:.3f}), with random signs, with \
opposite signs. The first loss falls throughout; the last one rises to {peak:.2g} times its start, and yet all three \
learn: the condition is sufficient, not necessary. (b) a_kb_k of every neuron; those of the dominated start stay \
above their κ_k (dashed: the least κ_k of the first and of the last start, constant). (c) μ = Σ⟨U_l, −∇_l⟩/Σ‖∇_l‖², \
at least {float(mu[0]):.2g}, {float(mu[1]):.2g} and {float(mu[2]):.2g}. (d) −dL/dt of the dominated start and what κ \
proves of it, κΣ‖q_k‖² + ‖∇_aL‖². (e–h) The part of starts from which the loss falls at every step, by the scale of \
the start and by the angle between read-out and feedback; dots: every start is dominated (linear nets: C_1 ⪯ 0 on \
range Bᵀ; ReLU: every κ_k ≥ 0), rings: some are. (i–l) What is left of the loss at the end, median; of linear nets \
above the least, of ReLU nets above zero, which {cell.hidden} units may not reach. In numbers, over {sets} and all \
scales and angles ("learnt": at most {100 * LEARNT:.0f} % is left). {counts}. With several outputs no theorem speaks \
of L itself; the potential ½E‖Bᵀ(y − f)‖² of the linear nets fell on {fell} of {total} dominated starts, as it must.

What was run. The first {cell.images.samples} images of {SETS[cell.images.data]}, \
{cell.images.side}×{cell.images.side}, white; squared loss; even against odd digits (±1), or ten classes one-hot; \
{cell.hidden} hidden units without bias; B with entries ±1. (a–d) W_1 ~ N(0, {cell.scale:g}²/n_0), |a_k| = \
{1 + cell.margin:g}·½‖w_k‖², {cell.steps} steps of η = {cell.rate:g}; steps lower κ_k by exactly ½η²‖U_1[k,:]‖², \
{drift:.0e} in all, and this account is kept to {float(data["unexplained"].max()):.0f} units of rounding. (e–l) W_1 \
~ N(0, s²/n_0), ‖W_2‖ = s‖B‖, {phase.draws} draws, {phase.steps} steps of η = {phase.rate:g}.{more}

Whose it is. Alignment dominance and its sufficiency are claims of Robertson & Koyejo (2024), read in abstract only; \
the formulas, the diagrams and every setting are ours."""


FIGURE = Figure(
    name="dominance",
    title="Alignment dominance: sufficient, not necessary",
    paper="Robertson & Koyejo 2024",
    claim=STUDY.claim,
    alt=(
        "Twelve panels. a: losses of one net from three starts; the dominated one falls throughout, the opposed one "
        "rises first; all end low. b: a_k b_k of all neurons, those of the dominated start above its dashed kappa. c: "
        "mu over time, negative at first for the opposed start. d: the fall of the loss above its dashed bound. e to "
        "h: maps of scale against angle of the start; the loss falls at small angles, where dots mark dominance, and "
        "not at 180 degrees. i to l: maps of the loss left at the end, lowest at small angles."
    ),
    draw=draw,
)
