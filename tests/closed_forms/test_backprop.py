"""E6: the Riccati flow and Saxe's modes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

import linfa
from linfa import InputError
from linfa.closed_forms import BalancedBackprop, SaxeModes
from tests.closed_forms.twin import frame, moments_task, simulated
from tests.shapes import shapes_unchecked

pytestmark = pytest.mark.usefixtures("as_users_run_it")


def balanced(widths, imbalance, rng, size=0.5):
    """Return W_2ᵀW_2 − W_1W_1ᵀ = λI in a random hidden basis."""
    n, h, p = widths
    if imbalance == 0:
        return linfa.Weights.balanced(widths, rng, size)
    if imbalance > 0:  # needs p ≥ h
        a = np.zeros(h)
        k = min(n, h)
        a[:k] = rng.uniform(0, size, k)
        V = np.concatenate([frame(n, k, rng), np.zeros((n, h - k))], axis=1)
        R, U = frame(h, h, rng), frame(p, h, rng)
        return linfa.Weights(((R * a) @ V.T, (U * np.sqrt(a**2 + imbalance)) @ R.T))
    flipped = balanced((p, h, n), -imbalance, rng, size)
    return linfa.Weights((flipped[1].T, flipped[0].T))


CASES = [
    ((3, 4, 3), 0.0),
    ((2, 3, 4), 0.0),
    ((5, 2, 3), 0.0),
    ((4, 1, 2), 0.0),
    ((3, 2, 3), 0.7),
    ((1, 3, 4), 1.3),
    ((4, 3, 2), -0.6),
]


@pytest.mark.parametrize(("widths", "imbalance"), CASES)
def test_the_riccati_solution_is_the_flow_of_the_network(widths, imbalance):
    rng = np.random.default_rng(len(CASES))
    net, task = balanced(widths, imbalance, rng), linfa.Task.teacher(widths[0], widths[-1], rng)
    exact = BalancedBackprop.of(net, linfa.Backprop(), task)
    assert exact.imbalance == pytest.approx(imbalance, abs=1e-14)
    run, bound = simulated(net, linfa.Backprop(), task, 4.0)
    S = exact.gram(run.times.values)
    loss = exact.excess_loss(run.times.values)
    for k in range(len(run)):
        W_1, W_2 = run.weights(k)
        Q = np.concatenate([W_1.T, W_2])
        assert np.abs(S[k] - Q @ Q.T).max() <= 10 * bound
        assert abs(loss[k] - float(run.loss[k])) <= 10 * bound


@pytest.mark.parametrize(("widths", "imbalance"), CASES)
def test_late_times_stay_exact(widths, imbalance):
    rng = np.random.default_rng(1)
    net, task = balanced(widths, imbalance, rng, 1e-3), linfa.Task.teacher(widths[0], widths[-1], rng)
    S = BalancedBackprop.of(net, linfa.Backprop(), task)
    X = S.product(np.array([1e3, 2e3]))
    assert np.abs(X[0] - X[1]).max() < 1e-10
    if widths[1] >= min(widths[0], widths[-1]) and imbalance == 0:
        assert np.abs(X[1] - task.cross).max() < 1e-10


def test_the_formula_as_it_is_written_where_f_is_invertible():
    rng = np.random.default_rng(2)
    net, task = balanced((3, 2, 3), 0.7, rng), linfa.Task.teacher(3, 3, rng, spectrum=[2.0, 1.0, 0.5])
    exact = BalancedBackprop.of(net, linfa.Backprop(), task)
    Q, I = np.concatenate([net[0].T, net[1]]), np.eye(3)
    F = np.block([[-0.35 * I, task.cross.T], [task.cross, 0.35 * I]])
    t, inverse = 0.8, np.linalg.inv(F)
    e = expm(F * t)
    written = e @ Q @ np.linalg.inv(np.eye(2) + Q.T @ (e @ inverse @ e - inverse) @ Q / 2) @ Q.T @ e
    assert np.abs(exact.gram(t) - written).max() < 1e-13


def test_unbalanced_starts_are_refused_and_the_formula_fails_there():
    rng = np.random.default_rng(3)
    net, task = linfa.Weights.standard((3, 4, 2), rng), linfa.Task.teacher(3, 2, rng)
    with pytest.raises(InputError, match="W_2ᵀW_2 − W_1W_1ᵀ = λI; it is off by"):
        BalancedBackprop.of(net, linfa.Backprop(), task)
    Q = np.concatenate([net[0].T, net[1]])
    F = np.block([[np.zeros((3, 3)), task.cross.T], [task.cross, np.zeros((2, 2))]])
    values, V = np.linalg.eigh(F)
    H = (V * np.where(np.abs(values) > 1e-12, np.expm1(2 * values) / np.where(values == 0, 1, 2 * values), 1)) @ V.T
    wrong = expm(F) @ Q @ np.linalg.inv(np.eye(4) + Q.T @ H @ Q) @ Q.T @ expm(F)
    run, bound = simulated(net, linfa.Backprop(), task, 1.0)
    assert np.abs(wrong[3:, :3] - run.weights(-1).products()[-1]).max() > 1e3 * bound
    start = linfa.Weights.balanced((3, 4, 2), rng)
    with pytest.raises(InputError, match="backprop; the rule is fa"):
        BalancedBackprop.of(start, linfa.FeedbackAlignment.random(start, 0), task)
    with pytest.raises(InputError, match="whitened inputs"):
        BalancedBackprop.of(start, linfa.Backprop(), moments_task(task.cross, np.diag([1.0, 2.0, 1.0])))
    with pytest.raises(InputError, match="shapes"):
        BalancedBackprop(np.eye(2), np.eye(3), np.eye(2))


def saxe(spectrum, start, rng, n=4, p=3, h=5):
    k = len(spectrum)
    U, R, V = frame(p, k, rng), frame(h, k, rng), frame(n, k, rng)
    net = linfa.Weights(((R * np.sqrt(start)) @ V.T, (U * np.sqrt(start)) @ R.T))
    return net, moments_task((U * spectrum) @ V.T)


@given(
    seed=st.integers(0, 10_000), k=st.integers(1, 3), zero=st.sampled_from(["none", "target"]), repeated=st.booleans()
)
@shapes_unchecked()
def test_saxe_s_modes_are_the_flow_of_the_network(seed, k, zero, repeated):
    rng = np.random.default_rng(seed)
    spectrum, start = rng.uniform(0.3, 2, k), rng.uniform(0.01, 2.5, k)
    if repeated:
        spectrum, start = np.full(k, spectrum[0]), np.full(k, start[0])
    if zero == "target":
        spectrum[-1] = 0
    net, task = saxe(spectrum, start, rng)
    modes = SaxeModes.of(net, linfa.Backprop(), task)
    run, bound = simulated(net, linfa.Backprop(), task, 3.0)
    riccati = BalancedBackprop.of(net, linfa.Backprop(), task)
    for i, t in enumerate(run.times.values):
        # A mode of strength s_0 grows as e^{2σt} at first, and so do errors.
        assert np.abs(modes.product(float(t)) - run.weights(i).products()[-1]).max() <= bound * 20
        assert np.abs(modes.product(float(t)) - riccati.product(float(t))).max() <= 1e-12 * 20


def test_times_and_strengths_are_inverse():
    modes, t = SaxeModes([2.0, 0.5], [1e-6, 0.9]), np.array([0.1, 1.0, 3.0])
    assert np.allclose(modes.time(modes.strength(t)), t[:, None], rtol=1e-9)
    assert modes.time(modes.start).tolist() == [0.0, 0.0]
    with pytest.raises(InputError, match="never passes"):
        modes.time([2.5, 0.7])
    with pytest.raises(InputError, match="σ > 0"):
        SaxeModes([0.0], [1.0]).time([0.5])


def test_saxe_s_formula_as_it_is_written():
    sigma, s, t = 1.7, 0.02, np.linspace(0, 5, 11)
    e = np.exp(2 * sigma * t)
    assert np.allclose(SaxeModes([sigma], [s]).strength(t)[:, 0], sigma * e / (e - 1 + sigma / s), rtol=1e-13)


def test_saxe_s_modes_refuse_what_they_do_not_solve():
    rng = np.random.default_rng(4)
    net, task = saxe([2.0, 1.0], [0.1, 0.3], rng)
    other = linfa.Task.teacher(4, 3, rng)
    with pytest.raises(InputError, match="diagonal in the modes"):
        SaxeModes.of(net, linfa.Backprop(), other)
    modes = SaxeModes.of(net, linfa.Backprop(), task)
    run, bound = simulated(net, linfa.Backprop(), other, 1.0)
    assert np.abs(modes.product(1.0) - run.weights(-1).products()[-1]).max() > 1e3 * bound
    with pytest.raises(InputError, match="λ = 0"):
        SaxeModes.of(balanced((4, 2, 3), 0.5, rng), linfa.Backprop(), task)
    flipped = linfa.Weights((net[0], -net[1]))
    with pytest.raises(InputError, match=r"s\(0\) ≥ 0"):
        SaxeModes.of(flipped, linfa.Backprop(), task)
    with pytest.raises(InputError, match="singular values"):
        SaxeModes([-1.0], [1.0])
    with pytest.raises(InputError, match="belong to no network"):
        SaxeModes([1.0], [1.0]).product(1.0)
