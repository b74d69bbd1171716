"""Figure `alignment`: how far each layer turns towards its feedback, as one formula says, and where it says nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from linfa.closed_forms import ZeroStart
from sims.alignment import IMAGES_RTOL, RTOL, SPECTRUM, STUDY, Control, Exact, Images
from sims.study import Result

LAYERS = {2: "fa", 3: "dfa", 4: "kp", 5: "usf"}
"""The rule whose colour and marker the weights of each layer borrow."""

CONTROLS = {"start": "usf", "feedback": "frsf", "inputs": "brsf"}
"""The same for what a control violates."""

NAMES = {"start": "start at scale ε", "feedback": "feedback + ε · Gaussian", "inputs": "inputs not white by ε"}

SETTINGS: dict[tuple[bool, bool, bool], tuple[str, str]] = {
    (True, True, False): ("fa", "white, orthogonal, zero"),
    (False, True, False): ("rho-fa", "plain, orthogonal, zero"),
    (False, False, False): ("dfa-virtual", "plain, Gaussian, zero"),
    (False, False, True): ("bp", "plain, Gaussian, standard"),
}
"""The look and name of inputs, feedback and start on images."""

DEPTHS = (2, 3, 4)
"""The depths of panel a."""

FLOOR = 1e-17
"""Where the logarithmic axis of panel b begins."""


class Seen(NamedTuple):
    """What the caption says of the panels."""

    apart: float
    """The largest distance of a simulation from the closed form where it holds."""
    bound: float
    """What the solver's tolerance allows, at most."""
    slopes: dict[str, tuple[float, float]]
    """By violation: the order in ε of the distance at the end, and that distance at the smallest ε."""
    reached: dict[str, tuple[list[float], list[float]]]
    """By setting on images: the cosines at the end, and the largest ones."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the panels and their caption."""
    results = collect(STUDY)
    exact, controls, images = ([r for r in results if isinstance(r.cell, kind)] for kind in (Exact, Control, Images))
    sheet = style.sheet(style.DOUBLE, 6.9)
    grid = sheet.add_gridspec(3, 6)
    tops = [sheet.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
    for axes, depth in zip(tops, DEPTHS, strict=True):
        _layers(axes, next(r for r in exact if _is_main(r.cell, depth)), depth == DEPTHS[0])
    tops[-1].legend(loc="lower right", frameon=True, framealpha=1.0, edgecolor="none", borderpad=0.1)
    distances, violated = (sheet.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(2))
    hidden, readout = (sheet.add_subplot(grid[2, 3 * i : 3 * i + 3]) for i in range(2))
    apart, bound = _distances(distances, exact, controls)
    slopes = _violated(violated, controls)
    reached = {name: _image(hidden, readout, r, look, name) for r in images for look, name in [_setting(r.cell)]}
    style.letter(hidden, "d", f"{images[0].cell.data}, hidden layer $W_2$")
    style.letter(readout, "e", f"{images[0].cell.data}, read-out $W_3$")
    hidden.legend(loc="center left", bbox_to_anchor=(0.0, 0.46))
    handles = [
        Line2D([], [], label="simulated", color="#555555", **style.SIMULATION),
        Line2D([], [], label="closed form", **style.THEORY),
        Line2D([], [], label="its limits; in b, what the solver's tolerance allows", **style.ROUNDING),
    ]
    sheet.legend(handles=handles, loc="outside lower center", ncols=3)
    return sheet, _caption(results, Seen(apart, bound, slopes, reached), fast)


def _is_main(cell: Exact, depth: int) -> bool:
    """Whether a cell is the network of one depth that panel a shows."""
    return cell.rule == "fa" and cell.spectrum == SPECTRUM and len(cell.widths) == depth + 1


def _setting(cell: Images) -> tuple[str, str]:
    return SETTINGS[cell.whitened, cell.orthogonal, cell.scale > 0]


def closed_form(cell: Exact) -> ZeroStart:
    """Return the closed form of a network whose feedback paths have orthonormal columns."""
    return ZeroStart(cell.spectrum, np.ones(len(cell.widths) - 2))


def _layers(axes: Axes, result: Result, first: bool) -> None:
    """Panel a: the cosine of every layer over time at one depth, and its limits."""
    depth = len(result.cell.widths) - 1
    style.letter(axes, "a", f"L = {depth}") if first else axes.set_title(f"L = {depth}")
    closed, t = closed_form(result.cell), result.data["time"].values
    for i, layer in enumerate(result.data["layer"].values):
        look = style.look(LAYERS[int(layer)], line=True) | {"label": f"$W_{layer}$", "linewidth": 2.2}
        axes.semilogx(t, result.data["cosine"].sel(system="full")[:, i], **look, markevery=(5 * i, 16))
        axes.semilogx(t, result.data["closed"][:, i], **style.THEORY)
        low, high = float(closed.early_alignment[i]), float(closed.final_alignment[i])
        for value in (low, high):
            axes.axhline(value, **style.ROUNDING)
        # Limits that are close together are written above and below their lines.
        close = i > 0 and closed.early_alignment[i - 1] - low < 0.05
        for x, y, side, below in ((t[0], low, "left", close), (t[-1], high, "right", i > 0)):
            axes.text(x, y + (-0.012 if below else 0.01), _number(y), ha=side, va="top" if below else "bottom")
    axes.set(xlabel="time", ylim=(0.45, 1.05))
    if first:
        axes.set(ylabel=r"$\cos\angle(W_{l+1}, M_{l+1}M_l^\top)$")
    else:
        axes.tick_params(labelleft=False)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0")


def _distances(axes: Axes, exact: list[Result], controls: list[Result]) -> tuple[float, float]:
    """Panel b: distance from the closed form over time, where it holds and where not. Return the largest, and bound."""
    style.letter(axes, "b", "distance from the closed form, worst layer")
    worst, bounds = [], []
    for result in exact:
        far = np.abs(result.data["cosine"] - result.data["closed"]).max("layer")
        bounds.append(float(result.data["bound"].isel(time=-1).max()))
        worst.append(float(far.max()))
        axes.loglog(far["time"], result.data["bound"].sel(system="full"), **style.ROUNDING)
        for system, rule in (("full", "fa"), ("width-free", "rho-fa")):
            line = far.sel(system=system)
            axes.loglog(line["time"], line.where(line > 0), color=style.RULES[rule].color, linewidth=0.9, label=system)
    for result in controls:
        far = np.abs(result.data["cosine"] - result.data["closed"]).max("layer")
        for size, line in zip(far["size"].values, far.values, strict=True):
            strong = size == result.cell.sizes[-1]
            how = {"color": style.RULES[CONTROLS[result.cell.violated]].color, "linewidth": 1.5 if strong else 0.7}
            axes.loglog(far["time"], line, **how)
    axes.set(xlabel="time", ylabel="|cos − closed form|", ylim=(FLOOR, 10))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[:2], labels[:2], loc="center left", bbox_to_anchor=(0.0, 0.38), ncols=2)
    return max(worst), max(bounds)


def _violated(axes: Axes, results: list[Result]) -> dict[str, tuple[float, float]]:
    """Panel c: the cosine of the read-out where a hypothesis fails. Return the orders in ε and the least distances."""
    found = {}
    for result in results:
        name, data = result.cell.violated, result.data
        far = np.abs(data["cosine"] - data["closed"]).isel(time=-1).max("layer").values
        sizes = np.array(result.cell.sizes)
        # The first pair: the order as ε → 0.
        found[name] = float(np.log(far[1] / far[0]) / np.log(sizes[1] / sizes[0])), float(far[0])
        look = style.look(CONTROLS[name], line=True) | {"label": NAMES[name]}
        axes.semilogx(data["time"], data["cosine"].isel(size=-1, layer=-1), **look, markevery=16)
    axes.semilogx(data["time"], data["closed"].isel(layer=-1), **style.THEORY)
    depth = len(results[0].cell.widths) - 1
    style.letter(axes, "c", f"controls, ε = {results[0].cell.sizes[-1]:g}: read-out $W_{depth}$, L = {depth}")
    axes.set(xlabel="time", ylabel=r"$\cos\angle(W_L, M_LM_{L-1}^\top)$", ylim=(-0.2, 1.05))
    axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.53))
    return found


def _image(hidden: Axes, readout: Axes, result: Result, rule: str, name: str) -> tuple[list[float], list[float]]:
    """Panels d, e: one setting on images. Return the cosines at the end, and the largest."""
    data = result.data
    for axes, layer in ((hidden, 2), (readout, 3)):
        cosine = data["cosine"].sel(layer=layer)
        look = style.look(rule, line=True) | {"label": name}
        axes.semilogx(data["time"], cosine, **look, markevery=(3, 16))
        if not str(data["refused"].values):
            axes.semilogx(data["time"], data["closed"].sel(layer=layer), **style.THEORY)
            for limit in ("early", "final"):
                axes.axhline(float(data[limit].sel(layer=layer)), **style.ROUNDING)
        axes.set(xlabel="time", ylim=(-0.2, 1.05))
    hidden.set(ylabel=r"$\cos\angle(W_{l+1}, M_{l+1}M_l^\top)$")
    return data["cosine"].isel(time=-1).values.tolist(), data["cosine"].max("time").values.tolist()


def _pairs(values: list[float]) -> str:
    return " and ".join(f"{x:.3f}".replace("-", "−") for x in values)


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    exact, controls, images = ([r for r in results if isinstance(r.cell, kind)] for kind in (Exact, Control, Images))
    main = [next(r for r in exact if _is_main(r.cell, L)) for L in DEPTHS]
    ends = "; ".join(
        f"L = {len(r.cell.widths) - 1}: {_list(closed_form(r.cell).early_alignment)} to "
        f"{_list(closed_form(r.cell).final_alignment)}"
        for r in main
    )
    white = next(r for r in images if not str(r.data["refused"].values))
    dead = int(np.sum(white.data["spectrum"].values < 1e-12))
    p = white.data.sizes["mode"]
    orders = "; ".join(f"{NAMES[k]}: order {order:.1f}, {least:.0e}" for k, (order, least) in seen.slopes.items())
    reached = "; ".join(f"{name}: {_pairs(end)} (at most {_pairs(most)})" for name, (end, most) in seen.reached.items())
    refused = sum(int(np.sum(r.data["refused"].values != "")) for r in controls)
    least = min(r.cell.sizes[0] for r in controls)
    rest = "; ".join(
        f"{'–'.join(map(str, r.cell.widths))}{' (DFA)' if r.cell.rule == 'dfa' else ''}" for r in exact if r not in main
    )
    scale = max(r.cell.scale for r in images)
    horizons = " and ".join(f"{t:g}" for t in sorted({r.cell.t for r in images}))
    more = "" if not fast else " The full preset has wider networks, one more layer, and sixteen modes."
    return f"""What to see. (a) From a zero start every weight above the first begins along M_{{l+1}}M_lᵀ, M the \
feedback paths, and turns towards it: simulated and, dashed on top, the closed form. Limits (dotted), read-out last, \
{ends}. (b) Simulations with all weights and width-free ones are within {seen.apart:.0e} of the closed form; the \
tolerance of the solver would allow {seen.bound:.0e} in the end. In warm colours controls that violate one hypothesis \
by ε = {", ".join(f"{e:g}" for e in controls[0].cell.sizes)} (largest thick): the closed form was refused in {refused} \
of {sum(len(r.cell.sizes) for r in controls)}, and the simulations depart from it; order in ε at the end, and distance \
at ε = {least:g}: {orders}. (c) The largest violations. (d, e) {white.cell.data.capitalize()}. Cosines of the two \
layers at the end, and the largest on the way: {reached}. With whitened images the closed form holds on real data too: \
{dead} of {p} singular values of Σ_yx is zero, for inputs are centred and the targets of a sample add up to one, so \
that none of its cosines can exceed √({p - dead}/{p}) = {np.sqrt(1 - dead / p):.3f}. Images as they are reach about as \
much; Gaussian feedback costs some of it, and a standard start, whose part in the weights no flow removes, most.

What was run. Squared loss, DOP853 at relative tolerance {RTOL:g}, on images {IMAGES_RTOL:g}. (a) Widths \
{"; ".join("–".join(map(str, r.cell.widths)) for r in main)}, teachers with singular values \
{", ".join(f"{x:g}" for x in SPECTRUM)}, feedback alignment under semi-orthogonal B; (b) also {rest}. (c) \
{"–".join(map(str, controls[0].cell.widths))}. (d, e) Two hidden layers of {white.cell.hidden[0]}, full batch, to t = \
{horizons}; white: in orthonormal coordinates of the span of the images; standard: Gaussian start of scale \
{scale:g}.{more}

Whose it is. That weights turn towards their feedback was found by Lillicrap et al. (2016); the closed form for any \
depth and target, its limits and the controls are our statement, derived in linfa/closed_forms/alignment."""


def _list(values: Any) -> str:
    return "(" + ", ".join(_number(float(x)) for x in values) + ")"


FIGURE = Figure(
    name="alignment",
    title="Alignment in closed form",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Seven panels. a, at three depths: the cosine of each layer with its feedback rises over time from one dotted "
        "limit to another, the dashed closed form on top. b: the distance from it, near rounding for exact networks, "
        "far above for controls. c: cosines of three controls beside the dashed curve. d and e: hidden layer and "
        "read-out on digits: near the largest possible cosine from zero starts, far below from a standard start."
    ),
    draw=draw,
)
