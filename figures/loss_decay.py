"""Figure `loss_decay`: how fast losses fall from starts of chosen margin, and the curves that are proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.loss_decay import KINDS, STUDY
from sims.study import Result

SHADES = ("#88bbdd", "#0072b2", "#003355")
"""Of feedback alignment's blue, for growing κ."""

MARKERS = ("v", "s", "^")

HEADS = {
    "scalar": "squared, one output",
    "lyapunov": "squared, ten outputs",
    "average": "squared, opposed start",
    "exponential": "exponential loss",
    "logistic": "logistic loss",
}


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return seven panels and their caption."""
    results = collect(STUDY)
    shown = [r for r in results if r.cell.images == results[-1].cell.images]
    sheet = style.sheet(style.DOUBLE, 3.9)
    grid = sheet.add_gridspec(2, 4)
    panels = {kind: sheet.add_subplot(grid[divmod(i, 4)]) for kind, i in zip(KINDS, (0, 1, 2, 4, 5), strict=True)}
    for (kind, axes), name in zip(panels.items(), "abcde", strict=True):
        style.letter(axes, name, HEADS[kind])
        _decay(axes, [r for r in shown if r.cell.kind == kind])
    panels["scalar"].set_ylabel("(L − L*) / (L₀ − L*)")
    panels["lyapunov"].set_ylabel("(V − V*) / (V₀ − V*)")
    panels["average"].set(ylabel="least L so far − L*", ylim=(1e-8, None))
    panels["exponential"].set_ylabel("loss L")
    _exponents(sheet.add_subplot(grid[1, 2]), shown)
    _constants(sheet.add_subplot(grid[1, 3]), shown)
    keys = sheet.add_subplot(grid[0, 3])
    keys.axis("off")
    keys.legend(*_keys(panels["average"]), loc="center", handlelength=2.6)
    return sheet, _caption(results, shown, fast)


def _keys(axes: Axes) -> tuple[list[Any], list[str]]:
    """Return what the legend explains: margins, the bound, and the two lines of the last panels."""
    handles, labels = axes.get_legend_handles_labels()
    grey: dict[str, Any] = {"color": "#666666", "linewidth": 1.3}
    more = [
        Line2D([], [], **style.THEORY),
        Line2D([], [], **grey),
        Line2D([], [], **grey | {"linestyle": (0, (1, 1))}),
    ]
    return [*handles, *more], [*labels, "proved bound", "f, g: exponential", "f, g: logistic"]


def _decay(axes: Axes, runs: list[Result]) -> None:
    """Draw medians over starts, their range, and dashed the bounds; in units of κt where one bound serves for three."""
    straight = runs[0].cell.kind in ("scalar", "lyapunov")
    for run, color, marker in zip(runs, SHADES, MARKERS, strict=True):
        data, kappa = run.data, run.cell.kappa
        x, unit = (kappa * data["time"], data["bound"].isel(time=0)) if straight else (data["time"], 1.0)
        how = {"color": color, "marker": marker, "markeredgecolor": "white", "label": f"κ = {kappa:g}"}
        measured = (data["measured"] / unit).transpose("seed", "time")
        axes.fill_between(x, measured.min("seed"), measured.max("seed"), color=color, alpha=0.25, linewidth=0)
        axes.semilogy(x, measured.median("seed"), **how, markevery=12, **style.SIMULATION)
        axes.semilogy(x, (data["bound"] / unit).min("seed"), **style.THEORY)
    if straight:
        axes.set(xlabel="κ t", ylim=(1e-9, 3))
    else:
        axes.set(xscale="log", xlabel="time t")


def exponents(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle times, and −d ln L/d ln t between moments by seed."""
    t, loss = np.log(result.data["time"].values), np.log(result.data["measured"].transpose("seed", "time").values)
    return np.exp((t[1:] + t[:-1]) / 2), -np.diff(loss) / np.diff(t)


def _separable(axes: Axes, results: list[Result], curve: Callable[[Result], tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw a curve of both separable losses for every margin, the median over starts."""
    for kind, line in (("exponential", "-"), ("logistic", (0, (1, 1)))):
        for run, color in zip([r for r in results if r.cell.kind == kind], SHADES, strict=True):
            t, values = curve(run)
            axes.semilogx(t, np.median(values, axis=0), color=color, linestyle=line, linewidth=1.3)
    axes.axhline(1, **style.THEORY)
    axes.set_xlabel("time t")


def _exponents(axes: Axes, results: list[Result]) -> None:
    """Panel f: how fast both separable losses fall at each time, as a power of t."""
    style.letter(axes, "f", "which power of t")
    _separable(axes, results, exponents)
    axes.set(ylabel="−d ln L / d ln t", ylim=(0, None))


def _constants(axes: Axes, results: list[Result]) -> None:
    """Panel g: the constant in L̇ = −cγ²⟨W_2, B⟩L² at each time."""
    style.letter(axes, "g", "which constant")
    _separable(axes, results, _constant)
    axes.axhline(3, **style.ROUNDING)
    axes.set(ylabel="−L̇ / (γ²⟨W₂, B⟩L²)", yscale="log")
    axes.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    axes.minorticks_off()


def _constant(result: Result) -> tuple[np.ndarray, np.ndarray]:
    return result.data["time"].values, result.data["constant"].transpose("seed", "time").values


def _span(values: list[Any], form: str) -> str:
    """Return the least and the largest of some numbers, in words."""
    whole = np.concatenate([np.ravel(v) for v in values])
    return f"{whole.min():{form}} to {whole.max():{form}}"


def _caption(results: list[Result], shown: list[Result], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    ratio = max(float((r.data["measured"] / r.data["bound"]).max()) for r in results)
    last = {r.cell.kind: r for r in shown if r.cell.kappa == max(s.cell.kappa for s in shown)}
    tight = {
        kind: _measured_rate(r) / r.data["rate"].values for kind, r in last.items() if kind in ("scalar", "lyapunov")
    }
    runs = {kind: [r for r in shown if r.cell.kind == kind] for kind in ("exponential", "logistic")}
    both = [*runs["exponential"], *runs["logistic"]]
    ends = _span([exponents(r)[1][:, -1] for r in both], ".3f")
    gaps, weak = (
        _span([(r.data["bound"] / r.data["measured"]).isel(time=-1) for r in runs[kind]], form)
        for kind, form in (("exponential", ".0f"), ("logistic", ".0e"))
    )
    least = min(float(r.data["constant"].min()) for r in results if r.cell.kind == "exponential")
    constants = _span([r.data["constant"].isel(time=-1) for r in both], ".2f")
    decades = np.log10(
        last["exponential"].data["measured"].isel(time=0) / last["exponential"].data["measured"].isel(time=-1)
    )
    cell = last["scalar"].cell
    sets = "; ".join(
        f"{SETS[i.data]}, {i.samples} images at most, {i.side}×{i.side}"
        for i in dict.fromkeys(r.cell.images for r in results)
    )
    time = last["exponential"].cell.t
    starts = (
        "one start" if cell.seeds == 1 else f"{cell.seeds} starts and feedbacks of every kind (median; shade: range)"
    )
    more = " The full preset adds MNIST, runs longer and from several starts." if fast else ""
    kept = "No measurement" if ratio <= 1 + 1e-6 else "Some measurement"
    return f"""What to see. Solid: the flow of two linear layers under feedback alignment on \
{SETS[cell.images.data]}; dashed: what is proved at its start. {kept} exceeds its bound (the least over starts is \
drawn; largest ratio \
{ratio:.6f}, at t = 0 where they are equal). (a) Squared loss, one output: at least e^{{−2κλt}}; at κ = \
{cell.kappa:g} the whole run falls \
{np.mean(tight["scalar"]):.2f} times as fast as that, at small κ, where alignment is yet to grow, much faster. (b) Ten \
outputs: not the loss but V = ½E‖Bᵀ(y − f)‖² is known to fall, at least as e^{{−κλt}} \
({np.mean(tight["lyapunov"]):.2f} times that rate). (c) From read-outs opposed to the feedback nothing of this holds; \
the least loss so far still falls at least as K/t, and in fact exponentially. (d, e) Exponential and logistic loss on \
separable data, over {float(decades.mean()):.0f} decades of loss: below L_0/(1 + cL_0t). (f) Both fall nearly as 1/t: \
the \
exponent −d ln L/d ln t is {ends} in the end, above one because ⟨W_2, B⟩ = ½‖W_1‖² + κ keeps growing. (g) With that \
alignment in place of the one at the start the constant is right up to a factor: −L̇ is never less than {least:.2f} \
γ²⟨W_2, B⟩L² for the exponential loss (1 is proved) and ends at {constants} times that for both, where 3 (dotted) \
is what W_1 and E along the widest direction give. At the end the bound by the start alone is {gaps} times the \
exponential loss, and {weak} times the logistic one: its constant pays for the worst sample with (NL_0)².

What was run. {sets}, centred; 0 against 1 (a, c–g), white for the squared loss (λ = 1), of mean square norm one \
otherwise, u of the widest margin γ; ten classes one-hot (b). {cell.hidden} hidden units, B ~ N(0, 1/n), {starts}. W_1 \
~ N(0, s²/n_0), s = {cell.scale:g} (a, d–g), {last["average"].cell.scale:g} (c), 0 (b); W_2 along B with κ = −½ tr C_1 \
as stated (b: W_2 = cB with κ = −λ_max(C_1) on range Bᵀ; c: W_2 = −κB/‖B‖²). DOP853 at rtol 1e-10, to t = {time:.0e} \
(d–g).{more}

Whose it is. Convergence under alignment dominance for exponentially decaying losses on separable data is a claim of \
Robertson & Koyejo (2024), read in abstract only; constants, proofs and settings are ours (linfa.conditions.rates)."""


def _measured_rate(result: Result) -> np.ndarray:
    """Return the mean rate of the whole run by seed, −ln(end/start)/t."""
    measured, t = result.data["measured"].transpose("seed", "time").values, result.data["time"].values
    return np.asarray(-np.log(measured[:, -1] / measured[:, 0]) / (t[-1] - t[0]))


FIGURE = Figure(
    name="loss_decay",
    title="How fast the loss falls, and how fast it must",
    paper="Robertson & Koyejo 2024",
    claim=STUDY.claim,
    alt=(
        "Seven panels. a, b: excess losses falling exponentially for three margins, all below one dashed straight line "
        "that the run with the largest margin nearly follows. c: the least loss so far from opposed starts, below "
        "dashed lines of slope minus one. d, e: exponential and logistic losses on logarithmic axes, below dashed "
        "bounds. f: the slopes of d and e, which settle slightly above one. g: the constant of their decay, above one, "
        "which settles below three."
    ),
    draw=draw,
)
