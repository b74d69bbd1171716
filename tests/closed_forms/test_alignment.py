"""E3 and E5: zero starts, whose alignment is explicit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa import InputError
from linfa.arrays import cosine
from linfa.closed_forms import ScalarOutput, ZeroStart, early_exponent, late_exponent, spread_cosine
from linfa.rules import State
from tests.closed_forms.twin import distance, frame, moments_task, simulated
from tests.shapes import shapes_unchecked
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("as_users_run_it")

SPECTRUM = [2.0, 1.0, 0.5, 0.25]


def orthogonal(widths, seed, direct=False):
    """Return a zero net with M_lᵀM_l = g_l I, and a task of its widths."""
    rng = np.random.default_rng(seed)
    net, p = linfa.Weights.zero(widths), widths[-1]
    if direct:
        rule = linfa.DirectFeedback(tuple(rng.uniform(0.7, 1.5) * frame(n, p, rng).T for n in widths[1:-1]))
    else:
        # B_l = β U_l U_{l−1}ᵀ with orthonormal columns: M_l keeps its columns orthogonal.
        frames = [frame(n, p, rng) for n in widths[1:-1]] + [np.eye(p)]
        rule = linfa.FeedbackAlignment(
            tuple(rng.uniform(0.7, 1.5) * V @ U.T for U, V in zip(frames, frames[1:], strict=False))
        )
    spectrum = np.sort(rng.uniform(0.3, 2, min(widths[0], p)))[::-1]
    return net, rule, linfa.Task.teacher(widths[0], p, rng, spectrum=spectrum)


@pytest.mark.parametrize(
    ("L", "early", "late"),
    [
        (2, [0.643], [0.8953]),
        (3, [0.643, 0.5323], [0.9767, 0.9185]),
        (4, [0.643, 0.5323, 0.502], [0.9947, 0.9796, 0.9274]),
    ],
)
def test_the_numbers_of_theory_s_e3(L, early, late):
    start = ZeroStart(SPECTRUM, np.ones(L - 1))
    assert start.early_alignment.round(4).tolist() == early
    assert start.final_alignment.round(4).tolist() == late
    ends = start.alignment(np.array([1e-9, 1e9]))
    assert np.allclose(ends, [start.early_alignment, start.final_alignment], rtol=0, atol=1e-9)
    assert [early_exponent(l) for l in range(1, L)] == [2.0**l for l in range(1, L)]
    assert [late_exponent(l, L) for l in range(1, L)] == [2.0**l / (2**L - 1) for l in range(1, L)]


@given(
    seed=st.integers(0, 10_000),
    p=st.integers(1, 3),
    extra=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    n_in=st.integers(1, 4),
    direct=st.booleans(),
)
@shapes_unchecked()
def test_the_zero_start_is_the_flow_of_the_network(seed, p, extra, n_in, direct):
    net, rule, task = orthogonal((n_in, *(p + e for e in extra), p), seed, direct)
    start = ZeroStart.of(net, rule, task)
    run, bound = simulated(net, rule, task, 3.0)
    loss = start.excess_loss(run.times.values)
    for k, t in enumerate(run.times.values):
        assert distance(run, k, start.weights(float(t))) <= bound
        assert abs(loss[k] - float(run.loss[k])) <= 10 * p * bound
    M = rule.paths(State(net.matrices))
    directions = [M[l] @ M[l - 1].T for l in range(1, net.depth)]
    measured = [cosine(W, D) for W, D in zip(run.weights(-1)[1:], directions, strict=True)]
    smallest = min(float(np.linalg.norm(W)) for W in run.weights(-1)[1:])
    assert np.allclose(measured, start.alignment(3.0), rtol=0, atol=10 * net.size * bound / smallest)


def test_where_the_feedback_is_not_orthogonal_it_refuses_and_would_be_wrong():
    net, rule, task = orthogonal((3, 4, 2), 0)
    start = ZeroStart.of(net, rule, task)
    B = rule.matrices[0]
    skewed = linfa.FeedbackAlignment((B + 0.2 * np.random.default_rng(1).standard_normal(B.shape),))
    with pytest.raises(InputError, match="M_1ᵀM_1 = g I"):
        ZeroStart.of(net, skewed, task)
    run, bound = simulated(net, skewed, task, 2.0)
    assert abs(float(run.loss[-1]) - start.excess_loss(2.0)) > 1e3 * bound
    small = linfa.Weights.small((3, 4, 2), 0, 0.1)
    with pytest.raises(InputError, match="a zero start"):
        ZeroStart.of(small, rule, task)
    run, bound = simulated(small, rule, task, 2.0)
    assert abs(float(run.loss[-1]) - start.excess_loss(2.0)) > 1e3 * bound
    coloured = moments_task(task.cross, np.diag([1.5, 1.0, 0.5]))
    with pytest.raises(InputError, match="whitened inputs"):
        ZeroStart.of(net, rule, coloured)
    with pytest.raises(InputError, match="fixed feedback path"):
        ZeroStart.of(net, linfa.Backprop(), task)
    with pytest.raises(InputError, match="two layers or more"):
        ZeroStart.of(linfa.Weights.zero((3, 2)), linfa.Backprop(), task)


def test_it_says_what_is_wrong_with_its_arguments():
    with pytest.raises(InputError, match="singular values are ≥ 0"):
        ZeroStart([-1.0], [1.0])
    with pytest.raises(InputError, match="must be > 0"):
        ZeroStart([0.0], [1.0])
    with pytest.raises(InputError, match="g_l > 0"):
        ZeroStart([1.0], [0.0])
    with pytest.raises(InputError, match="has no direction: use early_alignment"):
        ZeroStart([1.0], [1.0]).alignment(0.0)
    with pytest.raises(InputError, match="belongs to no network"):
        ZeroStart([1.0], [1.0]).weights(1.0)
    with pytest.raises(InputError, match="singular values are ≥ 0"):
        spread_cosine([-1.0, 2.0])


# Scalar output -------------------------------------------------------------------------------------------------------


def scalar_output(seed, second=None, samples=None):
    rng = np.random.default_rng(seed)
    net = linfa.Weights.zero((4, 5, 1))
    rule = linfa.FeedbackAlignment.random(net, rng)
    task = moments_task(rng.standard_normal((1, 4)), second)
    if samples is not None:
        task = linfa.Task.from_samples(rng.standard_normal((samples, 4)), rng.standard_normal((samples, 1)))
    return net, rule, task


@given(seed=st.integers(0, 10_000))
@shapes_unchecked()
def test_a_scalar_output_follows_its_closed_form_and_is_perfectly_aligned(seed):
    net, rule, task = scalar_output(seed)
    exact = ScalarOutput.of(net, rule, task)
    run, bound = simulated(net, rule, task, 3.0)
    for k, t in enumerate(run.times.values):
        assert distance(run, k, exact.weights(float(t))) <= bound
    size = float(np.linalg.norm(run.weights(-1)[1]))
    # The cosine misses 1 by half the square of the angle.
    assert 1 - cosine(run.weights(-1)[1], rule.matrices[0]) <= (net.size * bound / size) ** 2 + rounding(20, 1.0)


@pytest.mark.parametrize("samples", [None, 3])
def test_any_inputs_lift_from_a_flow_in_input_space_and_end_at_minimum_norm(samples):
    second = np.array([[2.0, 0.5, 0, 0], [0.5, 1.0, 0, 0], [0, 0, 0.7, 0.1], [0, 0, 0.1, 0.4]])
    net, rule, task = scalar_output(3, second, samples)
    exact = ScalarOutput.of(net, rule, task)
    run, bound = simulated(net, rule, task, 400.0, saves=50, rtol=1e-11)
    for k in (1, 10, 50):
        W_1 = run.weights(k)[0]
        b = exact.feedback
        u = W_1.T @ b / (b @ b)
        lifted = exact.lift(u)
        assert distance(run, k, lifted) <= 10 * bound
        moving = linfa.Full(run.weights(k), rule)
        state = moving.start()
        W_dot = moving.velocity(state, moving.passes(state, task.everything(W_1))).weights
        assert np.allclose(W_dot[0].T @ b / (b @ b), exact.velocity(u), atol=100 * bound)
    end = run.weights(-1).products()[-1][0]
    assert np.allclose(end, exact.limit, atol=1e-6)
    assert distance(run, -1, exact.limit_weights) < 1e-6
    # Minimum norm among all least-squares solutions.
    assert np.allclose(exact.limit, np.linalg.lstsq(task.second, task.cross[0], rcond=1e-12)[0])
    with pytest.raises(InputError, match="Σ_xy to be an eigenvector of Σ_xx"):
        exact.at(1.0)


def test_off_the_zero_start_the_minimum_norm_is_missed():
    net, rule, task = scalar_output(3, samples=3)
    exact = ScalarOutput.of(net, rule, task)
    away = linfa.Weights.standard((4, 5, 1), 0)
    with pytest.raises(InputError, match="a zero start"):
        ScalarOutput.of(away, rule, task)
    run, _ = simulated(away, rule, task, 400.0, rtol=1e-10)
    end = run.weights(-1).products()[-1][0]
    assert float(run.loss[-1]) < 1e-8
    assert np.linalg.norm(end) > 1.001 * np.linalg.norm(exact.limit)


def test_an_eigenvector_is_enough():
    second = np.diag([2.0, 1.0, 1.0, 3.0])
    net, rule, _ = scalar_output(0)
    task = moments_task(np.array([[0.0, 0.6, -0.8, 0.0]]), second)
    exact = ScalarOutput.of(net, rule, task)
    run, bound = simulated(net, rule, task, 3.0)
    assert distance(run, -1, exact.weights(3.0)) <= bound


def test_the_scalar_output_says_what_is_wrong():
    with pytest.raises(InputError, match="b ≠ 0"):
        ScalarOutput([0.0], [1.0], [[1.0]])
    with pytest.raises(InputError, match="shapes"):
        ScalarOutput([1.0], [1.0, 2.0], [[1.0]])
    net = linfa.Weights.zero((3, 4, 2))
    with pytest.raises(InputError, match="one output; this network has 2"):
        ScalarOutput.of(net, linfa.FeedbackAlignment.random(net, 0), linfa.Task.teacher(3, 2, 0))
    still = ScalarOutput([1.0], [0.0, 0.0], np.eye(2))
    assert still.at([1.0, 2.0]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert still.limit_weights[1].tolist() == [[0.0]]
