"""Width-free reduction, completeness, scalar chain, low rank, minimum norm: claims, mutations, simulations."""

import itertools

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

import linfa
from linfa.laws.count import count
from linfa.symbolic import Derivation, orbit_rank
from linfa.symbolic.linear import kernel, rank
from tests.tolerance import rounding
from theory import completeness, completeness_two_layers, low_rank, minimum_norm, scalar_chain, width_free
from theory.claim import Claim, NotClosedError, Proof, Status

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

EXPECTED = {
    width_free: Status.PROVED,
    completeness_two_layers: Status.PROVED,
    completeness: Status.CERTIFIED,
    scalar_chain: Status.PROVED,
    low_rank: Status.PROVED,
    minimum_norm: Status.PROVED,
}


@pytest.mark.parametrize("module", EXPECTED, ids=lambda m: m.__name__)
def test_a_claim_closes_with_the_status_it_deserves(module):
    verdict = module.CLAIM.check()
    assert verdict.status is EXPECTED[module], verdict.reason
    assert module.__name__ == f"theory.{verdict.claim.name}"
    assert verdict.seconds < 15


# --------------------------------------------------------------------------------------------------------- mutations

c2, lr, mn, wf = completeness_two_layers, low_rank, minimum_norm, width_free
MUTATIONS = {
    "E with the wrong sign in Z_{l+1}": (wf, "S_next", -wf.S_next),
    "Z_{l+1} driven by the start alone": (wf, "S_next", wf.S @ wf.W0.T),
    "W_l − M_l Z_l": (wf, "W", wf.W0 - wf.M(wf.l) @ wf.Z),
    "Y_l with half of Z_l": (wf, "Y", wf.Y / 2),
    "a bracket with a plus": (
        c2,
        "bracket",
        lambda X, Y: tuple(a + b for a, b in zip(c2.along(X, Y), c2.along(Y, X), strict=True)),
    ),
    "fields of backprop's read-out": (c2, "field", lambda K: (c2.W(2).T @ K, K @ c2.W(1).T)),
    "feedback used untransposed in layer 2": (c2, "field", lambda K: (c2.M @ K, -K @ c2.W(1).T)),
    "a null space that M does not annihilate": (c2, "PENROSE", c2.PENROSE[:2]),
    "a law too many": (completeness, "TABLE", {(2, 3, 2): (8, 7, 6)}),
    "FA and DFA alike": (completeness, "TABLE", {(3, 2, 2, 3): (6, 6, 6)}),
    "brackets without end": (completeness, "antisymmetric", lambda proof, M, J, H: proof.vanishes("H", H)),
    "the law with a plus": (scalar_chain, "following", lambda w, b, c: (w**2 + 2 * c) / (2 * b)),
    "the law without ½": (scalar_chain, "following", lambda w, b, c: (w**2 - 2 * c) / b),
    "E uphill": (scalar_chain, "second", -scalar_chain.second),
    "Q̇ transposed": (lr, "SKETCH", Derivation({lr.W1: lr.e, lr.Q: lr.W1 @ lr.e.T})),
    "Ẇ_1 uphill": (lr, "SKETCH", Derivation({lr.W1: -lr.e, lr.Q: lr.e @ lr.W1.T})),
    "the sketch unprojected": (lr, "_cut", lambda X, P: X),
    "the span instead of its complement": (mn, "OFF", mn.P),
    "an oblique projector": (mn, "PROJECTOR", mn.PROJECTOR[1:]),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_statement_does_not_close(mutation, monkeypatch):
    module, name, value = MUTATIONS[mutation]
    monkeypatch.setattr(module, name, value)
    verdict = module.CLAIM.check()
    assert verdict.status is Status.FAILED
    assert verdict.reason


def test_a_flipped_sign_in_the_lévy_area_is_refused():
    d = Derivation({wf.Z: wf.S, wf.Z_next: wf.S_next, wf.R: wf.S @ wf.Z.T})
    path = wf.M(wf.l)
    for wrong in (wf.Z_next - wf.Z @ wf.W0.T + wf.R @ path.T, wf.Z_next - wf.Z @ wf.W0.T - wf.R.T @ path.T):
        with pytest.raises(NotClosedError, match="should vanish"):
            Proof().vanishes("the reduction", d(wrong))
    with pytest.raises(NotClosedError):
        Proof().vanishes("the symmetric part", d(wf.R + wf.R.T + wf.Z @ wf.Z.T))


def test_an_unclosed_derivation_is_failed_and_not_raised():
    claim = Claim("no", "2 = 3", "", lambda proof: proof.equal("no", sympy.Integer(2), sympy.Integer(3)))
    assert claim.check().status is Status.FAILED


# ------------------------------------------------------------------------------------------------------- width_free


def net_and_rule(widths, seed, rule="fa", scale=1.0):
    net = linfa.Weights.standard(widths, rng=seed, scale=scale)
    return net, linfa.rules.make(rule, net, seed + 1)


def coordinates(run, rule, k):
    """Z_l, and R_l from Z_{l+1} = Z_l W_l(0)ᵀ + R_l M_lᵀ, read off the full weights at a saved moment (n_l ≥ p)."""
    start, now = run.weights(0), run.weights(k)
    M = rule.paths(run.state(0))
    J = [np.linalg.pinv(m) for m in M]
    Z = [j @ (W - V) for j, W, V in zip(J, now, start, strict=True)]
    R = [(Z[l + 1] - Z[l] @ start[l].T) @ J[l].T for l in range(len(Z) - 1)]
    return start, now, M, Z, R


def reduced_descent(net, rule, error, rate, steps, mu=0.0, decay=0.0):
    """The weights made from the coordinates alone: one copy for each power of α, Gram matrices of the start."""
    L, M = net.depth, rule.paths(linfa.State(net.matrices))
    n0, p = net.widths[0], net.widths[-1]
    bases = [np.eye(n0)]
    for W, m in zip(net, M, strict=True):
        bases.append(np.concatenate([W @ bases[-1], m], axis=1))
    grams = [b.T @ b for b in bases[:-1]]
    Phi, V = np.zeros((L, p, n0)), np.zeros((L, p, n0))
    R, Q = np.zeros((L, L, p, p)), np.zeros((L, L, p, p))
    alpha, a = 1.0, 0.0
    for step in range(steps):
        c, Y = np.eye(n0), []
        for l in range(L):
            z = np.concatenate([Phi[l], *(R[j, l - 1 - j] for j in range(l))], axis=1)
            Y.append(z @ grams[l] @ c)
            c = np.concatenate([alpha * c, Y[-1]])
        E = error(bases[-1] @ c, step)
        for k in range(L):
            V[k] = mu * V[k] + alpha**k * E - decay * Phi[k]
            for j in range(L):
                Q[j, k] = mu * Q[j, k] + alpha**k * E @ Y[j].T - decay * R[j, k]
        Phi, R = Phi + rate * V, R + rate * Q
        a = mu * a - decay * alpha
        alpha += rate * a
    Z = [np.concatenate([Phi[l], *(R[j, l - 1 - j] for j in range(l))], axis=1) @ bases[l].T for l in range(L)]
    return [alpha * W + m @ z for W, m, z in zip(net, M, Z, strict=True)]


@pytest.mark.parametrize("rule", ["fa", "dfa"])
@pytest.mark.parametrize("widths", [(3, 7, 2), (4, 3, 5, 2), (2, 6, 1, 4, 3)])
@pytest.mark.parametrize(("mu", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.8, 0.05)])
def test_the_coordinates_alone_make_the_weights_of_a_descent(rule, widths, mu, decay):
    net, feedback = net_and_rule(widths, 3, rule)
    task = linfa.Task.teacher(widths[0], widths[-1], rng=5)
    steps, rate = 30, 0.003
    run = linfa.solve(linfa.Full(net, feedback), task, linfa.Descent(rate, steps, momentum=mu, decay=decay))

    def error(X, _):
        return task.cross - X @ task.second

    lifted = reduced_descent(net, feedback, error, rate, steps, mu, decay)
    sizes = [np.linalg.norm(W) for W in (*net, *feedback.paths(linfa.State(net.matrices)))]
    scale = np.prod([1 + s for s in sizes])
    for W, V, before in zip(run.weights(-1), lifted, net, strict=True):
        assert np.abs(W - V).max() <= rounding(steps * sum(widths), scale)
        assert np.abs(W - before).max() > 1e6 * rounding(steps * sum(widths), 1.0)


def test_any_loss_on_mini_batches_at_changing_samples():
    net, feedback = net_and_rule((4, 6, 5, 3), 11)
    rng = np.random.default_rng(0)
    batches = rng.standard_normal((40, 2, 4))
    labels = np.eye(3)[rng.integers(0, 3, (40, 2))]

    def error(X, step):
        outputs = np.exp(batches[step] @ X.T)
        return (labels[step] - outputs / outputs.sum(1, keepdims=True)).T @ batches[step] / 2

    rate, M, W = 0.2, feedback.paths(linfa.State(net.matrices)), list(net)
    for step in range(40):
        X = linfa.Weights(tuple(W)).products()
        E = error(X[-1], step)
        W = [w + rate * m @ E @ x.T for w, m, x in zip(W, M, X, strict=False)]
    lifted = reduced_descent(net, feedback, error, rate, 40)
    scale = np.prod([1 + np.linalg.norm(w) for w in (*W, *M)])
    for w, v, before in zip(W, lifted, net, strict=True):
        assert np.abs(w - v).max() <= rounding(40 * 18, scale)
        assert np.abs(w - before).max() > 0.1


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_a_flow_moves_within_the_paths_and_the_areas_have_the_symmetric_part_of_the_coordinates(rule):
    net, feedback = net_and_rule((3, 6, 5, 2), 8, rule)
    flow = linfa.Flow(t=3.0, rtol=1e-12, atol=1e-13, saves=4)
    run = linfa.solve(linfa.Full(net, feedback), linfa.Task.teacher(3, 2, rng=9), flow)
    start, now, M, Z, R = coordinates(run, feedback, -1)
    J = max(np.linalg.norm(np.linalg.pinv(m), 2) for m in M)
    size = max(np.linalg.norm(W) for W in (*start, *now))
    tolerance = run.dataset.attrs["steps"] * flow.rtol * (1 + size) ** 4 * (1 + J) ** 3
    for W, V, m, z in zip(now, start, M, Z, strict=True):
        assert np.linalg.norm(W - V - m @ z) <= tolerance
    for l, r in enumerate(R):
        assert np.linalg.norm(Z[l + 1] - Z[l] @ start[l].T - r @ M[l].T) <= tolerance
        assert np.linalg.norm(r + r.T - Z[l] @ Z[l].T) <= tolerance
        assert np.linalg.norm(r - r.T) > 10 * tolerance


def test_in_finite_steps_the_symmetric_part_lags_behind():
    net, feedback = net_and_rule((3, 6, 5, 2), 8)
    run = linfa.solve(linfa.Full(net, feedback), linfa.Task.teacher(3, 2, rng=9), linfa.Descent(0.1, 40))
    *_, Z, R = coordinates(run, feedback, -1)
    for l, r in enumerate(R):
        gap = np.linalg.eigvalsh(r + r.T - Z[l] @ Z[l].T)
        assert gap[-1] <= rounding(1000, 100) < 1e-6 < -gap[0]


# ----------------------------------------------------------------------------------------------------- completeness


def spans(W1, W2, M):
    """Exact ranks of Lie(θ), of the differentials of {L2, L3}, and whether the one annihilates the other."""
    (n1, n0), p = W1.shape, M.shape[1]
    lie = []
    for i, j in itertools.product(range(p), range(n0)):
        K = np.zeros((p, n0), dtype=object)
        K[i, j] = 1
        lie.append(np.concatenate([(M @ K).ravel(), (K @ W1.T).ravel()]))
    for i, j in itertools.combinations(range(p), 2):
        Omega = np.zeros((p, p), dtype=object)
        Omega[i, j], Omega[j, i] = 1, -1
        lie.append(np.concatenate([np.zeros(n1 * n0, dtype=object), (Omega @ M.T).ravel()]))
    unit1, laws = np.eye(n1, dtype=int).astype(object), []
    for alpha, column in itertools.product(kernel(M.T).T, np.eye(n0, dtype=int).astype(object)):
        laws.append(np.concatenate([np.outer(alpha, column).ravel(), np.zeros(p * n1, dtype=object)]))
    for i, j in itertools.combinations_with_replacement(range(n1), 2):
        first = np.outer(unit1[i], W1[j]) + np.outer(unit1[j], W1[i])
        second = -np.outer(M[i], unit1[j]) - np.outer(M[j], unit1[i])
        laws.append(np.concatenate([first.ravel(), second.ravel()]))
    lie, laws = np.array(lie), np.array(laws)
    return rank(lie, None), rank(laws, None), not np.any(lie @ laws.T)


@pytest.mark.parametrize("seed", range(30))
def test_two_layers_by_exact_ranks_at_points_and_feedback_of_any_rank(seed):
    rng = np.random.default_rng(seed)
    n0, n1, p = (int(n) for n in rng.integers(1, 5, 3))

    def integers(rows, columns):
        inner = int(rng.integers(0, min(rows, columns) + 1))
        pair = rng.integers(-9, 10, (rows, inner)), rng.integers(-9, 10, (inner, columns))
        return (pair[0] @ pair[1]).astype(object)

    W1, W2, M = integers(n1, n0), integers(p, n1), integers(n1, p)
    r, rho = rank(M, None), rank(np.concatenate([M, W1], axis=1), None)
    lie, laws, annihilated = spans(W1, W2, M)
    assert annihilated
    assert lie == r * n0 + r * (r - 1) // 2 + r * (p - r) + (p - r) * (rho - r)
    assert laws == (n1 - r) * n0 + n1 * r - r * (r - 1) // 2
    assert (lie + laws == n1 * n0 + p * n1) == (r == p or rho == n1)


@pytest.mark.parametrize("widths", completeness.TABLE)
def test_the_table_agrees_with_driving_the_net_and_with_the_count(widths):
    for rule, laws in zip(("fa", "dfa", "bp"), completeness.TABLE[widths], strict=True):
        assert orbit_rank(widths, rule).laws == laws
        assert count(widths, rule) == laws


@pytest.mark.parametrize("widths", [(1, 2, 2, 2, 2), (2, 3, 4, 3), (1, 3, 3, 3), (3, 2, 2, 2, 2)])
def test_the_formula_for_wide_nets_is_met(widths):
    n0, *hidden, p = widths
    measured = orbit_rank(widths, "fa")
    assert measured.rank == p * n0 + len(hidden) * p * (p - 1) // 2


# ----------------------------------------------------------------------------------------------------- scalar chain


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("seed", range(8))
def test_a_chain_of_scalars_learns_from_every_start(depth, seed):
    rng = np.random.default_rng([depth, seed])
    net = linfa.Weights(tuple(rng.uniform(-1.5, 1.5, (depth, 1, 1))))
    b = rng.choice([-1, 1], depth - 1) * rng.uniform(0.4, 1.5, depth - 1)
    rule = linfa.FeedbackAlignment(tuple(b.reshape(-1, 1, 1)))
    task = linfa.Task.from_moments([[1.5]], [[rng.uniform(-2, 2)]], [[4.0]])
    steady = 1e-9
    flow = linfa.Flow(t=1e5, rtol=1e-10, atol=1e-12, method="LSODA", saves=20, steady=steady)
    run = linfa.solve(linfa.Full(net, rule), task, flow)
    assert run.status == "steady"
    w = [float(W[0, 0]) for W in run.weights(-1)]
    error = task.cross[0, 0] - np.prod(w) * task.second[0, 0]
    speed = steady * (1 + np.linalg.norm(w))
    assert abs(error) <= speed / abs(np.prod(b))
    c = [float(C[0, 0]) / 2 for C in linfa.laws.MatrixLaw().quantity(rule, run.state(0))]
    tolerance = run.dataset.attrs["steps"] * (flow.atol + flow.rtol * np.max(np.abs(w))) * (1 + np.max(np.abs(w)))
    for l in range(depth - 1):
        assert abs(w[l + 1] - (w[l] ** 2 - 2 * c[l]) / (2 * b[l])) <= 10 * tolerance / abs(b[l])


# --------------------------------------------------------------------------------------------------------- low rank


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_net_ends_at_the_sketch_whatever_the_start(seed):
    rng = np.random.default_rng(seed)
    p, n0, r = 4, 5, 1 + seed % 3
    Y = rng.standard_normal((p, n0))
    B = rng.standard_normal((p, r))
    net = linfa.Weights.standard((n0, r, p), rng=seed, scale=rng.choice([0.1, 1.0, 2.0]))
    task = linfa.Task.from_moments(np.eye(n0), Y, Y @ Y.T)
    flow = linfa.Flow(t=1e5, rtol=1e-10, atol=1e-12, method="LSODA", saves=20, steady=1e-9)
    run = linfa.solve(linfa.Full(net, linfa.FeedbackAlignment((B,))), task, flow)
    assert run.status == "steady"
    W1, W2 = run.weights(-1)
    A = B.T @ Y
    limit = Y @ np.linalg.pinv(A) @ A
    assert np.linalg.matrix_rank(A) == r < np.linalg.matrix_rank(Y)
    # W_2W_1 − Y P = −E P, ‖E P‖ ≤ ‖Ẇ_2‖/σ_r(W_1), and ‖P − P_A‖ ≤ ‖Ẇ_1‖/σ_r(A) up to a factor 2.
    speed = flow.steady * (1 + np.sqrt(np.sum(W1**2) + np.sum(W2**2)))
    least = [np.linalg.svd(X)[1][r - 1] for X in (W1, A)]
    assert np.linalg.norm(W2 @ W1 - limit) <= 2 * speed * (1 / least[0] + np.linalg.norm(Y) / least[1])
    assert np.linalg.norm(Y - limit) ** 2 >= np.sum(np.linalg.svd(Y)[1][r:] ** 2)


def test_the_optimal_readout_turns_like_a_tanh():
    rng = np.random.default_rng(4)
    A, w = rng.standard_normal((2, 6))
    rtol, end = 1e-11, 1.0
    done = solve_ivp(lambda _, w: A - w * (A @ w) / (w @ w), (0, end), w, rtol=rtol, atol=1e-13, method="DOP853")

    def cosine(w):
        return A @ w / np.linalg.norm(A) / np.linalg.norm(w)

    expected = np.tanh(np.linalg.norm(A) * end / np.linalg.norm(w) + np.arctanh(cosine(w)))
    assert abs(cosine(done.y[:, -1]) - expected) <= 100 * len(done.t) * rtol
    assert abs(np.linalg.norm(done.y[:, -1]) - np.linalg.norm(w)) <= 100 * len(done.t) * rtol


# ----------------------------------------------------------------------------------------------------- minimum norm


@pytest.mark.parametrize("rule", ["fa", "dfa", "bp"])
@pytest.mark.parametrize("widths", [(6, 5, 2), (6, 4, 5, 2)])
def test_what_lies_off_the_span_stays_and_is_what_the_norm_exceeds_the_least_by(rule, widths):
    rng = np.random.default_rng(2)
    net, feedback = net_and_rule(widths, 6, rule, scale=0.7)
    X = np.linalg.qr(rng.standard_normal((6, 3)))[0].T * np.sqrt(3)
    T = rng.standard_normal((2, 3))
    task = linfa.Task.from_samples(X, (T / np.sqrt(3) @ X @ X.T / 3).T)
    flow = linfa.Flow(t=3000.0, rtol=1e-10, atol=1e-12, saves=5, steady=1e-9)
    run = linfa.solve(linfa.Full(net, feedback), task, flow)
    start, end = run.weights(0), run.weights(-1)
    off = np.eye(6) - np.linalg.pinv(X) @ X
    sizes = (1 + np.linalg.norm(end[0])) * run.dataset.attrs["steps"]
    assert np.linalg.norm((end[0] - start[0]) @ off) <= rounding(sum(widths), sizes * 10)
    product = end.products()[-1]
    above = np.linalg.multi_dot(end.matrices[:0:-1]) if len(end) > 2 else end[1]
    least = (np.linalg.pinv(X) @ task.targets).T
    residual = np.linalg.norm(product @ X.T - task.targets.T)
    assert residual < 1e-4
    excess = np.sum((above @ start[0] @ off) ** 2)
    gap = np.sum(product**2) - np.sum(least**2) - excess
    assert abs(gap) <= 4 * residual * np.linalg.norm(np.linalg.pinv(X)) * np.linalg.norm(product) + rounding(100, sizes)
    assert excess > 1e-3


def test_decay_shrinks_what_lies_off_the_span():
    net, feedback = net_and_rule((5, 4, 2), 1)
    rng = np.random.default_rng(3)
    task = linfa.Task.from_samples(rng.standard_normal((2, 5)), rng.standard_normal((2, 2)))
    rate, decay, steps = 0.05, 0.2, 20
    run = linfa.solve(linfa.Full(net, feedback), task, linfa.Descent(rate, steps, decay=decay))
    off = np.eye(5) - np.linalg.pinv(task.inputs) @ task.inputs
    expected = (1 - rate * decay) ** steps * net[0] @ off
    assert np.abs(run.weights(-1)[0] @ off - expected).max() <= rounding(steps * 20, 10 * np.linalg.norm(net[0]))
