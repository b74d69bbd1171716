"""Dominance, Lyapunov, stationary points, rates, convergence: the claims close, mutants do not, and numbers agree."""

import importlib

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import simpson

import linfa
from linfa.conditions import Lyapunov, LyapunovRate
from linfa.symbolic import (
    BACKPROP,
    FEEDBACK_ALIGNMENT,
    B,
    W,
    evaluate,
    exact_point,
    identity,
    inner,
    letter,
    sym,
)
from tests.strategies import network, task_of
from tests.tolerance import rounding
from theory import (
    convergence,
    dominance,
    low_rank,
    lyapunov,
    open_convergence,
    open_depth,
    rates,
    stationary_points,
    strict_normal_sign,
)
from theory.claim import NotClosedError, Proof, Status
from theory.notation import at
from theory.stationary_points import error

EXPECTED = {
    "dominance": Status.PROVED,
    "lyapunov": Status.PROVED,
    "stationary_points": Status.PROVED,
    "rates": Status.PROVED,
    "convergence": Status.PROVED,
    "open_convergence": Status.OPEN,
    "open_depth": Status.OPEN,
}
SEEDS = st.integers(0, 2**16)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_claim_closes(name):
    verdict = importlib.import_module(f"theory.{name}").CLAIM.check()
    assert (verdict.claim.name, verdict.status) == (name, EXPECTED[name]), verdict.reason
    assert verdict.seconds < 20, "a claim is meant to take a second or two"


# --- mutants -------------------------------------------------------------------------------------------------------

l = dominance.l
MUTANTS = [
    (dominance, "C", lambda k: W(k) @ W(k).T + sym(B(k + 1).T @ W(k + 1))),
    (dominance, "C", lambda k: W(k) @ W(k).T - sym(W(k + 1).T @ W(k + 1))),
    (dominance, "half", sympy.Integer(1)),
    (lyapunov, "C", lyapunov.W(1) @ lyapunov.W(1).T + sym(B(2).T @ W(2))),
    (lyapunov, "VALUE", lyapunov.VALUE * 2),
    (lyapunov, "HEIGHT", lyapunov.HEIGHT * -1),
    (lyapunov, "RESIDUAL", lyapunov.Y + W(2) @ W(1)),
    (lyapunov, "quarter", sympy.Rational(1, 3)),
    (rates, "half", sympy.Integer(1)),
    (convergence, "RESIDUAL", convergence.Y + W(convergence.L) @ convergence.X(convergence.L - 1)),
    (convergence, "half", sympy.Integer(1)),
    (open_depth, "RESIDUAL", open_depth.Y + W(open_depth.L) @ open_depth.X(open_depth.L - 1)),
    (open_depth, "half", sympy.Integer(1)),
    (open_convergence, "half", sympy.Integer(1)),
    (stationary_points, "M", lambda k: B(k + 1).T),
]


@pytest.mark.parametrize(("module", "attribute", "mutant"), MUTANTS)
def test_a_mutant_does_not_close(module, attribute, mutant, monkeypatch):
    monkeypatch.setattr(module, attribute, mutant)
    try:
        verdict = module.CLAIM.check()
    except linfa.InputError:  # shapes that no longer fit are caught before any algebra
        return
    assert verdict.status is Status.FAILED


STEPS = [
    (dominance._without, "C", lambda k: W(k) @ W(k).T + sym(B(k + 1).T @ W(k + 1))),
    (dominance._without, "FEEDBACK_ALIGNMENT", BACKPROP),
    (dominance._converses, "C", lambda k: W(k) @ W(k).T + sym(B(k + 1).T @ W(k + 1))),
    (stationary_points._tight, "error", lambda depth: -error(depth)),
    (stationary_points._tight, "FEEDBACK_ALIGNMENT", BACKPROP),
    (stationary_points._backprop, "BACKPROP", FEEDBACK_ALIGNMENT),
    (stationary_points._backprop, "FEEDBACK_ALIGNMENT", BACKPROP),
    (lyapunov._loss_may_rise, "C", lyapunov.W(1) @ lyapunov.W(1).T - sym(B(2).T @ B(2))),
    (lyapunov._loss_may_rise, "RESIDUAL", W(2) @ W(1)),
    (lyapunov._sufficient_only, "VALUE", lyapunov.VALUE * -1),
    (lyapunov._sufficient_only, "C", lyapunov.W(1) @ lyapunov.W(1).T + sym(B(2).T @ W(2))),
    (lyapunov._rank, "RESIDUAL", W(2) @ W(1)),
    (convergence._tight, "RESIDUAL", convergence.Y * 2 - W(convergence.L) @ convergence.X(convergence.L - 1)),
    (convergence._tight, "RESIDUAL", W(convergence.L) @ convergence.X(convergence.L - 1)),
    (strict_normal_sign._one_entry, "feedback", lambda w, w_other, sign: sign / sympy.sqrt(strict_normal_sign.N)),
    (strict_normal_sign._one_entry, "feedback", lambda w, w_other, sign: abs(w) / sympy.sqrt(strict_normal_sign.N)),
]


@pytest.mark.parametrize(("step", "attribute", "mutant"), STEPS)
def test_a_counterexample_dies_with_the_objects_it_is_made_of(step, attribute, mutant, monkeypatch):
    step(Proof())
    monkeypatch.setattr(importlib.import_module(step.__module__), attribute, mutant)
    with pytest.raises(NotClosedError):
        step(Proof())


@pytest.mark.parametrize("factor", [-1, 2])
def test_the_cosine_of_one_unit_moves_as_the_step_before_it_says(factor):
    P = letter("P", low_rank.n0, low_rank.n0, symmetric=True)
    slope = inner(low_rank.A, low_rank.A @ (identity(low_rank.n0) - P))
    low_rank._one_unit(Proof(), slope, P)
    with pytest.raises(NotClosedError, match="differ by"):
        low_rank._one_unit(Proof(), slope * factor, P)


@pytest.mark.parametrize("expression", [dominance.C(l), FEEDBACK_ALIGNMENT.flow(l).velocity[W(l)], inner(W(l), W(l))])
def test_a_word_in_exact_matrices_is_the_word_in_arrays(expression):
    values = exact_point(FEEDBACK_ALIGNMENT.flow(l), seed=3)
    wanted = np.atleast_2d(evaluate(expression, values))
    assert at(expression, values) == sympy.Matrix(wanted.tolist())


def test_statements_with_a_flipped_sign_raise():
    flow = FEEDBACK_ALIGNMENT.flow(l)
    flipped = W(l) @ W(l).T + sym(B(l + 1).T @ W(l + 1))
    with pytest.raises(NotClosedError, match="this is left"):
        Proof().vanishes("dC/dt with the wrong sign", flow.derivation(flipped))
    with pytest.raises(NotClosedError, match="differ by"):
        Proof().equal("Ḣ rises", lyapunov.flow()(lyapunov.HEIGHT), lyapunov.VALUE * 2)
    with pytest.raises(NotClosedError, match="counterexample vanishes"):
        Proof().fails("dominated after all", sympy.Max(-1, 0))


# --- numbers -------------------------------------------------------------------------------------------------------


def drawn(widths, seed, scale=1.0):
    """Return weights, feedback B_2 … B_L, Y and Σ of a random net and task."""
    rng = np.random.default_rng(seed)
    net = [scale * rng.standard_normal(s) for s in zip(widths[1:], widths, strict=False)]
    feedback = [rng.standard_normal(A.shape) for A in net[1:]]
    root = rng.standard_normal((widths[0], widths[0] + 2)) / np.sqrt(widths[0] + 2)
    return net, feedback, rng.standard_normal((widths[-1], widths[0])), root @ root.T


def paths(feedback):
    """Return M_1 … M_L."""
    M = [np.eye(feedback[-1].shape[0])]
    for A in reversed(feedback):
        M.insert(0, A.T @ M[0])
    return M


def products(net):
    """Return X_0 … X_L."""
    X = [np.eye(net[0].shape[1])]
    for A in net:
        X.append(A @ X[-1])
    return X


def velocities(net, feedback, E):
    """Return U_l = M_l E X_{l−1}ᵀ."""
    return [M @ E @ X.T for M, X in zip(paths(feedback), products(net), strict=False)]


def largest(*arrays):
    """Return a bound on the terms of a computation: the product of the sums of magnitudes, one of each factor."""
    return float(np.prod([1 + np.sum(abs(A)) for A in arrays]))


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), SEEDS)
def test_alignment_is_half_the_incoming_norm_less_the_constant(widths, seed):
    net, feedback, _, _ = drawn(widths, seed)
    E = np.random.default_rng([seed, 1]).standard_normal((widths[-1], widths[0]))
    U = velocities(net, feedback, E)
    for k, A in enumerate(feedback):
        tolerance = rounding(8 * sum(widths), largest(*net, *feedback, E))
        # Any error whatever moves ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩ exactly as it moves ½‖W_l[k,:]‖², neuron by neuron.
        gap = np.sum(U[k + 1] * A, axis=0) - np.sum(U[k] * net[k], axis=1)
        assert np.all(abs(gap) <= tolerance)
        C = net[k] @ net[k].T - A.T @ net[k + 1] - net[k + 1].T @ A
        assert abs(np.sum(net[k + 1] * A) - (np.sum(net[k] ** 2) - np.trace(C)) / 2) <= tolerance


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3), SEEDS)
def test_dominated_starts_have_the_signs_that_the_claim_gives_them(hidden, p, seed):
    feedback = [np.random.default_rng(seed).standard_normal(s) for s in zip((*hidden, p)[1:], hidden, strict=False)]
    for build, matrix in ((linfa.dominated.matrix_dominated, True), (linfa.dominated.neuron_dominated, False)):
        net = build(feedback, n_in=3, rng=seed, scale=1.0, margin=0.5)
        for A, below, above in zip(feedback, net, net[1:], strict=False):
            C = below @ below.T - A.T @ above - above.T @ A
            # The least multiple is found by an eigenproblem as badly conditioned as the feedback.
            allowed = rounding(64, largest(below, above, A) * np.linalg.cond(A) ** 2)
            assert np.all(np.diag(C) <= allowed)
            assert not matrix or np.linalg.eigvalsh(C)[-1] <= allowed


def step_derivative(function, net, U):
    """Return d/dt function(W + tU) at 0 by a complex step: no difference is taken, so nothing cancels."""
    h = 1e-30
    return function([A + 1j * h * V for A, V in zip(net, U, strict=True)]).imag / h


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), SEEDS)
def test_the_lyapunov_identity_and_the_height(n_0, n_1, p, seed):
    net, (A,), Y, S = drawn((n_0, n_1, p), seed)

    def value(V):
        R = Y - V[1] @ V[0]
        return np.trace(A.T @ R @ S @ R.T @ A) / 2

    def height(V):
        return np.sum((A.T @ V[1]) ** 2) / 2 - np.sum((A.T @ Y) * V[0])

    E = (Y - net[1] @ net[0]) @ S
    U = velocities(net, [A], E)
    C = net[0] @ net[0].T - A.T @ net[1] - net[1].T @ A
    predicted = (
        -np.sum((A.T @ E @ net[0].T) ** 2) - np.sum((net[0].T @ A.T @ E) ** 2) / 2 + np.trace(E.T @ A @ C @ A.T @ E) / 2
    )
    scale = largest(Y, S, A, *net) ** 2
    tolerance = rounding(64 * (n_0 + n_1 + p), scale)
    assert abs(step_derivative(value, net, U) - predicted) <= tolerance
    assert abs(step_derivative(height, net, U) + 2 * value(net)) <= tolerance
    task = linfa.Task.from_moments(S, Y @ S, Y @ S @ Y.T)
    state, rule = linfa.State(tuple(net)), linfa.FeedbackAlignment((A,))
    # The library's Y is Σ_yxΣ_xx⁺: as accurate as Σ is well conditioned.
    total = float(Lyapunov().terms(rule, state, task).total())
    assert abs(total - predicted) <= tolerance * np.linalg.cond(S)


def test_the_loss_rises_on_the_way_though_the_lyapunov_function_falls():
    rule = linfa.FeedbackAlignment((np.diag([2.0, 1.0]),))
    net = linfa.Weights((np.zeros((2, 1)), np.array([[0.0, 0.5], [-1.0, 0.0]])))
    task = linfa.Task.from_moments([[1.0]], [[1.0], [1.0]], [[1.0, 1.0], [1.0, 1.0]])
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(t=20.0, saves=400))
    loss = np.asarray(run.loss)
    assert loss[0] == 1.0
    assert abs(loss.max() - 1.337) < 5e-4  # theory.md's three digits
    assert loss[-1] < 1e-8
    residuals = [np.array([[1.0], [1.0]]) - W_2 @ W_1 for W_1, W_2 in (s.weights for s in run.states())]
    V = np.array([np.sum((np.diag([2.0, 1.0]) @ r) ** 2) / 2 for r in residuals])
    assert np.all(np.diff(V) <= 1e-8 * V[0])  # ten times the solver's relative tolerance


def height(run, M, Y):
    """Return H = ½‖W_L‖² − ⟨Y, Φ⟩ along a run, where Φ = M_1⁺(W_1 − W_1(0)): the first layer has written Φ down."""
    states = [s.weights for s in run.states()]
    written = [np.linalg.pinv(M) @ (V[0] - states[0][0]) for V in states]
    return np.array([np.sum(V[-1] ** 2) / 2 - np.sum(Y * phi) for V, phi in zip(states, written, strict=True)])


def rule_and_first_path(feedback, direct):
    """Return feedback alignment and M_1 = B_2ᵀ…B_Lᵀ, or direct feedback of the same matrices' paths and M_1 = F_1ᵀ."""
    if not direct:
        return linfa.FeedbackAlignment(tuple(feedback)), paths(feedback)[0]
    rng = np.random.default_rng(4)
    straight = tuple(rng.standard_normal((feedback[-1].shape[0], G.shape[1])) for G in feedback)
    return linfa.DirectFeedback(straight), straight[0].T


@pytest.mark.parametrize("direct", [False, True], ids=["fa", "dfa"])
@pytest.mark.parametrize("widths", [(3, 4, 3), (3, 3, 2, 2), (2, 2, 3, 2, 2)])
def test_the_account_of_the_read_out_is_exact(widths, direct):
    """H(0) − H(t) = 2∫(L − L*), to the errors that Simpson's rule and the solver tell of themselves."""
    net, feedback, Y, S = drawn(widths, 0, 0.5)
    rule, M = rule_and_first_path(feedback, direct)
    task = linfa.Task.from_moments(S, Y @ S, Y @ S @ Y.T)
    T = 2.0

    def account(saves):
        """Return the fall of H, and twice Simpson's integral on steps h, 2h, 4h, where h = T/saves."""
        flow = linfa.Flow(t=T, saves=saves, rtol=1e-12, atol=1e-12)
        run = linfa.solve(linfa.Full(linfa.Weights(tuple(net)), rule), task, flow)
        H, excess = height(run, M, Y), np.asarray(run.loss)
        return H[0] - H[-1], *(2 * simpson(excess[::k], dx=k * T / saves) for k in (1, 2, 4))

    fall, fine, middle, coarse = account(512)
    order = np.log2(abs(coarse - middle) / abs(middle - fine))
    assert order == pytest.approx(4, abs=0.1)
    fewer = account(256)  # every save ends a step of the solver: with half of them it errs more, on the same integral
    solved = abs(fewer[0] - fall) + abs(fewer[1] - middle)
    rounded = rounding(512, np.sum(Y**2) * np.linalg.norm(np.linalg.pinv(M)) ** 2 + fall)
    # Without the term h⁴ that the order has shown; what is left is less than what the same step took off at 2h.
    better, worse = fine + (fine - middle) / 15, middle + (middle - coarse) / 15
    assert abs(fall - better) <= abs(better - worse) + solved + rounded


CASES = [((3, 4, 3), 1.0), ((3, 3, 2, 2), 0.0), ((2, 3, 3, 2), 1.0), ((2, 2, 3, 2, 2), 1.0), ((1, 1, 1, 1), 1.0)]


@pytest.mark.parametrize(("widths", "scale"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_deep_nets_converge_within_the_integral_that_the_claim_allows(widths, scale, seed):
    """½‖W_L‖² − ⟨Y, Φ⟩ falls by 2∫(L − L*), the account above, so its fall stays below 2K, the least loss below K/t."""
    net, feedback, Y, S = drawn(widths, seed, scale)
    task = linfa.Task.from_moments(S, Y @ S, Y @ S @ Y.T)
    M = paths(feedback)[0]
    sigma = np.linalg.svd(M, compute_uv=False)[widths[-1] - 1]
    apart = sum(np.sum((A - G) ** 2) for A, G in zip(net[1:], feedback, strict=True))
    K = np.sum(net[0] ** 2) / 4 + np.sum(net[-1] ** 2) / 8 + apart / 8 + np.sum(Y**2) / sigma**2
    system = linfa.Full(linfa.Weights(tuple(net)), linfa.FeedbackAlignment(tuple(feedback)))
    run = linfa.solve(system, task, linfa.Flow(t=100.0, saves=60, method="LSODA"))
    states = [s.weights for s in run.states()]
    H = height(run, M, Y)
    assert H[0] - H[-1] <= 2 * K
    assert max(np.sum(V[-1] ** 2) for V in states) <= 8 * K
    t, excess = np.asarray(run.dataset["time"])[1:], np.asarray(run.loss)[1:]
    assert np.all(np.minimum.accumulate(excess) <= K / t)
    assert excess[-1] < 1e-3 * float(np.asarray(run.loss)[0])


def test_direct_feedback_is_inside_the_claim_where_every_path_is_injective():
    """M_l = B_{l+1}ᵀM_{l+1} with the effective B_{l+1} = (M_lM_{l+1}⁺)ᵀ: the same bound K, with these B."""
    net, _, Y, S = drawn((3, 3, 2, 2), 4)
    rng = np.random.default_rng(4)
    direct = [rng.standard_normal((2, 3)), rng.standard_normal((2, 2))]
    M = [*(G.T for G in direct), np.eye(2)]
    effective = [(below @ np.linalg.pinv(above)).T for below, above in zip(M, M[1:], strict=False)]
    for below, above, G in zip(M, M[1:], effective, strict=False):
        assert np.all(abs(G.T @ above - below) <= rounding(16, largest(above, below) * np.linalg.cond(above)))
    apart = sum(np.sum((A - G) ** 2) for A, G in zip(net[1:], effective, strict=True))
    sigma = np.linalg.svd(M[0], compute_uv=False)[-1]
    K = np.sum(net[0] ** 2) / 4 + np.sum(net[-1] ** 2) / 8 + apart / 8 + np.sum(Y**2) / sigma**2
    system = linfa.Full(linfa.Weights(tuple(net)), linfa.DirectFeedback(tuple(direct)))
    task = linfa.Task.from_moments(S, Y @ S, Y @ S @ Y.T)
    run = linfa.solve(system, task, linfa.Flow(t=100.0, saves=60, method="LSODA"))
    t, loss = np.asarray(run.dataset["time"])[1:], np.asarray(run.loss)
    assert np.all(np.minimum.accumulate(loss[1:]) <= K / t)
    assert loss[-1] < 1e-3 * loss[0]


def test_without_the_rank_nothing_need_move():
    A = np.array([[1.0], [0.0]])
    net, E = [np.zeros((1, 1)), np.zeros((2, 1))], np.array([[0.0], [1.0]])
    assert all(np.all(U == 0) for U in velocities(net, [A], E))


@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), SEEDS)
def test_what_the_first_layer_hears_is_bounded_at_any_rank(widths, seed):
    """The ladder of open_depth at a random point: ‖W_1‖² ≤ ‖M_1W_L‖² + Σ(‖Q_l‖² + tr Q_lC_lQ_lᵀ), narrow layers too."""
    net, feedback, _, _ = drawn(widths, seed)
    Q, S = np.eye(widths[1]), 0.0
    for A, below, above in zip(feedback, net, net[1:], strict=False):
        C = below @ below.T - A.T @ above - above.T @ A
        S += np.sum(Q**2) + np.trace(Q @ C @ Q.T)
        Q = Q @ A.T
    assert np.sum(net[0] ** 2) <= np.sum((Q @ net[-1]) ** 2) + S + rounding(64, largest(*net, *feedback) ** 2)


@given(st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), SEEDS)
def test_local_rates_are_sums_of_eigenvalues(n_0, n_1, p, seed):
    net, (A,), _, _ = drawn((n_0, n_1, p), seed)
    T = np.kron(net[1] @ A.T, np.eye(n_0)) + np.kron(np.eye(p), net[0].T @ net[0])
    sums = np.add.outer(np.linalg.eigvals(net[1] @ A.T), np.linalg.eigvalsh(net[0].T @ net[0])).ravel()
    for k in (1, 2, 3):
        scale = largest(*net, A) ** k
        assert abs(np.trace(np.linalg.matrix_power(T, k)) - np.sum(sums**k)) <= rounding(64 * p * n_0, scale * p * n_0)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.0, 0.1, 1.0]), SEEDS)
def test_scalar_output_slope_with_homogeneous_units(n_0, m, N, slope, seed):
    """A2 by a complex step through the leaky net, at a point where no unit sits on its kink."""
    rng = np.random.default_rng(seed)
    w, a, b = rng.standard_normal((m, n_0)), rng.standard_normal(m), rng.standard_normal(m)
    x, y = rng.standard_normal((N, n_0)), rng.standard_normal(N)

    def units(z):
        return np.where(z.real > 0, z, slope * z)

    def loss(V):
        return np.sum((units(x @ V[0].T) @ V[1] - y) ** 2) / (2 * N)

    D = np.where(x @ w.T > 0, 1.0, slope)
    h = D * (x @ w.T)
    r = (h @ a - y) / N
    q = (r[:, None] * D).T @ x
    U = [-b[:, None] * q, -(h.T @ r)]
    predicted = -np.sum(a * b * np.sum(q**2, axis=1)) - np.sum((h.T @ r) ** 2)
    scale = largest(w, a, b, x, y) ** 2
    assert abs(step_derivative(loss, [w, a], U) - predicted) <= rounding(64 * (n_0 + m + N), scale)
    drift = np.sum(U[0] * w, axis=1) - U[1] * b
    assert np.all(abs(drift) <= rounding(16 * (n_0 + m + N), scale))


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_separable_data_are_learnt_at_the_rate_of_the_claim(loss):
    rng = np.random.default_rng(0)
    y = rng.choice([-1.0, 1.0], (12, 1))
    x = rng.standard_normal((12, 3)) * 0.3 + y * np.array([1.0, 0.5, 0.0])
    u = np.array([1.0, 0.5, 0.0]) / np.sqrt(1.25)
    gamma = float(np.min(y[:, 0] * (x @ u)))
    assert gamma > 0
    kind = {"exponential": linfa.Exponential, "logistic": linfa.Logistic}[loss]
    task = linfa.Task.from_samples(x, y, kind())
    feedback = np.array([[1.0, -0.5]])
    net = linfa.Weights((np.zeros((2, 3)), 0.5 * feedback))
    kappa = float(np.sum(net[1] * feedback))
    run = linfa.solve(linfa.Full(net, linfa.FeedbackAlignment((feedback,))), task, linfa.Flow(t=20.0))
    L, t = np.asarray(run.loss), np.asarray(run.dataset["time"])
    c = kappa * gamma**2 * (1.0 if loss == "exponential" else ((1 - np.exp(-12 * L[0])) / (12 * L[0])) ** 2)
    bound = L[0] / (1 + c * L[0] * t)
    assert np.all(bound * (1 + 1e-6) >= L)
    assert np.all(np.diff(L) <= 1e-8 * L[0])


def test_exponential_rates_hold_along_runs():
    net = network((3, 4, 2), scale=0.1, seed=1)
    task = task_of(3, 2, N=20, seed=1)
    A = np.random.default_rng(5).standard_normal((2, 4))
    start = linfa.Weights((0 * net[0], A))  # C_1 = −2AᵀA: κ = 2σ_min(A)²
    rule = linfa.FeedbackAlignment((A,))
    run = linfa.solve(linfa.Full(start, rule), task, linfa.Flow(t=3.0))
    lam = np.linalg.eigvalsh(task.second)[0]
    kappa = 2 * np.linalg.svd(A, compute_uv=False)[-1] ** 2
    X_star = task.cross @ np.linalg.inv(task.second)
    t = np.asarray(run.dataset["time"])
    V = []
    for W_1, W_2 in (s.weights for s in run.states()):
        R = X_star - W_2 @ W_1
        V.append(np.trace(A.T @ R @ task.second @ R.T @ A) / 2)
    assert np.all(np.array(V) <= V[0] * np.exp(-kappa * lam * t) + 1e-8 * V[0])
    margin = float(LyapunovRate().margin(rule, linfa.State(start.matrices), task))
    assert margin == pytest.approx(kappa * lam, rel=1e-10)
