"""Draws: a function of seed and place alone, independent of each other, and of the law that they say."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from linfa.nn.draws import FanIn, Gaussian, Uniform, Xavier, seed_of, uniform
from linfa.nn.rules import FeedbackAlignment
from tests.nn.strategies import apart, fed, gradients, normal, seeds, small_net

LAWS = {"uniform": Uniform(0.5), "Gaussian": Gaussian(2.0), "Xavier": Xavier(), "FanIn": FanIn(2.0)}


def mixed_slowly(seed, n):
    """Return u by SplitMix64 in Python's whole numbers, one after the other."""
    gamma, first, second, bits = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1

    def mix(z):
        z = (z ^ gamma) * gamma & bits
        z = (z ^ z >> 30) * first & bits
        z = (z ^ z >> 27) * second & bits
        return z ^ z >> 31

    return [(2 * (mix(i ^ mix(seed)) >> 41 & 2**23 - 1) + 1) / 2**24 for i in range(n)]


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_the_numbers_are_those_of_the_slow_twin(seed, shape):
    u = uniform(shape, seed, torch.double)
    assert u.flatten().tolist() == mixed_slowly(seed, u.numel())
    assert torch.equal(u, uniform(shape, torch.tensor(seed), torch.double))
    assert 0 < float(u.min()) <= float(u.max()) < 1


@pytest.mark.parametrize("law", LAWS)
def test_the_numbers_are_the_same_in_every_precision(law):
    exact = LAWS[law]((40, 50), 3, torch.double)
    for dtype in (torch.float, torch.bfloat16, torch.half):
        drawn = LAWS[law]((40, 50), 3, dtype)
        assert drawn.dtype == dtype
        assert bool(torch.isfinite(drawn).all())
        assert torch.allclose(drawn.double(), exact, rtol=8 * torch.finfo(dtype).eps, atol=2.0**-22)


def test_the_laws_are_what_they_say():
    """Kolmogorov–Smirnov at level 1e-3 for four laws: a right draw fails with probability below 0.4 %."""
    n = 20_000
    cdfs = {
        "uniform": stats.uniform(-0.5, 1).cdf,
        "Gaussian": stats.norm(0, 2).cdf,
        "Xavier": stats.uniform(-np.sqrt(6 / 300), 2 * np.sqrt(6 / 300)).cdf,
        "FanIn": stats.norm(0, 2 / np.sqrt(100)).cdf,
    }
    for name, cdf in cdfs.items():
        drawn = LAWS[name]((n // 100, 100), 5, torch.double).flatten().numpy()
        assert stats.kstest(drawn, cdf).pvalue > 1e-3
        assert stats.kstest(1.05 * drawn, cdf).pvalue < 1e-3  # what is 5 % too wide is seen


def test_neighbouring_seeds_names_and_places_are_independent():
    """Correlations of n pairs have standard deviation 1/√n; five of these hold with probability above 1 − 1e-4."""
    n = 10_000
    lots = 0, 1, 2, seed_of(0, "conv1"), seed_of(0, "conv2"), seed_of(1, "conv1")
    centred = [u - u.mean() for u in (uniform((n,), s, torch.double) for s in lots)]
    for a, b in itertools.combinations(centred, 2):
        assert abs(float((a * b).sum() / a.norm() / b.norm())) < 5 / np.sqrt(n)
    for lag in (1, 2, 64):
        a, b = centred[0][:-lag], centred[0][lag:]
        assert abs(float((a * b).sum() / a.norm() / b.norm())) < 5 / np.sqrt(n)


def test_seeded_feedback_is_the_buffer_s_and_holds_nothing():
    h = normal(3, 2, 8, 8)
    kept, seeded = (fed(small_net(torch.double), FeedbackAlignment(seeded=s)) for s in (False, True))
    plain = small_net(torch.double)
    assert apart(gradients(seeded, h), gradients(kept, h)) < 1e-15
    assert not list(seeded.buffers())
    assert len(list(kept.buffers())) == 4

    def bytes_held(model):
        held = {}
        keep = lambda t: (held.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}), t)[1]  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            model(h)
        own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
        return sum(n for at, n in held.items() if at not in own)

    assert bytes_held(seeded) == bytes_held(kept)
    # Backprop's convolutions hold the padded input, and so do these.
    assert bytes_held(seeded) <= bytes_held(plain)


def test_a_seed_is_in_the_checkpoint():
    one, other = (fed(small_net(), FeedbackAlignment(seeded=True), seed=s) for s in (1, 2))
    h = normal(3, 2, 8, 8, dtype=torch.float)
    assert apart(gradients(one, h), gradients(other, h)) > 0.1
    other.load_state_dict(one.state_dict())
    assert apart(gradients(one, h), gradients(other, h)) == 0
