"""Metrics against closed forms: alignments keep their sign, the starting angles of theory §7, ratios and angles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.arrays import cosine
from linfa.rules import State
from tests.strategies import matrix, network, seeds
from tests.tolerance import rounding


@given(n=st.tuples(st.integers(1, 8), st.integers(1, 8)), seed=seeds, scale=st.sampled_from([1.0, 1e-150, 1e150, -3.0]))
def test_alignment_is_signed_and_blind_to_scale(n, seed, scale):
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal(n), rng.standard_normal(n)
    expected = np.sum(A * B) / np.linalg.norm(A) / np.linalg.norm(B)
    slack = rounding(4 * A.size + 8, 1)
    assert abs(cosine(scale * A, B) - np.sign(scale) * expected) <= slack
    assert abs(cosine(A, -A) + 1) <= slack
    assert cosine(A, 0 * A) == 0


def test_sign_concordant_feedback_starts_at_the_angles_of_the_theory():
    """Theory §7: the angle between W and feedback with its signs, by the laws of both magnitudes."""
    rng, n = np.random.default_rng(0), 400
    uniform, gaussian = rng.uniform(-1, 1, (n, n)), rng.standard_normal((n, n))
    other = rng.uniform(0, 1, (n, n))
    half_normal = np.abs(rng.standard_normal((n, n)))
    for W, magnitude, degrees in (
        (uniform, np.ones((n, n)), 30.00),
        (gaussian, np.ones((n, n)), 37.07),
        (uniform, other, 41.41),
        (uniform, half_normal, 46.29),
        (gaussian, half_normal, 50.46),
    ):
        net = linfa.Weights((np.eye(n), W))
        (cos,) = linfa.metrics.weight_alignment(linfa.SignConcordant((magnitude,)), State(net.matrices))
        # 160000 entries: the standard error of a cosine is below 1/400, in degrees below 0.2.
        assert np.degrees(np.arccos(cos)) == pytest.approx(degrees, abs=0.2)


def test_direct_feedback_is_aligned_with_the_product_it_stands_in_for():
    net = network((3, 4, 5, 2), seed=1)
    rule = linfa.DirectFeedback((net[2] @ net[1], -net[2]))
    assert linfa.metrics.weight_alignment(rule, State(net.matrices)) == pytest.approx((1.0, -1.0))


@given(r=st.integers(1, 6), seed=seeds)
def test_the_participation_ratio_of_equal_singular_values_is_their_number(r, seed):
    A = matrix((7, 6), r, 1.0, 3.0, np.random.default_rng(seed))
    assert float(linfa.metrics.participation_ratio(A)) == pytest.approx(r, rel=float(rounding(100, 1)))
    assert float(linfa.metrics.participation_ratio(0 * A)) == 0


def test_principal_angles_are_those_of_a_rotation():
    t = 0.3
    A = np.eye(3)[:, :2]
    B = np.array([[1.0, 0.0], [0.0, np.cos(t)], [0.0, np.sin(t)]])
    assert linfa.metrics.principal_angles(A, B) == pytest.approx([t, 0.0], abs=1e-15)


def test_metrics_of_a_batch_are_those_of_its_members():
    nets = [network((3, 4, 2), seed=s) for s in range(3)]
    stacked = linfa.Weights(tuple(np.stack(Ws) for Ws in zip(*nets, strict=True)))
    task = linfa.Task.from_samples(np.eye(3), np.eye(3)[:, :2])
    for metric in (linfa.metrics.loss, linfa.metrics.accuracy):
        assert metric(stacked, task) == pytest.approx([float(metric(net, task)) for net in nets])
    ratios = linfa.metrics.participation_ratio(stacked[0])
    assert ratios == pytest.approx([float(linfa.metrics.participation_ratio(net[0])) for net in nets])
