"""Conditions: margins have the sign they should, stay or move as claimed, and certificates are never a guess."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linfa
from linfa import conditions as cond
from linfa.conditions import exact
from linfa.conditions.theorems import THEOREMS
from linfa.errors import InputError, NoLawError
from tests.shapes import shapes_unchecked

EPS = np.finfo(float).eps
STENCIL = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}
"""Seven points: exact for the derivative at zero of a polynomial of degree ≤ 6."""


# Strategies ---------------------------------------------------------------------------------------------------------


@shapes_unchecked()
def build(widths, seed, scale, samples, condition):
    """Return (weights, feedback alignment, squared-loss task) of a drawn structure."""
    rng = np.random.default_rng(seed)
    net = linfa.Weights.standard(widths, rng, scale)
    rule = linfa.FeedbackAlignment.random(net, rng)
    if samples:
        x, y = rng.standard_normal((samples, widths[0])), rng.standard_normal((samples, widths[-1]))
        return net, rule, linfa.Task.from_samples(x, y)
    return net, rule, teacher(widths[0], widths[-1], rng, np.geomspace(1, 1 / condition, widths[0]))


@st.composite
def cases(draw, depth=(2, 3), outputs=(1, 3)):
    """Draw structure: widths, scale, the number of samples (none: moments of a condition number), and a seed."""
    L = draw(st.integers(*depth))
    widths = (*(draw(st.integers(1, 4)) for _ in range(L)), draw(st.integers(*outputs)))
    seed, scale = draw(st.integers(0, 2**32 - 1)), 10.0 ** draw(st.integers(-2, 1))
    return build(widths, seed, scale, draw(st.integers(0, 6)), 10.0 ** draw(st.integers(0, 2)))


@shapes_unchecked()
def build_start(widths, seed):
    rng = np.random.default_rng(seed)
    return linfa.FeedbackAlignment.random(linfa.Weights.standard(widths, rng), rng), widths[0], seed


@st.composite
def starts(draw):
    """Draw feedback B_2 … B_L, n_0 and a seed for a dominated start."""
    widths = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(3, 4)))]
    return build_start(widths, draw(st.integers(0, 2**32 - 1)))


def teacher(n_in, n_out, rng, input_spectrum):
    return linfa.Task.teacher(n_in, n_out, rng, input_spectrum=[float(x) for x in input_spectrum])


def directional(function, state, velocity, size):
    """Return d/dh function(state + h · size · velocity) / size at 0, exact for polynomials of degree ≤ 6."""
    return (
        sum(
            c * (function(state.plus(k * size, velocity)) - function(state.plus(-k * size, velocity)))
            for k, c in STENCIL.items()
        )
        / size
    )


def flow(net, rule, task, t, **options):
    return linfa.solve(linfa.Full(net, rule), task, linfa.Flow(t=t, **options))


def excess(weights, task):
    X_star = task.cross @ np.linalg.pinv(task.second, hermitian=True)
    gap = weights.products()[-1] - X_star
    return float(np.sum((gap @ task.second) * gap)) / 2


def velocity(net, rule, task, state):
    system = linfa.Full(net, rule)
    return system.velocity(state, system.passes(state, task.everything(state.weights[0])))


# Dominance ----------------------------------------------------------------------------------------------------------


@given(starts())
def test_dominated_starts_have_positive_margins(start):
    rule, n_in, rng = start
    matrix = linfa.State(linfa.dominated.matrix_dominated(rule.matrices, n_in, rng).matrices)
    neuron = linfa.State(linfa.dominated.neuron_dominated(rule.matrices, n_in, rng).matrices)
    assert np.all(cond.MatrixDominance(reached=True).margin(rule, matrix) > 0)
    for state in (matrix, neuron):
        assert np.all(cond.NeuronDominance().margin(rule, state) > 0)
        assert np.all(cond.LayerDominance().margin(rule, state) > 0)


def test_random_starts_are_not_dominated():
    net = linfa.Weights.standard((5, 8, 8, 3), rng=0)
    rule, state = linfa.FeedbackAlignment.random(net, rng=1), linfa.State(net.matrices)
    for condition in (
        cond.NeuronDominance(),
        cond.LayerDominance(),
        cond.MatrixDominance(),
        cond.MatrixDominance(True),
    ):
        assert np.all(condition.margin(rule, state) < 0)


@given(cases())
def test_the_three_dominances_are_ordered_and_read_off_the_matrix_law(case):
    net, rule, _ = case
    state = linfa.State(net.matrices)
    C = linfa.laws.MatrixLaw().quantity(rule, state)
    size = [linfa.laws.MatrixLaw().sensitivity(rule, state, state.norms())[l] * EPS * 64 for l in range(len(C))]
    for l, kappa in enumerate(cond.NeuronDominance().neurons(rule, state)):
        assert np.all(abs(kappa + np.diag(C[l]) / 2) <= size[l])
        assert abs(cond.LayerDominance().margin(rule, state)[l] + np.trace(C[l]) / 2) <= size[l]
        # −λ_max(C) ≤ −max C_kk = 2 min κ_k
        assert cond.MatrixDominance().margin(rule, state)[l] <= 2 * np.min(kappa) + size[l]
        assert (
            cond.MatrixDominance().margin(rule, state)[l] <= cond.MatrixDominance(True).margin(rule, state)[l] + size[l]
        )


@pytest.mark.parametrize(
    "condition", [cond.NeuronDominance(), cond.LayerDominance(), cond.MatrixDominance(), cond.MatrixDominance(True)]
)
def test_dominance_is_constant_along_flows_of_fixed_feedback_only(condition):
    net, task = linfa.Weights.standard((3, 4, 3, 2), rng=0), linfa.Task.teacher(3, 2, rng=1, spectrum=[3.0, 1.0])
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    run = flow(net, rule, task, 5.0, saves=10)
    margins = condition.along(run)
    assert margins.dims == ("time", "hidden")
    assert float(abs(margins - margins[0]).max()) < 1e-7
    # Control: the same formula along a run of another rule is not constant.
    other = flow(net, linfa.Backprop(), task, 5.0, saves=10)
    moved = np.stack([condition.margin(rule, s) for s in other.states()])
    assert np.all(np.ptp(moved, axis=0) > 1e-2)


def test_dominated_runs_stay_aligned_and_others_need_not():
    task = linfa.Task.teacher(3, 2, rng=1)
    net = linfa.Weights.standard((3, 4, 2), rng=0)
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    start = linfa.dominated.neuron_dominated(rule.matrices, 3, rng=3, margin=0.1)
    assert float(flow(start, rule, task, 5.0).alignment.min()) > 0
    # Control: aligned at the start but not dominated, W_1 passes through zero and takes the alignment with it.
    rule, task = linfa.FeedbackAlignment((np.eye(1),)), linfa.Task.from_moments([[1.0]], [[-1.0]], [[1.0]])
    loose = linfa.Weights((np.eye(1), 0.1 * np.eye(1)))
    assert float(cond.NeuronDominance().margin(rule, linfa.State(loose.matrices))[0]) == pytest.approx(-0.4)
    alignment = flow(loose, rule, task, 20.0).alignment
    assert alignment[0] == 1
    assert float(alignment.min()) == -1


def test_sign_concordant_feedback_has_neuron_dominance_and_no_matrix_one():
    net = linfa.Weights.small((3, 4, 2), rng=0)
    rule, state = linfa.SignConcordant.uniform(net), linfa.State(net.matrices)
    run = flow(net, rule, linfa.Task.teacher(3, 2, rng=1), 0.5, saves=4)
    margins = cond.NeuronDominance().along(run)
    assert float(abs(margins - margins[0]).max()) < 1e-6
    with pytest.raises(NoLawError, match="use NeuronDominance"):
        cond.MatrixDominance().margin(rule, state)


@pytest.mark.parametrize("condition", [cond.NeuronDominance(), cond.LayerDominance(), cond.MatrixDominance()])
def test_dominance_refuses_feedback_that_moves_or_skips(condition):
    net = linfa.Weights.standard((3, 4, 2), rng=0)
    state = linfa.State(net.matrices)
    for name in ("bp", "kp", "interpolated", "usf-sn", "brsf", "dfa"):
        with pytest.raises(NoLawError):
            condition.margin(linfa.rules.make(name, net), state)
    single = linfa.Weights.zero((3, 2))
    with pytest.raises(InputError, match="hidden layers"):
        condition.margin(linfa.FeedbackAlignment(()), linfa.State(single.matrices))


# Dynamic dominance --------------------------------------------------------------------------------------------------


@given(cases(), st.sampled_from(["fa", "bp", "dfa", "usf", "kp"]), st.integers(0, 99))
def test_mu_is_the_slope_of_the_loss_over_the_squared_gradient(case, name, seed):
    net, _, task = case
    rule = linfa.rules.make(name, net, seed)
    state = linfa.State(net.matrices, rule.start(net))
    moving = linfa.State(velocity(net, rule, task, state).weights)
    gradient = velocity(net, linfa.Backprop(), task, linfa.State(net.matrices)).weights
    squares = sum(float(np.sum(g * g)) for g in gradient)
    split = cond.DynamicDominance().split(rule, state, task)
    slope = float(cond.DynamicDominance().slope(rule, state, task))
    scale = sum(float(np.sum(abs(u * g))) for u, g in zip(moving.weights, gradient, strict=True))
    assert abs(slope + float(split.total()) * squares) <= 64 * EPS * scale
    assert np.all(split.aligned >= 0)
    assert np.all(split.misaligned <= 0)

    # The loss is a polynomial of degree ≤ 6 along a straight line, so that its slope is exact up to rounding.
    def loss(s):
        return float(linfa.metrics.loss(linfa.Weights(s.weights), task))

    norms = [np.linalg.norm(u) for u in moving.weights]
    size = 0.1 * min(
        (np.linalg.norm(W) / n for W, n in zip(net, norms, strict=True) if n > 0 and np.linalg.norm(W) > 0), default=1.0
    )
    top = max(loss(linfa.State(net.matrices).plus(k * size, moving)) for k in (-3, 3))
    found = directional(loss, linfa.State(net.matrices), moving, size)
    assert abs(found - slope) <= 1e4 * EPS * (top / size + scale)


def test_mu_gives_the_finite_differences_of_a_flow():
    net, task = linfa.Weights.standard((3, 4, 3, 2), rng=3), linfa.Task.teacher(3, 2, rng=1)
    rule = linfa.FeedbackAlignment.random(net, rng=4)
    run = flow(net, rule, task, 0.3, saves=300)
    L, h = run.loss.values, 0.001
    measured = (-L[4:] + 8 * L[3:-1] - 8 * L[1:-3] + L[:-4]) / (12 * h)
    mu = cond.DynamicDominance().along(run, task).values[2:-2]
    squares = [
        sum(float(np.sum(g * g)) for g in velocity(net, linfa.Backprop(), task, linfa.State(s.weights)).weights)
        for s in run.states()
    ][2:-2]
    assert np.abs(measured + mu * squares).max() < 1e-5 * np.abs(measured).max()
    # Control: the unsigned overlap, which hides misaligned neurons, is not the slope.
    splits = [cond.DynamicDominance().split(rule, s, task) for s in run.states()][2:-2]
    unsigned = np.array([float(np.sum(s.aligned - s.misaligned)) for s in splits])
    assert np.abs(measured + unsigned * squares).max() > 1e-2 * np.abs(measured).max()


def test_mu_of_backprop_is_one_and_of_no_gradient_zero():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    assert cond.DynamicDominance().margin(linfa.Backprop(), linfa.State(net.matrices), task) == pytest.approx(1)
    zero = linfa.Weights.zero((3, 4, 2))
    rule = linfa.FeedbackAlignment.random(zero, rng=0)
    assert cond.DynamicDominance().margin(rule, linfa.State(zero.matrices), task) == 0
    brsf = linfa.rules.make("brsf", net)
    assert cond.DynamicDominance().split(brsf, linfa.State(net.matrices), task, step=3).total() > 0
    with pytest.raises(InputError, match="give the task"):
        cond.DynamicDominance().margin(rule, linfa.State(zero.matrices))
    with pytest.raises(InputError, match="widths"):
        cond.DynamicDominance().margin(rule, linfa.State(zero.matrices), linfa.Task.teacher(2, 2, rng=0))


# Lyapunov -----------------------------------------------------------------------------------------------------------


@given(cases(depth=(2, 2)))
def test_the_lyapunov_identity_holds_to_rounding_for_any_input_covariance(case):
    net, rule, task = case
    state = linfa.State(net.matrices)
    B, (W, V) = rule.matrices[0], net.matrices
    terms = cond.Lyapunov().terms(rule, state, task)
    assert terms.readout <= 0
    assert terms.hidden <= 0
    # Independent: the chain rule through the simulator's own velocity.
    U = velocity(net, rule, task, state).weights
    E = task.cross - V @ W @ task.second
    chain = -float(np.sum((B @ B.T @ E) * (U[1] @ W + V @ U[0])))
    size = (np.linalg.norm(task.cross) + np.linalg.norm(V) * np.linalg.norm(W) * np.linalg.norm(task.second)) ** 2
    size *= np.linalg.norm(B) ** 2 * (2 * np.linalg.norm(W) ** 2 + 2 * np.linalg.norm(B) * np.linalg.norm(V))
    assert abs(terms.total() - chain) <= 256 * EPS * size
    # And through V itself, a polynomial of degree 4 along the line.
    h = 0.1 * min(np.linalg.norm(W), np.linalg.norm(V)) / max(np.linalg.norm(U[0]), np.linalg.norm(U[1]), 1e-300)
    value = [float(cond.Lyapunov().value(rule, state.plus(k * h, linfa.State(U)), task)) for k in (-3, 3)]
    found = directional(lambda s: float(cond.Lyapunov().value(rule, s, task)), state, linfa.State(U), h)
    assert abs(found - terms.total()) <= 1e4 * EPS * (max(value) / h + size)


def test_mutations_of_the_lyapunov_identity_are_caught():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), teacher(3, 2, 1, [3, 2, 1])
    rule, state = linfa.FeedbackAlignment.random(net, rng=2), linfa.State(net.matrices)
    terms = cond.Lyapunov().terms(rule, state, task)
    slope = directional(
        lambda s: float(cond.Lyapunov().value(rule, s, task)), state, velocity(net, rule, task, state), 0.1
    )
    assert slope == pytest.approx(terms.total(), rel=1e-10)
    for wrong in (terms.readout + terms.hidden - terms.start, terms.readout + 2 * terms.hidden + terms.start):
        assert abs(wrong - slope) > 1e-3 * abs(slope)


def counterexample():
    B = np.diag([2.0, 1.0])
    V = np.diag([0.5, 1.0]) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    net = linfa.Weights((np.zeros((2, 1)), V))
    return net, linfa.FeedbackAlignment((B,)), linfa.Task.from_moments([[1.0]], [[1.0], [1.0]], np.ones((2, 2)))


def test_the_loss_may_rise_while_the_lyapunov_function_falls():
    net, rule, task = counterexample()
    state = linfa.State(net.matrices)
    assert np.all(linfa.laws.MatrixLaw().quantity(rule, state)[0] == 0)
    certificate = cond.certify(net, rule, task)
    assert (certificate.theorem, certificate.margin) == ("lyapunov", (0.0, 0.0))
    run = flow(net, rule, task, 60.0, saves=600)
    V = np.array([float(cond.Lyapunov().value(rule, s, task)) for s in run.states()])
    assert run.loss[0] == pytest.approx(1)
    assert float(run.loss.max()) == pytest.approx(1.337, abs=1e-3)
    assert float(run.loss[-1]) < 1e-15
    assert np.all(np.diff(V) <= 1e-12)
    assert float(cond.Lyapunov().along(run).max()) < 1e-8
    # The rise is negative dynamic dominance, at the moments when the loss rises.
    mu = cond.DynamicDominance().along(run, task).values
    rising = np.diff(run.loss.values) > 1e-6
    assert rising.any()
    assert np.all(np.minimum(mu[:-1], mu[1:])[rising] < 0)


def test_without_dominance_the_lyapunov_function_may_rise():
    net, rule, task = counterexample()
    against = linfa.Weights((net[0], net[1] - 3 * rule.matrices[0]))
    assert cond.Lyapunov().margin(rule, linfa.State(against.matrices)) < 0
    assert cond.Lyapunov().terms(rule, linfa.State(against.matrices), task).total() > 0


def test_lyapunov_refuses_what_it_does_not_cover():
    deep, flat = linfa.Weights.standard((3, 4, 4, 2), rng=0), linfa.Weights.standard((3, 4, 2), rng=0)
    task = linfa.Task.teacher(3, 2, rng=0)
    with pytest.raises(InputError, match="two layers"):
        cond.Lyapunov().margin(linfa.FeedbackAlignment.random(deep, 0), linfa.State(deep.matrices))
    with pytest.raises(NoLawError, match="moves"):
        cond.Lyapunov().margin(linfa.Backprop(), linfa.State(flat.matrices))
    readout = linfa.DirectFeedback.readout_only(flat)
    with pytest.raises(InputError, match="zero"):
        cond.Lyapunov().margin(readout, linfa.State(flat.matrices))
    labels = linfa.Task.from_samples(np.eye(3), np.eye(3)[:, :2], linfa.SoftmaxCrossEntropy())
    with pytest.raises(InputError, match="squared loss"):
        cond.Lyapunov().value(linfa.FeedbackAlignment.random(flat, 0), linfa.State(flat.matrices), labels)
    assert task.n_in == 3


# Stationary points --------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_rank_test_sees_a_spurious_stationary_point_wherever_there_is_one(n1, n2, p, seed):
    rng = np.random.default_rng(seed)
    net = linfa.Weights.standard((3, n1, n2, p), rng)
    rule, state = linfa.FeedbackAlignment.random(net, rng), linfa.State(net.matrices)
    margin = float(cond.NoSpuriousStationary().margin(rule, state))
    assert (margin > 0) == (min(n1, n2) >= p)
    if margin <= 0:  # an error that no layer hears, W = 0: the velocity of W_1 vanishes with E ≠ 0
        M = rule.paths(state)[0]
        silent = np.linalg.svd(M)[2][-1]
        task = linfa.Task.from_moments(np.eye(3), np.outer(silent, np.ones(3)), 3 * np.eye(p))
        zero = linfa.State(linfa.Weights.zero(net.widths).matrices)
        assert np.linalg.norm(velocity(net, rule, task, zero).norms().weights) < 1e-12
        assert np.linalg.norm(task.cross) > 1


def test_the_rank_test_works_on_batches_and_readouts():
    net = linfa.Weights.standard((3, 4, 2), rng=0)
    state = linfa.State(net.matrices)
    assert cond.NoSpuriousStationary().margin(linfa.DirectFeedback.readout_only(net), state) == 0
    B = np.stack([np.eye(2, 4), np.zeros((2, 4))])
    margins = cond.NoSpuriousStationary().margin(linfa.FeedbackAlignment((B,)), state)
    assert (margins > 0).tolist() == [True, False]


# Rates --------------------------------------------------------------------------------------------------------------


def jacobian(net, rule, task):
    """Return the Jacobian of the full flow, by complex-free stencils: the velocity is a polynomial of degree ≤ 5."""
    shapes = [W.shape for W in net]

    def field(y):
        parts, first = [], 0
        for shape in shapes:
            parts.append(y[first : first + math.prod(shape)].reshape(shape))
            first += math.prod(shape)
        return np.concatenate([u.ravel() for u in velocity(net, rule, task, linfa.State(tuple(parts))).weights])

    y = np.concatenate([W.ravel() for W in net])
    columns = []
    for e in np.eye(len(y)):
        columns.append(sum(c * (field(y + 0.1 * k * e) - field(y - 0.1 * k * e)) for k, c in STENCIL.items()) / 0.1)
    return np.array(columns).T


@pytest.mark.parametrize("name", ["fa", "dfa", "bp", "usf"])
@pytest.mark.parametrize("widths", [(2, 3, 2), (3, 4, 3, 2)])
def test_local_rates_are_the_eigenvalues_of_the_linearised_flow(name, widths):
    net = linfa.Weights.standard(widths, rng=5)
    rule = linfa.rules.make(name, net, 6)
    xx = np.diag(np.arange(1.0, widths[0] + 1))
    T = net.products()[-1]
    task = linfa.Task.from_moments(xx, T @ xx, T @ xx @ T.T)  # E = 0 at these weights
    rates = cond.LocalRate().rates(rule, linfa.State(net.matrices), task)
    if name != "usf":  # signs are constant near the solution, but not through the stencil
        found = np.linalg.eigvals(-jacobian(net, rule, task))
        found = found[np.argsort(-abs(found))]
        assert np.all(abs(found[len(rates) :]) < 1e-6)
        gap = abs(found[: len(rates), None] - rates[None, :])
        assert gap.min(0).max() < 1e-6
        assert gap.min(1).max() < 1e-6
    assert cond.LocalRate().margin(rule, linfa.State(net.matrices), task) == pytest.approx(rates[0].real)


@given(cases(depth=(2, 2)))
def test_two_whitened_layers_have_the_local_rates_of_the_closed_form(case):
    net, rule, _ = case
    W, V = net.matrices
    task = linfa.Task.teacher(net.widths[0], net.widths[-1], rng=0)
    rates = cond.LocalRate().rates(rule, linfa.State(net.matrices), task)
    closed = np.linalg.eigvals(V @ rule.matrices[0].T)[:, None] + np.linalg.eigvalsh(W.T @ W)[None, :]
    size = np.linalg.norm(V) * np.linalg.norm(rule.matrices[0]) + np.linalg.norm(W) ** 2
    # Eigenvalues of a p × p matrix move by at most the p-th root of a perturbation (Elsner 1985).
    tolerance = 8 * size * (64 * EPS) ** (1 / V.shape[0])
    assert abs(rates.sum() - closed.sum()) <= 1e3 * EPS * size * closed.size
    assert abs(rates[0].real - closed.real.min()) <= tolerance


def test_the_local_rate_is_how_errors_die():
    net = linfa.dominated.matrix_dominated([np.array([[1.0, 0.5], [0.0, 1.0]])], 2, rng=0, scale=0.5)
    rule, T = linfa.FeedbackAlignment((np.array([[1.0, 0.5], [0.0, 1.0]]),)), net.products()[-1]
    task = linfa.Task.from_moments(np.eye(2), T, T @ T.T)
    rate = float(cond.LocalRate().margin(rule, linfa.State(net.matrices), task))
    assert rate > 0
    near = net.map(lambda W: W + 1e-3 * np.random.default_rng(1).standard_normal(W.shape))
    run = flow(near, rule, task, 8 / rate, saves=80)
    # The slowest direction is left at late times, L ∝ e^{−2 · rate · t}; oscillation averages out over the window.
    slope = np.polyfit(run.times.values[30:], np.log(run.loss.values[30:]), 1)[0]
    assert slope == pytest.approx(-2 * rate, rel=0.1)


def test_local_rates_of_unstable_solutions_are_negative():
    rule = linfa.FeedbackAlignment((np.array([[-5.0]]),))
    state = linfa.State((np.array([[1.0]]), np.array([[1.0]])))
    task = linfa.Task.from_moments([[1.0]], [[1.0]], [[1.0]])
    assert float(cond.LocalRate().margin(rule, state, task)) == -4


def scalar_case(B=1e-3, kappa=2.0):
    net = linfa.Weights((np.zeros((1, 2)), np.array([[kappa / B]])))
    return (
        net,
        linfa.FeedbackAlignment((np.array([[B]]),)),
        linfa.Task.from_moments(3 * np.eye(2), [[3.0, 6.0]], [[20.0]]),
    )


@pytest.mark.parametrize("rate", [cond.ScalarOutputRate(), cond.LyapunovRate()])
def test_exponential_rates_bound_the_flow_and_are_tight(rate):
    net, rule, task = scalar_case()
    state = linfa.State(net.matrices)
    run = flow(net, rule, task, 0.5, saves=10)
    scale = 1.0 if isinstance(rate, cond.ScalarOutputRate) else float(rule.matrices[0][0, 0]) ** 2
    seen = np.array([scale * excess(run.weights(k), task) for k in range(len(run))])
    bound = rate.bound(rule, state, task, run.times.values)
    assert float(rate.margin(rule, state, task)) == pytest.approx(12)
    assert np.all(seen <= bound * (1 + 1e-6))
    assert np.all(seen >= 0.99 * bound)  # a faster rate would be violated here


@given(starts(), st.integers(0, 99))
@settings(max_examples=15)
def test_lyapunov_rate_bounds_every_dominated_two_layer_flow(start, seed):
    rule, n_in, rng = start
    B = rule.matrices[-1]
    rule = linfa.FeedbackAlignment((B,))
    net = linfa.dominated.matrix_dominated([B], n_in, rng, scale=0.3)
    task = teacher(n_in, B.shape[0], seed, np.linspace(1, 2, n_in))
    rate, state = cond.LyapunovRate(), linfa.State(net.matrices)
    assert rate.margin(rule, state, task) > 0
    run = flow(net, rule, task, 2.0, saves=6)
    seen = [np.sum((B.T @ (s.weights[1] @ s.weights[0] - target(task)) @ root(task)) ** 2) / 2 for s in run.states()]
    assert np.all(np.array(seen) <= rate.bound(rule, state, task, run.times.values) * (1 + 1e-6) + 1e-12)


def target(task):
    return task.cross @ np.linalg.inv(task.second)


def root(task):
    return np.linalg.cholesky(task.second)


@given(cases(depth=(2, 2), outputs=(1, 2)))
@settings(max_examples=15)
def test_the_average_rate_bounds_the_least_loss_from_any_start(case):
    net, rule, task = case
    rate, state = cond.AverageRate(), linfa.State(net.matrices)
    speed = float(rate.margin(rule, state, task))
    if net.widths[1] < net.widths[2]:
        assert speed == 0
        with pytest.raises(InputError, match="proves nothing"):
            rate.bound(rule, state, task, 1.0)
        return
    assert speed > 0
    run = flow(net, rule, task, 3.0, saves=12, method="LSODA", rtol=1e-7, atol=1e-10)
    least = np.minimum.accumulate([excess(run.weights(k), task) for k in range(1, len(run))])
    assert np.all(least <= rate.bound(rule, state, task, run.times.values[1:]) * (1 + 1e-6))


def test_direct_feedback_along_the_same_path_has_the_same_average_rate():
    net, task = linfa.Weights.standard((3, 2, 2, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    rule, state = linfa.FeedbackAlignment.random(net, rng=2), linfa.State(net.matrices)
    B_2, B_3 = rule.matrices
    twin = linfa.DirectFeedback((B_3 @ B_2, B_3))
    here, there = (float(cond.AverageRate().margin(r, state, task)) for r in (rule, twin))
    assert here == pytest.approx(there, rel=1e-10)


@pytest.mark.parametrize("loss", [linfa.Exponential(), linfa.Logistic()])
def test_separable_rates_bound_the_flow(loss):
    rng = np.random.default_rng(0)
    u = np.array([1.0, 2.0])
    x = rng.standard_normal((20, 2))
    x += np.sign(x @ u)[:, None] * u / 4
    task = linfa.Task.from_samples(x, np.sign(x @ u)[:, None], loss)
    rule = linfa.FeedbackAlignment((np.array([[1.0, 1.0]]),))
    net = linfa.dominated.neuron_dominated(rule.matrices, 2, rng=1, margin=2.0, scale=0.5)
    rate, state = cond.SeparableRate(u), linfa.State(net.matrices)
    assert float(rate.margin(rule, state, task)) > 0
    run = flow(net, rule, task, 20.0, saves=40)
    assert np.all(run.loss.values <= rate.bound(rule, state, task, run.times.values) * (1 + 1e-9))
    # A direction that does not separate, and a start that is not dominated, prove nothing.
    assert float(cond.SeparableRate(-u).margin(rule, state, task)) < 0
    against = linfa.State((net[0], -net[1]))
    with pytest.raises(InputError, match="proves nothing"):
        rate.bound(rule, against, task, 1.0)


def test_rates_refuse_what_they_are_not_proved_for():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    rule, state = linfa.FeedbackAlignment.random(net, 1), linfa.State(net.matrices)
    with pytest.raises(InputError, match="one output"):
        cond.ScalarOutputRate().margin(rule, state, task)
    with pytest.raises(NoLawError, match="moves"):
        cond.AverageRate().margin(linfa.Backprop(), state, task)
    deep = linfa.Weights.standard((3, 4, 4, 1), rng=0)
    with pytest.raises(InputError, match="two layers"):
        cond.ScalarOutputRate().margin(
            linfa.FeedbackAlignment.random(deep, 0), linfa.State(deep.matrices), linfa.Task.teacher(3, 1, rng=0)
        )
    logistic = linfa.Task.from_samples(np.eye(3), np.ones((3, 2)), linfa.Logistic())
    with pytest.raises(InputError, match="squared loss"):
        cond.LocalRate().margin(rule, state, logistic)
    with pytest.raises(InputError, match="exponential or the logistic"):
        cond.SeparableRate(np.ones(3)).margin(rule, state, task)
    with pytest.raises(InputError, match="Σ_xx is zero"):
        cond.LocalRate().margin(rule, state, linfa.Task.from_moments(np.zeros((3, 3)), np.zeros((2, 3)), np.eye(2)))


# Exact arithmetic ---------------------------------------------------------------------------------------------------


def fractions(A):
    return [[Fraction(int(x)) * Fraction(2) ** A.exponent for x in row] for row in A.integers]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(-40, 40))
def test_exact_products_are_those_of_fractions(seed, m, n, power):
    rng = np.random.default_rng(seed)
    a, b = (
        rng.standard_normal((m, n)) * 2.0**power,
        rng.standard_normal((n, m)) * 10.0 ** rng.integers(-300, 300, (n, m)),
    )
    A, B = exact.Exact.of(a), exact.Exact.of(b)
    a, b = ([[Fraction(float(x)) for x in row] for row in y] for y in (a, b))
    assert fractions(A) == a
    assert fractions(B) == b
    product = [[sum(a[i][k] * b[k][j] for k in range(n)) for j in range(m)] for i in range(m)]
    assert fractions(A @ B) == product
    assert fractions((A @ B) - (A @ B).times(2.0) + (A @ B)) == [[0] * m] * m


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 6), st.booleans())
def test_inertia_and_rank_are_those_of_the_construction(seed, n, r, integral):
    rng, r = np.random.default_rng(seed), min(r, n)
    F = rng.integers(-3, 4, (n, r)).astype(float) if integral else rng.standard_normal((n, r))
    signs = np.where(rng.random(r) < 0.5, -1.0, 1.0)
    X = exact.Exact.of(F) if r else exact.Exact.of(np.zeros((n, 1)))
    S = exact.Exact.of(np.diag(signs)) if r else exact.Exact.of(np.zeros((1, 1)))
    A = X @ S @ X.mT
    found = exact.inertia(A)
    true_rank = int(np.linalg.matrix_rank(F)) if r else 0
    assert exact.rank(X) == true_rank
    assert exact.rank(A) == found.negative + found.positive <= true_rank
    if true_rank == r:  # F injective: Sylvester's law gives the inertia of the signs, exactly
        assert found == (int(np.sum(signs < 0)), n - r, int(np.sum(signs > 0)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(-8, 8))
def test_enclosures_hold_the_eigenvalue_and_are_narrow(seed, n, power):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.integers(-3, 4, n).astype(float)) * 10.0**power
    A, G = exact.Exact.of(np.diag(values)), exact.identity(n)
    H = exact.Exact.of(np.eye(n) + np.triu(rng.integers(-2, 3, (n, n)), 1))  # unimodular: the pencil keeps its values
    for k, true in enumerate(values):
        low, high = exact.enclosed(H @ A @ H.mT, H @ G @ H.mT, k)
        assert low <= true <= high
        assert high - low <= 1e-8 * abs(true)


def test_enclosures_separate_what_floating_point_cannot():
    A = np.array([[1.0, 1.0], [1.0, 1.0 + EPS]])
    low, high = exact.enclosed(exact.Exact.of(A), exact.identity(2), 0)
    assert 0 < low <= high < 1.2e-16
    assert high / low < 1 + 1e-8
    tiny = exact.Exact.of(np.array([[1.0, 0.0], [0.0, 5e-324]]))
    assert exact.inertia(tiny @ tiny) == (0, 0, 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5))
def test_the_quick_enclosure_agrees_with_the_exact_one(seed, n, r):
    rng = np.random.default_rng(seed)
    F, H = rng.standard_normal((n, r)), rng.standard_normal((n, n))
    A = exact.Exact.of(F) @ exact.Exact.of(F).mT if r else exact.Exact.of(np.zeros((n, n)))
    A, G = A - exact.Exact.of(np.diag(rng.integers(0, 2, n).astype(float))), exact.Exact.of(H) @ exact.Exact.of(H).mT
    quick, slow = exact.smallest(A, G), exact.enclosed(A, G, 0)
    assert max(quick[0], slow[0]) <= min(quick[1], slow[1])
    assert np.sign(quick).tolist() == np.sign(slow).tolist()


def test_what_is_too_large_to_decide_is_said_to_be_undecided():
    B = np.ones((exact.MOST_EXACT + 1, exact.MOST_EXACT + 1))
    net = linfa.Weights.zero((1, len(B), len(B)))
    assert exact.smallest(exact.Exact.of(B), exact.identity(len(B))) is None
    task = linfa.Task.from_samples(np.ones((1, 1)), np.ones((1, len(B))))
    assert "convergence: undecided (exact elimination stops at 64 rows): M_1ᵀM_1" in reasons(
        net, linfa.FeedbackAlignment((B,)), task
    )
    assert "imbalance: undecided" in reasons(net, linfa.Backprop(), task)
    wide = linfa.Weights.zero((len(B), 2, 1))
    flat = linfa.Task.from_moments(B, B[:1], np.eye(1))
    assert "every theorem: undecided (exact elimination stops at 64 rows): Σ_xx" in reasons(
        wide, linfa.FeedbackAlignment((np.ones((1, 2)),)), flat
    )


def test_flint_agrees_where_it_is_installed():
    flint = pytest.importorskip("flint")
    rng = np.random.default_rng(0)
    for r in range(1, 6):
        X = exact.Exact.of(rng.standard_normal((6, r)) @ np.eye(r, 6))
        A = X @ X.mT
        assert flint.fmpz_mat([[int(x) for x in row] for row in A.integers]).rank() == exact.rank(A)


def test_the_floating_point_bound_says_yes_only_where_it_is_sure():
    assert exact.surely_positive_definite(np.diag([1.0, 1e-10]))
    for A in (np.ones((2, 2)), np.diag([1.0, 0.0]), np.diag([1.0, -1e-18]), np.zeros((2, 2)), np.diag([1.0, 1e-17])):
        assert not exact.surely_positive_definite(A)


# Certificates -------------------------------------------------------------------------------------------------------


@given(cases(depth=(2, 2)), st.sampled_from(["as it is", "zero", "dominated"]))
@settings(max_examples=20)
def test_certified_starts_converge(case, kind):
    net, rule, task = case
    B = rule.matrices[0]
    if kind == "zero":
        net = linfa.Weights.zero(net.widths)
    elif kind == "dominated":
        net = linfa.dominated.matrix_dominated([B], net.widths[0], rng=0)
    certificate = cond.certify(net, rule, task)
    assert certificate.guaranteed == (net.widths[1] >= net.widths[2])
    if not certificate.guaranteed:
        assert any("full column rank" in reason for reason in certificate.reasons)
        return
    assert certificate.theorem in THEOREMS
    assert certificate.margin is not None
    if kind != "as it is":
        assert certificate.theorem == "lyapunov"
    # How long is long enough is the slowest linear rate's business; the theorem only says that the end is L*.
    run = flow(net, rule, task, 1e5, saves=2, method="LSODA", rtol=1e-6, atol=1e-9)
    assert excess(run.weights(-1), task) <= 1e-4 * (1 + excess(linfa.Weights.zero(net.widths), task))


@pytest.mark.parametrize("seed", range(4))
def test_two_layers_converge_from_starts_that_point_the_wrong_way(seed):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((2, 3))
    net = linfa.Weights((3 * rng.standard_normal((3, 2)), -4 * B + 4 * rng.standard_normal((2, 3))))
    rule, task = linfa.FeedbackAlignment((B,)), teacher(2, 2, rng, [2.0, 0.5])
    certificate = cond.certify(net, rule, task)
    assert certificate.theorem == "convergence"
    assert any(reason.startswith("lyapunov: C_1 ⪯ 0 on range(Bᵀ) fails") for reason in certificate.reasons)
    low, high = certificate.margin
    assert low * (1 - 1e-12) <= np.linalg.svd(B)[1][-1] <= high * (1 + 1e-12)
    run = flow(net, rule, task, 2000.0, saves=4, method="LSODA", rtol=1e-7, atol=1e-9)
    assert excess(run.weights(-1), task) < 1e-8


def test_the_read_out_pays_for_what_is_learnt():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), teacher(3, 2, 1, [3, 2, 1])
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    run = flow(net, rule, task, 1.0, saves=400)
    W, V = net.matrices
    over = np.array([excess(run.weights(k), task) for k in range(len(run))])
    integral = (over[0] + over[-1] + 4 * over[1:-1:2].sum() + 2 * over[2:-1:2].sum()) * 2.5e-3 / 3  # Simpson
    end = run.weights(-1)
    Phi = np.linalg.pinv(rule.matrices[0].T) @ (end[0] - W)
    left = np.sum(end[1] ** 2) / 2 + 2 * integral
    assert left == pytest.approx(np.sum(V**2) / 2 + np.sum(Phi * target(task)), rel=1e-8)
    # Control: without the factor of the excess loss the account does not close.
    assert abs(left - 2 * integral - np.sum(V**2) / 2 - np.sum(Phi * target(task))) > 1e-3


@pytest.mark.parametrize("name", ["fa", "dfa", "rho-fa"])
@pytest.mark.parametrize("widths", [(3, 4, 3, 2), (2, 2, 2, 2, 2)])
def test_deep_networks_converge_from_starts_that_point_the_wrong_way(name, widths):
    net = linfa.Weights.standard(widths, rng=7, scale=1.5)
    rule, task = linfa.rules.make(name, net, 8), teacher(widths[0], 2, 9, np.linspace(1, 0.5, widths[0]))
    certificate = cond.certify(net, rule, task)
    assert certificate.theorem == "convergence"
    bound = cond.AverageRate().bound(rule, linfa.State(net.matrices), task, 4000.0)
    run = flow(net, rule, task, 4000.0, saves=40, method="LSODA", rtol=1e-7, atol=1e-9)
    over = [excess(run.weights(k), task) for k in range(len(run))]
    assert over[-1] < 1e-6
    assert min(over) <= float(bound)


def test_a_bottleneck_in_the_feedback_loses_the_guarantee():
    task = linfa.Task.teacher(3, 2, rng=0)
    for widths in ((3, 1, 4, 2), (3, 4, 1, 2)):
        net = linfa.Weights.standard(widths, rng=0)
        rule = linfa.FeedbackAlignment.random(net, rng=1)
        assert "M_1 must have full column rank p = 2; its rank is 1" in reasons(net, rule, task)
        assert cond.AverageRate().margin(rule, linfa.State(net.matrices), task) == 0


@pytest.mark.parametrize("name", ["fa", "dfa", "rho-fa"])
@pytest.mark.parametrize("widths", [(2, 3, 2, 1), (1, 1, 1, 1), (3, 2, 3, 2, 1)])
def test_one_output_converges_at_any_depth(name, widths):
    net = linfa.Weights.standard(widths, rng=7)
    rule, task = linfa.rules.make(name, net, 8), linfa.Task.teacher(widths[0], 1, rng=9)
    certificate = cond.certify(net, rule, task)
    assert certificate.theorem == "convergence"
    run = flow(net, rule, task, 5000.0, saves=2, method="LSODA", rtol=1e-7, atol=1e-9)
    assert excess(run.weights(-1), task) < 1e-8


def test_the_boundary_is_decided_exactly_and_one_ulp_flips_the_certificate():
    rule = linfa.FeedbackAlignment((np.array([[1.0]]),))
    task = linfa.Task.from_moments([[1.0]], [[1.0]], [[1.0]])

    def asked(w, v):
        net = linfa.Weights((np.array([[w]]), np.array([[v]])))
        return cond.certify(net, rule, task, theorem="lyapunov")

    assert asked(1.0, 0.5).margin == (0.0, 0.0)  # C_1 = 1 − 2 · ½
    assert asked(0.0, 0.0).margin == (0.0, 0.0)
    above, below = asked(1.0, math.nextafter(0.5, 1)), asked(1.0, math.nextafter(0.5, 0))
    assert above.guaranteed
    low, high = above.margin
    assert 0 < low <= 2 * EPS / 2 <= high
    assert not below.guaranteed
    assert below.theorem is below.margin is None
    assert "C_1 ⪯ 0 on range(Bᵀ) fails" in below.reasons[0]
    assert not asked(5e-324, 0.0).guaranteed  # w² underflows in floating point, not here
    # 0.1² is not 2 · 0.005 in binary: no tolerance hides it.
    assert Fraction(0.1) ** 2 != 2 * Fraction(0.005)
    assert asked(0.1, 0.005).guaranteed == (Fraction(0.1) ** 2 <= 2 * Fraction(0.005))


@pytest.mark.parametrize("c", [0.0, 1e-300, 0.3, 1.0])
def test_multiples_of_the_feedback_are_inside(c):
    B = np.random.default_rng(0).standard_normal((3, 5))
    net = linfa.Weights((np.zeros((5, 4)), c * B))
    certificate = cond.certify(net, linfa.FeedbackAlignment((B,)), linfa.Task.teacher(4, 3, rng=1))
    # cB is rounded, so that at c = 0.3 it is a multiple of B only to rounding: far inside all the same.
    assert certificate.theorem == "lyapunov"
    low, high = certificate.margin
    smallest = 2 * c * np.linalg.svd(B)[1][-1] ** 2
    assert low <= smallest * (1 + 1e-12)
    assert high >= smallest * (1 - 1e-12)
    reverse = linfa.Weights((np.zeros((5, 4)), -c * B))
    found = cond.certify(reverse, linfa.FeedbackAlignment((B,)), linfa.Task.teacher(4, 3, rng=1))
    assert found.theorem == ("convergence" if c else "lyapunov")


def test_one_ulp_of_feedback_decides_the_rank():
    net, task = linfa.Weights.standard((3, 2, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    B = np.array([[1.0, 2.0], [2.0, 4.0]])
    certificate = cond.certify(net, linfa.FeedbackAlignment((B,)), task)
    assert not certificate.guaranteed
    assert certificate.statement == "no guarantee"
    assert "convergence: M_1 must have full column rank p = 2; its rank is 1" in certificate.reasons
    B[1, 1] = math.nextafter(4.0, 5.0)
    certificate = cond.certify(net, linfa.FeedbackAlignment((B,)), task)
    assert certificate.theorem == "convergence"
    assert 0 < certificate.margin[0] <= certificate.margin[1] < 1e-15


def test_without_full_row_rank_the_flow_need_not_converge():
    B = np.array([[1.0, 0.0], [0.0, 0.0]])
    net, task = linfa.Weights.zero((2, 2, 2)), linfa.Task.from_moments(np.eye(2), np.eye(2), np.eye(2))
    rule = linfa.FeedbackAlignment((B,))
    assert not cond.certify(net, rule, task).guaranteed
    run = flow(net, rule, task, 200.0, saves=2)
    assert excess(run.weights(-1), task) == pytest.approx(0.5, abs=1e-6)


def reasons(net, rule, task, **options):
    certificate = cond.certify(net, rule, task, **options)
    assert not certificate.guaranteed
    assert certificate.theorem is None
    assert certificate.margin is None
    assert certificate.statement == "no guarantee"
    return "\n".join(certificate.reasons)


def test_no_guarantee_names_the_hypothesis_that_fails():
    net, task = linfa.Weights.zero((3, 4, 2)), linfa.Task.teacher(3, 2, rng=1)
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    assert cond.certify(net, rule, task).guaranteed
    assert cond.certify(net, rule, task, solver=linfa.Flow(t=1.0)).guaranteed
    assert "every theorem: continuous time" in reasons(net, rule, task, solver=linfa.Descent(0.1, steps=3))
    labels = linfa.Task.from_samples(np.eye(3), np.eye(3)[:, :2], linfa.SoftmaxCrossEntropy())
    assert "squared loss is needed; the task has SoftmaxCrossEntropy" in reasons(net, rule, labels)
    deep = linfa.Weights.zero((3, 4, 4, 2))
    deep_certificate = cond.certify(deep, linfa.FeedbackAlignment.random(deep, 0), task)
    assert deep_certificate.theorem == "convergence"
    assert "lyapunov: two linear layers are needed; this network has 3" in deep_certificate.reasons
    for name in ("kp", "interpolated", "usf", "usf-sn", "brsf"):
        assert "fixed feedback (feedback alignment or direct feedback) is needed; the rule is" in reasons(
            net, linfa.rules.make(name, net), task
        )
    assert "rank is 0" in reasons(net, linfa.DirectFeedback.readout_only(net), task)
    silent = linfa.Weights.standard((2, 3, 3, 1), rng=0)
    F = (np.ones((1, 3)), np.zeros((1, 3)))
    assert "convergence: M_2 must have full column rank p = 1; its rank is 0" in reasons(
        silent, linfa.DirectFeedback(F), linfa.Task.teacher(2, 1, rng=0)
    )


def test_a_rule_derived_from_a_known_one_is_not_vouched_for():
    class Sly(linfa.FeedbackAlignment):
        def feedback(self, state):
            return tuple(-B for B in self.matrices)

    net, task = linfa.Weights.zero((3, 4, 2)), linfa.Task.teacher(3, 2, rng=1)
    assert "fixed feedback" in reasons(net, Sly((np.eye(2, 4),)), task)


def test_moments_must_be_moments_to_the_last_bit():
    net = linfa.Weights.zero((2, 2, 2))
    rule = linfa.FeedbackAlignment((np.eye(2),))
    flat = np.array([[1.0, 0.0], [0.0, 0.0]])
    inside, outside = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 5e-324], [2.0, 0.0]])
    assert cond.certify(net, rule, linfa.Task.from_moments(flat, inside, 6 * np.eye(2))).guaranteed
    assert "range(Σ_xx)" in reasons(net, rule, linfa.Task.from_moments(flat, outside, 6 * np.eye(2)))
    negative = np.diag([1.0, -1e-18])
    assert "Σ_xx ⪰ 0" in reasons(net, rule, linfa.Task.from_moments(negative, inside, 6 * np.eye(2)))
    skew = np.array([[1.0, EPS / 4], [0.0, 1.0]])
    assert "exactly symmetric" in reasons(net, rule, linfa.Task.from_moments(skew, inside, 6 * np.eye(2)))
    # Samples are a distribution, whatever rounding does to their moments.
    samples = linfa.Task.from_samples(np.array([[0.1, 0.3], [0.2, 0.6]]), np.eye(2))
    assert cond.certify(net, rule, samples).guaranteed


def test_direct_feedback_of_two_layers_is_feedback_alignment():
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    B = np.random.default_rng(2).standard_normal((2, 4))
    one, other = (cond.certify(net, rule, task) for rule in (linfa.FeedbackAlignment((B,)), linfa.DirectFeedback((B,))))
    assert one == other


def test_backprop_is_certified_by_imbalance_only():
    task = teacher(2, 2, 0, [2.0, 0.5])
    wide = linfa.Weights((2 * np.eye(3, 2), np.ones((2, 3)) / 10))
    certificate = cond.certify(wide, linfa.Backprop(), task)
    assert certificate.theorem == "imbalance"
    D = wide[0] @ wide[0].T - wide[1].T @ wide[1]
    low, high = certificate.margin
    assert low * (1 - 1e-12) <= np.linalg.eigvalsh(D)[1] <= high * (1 + 1e-12)
    run = flow(wide, linfa.Backprop(), task, 3.0, saves=12)
    seen = np.array([excess(run.weights(k), task) for k in range(len(run))])
    assert np.all(seen <= seen[0] * np.exp(-2 * low * 0.5 * run.times.values) * (1 + 1e-6) + 1e-12)
    # At the saddle, and from a balanced start, nothing is guaranteed; and at the saddle nothing happens.
    zero = linfa.Weights.zero((2, 3, 2))
    assert "it has 0 and 0" in reasons(zero, linfa.Backprop(), task)
    assert float(flow(zero, linfa.Backprop(), task, 5.0, saves=1).loss.diff("time").max()) == 0
    assert "gradient flow is needed; the rule is fa" in "\n".join(
        cond.certify(wide, linfa.FeedbackAlignment((0 * wide[1],)), task).reasons
    )
    read = linfa.Weights((np.zeros((3, 2)), np.eye(2, 3)))
    assert cond.certify(read, linfa.Backprop(), task).margin == pytest.approx((1.0, 1.0))


def test_a_single_layer_is_regression():
    task = linfa.Task.teacher(3, 2, rng=0)
    for rule in (linfa.Backprop(), linfa.FeedbackAlignment(()), linfa.DirectFeedback(())):
        found = cond.certify(linfa.Weights.standard((3, 2), rng=1), rule, task)
        assert (found.theorem, found.margin) == ("regression", (1.0, 1.0))
    assert "regression: the rule must be" in reasons(linfa.Weights.zero((3, 2)), linfa.StrictNormalSign(), task)


def test_certificates_of_narrow_floats_and_lists_are_exact_too():
    task = linfa.Task.teacher(3, 2, rng=1)
    net = linfa.Weights.standard((3, 4, 2), rng=0)
    B = np.random.default_rng(2).standard_normal((2, 4)).astype(np.float32)
    narrow = [W.astype(np.float32) for W in net]
    one = cond.certify(narrow, linfa.FeedbackAlignment((B,)), task)
    other = cond.certify([W.astype(float) for W in narrow], linfa.FeedbackAlignment((B.astype(float),)), task)
    assert one == other
    with pytest.raises(InputError, match="at most 64 bits"):
        cond.certify([W.astype(np.longdouble) for W in net], linfa.FeedbackAlignment((B.astype(np.longdouble),)), task)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_named():
    net, task = linfa.Weights.zero((3, 4, 2)), linfa.Task.teacher(3, 2, rng=1)
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    with pytest.raises(InputError, match="known theorems are lyapunov"):
        cond.certify(net, rule, task, theorem="hope")
    with pytest.raises(InputError, match="real floating"):
        cond.certify([np.zeros((4, 3), int), np.zeros((2, 4), int)], rule, task)
    with pytest.raises(InputError, match="must be a matrix"):
        cond.certify([[1.0], [2.0]], rule, task)
    with pytest.raises(InputError, match=r"linfa\.Weights"):
        cond.certify(3.0, rule, task)
    with pytest.raises(InputError, match="takes a rule"):
        cond.certify(net, "fa", task)
    with pytest.raises(InputError, match=r"linfa\.Task"):
        cond.certify(net, rule, np.eye(3))
    with pytest.raises(InputError, match="a solver such as"):
        cond.certify(net, rule, task, solver="flow")
    with pytest.raises(InputError, match="B_2 must have shape"):
        cond.certify(net, linfa.FeedbackAlignment((np.ones((2, 3)),)), task)
    with pytest.raises(InputError, match="the task goes from"):
        cond.certify(net, rule, linfa.Task.teacher(4, 2, rng=0))
    with pytest.raises(InputError, match="one network at a time"):
        cond.certify(linfa.Weights(tuple(np.stack([W, W]) for W in net)), rule, task)
    stacked = linfa.FeedbackAlignment(tuple(np.stack([B, B]) for B in rule.matrices))
    with pytest.raises(InputError, match="leading axes"):
        cond.MatrixDominance(reached=True).margin(stacked, linfa.State(net.matrices))


# The house ----------------------------------------------------------------------------------------------------------


def test_every_condition_runs_along_a_trajectory():
    net, task = linfa.Weights.standard((2, 3, 1), rng=0), linfa.Task.teacher(2, 1, rng=1)
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    run = flow(net, rule, task, 1.0, saves=3)
    for name, condition in cond.REGISTRY.items():
        assert condition.name == name
        assert condition.statement.endswith(".")
        if condition is cond.SeparableRate:
            continue
        margins = condition().along(run, task)
        assert margins.name == name
        assert margins.dims == (("time", "hidden") if condition.axis else ("time",))
        assert np.all(np.isfinite(margins))
    blind = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(t=1.0, saves=2), states=False)
    with pytest.raises(InputError, match="kept no states"):
        cond.NeuronDominance().along(blind)


def test_batches_give_what_their_members_give():
    rng = np.random.default_rng(0)
    W, V = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 1, 3))
    rule = linfa.FeedbackAlignment((rng.standard_normal((1, 3)),))
    task = teacher(2, 1, 1, [2.0, 1.0])
    state = linfa.State((W, V))
    for condition in (
        cond.NeuronDominance(),
        cond.LayerDominance(),
        cond.MatrixDominance(),
        cond.MatrixDominance(reached=True),
        cond.DynamicDominance(),
        cond.Lyapunov(),
        cond.ScalarOutputRate(),
        cond.LyapunovRate(),
        cond.AverageRate(),
        cond.LocalRate(),
    ):
        one = [condition.margin(rule, linfa.State((W[k], V[k])), task) for k in range(5)]
        np.testing.assert_allclose(condition.margin(rule, state, task), np.stack(one), rtol=1e-12, atol=1e-12)
    run = linfa.solve(linfa.Full(linfa.Weights((W, V)), rule), task, linfa.Descent(0.05, steps=4, saves=2))
    assert cond.NeuronDominance().along(run).dims == ("time", "member_0", "hidden")
    assert cond.NoSpuriousStationary().along(run).shape == (3, 5)
    with pytest.raises(InputError, match="one network"):
        cond.LyapunovRate().bound(rule, linfa.State((0 * W, abs(V) * rule.matrices[0])), task, 1.0)


def test_torch_gives_what_numpy_gives():
    torch = pytest.importorskip("torch")
    net, task = linfa.Weights.standard((3, 4, 2), rng=0), linfa.Task.teacher(3, 2, rng=1)
    rule = linfa.FeedbackAlignment.random(net, rng=2)
    state = linfa.State(tuple(torch.asarray(W) for W in net))
    twin = linfa.FeedbackAlignment(tuple(torch.asarray(B) for B in rule.matrices))
    for condition in (
        cond.NeuronDominance(),
        cond.LayerDominance(),
        cond.MatrixDominance(),
        cond.MatrixDominance(reached=True),
        cond.DynamicDominance(),
        cond.Lyapunov(),
        cond.NoSpuriousStationary(),
        cond.LyapunovRate(),
        cond.LocalRate(),
    ):
        here = condition.margin(twin, state, task)
        assert isinstance(here, torch.Tensor)
        there = condition.margin(rule, linfa.State(net.matrices), task)
        np.testing.assert_allclose(here.numpy(), there, rtol=1e-10, atol=1e-12)
    assert cond.certify(list(state.weights), twin, task) == cond.certify(net, rule, task)


def test_importing_conditions_is_light():
    code = (
        "import sys, linfa.conditions; "
        "print(sorted({'flint', 'sympy', 'xarray', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_large_networks_are_certified_without_elimination():
    for widths in ((50, 300, 10), (5, 120, 100)):
        net = linfa.Weights.standard(widths, rng=0)
        rule = linfa.FeedbackAlignment.random(net, rng=1)
        certificate = cond.certify(net, rule, linfa.Task.teacher(widths[0], widths[-1], rng=2))
        assert certificate.theorem == "convergence"
        low, high = certificate.margin
        assert low < high < low * (1 + 1e-5)
        assert low < np.linalg.svd(rule.matrices[0])[1][-1] * (1 + 1e-12)
