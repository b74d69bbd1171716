"""E4: narrow hidden layers, the projection they end at, and FA* for all times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import linfa
from linfa import InputError
from linfa.closed_forms import Factorisation
from tests.closed_forms.twin import frame, moments_task, simulated
from tests.shapes import shapes_unchecked

pytestmark = pytest.mark.usefixtures("as_users_run_it")


def problem(seed, p=4, n=5, r=2, rank=None):
    rng = np.random.default_rng(seed)
    k = min(p, n) if rank is None else rank
    Y = (frame(p, k, rng) * np.linspace(2, 1, k)) @ frame(n, k, rng).T
    return Factorisation(Y, rng.standard_normal((p, r))), rng


def network(problem, rng, scale=1.0):
    (p, r), n = problem.feedback.shape, problem.target.shape[1]
    return linfa.Weights.standard((n, r, p), rng, scale), linfa.FeedbackAlignment((problem.feedback,))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("r", "rank"), [(1, None), (2, None), (3, 3)])
def test_every_start_ends_at_the_sketch(seed, r, rank):
    exact, rng = problem(seed, r=r, rank=rank)
    task = moments_task(exact.target)
    ends = []
    for scale in (0.1, 1.0):
        net, rule = network(exact, rng, scale)
        assert np.array_equal(Factorisation.of(net, rule, task).limit, exact.limit)
        run, _ = simulated(net, rule, task, 3000.0, saves=1, method="LSODA", rtol=1e-9, atol=1e-11)
        X = run.weights(-1).products()[-1]
        # What the solver tolerates (1e-9 a step) and what is left of the slowest mode.
        ends.append(np.abs(X - exact.limit).max())
        assert ends[-1] < 1e-6
        assert abs(float(run.loss[-1]) - exact.excess_loss) < 1e-6
    if rank == r:
        assert exact.excess_loss < 1e-28
    else:
        assert exact.excess_loss > exact.eckart_young


@given(seed=st.integers(0, 10_000), r=st.integers(1, 3))
@shapes_unchecked()
def test_the_limit_is_at_rest_and_as_good_as_least_squares_on_the_sketch(seed, r):
    exact, _ = problem(seed, r=r)
    rows = exact.sketch
    fitted = np.linalg.lstsq(rows.T, exact.target.T, rcond=None)[0].T @ rows
    size = np.linalg.cond(rows)
    assert np.allclose(exact.limit, fitted, rtol=0, atol=1e-13 * size)
    error = exact.target - exact.limit
    assert np.linalg.norm(exact.feedback.T @ error) <= 1e-13 * size * np.linalg.norm(exact.feedback)
    assert np.linalg.matrix_rank(exact.limit) == r
    # Pythagoras, and no better than the best.
    squares = [np.sum(A**2) for A in (exact.target, exact.limit)]
    assert exact.excess_loss == pytest.approx((squares[0] - squares[1]) / 2, abs=1e-12)
    assert exact.excess_loss >= exact.eckart_young - 1e-12
    assert np.sum((exact.target - exact.best) ** 2) / 2 == pytest.approx(exact.eckart_young, abs=1e-12)


def test_backprop_ends_at_the_best_map_and_feedback_alignment_does_not():
    exact, rng = problem(1, r=2)
    net, _ = network(exact, rng, 0.5)
    task = moments_task(exact.target)
    run, _ = simulated(net, linfa.Backprop(), task, 500.0, saves=1, method="LSODA", rtol=1e-9, atol=1e-11)
    assert np.allclose(run.weights(-1).products()[-1], exact.best, atol=1e-6)
    assert np.linalg.norm(exact.best - exact.limit) > 0.1


def test_where_the_sketch_loses_rank_the_limit_depends_on_the_start_and_it_refuses():
    exact, rng = problem(0, r=2)
    B = exact.feedback.copy()
    B[:, 1] = 2 * B[:, 0]
    poor = Factorisation(exact.target, B)
    with pytest.raises(InputError, match="rank BᵀY = 1, r = 2, rank Y = 4"):
        _ = poor.limit
    task, ends = moments_task(exact.target), []
    for _ in range(2):
        net, rule = network(poor, rng)
        run, _ = simulated(net, rule, task, 1000.0, saves=1, method="LSODA", rtol=1e-9, atol=1e-11)
        ends.append(run.weights(-1).products()[-1])
    assert np.linalg.norm(ends[0] - ends[1]) > 0.1


def test_without_whitening_it_refuses_and_would_be_wrong():
    exact, rng = problem(0)
    net, rule = network(exact, rng)
    task = moments_task(exact.target, np.diag([3.0, 2.0, 1.0, 0.5, 0.3]))
    with pytest.raises(InputError, match="whitened inputs"):
        Factorisation.of(net, rule, task)
    run, _ = simulated(net, rule, task, 2000.0, saves=1, method="LSODA", rtol=1e-9, atol=1e-11)
    assert np.linalg.norm(run.weights(-1).products()[-1] - exact.limit) > 0.1


def test_the_mean_loss_over_gaussian_feedback_keeps_its_bound():
    rng = np.random.default_rng(0)
    Y = (frame(8, 8, rng) * 0.6 ** np.arange(8)) @ frame(9, 8, rng).T
    for r in (2, 4, 6):
        draws = [Factorisation(Y, rng.standard_normal((8, r))) for _ in range(400)]
        losses = np.array([d.excess_loss for d in draws])
        # Five standard errors of the mean: one such failure in three million.
        assert losses.mean() - 5 * losses.std() / 20 <= draws[0].sketch_bound()
        assert draws[0].eckart_young <= losses.min()


# FA* -----------------------------------------------------------------------------------------------------------------


def starred(exact, first, t):
    """Return W_1(t) of FA* by an ordinary integration of Ẇ_1 = Bᵀ(Y − YW_1⁺W_1)."""
    n = first.shape[1]

    def velocity(_, y):
        W = y.reshape(first.shape)
        return (exact.sketch @ (np.eye(n) - np.linalg.pinv(W) @ W)).ravel()

    done = solve_ivp(velocity, (0, t[-1]), first.ravel(), "DOP853", t, rtol=1e-12, atol=1e-13)
    return done.y.T.reshape(len(t), *first.shape)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_fa_star_is_solved_for_all_times_and_any_width(r):
    exact, rng = problem(r, p=5, n=6, r=r)
    first, t = rng.standard_normal((r, 6)), np.array([0.3, 1.0, 4.0])
    W = exact.optimal_readout(first, t)
    assert np.abs(W - starred(exact, first, t)).max() < 1e-10
    constant = first @ first.T
    for w in (*W, exact.optimal_readout(first, 200.0)):
        assert np.linalg.norm(w @ w.T - constant) <= 1e-11 * np.linalg.norm(constant)
    end = exact.optimal_readout(first, 2000.0)
    assert np.abs(exact.target @ np.linalg.pinv(end) @ end - exact.limit).max() < 1e-9


def test_the_alignment_of_one_unit_is_a_tanh():
    exact, rng = problem(0, r=1)
    first, t = rng.standard_normal((1, 5)), np.linspace(0, 3, 7)
    W, A = exact.optimal_readout(first, t)[:, 0], exact.sketch[0]
    measured = W @ A / np.linalg.norm(W, axis=1) / np.linalg.norm(A)
    assert np.allclose(measured, exact.alignment(first, t), rtol=0, atol=1e-13)
    assert exact.alignment(exact.sketch, 1.0) == 1.0
    assert exact.alignment(-exact.sketch, 1.0) == -1.0
    # Ordinary feedback alignment does not follow it.
    net = linfa.Weights((first, exact.target @ np.linalg.pinv(first)))
    run, bound = simulated(net, linfa.FeedbackAlignment((exact.feedback,)), moments_task(exact.target), 1.0)
    w = run.weights(-1)[0][0]
    assert abs(w @ A / np.linalg.norm(w) / np.linalg.norm(A) - exact.alignment(first, 1.0)) > 1e3 * bound


def test_the_factorisation_says_what_is_wrong():
    exact, _ = problem(0, r=2)
    with pytest.raises(InputError, match="agree in p"):
        Factorisation(np.eye(2), np.ones((3, 1)))
    with pytest.raises(InputError, match=r"rank r = 2; its rank is 1"):
        exact.optimal_readout(np.ones((2, 5)), 1.0)
    with pytest.raises(InputError, match="must have shape"):
        exact.optimal_readout(np.ones((1, 5)), 1.0)
    with pytest.raises(InputError, match="r = 1; r = 2: use optimal_readout"):
        exact.alignment(np.ones((2, 5)), 1.0)
    with pytest.raises(InputError, match=r"σ_r > σ_{r\+1}"):
        _ = Factorisation(np.eye(3), np.ones((3, 2))).best
    with pytest.raises(InputError, match="r ≥ 2"):
        Factorisation(np.eye(3), np.ones((3, 1))).sketch_bound()
    net = linfa.Weights.zero((5, 2, 2, 4))
    with pytest.raises(InputError, match="2 layers; this network has 3"):
        Factorisation.of(net, linfa.FeedbackAlignment.random(net, 0), moments_task(exact.target))
