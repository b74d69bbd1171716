"""The learning rate of a run, chosen on held-out images: every rule at its own best, and none at another's.

Random feedback bears smaller rates than backprop. At one rate for all, what separates two rules may be that one of
them is unstable there, and not how well its errors are aligned; so a pilot asks at several rates, on training images
that are held out of it. Test images have no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from linfa.errors import DivergenceError, InputError

if TYPE_CHECKING:
    from linfa.nn.train import Data

T = TypeVar("T")


def split(data: Data, held: int, most: int | None = None) -> Data:
    """Return a pilot's images: training images learnt from, and others, held out, in the place of the test images.

    Args:
        data: images.
        held: how many of the training images are held out, drawn at random, always the same ones.
        most: at most this many others are learnt from.

    Raises:
        InputError: where too few are left.
    """
    import torch

    if not 0 < held < len(data):
        raise InputError(f"of {len(data)} training images, 1 to {len(data) - 1} can be held out; got {held}")
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(data)))
    out, learnt = order[:held], order[held:][:most]
    x, y = data.inputs, data.targets
    return replace(data, inputs=x[learnt], targets=y[learnt], test_inputs=x[out], test_targets=y[out])


def ranked(rates: Sequence[float], pilot: Callable[[float], float]) -> list[float]:
    """Return the rates, best first, by the held-out accuracy of a pilot; of equals the least first, diverged ones last.

    >>> ranked((0.1, 0.01, 0.001), {0.1: 0.5, 0.01: 0.9, 0.001: 0.7}.__getitem__)
    [0.01, 0.001, 0.1]
    """

    def worth(rate: float) -> float:
        try:
            return pilot(rate)
        except DivergenceError:
            return -1.0

    return sorted(rates, key=lambda rate: (-worth(rate), rate)) if len(rates) > 1 else list(rates)


def first_that_ends(rates: Sequence[float], run: Callable[[float], T]) -> tuple[float, T]:
    """Return the first of the rates at which a run does not diverge, and what the run returned.

    Raises:
        DivergenceError: where it diverges at all of them.

    >>> first_that_ends((0.1,), lambda rate: 2 * rate)
    (0.1, 0.2)
    """
    last = None
    for rate in rates:
        try:
            return rate, run(rate)
        except DivergenceError as error:
            last = error
    raise DivergenceError(f"the run diverges at every rate that was tried ({', '.join(map(str, rates))}): {last}")


def bounded(losses: np.ndarray, classes: int) -> None:
    """Raise DivergenceError where the last of the losses is above twice that of guessing, ln n.

    >>> bounded(np.array([2.0, 1.0]), 10)
    """
    if not losses[-1] <= 2 * np.log(classes):
        raise DivergenceError(f"the loss ends at {losses[-1]:.3g}, that of guessing is {np.log(classes):.3g}")
