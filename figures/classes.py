"""Figure `classes`: accuracy and alignment against the number of classes, and what a dominated start is worth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from sims.classes import CIFAR100, STUDY, Images
from sims.recorded import recorded
from sims.study import Result, Study

LOOKS = {f"fa-{start}": look for start, look in style.STARTS.items()}
"""Starts of feedback alignment, in its blues; the rules' own looks are in `style.RULES`."""


class Gap(NamedTuple):
    """What lies between feedback alignment and backprop, and how much of it the dominated start takes away."""

    gap: float
    """BP − FA, test accuracy in points, mean over seeds."""
    error: float
    """Its standard error."""
    gain: float
    """Dominated − FA, likewise."""
    spread: float
    """Its standard error."""

    @property
    def clear(self) -> bool:
        """Whether the gap is more than two standard errors wide."""
        return self.gap > 2 * self.error

    def __str__(self) -> str:
        told = (
            f"BP − FA = {self.gap:.1f} ± {self.error:.1f}, dominated − FA = {self.gain:+.1f} ± {self.spread:.1f} points"
        )
        return told + (f", {100 * self.gain / self.gap:.0f} % of the gap" if self.clear else "; no clear gap to close")


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return two rows of panels, one column per source of samples, and their caption."""
    results = [result for study in studies(fast) for result in collect(study)]
    sources = {name: [r for r in results if _name(r) == name] for name in dict.fromkeys(map(_name, results))}
    sheet = style.sheet(style.DOUBLE, 5.3)
    sources = {name: sources[name] for name in SETS if name in sources}
    grid = sheet.add_gridspec(3, len(sources), height_ratios=(1, 1, 0.28))
    for i, (name, runs) in enumerate(sources.items()):
        up, down = sheet.add_subplot(grid[0, i]), sheet.add_subplot(grid[1, i])
        style.letter(up, "abcdefghijkl"[i], SETS[name])
        style.letter(down, "abcdefghijkl"[len(sources) + i], SETS[name])
        _curves(up, runs, "test_accuracy", 100.0)
        _curves(down, runs, "alignment", 1.0)
        up.set_ylabel("test accuracy, %" if i == 0 else "")
        down.set(ylabel="cos∠(U, −∇), hidden layers" if i == 0 else "", ylim=(0, 1.04), xlabel="classes n")
    handles, labels = up.get_legend_handles_labels()
    keys = sheet.add_subplot(grid[2, :])
    keys.axis("off")
    keys.legend(handles, labels, loc="center", ncols=4)
    return sheet, _caption(sources, fast)


def studies(fast: bool) -> list[Study]:
    """Return the studies to show: in full CIFAR-100, too, where it is on record."""
    return [STUDY] if fast or recorded(CIFAR100) is None else [STUDY, CIFAR100]


def _name(result: Result) -> str:
    source = result.cell.source
    if not isinstance(source, Images):
        return "teacher"
    return source.data if isinstance(source.data, str) else "+".join(source.data)


def _look(rule: str) -> dict[str, Any]:
    color, marker, label = LOOKS.get(rule) or style.RULES[rule]
    how = {"color": color, "marker": marker, "label": label, "markeredgecolor": "white", **style.SIMULATION}
    return how | {"linewidth": 2.0 if rule == "fa-dominated" else 1.0, "zorder": 5 if rule == "fa-dominated" else 3}


def _curves(axes: Axes, runs: list[Result], what: str, unit: float) -> None:
    """Draw means over seeds, with standard deviations as bars; rules beside each other."""
    x, rules = np.array([r.cell.classes for r in runs], dtype=float), runs[0].cell.rules
    wide = x.max() / x.min() > 6
    for i, rule in enumerate(rules):
        if rule == "bp" and what == "alignment":
            continue  # one, by definition
        values = [unit * r.data[what].sel(rule=rule) for r in runs]
        mean, spread = ([float(f) for f in fs] for fs in ([v.mean() for v in values], [v.std(ddof=1) for v in values]))
        shift = (i - len(rules) / 2) / len(rules)
        at = x * 1.12**shift if wide else x + 0.5 * shift
        axes.errorbar(at, mean, spread, elinewidth=0.6, **_look(rule))
    if wide:
        axes.set_xscale("log")
    axes.set_xticks(x, [f"{n:.0f}" for n in x])
    axes.minorticks_off()


def gap(result: Result) -> Gap:
    """Return the gap between FA and BP and what the dominated start gains, paired by seed, in points of accuracy."""
    bp, fa, ours = (100 * result.data["test_accuracy"].sel(rule=rule).values for rule in ("bp", "fa", "fa-dominated"))
    n = np.sqrt(len(bp))
    return Gap(
        float((bp - fa).mean()), float((bp - fa).std(ddof=1) / n),
        float((ours - fa).mean()), float((ours - fa).std(ddof=1) / n),
    )  # fmt: skip


def closed(result: Result, rule: str) -> float:
    """Return which part of the gap from FA to BP a rule closes, by means over seeds; `gap` says whether it is clear."""
    low, high, ours = (_mean(result, name, "test_accuracy") for name in ("fa", "bp", rule))
    return (ours - low) / (high - low)


def _gained(result: Result, rule: str) -> str:
    """Return by how many points a start is better than plain FA, and of a clear gap the part."""
    points = f"{100 * (_mean(result, rule, 'test_accuracy') - _mean(result, 'fa', 'test_accuracy')):+.1f}"
    return points + (f" ({100 * closed(result, rule):.0f} %)" if gap(result).clear else "")


def _apart(result: Result) -> str:
    """Return by how much the dominated start is better than the aligned one, in points, with its standard error."""
    more, less = (100 * result.data["test_accuracy"].sel(rule=rule).values for rule in ("fa-dominated", "fa-aligned"))
    return f"{(more - less).mean():+.1f} ± {(more - less).std(ddof=1) / np.sqrt(len(more)):.1f}"


def _mean(result: Result, rule: str, what: str) -> float:
    return float(result.data[what].sel(rule=rule).mean())


def _caption(sources: dict[str, list[Result]], fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    ends = {name: runs[-1] for name, runs in sources.items()}
    gaps = "; ".join(f"{SETS[name]}, n = {r.cell.classes}: {gap(r)}" for name, r in ends.items())
    controls = "; ".join(
        f"{SETS[name]} {_gained(r, 'fa-aligned')} and {_gained(r, 'fa-scaled')}" for name, r in ends.items()
    )
    apart = "; ".join(f"{SETS[name]} {_apart(r)}" for name, r in ends.items())
    aligned = "; ".join(
        f"{SETS[name]} {_mean(r, 'fa', 'alignment'):.2f} → {_mean(r, 'fa-dominated', 'alignment'):.2f}"
        for name, r in ends.items()
    )
    kept = [r.data.sel(rule="fa-dominated") for runs in sources.values() for r in runs]
    runs_kept = sum(int((d["last_margin"] >= 0).sum()) for d in kept)
    total = sum(d.sizes["seed"] for d in kept)
    signs = ", ".join(
        f"{SETS[name]} {100 * (max(_mean(r, s, 'test_accuracy') for s in ('usf', 'brsf', 'frsf'))):.1f} against "
        f"{100 * _mean(r, 'fa-dominated', 'test_accuracy'):.1f}"
        for name, r in ends.items()
    )
    cells = "; ".join(_setting(name, runs) for name, runs in sources.items())
    first = next(iter(ends.values())).cell
    more = " The full preset has larger nets, MNIST, MNIST with Fashion-MNIST, and up to 200 classes." if fast else ""
    absent = "" if "cifar100" in sources else " CIFAR-100 was not run: python -m sims classes_cifar100 --full --record."
    return f"""What to see. (top) Test accuracy after training against the number of classes, mean and standard \
deviation over seeds; (bottom) the cosine of update and negative gradient, mean over hidden layers and over \
training. Does alignment dominance buy accuracy? At the most classes of each source (± standard errors over seeds, \
paired): {gaps}. Its updates are better aligned: {aligned}. Two controls tell dominance from \
what else is new about the start: W_l = B_l without it, and rows as short as the dominated ones in random directions; \
over plain FA they gain, in points and of a clear gap, {controls}. The dominated start less the first of them, {apart} \
points, is what dominance adds, if anything, to alignment at the start. Nor is it for ever: finite steps lower κ_k, \
and at the end every neuron was still dominated in {runs_kept} of {total} runs. The best of the rules that \
follow signs (uSF, brSF, frSF) against the dominated start, in %: {signs}.

What was run. Bias-free ReLU nets, softmax cross-entropy, SGD with momentum {first.momentum:g}, batches of \
{first.batch}, weights Xavier-uniform, feedback as in BioTorch, constant rate, no decay (so Kolen–Pollack keeps its \
B − W). A random subset of classes for every seed, the same for all rules. The rate of each rule, for every source and \
n: the one that a pilot of half the epochs prefers, on a fifth of the training samples, held out. {cells}. Dominated \
start: W_l = B_l for l ≥ 2, and rows, from the last hidden layer down, as short as dominance asks for; the feedback \
stays fixed.{more}{absent}

Whose it is. That better alignment improves feedback alignment on tasks with several classes is a claim of Robertson \
& Koyejo (2024), who show accuracy against n on random subsets of classes; their nets, rates and n we do not know. \
The dominated start, its controls and all settings are ours."""


def _setting(name: str, runs: list[Result]) -> str:
    cell = runs[0].cell
    widths = "–".join(str(n) for n in cell.hidden)
    images = isinstance(cell.source, Images)
    size = (f"{cell.source.each} images per class" if cell.source.each else "all images") if images else (
        f"{cell.source.samples} Gaussian inputs in {cell.source.n_in} dimensions, labelled by the largest of n random "
        "linear outputs"
    )  # fmt: skip
    title = SETS[name]
    return f"{title}: {size}, hidden {widths}, {_rates(runs[-1])}, {cell.epochs} epochs, {cell.seeds} seeds"


def _rates(result: Result) -> str:
    """Return the rates at the most classes, with the rules that had them where they differ."""
    found: dict[float, list[str]] = {}
    for rule in result.cell.rules:
        for rate in sorted(set(result.data["rate"].sel(rule=rule).values.tolist())):
            found.setdefault(rate, []).append(str(_look(rule)["label"]).removesuffix(" (control)"))
    told = [f"{rate:g}" + (f" ({', '.join(found[rate])})" if len(found) > 1 else "") for rate in sorted(found)]
    return f"η = {' or '.join(told)}"


FIGURE = Figure(
    name="classes",
    title="More classes: where feedback alignment falls behind, and what a dominated start is worth",
    paper="Robertson & Koyejo 2024",
    claim=STUDY.claim,
    alt=(
        "Two rows of panels, one column per data set. Top: test accuracy against the number of classes for backprop, "
        "feedback alignment from four starts, direct feedback, three sign-concordant rules and Kolen–Pollack. Bottom: "
        "the cosine of their updates with the gradient; the dominated start lies above plain feedback alignment."
    ),
    draw=draw,
)
