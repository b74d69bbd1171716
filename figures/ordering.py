"""Figure `ordering`: large components first from one start, small ones first from another, and what finite steps do."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.slope import slope
from linfa.closed_forms import AlignedModes, ZeroStart
from sims.ordering import ATOL, FRACTION, RTOL, STARTS, STUDY, TABLE, Halves, Learning, Steps
from sims.study import Result

LOOKS = {"zero": "fa", "anti": "usf"}
"""The rule whose colour and marker each start borrows."""

NAMES = {"zero": "zero start", "anti": f"K = {STARTS['anti'][1]:g}, θ₁(0) = {STARTS['anti'][0]:g}".replace("-", "−")}

DEPTHS = {2: "fa", 3: "dfa", 4: "kp"}
"""The same for depths."""

TARGETS = {0.5: "s", 2.0: "^", 6.0: "D"}
"""The marker of each target of the panels on finite steps."""

SHADES = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, len(TABLE)))
"""From dark, small λ, to light, large λ."""


class Seen(NamedTuple):
    """What the caption says of the panels."""

    apart: float
    """The largest distance of a simulated s/λ from the closed form."""
    soonest: tuple[float, float]
    """The λ that is learnt first from the second start, and how much longer the smallest λ of the axis takes."""
    late: float
    """The largest distance of a simulated learning time from the closed form."""
    slopes: dict[tuple[int, float], float]
    """The slopes of panel c, by depth and scale of the start."""
    factors: float
    """The largest distance of a factor from 1 − ηr."""
    holds: tuple[float, float]
    """The largest ηr that held a nudge, the least that did not."""
    ends: tuple[float, float]
    """The largest η, in units of 1/r, at which training from zero converged, the least at which it diverged."""
    reached: float
    """The largest η times the rate at the end."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the six panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 7.0)
    grid = sheet.add_gridspec(3, 2)
    first, second, times, halves, factors, ends = (sheet.add_subplot(part) for part in grid)
    learning, half, steps = ([r for r in results if isinstance(r.cell, kind)] for kind in (Learning, Halves, Steps))
    pairs = zip((first, second), ("a", "a′"), learning, strict=True)
    apart = max(_trajectories(axes, letter, result) for axes, letter, result in pairs)
    (soonest, late), slopes = _times(times, learning), _halves(halves, half)
    off, holds = _factors(factors, steps)
    seen = Seen(apart, soonest, late, slopes, off, holds, *_ends(ends, steps))
    shades = [Line2D([], [], color=c, linewidth=1.5, label=f"λ = {x:g}") for x, c in zip(TABLE, SHADES, strict=True)]
    lines = [Line2D([], [], label="closed form", **style.THEORY)]
    lines += [Line2D([], [], label="threshold", **style.ROUNDING)]
    sheet.legend(handles=shades + lines, loc="outside lower center", ncols=5)
    return sheet, _caption(results, seen, fast)


def closed_form(result: Result) -> AlignedModes:
    """Return the closed form of a network's modes."""
    theta, constant = STARTS[result.cell.start]
    return AlignedModes.with_constant(np.array(result.cell.targets), 1.0, theta, constant)


def _trajectories(axes: Axes, letter: str, result: Result) -> float:
    """Panels a, a′: what is learnt of each component. Return the largest distance from the closed form."""
    style.letter(axes, letter, f"what is learnt, {NAMES[result.cell.start]}")
    data, closed = result.data, closed_form(result)
    t, exact = data["time"].values, closed.strength(data["time"].values)
    for x, color in zip(TABLE, SHADES, strict=True):
        i = result.cell.targets.index(x)
        axes.plot(t, data["strength"][:, i] / x, **style.SIMULATION | {"linewidth": 2.2}, color=color)
        if result.cell.start == "zero":
            # t(φ) of PowerFlow, from the start to all but the last ten-thousandth.
            flow = closed.from_zero(i)
            phi = float(flow.limit[0]) * np.linspace(0, 0.9999, 200)
            axes.plot(flow.time(phi[:, None])[:, 0], flow.damping * phi**flow.degree / x, **style.THEORY)
        else:
            axes.plot(t, exact[:, i] / x, **style.THEORY)
    axes.set(xlabel="time", ylabel="s/λ = θ₁θ₂/λ", xlim=(0, 5 if result.cell.start == "zero" else 10))
    return float(np.max(np.abs(data["strength"].values - exact) / data["mode"].values))


def _times(axes: Axes, results: list[Result]) -> tuple[tuple[float, float], float]:
    """Panel b: learning time against λ. Return what is learnt soonest, and the distance from the closed form."""
    style.letter(axes, "b", f"time until {100 * (1 - FRACTION):g} % of λ is learnt")
    late = []
    for result in results:
        cell, learnt = result.cell, result.data["learnt"].values
        theta, constant = STARTS[cell.start]
        x = np.geomspace(min(cell.targets), max(cell.targets), 300)
        line = AlignedModes.with_constant(x, 1.0, theta, constant)
        exact = line.learning_times(FRACTION)
        axes.loglog(x, exact, **style.THEORY)
        axes.loglog(
            cell.targets,
            learnt,
            **style.look(LOOKS[cell.start]) | {"label": NAMES[cell.start], "markersize": 5},
            zorder=5,
        )
        late.append(float(np.max(np.abs(learnt - closed_form(result).learning_times(FRACTION)))))
    threshold = float(line.thresholds[0])
    axes.axvline(threshold, **style.ROUNDING)
    axes.text(threshold * 1.06, 0.42, rf"$\lambda_c$ = {threshold:.3f}", ha="left", va="bottom")
    axes.set(xlabel="target λ", ylabel="time", ylim=(0.4, 20))
    ticks = (0.2, 0.5, 1, 2, 5)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.02), borderaxespad=0.1)
    return (float(x[np.argmin(exact)]), float(exact[0] / exact.min())), max(late)


def _halves(axes: Axes, results: list[Result]) -> dict[tuple[int, float], float]:
    """Panel c: half-time against σ at several depths. Return the slopes."""
    style.letter(axes, "c", "time until half of σ is learnt")
    slopes = {}
    for result in results:
        cell, half = result.cell, result.data["half"].values
        found = slope(cell.targets, half, "the slope of half-times")
        slopes[cell.depth, cell.scale] = found
        start = f"from scale {cell.scale:g}" if cell.scale else "from zero"
        look = style.look(DEPTHS[cell.depth]) | {"label": f"L = {cell.depth} {start}: slope {_minus(found, 3)}"}
        if cell.scale:
            look |= {"markerfacecolor": "none", "markeredgecolor": look["color"], "markeredgewidth": 0.8}
            look |= {"markersize": 6}
        else:
            flow = ZeroStart(cell.targets, np.ones(cell.depth - 1)).flow
            axes.loglog(cell.targets, flow.half_time(), **style.THEORY)
        axes.loglog(cell.targets, half, **look, zorder=5)
    axes.set(xlabel="singular value σ of the target", ylabel="time")
    top = axes.get_ylim()[1]
    axes.set(ylim=(None, top * 10 ** (len(results) / 4)))
    axes.legend(loc="upper right")
    return slopes


def _factors(axes: Axes, results: list[Result]) -> tuple[float, tuple[float, float]]:
    """Panel d: the error's factor per step at rest. Return its distance from 1 − ηr, and which steps hold a nudge."""
    style.letter(axes, "d", "one step next to the rest: factor of the error")
    held, lost, off = [], [], []
    for result in results:
        x, factor, stays = (result.data[name].values for name in ("size", "factor", "stays"))
        off.append(np.max(np.abs(factor - (1 - x))))
        held, lost = held + x[stays].tolist(), lost + x[~stays].tolist()
        look = _target(result.cell.target)
        axes.plot(x[stays], np.abs(factor[stays]), **look)
        axes.plot(x[~stays], np.abs(factor[~stays]), **look | {"markerfacecolor": "white", "label": None})
    x = np.linspace(0, 3, 301)
    axes.plot(x, np.abs(1 - x), **style.THEORY)
    axes.axvline(2, **style.ROUNDING)
    axes.text(1.95, 1.9, "holds a nudge", ha="right", va="top")
    axes.text(2.05, 0.1, "loses it", ha="left", va="bottom")
    axes.legend(loc="upper left", bbox_to_anchor=(0.16, 0.88))
    axes.set(xlabel="step size η × rate r", ylabel="|e₁/e₀|", xlim=(0, 3), ylim=(0, 2))
    return float(max(off)), (max(held), min(lost))


def _ends(axes: Axes, results: list[Result]) -> tuple[tuple[float, float], float]:
    """Panel e: the rate where training from zero ends. Return which steps converge, and the largest η × that rate."""
    style.letter(axes, "e", "training from zero: rate at the end")
    done, lost, reached = [], [], []
    for result in results:
        x, end = result.data["size"].values, result.data["end"].values / float(result.data["rate"])
        fine = np.isfinite(end)
        done, lost, reached = done + x[fine].tolist(), lost + x[~fine].tolist(), reached + (x * end)[fine].tolist()
        look = _target(result.cell.target)
        axes.plot(x[fine], end[fine], **look)
        axes.plot(x[~fine], np.full(np.sum(~fine), 1.9), linestyle="none", marker="x", color="black", markersize=3.5)
    x = np.linspace(1, 3, 201)
    axes.plot(x, 2 / x, **style.THEORY)
    axes.axhline(1, **style.ROUNDING)
    axes.text(2.2, 2 / 2.2 - 0.06, "2/η", ha="right", va="top")
    axes.text(2.95, 1.02, "rate r of the flow", ha="right", va="bottom")
    axes.text(2.95, 1.82, "diverged", ha="right", va="top")
    axes.set(xlabel="step size η × rate r of the flow", ylabel="rate at the end, × 1/r", xlim=(0, 3), ylim=(0.6, 2))
    return (max(done), min(lost)), max(reached)


def _target(target: float) -> dict[str, Any]:
    """Return how a target looks in the panels on finite steps."""
    color, place = SHADES[TABLE.index(target)], list(TARGETS).index(target)
    return {
        "linestyle": "none",
        "marker": TARGETS[target],
        "color": color,
        "markeredgecolor": color,
        "markeredgewidth": 0.8,
        "markersize": 2.2 + 2.0 * place,
        "zorder": 7 - place,  # the smallest on top of the largest
        "label": f"λ = {target:g}",
    }


def _minus(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−")


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    learning, half, steps = (
        [r.cell for r in results if isinstance(r.cell, kind)] for kind in (Learning, Halves, Steps)
    )
    orders = {r.cell.start: r.data["learnt"].sel(mode=list(TABLE)).values for r in results if r.cell in learning}
    table = "; ".join(f"{NAMES[s]}: {', '.join(f'{t:.3f}' for t in times)}" for s, times in orders.items())
    smallest, targets = min(learning[0].targets), ", ".join(f"{x:g}" for x in TABLE)
    depths = ", ".join(str(depth) for depth in dict.fromkeys(c.depth for c in half))
    last = TABLE[int(np.argmax(orders["anti"]))]
    slopes = "; ".join(
        f"L = {L}{f' from scale {scale:g}' if scale else ''} {_minus(found, 4)}, predicted "
        f"{_minus(1 / (2**L - 1) - 1, 4)}"
        for (L, scale), found in seen.slopes.items()
    )
    more = "" if not fast else " The full preset has wider networks, more components, a fourth depth and finer steps."
    return f"""What to see. (a, a′) What a network has learnt of components of several sizes λ at once; dashed the \
closed form, in (a) its t(φ), from which the simulation is at most {seen.apart:.0e} away. From zero, the larger a \
component the sooner it is learnt; from the other start those shown below λ_c are learnt smallest first, and near λ_c \
learning almost stops; what is larger is nearly learnt, forgotten and learnt again. (b) The same as times; in the \
order λ = {targets}, {table}. The last one from the second start is λ = {last:g}, the first λ = {seen.soonest[0]:.2f}: \
what is smaller still has to unlearn more of its start, relative to its size, and λ = {smallest:g} takes \
{seen.soonest[1]:.2f} times as long. Just above λ_c the error passes below {100 * FRACTION:g} % of λ already in the \
bottleneck, whence the jump of the line. Simulation and closed form differ by at most {seen.late:.0e}. (c) Half-times \
are powers of σ; slopes: {slopes}. What is predicted is the zero start. (d) Next to a rest one step multiplies the \
error by 1 − ηr, within {seen.factors:.0e}; every step up to ηr = {seen.holds[0]:g} held a nudge of {steps[0].nudge:g} \
for {steps[0].steps} steps, every step from {seen.holds[1]:g} on lost it (hollow to the right of the line). (e) That \
the flow's rest is stable is not enough: training from zero by finite steps ends at a higher rate than the flow does, \
since steps raise W_1W_1ᵀ relative to its law. It converged up to η = {seen.ends[0]:g}/r and diverged from \
{seen.ends[1]:g}/r on; where it converged, η times the rate at the end was at most {seen.reached:.3f} < 2.

What was run. Two layers, whitened inputs, weights, feedback (c = 1) and target with common singular vectors; every \
weight of networks with {learning[0].hidden} hidden units, {len(learning[0].targets)} components, DOP853 at relative \
tolerance {RTOL:g}, absolute {ATOL:g}. (c) Depths {depths}, hidden width {half[0].hidden}, feedback paths with \
orthonormal columns. (d, e) One component, {steps[0].hidden} hidden units, full batch.{more}

Whose it is. That components are learnt one after the other, and that starts exist which learn negligible ones first, \
is Girotti, Mitliagkas & Gidel's (2021), in whose setting this is; the values, the threshold, the power of σ at any \
depth and panel e are our statement."""


FIGURE = Figure(
    name="ordering",
    title="Which components are learnt first",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Six panels. a and a′: learning curves of eight components, from zero large ones rise first, from the other "
        "start the small ones do and one near the threshold lingers; dashed closed forms on top. b: learning times "
        "against the size of the component, falling from zero, rising to a peak at the threshold and falling after it "
        "from the other start. c: half-times on straight lines of slopes minus two thirds and minus six sevenths. d: "
        "the factor per step on the line |1 − x|, stable up to two. e: rates at the end rising above the flow's until "
        "they meet the line two over the step size."
    ),
    draw=draw,
)
