"""E1: a chain of scalars."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa import InputError
from linfa.closed_forms import ScalarChain
from tests.closed_forms.twin import distance, simulated
from tests.shapes import shapes_unchecked
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("as_users_run_it")


def column(values):
    return tuple(np.array([[v]]) for v in values)


def network(L, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    net = linfa.Weights(column(scale * rng.standard_normal(L)))
    rule = linfa.FeedbackAlignment(column(rng.choice([-1, 1], L - 1) * rng.uniform(0.4, 2, L - 1)))
    cross, second = rng.standard_normal(), rng.uniform(0.5, 2)
    return net, rule, linfa.Task.from_moments([[second]], [[cross]], [[cross**2 / second]])


def output_scale(chain, first):
    """Return |w_L … w_1| and its derivative with every term made positive: what rounding is relative to."""
    w, d = abs(first), 1.0
    product, slope = w, 1.0
    for b, c in zip(np.abs(chain.feedback), np.abs(chain.constants), strict=True):
        w, d = (w**2 + 2 * c) / (2 * b), w * d / b
        product, slope = product * w, slope * w + product * d
    return product + slope * abs(first)


@given(L=st.integers(2, 5), seed=st.integers(0, 10_000))
@shapes_unchecked()
def test_the_chain_is_the_flow_of_the_network(L, seed):
    net, rule, task = network(L, seed)
    chain = ScalarChain.of(net, rule, task)
    run, bound = simulated(net, rule, task, 3.0)
    w = chain.at(run.times.values)
    # Where the way is steep, errors of the simulation are stretched by dw_l/dw_1 before they die.
    stretch = 1 + max(output_scale(chain, x) for x in w[:, 0])
    loss = chain.excess_loss(run.times.values)
    for k in range(len(run)):
        assert distance(run, k, column(w[k])) <= bound * stretch
        assert abs(loss[k] - float(run.loss[k])) <= bound * stretch * (1 + abs(chain.cross))


@given(seed=st.integers(0, 10_000), L=st.integers(1, 7))
@shapes_unchecked()
def test_every_start_ends_at_zero_loss(seed, L):
    rng = np.random.default_rng(seed)
    b = rng.choice([-1, 1], L - 1) * rng.uniform(0.2, 3, L - 1)
    chain = ScalarChain(3 * rng.standard_normal(L), b, rng.standard_normal(), rng.uniform(0.3, 3))
    scale = output_scale(chain, chain.limit[0]) + abs(chain.cross / chain.second)
    assert abs(np.prod(chain.limit) - chain.cross / chain.second) <= rounding(20 * L, scale)


@given(seed=st.integers(0, 10_000), L=st.integers(1, 6))
@shapes_unchecked()
def test_the_polynomial_has_odd_degree_and_a_negative_leading_coefficient(seed, L):
    rng = np.random.default_rng(seed)
    b = rng.choice([-1, 1], L - 1) * rng.uniform(0.5, 2, L - 1)
    chain = ScalarChain(rng.standard_normal(L), b, rng.standard_normal(), 1.5)
    q = chain.polynomial
    assert len(q) == 2**L
    # −σ_xx ∏ a_l²/2, with a_1 = 1, a_{l+1} = a_l²/(2b_{l+1}).
    a, expected = 1.0, -1.5
    for feedback in b:
        expected, a = expected * a**2 / 2, a**2 / (2 * feedback)
    assert q[-1] == pytest.approx(expected, rel=1e-12)
    assert q[-1] < 0
    # The polynomial is ẇ_1 = m_1E.
    x = 0.7
    direct = chain.path * (chain.cross - chain.second * np.prod(chain.lift(np.array(x))))
    scale = np.polynomial.polynomial.polyval(x, np.abs(q))
    assert abs(np.polynomial.polynomial.polyval(x, q) - direct) <= rounding(4 * 2**L, scale)
    root = -0.4
    divided = (chain.taylor(x)[0] - chain.taylor(root)[0]) / (x - root)
    assert chain.quotient(x, root) == pytest.approx(divided, rel=1e-10, abs=1e-11 * scale)


def test_direct_feedback_is_a_chain_too():
    net = linfa.Weights(column([0.3, -0.2, 0.5]))
    rule = linfa.DirectFeedback(column([0.6, -1.5]))
    task = linfa.Task.from_moments([[1.0]], [[0.8]], [[0.64]])
    chain = ScalarChain.of(net, rule, task)
    run, bound = simulated(net, rule, task, 4.0)
    assert distance(run, -1, column(chain.at(4.0))) <= bound


def test_it_refuses_where_a_hypothesis_fails_and_there_it_would_be_wrong():
    net, rule, task = network(3, 0)
    with pytest.raises(InputError, match="every b_l ≠ 0"):
        ScalarChain([0.0, 0.0], [0.0], 1.0)
    # b = 0 and w_1(0) = 0: nothing moves, and the loss stays.
    stuck, _ = simulated(linfa.Weights(column([0.0, 0.0])), linfa.FeedbackAlignment(column([0.0])), task, 5.0)
    assert stuck.loss[-1] == stuck.loss[0] > 0
    with pytest.raises(InputError, match="fixed feedback path"):
        ScalarChain.of(net, linfa.Backprop(), task)
    # Backprop does not follow the chain of any b.
    moved, bound = simulated(net, linfa.Backprop(), task, 1.0)
    assert distance(moved, -1, column(ScalarChain.of(net, rule, task).at(1.0))) > 1e3 * bound
    with pytest.raises(InputError, match="σ_xx > 0"):
        ScalarChain([0.0, 0.0], [1.0], 1.0, 0.0)
    wide = linfa.Weights.zero((1, 2, 1))
    with pytest.raises(InputError, match=r"widths that are all 1; they are \(1, 2, 1\)"):
        ScalarChain.of(wide, linfa.FeedbackAlignment.random(wide, 0), task)
    with pytest.raises(InputError, match="feedback that reaches every layer"):
        ScalarChain.of(net, linfa.DirectFeedback.readout_only(net), task)
    samples = linfa.Task.from_samples(np.ones((2, 1)), np.ones((2, 1)), linfa.Logistic())
    with pytest.raises(InputError, match="squared loss"):
        ScalarChain.of(net, rule, samples)
    with pytest.raises(InputError, match="one network"):
        ScalarChain.of(net.map(lambda W: W[None]), rule, task)
    with pytest.raises(InputError, match="L − 1 feedback weights"):
        ScalarChain([0.0], [1.0], 1.0)
    with pytest.raises(InputError, match="overflows"):
        ScalarChain(np.full(8, 1e200), np.ones(7), 1.0)
