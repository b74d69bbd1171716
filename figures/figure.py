"""What a figure is: a claim, the paper it belongs to, and a function that draws it from what the studies measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet

Collect = Callable[[Any], Any]
"""Study → what it measured; the gallery notes which studies were asked."""

Draw = Callable[[bool, Collect], "tuple[Sheet, str]"]
"""(fast, collect) → the picture, and the caption that says what to see and what was run."""


@dataclass(frozen=True)
class Figure:
    """A figure of the gallery.

    Args:
        name: on the command line, and of its files.
        title: its heading.
        paper: whose claim it shows.
        claim: that claim, in one sentence.
        alt: the picture in words, for those who cannot see it.
        draw: makes the picture and its caption; called under `style.applied`.
    """

    name: str
    title: str
    paper: str
    claim: str
    alt: str
    draw: Draw

    def line(self) -> str:
        """Return the figure on one line: name, paper, claim."""
        return f"{self.name:<16} {self.paper} · {self.claim}"
