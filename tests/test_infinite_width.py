"""Infinite width: the limits are those derived, and networks of growing width meet them at the rate 1/√n."""

import dataclasses

import numpy as np
import pytest

import linfa
from linfa.systems.infinite_width import SCALINGS, InfiniteWidth

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
WIDE = [10**k for k in (4, 5, 6, 7, 8)]


def deviations(family, task, how, depth, members=20):
    """The root mean square of the deviation from the limit, over members, at the saved moments after the start."""
    n, p = task.n_in, task.n_out
    limit = linfa.solve(family.limit(n, p, depth, 5, members=members), task, how)
    rows = []
    for width in WIDE:
        run = linfa.solve(family.drawn((n, *(width,) * (depth - 1), p), 5, members=members), task, how)
        rows.append(np.sqrt(((run.loss - limit.loss) ** 2).mean("member_0")).values[1:])
    return np.array(rows)


def slopes(errors):
    return np.polyfit(np.log(WIDE), np.log(errors), 1)[0]


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("name", SCALINGS)
def test_the_limit_is_met_at_the_rate_one_over_root_n(name, depth):
    family = dataclasses.replace(SCALINGS[name](), weight_scale=0.9, feedback_scale=1.1)
    errors = deviations(family, linfa.Task.teacher(5, 3, 0), linfa.Descent(0.03, 40, saves=2), depth)
    # The next order of the deviation is 1/n: a hundredth of the first at the smallest width.
    assert np.all(np.abs(slopes(errors) + 0.5) < 0.02), slopes(errors)
    assert errors.max() < 0.1


def test_a_limit_with_a_wrong_scale_is_not_met():
    right, wrong = InfiniteWidth.standard(), InfiniteWidth.standard(feedback_scale=1.02)
    task, how = linfa.Task.teacher(5, 3, 0), linfa.Descent(0.03, 40, saves=2)
    limit = linfa.solve(wrong.limit(5, 3, 3, 5, members=20), task, how)
    run = linfa.solve(right.drawn((5, 10**8, 10**8, 3), 5, members=20), task, how)
    assert np.sqrt(((run.loss - limit.loss) ** 2).mean("member_0"))[1:].min() > 1e-3


@pytest.mark.parametrize("name", SCALINGS)
def test_the_limit_of_the_gram_matrices_is_the_one_derived(name):
    s, tau, n, p, L = 0.8, 1.3, 3, 2, 4
    family = dataclasses.replace(SCALINGS[name](), weight_scale=s, feedback_scale=tau)
    limit, wide = family.limit(n, p, L, 1).grams, family.drawn((n, *(10**12,) * (L - 1), p), 1).grams
    for a, b in zip((*limit.grams, limit.readout), (*wide.grams, wide.readout), strict=True):
        assert norm(a - b) < 1e-4
    H = 0.0 if name == "ntk" else tau ** (2 * (L - 1))
    assert np.allclose(np.diag(limit.grams[3])[: n + p], [*(s**6,) * n, *(s**4 * H,) * p])
    assert (norm(limit.readout[:, :n]) == 0) == (name == "mean-field")


@pytest.mark.parametrize("name", SCALINGS)
def test_built_networks_of_a_scaling_have_its_law(name):
    """The root mean square read-out, path and activity of one wide net that was built are those that were promised."""
    family, widths = dataclasses.replace(SCALINGS[name](), weight_scale=0.9), (4, 900, 400, 3)
    net, rule = family.built(widths, 3)
    free, drawn = linfa.WidthFree(net, rule).grams, family.drawn(widths, 3, members=200).grams
    for G, D in zip((*free.grams[1:], free.readout), (*drawn.grams[1:], drawn.readout), strict=True):
        spread = D.std(0) + 1e-12
        assert np.all(np.abs(G - D.mean(0)) <= 6 * spread)
    W = family.scales(widths)[0]
    for a, w in zip(W, net, strict=True):
        expected = a / np.sqrt(w.shape[1])
        assert abs(np.std(w) / expected - 1) < 6 / np.sqrt(2 * w.size)


def test_the_standard_start_with_one_rate_for_all_layers_is_lazy():
    """`Weights.standard` under random feedback, in units of time n_0/n, has the limit called ntk, at the rate 1/√n."""
    task, members, errors = linfa.Task.teacher(5, 3, 0), 20, []
    limit = linfa.solve(InfiniteWidth.ntk().limit(5, 3, 3, 5, members=members), task, linfa.Descent(0.03, 40, saves=2))
    for n in WIDE:
        how = linfa.Descent(0.03 * 5 / n, 40, saves=2)
        run = linfa.solve(linfa.WidthFree.gaussian((5, n, n, 3), 5, members=members), task, how)
        errors.append(np.sqrt(np.mean((run.loss.values - limit.loss.values) ** 2, axis=1))[1:])
    assert np.all(np.abs(slopes(np.array(errors)) + 0.5) < 0.02)


def test_the_lazy_limit_moves_the_read_out_alone():
    """ḟ = E through s^{2(L−1)} I: X_L(t) = T + (X_L(0) − T) exp(−s^{2(L−1)} t) on whitened data."""
    task, s, t = linfa.Task.teacher(4, 3, 0), 0.9, 2.0
    system = InfiniteWidth.ntk(weight_scale=s).limit(4, 3, 3, 1)
    run = linfa.solve(system, task, linfa.Flow(t, saves=1, rtol=1e-11))
    start = system.grams.readout[:, :4]
    gap = norm(start - task.cross) ** 2 / 2 * np.exp(-2 * s**4 * t)
    assert abs(run.loss[-1] - gap) < 1e-8


def test_implicit_steps_are_solved_at_infinite_width_too():
    """What is rounded does not know the width, so the stage equations are solved as well there as anywhere."""
    task, family = linfa.Task.teacher(5, 3, 2, input_spectrum=np.linspace(0.2, 3.0, 5)), InfiniteWidth.standard()
    systems = family.limit(5, 3, 3, 1), family.drawn((5, 10**14, 10**14, 3), 1)
    long, short = ([float(linfa.solve(s, task, linfa.Gauss(3.0, n)).loss[-1]) for s in systems] for n in (10, 40))
    for s, rough, fine in zip(systems, long, short, strict=True):
        true = float(linfa.solve(s, task, linfa.Flow(3.0, rtol=1e-12, atol=1e-15)).loss[-1])
        assert abs(fine - true) < 1e-8 < abs(rough - true) < 1e-5
    assert abs(long[0] - long[1]) < 1e-6


def test_an_infinite_width_says_what_is_wrong(as_users_run_it):
    with pytest.raises(linfa.InputError, match="weight_scale must be finite and ≥ 0"):
        InfiniteWidth.standard(weight_scale=np.nan)
    with pytest.raises(linfa.InputError, match="the depth must be a whole number ≥ 1; got 0"):
        InfiniteWidth.ntk().limit(3, 2, depth=0)
    with pytest.raises(linfa.InputError, match="every width must be a whole number ≥ 1"):
        InfiniteWidth.ntk().limit(0, 2, depth=2)
    with pytest.raises(linfa.InputError, match="whole number of members"):
        InfiniteWidth.ntk().limit(3, 2, depth=2, members=0)
    system = InfiniteWidth.mean_field().limit(3, 2, depth=2)
    with pytest.raises(linfa.InputError, match="drawn without its weights"):
        system.lift(system.start())
