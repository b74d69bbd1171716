"""Starting points: each initialiser has its defining property; dominated starts are dominated for any feedback."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.weights import draw_feedback
from tests.strategies import matrix, network, seeds, task_of, widths
from tests.tolerance import rounding

norm = np.linalg.norm


@given(n=widths(depth=(1, 6)), seed=seeds)
def test_every_initialiser_has_the_widths_and_remembers_its_seed(n, seed):
    for name in ("standard", "small", "mean_field", "orthogonal", "balanced"):
        make = getattr(linfa.Weights, name)
        net, again, other = make(n, seed), make(n, seed), make(n, seed + 1)
        assert net.widths == n
        assert net.depth == len(n) - 1
        assert net.size == sum(a * b for a, b in zip(n, n[1:], strict=False))
        assert net.origin["initialiser"] == name
        assert net.origin["seed"] == seed
        assert all(np.array_equal(a, b) for a, b in zip(net, again, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(net, other, strict=True)) or max(n) == 1


@given(n=widths(), seed=seeds)
def test_balanced_weights_are_balanced(n, seed):
    net = linfa.Weights.balanced(n, seed)
    for W, V in zip(net, net[1:], strict=False):
        assert norm(W @ W.T - V.T @ V) <= rounding(8 * max(n) + 16, norm(W) ** 2 + norm(V) ** 2)
        assert norm(W) > 0.4


@given(n=widths(depth=(1, 5)), seed=seeds, scale=st.sampled_from([1.0, 0.3, 0.0]))
def test_orthogonal_weights_have_all_singular_values_at_their_scale(n, seed, scale):
    for W in linfa.Weights.orthogonal(n, seed, scale):
        assert np.linalg.svd(W)[1] == pytest.approx(scale, abs=float(rounding(8 * max(n) + 8, 1)))


def test_orthogonal_frames_are_haar_and_not_biased_by_the_factorisation():
    draws = [linfa.Weights.orthogonal((2, 2), seed)[0][0, 0] for seed in range(2000)]
    # The mean of 2000 entries of variance 1/2: five standard errors, so wrong once in a million suites.
    assert abs(np.mean(draws)) < 5 * np.sqrt(0.5 / 2000)


def test_variances_are_those_of_the_scalings():
    n = (300, 200, 100)
    for make, spread in (
        (lambda: linfa.Weights.standard(n, 0, 2.0), (2 / np.sqrt(300), 2 / np.sqrt(200))),
        (lambda: linfa.Weights.small(n, 0), (1e-3 / np.sqrt(300), 1e-3 / np.sqrt(200))),
        (lambda: linfa.Weights.mean_field(n, 0), (1 / np.sqrt(300), 1 / 200)),
    ):
        for W, s in zip(make(), spread, strict=True):
            # The standard error of a standard deviation is s/√(2N); five of them.
            assert abs(np.std(W) / s - 1) < 5 / np.sqrt(2 * W.size)
    B = draw_feedback(linfa.Weights.zero(n), 0, 3.0)
    assert B[0].shape == (100, 200)
    assert abs(np.std(B[0]) * np.sqrt(200) / 3 - 1) < 5 / np.sqrt(2 * B[0].size)


def test_zero_is_zero_and_feedback_alignment_learns_from_there():
    net = linfa.Weights.zero((4, 8, 3))
    assert all(np.all(W == 0) for W in net)
    run = linfa.solve(
        linfa.Full(net, linfa.FeedbackAlignment.random(net, 0)), linfa.Task.teacher(4, 3, 1), linfa.Flow(50.0, saves=2)
    )
    assert run.loss[-1] < 1e-6 * run.loss[0]


@given(n=widths(depth=(1, 4)), seed=seeds)
def test_products_multiply_up_from_the_identity(n, seed):
    net = network(n, seed=seed)
    X = net.products()
    assert np.array_equal(X[0], np.eye(n[0]))
    for l, W in enumerate(net):
        assert np.array_equal(X[l + 1], W @ X[l])


def feedback_of(n, seed, condition):
    rng = np.random.default_rng(seed)
    return tuple(matrix(s, 99, condition, 1.0, rng) for s in zip(n[2:], n[1:], strict=False))


dominated = pytest.mark.parametrize("condition", [1.0, 30.0])


@dominated
@given(n=widths(), seed=seeds, scale=st.sampled_from([1e-2, 1.0]), margin=st.sampled_from([0.0, 0.5, 1.0]))
def test_matrix_dominated_starts_have_no_positive_direction_in_any_layer_narrow_ones_included(
    condition, n, seed, scale, margin
):
    B = feedback_of(n, seed, condition)
    net = linfa.dominated.matrix_dominated(B, n[0], seed, scale, margin)
    assert net.widths == n
    for l, F in enumerate(B):
        C = net[l] @ net[l].T - F.T @ net[l + 1] - net[l + 1].T @ F
        size = norm(net[l]) ** 2 + 2 * norm(F) * norm(net[l + 1])
        # The least multiple solves a generalised eigenproblem whose condition is that of the feedback, squared.
        assert np.linalg.eigvalsh(C)[-1] <= rounding(16 * max(n) + 32, size * condition**2)


@dominated
@given(n=widths(), seed=seeds, margin=st.sampled_from([0.0, 0.5, 1.0]))
def test_neuron_dominated_starts_have_no_neuron_with_a_negative_margin(condition, n, seed, margin):
    B = feedback_of(n, seed, condition)
    net = linfa.dominated.neuron_dominated(B, n[0], seed, 1.0, margin)
    for l, F in enumerate(B):
        kappa = (F * net[l + 1]).sum(0) - (net[l] ** 2).sum(1) / 2
        size = norm(net[l]) ** 2 + 2 * norm(F) * norm(net[l + 1])
        assert kappa.min() >= -rounding(16 * max(n) + 32, size * condition)


def test_a_dominated_start_stays_aligned_for_ever_and_a_random_one_does_not():
    n = (4, 8, 3)
    B = feedback_of(n, 3, 1.0)
    task = task_of(4, 3, N=12, seed=5)
    start = linfa.dominated.neuron_dominated(B, 4, 0)
    rule = linfa.FeedbackAlignment(B)
    aligned = linfa.solve(linfa.Full(start, rule), task, linfa.Flow(5.0, saves=20)).states()
    assert all(((B[0] * s.weights[1]).sum(0) >= 0).all() for s in aligned)
    free = linfa.Weights.standard(n, 0)
    run = linfa.solve(linfa.Full(free, rule), task, linfa.Flow(5.0, saves=20))
    assert any(((B[0] * s.weights[1]).sum(0) < 0).any() for s in run.states())


def test_dominance_needs_feedback_that_reaches_every_layer():
    with pytest.raises(linfa.InputError, match=r"B_2 … B_L are needed; got none"):
        linfa.dominated.matrix_dominated([], 3, 0)
    with pytest.raises(linfa.InputError, match=r"reaches every layer; B_L … B_2 is zero"):
        linfa.dominated.neuron_dominated([np.zeros((2, 3))], 3, 0)
