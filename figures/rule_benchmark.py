"""Figure `rule_benchmark`: the test errors of six rules, beside the published ones."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from figures import style
from figures.figure import Collect, Figure
from figures.names import NETS, SETS
from figures.preset import largest
from sims.rule_benchmark import PART, RULES, STUDY
from sims.study import Result

ERRORS = {
    ("mnist", "lenet-mnist"): (0.91, 1.70, 1.61, 0.94, 0.91, 0.97),
    ("fashion_mnist", "lenet-mnist"): (9.20, 13.06, 12.81, 9.69, 10.02, 9.61),
    ("cifar10", "lenet-cifar"): (14.23, 46.69, 54.21, 16.22, 16.02, 16.86),
    ("cifar10", "resnet20"): (8.63, 32.16, 45.94, 10.05, 11.02, 11.20),
    ("cifar10", "resnet56"): (8.30, 34.88, 38.01, 8.20, 8.69, 9.49),
}
"""Top-1 test errors in per cent of Sanfiz & Akrout 2021 under SGD, in the order of the rules."""

Group = list[Result]
"""The results of one set and net, in the order of the rules."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return a panel for each set and net, one with the last one's courses, and their caption."""
    results = collect(largest(fast, STUDY, PART))
    groups = [list(found) for _, found in groupby(results, lambda r: (r.cell.setting.data, r.cell.setting.net))]
    columns = min(3, len(groups) + 1)
    rows = -(-(len(groups) + 1) // columns)
    sheet = style.sheet(style.DOUBLE, 0.5 + 2.3 * rows)
    panels = [sheet.add_subplot(part) for part in sheet.add_gridspec(rows, columns)]
    for axes, letter, group in zip(panels, "abcde", groups, strict=False):
        style.letter(axes, letter, _name(group))
        _errors(axes, group)
    last = panels[len(groups)]
    style.letter(last, "abcdef"[len(groups)], f"{SETS[_key(groups[-1])[0]]}, as they learn")
    _courses(last, groups[-1])
    handles = [Line2D([], [], **style.look(rule, line=True)) for rule in RULES]
    if any(_key(group) in ERRORS for group in groups):
        handles.append(Line2D([], [], label="published", **style.PUBLISHED, color="black"))
    sheet.legend(handles=handles, loc="outside lower center", ncols=7)
    return sheet, _caption(groups)


def _key(group: Group) -> tuple[str, str]:
    return group[0].cell.setting.data, group[0].cell.setting.net


def _name(group: Group) -> str:
    data, net = _key(group)
    return f"{SETS[data]}, {NETS[net]}"


def _of(group: Group, rule: str) -> list[Result]:
    return [result for result in group if result.cell.setting.rule == rule]


def _error(result: Result) -> np.ndarray:
    """Return the test error in per cent after every epoch."""
    return 100 * (1 - result.data["test_accuracy"].values)


def _errors(axes: Axes, group: Group) -> None:
    """The last errors of all rules, one mark per seed, and the published ones."""
    published = dict(zip(RULES, ERRORS.get(_key(group), ()), strict=False))
    for place, rule in enumerate(RULES):
        errors = [float(_error(result)[-1]) for result in _of(group, rule)]
        axes.vlines(place, min(errors), max(errors), color=style.RULES[rule].color, linewidth=0.8)
        axes.plot([place] * len(errors), errors, **style.look(rule) | {"markersize": 4.5})
        if rule in published:
            axes.plot(place + 0.32, published[rule], **style.PUBLISHED, color=style.RULES[rule].color)
    _logarithmic(axes)
    axes.set(ylabel="test error / %", xticks=range(len(RULES)), xlim=(-0.5, len(RULES) - 0.3))
    axes.set_xticklabels([style.RULES[rule].label for rule in RULES])


def _courses(axes: Axes, group: Group) -> None:
    """The errors of one set and net over the epochs, a line per seed."""
    for result in group:
        look = style.look(result.cell.setting.rule, line=True) | {"linewidth": 0.9}
        axes.plot(result.data["epoch"], _error(result), **look)
    _logarithmic(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="test error / %")


def _logarithmic(axes: Axes) -> None:
    """Give errors a logarithmic axis with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.minorticks_off()


def _mean(group: Group, rule: str) -> float:
    """Return the mean over seeds of a rule's last error, per cent."""
    return float(np.mean([_error(result)[-1] for result in _of(group, rule)]))


def _tested(group: Group) -> int:
    cell = group[0].cell.setting
    return int(cell.test or (360 if cell.data == "digits" else 10_000))


def _seeds(group: Group) -> str:
    seeds = len({result.cell.setting.seed for result in group})
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def _rates(group: Group) -> str:
    """Return the rates in words, each with the rules that have it."""
    found: dict[float, list[str]] = {}
    for rule in RULES:
        tried = _of(group, rule)[0].cell.rates
        for rate in sorted({float(result.data["rate"]) for result in _of(group, rule)}, reverse=True):
            edge = ", its lowest" if rate == min(tried) < max(tried) else ""
            found.setdefault(rate, []).append(style.RULES[rule].label + edge)
    if len(found) == 1:
        return f"rate {next(iter(found)):g}"
    return "rate " + ", ".join(f"{rate:g} ({', '.join(rules)})" for rate, rules in sorted(found.items(), reverse=True))


def _caption(groups: list[Group]) -> str:
    """Return what to see, what was run, and whose it is."""
    said = []
    for group in groups:
        means = sorted((_mean(group, rule), style.RULES[rule].label) for rule in RULES)
        said.append(f"{_name(group)}: {', '.join(f'{label} {error:.2f}' for error, label in means)}")
    ran = []
    for group in groups:
        cell, sgd = group[0].cell.setting, group[0].cell.setting.optimiser
        learnt = cell.train or (1_437 if cell.data == "digits" else 60_000)
        drops = ", ".join(str(e) for e in sgd.drops)
        ran.append(
            f"{_name(group)}: {learnt:,} images, {cell.epochs} epochs, batch {cell.batch}, {_rates(group)}, a tenth "
            f"after epochs {drops}, decay {sgd.decay:g}, {_seeds(group)}, tested on {_tested(group):,} images"
        )
    rings = ""
    if any(_key(group) in ERRORS for group in groups):
        rings = """ Rings: published by Sanfiz & Akrout (2021) after 100 epochs (MNIST, Fashion-MNIST) or 250 \
(CIFAR-10), far more than ours; an earlier draft of their table differs by 3 to 7 points for FA and DFA on CIFAR-10."""
    seen = ". ".join(said)
    return f"""What to see. Test errors of six ways to send errors back, least first, in per cent \
(a mark for each seed, and means of them here). {seen}.{rings}

What was run. {". ".join(ran)}. SGD with momentum 0.9, weights and feedback Xavier-uniform, biases zero, every layer \
through its B, the first sends nothing; uSF: B = s sign(W) with s = √(2/(fan in + fan out)); brSF and frSF: |M| ⊙ \
sign(W), M drawn at every step or once. Where there was a choice, the rate of each rule is the one at which a pilot \
({groups[0][0].cell.pilot} epochs) did best on held-out training images, or the next best where the run diverged there.

Whose it is. Rules, nets, starts, batches and decays are those of BioTorch; far fewer epochs, with the rate's falls \
in proportion, the law of DFA's matrices (Gaussian, fan in) and standardised \
channels and the choice of rates are ours."""


FIGURE = Figure(
    name="rule_benchmark",
    title="Six rules on the field's benchmarks, in a few epochs",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "A panel for each data set and net with the test errors of backprop, feedback alignment, direct feedback "
        "alignment and three sign-concordant rules on a logarithmic axis, with rings at the published errors where "
        "there are any; the last panel shows the errors of one set over the epochs."
    ),
    draw=draw,
)
