"""Figure `minimum_norm`: which of the maps that interpolate is learnt, and by how much it exceeds the least norm."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.minimum_norm import PARTS, RULES, STUDY, Gaussian, Images
from sims.study import Result

STARTS = dict(zip(PARTS, ("random", "in the span", "zero"), strict=True))
"""What W_1(0) is called on the axis."""


SIZES = {2: 3.0, 3: 5.0, 4: 7.0}
"""Marker sizes by depth."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return three panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 2.9)
    grid = sheet.add_gridspec(2, 3, height_ratios=(1, 0.12))
    a, b, c = (sheet.add_subplot(grid[0, i]) for i in range(3))
    _scales(a, results)
    _agreement(b, results)
    _starts(c, results)
    depths = sorted({_depth(r) for r in results})
    handles = [Line2D([], [], **style.look(rule)) for rule in RULES]
    handles += [Line2D([], [], **style.look("readout") | {"markersize": SIZES[d], "marker": "o"}) for d in depths]
    keys = sheet.add_subplot(grid[1, :])
    keys.axis("off")
    keys.legend(
        handles, [*(style.RULES[r].label for r in RULES), *(f"depth {d}" for d in depths)], loc="center", ncols=7
    )
    return sheet, _caption(results, fast)


def _depth(result: Result) -> int:
    return len(result.cell.hidden) + 1


def _scales(axes: Axes, results: list[Result]) -> None:
    """Panel a: the excess against the scale of W_1(0), on the images; dashed: predicted."""
    (images, *_) = (r.cell.source for r in results if isinstance(r.cell.source, Images))
    style.letter(axes, "a", f"excess norm, {SETS[images.data]}")
    for run in (r for r in results if r.cell.part == "random" and r.cell.source == images):
        how = style.look(run.cell.rule) | {"markersize": SIZES[_depth(run)]}
        for _, start in run.data.groupby("seed"):
            one = start.squeeze("seed")
            axes.loglog(one["scale"], one["predicted"], **style.THEORY)
            axes.loglog(one["scale"], one["excess"], **how)
    axes.set(xlabel="scale of W₁ at the start", ylabel="‖f‖²/‖YX⁺‖² − 1")


def _agreement(axes: Axes, results: list[Result]) -> None:
    """Panel b: how far measured and predicted excess differ, against what the misfit allows."""
    style.letter(axes, "b", "prediction error and its bound")
    for run in results:
        left = run.data["left"].values
        error = np.abs(run.data["excess"].values - run.data["predicted"].values)
        axes.loglog(
            np.ravel(2 * left + left**2),
            np.ravel(error),
            **style.look(run.cell.rule) | {"markersize": SIZES[_depth(run)]},
        )
    low, high = axes.get_xlim()
    axes.loglog((low, high), (low, high), **style.THEORY)
    axes.set(xlabel="allowed by what is left to fit", ylabel="|measured − predicted|", xlim=(low, high))


def _starts(axes: Axes, results: list[Result]) -> None:
    """Panel c: the excess from a random W_1, the same within the span of the data, and zero; all sources."""
    style.letter(axes, "c", "what of W₁ matters")
    depths = sorted({_depth(r) for r in results})
    for run in results:
        at = PARTS.index(run.cell.part) + 0.2 * (RULES.index(run.cell.rule) - 1) + 0.05 * depths.index(_depth(run))
        excess = np.abs(run.data["excess"].sel(scale=1.0).values)
        axes.semilogy([at] * len(excess), excess, **style.look(run.cell.rule) | {"markersize": SIZES[_depth(run)]})
    axes.set_xticks(range(len(PARTS)), [STARTS[part] for part in PARTS])
    axes.set(xlabel="W₁ at the start", ylabel="|excess|", ylim=(None, 10))


def _caption(results: list[Result], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    cells = [r.cell for r in results]
    gaussian = next(c.source for c in cells if isinstance(c.source, Gaussian))
    images = dict.fromkeys(c.source for c in cells if isinstance(c.source, Images))
    seeds = {kind: next(c.seeds for c in cells if isinstance(c.source, kind)) for kind in (Gaussian, Images)}
    rest = {kind: next(c.steady for c in cells if isinstance(c.source, kind)) for kind in (Gaussian, Images)}
    deep = {kind: max(_depth(r) for r in results if isinstance(r.cell.source, kind)) for kind in (Gaussian, Images)}
    left = [r.data["left"].values for r in results]
    error = [np.abs(r.data["excess"].values - r.data["predicted"].values) for r in results]
    ratio = max(float((e / (2 * d + d**2)).max()) for e, d in zip(error, left, strict=True))
    random = np.concatenate([r.data["excess"].sel(scale=1.0).values for r in results if r.cell.part == "random"])
    inside = max(float(np.abs(r.data["excess"]).max()) for r in results if r.cell.part != "random")
    off = max(float(r.data["off_span"].max()) for r in results)
    off_moved = min(float(r.data["moved"].min()) for r in results)
    (width,) = {n for c in cells for n in c.hidden}
    sets = " and ".join(SETS[i.data] for i in images)
    more = " The full preset is wider, has four layers too, several starts, MNIST and Fashion-MNIST." if fast else ""
    return f"""What to see. (a) Linear nets that interpolate fewer samples than they have inputs: by how much the \
squared norm of the learnt map exceeds the least that interpolates, ‖YX⁺‖², against the scale of W_1(0); dashed: ‖V \
W_1(0)P_⊥‖²/‖YX⁺‖² with V = W_L…W_2 as learnt. At scale one it is {random.min():.2f} to {random.max():.2f} over all \
sources, rules and depths. (b) Both differ by no more than the part of the fit that is still missing allows, 2‖D‖ + \
‖D‖² (dashed; at most {ratio:.2f} of \
it). (c) Without what lies off the span of the data, or from W_1 = 0, the map has the least norm to {inside:.0e}, \
whatever the other layers start at. W_1 moved by {off_moved:.1g} at least, and by {off:.0e} at most off the span, \
under every rule.

What was run. BP, FA and DFA; the flow until ‖velocity‖ ≤ v(1 + ‖state‖); {width} units in each hidden layer; standard \
start but for W_1. {gaussian.samples} Gaussian samples of {gaussian.n_in} inputs and {gaussian.n_out} outputs (v = \
{rest[Gaussian]:g}, 2 to {deep[Gaussian]} layers, {_starts_of(seeds[Gaussian])}); the first \
{next(iter(images)).samples} images of {sets}, centred, one-hot classes less their means, squared loss (v = \
{rest[Images]:g}, 2 to {deep[Images]} layers, {_starts_of(seeds[Images])}).{more}

Whose it is. That over-parametrised two-layer linear nets reach solutions of least norm under feedback alignment is \
a claim of the first version of Robertson & Koyejo (2023), read in abstract only; the formula for every start and \
depth, and the setting, are ours."""


def _starts_of(seeds: int) -> str:
    return "one start" if seeds == 1 else f"{seeds} starts"


FIGURE = Figure(
    name="minimum_norm",
    title="Interpolation: the least norm, and what the start adds to it",
    paper="Robertson & Koyejo 2023 (v1)",
    claim=STUDY.claim,
    alt=(
        "Three panels. a: excess norms of three rules and all depths rising with the scale of the first layer, each "
        "on its dashed prediction. b: errors of that prediction, all below a dashed line. c: excess norms from random "
        "first layers near one, and at the level of rounding and misfit from first layers in the span, or zero."
    ),
    draw=draw,
)
