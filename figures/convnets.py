"""Figure `convnets`: five ways back through architecture 1, how well each learns, and what layers do to the error."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures import style
from figures.figure import Collect, Figure
from figures.preset import largest
from sims.convnets import PART, STUDY, WAYS
from sims.study import Result

LOOKS = {way.rule: style.RULES.get(way.rule) for way in WAYS} | {
    "fa": style.RULES["fa"]._replace(label="FA Toeplitz"),
    "fa-dense": style.RULES["rho-fa"]._replace(label="FA dense"),
}
"""The look of each rule; dense feedback alignment takes one that is free here."""

ACCURACY = {"bp": 75.80, "fa-dense": 35.77, "fa": 40.07, "usf-init": 74.30, "usf-sn": 75.67}
"""Test accuracy in per cent of Lance & Kieu 2026: all of CIFAR-10, 50 epochs, one seed."""

STEPS = 50 * 391
"""How many steps that is."""

ANGLES = {
    "conv2": {"fa-dense": (89.5, 89.5), "fa": (90, 85.3), "usf-init": (46, 50), "usf-sn": (30, 38)},
    "fc1": {"fa-dense": (90, 79), "fa": (90, 78.3), "usf-init": (47, 45), "usf-sn": (30, 35.5)},
    "fc2": {"fa-dense": (90, 80.5), "fa": (90, 81), "usf-init": (46, 41), "usf-sn": (30, 33.5)},
    "fc3": {"fa-dense": (91, 91), "fa": (92, 92), "usf-init": (45, 49), "usf-sn": (30, 44)},
}
"""Their angles at the start and in the end, degrees."""

LEAST = {"conv2": (34, 22.5), "fc1": (30, 20.5), "fc2": (37, 26)}
"""Their least angles of uSF-Init and uSF-SN on the way; at which step is not said."""

STARTS = np.degrees(np.arccos((np.sqrt(3) / 2, np.sqrt(3 / (2 * np.pi)))))
"""cos = E|W| E|M| / √(E W² E M²) for uniform W and M constant, 30.00°, or Gaussian, 46.29°."""


NAMES = {"conv2": "conv 2", "fc1": "dense 1", "fc2": "dense 2", "fc3": "dense 3, the read-out"}
"""The layers that send a signal back."""


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the six panels and their caption."""
    results = collect(largest(fast, STUDY, PART))
    sheet = style.sheet(style.DOUBLE, 6.6)
    a, b, *rest = (sheet.add_subplot(part) for part in sheet.add_gridspec(3, 2))
    _courses(a, results)
    _bars(b, results)
    for axes, name, (layer, words) in zip(rest, "cdef", NAMES.items(), strict=True):
        style.letter(axes, name, f"true against sent-back signal, {words}")
        _angles(axes, results, layer)
    handles = [Line2D([], [], **_look(way.rule, line=True)) for way in WAYS]
    handles += [
        Line2D([], [], label="published", **style.PUBLISHED, color="black"),
        Line2D([], [], label="theory of the start", **style.THEORY),
    ]
    sheet.legend(handles=handles, loc="outside lower center", ncols=4)
    return sheet, _caption(results)


def _look(rule: str, *, line: bool = False) -> dict[str, object]:
    look = LOOKS[rule]
    assert look is not None
    return style.look("bp", line=line) | look._asdict()


def _of(results: list[Result], rule: str) -> list[Result]:
    return [result for result in results if result.cell.rule == rule]


def _final(results: list[Result], rule: str) -> np.ndarray:
    """Return the test accuracy in the end, per cent, one per seed."""
    return np.array([100 * float(r.data["test_accuracy"][-1]) for r in _of(results, rule)])


def _least(results: list[Result], rule: str, layer: str) -> float:
    """Return the least angle of a layer on its way, degrees, as a mean over seeds."""
    return float(np.mean([np.degrees(r.data["sent_angle"].sel(sent_layer=layer).min()) for r in _of(results, rule)]))


def _courses(axes: Axes, results: list[Result]) -> None:
    """Panel a: test accuracy over epochs, one line per seed."""
    style.letter(axes, "a", "test accuracy as they learn")
    for way in WAYS:
        for result in _of(results, way.rule):
            accuracy, some = 100 * result.data["test_accuracy"], max(1, result.data.sizes["epoch"] // 12)
            axes.plot(result.data["epoch"], accuracy, **_look(way.rule, line=True), markevery=some)
    axes.axhline(10, **style.ROUNDING)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="accuracy / %", ylim=(0, None))


def _bars(axes: Axes, results: list[Result]) -> None:
    """Panel b: the last accuracies, and the published ones."""
    style.letter(axes, "b", "in the end, and published")
    for place, way in enumerate(WAYS):
        look, final = _look(way.rule), _final(results, way.rule)
        axes.bar(place, final.mean(), 0.6, color=look["color"])
        if len(final) > 1:
            axes.vlines(place, final.min(), final.max(), color="#777777", linewidth=1.5)
        axes.plot(place + 0.42, ACCURACY[way.rule], **style.PUBLISHED, color=look["color"])
        axes.text(place, final.mean() + 1.5, f"{final.mean():.1f}", ha="center", va="bottom")
    labels = [str(_look(way.rule)["label"]).replace(" ", "\n").replace("-", "-\n") for way in WAYS]
    axes.set(ylabel="accuracy / %", xticks=range(len(WAYS)), xticklabels=labels, ylim=(0, 100))
    axes.axhline(10, **style.ROUNDING)


def _angles(axes: Axes, results: list[Result], layer: str) -> None:
    """Panels c to f: what a layer does to the signal that comes to it, from the first step on."""
    for way in WAYS[1:]:
        for result in _of(results, way.rule):
            sent = result.data["sent_angle"].sel(sent_layer=layer)
            axes.plot(
                result.data["step"], np.degrees(sent), **_look(way.rule, line=True) | {"markersize": 3}, markevery=5
            )
        axes.plot((0, STEPS), ANGLES[layer][way.rule], **style.PUBLISHED, color=_look(way.rule)["color"], clip_on=False)
    for start in STARTS:
        axes.plot((0, 2), (start, start), **style.THEORY)
    axes.axhline(90, **style.ROUNDING)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set(xlabel="step", ylabel="angle", ylim=(0, 100), xlim=(-0.2, 1.4 * STEPS), yticks=(0, 30, 60, 90))
    axes.set(xticks=(0, 1, 10, 100, 1000, 10_000), yticklabels=("0°", "30°", "60°", "90°"))
    axes.set_xticklabels(("0", "1", "10", "100", "10³", "10⁴"))
    axes.minorticks_off()


def _caption(results: list[Result]) -> str:
    """Return what to see, what was run, and whose it is."""
    cell, steps = results[0].cell, int(results[0].data.attrs["steps"])
    seeds = len({result.cell.seed for result in results})
    seen = sorted(((_final(results, way.rule).mean(), str(_look(way.rule)["label"])) for way in WAYS), reverse=True)
    order = ", ".join(f"{label} {value:.1f}" for value, label in seen)
    ways = ("usf-init", "usf-sn")
    least = ", ".join(
        f"{NAMES[layer]} "
        + " and ".join(
            f"{_least(results, way, layer):.1f}° ({theirs:g}°)" for way, theirs in zip(ways, pair, strict=True)
        )
        for layer, pair in LEAST.items()
    )
    digits = cell.data == "digits"
    images = "1,437 embedded digits" if digits else f"{cell.train or 50_000:,} images of CIFAR-10"
    tested = 360 if digits else cell.test or 10_000
    net = "a small net of the same layers: conv 1→16→32, dense 128→48→24→10, digits padded to 12×12"
    if not digits:
        net = (
            "architecture 1: conv 3→64→64, 5×5, with pool 2 after each, dense 576→384→192→10; random crops of 24×24 "
            "and flips, the middle in tests"
        )
    same = not digits and cell.train is None and cell.epochs == 50
    apart = "" if same else "; ours is a smaller run, to be compared within itself and not with theirs"
    drawn = "one seed" if seeds == 1 else f"{seeds} seeds, a line each; bars are means, grey lines from least to most"
    return f"""What to see. (a, b) Test accuracy of five ways to send errors back; in the end, in per cent: {order}. \
Rings: published by Lance & Kieu (2026) for all of CIFAR-10, 50 epochs, one seed{apart}. (c to f) ∠(B_lᵀż_l, W_lᵀż_l): \
what one layer alone does to the signal that comes to it. Feedback alignment starts at a right angle; sign-concordant \
feedback starts where theory has it (dashed: 30.00° for uSF-SN, 46.29° for uSF-Init with Gaussian B_0, weights \
uniform). Rings: published angles at the start and after {STEPS:,} steps; in between, those of the sign-concordant \
rules fell and rose again. Least on the way for uSF-Init and uSF-SN, here (published): {least}. Dotted: guessing, and \
a right angle.

What was run. {images}, {cell.epochs} epochs, {steps:,} steps, batch {cell.batch}, tested on {tested:,} images; {net}; \
Adam at 1e-3, weight decay 1e-4 for BP alone; B_0 ~ N(0, σ²), σ = 0.01 for FA and 0.1 for uSF-Init; {drawn}. FA \
dense: a random matrix between flattened maps; FA Toeplitz: a transposed convolution with a fixed random kernel; \
uSF-Init: |B_0| ⊙ sign(W); uSF-SN: ‖W‖ sign(W)/‖sign(W)‖. The first layer sends nothing back. Angles: of the mean \
cosine over 64 test images.

Whose it is. That plain feedback alignment does not scale to convolutional nets, and that signs with normalised \
magnitudes are competitive with backprop, is claimed by Moskovitz, Litwin-Kumar & Abbott (2018); rules, net, rates and \
σ are those of Lance & Kieu (2026). Standardised channels, torch's start of the weights, and weights whose norms are \
not held, are our choices."""


FIGURE = Figure(
    name="convnets",
    title="Five ways back through a convolutional net",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Six panels. a: test accuracy over epochs for backprop, feedback alignment dense and Toeplitz, and two "
        "sign-concordant rules. b: bars of the last accuracies with rings at the published ones. c to f: the angle "
        "between the true and the sent-back signal over steps at the second convolution and the three dense layers: "
        "near 90 degrees at first for feedback alignment, from 30 and 46 degrees for the sign-concordant rules."
    ),
    draw=draw,
)
