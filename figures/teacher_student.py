"""Figure `teacher_student`: order parameters, broken degeneracy, recovery, align-then-memorise, and poor alignment."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from scipy import stats

from figures import style
from figures.figure import Collect, Figure
from linfa.systems.teacher_student import recovery_probability
from sims.study import Result
from sims.teacher_student import LEARNT, RARE, STUDY, Breaking, Course, Deep, Orders, RandomTargets, Recovery

LEVEL = 0.99
"""Of the intervals of panel d."""

BAND = 0.999
"""Of the bands of panels a and b, at each moment."""

ACTIVATIONS: dict[str, tuple[str, str]] = {"linear": ("dfa", "linear"), "relu": ("usf", "ReLU"), "erf": ("fa", "erf")}
"""The rule whose look each activation borrows, and its name on the axes."""


class Seen(NamedTuple):
    """What the caption says of the panels."""

    largest: float
    """The largest |t| of any order parameter at any moment."""
    allowed: float
    """What it may be, once in 1/RARE."""
    still: float
    """How far backprop's error moves from zero weights."""
    left: tuple[float, float]
    """The error of feedback alignment from zero weights, at the start and at the end."""
    falls: dict[str, tuple[float, float]]
    """The largest alignment, and the one at the end, by activation."""
    off: float
    """The largest difference between measured and predicted mean alignment in panel g."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the nine panels and their caption."""
    results = collect(STUDY)
    sheet = style.sheet(style.DOUBLE, 7.2)
    a, b, c, d, e, e_, f, f_, g = (sheet.add_subplot(part) for part in sheet.add_gridspec(3, 3))
    (orders,) = _of(results, Orders)
    breaking, courses = _of(results, Breaking), _of(results, Course)
    _errors(a, orders.data)
    _overlaps(b, orders.data)
    _breaking(c, breaking)
    _recovery(d, _of(results, Recovery))
    falls = _courses(e, e_, courses)
    _deep(f, f_, _of(results, Deep))
    flows = [r for r in _of(results, RandomTargets) if not r.cell.steps]
    zero = {r.cell.feedback: r.data["from_zero"].values for r in breaking}
    seen = Seen(
        largest=float(orders.data["largest"]),
        allowed=float(orders.data["allowed"]),
        still=float(np.ptp(zero[()])),
        left=next((float(e[0]), float(e[-1])) for feedback, e in zero.items() if feedback),
        falls=falls,
        off=_targets(g, flows),
    )
    origins = [
        Line2D([], [], label="simulated or solved", color="#555555", **style.SIMULATION),
        Line2D([], [], label="theory", **style.THEORY),
    ]
    sheet.legend(handles=origins, loc="outside lower center", ncols=2)
    return sheet, _caption(results, seen, fast)


def _of(results: list[Result], kind: type) -> list[Result]:
    return [r for r in results if isinstance(r.cell, kind)]


def _band(axes: Axes, data: Any, name: str, repeats: int, color: str, **which: int) -> None:
    """Draw a mean with its band, and the solution of the equations on top."""
    mean, error, solved = (data[f"{kind}{name}"].isel(**which).values for kind in ("", "error_", "solved_"))
    half = stats.t.isf((1 - BAND) / 2, repeats - 1) * error
    axes.fill_between(data["time"], mean - half, mean + half, color=color, alpha=0.35, linewidth=0)
    axes.plot(data["time"], mean, color=color, linewidth=1.5)
    axes.plot(data["time"], solved, **style.THEORY)


def _errors(axes: Axes, data: Any) -> None:
    """Panel a: the generalisation error, one run, the mean of many with its band, and the equations."""
    style.letter(axes, "a", "error, erf, K = 3, M = 2")
    color = style.RULES["fa"].color
    axes.plot(data["time"], data["one"], color=style.RULES["rho-fa"].color, linewidth=0.8)
    _band(axes, data, "generalisation_error", int(data["repeats"]), color)
    axes.set(xlabel="steps / N", ylabel="ε = ½⟨e²⟩", yscale="log")
    handles = [
        Line2D([], [], color=style.RULES["rho-fa"].color, linewidth=0.8, label="one run"),
        Line2D([], [], color=color, linewidth=1.5, label=f"mean of {int(data['repeats'])}"),
    ]
    axes.legend(handles=handles, loc="upper right")


def _overlaps(axes: Axes, data: Any) -> None:
    """Panel b: the overlaps of students and teachers."""
    style.letter(axes, "b", "overlaps R of all pairs")
    colors = [style.RULES[name].color for name in ("fa", "dfa", "usf")]
    for student, color in enumerate(colors):
        for teacher in range(data.sizes["teacher"]):
            _band(axes, data, "R", int(data["repeats"]), color, student=student, teacher=teacher)
    handles = [Line2D([], [], color=c, label=f"student {i + 1}", **style.SIMULATION) for i, c in enumerate(colors)]
    axes.legend(handles=handles, loc="upper left")
    low, high = axes.get_ylim()
    axes.set(xlabel="steps / N", ylabel="$R_{in}$", ylim=(low, high + 0.45 * (high - low)))


def _breaking(axes: Axes, results: list[Result]) -> None:
    """Panel c: where read-outs go from small starts."""
    style.letter(axes, "c", "read-outs from small starts")
    looks = {(): "bp", (1.0, 1.0): "fa", (1.0, -1.0): "rho-fa"}
    for result in results:
        v, look = result.data["v"].values, style.look(looks[result.cell.feedback])
        for member in range(v.shape[1]):
            axes.plot(v[:, member, 0], v[:, member, 1], color=look["color"], linewidth=0.8)
        axes.plot(v[-1, :, 0], v[-1, :, 1], **look | {"markersize": 5, "zorder": 5})
    names = {"bp": "BP", "fa": "FA, signs + +", "rho-fa": "FA, signs + −"}
    handles = [Line2D([], [], **style.look(rule) | {"label": name}) for rule, name in names.items()]
    axes.legend(handles=handles, loc="upper left", handletextpad=0.2)
    for x, y in (((-1.6, 1.6), (0, 0)), ((0, 0), (-1.6, 1.6))):
        axes.plot(x, y, **style.ROUNDING)
    axes.set(xlabel="$v_1$", ylabel="$v_2$", xlim=(-1.6, 1.6), ylim=(-1.6, 2.9), xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def _recovery(axes: Axes, results: list[Result]) -> None:
    """Panel d: how often ReLU recovers, measured with intervals, and the closed form."""
    style.letter(axes, "d", "ReLU, M = 2: recovery")
    for result in results:
        K, (found, low, high) = result.cell.students, Recovery.interval(result.data, LEVEL)
        exact = recovery_probability(K, result.cell.teachers)
        axes.errorbar(K, found, [[found - low], [high - found]], capsize=2, elinewidth=1, **style.look("fa"))
        axes.hlines(float(exact), K - 0.3, K + 0.3, **style.THEORY | {"linestyles": style.THEORY["linestyle"]})
        axes.text(K + 0.12, float(exact) + 0.02, str(exact), va="bottom")
    axes.set(xlabel="students K", ylabel="fraction that learns", ylim=(0, 1), xticks=[r.cell.students for r in results])
    axes.set_xlim(1.5, 4.7)


def _courses(errors: Axes, alignments: Axes, results: list[Result]) -> dict[str, tuple[float, float]]:
    """Panels e, e′: error and alignment, three activations. Return the largest and the last alignment."""
    style.letter(errors, "e", "error, K = M = 2")
    style.letter(alignments, "e′", "alignment of $v$ with $v^r$")
    falls = {}
    for result in results:
        rule, name = ACTIVATIONS[result.cell.activation]
        how = {"color": style.RULES[rule].color, "label": name, **style.SIMULATION}
        data = result.data.isel(time=slice(1, None))
        # Below this the error is a difference of larger numbers, at the tolerance of the solution.
        errors.loglog(data["time"], data["generalisation_error"].where(data["generalisation_error"] > 1e-6), **how)
        alignment = data["weight_alignment"]
        alignments.semilogx(data["time"], alignment, **how)
        falls[name] = (float(alignment.max()), float(alignment[-1]))
    v = np.abs(np.array(results[0].cell.feedback))
    alignments.axhline(float(v.sum() / np.linalg.norm(v) / np.sqrt(len(v))), **style.THEORY)
    errors.legend(loc="lower left")
    errors.set(xlabel="steps / N", ylabel="ε")
    alignments.set(xlabel="steps / N", ylabel="cos∠($v$, $v^r$)", ylim=(0.7, 1.01))
    return falls


def _deep(losses: Axes, alignments: Axes, results: list[Result]) -> None:
    """Panels f, f′: three rules in a linear net of three layers."""
    style.letter(losses, "f", "three linear layers: loss")
    style.letter(alignments, "f′", "read-out (full), update (open)")
    for i, result in enumerate(results):
        data, how = result.data, style.look(result.cell.rule, line=True) | {"markevery": (8 * i, 24), "linewidth": 1.2}
        losses.semilogy(data["time"], data["loss"].where(data["loss"] > 1e-9), **how)
        if result.cell.rule != "bp":
            alignments.plot(data["time"], data["weight_alignment"], **how)
            outline = {"markerfacecolor": "white", "markeredgecolor": how["color"], "markeredgewidth": 0.8}
            alignments.plot(data["time"], data["update_alignment"], **how | outline | {"label": None})
    losses.legend(loc="lower left")
    losses.set(xlabel="time", ylabel="loss", ylim=(1e-9, 3))
    alignments.set(xlabel="time", ylabel="cosine", ylim=(-0.15, 1.02))
    alignments.legend(loc="lower right")


def _targets(axes: Axes, results: list[Result]) -> float:
    """Panel g: the alignment of the read-out on random targets. Return how far from its prediction the mean is."""
    style.letter(axes, "g", "random targets: read-out")
    betas = results[0].cell.betas
    means = [r.data[name].sel(layer=3).mean("seed").values for r in results for name in ("alignment", "predicted")]
    measured, predicted = np.array(means[::2]), np.array(means[1::2])
    axes.imshow(measured, origin="lower", cmap="cividis", vmin=0.85, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(measured):
        color = "white" if value < 0.92 else "black"
        text = f"{value:.2f}\n({predicted[i, j]:.2f})"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=7, linespacing=0.95)
    axes.set(xlabel="β", ylabel="α")
    axes.set_xticks(range(len(betas)), [f"{b:g}" for b in betas])
    axes.set_yticks(range(len(results)), [f"{r.cell.alpha:g}" for r in results])
    return float(np.abs(measured - predicted).max())


def _caption(results: list[Result], seen: Seen, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    orders, recovery = _of(results, Orders)[0].cell, _of(results, Recovery)
    course, deep = _of(results, Course)[0].cell, _of(results, Deep)[0].cell
    targets = [r for r in _of(results, RandomTargets) if not r.cell.steps]
    random, breaking = targets[0].cell, _of(results, Breaking)[0].cell
    falls = ", ".join(f"{name} {top:.3f} → {end:.3f}" for name, (top, end) in seen.falls.items())
    members = ", ".join(f"{r.cell.members} (K = {r.cell.students})" for r in recovery)
    worst = max(float(r.data["error"].where(r.data["error"] < LEARNT).max()) for r in recovery)
    best = min(float(r.data["error"].where(r.data["error"] >= LEARNT).min()) for r in recovery)
    return f"""What to see. (a, b) Error and overlaps of a student under feedback alignment: the equations of N → ∞ \
(dashed) on the mean of {orders.repeats} online runs at N = {orders.n_in} (bands: {100 * BAND:g} % at each moment, \
Student's t). Over all order parameters and moments the largest |t| is {seen.largest:.1f}; equations that are right \
exceed {seen.allowed:.1f} with probability {RARE:g} at most. (c) Backprop ends at any of the equivalent students; \
feedback alignment, from the same starts, only at the one whose read-out has the signs of the feedback. From weights \
that are exactly zero backprop never moves (its error changes by {seen.still:.0e}), feedback alignment goes from \
{seen.left[0]:.3f} to {seen.left[1]:.3f}. (d) A ReLU student learns its teacher where enough of its random signs are \
the teacher's: 2^−K Σ_k≤K−M C(K, k) (dashed), against the fraction that does, with {100 * LEVEL:g} % intervals \
(Clopper & Pearson). (e, e′) The student first aligns, then learns, and pays with some of its alignment (largest → \
last: {falls}): a specialised student has |v_k| = 1, and with that the cosine of the dashed line, which for ReLU it \
need not meet, as w and v share its scale; a linear one has no such reason. (f, f′) With three layers feedback \
alignment and direct feedback differ (with two they do not). Both leave the plateau at zero that holds up backprop, \
after aligning with their feedback; the update is that of the first layer. (g) The more one output dominates the \
other or the more they are correlated, the worse the alignment cos∠(W_3, M_3M_2ᵀ), as Σσ^e/√(pΣσ^2e), e = 4/7, says \
of the singular values of the least-squares map (in brackets; means differ by at most {seen.off:.2f}).

What was run: the {"fast" if fast else "full"} preset. (a, b) v^r = ({_numbers(orders.feedback)}), η = \
{orders.learning_rate:g}, A = 1, Gaussian starts. (c) erf, K = M = 2, {breaking.starts} starts of scale 0.1, η = 0.5, \
to t = {breaking.t:g}, by the equations. (d) {members} students of scale 0.1, random signs and starts, η = \
{recovery[0].cell.learning_rate:g}, t = {recovery[0].cell.t:g}, by the equations; learnt: ε < {LEARNT:g}, where those \
that have learnt are below {worst:.0e} and the others above {best:.2f}. (e, e′) v^r = ({_numbers(course.feedback)}), \
one start of scale 0.1, η = {course.learning_rate:g}. (f, f′) Widths {"–".join(map(str, deep.widths))}, teacher with \
σ_i = 0.7^i, start {deep.scale:g} times the standard one, the flow. (g) Direct feedback from zero, widths \
{"–".join(map(str, random.widths))}, {random.samples} samples, y ~ N(0, [[1, α(1−β)], [α(1−β), α²]]) independent of \
x, {random.seeds} seeds; the flow to time {random.solver(0).t:g}, in width-free \
coordinates.{_steps(results, targets)}

Whose it is. The equations, N = 1000, η = 0.2, A = 1, degeneracy breaking, the recovery probability, \
align-then-memorise, and covariance, widths, samples and five seeds of (g) are those of Refinetti, d'Ascoli, Ohana & \
Goldt (2021), who took SGD steps in (g), batches of 32 at rate 10⁻³ for 10⁴ epochs: the same time. K = 3 in (a, b), \
the feedbacks, scales and starts, the zero start of (g), (f), the test of (a, b), and the formula of (g) are ours."""


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}".replace("-", "−") for value in values)


def _steps(results: list[Result], flows: list[Result]) -> str:
    """Say how far the paper's steps end from the flow, where both were run."""
    found = []
    for result in _of(results, RandomTargets):
        same = [r for r in flows if result.cell.steps and r.cell.alpha == result.cell.alpha]
        for flow in same:
            seeds = range(result.cell.seeds)
            other = flow.data["alignment"].sel(beta=list(result.cell.betas)).isel(seed=list(seeds))
            found.append(float(np.abs(result.data["alignment"].values - other.values).max()))
    return f" The paper's SGD, taken once at α = β = 0.6, ends within {max(found):.0e} of it." if found else ""


FIGURE = Figure(
    name="teacher_student",
    title="Align, then memorise: teachers, students and fixed feedback",
    paper="Refinetti, d'Ascoli, Ohana & Goldt 2021",
    claim=STUDY.claim,
    alt=(
        "Nine panels. a, b: error and overlaps of an online student, simulated, with the dashed solution of the "
        "equations on top. c: paths of two read-out weights; backprop ends in several quadrants, feedback alignment in "
        "the one of its signs. d: fractions of ReLU students that learn, with intervals, around one quarter, one half "
        "and eleven sixteenths. e, e′: errors fall and alignments rise, then fall a little, for linear, ReLU and erf. "
        "f, f′: losses and alignments of backprop, feedback alignment and direct feedback in three linear layers. g: a "
        "heat map of alignments, largest where the two outputs are independent and equal."
    ),
    draw=draw,
)
