"""Figure `depth`: what rules learn in deeper nets, plain and residual, and how far off the error is, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D

from figures import style
from figures.figure import Collect, Figure
from figures.preset import largest
from sims.depth import PART, RULES, STUDY
from sims.study import Result

NAMES = {"vgg": "plain nets (VGG)", "resnet": "residual nets"}
"""The two families."""

SIGNS = ("usf", "frsf", "usf-sn")


def draw(fast: bool, collect: Collect) -> tuple[Sheet, str]:
    """Return the four panels and their caption."""
    results = collect(largest(fast, STUDY, PART))
    sheet = style.sheet(style.DOUBLE, 5.0)
    (a, b), (c, d) = sheet.subplots(2, 2, sharey="row")
    for axes, letter, net in ((a, "a", "vgg"), (b, "b", "resnet")):
        style.letter(axes, letter, NAMES[net])
        _accuracies(axes, results, net)
    for axes, letter, net in ((c, "c", "vgg"), (d, "d", "resnet")):
        style.letter(axes, letter, f"the deepest of the {NAMES[net]}: {_depths(results, net)[-1]} layers")
        _signals(axes, results, net)
    a.set(ylabel="test accuracy / %", ylim=(0, None))
    c.set(ylabel="∠(sent, true signal)", ylim=(0, 128), yticks=(0, 30, 60, 90, 120))
    c.yaxis.set_major_formatter("{x:.0f}°")
    handles = [Line2D([], [], **style.look(rule, line=True)) for rule in RULES]
    handles.append(Line2D([], [], label="if every layer turned it anew", **style.THEORY))
    sheet.legend(handles=handles, loc="outside lower center", ncols=7)
    return sheet, _caption(results)


def _depths(results: list[Result], net: str) -> list[int]:
    return sorted({result.cell.depth for result in results if result.cell.setting.net == net})


def _of(results: list[Result], net: str, rule: str, depth: int) -> list[Result]:
    """Return the results of a net under a rule, one per seed."""
    wanted = (net, rule, depth)
    return [r for r in results if (r.cell.setting.net, r.cell.setting.rule, r.cell.depth) == wanted]


def _accuracy(results: list[Result], net: str, rule: str, depth: int) -> list[float]:
    """Return the last test accuracies, per cent, one per seed."""
    return [100 * float(result.data["test_accuracy"][-1]) for result in _of(results, net, rule, depth)]


def _mean(results: list[Result], net: str, rule: str, depth: int) -> float:
    return float(np.mean(_accuracy(results, net, rule, depth)))


def _accuracies(axes: Axes, results: list[Result], net: str) -> None:
    """Panels a and b: a line per rule through the means, a mark per seed."""
    depths = _depths(results, net)
    for rule in RULES:
        look = style.look(rule)
        axes.plot(depths, [_mean(results, net, rule, depth) for depth in depths], **look | style.SIMULATION)
        for depth in depths:
            found = _accuracy(results, net, rule, depth)
            axes.plot([depth] * len(found), found, **look)
    axes.axhline(10, **style.ROUNDING)
    axes.set(xlabel="layers", xticks=depths)


def _layers(results: list[Result], net: str) -> list[str]:
    """Return the names of the layers of the deepest net, from the read-out down."""
    deepest = _of(results, net, "bp", _depths(results, net)[-1])[0]
    return [str(name) for name in deepest.data["weight_layer"].values[::-1]]


def _angles(results: list[Result], net: str, rule: str, kind: str, layers: list[str]) -> np.ndarray:
    """Return the last angles of a kind in the deepest net, layer by layer, radians, as means over seeds."""
    found = _of(results, net, rule, _depths(results, net)[-1])
    return np.mean([r.data[f"{kind}_angle"].sel({f"{kind}_layer": layers}).values for r in found], axis=0)


def _signal(results: list[Result], net: str, rule: str) -> np.ndarray:
    """Return ∠(ż_l, true ż_l) in degrees, from the read-out down."""
    return np.degrees(_angles(results, net, rule, "signal", _layers(results, net)))


def _turned_anew(results: list[Result], net: str, rule: str) -> np.ndarray:
    """Return arccos Π cos∠(W, B) over the layers above, in degrees, from the read-out down."""
    cosines = np.cos(_angles(results, net, rule, "weight", _layers(results, net)[:-1]))
    return np.degrees(np.arccos([1.0, *np.cumprod(cosines)]))


def _signals(axes: Axes, results: list[Result], net: str) -> None:
    """Panels c and d: how far off the signal is after so many layers."""
    for rule in RULES[1:]:
        axes.plot(_signal(results, net, rule), **style.look(rule, line=True))
    for rule in SIGNS if net == "vgg" else ():  # where shortcuts pass layers by, no product of all of them is due
        axes.plot(_turned_anew(results, net, rule), **style.THEORY)
    axes.axhline(90, **style.ROUNDING)
    axes.set(xlabel="layers below the read-out", xticks=range(0, len(_layers(results, net)), 2))


def _caption(results: list[Result]) -> str:
    """Return what to see, what was run, and whose it is."""
    setting, steps = results[0].cell.setting, int(results[0].data.attrs["steps"])
    seeds = len({result.cell.setting.seed for result in results})
    return f"""What to see. (a, b) Test accuracies in per cent, from shallowest to deepest net. {_seen(results)} \
(c, d) How far the signal at the output of a layer is off the true one, in the deepest nets, after the last step. \
{_off(results)} Dashed, in plain nets: arccos of the product of cos∠(W, B) of the layers passed, for the three rules \
of signs: what the angle would be if every layer turned the signal in a direction of its own; a signal that lies where \
the weights are large is turned by less. Dotted: guessing, and a right angle.

What was run. {_ran(results)}; {setting.epochs} epochs, {steps:,} steps of SGD with momentum 0.9, batch \
{setting.batch}, rate {setting.optimiser.rate:g}, a tenth after epochs \
{", ".join(str(epoch) for epoch in setting.optimiser.drops)}, decay {setting.optimiser.decay:g}, one for all \
rules and so not the best of each; \
{"one seed" if seeds == 1 else f"means of {seeds} seeds, a mark for each"}. Plain nets: three stages of equally many \
convolutions 3×3, a pool of 2 after each, and a dense layer; residual nets: three stages of blocks of two \
convolutions, shortcuts without parameters; all with BatchNorm. Weights and feedback Xavier-uniform, every layer \
through its B, the first sends nothing. Angles: of the mean cosine over 64 test images, with BatchNorm as in training.

Whose it is. That plain feedback alignment does not scale to deep convolutional nets, and that signs with normalised \
magnitudes do, is claimed by Moskovitz, Litwin-Kumar & Abbott (2018); the settings are those of BioTorch (Sanfiz & \
Akrout 2021) with far fewer epochs, and the rate's falls in proportion. The plain nets, the depths, and angles against \
depth are ours."""


def _ran(results: list[Result]) -> str:
    """Return which images, and which nets."""
    setting = results[0].cell.setting
    digits = setting.data == "digits"
    images = f"{setting.train:,} {'embedded digits' if digits else 'images of CIFAR-10'}"
    cut = f"{setting.crop}×{setting.crop}" + (f" with a margin of {setting.margin}" if setting.margin else "")
    crops = "" if digits else f", random crops of {cut} and flips, the middle in tests"
    widths = next(r.cell.widths for r in results if r.cell.widths)
    nets = "nets" if widths == (16, 32, 64) else f"plain nets of {', '.join(map(str, widths))} channels, residual ones"
    return f"{images}{crops}, tested on {setting.test or 10_000:,}; {nets} of 16, 32, 64 channels"


def _seen(results: list[Result]) -> str:
    """Return the accuracies at both ends of both families, in words, and what is left of backprop's."""
    said = []
    for net, name in NAMES.items():
        first, *_, last = _depths(results, net)
        ends = {rule: [_mean(results, net, rule, depth) for depth in (first, last)] for rule in RULES}
        order = ", ".join(f"{style.RULES[rule].label} {a:.1f} → {b:.1f}" for rule, (a, b) in ends.items())
        kept = [(ends["fa"][k] - 10) / (ends["bp"][k] - 10) for k in (0, 1)]
        said.append(
            f"{name[0].upper()}{name[1:]}, {first} → {last} layers: {order}; of what BP has above guessing, FA has "
            f"{kept[0]:.0%} → {kept[1]:.0%}."
        )
    return " ".join(said)


def _off(results: list[Result]) -> str:
    """Return in words how far off signals are after the read-out, and at the bottom."""
    said = []
    for net, name in NAMES.items():
        found = {rule: _signal(results, net, rule)[[1, 2, -1]] for rule in RULES[1:]}
        order = ", ".join(
            f"{style.RULES[rule].label} " + ", ".join(f"{angle:.0f}°" for angle in angles)
            for rule, angles in found.items()
        )
        said.append(f"{name[0].upper()}{name[1:]}, after one layer, after two, and at the bottom: {order}.")
    return " ".join(said)


FIGURE = Figure(
    name="depth",
    title="Deeper nets, plain and residual",
    paper=STUDY.paper,
    claim=STUDY.claim,
    alt=(
        "Four panels, plain nets on the left, residual nets on the right. Above: test accuracy against the number of "
        "layers for backprop, feedback alignment, direct feedback alignment and three rules of signs. Below: the angle "
        "between the signal that is sent and the true one against the number of layers that it has passed; feedback "
        "alignment is near a right angle after two layers, the rules of signs stay below it."
    ),
    draw=draw,
)
