"""E2: modes that learn one by one, and the order in which they do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa import InputError
from linfa.closed_forms import AlignedModes
from tests.closed_forms.twin import distance, frame, moments_task, simulated
from tests.shapes import shapes_unchecked

pytestmark = pytest.mark.usefixtures("as_users_run_it")

TARGETS = [0.5, 1.0, 2.0, 2.7, 2.9, 3.2, 4.0, 6.0]


def aligned(widths, targets, feedback, first, second, rng):
    """Return a network, rule and task whose matrices share random singular vectors."""
    n, h, p = widths
    U, R, V = frame(p, p, rng), frame(h, p, rng), frame(n, p, rng)
    net = linfa.Weights(((R * first) @ V.T, (U * second) @ R.T))
    return net, linfa.FeedbackAlignment(((U * feedback) @ R.T,)), moments_task((U * targets) @ V.T)


# The numbers of theory's E2 ------------------------------------------------------------------------------------------


def test_from_zero_large_components_come_first():
    times = AlignedModes(TARGETS, 1.0).learning_times()
    assert times.round(3).tolist() == [4.769, 3.004, 1.893, 1.549, 1.477, 1.383, 1.192, 0.910]


def test_from_a_negative_constant_small_components_come_first_below_the_threshold():
    modes = AlignedModes.with_constant(TARGETS, 1.0, first=-2.5, constant=-3.0)
    times = modes.learning_times()
    assert times.round(3).tolist() == [0.916, 0.974, 1.304, 2.308, 8.462, 3.887, 2.265, 1.380]
    below = np.array(TARGETS) < modes.thresholds
    assert np.all(np.diff(times[below]) > 0)
    assert np.all(np.diff(times[~below]) < 0)


def test_the_threshold_separates_three_rests_from_one():
    modes = AlignedModes.with_constant(TARGETS, 1.0, first=-2.5, constant=-3.0)
    assert np.allclose(modes.thresholds, (2 * 3 / 3) ** 1.5, rtol=1e-15)
    assert [len(r) for r in modes.roots()] == [3, 3, 3, 3, 1, 1, 1, 1]
    for i, roots in enumerate(modes.roots()):
        assert np.allclose(TARGETS[i] + 3 * roots - roots**3 / 2, 0, atol=1e-14)
        assert np.min(np.abs(roots - modes.limits[i])) < 1e-14
    assert np.all(AlignedModes(TARGETS, 1.0).thresholds == 0)
    # With any feedback: c and K together set the threshold.
    scaled = AlignedModes.with_constant([1.0, 1.0], [2.0, -0.5], 0.0, [-3.0, 6.0])
    for edge, c, K in zip(scaled.thresholds, scaled.feedback, scaled.constants, strict=True):
        counts = [len(AlignedModes.with_constant([f * edge], c, 0.0, K).roots()[0]) for f in (0.999, 1.001)]
        assert counts == [3, 1]


def test_learning_slows_down_critically_at_the_threshold():
    edge = 2.0**1.5
    modes = AlignedModes.with_constant(edge * (1 + np.array([1e-4, 1e-6, 1e-8])), 1.0, first=-2.5, constant=-3.0)
    arrival = np.array([float(flow.time(2.0)) for flow in modes._flows])
    # The saddle-node law: the time in the bottleneck grows as (λ − λ_c)^{−1/2}.
    assert np.allclose(np.diff(np.log10(arrival)), 1.0, atol=0.02)


def test_half_times_from_zero_fall_as_the_two_thirds_power():
    sigma = np.geomspace(0.01, 100, 9)
    times = AlignedModes(sigma, 0.8).learning_times(0.5)
    assert np.polyfit(np.log(sigma), np.log(times), 1)[0] == pytest.approx(-2 / 3, abs=1e-10)
    half = [AlignedModes(sigma, 0.8).from_zero(i).half_time().item() for i in range(9)]
    assert np.allclose(times, half, rtol=1e-11, atol=0)


# Against the whole network -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), p=st.integers(1, 3), extra=st.integers(0, 3), repeated=st.booleans())
@shapes_unchecked()
def test_the_modes_are_the_flow_of_the_network(seed, p, extra, repeated):
    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.5, 2, p), rng.choice([-1, 1], p) * rng.uniform(0.5, 1.5, p), *rng.uniform(-1, 1, (2, p))]
    if repeated:
        values = [np.full(p, v[0]) for v in values]
    net, rule, task = aligned((p + extra, p + 1, p), *values, rng)
    modes = AlignedModes.of(net, rule, task)
    assert np.allclose(np.sort(modes.targets), np.sort(values[0]), rtol=1e-12)
    run, bound = simulated(net, rule, task, 4.0)
    # On the way a mode of K < 0 may stretch errors by e^{|cK|t} at most.
    stretch = np.exp(4 * np.max(np.maximum(-modes.feedback * modes.constants, 0)))
    loss = modes.excess_loss(run.times.values)
    for k, t in enumerate(run.times.values):
        assert distance(run, k, modes.weights(float(t))) <= bound * stretch
        assert abs(loss[k] - float(run.loss[k])) <= bound * stretch * 10 * p


def test_modes_without_a_target_and_repeated_modes_are_found():
    rng = np.random.default_rng(1)
    values = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.2, 0.5, -0.3], [0.1, 0.0, 0.4]])
    net, rule, task = aligned((5, 4, 3), *values, rng)
    modes = AlignedModes.of(net, rule, task)
    run, bound = simulated(net, rule, task, 3.0)
    assert distance(run, -1, modes.weights(3.0)) <= 10 * bound
    times = modes.learning_times()
    assert sorted(times)[::2] == [0.0, np.inf]  # of a zero target only zero is within 1 %
    assert AlignedModes([0.0], 1.0).learning_times().tolist() == [0.0]


def test_from_zero_the_closed_form_is_the_same():
    modes, t = AlignedModes([2.0, 0.7], 1.5), np.array([0.0, 0.01, 0.5, 3.0, 10.0])
    for i in range(2):
        assert np.allclose(modes.at(t)[0][:, i], 1.5 * modes.from_zero(i).at(t)[:, 0], rtol=1e-12, atol=0)
        assert np.allclose(modes.strength(t)[:, i], modes.from_zero(i).strength(t)[:, 0], rtol=1e-12, atol=0)


# Where it does not hold ----------------------------------------------------------------------------------------------


def broken(name, rng):
    """Return (net, rule, task) with one hypothesis dropped, and the solution of what it was before."""
    values = np.array([[2.0, 1.0], [1.0, 0.7], [0.2, 0.5], [0.1, -0.3]])
    net, rule, task = aligned((3, 4, 2), *values, rng)
    modes = AlignedModes.of(net, rule, task)
    W_1, W_2 = net
    if name == "white":
        task = moments_task(task.cross, np.diag([1.5, 1.0, 0.5]))
    elif name == "first":
        net = linfa.Weights((W_1 + 0.1 * rng.standard_normal(W_1.shape), W_2))
    elif name == "second":
        net = linfa.Weights((W_1, W_2 + 0.1 * rng.standard_normal(W_2.shape)))
    elif name == "feedback":
        rule = linfa.FeedbackAlignment((rule.matrices[0] + 0.1 * rng.standard_normal(W_2.shape),))
    elif name == "moving":
        rule = linfa.Backprop()
    return net, rule, task, modes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("white", "whitened inputs"),
        ("first", "W_1 diagonal in the modes|orthogonal"),
        ("second", "W_2 diagonal in the modes|orthogonal"),
        ("feedback", "diagonal in the modes|orthogonal"),
        ("moving", "fixed feedback path"),
    ],
)
def test_it_refuses_where_a_hypothesis_fails_and_there_it_would_be_wrong(name, message):
    net, rule, task, modes = broken(name, np.random.default_rng(0))
    with pytest.raises(InputError, match=message):
        AlignedModes.of(net, rule, task)
    run, bound = simulated(net, rule, task, 2.0)
    off = np.abs(run.weights(-1).products()[-1] - modes.weights(2.0).products()[-1]).max()
    assert off > 1e3 * bound


def test_it_refuses_other_nets():
    net, task = linfa.Weights.zero((3, 1, 2)), linfa.Task.teacher(3, 2, 0)
    with pytest.raises(InputError, match="full row rank"):
        AlignedModes.of(net, linfa.FeedbackAlignment.random(net, 0), task)
    deep = linfa.Weights.zero((3, 2, 2, 2))
    with pytest.raises(InputError, match="2 layers; this network has 3"):
        AlignedModes.of(deep, linfa.FeedbackAlignment.random(deep, 0), task)
    with pytest.raises(InputError, match=r"feedback c ≠ 0 .* modes \[1\]"):
        AlignedModes([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(InputError, match="one per mode"):
        AlignedModes([1.0, 2.0], [1.0, 1.0, 1.0])
    with pytest.raises(InputError, match="must be finite"):
        AlignedModes([np.nan], 1.0)
    with pytest.raises(InputError, match="between 0 and 1"):
        AlignedModes([1.0], 1.0).learning_times(0.0)
    with pytest.raises(InputError, match="belong to no network"):
        AlignedModes([1.0], 1.0).weights(1.0)
    with pytest.raises(InputError, match="a zero start"):
        AlignedModes([1.0], 1.0, first=0.1).from_zero(0)
    net = linfa.Weights.zero((3, 2, 2))
    with pytest.raises(InputError, match="3 inputs and 2 outputs"):
        AlignedModes.of(net, linfa.FeedbackAlignment.random(net, 0), linfa.Task.teacher(2, 2, 0))
