"""Rates by pilot: images that are held out are not learnt from, and a run that diverges gives way to a lower rate."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import linfa
from linfa.nn.train import Data
from sims.rates import bounded, first_that_ends, ranked, split


def numbered(n):
    x = torch.arange(n, dtype=torch.float32)[:, None]
    return Data(x, torch.zeros(n, dtype=torch.long), -1 - x[:3], torch.zeros(3, dtype=torch.long))


def test_held_out_images_are_training_images_that_are_not_learnt_from():
    parts = split(numbered(50), 10, most=30)
    learnt, held = ({int(i) for i in x[:, 0]} for x in (parts.inputs, parts.test_inputs))
    assert (len(learnt), len(held)) == (30, 10)
    assert not learnt & held
    assert learnt | held <= set(range(50))  # no test image among them
    assert np.array_equal(split(numbered(50), 10).test_inputs, parts.test_inputs)
    with pytest.raises(linfa.InputError, match="of 5 training images, 1 to 4 can be held out; got 5"):
        split(numbered(5), 5)


def test_what_diverges_comes_last_and_gives_way():
    def run(rate):
        if rate > 0.05:
            raise linfa.DivergenceError("too fast")
        return rate

    assert ranked((0.1, 0.01, 0.03), run) == [0.03, 0.01, 0.1]
    assert first_that_ends((0.1, 0.03), run) == (0.03, 0.03)
    with pytest.raises(linfa.DivergenceError, match=r"diverges at every rate that was tried \(0.1, 0.2\): too fast"):
        first_that_ends((0.1, 0.2), run)
    with pytest.raises(ZeroDivisionError):
        ranked((0.1, 0.2), lambda rate: rate / 0)


def test_a_net_that_ends_far_worse_than_guessing_counts_as_diverged():
    bounded(np.array([5.0, 4.6]), 10)
    with pytest.raises(linfa.DivergenceError, match=r"the loss ends at 4.7, that of guessing is 2.3"):
        bounded(np.array([1.0, 4.7]), 10)
    with pytest.raises(linfa.DivergenceError, match="ends at nan"):
        bounded(np.array([np.nan]), 10)
