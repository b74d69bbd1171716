"""Figure `integrators`: which solvers keep the laws, at which order and at which cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.slope import slope
from sims.integrators import ADAPTIVE, ORDERS, STUDY
from sims.study import Result

EPS = float(np.finfo(float).eps)

LOOKS: dict[str, str] = {
    "Euler": "bp",
    "Conservative 1": "dfa-virtual",
    "Conservative 2": "dfa",
    "Gauss 1": "rho-fa",
    "Gauss 2": "fa",
    "Gauss 3": "interpolated",
    "RK45": "usf",
    "DOP853": "usf-init",
    "LSODA": "frsf",
}
"""The rule whose colour and marker each solver borrows, and with them the distances that eyes need."""

NAMES = {
    "Conservative 1": "conservative, order 1",
    "Conservative 2": "conservative, order 2",
    "Gauss 1": "Gauss, 1 stage",
    "Gauss 2": "Gauss, 2 stages",
    "Gauss 3": "Gauss, 3 stages",
}
"""What the legend calls a solver where that is more than its name."""

KEEPS = tuple(name for name in ORDERS if name != "Euler")
"""The solvers whose drift must be rounding."""

FLOOR = 1e-17
"""Where the logarithmic axes of drift begin."""


class Seen(NamedTuple):
    """What the caption says of the panels."""

    orders: dict[str, float]
    """The slopes of panel a."""
    kept: float
    """The largest drift of a solver that keeps the laws."""
    euler: float
    """The largest factor between Euler's drift and its prediction, at the smallest step."""
    ends: dict[str, float]
    """The drift at the end of panel d."""


ROUNDED = 3e-14
"""Below this the rounding of the reference shows (3e-15 in the full preset), and there is no slope to measure."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the four panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 6.2)
    errors, drifts, costs, times = (sheet.add_subplot(part) for part in sheet.add_gridspec(2, 2))
    seen = Seen(
        orders=_errors(errors, results),
        kept=max(float(r.data["drift"].max()) for r in results if r.cell.method in KEEPS),
        euler=_drifts(drifts, results),
        ends=_times(times, results),
    )
    _costs(costs, results)
    solvers = [Line2D([], [], **look(name, "-")) for name in LOOKS]
    lines = [Line2D([], [], label="theory", **style.THEORY), Line2D([], [], label="ε of float64", **style.ROUNDING)]
    sheet.legend(handles=solvers + lines, loc="outside lower center", ncols=4)
    return sheet, _caption(results, seen, fast)


def look(method: str, line: str = "none") -> dict[str, Any]:
    """Return the plot options of a solver."""
    return style.look(LOOKS[method]) | {"linestyle": line, "linewidth": 1.1, "label": NAMES.get(method, method)}


def _short(results: list[Result], method: str) -> Iterator[tuple[float, Result]]:
    """Yield the mean step and the run, longest step first, of a solver's runs that were compared with the flow."""
    runs = [r for r in results if r.cell.method == method and not r.cell.series]
    return iter(sorted(((r.cell.problem.t / int(r.data["steps"]), r) for r in runs), key=lambda pair: -pair[0]))


def _points(results: list[Result], method: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps, and the error or the largest drift at each."""
    pairs = list(_short(results, method))
    return np.array([h for h, _ in pairs]), np.array([float(r.data[part].max()) for _, r in pairs])


def _errors(axes: Axes, results: list[Result]) -> dict[str, float]:
    """Panel a: error against step size, with the claimed slopes. Return the measured ones."""
    style.letter(axes, "a", "error against step size, with the claimed orders")
    orders = {}
    for method, claimed in ORDERS.items():
        h, error = _points(results, method, "error")
        clear = error > ROUNDED
        orders[method] = slope(h[clear], error[clear], f"the order of {method}")
        axes.loglog(h, error[clear][-1] * (h / h[clear][-1]) ** claimed, **style.THEORY)
        axes.loglog(h, error, **look(method))
    for method in ADAPTIVE:
        axes.loglog(*_points(results, method, "error"), **look(method, "-") | {"linewidth": 0.6})
    axes.set(xlabel="step size h (mean, where it adapts)", ylabel="error of the weights at the end, relative")
    return orders


def _drifts(axes: Axes, results: list[Result]) -> float:
    """Panel b: drift against step size, Euler's with its prediction. Return by what factor that is off at the end."""
    style.letter(axes, "b", "drift of the law against step size")
    for method in LOOKS:
        axes.loglog(*_points(results, method, "drift"), **look(method, "-"))
    h, predicted = _points(results, "Euler", "predicted")
    axes.loglog(h, predicted, **style.THEORY)
    axes.axhline(EPS, **style.ROUNDING)
    axes.set(xlabel="step size h (mean, where it adapts)", ylabel="largest drift, relative", ylim=(FLOOR, 1))
    return float(_points(results, "Euler", "drift")[1][-1] / predicted[-1])


def _costs(axes: Axes, results: list[Result]) -> None:
    """Panel c: error against the number of velocities computed."""
    style.letter(axes, "c", "error against cost")
    for method in LOOKS:
        runs = [r for _, r in _short(results, method)]
        cost, error = ([float(r.data[part]) for r in runs] for part in ("evaluations", "error"))
        axes.loglog(cost, error, **look(method, "-"))
    axes.set(xlabel="velocities computed", ylabel="error of the weights at the end, relative")


def _times(axes: Axes, results: list[Result]) -> dict[str, float]:
    """Panel d: drift over a long run. Return where each solver ends."""
    style.letter(axes, "d", "drift of the law against time")
    ends = {}
    for i, method in enumerate(LOOKS):
        (run,) = (r for r in results if r.cell.method == method and r.cell.series)
        drift = run.data["drift"]
        ends[method] = float(drift[-1])
        axes.semilogy(drift["time"], drift.where(drift > 0), **look(method, "-"), markevery=(i, len(LOOKS)))
        if method == "Euler":
            predicted = run.data["predicted"]
            axes.semilogy(drift["time"], predicted.where(predicted > 0), **style.THEORY)
    axes.axhline(EPS, **style.ROUNDING)
    axes.set(xlabel="time", ylabel="drift, relative", ylim=(FLOOR, 1))
    return ends


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    short = next(r.cell.problem for r in results if not r.cell.series)
    long = {r.cell.method: r for r in results if r.cell.series}
    steps = long["Euler"].cell.solver.steps
    t, tolerance = long["Euler"].cell.problem.t, long["RK45"].cell.solver.rtol
    orders = ", ".join(f"{NAMES.get(m, m)} {seen.orders[m]:.2f} ({claimed})" for m, claimed in ORDERS.items())
    adaptive = ", ".join(f"{m} {seen.ends[m]:.0e}" for m in ADAPTIVE)
    losses = [float(r.data["loss"][-1]) for r in long.values()]
    steps_taken = sorted({h for m in ORDERS for h, _ in _short(results, m)}, reverse=True)
    sizes = ", ".join(f"{h:g}" for h in steps_taken)
    return f"""What to see. (a) Every method of equal steps converges at the order it claims (dashed); measured \
slopes, claims in brackets: {orders}. (b) The law C = W_l W_lᵀ − B_{{l+1}}ᵀW_{{l+1}} − W_{{l+1}}ᵀB_{{l+1}} drifts \
under Euler's steps in proportion to h, as predicted (dashed; {seen.euler:.2f} times the prediction at the smallest \
step), and under adaptive methods as much as they err. Conservative and Gauss steps keep it within {seen.kept:.0e} \
at every step size, however wrong the solution is. (c) What that costs: a conservative step of order 2 computes two \
velocities, as many as any explicit method of that order; a Gauss step iterates its stages to rounding, and only its \
high order pays for that. Where the solution counts and the law does not, adaptive methods of high order are \
cheaper. (d) On a run {t:g} units of time long, Euler's drift ends at {seen.ends["Euler"]:.0e}, {adaptive}; for \
those who keep the law it is rounding to the end.

What was run. Feedback alignment on {short.samples} training images of {short.data}, squared loss, widths \
{"–".join(map(str, short.widths))}, standard initialisation times {short.scale:g}, seed {short.seed}: the \
{"fast" if fast else "full"} preset, {len(results)} runs. (a–c) To t = {short.t:g} at h = {sizes}, and \
adaptive methods at their tolerances; the error is the distance to DOP853 at relative tolerance 1e-13. (d) {steps} \
equal steps, adaptive methods at relative tolerance {tolerance:g}; the loss ends between {min(losses):.3f} and \
{max(losses):.3f}. Drift: the largest entry of C(t) − C(0) in the worst layer, relative to the sum of \
magnitudes of the terms.

Whose it is. That Gauss–Legendre methods keep quadratic invariants is Cooper's (1987; Hairer, Lubich & Wanner 2006, \
section IV.2); RK45, DOP853 and LSODA are SciPy's. The matrix law for two layers is eq. 14 of Lillicrap et al. \
(2016); the conservative explicit step, the prediction of Euler's drift, data, widths and step sizes are our \
statement."""


FIGURE = Figure(
    name="integrators",
    title="Solvers that keep the law, and what they cost",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Four panels. a: errors of equal-step solvers fall with the step size along lines of slope one, one, two, two, "
        "four and six. b: the law's drift falls with the step size for Euler and adaptive solvers, and lies at the "
        "rounding level for conservative and Gauss steps at every size. c: errors against the number of velocities "
        "computed. d: over a long run the drift of common solvers stays visible, that of ours at rounding."
    ),
    draw=draw,
)
