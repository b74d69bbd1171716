"""Figure `width`: the run of a wide network in a few small matrices, its cost, and where wider networks converge to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from figures import style
from figures.figure import Collect, Figure
from figures.slope import slope
from sims.study import Result
from sims.width import STUDY, Agreement, Cost, Limit, free_operations, full_operations

EPS = float(np.finfo(float).eps)

DEPTH = 3
"""The depth of panels c and d."""

SHIFT = 3
"""By which factor the curves of panel a are shifted apart."""

ASYMPTOTIC = 10**5
"""From which width on the slopes of panel c are measured: the next order, 1/n, no longer shows there."""

SHOWN = 3
"""How many networks panel d shows."""

IMAGES = {"digits": "digits", "mnist": "MNIST"}
"""The image sets as they are called."""

MARKERS = {"standard": "o", "ntk": "^", "mean-field": "s"}
"""The marker of each scaling."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the five panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 5.2)
    grid = sheet.add_gridspec(3, 2, height_ratios=(1.5, 0.9, 2))
    losses, apart, limit = (sheet.add_subplot(grid[row, 0]) for row in range(3))
    cost, members = sheet.add_subplot(grid[:2, 1]), sheet.add_subplot(grid[2, 1])
    seen = Seen(
        apart=_agreement(losses, apart, _agreements(results)),
        evaluations=_cost(cost, _digits(results, Cost)),
        slopes=_limit(limit, _digits(results, Limit)),
    )
    _members(members, _digits(results, Limit))
    origins = {
        "every weight, or finite width": style.SIMULATION | {"color": style.RULES["fa"].color},
        "width-free, or infinite width": style.THEORY,
        "rounding, ε of float64": style.ROUNDING,
    }
    sheet.legend(
        handles=[Line2D([], [], label=name, **how) for name, how in origins.items()],
        loc="outside lower center",
        ncols=3,
    )
    return sheet, _caption(results, seen, fast)


class Seen(NamedTuple):
    """What the caption says of the panels."""

    apart: float
    """The largest relative distance of the weights in panel a′."""
    evaluations: tuple[int, int]
    """The least and the most evaluations of a full run in panel b."""
    slopes: tuple[float, float]
    """The least and the most negative slope of panel c."""


def _digits(results: list[Result], kind: type) -> list[Result]:
    """Return the results of one kind of cell on digits."""
    return [r for r in results if isinstance(r.cell, kind) and r.cell.data == "digits"]


def _agreements(results: list[Result]) -> list[Result]:
    """Return the runs on the larger image set, where there are two."""
    found = [r for r in results if isinstance(r.cell, Agreement)]
    return [r for r in found if r.cell.data == found[-1].cell.data]


def _agreement(losses: Axes, apart: Axes, results: list[Result]) -> float:
    """Panels a and a′: both losses, and the distance of the weights. Return its largest value."""
    style.letter(losses, "a", f"{IMAGES[results[0].cell.data]}, mini-batches, momentum and decay")
    style.letter(apart, "a′", "distance of the weights, relative; worst layer")
    worst = []
    for i, result in enumerate(results):
        data, rule = result.data, result.cell.rule
        up = SHIFT ** (len(results) - 1 - i)
        losses.semilogy(data["step"], up * data["loss"], **style.look(rule, line=True), markevery=(i, 8))
        losses.semilogy(data["step"], up * data["width_free"], **style.THEORY)
        far = data["apart"].max("layer")
        worst.append(float(far.max()))
        apart.semilogy(data["step"], far.where(far > 0), **style.look(rule, line=True), markevery=(i, 8))
    apart.axhline(EPS, **style.ROUNDING)
    # A wrong picture would show here: the axis reaches up to where weights have nothing in common.
    apart.set(ylim=(1e-17, 10), yticks=(1e-16, 1e-8, 1), xlabel="step")
    losses.set(ylabel=f"loss; rules shifted by {SHIFT}×")
    losses.legend(loc="upper right", ncols=2)
    losses.tick_params(labelbottom=False)
    return max(worst)


def _cost(axes: Axes, results: list[Result]) -> tuple[int, int]:
    """Panel b: operations of one velocity against the width. Return the range of evaluations of the full runs."""
    style.letter(axes, "b", "operations of one velocity, (64, n, n, 10)")
    cells = [r.cell for r in results]
    n = np.geomspace(10, 1e9, 60)
    widths = [(64, *(int(h),) * (cells[0].depth - 1), 10) for h in n]
    axes.loglog(n, [full_operations(w) for w in widths], color=style.RULES["fa"].color, linewidth=1.5)
    axes.loglog(n, [free_operations(w) for w in widths], **style.THEORY)
    for i, how in enumerate((style.look("fa"), style.look("fa") | {"color": "black"})):
        axes.loglog([c.hidden for c in cells], [r.data["operations"].values[i] for r in results], **how, zorder=5)
    axes.text(3e5, full_operations((64, 10**5, 10**5, 10)), "every weight, ∝ n²", ha="left", va="center")
    axes.text(1e9, 1.6 * free_operations(widths[0]), "width-free", ha="right", va="bottom")
    axes.set(xlabel="hidden width n", xlim=(10, 1e9))
    counts = [int(r.data["evaluations"][0]) for r in results]
    return min(counts), max(counts)


def _limit(axes: Axes, results: list[Result]) -> tuple[float, float]:
    """Panel c: the distance from infinite width against the width. Return the range of measured slopes."""
    style.letter(axes, "c", "distance of the loss from infinite width")
    found = []
    for result in results:
        data, marker, shown = result.data, MARKERS[result.cell.scaling], result.cell.depth == DEPTH
        gap = data["gap"].isel(time=-1)
        x, top = data["hidden_width"].values, float(gap[-1])
        far = x >= ASYMPTOTIC
        found.append(slope(x[far], gap[far].values, f"the slope of {result.cell.scaling} scaling"))
        if shown:
            axes.loglog(x, top * np.sqrt(x[-1] / x), **style.THEORY)
        how = style.look("fa") | {"marker": marker, "markersize": 5 if shown else 2.5, "label": result.cell.scaling}
        axes.loglog(x, gap, **how, zorder=5)
    axes.set(xlabel="hidden width n", ylabel="root mean square, at the end")
    names = {name: Line2D([], [], **style.look("fa") | {"marker": m}) for name, m in MARKERS.items()}
    names["slope −½"] = Line2D([], [], **style.THEORY)
    axes.legend(list(names.values()), list(names), loc="lower left")
    return min(found), max(found)


def _members(axes: Axes, results: list[Result]) -> None:
    """Panel d: some networks of the standard scaling, narrow and wide, and their limits."""
    style.letter(axes, "d", f"{SHOWN} networks, standard scaling, and their limits")
    (result,) = (r for r in results if (r.cell.depth, r.cell.scaling) == (DEPTH, "standard"))
    data, last = result.data, result.cell.hidden[2]
    looks = {result.cell.hidden[0]: ("#88bbdd", "s"), last: (style.RULES["fa"].color, "o")}
    for width, (color, marker) in looks.items():
        for i in range(SHOWN):
            how = style.look("fa", line=True) | {"color": color, "marker": marker, "label": f"n = {width:,}"}
            loss = data["loss"].sel(hidden_width=width).isel(member=i)
            axes.semilogy(data["time"], loss, **how, markevery=(i, 5))
    for i in range(SHOWN):
        axes.semilogy(data["time"], data["limit"].isel(member=i), **style.THEORY)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::SHOWN], labels[::SHOWN], loc="upper right")
    # Labels of minor ticks crowd the axis where it spans less than two decades.
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="time, steps × η", ylabel="loss")


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    agree = _agreements(results)
    flows, limits = (_digits(results, kind) for kind in (Cost, Limit))
    cell, steps, limit = agree[0].cell, agree[0].cell.solver, limits[0].cell
    widths = "–".join(str(n) for n in cell.widths)
    rules = ", ".join(style.RULES[r.cell.rule].label for r in agree)
    hidden = [c.cell.hidden for c in flows]
    free, full = (f(cell.widths, 32) for f in (free_operations, full_operations))
    depths = sorted({r.cell.depth for r in limits})
    others = f" (small marks: depth {' and '.join(str(d) for d in depths if d != DEPTH)})" if len(depths) > 1 else ""
    more = " The full preset runs wider and deeper networks, and MNIST." if fast else ""
    return f"""What to see. (a) Losses of networks whose every weight was simulated, and on top of them the width-free \
runs of the same networks under the same mini-batches: Φ and R_l, of 10×{cell.widths[0]} and 10×10 numbers, in place \
of all weights. (a′) The weights that these stand for are the full ones within {seen.apart:.0e} of their norm. (b) \
Multiplications and additions in the matrix products of one velocity; points are the widths at which both were run, to \
the same tolerance, in {seen.evaluations[0]} to {seen.evaluations[1]} evaluations of the full system. The Gram \
matrices of a network that exists are made once, by one pass over its weights; those of a Gaussian network are drawn, \
at no cost in n. (c) Root mean square distance of the final loss from that of infinite width, over {limit.members} \
networks drawn with one seed at all widths; slopes from n = {ASYMPTOTIC:,} on {seen.slopes[0]:.3f} to \
{seen.slopes[1]:.3f}, theory −½. (d) Networks of the standard scaling differ at infinite width too, because their \
read-out stays random; each approaches a limit of its own.

What was run. (a) {rules}; {IMAGES[cell.data]}, {cell.samples} images, widths {widths}, softmax cross-entropy, \
{steps.steps} steps, batches of {steps.batch}, η = {steps.learning_rate:g}, momentum {steps.momentum:g}, decay \
{steps.decay:g}; one velocity takes {full / free:.0f} times fewer operations width-free. (b) FA, squared loss by its \
moments, depth {flows[0].cell.depth}, hidden widths {min(hidden)} to {max(hidden)}, DOP853 at rtol 1e-7. (c, d) FA, \
squared loss, depth {DEPTH}{others}, hidden widths {limit.hidden[0]:,} to {limit.hidden[-1]:,}, {limit.solver.steps} \
steps of η = {limit.solver.learning_rate:g}.{more}

Whose it is. The reduction, its draws and its limits are our statements, derived in theory/width_free and \
linfa/systems/infinite_width; scalings of width in feedback alignment: Bordelon & Pehlevan 2022."""


FIGURE = Figure(
    name="width",
    title="Any width at the cost of none",
    paper="Bordelon & Pehlevan 2022, and our reduction",
    claim="Under fixed feedback the run of a network of any width is that of a few small matrices, exactly.",
    alt=(
        "Five panels. a: loss curves of four rules on digits with dashed width-free curves on top of them, "
        "indistinguishable. a′: the relative distance of the weights, at the level of rounding. b: operations of one "
        "velocity against hidden width, rising as its square for the full network and flat for the width-free one. c: "
        "distance of the loss from infinite width against width for three scalings, on lines of slope minus one half. "
        "d: loss curves of three networks at two widths, the wide ones on top of their dashed limits."
    ),
    draw=draw,
)
