"""Figure `low_rank`: what a narrow hidden layer costs under feedback alignment, from any start, and what it reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import style
from figures.figure import Collect, Figure
from sims.low_rank import SKETCHES, STUDY, SYNTHETIC, Angles, Ends, Images, Star
from sims.study import Result


class Seen(NamedTuple):
    """What the caption says of the panels."""

    off: float
    """The median distance of an end of feedback alignment from its limit, relative to ‖Y‖."""
    bound: float
    """The largest ratio of that distance to its bound, where the hidden layer is no wider than the target's rank."""
    repeated: tuple[float, float]
    """The least and the most spread of ends where two units share their feedback."""
    star: float
    """The largest distance of FA* from its closed form, relative to ‖W_1(0)‖."""
    gram: float
    """The largest change of W_1W_1ᵀ, relative."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the six panels and their caption."""
    results = collect(STUDY)
    ends = [r for r in results if isinstance(r.cell, Ends)]
    synthetic = [r for r in ends if r.cell.target == SYNTHETIC]
    images = [r for r in ends if isinstance(r.cell.target, Images)]
    stars = [r for r in results if isinstance(r.cell, Star)]
    angles = [r for r in results if isinstance(r.cell, Angles)]
    sheet = style.sheet(style.DOUBLE, 7.2)
    a, b, c, d, e, f = (sheet.add_subplot(part) for part in sheet.add_gridspec(3, 2))
    style.letter(a, "a", f"loss at rest, a teacher of rank {len(SYNTHETIC.spectrum)}")
    style.letter(b, "b", "loss at rest, digits, whitened")
    _losses(a, synthetic)
    _losses(b, images)
    _spreads(c, synthetic)
    _cosines(d, next(r for r in stars if r.cell.hidden == 1))
    _angles(e, angles)
    _prices(f, angles)
    handles = [
        Line2D([], [], **style.look("bp")),
        Line2D([], [], **style.look("fa")),
        Patch(color=style.RULES["fa"].color, alpha=0.2, label=f"90 % of {SKETCHES} random feedbacks, by the formula"),
        Line2D([], [], label="theory", **style.THEORY),
    ]
    sheet.legend(handles=handles, loc="outside lower center", ncols=4)
    plain = [r for r in ends if not r.cell.repeated]
    seen = Seen(
        off=float(np.median(np.concatenate([r.data["off"].values.ravel() for r in plain]))),
        bound=max(float((r.data["off"] / r.data["bound"]).max()) for r in plain if _narrow(r)),
        repeated=_range([float(r.data["spread"].min()) for r in ends if r.cell.repeated]),
        star=max(float(r.data["off"].max()) for r in stars),
        gram=max(float(r.data["gram"].max()) for r in stars),
    )
    return sheet, _caption(ends, stars, angles, seen, fast)


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _narrow(result: Result) -> bool:
    """Whether the hidden layer is no wider than the rank: a bound divides by the least singular value of W_1."""
    return bool(result.data["eckart_young"] > 1e-12) or not np.any(result.data["bound"] > 1)


def _plain(results: list[Result]) -> list[Result]:
    return sorted((r for r in results if not r.cell.repeated), key=lambda r: r.cell.hidden)


def _losses(axes: Axes, results: list[Result]) -> None:
    """Panels a and b: the losses of all runs against the width, the formula's band, and both predictions."""
    runs = _plain(results)
    r = np.array([run.cell.hidden for run in runs])
    low, middle, high = (np.array([float(run.data["drawn"][i]) for run in runs]) for i in range(3))
    axes.fill_between(r, low, high, color=style.RULES["fa"].color, alpha=0.2, linewidth=0)
    axes.plot(r, middle, **style.THEORY)
    axes.plot(r, [float(run.data["eckart_young"]) for run in runs], **style.THEORY)
    for run in runs:
        count = run.cell.feedbacks
        at = run.cell.hidden + np.linspace(-0.25, 0.25, count)
        for loss in run.data["loss"].values:
            axes.plot(at, loss, **style.look("fa") | {"markersize": 3})
        axes.hlines(run.data["predicted"], at - 0.12, at + 0.12, color="black", linewidth=0.9, zorder=5)
        axes.plot([run.cell.hidden] * run.cell.starts, run.data["backprop"], **style.look("bp") | {"markersize": 3.5})
    top = float(max(run.data["loss"].max() for run in runs))
    axes.set(xlabel="hidden units r", ylabel="loss above the least", ylim=(-0.03 * top, None), xticks=r)
    i = len(r) // 3
    axes.text(r[i], 0.6 * float(runs[i].data["eckart_young"]), "best of rank r", ha="right", va="top")


def _spreads(axes: Axes, results: list[Result]) -> None:
    """Panel c: how far apart the ends of different starts lie, and what the velocities left at rest allow."""
    style.letter(axes, "c", "does the start matter?")
    runs = _plain(results)
    for run in runs:
        spread = run.data["spread"]
        axes.semilogy([run.cell.hidden] * len(spread), spread, **style.look("fa"))
    narrow = [run for run in runs if _narrow(run)]
    allowed = [2 * float(run.data["bound"].max()) for run in narrow]
    axes.semilogy([run.cell.hidden for run in narrow], allowed, **style.THEORY)
    controls = [r for r in results if r.cell.repeated]
    for run in controls:
        spread = run.data["spread"]
        how = style.look("fa") | {"marker": "X", "color": style.RULES["usf"].color}
        axes.semilogy([run.cell.hidden] * len(spread), spread, **how)
    axes.set(xlabel="hidden units r", ylabel="distance of ends, over ‖Y‖", ylim=(1e-10, 30))
    axes.text(1, 3, "two units share their feedback: rank BᵀY < r", color=style.RULES["usf"].color)
    axes.text(1, 3e-10, "dashed: what the velocities say is left to run")


def _cosines(axes: Axes, result: Result) -> None:
    """Panel d: FA* from several starts on its tanh, and feedback alignment from the same starts, which is not."""
    style.letter(axes, "d", "FA*, one hidden unit: a tanh")
    data = result.data
    for i in range(data.sizes["start"]):
        axes.plot(data["time"], data["fa"][i], color=style.RULES["rho-fa"].color, linewidth=0.8)
        axes.plot(data["time"], data["cosine"][i], color=style.RULES["fa"].color, **style.SIMULATION)
        axes.plot(data["time"], data["tanh"][i], **style.THEORY)
    handles = [
        Line2D([], [], color=style.RULES["fa"].color, label="FA*", **style.SIMULATION),
        Line2D([], [], color=style.RULES["rho-fa"].color, linewidth=0.8, label="FA, same starts"),
    ]
    axes.legend(handles=handles, loc="lower right")
    axes.set(xlabel="t ‖BᵀY‖/‖W₁(0)‖", ylabel="cos∠(W₁, BᵀY)")


def _angles(axes: Axes, results: list[Result]) -> None:
    """Panel e: the principal angles between what the hidden units of the two rules read."""
    style.letter(axes, "e", "angles between FA's and BP's hidden units")
    for result in results:
        angle, k = result.data["angle"].values, result.cell.rank
        units = angle.shape[-1]
        for i in range(units):
            at = k * 1.06 ** np.linspace(-1, 1, len(angle))
            axes.semilogx(at, angle[:, i], **style.look("fa") | {"alpha": 1 - 0.8 * i / units})
            axes.hlines(result.data["predicted"][:, i], at / 1.02, at * 1.02, color="black", linewidth=0.9, zorder=5)
    axes.axhline(np.pi / 2, **style.ROUNDING)
    style.degrees(axes.yaxis)
    _ranks(axes, results)
    axes.set(ylabel="principal angles", yticks=np.radians((0, 30, 60, 90)))


def _prices(axes: Axes, results: list[Result]) -> None:
    """Panel f: the loss of feedback alignment over that of backprop, for the same runs."""
    style.letter(axes, "f", "at nearly equal loss")
    for result in results:
        k, data = result.cell.rank, result.data
        at = k * 1.06 ** np.linspace(-1, 1, result.cell.feedbacks)
        axes.semilogx(at, data["loss"] / data["backprop"], **style.look("fa"))
        predicted = data["predicted_loss"] / data["eckart_young"]
        axes.hlines(predicted, at / 1.02, at * 1.02, color="black", linewidth=0.9, zorder=5)
    axes.axhline(1, **style.ROUNDING)
    _ranks(axes, results)
    axes.set(ylabel="loss of FA / loss of BP")


def _ranks(axes: Axes, results: list[Result]) -> None:
    ranks = [r.cell.rank for r in results]
    axes.set(xlabel="rank of the target", xticks=ranks)
    axes.set_xticklabels([str(k) for k in ranks])
    axes.minorticks_off()


def _caption(ends: list[Result], stars: list[Result], angles: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    cell, wide, star = ends[0].cell, angles[-1], stars[0].cell
    degrees = np.degrees(wide.data["angle"].values)
    price = float((wide.data["loss"] / wide.data["backprop"]).max())
    rank = len(SYNTHETIC.spectrum)
    return f"""What to see. (a) Backprop (black) ends at the best map of rank r, with loss ½Σ_{{i>r}}σ_i² (Eckart & \
Young; lower dashed line); feedback alignment ends at Y P_row(BᵀY), a random sketch of the target, and loses ½‖Y(I − \
P)‖²: one short bar per feedback, with the runs from {cell.starts} starts on top of each other. The band and the \
upper dashed line are the formula for {SKETCHES} other feedbacks. From r = rank Y = {rank} on both reach zero. (b) \
The same for real images; one-hot targets and centred inputs leave rank 9. (c) Ends of runs from different starts \
differ by what their velocities at rest say is still to run (median distance to the limit {seen.off:.0e} of ‖Y‖, \
never more than {seen.bound:.2f} of that bound, which is large where BᵀY is nearly singular); where two hidden units \
have the same feedback the hypothesis rank BᵀY = r fails, and ends of different starts lie {seen.repeated[0]:.2f} to \
{seen.repeated[1]:.2f} of ‖Y‖ apart. (d) FA*, which keeps the read-out optimal, turns its unit towards BᵀY on cos∠ = \
tanh(t‖BᵀY‖/‖W_1(0)‖ + artanh cos_0) (dashed); plain feedback alignment from the same start does not. (e, f) For r = \
{wide.cell.hidden} and a target of rank {wide.cell.rank}, what the hidden units read under the two rules is at \
principal angles of {degrees.min():.0f}° to {degrees.max():.0f}° (bars: the closed form; paler squares: smaller \
angles), and yet the losses differ by at most {100 * (price - 1):.1f} %.

What was run. The flow from standard starts times {cell.scale:g} until ‖velocity‖ ≤ {cell.steady:g}(1 + ‖state‖), or \
t = 10⁴; {cell.starts} starts, {cell.feedbacks} Gaussian feedbacks each: the {"fast" if fast else "full"} preset. (a, \
c) n_0 = {SYNTHETIC.n_in}, p = {SYNTHETIC.n_out}, σ_i = 0.85^i, i = 0 … {rank - 1}. (d) The same target; \
{len(star.cosines)} starts of norms {min(star.lengths):g} to {max(star.lengths):g}, FA* by DOP853; for r = 1 and 3 it \
is within {seen.star:.0e} of the closed form, and W_1W_1ᵀ constant within {seen.gram:.0e}. (e, f) n_0 = p = rank, the \
first {wide.cell.hidden} singular values from {1.05 * wide.cell.lead:g} to {wide.cell.lead:g}, the others 1. White \
inputs throughout.

Whose it is. That feedback alignment is optimal if and only if r ≥ rank Y, a provable separation below it, the \
alignment of FA*, and representations almost orthogonal at nearly equal error are claims of Garg & Vempala (2021), \
whose own settings we do not know; the limit as a formula for every start, its bound, the tanh, and all sizes are \
ours (theory/low_rank)."""


FIGURE = Figure(
    name="low_rank",
    title="Narrow hidden layers: a random sketch in place of the best map",
    paper="Garg & Vempala 2021",
    claim=STUDY.claim,
    alt=(
        "Six panels. a, b: losses at rest against the number of hidden units, for a synthetic teacher and for digits; "
        "backprop lies on the Eckart–Young line, feedback alignment above it, each run on the bar predicted for its "
        "feedback; both reach zero at the rank of the target. c: ends of different starts coincide, except where two "
        "units share their feedback. d: cosines of FA* on dashed tanh curves, those of plain feedback alignment off "
        "them. e: principal angles between the hidden units of both rules, rising towards 90 degrees with the rank. "
        "f: the ratio of their losses, falling towards one."
    ),
    draw=draw,
)
