"""Draws: a function of seed and place alone, independent of each other, and of the law that they say."""

import io
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from linfa.errors import InputError
from linfa.nn import draws
from linfa.nn.draws import FanIn, Gaussian, Uniform, Xavier, seed_of, uniform
from tests.nn.strategies import SEEDED, apart, fed, gradients, mlp, normal, seeds, small_net

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


def test_what_is_drawn_in_blocks_is_what_is_drawn_at_once(monkeypatch):
    whole = uniform((7, 11, 13), 5, torch.double)
    for block in (1, 10, 100, 1000):
        monkeypatch.setattr(draws, "BLOCK", {"cpu": block})
        assert torch.equal(uniform((7, 11, 13), 5, torch.double), whole)


def bytes_held(model, h):
    """Return what a loss keeps for the backward pass, the model's own tensors left out."""
    held = {}
    keep = lambda t: (held.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}), t)[1]  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(h).square().sum()
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    return sum(n for at, n in held.items() if at not in own)


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("dtype", [torch.double, torch.float, torch.bfloat16])
def test_seeded_feedback_is_the_buffer_s_and_holds_nothing(name, dtype):
    h = normal(3, 2, 8, 8, dtype=dtype)
    kept, seeded = (fed(small_net(dtype), rule, h) for rule in (name, SEEDED[name]))
    assert apart(gradients(seeded, h), gradients(kept, h)) == 0
    assert apart(gradients(seeded, h), gradients(small_net(dtype), h)) > 0.05
    assert not list(seeded.buffers())
    assert len(list(kept.buffers())) == 4
    assert bytes_held(seeded, h) == bytes_held(kept, h)
    # Backprop's convolutions hold the padded input, and so do these.
    assert bytes_held(seeded, h) <= bytes_held(small_net(dtype), h)


def most_held(model, h):
    """Return the most bytes that a step has allocated at one time."""
    gradients(model, h)
    model.zero_grad()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        model(h).square().sum().backward()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


@pytest.mark.parametrize("name", ["fa", "frsf"])
def test_a_step_with_seeded_feedback_takes_backprop_s_memory_at_its_peak(name):
    """Many weights, and then large maps; all the while one B is there, and what makes it in small blocks."""
    for plain, h in (
        (mlp(256, 1024, 1024, 512, 10), normal(8, 256, dtype=torch.float)),
        (small_net(), normal(64, 2, 8, 8, dtype=torch.float)),
    ):
        largest = 4 * max(p.numel() for p in plain.parameters())
        more = most_held(fed(plain, SEEDED[name]), h) - most_held(plain, h)
        # B itself, for frsf the signs too, and two blocks of 64 bits: nothing that adds up over the layers.
        assert more <= (1 if name == "fa" else 2) * largest + 2 * 8 * min(draws.BLOCK["cpu"], largest // 4)


@pytest.mark.parametrize("name", SEEDED)
def test_seeds_are_in_the_checkpoint(name):
    h = normal(3, 2, 8, 8, dtype=torch.float)
    one, other = (fed(small_net(), SEEDED[name], h, seed=s) for s in (1, 2))
    needed = gradients(one, h)
    assert apart(gradients(other, h), needed) > 0.1
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert apart(gradients(other, h), needed) == 0


@pytest.mark.parametrize("name", ["fa-dense", "dfa"])
def test_seeded_feedback_of_another_size_is_refused(name):
    h = normal(3, 2, 8, 8, dtype=torch.float)
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = fed(net, SEEDED[name], h)
    model(h).sum().backward()
    with pytest.raises(InputError, match=r"numbers? .*\(\d+, \d+\)"):
        model(normal(3, 2, 9, 9, dtype=torch.float).requires_grad_())
