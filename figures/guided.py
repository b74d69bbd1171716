"""Figure `guided`: what the conservation law suggests for feedback alignment, and how much of the gap it closes."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from figures import style
from figures.figure import Collect, Figure
from figures.names import NETS, SETS
from figures.preset import largest
from sims.guided import PART, STUDY, WAYS
from sims.study import Result

BLUE, PALE = style.STARTS["dominated"].color, style.STARTS["aligned"].color

LOOKS = {
    "bp": style.RULES["bp"],
    "fa": style.RULES["fa"],
    "dominated": style.STARTS["dominated"],
    "aligned": style.STARTS["aligned"]._replace(label="… aligned only"),
    "scaled": style.STARTS["scaled"]._replace(label="… scaled only"),
    "graded": style.Look(BLUE, "P", "FA, graded decay"),
    "decayed": style.Look(PALE, "^", "… even decay"),
    "usf": style.RULES["usf"],
}
"""Suggestions of the law in the blue of feedback alignment, controls in a paler one."""

Group = dict[str, Result]
"""The results of one set and net, by way."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return a row of three panels for each set and net, and their caption."""
    results = collect(largest(fast, STUDY, PART))
    groups = [
        {r.cell.name: r for r in found}
        for _, found in groupby(results, lambda r: (r.cell.setting.data, r.cell.setting.net))
    ]
    sheet = style.sheet(style.DOUBLE, 0.4 + 0.24 * sum(2.5 + len(group) for group in groups))
    grid = sheet.add_gridspec(len(groups), 3, width_ratios=(1.5, 1, 1.1))
    for row, group in enumerate(groups):
        a, b, c = (sheet.add_subplot(grid[row, column]) for column in range(3))
        letters = "abcdefghi"[3 * row :]
        style.letter(a, letters[0], f"test accuracy, {place(group)}")
        style.letter(b, letters[1], "alignment on the way")
        style.letter(c, letters[2], "least margin, first to last")
        _accuracies(a, group)
        _alignments(b, group)
        _margins(c, group)
        for axes in (a, b, c):
            axes.set(ylim=(len(group) - 0.4, -0.6), yticks=range(len(group)))
            axes.set_yticklabels([LOOKS[way].label for way in group] if axes is a else [])
    return sheet, _caption(groups, fast)


def place(group: Group) -> str:
    """Return the set and the net in words."""
    setting = next(iter(group.values())).cell.setting
    return f"{SETS[setting.data]}, {NETS[setting.net]}"


def final(group: Group, way: str) -> np.ndarray:
    """Return the last test accuracies in per cent, one per seed."""
    return 100 * group[way].data["test_accuracy"].values[:, -1]


def closed(group: Group, way: str) -> float:
    """Return which part of the gap from feedback alignment to backprop a way closes, by means over seeds."""
    low, high = final(group, "fa").mean(), final(group, "bp").mean()
    return float((final(group, way).mean() - low) / (high - low))


def _mark(way: str) -> dict[str, Any]:
    color, marker, _ = LOOKS[way]
    return {"color": color, "marker": marker, "markeredgecolor": "white", "linestyle": "none", "markersize": 5}


def _accuracies(axes: Axes, group: Group) -> None:
    """A mark for each seed; the gap between feedback alignment and backprop in grey, and the part closed in words."""
    low, high = final(group, "fa").mean(), final(group, "bp").mean()
    axes.axvspan(low, high, color="#eeeeee", zorder=0)
    for y, way in enumerate(group):
        found = final(group, way)
        axes.plot(found, [y] * len(found), **_mark(way))
        if way not in ("bp", "fa"):
            axes.annotate(
                f"{100 * closed(group, way):.0f} %".replace("-", "−"),
                (1, y),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
            )
    left, right = axes.get_xlim()
    axes.set(
        xlabel="accuracy / %",
        xlim=(left, right + 0.22 * (right - left)),
        xticks=[t for t in axes.get_xticks() if left <= t <= min(right, 100)],
    )


def _alignments(axes: Axes, group: Group) -> None:
    """cos∠(U, −∇), mean over hidden layers and readings."""
    for y, way in enumerate(group):
        found = group[way].data["alignment"].values
        axes.plot(found, [y] * len(found), **_mark(way))
    axes.axvline(0, **style.ROUNDING)
    axes.set(xlabel="cos∠(U, −∇)", xlim=(-0.25, 1.05))


def _margins(axes: Axes, group: Group) -> None:
    """κ at the start and at the end of every run, joined by an arrow."""
    for y, way in enumerate(group):
        data = group[way].data
        for shift, first, last in zip(
            np.linspace(-0.2, 0.2, data.sizes["seed"]), data["margin"].values, data["last_margin"].values, strict=True
        ):
            if np.isfinite(first):
                arrow = {
                    "arrowstyle": "-|>",
                    "color": LOOKS[way].color,
                    "shrinkA": 0,
                    "shrinkB": 0,
                    "mutation_scale": 6,
                }
                axes.annotate("", (last, y + shift), (first, y + shift), arrowprops=arrow)
                axes.plot([first, last], [y + shift] * 2, linestyle="none")
    axes.axvline(0, **style.ROUNDING)
    axes.set_xlabel("least κ over the largest ½‖·‖²")
    axes.margins(x=0.08)


def _caption(groups: list[Group], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    said, ran = [], []
    for group in groups:
        setting, cell = group["fa"].cell.setting, group["fa"].cell
        told = ", ".join(f"{_name(way)} {final(group, way).mean():.1f}" for way in group)
        more = final(group, "dominated") - final(group, "aligned")
        error = f" ± {more.std(ddof=1) / np.sqrt(len(more)):.1f}" if len(more) > 1 else ""
        kept = int((group["dominated"].data["last_margin"].values >= 0).sum())
        said.append(
            f"{place(group)}: {told}; dominated less aligned {more.mean():+.1f}{error}; every channel still dominated "
            f"at the end in {kept} of {cell.seeds} runs"
        )
        learnt = setting.train or 1_437
        ran.append(
            f"{place(group)}: {learnt - cell.held:,} images, {setting.epochs} epochs, batch {setting.batch}, "
            f"{cell.seeds} seed{'s' * (cell.seeds > 1)}, {cell.held:,} images held out, tested on "
            f"{setting.test or 360:,} images; {_rates(group)}"
        )
    even, graded = WAYS["decayed"].decay, WAYS["graded"].decay
    decay = f" Decay: {even:g} in all layers, or {graded:g} in the first and half as much in each further one."
    whole = "" if fast else decay
    seen = ". ".join(said)
    return f"""What to see. Feedback alignment from several starts, a mark for each seed: test accuracy; how well \
updates are aligned with the gradient, in hidden layers; and the least margin κ_k of alignment dominance, from the \
start to the end of training (arrows). Grey: the gap between plain feedback alignment and backprop; per cent: the part \
of it that is closed. Means over seeds, in per cent correct: {seen}. Dominated start: W_l = B_l, and rows as short as \
dominance asks for. Controls: W_l = B_l without that (aligned only); rows as short, in random directions (scaled \
only). Whether dominance helps, or alignment alone does, is the difference of the first two.

What was run. {". ".join(ran)}. SGD with momentum {groups[0]["fa"].cell.setting.optimiser.momentum:g}, weights and \
feedback Xavier-uniform; the rate of each way is the one that does best on images held out, as a mean over \
seeds.{whole} Feedback is fixed after the start, in all ways but BP and uSF.

Whose it is. Alignment dominance is of Robertson & Koyejo (2024); these starts, the decays and all settings are ours. \
That decay which does not more than double from layer to layer makes what neurons owe fade is proved in \
theory/decay_dominance."""


def _name(way: str) -> str:
    return LOOKS[way].label.removeprefix("… ")


def _rates(group: Group) -> str:
    """Return the rates in words, with the ways that had them where they differ."""
    found: dict[float, list[str]] = {}
    for way, result in group.items():
        rate = float(result.data["rate"])
        edge = " (its lowest)" if rate == min(result.cell.rates) < max(result.cell.rates) else ""
        found.setdefault(rate, []).append(_name(way) + edge)
    if len(found) == 1:
        return f"rate {next(iter(found)):g}"
    return "rates " + "; ".join(f"{rate:g} for {', '.join(found[rate])}" for rate in sorted(found, reverse=True))


FIGURE = Figure(
    name="guided",
    title="What the law suggests: starts along the feedback, and decay",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "A row of three panels for each data set. Left: test accuracies of backprop, feedback alignment from several "
        "starts and with several decays, and uSF, with the part of the gap between feedback alignment and backprop "
        "that each closes. Middle: the cosine of updates and gradient. Right: arrows from the first to the last "
        "least margin of dominance."
    ),
    draw=draw,
)
