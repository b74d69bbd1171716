"""The look: one colour and one marker per rule, one line style per origin, two widths, nothing below 7 pt.

The colours were searched for a least CIELAB distance of 20 between any two, as seen by normal, deuteranopic and
protanopic eyes (Machado et al. 2009), within families: blue for feedback alignment, green for direct feedback, yellow
to red for signs, plum for Kolen–Pollack. In greyscale the markers tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter

COLUMN, DOUBLE = 3.4, 7.0
"""Widths in inches: one column, both columns."""


class Look(NamedTuple):
    """How a rule looks, in every figure."""

    color: str
    marker: str
    label: str


RULES: dict[str, Look] = {
    "bp": Look("#000000", "o", "BP"),
    "fa": Look("#0072b2", "s", "FA"),
    "rho-fa": Look("#22ccff", "D", "ρ-FA"),
    "dfa": Look("#229966", "^", "DFA"),
    "dfa-virtual": Look("#11dd88", "v", "DFA (virtual read-out)"),
    "readout": Look("#aaaaaa", "X", "read-out only"),
    "interpolated": Look("#0044ee", "d", "interpolated"),
    "usf": Look("#dd6611", "P", "uSF"),
    "brsf": Look("#ddbb00", "*", "brSF"),
    "frsf": Look("#ff0055", "<", "frSF"),
    "usf-init": Look("#aa3311", ">", "uSF-Init"),
    "usf-sn": Look("#771111", "h", "uSF-SN"),
    "kp": Look("#883366", "p", "Kolen–Pollack"),
}
"""Every rule of `linfa.rules.REGISTRY`."""

STARTS: dict[str, Look] = {
    "dominated": Look("#0072b2", "D", "FA, dominated start"),
    "aligned": Look("#66b2e6", "v", "FA, aligned start (control)"),
    "scaled": Look("#99aabb", "X", "FA, scaled start (control)"),
}
"""Feedback alignment from the starts of `sims.starts`, in its blues."""

SIMULATION: dict[str, Any] = {"linestyle": "-", "linewidth": 1.5}
"""What was measured: solid."""

THEORY: dict[str, Any] = {
    "linestyle": (0, (4, 3)),
    "linewidth": 0.9,
    "color": "black",
    "zorder": 4,
    "path_effects": [Stroke(linewidth=1.7, foreground="white", alpha=0.8), Normal()],
}
"""What was predicted: thin, dashed, black, with a white edge that keeps it visible on top of any measurement."""

PUBLISHED: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": "none",
    "markeredgewidth": 1.1,
    "linestyle": "none",
}
"""A published value: a ring in the rule's colour."""

ROUNDING: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9, "color": "#555555", "zorder": 1}
"""Where float64 ends: dotted grey."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.markersize": 3.5,
    "lines.markeredgewidth": 0.3,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType, embedded: text stays text
    "axes.unicode_minus": True,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save with the style, whatever the user's own settings are, and leave those as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of a width (`COLUMN` or `DOUBLE`) and a height in inches, to be drawn under `applied`."""
    return Figure(figsize=(width, height))


def look(rule: str, *, line: bool = False) -> dict[str, Any]:
    """Return the plot options of a rule: its colour and marker, joined by a solid line or not.

    >>> look("fa")["color"], look("fa")["linestyle"]
    ('#0072b2', 'none')
    """
    color, marker, label = RULES[rule]
    joined = SIMULATION if line else {"linestyle": "none"}
    return {"color": color, "marker": marker, "label": label, "markeredgecolor": "white", **joined}


def letter(axes: Axes, name: str, title: str) -> None:
    """Head a panel: its letter in bold, and what it shows."""
    axes.set_title(rf"$\mathbf{{{name}}}$  {title}")


def degrees(axis: Any) -> None:
    """Label an axis whose data are in radians in degrees."""
    axis.set_major_formatter(FuncFormatter(lambda angle, _: f"{np.degrees(angle):.0f}°"))
