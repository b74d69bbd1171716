"""Which of two studies a figure shows in full: the whole one, or the part that needs no GPU."""

from __future__ import annotations

from importlib.util import find_spec

from sims.made import device
from sims.recorded import recorded
from sims.study import Study


def largest(fast: bool, whole: Study, part: Study) -> Study:
    """Return the study to show: the whole where it is fast, on record, or a GPU is there; or else its part."""
    gpu = find_spec("torch") is not None and device().type == "cuda"
    return whole if fast or gpu or recorded(whole) is not None else part
