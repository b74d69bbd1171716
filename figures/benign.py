"""Figure `benign`: wrong labels that are memorised, what that does to clean images, and what it costs in norm."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.names import SETS
from figures.practical_law import OUTGOING
from sims.benign import RULES, STUDY
from sims.study import Result

LOOKS = {rule: style.RULES.get(rule) for rule in RULES} | {
    "fa-dominated": style.STARTS["dominated"]._replace(color="#66b2e6", label="dominated FA"),
}
"""The look of each rule; the dominated start in a lighter blue, so that lines can be told apart."""

CLEAN: dict[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 1.0, "marker": ""}
"""The control, learnt from true labels: dotted."""

BENIGN = 1.0
"""Overfitting is called benign where the last test error is at most so many points above the least."""

Runs = dict[tuple[str, bool], list[Result]]
"""The runs of one rule with wrong labels (True) or without, a result per seed."""


class End(NamedTuple):
    """How a rule's runs went, in per cent, as means over seeds, with standard deviations where there are several."""

    train: float
    memorised: float
    least: float
    at: float
    last: float
    spread: float


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the four panels and their caption."""
    runs: Runs = {}
    for result in collect(STUDY):
        runs.setdefault((result.cell.rule, result.cell.images.noise > 0), []).append(result)
    sheet = style.sheet(style.DOUBLE, 5.0)
    a, b, c, d = (sheet.add_subplot(part) for part in sheet.add_gridspec(2, 2))
    style.letter(a, "a", "training error, on the labels as given")
    style.letter(b, "b", "test error, on clean images")
    style.letter(c, "c", "images with a wrong label")
    style.letter(d, "d", "what the hidden layers gain in norm")
    for axes, name in ((a, "train_error"), (b, "test_error")):
        _errors(axes, runs, name)
    _wrong(c, runs)
    _norms(d, runs)
    for axes in (a, b, c, d):
        _epochs(axes, next(iter(runs.values()))[0].cell.epochs)
    handles = [Line2D([], [], **_look(rule)) for rule in RULES]
    handles += [
        Line2D([], [], color="black", label="true labels (control)", **CLEAN),
        Line2D([], [], label=r"FA, ⟨$\Delta W_{l+1},B_{l+1}$⟩ alone", **OUTGOING),
        Line2D([], [], label="outgoing + ledger", **style.THEORY),
    ]
    sheet.legend(handles=handles, loc="outside lower center", ncols=4)
    return sheet, _caption(runs, fast)


def _look(rule: str) -> dict[str, Any]:
    look = LOOKS[rule]
    assert look is not None
    return style.look("bp", line=True) | look._asdict() | {"linewidth": 1.3, "markersize": 3.0}


def _all(results: list[Result], name: str) -> np.ndarray:
    """Return what was read, a row per seed."""
    return np.array([result.data[name].values for result in results])


def _line(axes: Axes, x: np.ndarray, rows: np.ndarray, how: dict[str, Any]) -> None:
    """Draw the mean over seeds, and a band from the least to the largest."""
    axes.plot(x, rows.mean(0), **{"markevery": max(1, len(x) // 10)} | how)
    if len(rows) > 1:
        axes.fill_between(x, rows.min(0), rows.max(0), color=how["color"], alpha=0.15, linewidth=0)


def _epochs(axes: Axes, epochs: int) -> None:
    axes.set_xscale("log")
    ticks = [n for n in (1, 2, 5, 10, 20, 50, 100) if n <= epochs]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set(xlabel="epoch", xlim=(0.93, 1.05 * epochs))


def _errors(axes: Axes, runs: Runs, name: str) -> None:
    """Panels a and b: errors in per cent; dotted grey the fraction of wrong labels."""
    for (rule, noisy), results in runs.items():
        how = _look(rule) | ({} if noisy else CLEAN)
        _line(axes, results[0].data["epoch"].values, 100 * _all(results, name), how)
    noise = next(results[0].cell.images.noise for (_, noisy), results in runs.items() if noisy)
    axes.axhline(100 * noise, **style.ROUNDING)
    axes.set(ylabel="error / %", ylim=(0, 60))


def _wrong(axes: Axes, runs: Runs) -> None:
    """Panel c: how many of the wrong labels are memorised, and how many images are seen for what they show."""
    for (rule, noisy), results in runs.items():
        if noisy:
            x, how = results[0].data["epoch"].values, _look(rule)
            _line(axes, x, 100 * _all(results, "memorised"), how)
            _line(axes, x, 100 * _all(results, "corrected"), how | {"linewidth": 0.7, "markerfacecolor": "white",
                                                                   "markeredgecolor": how["color"]})  # fmt: skip
    axes.set(ylabel="fraction / %", ylim=(-3, 103))


def _gain(result: Result) -> np.ndarray:
    """Return by how much Σ ½‖W_l‖² over the hidden layers has grown since the start, after every epoch."""
    data = result.data
    gained = data["norm"] - data["start"]
    return np.asarray(gained.sel(layer=data["hidden"].values).sum("layer"))


def _norms(axes: Axes, runs: Runs) -> None:
    """Panel d: the gain in norm; for feedback alignment the gain in alignment alone, and with the ledger's account."""
    for (rule, noisy), results in runs.items():
        x = results[0].data["epoch"].values
        _line(axes, x, np.array([_gain(r) for r in results]), _look(rule) | ({} if noisy else CLEAN))
        if noisy and rule != "dfa":
            outgoing, account = (_all(results, name).sum(-1).mean(0) for name in ("outgoing", "account"))
            axes.plot(x, outgoing + account, **style.THEORY)
            if rule == "fa":
                axes.plot(x, outgoing, **OUTGOING)
    axes.set(ylabel="change of Σ ½‖$W_l$‖²")


def ends(results: list[Result]) -> End:
    """Return how the runs of a rule went."""
    test = 100 * _all(results, "test_error")
    last = test[:, -1]
    memorised = 100 * _all(results, "memorised")[:, -1].mean() if "memorised" in results[0].data else 0.0
    return End(
        100 * float(_all(results, "train_error")[:, -1].mean()),
        float(memorised),
        float(test.min(1).mean()),
        float(np.median(1 + test.argmin(1))),
        float(last.mean()),
        float(last.std(ddof=1)) if len(last) > 1 else 0.0,
    )


def _label(rule: str) -> str:
    return str(_look(rule)["label"])


def _caption(runs: Runs, fast: bool) -> str:
    """Return what to see, what was run, and whose it is."""
    noisy = {rule: results for (rule, wrong), results in runs.items() if wrong}
    end = {rule: ends(results) for rule, results in noisy.items()}
    cell, seeds = noisy["fa"][0].cell, len(noisy["fa"])
    level, tested = 100 * cell.images.noise, -(-(360 if cell.images.name == "digits" else 10_000) // cell.every)
    learnt = "; ".join(f"{_label(r)} {e.train:.1f} % ({e.memorised:.0f} %)" for r, e in end.items())
    drawn = "one seed" if seeds == 1 else f"{seeds} seeds (lines: means; bands: from least to most)"
    return f"""What to see. (a) Error on the training labels, wrong ones included, in the end, and in brackets how \
many of the wrong labels are memorised: {learnt}. Grey dotted: the fraction of wrong labels, {level:.0f} %; below it, \
wrong labels are being memorised. (b) {_price(runs, end, level)} (c) Of the images with a wrong label: those given \
that label (filled marks), and those given the class that they show (open marks). (d) {_gained(runs, noisy)}

What was run. {cell.images.samples:,} random images of {SETS[cell.images.name]}, {level:.0f} % of the labels \
replaced by other classes; {tested:,} test images; a net with hidden layers of \
{" and ".join(map(str, cell.hidden))} ReLU units and no biases, weights Xavier-uniform, feedback as in BioTorch; \
softmax cross-entropy; SGD with momentum \
{cell.momentum:g}, batches of {cell.batch}, η = {cell.rate:g}, one for all rules and so not the best of each, falling \
along a cosine to zero over {cell.epochs} epochs; {drawn} of images, wrong labels, start, feedback and order, one seed \
for the control. Dominated FA begins at W_l = B_l, with rows as short as alignment dominance asks for.\
{" The full preset has MNIST and a larger net." if fast else ""}

Whose it is. Benign overfitting under feedback alignment, on 4,000 images of MNIST with 20 % label noise, is Robertson \
& Koyejo's (2024, arXiv 2306.01870); their net, steps and numbers are not known to us, so that this is our setting and \
no repetition of theirs. The dominated start, the control and what is measured are ours."""


def _price(runs: Runs, end: dict[str, End], level: float) -> str:
    """Return what memorising costs on clean images, in words."""
    course = "; ".join(
        f"{_label(r)} {e.least:.1f} (epoch {e.at:.0f}) → {e.last:.1f}" + (f" ± {e.spread:.1f}" if e.spread else "")
        for r, e in end.items()
    )
    control = ", ".join(f"{_label(r)} {ends(results).last:.1f}" for (r, wrong), results in runs.items() if not wrong)
    benign = ", ".join(_label(r) for r, e in end.items() if e.last - e.least <= BENIGN)
    above = ", ".join(_label(r) for r, e in end.items() if e.last > level)
    return (
        f"Error on clean test images in per cent, least on the way → last: {course}; learnt from the true labels "
        f"(coloured dots): {control}. With benign meaning a last error at most {BENIGN:g} point above the least, "
        f"overfitting is benign {f'for {benign}' if benign else 'under no rule here'}; its last error is above "
        f"the fraction of wrong labels for {above or 'no rule'}."
    )


def _gained(runs: Runs, noisy: dict[str, list[Result]]) -> str:
    """Return what hidden layers gain in norm, and how it is paid for, in words."""
    gain = {rule: _mean([_gain(r)[-1] for r in results]) for rule, results in noisy.items()}
    gains = "; ".join(f"{_label(rule)} {g:+.0f}" for rule, g in gain.items())
    bare = ", ".join(
        f"{_label(rule)} {_mean([_gain(r)[-1] for r in results]):+.0f}"
        for (rule, wrong), results in runs.items()
        if not wrong
    )
    paid = 100 * _mean([float(r.data["outgoing"][-1].sum()) / _gain(r)[-1] for r in noisy["fa"]])
    units = max(float(r.data["units"].max()) for results in runs.values() for r in results)
    angles = "; ".join(
        f"{_label(rule)} "
        + " and ".join(
            f"{np.degrees(_mean([r.data['weight_angle'][-1, l] for r in noisy[rule]])):.0f}°" for l in (1, 2)
        )
        for rule in ("fa", "fa-dominated")
    )
    return (
        f"Σ ½‖W_l‖² of the hidden layers since the start, in the end: {gains}; from the true labels {bare}. What flows "
        "into a layer is paid for by the alignment of the next one (grey, feedback alignment) and by what finite steps "
        f"with momentum cost (dashed, with it; at most {units:.1f} units of rounding are unexplained at any neuron); "
        f"alignment is {paid:.0f} % of it for FA. ∠(W_l, B_l), l = 2, 3, in the end: {angles}."
    )


def _mean(values: list[Any]) -> float:
    return float(np.mean(values))


FIGURE = Figure(
    name="benign",
    title="Wrong labels memorised: is the overfitting benign?",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Four panels over epochs for backprop, feedback alignment from two starts and direct feedback. a: the training "
        "error falls through the fraction of wrong labels. b: the clean test error falls, and rises again as wrong "
        "labels are memorised; learnt from true labels it stays low. c: images with a wrong label are first seen for "
        "what they show, then given their wrong label. d: the norm that hidden layers gain, and what it is paid with."
    ),
    draw=draw,
)
