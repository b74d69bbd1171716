"""Figure `loss_decay`: how fast losses fall from starts of chosen margin, and the curves that are proved."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from figures import style
from figures.figure import Collect, Figure
from sims.loss_decay import KINDS, STUDY
from sims.study import Result

SHADES = ("#88bbdd", "#0072b2", "#003355")
"""Of feedback alignment's blue, for growing κ."""

MARKERS = ("v", "s", "^")

IMAGES = {"digits": "digits", "mnist": "MNIST"}


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return six panels and their caption."""
    results = collect(STUDY)
    shown = [r for r in results if r.cell.images == results[-1].cell.images]
    sheet = style.sheet(style.DOUBLE, 4.4)
    grid = sheet.add_gridspec(2, 3)
    panels = {kind: sheet.add_subplot(grid[divmod(i, 3)]) for i, kind in enumerate(KINDS)}
    for (kind, axes), name in zip(panels.items(), "abcde", strict=True):
        style.letter(axes, name, KINDS[kind])
        _decay(axes, [r for r in shown if r.cell.kind == kind])
    panels["scalar"].set_ylabel("(L − L*) / (L₀ − L*)")
    panels["lyapunov"].set_ylabel("(V − V*) / (V₀ − V*)")
    panels["average"].set_ylabel("least L so far − L*")
    panels["exponential"].set_ylabel("L")
    panels["logistic"].set_ylabel("L")
    panels["average"].legend(loc="lower left")
    panels["average"].set_ylim(1e-8, None)
    _exponents(sheet.add_subplot(grid[1, 2]), shown)
    return sheet, _caption(results, shown, fast)


def _decay(axes: Axes, runs: list[Result]) -> None:
    """Draw measurements, and dashed their bounds; in units of κt where that makes one straight bound of three."""
    straight = runs[0].cell.kind in ("scalar", "lyapunov")
    for run, color, marker in zip(runs, SHADES, MARKERS, strict=True):
        data, kappa = run.data, run.cell.kappa
        x, unit = (kappa * data["time"], float(data["bound"][0])) if straight else (data["time"], 1.0)
        how = {"color": color, "marker": marker, "markeredgecolor": "white", "label": f"κ = {kappa:g}"}
        axes.semilogy(x, data["measured"] / unit, **how, markevery=12, **style.SIMULATION)
        axes.semilogy(x, data["bound"] / unit, **style.THEORY)
    if straight:
        axes.set(xlabel="κ t", ylim=(1e-9, 3))
    else:
        axes.set(xscale="log", xlabel="time t")


def exponents(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle times and −d ln L/d ln t between moments."""
    t, loss = np.log(result.data["time"].values), np.log(result.data["measured"].values)
    return np.exp((t[1:] + t[:-1]) / 2), -np.diff(loss) / np.diff(t)


def _exponents(axes: Axes, results: list[Result]) -> None:
    """Panel f: how fast both separable losses fall at each time, as a power of t."""
    style.letter(axes, "f", "separable: the exponent")
    for kind, line in (("exponential", "-"), ("logistic", (0, (1, 1)))):
        for run, color in zip([r for r in results if r.cell.kind == kind], SHADES, strict=True):
            axes.semilogx(*exponents(run), color=color, linestyle=line, linewidth=1.3)
    axes.axhline(1, **style.THEORY)
    axes.plot([], [], color=SHADES[1], label="exponential")
    axes.plot([], [], color=SHADES[1], linestyle=(0, (1, 1)), label="logistic")
    axes.legend(loc="lower right")
    axes.set(xlabel="time t", ylabel="−d ln L / d ln t")


def _caption(results: list[Result], shown: list[Result], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    ratio = max(float((r.data["measured"] / r.data["bound"]).max()) for r in results)
    last = {r.cell.kind: r for r in shown if r.cell.kappa == max(s.cell.kappa for s in shown)}
    tight = {
        kind: _measured_rate(r) / float(r.data["rate"]) for kind, r in last.items() if kind in ("scalar", "lyapunov")
    }
    ends = [float(exponents(r)[1][-1]) for r in shown if r.cell.kind in ("exponential", "logistic")]
    gaps = [float((r.data["bound"] / r.data["measured"])[-1]) for r in shown if r.cell.kind == "exponential"]
    weak = [float((r.data["bound"] / r.data["measured"])[-1]) for r in shown if r.cell.kind == "logistic"]
    cell = last["scalar"].cell
    sets = "; ".join(
        f"{IMAGES[i.data]}, {i.samples} images at most, {i.side}×{i.side}"
        for i in dict.fromkeys(r.cell.images for r in results)
    )
    time = last["exponential"].cell.t
    more = " The full preset adds MNIST and runs longer." if fast else ""
    return f"""What to see. Solid: the flow of two linear layers under feedback alignment; dashed: what is proved at \
its start. No measurement exceeds its bound (largest ratio {ratio:.6f}, at t = 0 where they are equal). (a) Squared \
loss, one output: at least e^{{−2κλt}}; at κ = {cell.kappa:g} the whole run falls {tight["scalar"]:.2f} times as \
fast as that, at small κ, where alignment is yet to grow, much faster. (b) Ten outputs: not the loss but V = ½E‖Bᵀ(y \
− f)‖² is known to fall, at least as e^{{−κλt}} ({tight["lyapunov"]:.2f} times that rate). (c) From read-outs \
opposed to the feedback nothing of this holds; the least loss so far still falls at least as K/t, and in fact \
exponentially. (d, e) Exponential and logistic loss on separable data: below L_0/(1 + cL_0t). Both fall a little \
faster than 1/t: (f) the exponent −d ln L/d ln t is {min(ends):.2f} to {max(ends):.2f} in the end, because ⟨W_2, B⟩ \
= ½‖W_1‖² + κ keeps growing. At the end the bound is {min(gaps):.0f} to {max(gaps):.0f} times the exponential loss, \
and {min(weak):.0e} to {max(weak):.0e} times the logistic one: its constant pays for the worst sample with (NL_0)².

What was run. {sets}, centred; 0 against 1 (a, c–e), white for the squared loss (λ = 1), of mean square norm one \
otherwise, u of the widest margin; ten classes one-hot (b). {cell.hidden} hidden units, B ~ N(0, 1/n). W_1 ~ N(0, \
s²/n_0), s = {cell.scale:g} (a, d, e), {last["average"].cell.scale:g} (c), 0 (b); W_2 along B with κ = −½ tr C_1 as \
stated (b: W_2 = cB with κ = −λ_max(C_1) on range Bᵀ; c: W_2 = −κB/‖B‖²). DOP853 at rtol 1e-10, to t = {time:.0e} \
(d, e).{more}

Whose it is. Convergence under alignment dominance for exponentially decaying losses on separable data is a claim of \
Robertson & Koyejo (2024), read in abstract only; constants, proofs and settings are ours (linfa.conditions.rates)."""


def _measured_rate(result: Result) -> float:
    """Return the mean rate of the whole run, −ln(end/start)/t."""
    measured, t = result.data["measured"].values, result.data["time"].values
    return float(-np.log(measured[-1] / measured[0]) / (t[-1] - t[0]))


FIGURE = Figure(
    name="loss_decay",
    title="How fast the loss falls, and how fast it must",
    paper="Robertson & Koyejo 2024",
    claim=STUDY.claim,
    alt=(
        "Six panels. a, b: excess losses falling exponentially for three margins, all below one dashed straight line "
        "that the run with the largest margin nearly follows. c: the least loss so far from opposed starts, below "
        "dashed lines of slope minus one. d, e: exponential and logistic losses on logarithmic axes, below dashed "
        "bounds. f: the slopes of d and e, which settle slightly above one."
    ),
    draw=draw,
)
