"""E7: the rich two-layer network at any width, and lazy kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import linfa
from linfa import InputError
from linfa.closed_forms import (
    RichBackprop,
    RichFeedback,
    backprop_error_rate,
    backprop_kernel,
    direct_kernel,
    feedback_kernel,
    linear_kernels,
    relu_kernels,
)
from tests.closed_forms.twin import moments_task, simulated
from tests.shapes import shapes_unchecked
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("as_users_run_it")


def vectors(N, seed, rho=0.0):
    """Return h_0, w_0, ĝ with the correlations of ρ-FA."""
    h, w, fresh = np.random.default_rng(seed).standard_normal((3, N))
    return h, w, rho * w + np.sqrt(1 - rho**2) * fresh


def network(h, w, gamma, target):
    """Return (1, N, 1) with X = w·h/(γ_0N); its flow time is γ_0 times that of the vectors."""
    s = 1 / np.sqrt(gamma * len(h))
    return linfa.Weights((s * h[:, None], s * w[None])), moments_task(np.array([[target]])), s


@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 40),
    gamma=st.sampled_from([0.1, 1.0, 3.0]),
    rho=st.sampled_from([0.0, 0.5, 1.0]),
)
@shapes_unchecked()
def test_the_finite_width_cubic_is_the_flow_of_the_network(seed, N, gamma, rho):
    h, w, g = vectors(N, seed, rho)
    net, task, s = network(h, w, gamma, 1.3)
    rule = linfa.FeedbackAlignment((s * g[None],))
    run, bound = simulated(net, rule, task, 2.0, rtol=1e-13, atol=1e-15)
    rich, t = RichFeedback.finite(h, w, g, gamma, 1.3), run.times.values / gamma
    output = [run.weights(k).products()[-1].item() for k in range(len(run))]
    size = 1 + np.abs(rich.cubic).sum() / gamma
    # A cubic may also have rests that repel on the way.
    stretch = np.exp(2 / gamma * max(0.0, *_growth(rich)))
    assert np.abs(rich.output(t) - output).max() <= (1e-12 + bound) * size * stretch
    W_1, W_2 = run.weights(-1)
    B = rule.matrices[0]
    assert rich.forward_kernel(t[-1]) == pytest.approx(gamma * np.sum(W_1**2), abs=1e-12 * size**2 * stretch)
    assert rich.backward_kernel(t[-1]) == pytest.approx(gamma * np.sum(W_2 * B), abs=1e-12 * size**2 * stretch)
    own = RichFeedback.of(net, rule, task)
    assert np.allclose(own.output(run.times.values), rich.output(t), rtol=0, atol=1e-12 * size)


def _growth(rich):
    a = np.linspace(0, rich.flow.limit, 101)
    return np.polynomial.polynomial.polyval(a, np.polynomial.polynomial.polyder(rich.cubic)).tolist()


@given(seed=st.integers(0, 10_000), N=st.integers(1, 40), gamma=st.sampled_from([0.1, 1.0, 3.0]))
@shapes_unchecked()
def test_gradient_descent_is_solved_at_finite_width_too(seed, N, gamma):
    h, w, _ = vectors(N, seed)
    net, task, _ = network(h, w, gamma, -0.7)
    run, bound = simulated(net, linfa.Backprop(), task, 2.0, rtol=1e-13, atol=1e-15)
    rich, t = RichBackprop.finite(h, w, gamma, -0.7), run.times.values / gamma
    output = [run.weights(k).products()[-1].item() for k in range(len(run))]
    size = (1 + rich.hh + rich.ww) / gamma
    assert np.abs(rich.output(t) - output).max() <= (1e-12 + 10 * bound) * size
    W_1, W_2 = run.weights(-1)
    assert rich.forward_kernel(t[-1]) == pytest.approx(gamma * np.sum(W_1**2), abs=1e-11 * size)
    assert rich.backward_kernel(t[-1]) == pytest.approx(gamma * np.sum(W_2**2), abs=1e-11 * size)
    own = RichBackprop.of(net, linfa.Backprop(), task)
    assert np.allclose(own.output(run.times.values), rich.output(t), rtol=0, atol=1e-12 * size)


def test_the_factor_two_of_gradient_descent():
    rich, t = RichBackprop(gamma=2.0, target=1.5), np.linspace(0, 3, 31)
    for factor, right in ((1.0, True), (0.5, False)):
        ode = solve_ivp(
            lambda _, d, f=factor: f * backprop_error_rate(d, 1.5, 2.0),
            (0, 3),
            [1.5],
            "DOP853",
            t,
            rtol=1e-12,
            atol=1e-14,
        )
        off = np.abs(ode.y[0] - rich.error(t)).max()
        assert off < 1e-10 if right else off > 0.3
    # The limit is that of wide networks.
    errors = []
    for N in (100, 10_000):
        wide = [RichBackprop.finite(*vectors(N, seed)[:2], 2.0, 1.5).error(t) for seed in range(20)]
        errors.append(np.sqrt(np.mean([np.max(np.abs(e - rich.error(t))) ** 2 for e in wide])))
    assert 0.7 < np.log10(errors[0] / errors[1]) < 1.3  # N^{−1/2}: one decade for two


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_wide_networks_approach_the_infinite_one(rho):
    exact, t, errors = RichFeedback.infinite(1.0, 2.0, rho), np.linspace(0, 2, 9), []
    for N in (100, 10_000):
        wide = [RichFeedback.finite(*vectors(N, seed, rho), 1.0, 2.0).output(t) for seed in range(20)]
        errors.append(np.sqrt(np.mean([np.max(np.abs(e - exact.output(t))) ** 2 for e in wide])))
    assert 0.7 < np.log10(errors[0] / errors[1]) < 1.3
    a = exact.at(t)
    assert np.allclose(exact.forward_kernel(t), 1 + a**2)
    assert np.allclose(exact.backward_kernel(t), rho + a**2 / 2)
    rate = 2.0 - a**3 / 2 - (1 + rho) * a
    assert np.allclose(exact.error(t), rate, atol=1e-14)


def late_slope(kernel, gammas):
    return np.polyfit(np.log(gammas), np.log([kernel(g) for g in gammas]), 1)[0]


def test_the_exponents_of_richness():
    small, large = np.geomspace(1e-4, 1e-3, 5), np.geomspace(1e7, 1e9, 5)

    def end(g):
        return RichFeedback.infinite(g, 1.0).flow.limit

    assert late_slope(lambda g: end(g) ** 2, small) == pytest.approx(2, abs=1e-5)  # H − 1
    assert late_slope(lambda g: end(g) ** 2 / 2, large) == pytest.approx(2 / 3, abs=1e-4)  # G̃
    assert late_slope(lambda g: 1 + end(g) ** 2, large) == pytest.approx(2 / 3, abs=1e-4)  # H
    # Gradient descent: H = √(1 + γ_0²y²).
    assert late_slope(lambda g: RichBackprop(g, 1.0).forward_kernel(50.0) - 1, small[-2:]) == pytest.approx(2, abs=1e-3)
    assert late_slope(lambda g: RichBackprop(g, 1.0).forward_kernel(50.0), large) == pytest.approx(1, abs=1e-6)


def test_lazy_is_the_limit_of_little_richness():
    t, y = np.linspace(0, 3, 7), 1.7
    for rho in (0.0, 0.4):
        K = feedback_kernel(*linear_kernels(np.eye(1), 2), rho).item()
        assert np.allclose(RichFeedback.infinite(1e-6, y, rho).error(t), y * np.exp(-K * t), atol=1e-9)
    K = backprop_kernel(*linear_kernels(np.eye(1), 2)).item()
    assert np.allclose(RichBackprop(1e-6, y).error(t), y * np.exp(-K * t), atol=1e-9)


def test_the_rich_solutions_refuse_what_they_do_not_solve():
    net = linfa.Weights.standard((1, 6, 1), 0)
    rule, task = linfa.FeedbackAlignment.random(net, 1), moments_task(np.array([[1.0]]))
    with pytest.raises(InputError, match="fixed feedback path"):
        RichFeedback.of(net, linfa.Backprop(), task)
    with pytest.raises(InputError, match="backprop; the rule is fa"):
        RichBackprop.of(net, rule, task)
    # And each would be wrong for the other.
    run, bound = simulated(net, linfa.Backprop(), task, 1.0)
    assert abs(RichFeedback.of(net, rule, task).output(1.0) - run.weights(-1).products()[-1].item()) > 1e3 * bound
    coloured = moments_task(np.array([[1.0]]), np.array([[2.0]]))
    with pytest.raises(InputError, match="whitened inputs"):
        RichFeedback.of(net, rule, coloured)
    run, bound = simulated(net, rule, coloured, 1.0)
    assert abs(RichFeedback.of(net, rule, task).output(1.0) - run.weights(-1).products()[-1].item()) > 1e3 * bound
    two = linfa.Weights.standard((2, 6, 1), 0)
    with pytest.raises(InputError, match="one input and one output; this network has 2 and 1"):
        RichFeedback.of(two, linfa.FeedbackAlignment.random(two, 1), linfa.Task.teacher(2, 1, 0))
    with pytest.raises(InputError, match="ĝ ≠ 0"):
        RichFeedback.of(net, linfa.DirectFeedback.readout_only(net), task)
    with pytest.raises(InputError, match="γ_0 > 0"):
        RichFeedback.infinite(0.0, 1.0)
    with pytest.raises(InputError, match="γ_0 > 0"):
        RichBackprop(-1.0, 1.0)
    with pytest.raises(InputError, match="correlation"):
        RichFeedback.infinite(1.0, 1.0, 1.5)
    with pytest.raises(InputError, match="no vectors have"):
        RichFeedback(1.0, 1.0, hh=1.0, hg=2.0)
    with pytest.raises(InputError, match="no vectors have"):
        RichBackprop(1.0, 1.0, wh=2.0)
    with pytest.raises(InputError, match="one length"):
        RichFeedback.finite(np.ones(2), np.ones(3), np.ones(2), 1.0, 1.0)


def test_a_start_on_the_edge_is_solved_too():
    # h_0 = −w_0 (P = 0): gradient descent stays on the saddle's own way in, or leaves nothing behind.
    h = np.array([1.0, 0.5])
    net, task, _ = network(h, -h, 1.0, -0.4)
    run, bound = simulated(net, linfa.Backprop(), task, 2.0)
    exact = RichBackprop.finite(h, -h, 1.0, -0.4)
    output = [run.weights(k).products()[-1].item() for k in range(len(run))]
    assert np.abs(exact.output(run.times.values) - output).max() <= 10 * bound


# Lazy kernels --------------------------------------------------------------------------------------------------------


def measured(net, rule, x):
    """Return Σ_l (∂f/∂W_l)·(what the rule does)/n_{l−1}, the kernel of ḟ = K(y − f), for inputs as rows."""
    state = linfa.State(net.matrices)
    paths = rule.paths(state)
    after, total = [np.eye(1)], np.zeros((len(x), len(x)))
    for W in reversed(net[1:]):
        after.append(after[-1] @ W)
    for W_after, M, X in zip(reversed(after), paths, net.products(), strict=False):
        h = x @ X.T
        total += (W_after @ M).item() * (h @ h.T) / h.shape[1]
    return total


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_lazy_kernels_are_those_of_wide_networks(depth):
    x = np.array([[1.0, 0.0], [0.6, 0.8]])
    rho, K, deviations = 0.6, x @ x.T / 2, {}
    phi, g = linear_kernels(K, depth)
    for N in (16, 256):
        off = []
        for seed in range(12):
            rng = np.random.default_rng([N, seed])
            net = linfa.Weights.standard((2, *[N] * (depth - 1), 1), rng)
            rules = (
                (linfa.Backprop(), backprop_kernel(phi, g)),
                (linfa.FeedbackAlignment.interpolated(net, rho, rng), feedback_kernel(phi, g, rho)),
                (linfa.FeedbackAlignment.random(net, rng), feedback_kernel(phi, g, 0.0)),
                (linfa.DirectFeedback.random(net, rng), direct_kernel(phi)),
            )
            off.append([np.abs(measured(net, rule, x) - exact).max() for rule, exact in rules])
        deviations[N] = np.sqrt(np.mean(np.square(off), axis=0))
    # Sixteen times the width, a quarter of the deviation; twelve draws know it to about a factor two.
    assert np.all(deviations[16] / deviations[256] > 2)
    assert np.all(deviations[256] < 1)


def test_relu_kernels_are_those_of_wide_networks():
    rng = np.random.default_rng(0)
    x = np.array([[1.0, 0.3, -0.5], [-0.2, 0.9, 0.4]])
    forward, backward = relu_kernels(x @ x.T / 3, 3)
    N, draws = 512, []
    for _ in range(30):
        widths = (3, N, N, 1)
        W = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in zip(widths, widths[1:], strict=False)]
        h, masks, Phi = x, [], [x @ x.T / 3]
        for V in W[:-1]:
            z = h @ V.T
            masks.append(np.sqrt(2) * (z > 0))
            h = z * masks[-1]
            Phi.append(h @ h.T / N)
        g, G = np.ones((2, 1)), [np.ones((2, 2))]
        for V, mask in zip(reversed(W[1:]), reversed(masks), strict=True):
            g = (g @ V) * mask
            G.insert(0, g @ g.T)
        draws.append([*Phi[1:], *G[:-1]])
    mean, spread = np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(30)
    exact = np.array([*forward[1:], *backward[:-1]])
    # Five standard errors and what is of order 1/N.
    assert np.all(np.abs(mean - exact) <= 5 * spread + 20 / N)


def test_lazy_kernels_add_up_and_say_what_is_wrong():
    K = np.array([[1.0, 0.3], [0.3, 1.0]])
    for depth in (1, 2, 5):
        phi, g = linear_kernels(K, depth)
        assert np.allclose(backprop_kernel(phi, g), depth * K)
        assert np.allclose(feedback_kernel(phi, g, 0.5), K * (1 - 0.5**depth) / 0.5)
        assert np.array_equal(feedback_kernel(phi, g, 0.0), direct_kernel(phi))
    forward, _ = relu_kernels(K, 4)
    for phi in forward:
        assert np.abs(np.diag(phi) - 1).max() <= rounding(20, 1.0)
    with pytest.raises(InputError, match="correlation"):
        feedback_kernel(phi, g, 2.0)
    with pytest.raises(InputError, match="of one shape"):
        backprop_kernel([K], [K, K])
    with pytest.raises(InputError, match="got none"):
        direct_kernel([])
    with pytest.raises(InputError, match="square"):
        linear_kernels(np.ones((2, 3)), 2)
    with pytest.raises(InputError, match="non-zero"):
        relu_kernels(np.zeros((1, 1)), 2)
