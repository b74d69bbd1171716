"""The laws: claims close, mutated statements do not, and simulated runs say the same as the words."""

import numpy as np
import pytest
import sympy
from hypothesis import given

import linfa
from linfa.rules import State
from linfa.symbolic import B, E, F, M, Relation, W, evaluate, sym
from tests.strategies import network, rule_of, seeds, task_of, widths
from tests.tolerance import rounding
from theory import (
    antisymmetric_momentum,
    backprop_limit,
    depth_doubling_decay,
    direct_feedback,
    kolen_pollack,
    ledger,
    null_space_law,
    partial_feedback,
    potential,
    step_defect,
    strict_normal_sign,
    units,
    virtual_readouts,
)
from theory.claim import NotClosedError, Proof, Status

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")
norm, l = np.linalg.norm, units.l
CLAIMS = (
    backprop_limit,
    null_space_law,
    direct_feedback,
    potential,
    strict_normal_sign,
    kolen_pollack,
    virtual_readouts,
    partial_feedback,
    step_defect,
    ledger,
    depth_doubling_decay,
    antisymmetric_momentum,
)


@pytest.mark.parametrize("module", CLAIMS, ids=lambda m: m.__name__)
def test_a_claim_is_proved_for_all_sizes(module):
    verdict = module.CLAIM.check()
    assert verdict.status is Status.PROVED, verdict.reason
    assert module.__name__ == f"theory.{verdict.claim.name}"
    assert len(verdict.steps) >= 5


# Mutations ---------------------------------------------------------------------------------------------------------

bl, df, kp, pf, ss = backprop_limit, direct_feedback, kolen_pollack, partial_feedback, strict_normal_sign
am, dd, sd, vr = antisymmetric_momentum, depth_doubling_decay, step_defect, virtual_readouts


def incoming(layer=l):
    return W(layer) @ W(layer).T


def mixed_with_a_plus(layer, α, below=1, above=1):
    outgoing = W(layer + 1).T @ W(layer + 1) * α + sym(B(layer + 1).T @ W(layer + 1)) * (1 - α)
    return incoming(layer) / below + outgoing / above


def sample_without_slope_above(feedback):
    lower, upper = units.D @ feedback.T @ units.δ @ units.h.T, units.δ @ (W(l) @ units.h).T
    return lower, upper


MUTATIONS = {
    "balancedness with a plus": (bl, "mixed", mixed_with_a_plus),
    "mixture without the symmetric part": (
        bl,
        "mixed",
        lambda l, α, below=1, above=1: incoming(l) / below - W(l + 1).T @ W(l + 1) * (α / above),
    ),
    "learning rates multiply": (
        bl,
        "mixed",
        lambda l, α, below=1, above=1, f=bl.mixed: f(l, α, 1 / sympy.sympify(below), 1 / sympy.sympify(above)),
    ),
    "the projector onto the path": (null_space_law, "unreached", lambda path, inverse: path @ inverse),
    "a pair with a plus": (df, "shared", lambda a, b: a.T @ incoming() @ a + sym(b.T @ W(l + 1) @ a)),
    "twice the feedback": (df, "C", lambda feedback: incoming() - 2 * sym(feedback.T @ W(l + 1))),
    "units that pass without their slope": (potential, "sample", sample_without_slope_above),
    "a potential of twice the size": (
        potential,
        "quadratic_rows",
        lambda: {"backprop": (W(l + 1), W(l + 1).T @ W(l + 1))},
    ),
    "a potential for the strict norm": (
        potential,
        "sign_rows",
        lambda: {"usf-sn": linfa.symbolic.norm(W(l + 1)) * linfa.symbolic.sign(W(l + 1))},
    ),
    "feedback that is a gradient": (ss, "feedback", lambda w, w_other, sign: sign / sympy.sqrt(ss.N)),
    "the curl with a plus": (ss, "curl", lambda: (ss.s * ss.s_other) * (ss.v + ss.v_other)),
    "the gap as a sum": (kp, "gap", lambda: B(l + 1) + 2 * W(l + 1)),
    "the law on the weights": (kp, "balance", lambda: incoming() - W(l + 1).T @ W(l + 1)),
    "half the gap's decay": (kp, "decaying", lambda m, rate=kp.λ: {k: u - k * (rate / 2) for k, u in m.items()}),
    "read-outs with a plus": (vr, "watched", lambda: incoming() + sym(F(l).T @ vr.V(l))),
    "read-outs that learn half as fast": (
        vr,
        "motion",
        lambda f=vr.motion: {k: u / (2 if k == vr.V(l) else 1) for k, u in f().items()},
    ),
    "a gap without the projection's transpose": (pf, "gap", lambda: pf.R + pf.above @ pf.P.T),
    "the law of the weights above": (
        pf,
        "balance",
        lambda: linfa.symbolic.inner(W(l), W(l)) - linfa.symbolic.inner(pf.above, pf.above),
    ),
    "the quantity with a plus": (sd, "C", lambda k: incoming(k) + sym(B(k + 1).T @ W(k + 1))),
    "balancedness with a plus after a step": (sd, "balancedness", lambda k: incoming(k) + W(k + 1).T @ W(k + 1)),
    "a law of another rule in the ledger": (ledger, "mixed", mixed_with_a_plus),
    "read-outs with a plus in the ledger": (ledger, "watched", lambda: incoming() + sym(F(l).T @ vr.V(l))),
    "feedback of the wrong weight": (ledger, "FEEDBACK", W(l + 1) * ledger.α + B(l + 1)),
    "decay that does not double": (dd, "decayed", lambda u, below, above, f=dd.decayed: f(u, below, below)),
    "decay that doubles where it should square": (
        dd,
        "shrunk",
        lambda u, below, above, f=dd.shrunk: f(u, below, 2 * below),
    ),
    "a symmetric part": (am, "anti", sym),
    "the other sign": (am, "angular", lambda: am.anti(am.v(l) @ W(l).T) + am.anti(am.feedback().T @ am.v(l + 1))),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_statement_does_not_close(mutation, monkeypatch):
    module, name, value = MUTATIONS[mutation]
    monkeypatch.setattr(module, name, value)
    verdict = module.CLAIM.check()
    assert verdict.status is Status.FAILED
    assert verdict.reason


def test_a_flipped_sign_is_refused_with_what_is_left():
    wrong = incoming() + sym(B(l + 1).T @ W(l + 1))
    with pytest.raises(NotClosedError, match="this is left"):
        Proof().vanishes("dC/dt", linfa.symbolic.FEEDBACK_ALIGNMENT.flow(l).derivation(wrong))


def test_the_shared_letters_say_what_the_words_of_the_rules_say():
    U = linfa.symbolic.FEEDBACK_ALIGNMENT.flow(l).velocity
    lower, upper = units.sample(B(l + 1))
    linear = (Relation(units.D @ B(l + 1).T, B(l + 1).T), Relation(units.D @ W(l), W(l)))
    assert linfa.symbolic.rewrite(lower @ W(l).T - B(l + 1).T @ upper, linear).is_zero()
    assert U[W(l)] == B(l + 1).T @ M(l + 1) @ E() @ linfa.symbolic.X(l - 1).T


# Words against the library -----------------------------------------------------------------------------------------


def arrays(rule, s):
    """Return what the letters stand for in a state, layer by layer from 1."""
    values = {W(k): A for k, A in enumerate(s.weights, 1)}
    if isinstance(rule, linfa.DirectFeedback):
        L = len(s.weights)
        values |= {F(k, L): A for k, A in enumerate(rule.matrices, 1)}
        return values | {vr.V(sympy.Integer(k), sympy.Integer(L)): A for k, A in enumerate(s.learnt, 1)}
    return values | {B(k): A for k, A in enumerate(s.learnt or getattr(rule, "matrices", ()), 2)}


WORDS = {
    "fa": lambda k: bl.mixed(k, sympy.Integer(0)),
    "bp": lambda k: bl.mixed(k, sympy.Integer(1)),
    "interpolated": lambda k: bl.mixed(k, sympy.Rational(1, 2)),
    "kp": lambda k: kp.balance().at({l: k}),
}


@pytest.mark.parametrize("name", WORDS)
@given(n=widths(depth=(2, 4), width=(1, 6)), seed=seeds)
def test_the_proved_word_is_the_quantity_of_the_library(name, n, seed):
    net = network(n, seed=seed)
    rule = rule_of(name, net, seed)
    s = State(net.matrices, rule.start(net))
    law = linfa.laws.MatrixLaw()
    for k, (Q, size) in enumerate(zip(law.quantity(rule, s), law.terms(rule, s), strict=True), 1):
        said = evaluate(WORDS[name](sympy.Integer(k)), arrays(rule, s)).astype(float)
        assert np.abs(said - Q).max() <= rounding(4 * max(n) + 8, size)


@given(n=widths(depth=(2, 4), width=(1, 6)), seed=seeds)
def test_the_watched_word_is_the_matrix_law_of_direct_feedback(n, seed):
    net, L = network(n, seed=seed), len(n) - 1
    rule = rule_of("dfa-virtual", net, seed)
    rng = np.random.default_rng(seed)
    s = State(net.matrices, tuple(rng.standard_normal(A.shape) for A in rule.matrices))
    law = linfa.laws.MatrixLaw()
    for k, (Q, size) in enumerate(zip(law.quantity(rule, s), law.terms(rule, s), strict=True), 1):
        word = vr.watched().at({l: k, linfa.symbolic.DEPTH: L})
        assert np.abs(evaluate(word, arrays(rule, s)).astype(float) - Q).max() <= rounding(4 * max(n) + 8, size)


# Simulations -------------------------------------------------------------------------------------------------------


class Net:
    """A plain net of leaky ReLU units (slope 1: linear) with softmax-CE, written out, for any layer-wise feedback."""

    def __init__(self, n, seed, slope=0.2, N=12):
        self.rng, self.slope, self.n, self.N = np.random.default_rng(seed), slope, n, N
        self.W = [self.rng.standard_normal((b, a)) / np.sqrt(a) for a, b in zip(n, n[1:], strict=False)]
        self.B = [self.rng.standard_normal(A.shape) / np.sqrt(A.shape[1]) for A in self.W[1:]]
        self.x = self.rng.standard_normal((n[0], N))
        self.y = np.eye(n[-1])[self.rng.integers(0, n[-1], N)].T

    def updates(self, B, batch=slice(None), unit=None):
        """Return U_1 … U_L, and for each a bound on the magnitudes that were summed up in it."""
        act, slope = unit or (lambda z: np.where(z > 0, z, self.slope * z), lambda z: np.where(z > 0, 1, self.slope))
        h, z = [self.x[:, batch]], []
        for k, A in enumerate(self.W):
            z.append(A @ h[-1])
            h.append(act(z[-1]) if k < len(self.W) - 1 else z[-1])
        f = np.exp(h[-1] - h[-1].max(0))
        δ, U, sizes = (self.y[:, batch] - f / f.sum(0)) / self.N, [], []
        for k in reversed(range(len(self.W))):
            U.append(δ @ h[k].T)
            sizes.append(norm(δ) * norm(h[k]))
            δ = slope(z[k - 1]) * (B[k - 1].T @ δ) if k else δ
        return U[::-1], sizes[::-1]


def potential_of(α, B, R):
    """Return Φ per neuron, of B = αR + (1 − α)B_0."""
    return (α * R * R / 2 + (1 - α) * B * R).sum(0)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@given(n=widths(depth=(2, 4), width=(1, 6)), seed=seeds)
def test_the_master_identity_holds_for_every_neuron_of_any_homogeneous_unit(n, seed, slope):
    net = Net(n, seed, slope)
    U, sizes = net.updates(net.B)
    for k, B_next in enumerate(net.B):
        gap = np.abs((U[k] * net.W[k]).sum(1) - (U[k + 1] * B_next).sum(0))
        scale = sizes[k] * norm(net.W[k]) + sizes[k + 1] * norm(B_next)
        assert np.all(gap <= rounding(2 * net.N + 2 * sum(n), scale))


def test_the_master_identity_fails_for_tanh_and_off_the_diagonal():
    net = Net((3, 5, 4, 2), 0)
    U, _ = net.updates(net.B, unit=(np.tanh, lambda z: 1 - np.tanh(z) ** 2))
    assert norm((U[0] * net.W[0]).sum(1) - (U[1] * net.B[0]).sum(0)) > 1e-3
    U, _ = net.updates(net.B)
    gap = U[0] @ net.W[0].T - net.B[0].T @ U[1]
    assert norm(gap) > 1e-3
    assert np.abs(np.diag(gap)).max() <= rounding(60, 1.0)


@pytest.mark.parametrize("α", [0.0, 0.5, 1.0])
def test_rates_per_layer_leave_their_own_squares(α):
    net, η = Net((4, 6, 5, 3), 1, slope=1.0), (0.1, 0.03, 0.2)
    B = [α * A + (1 - α) * B for A, B in zip(net.W[1:], net.B, strict=True)]
    U, sizes = net.updates(B)

    def Q(W, k):
        outgoing = α * W[k + 1].T @ W[k + 1] + (1 - α) * (net.B[k].T @ W[k + 1] + W[k + 1].T @ net.B[k])
        return W[k] @ W[k].T / η[k] - outgoing / η[k + 1]

    after = [A + rate * u for A, rate, u in zip(net.W, η, U, strict=True)]
    for k in range(2):
        left = Q(after, k) - Q(net.W, k) - η[k] * U[k] @ U[k].T + α * η[k + 1] * U[k + 1].T @ U[k + 1]
        size = sum((norm(net.W[j]) + norm(net.B[k]) + sizes[j]) ** 2 / η[j] for j in (k, k + 1))
        assert np.abs(left).max() <= rounding(2 * net.N + 40, size)


def test_direct_feedback_is_feedback_alignment_where_every_later_layer_reaches_the_output():
    net, task = network((5, 7, 6, 4, 3), seed=3), task_of(5, 3, N=20, loss="softmax-ce")
    direct = rule_of("dfa", net, 4)
    path = [*(A.T for A in direct.matrices), np.eye(3)]
    layered = linfa.FeedbackAlignment(tuple((a @ np.linalg.pinv(b)).T for a, b in zip(path, path[1:], strict=False)))
    how = linfa.Descent(0.05, 30, batch=7, momentum=0.5)
    ends = [linfa.solve(linfa.Full(net, rule), task, how).weights(-1) for rule in (direct, layered)]
    condition = np.prod([np.linalg.cond(A) for A in path])
    for start, a, b in zip(net, *ends, strict=True):
        assert norm(a - b) <= rounding(30 * (7 + 25), condition * (norm(start) + norm(a)))
        assert norm(a - start) > 1e-2


def test_a_narrow_layer_loses_the_directions_that_the_claim_counts():
    net = network((2, 3, 1, 2), seed=5)
    sizes = {
        name: linfa.laws.DirectFeedbackLaw().quantity(rule_of(name, net, 1), State(net.matrices))
        for name in ("fa", "dfa")
    }
    assert [Q.shape for Q in sizes["fa"]] == [(3, 3), (1, 1)]
    assert [Q.shape for Q in sizes["dfa"]] == [(2, 2), (1, 1)]


@pytest.mark.parametrize("name", ["usf", "frsf", "usf-init"])
def test_sign_rules_keep_their_law_through_flips_of_sign(name):
    net, task = network((4, 6, 5, 3), scale=0.3, seed=6), task_of(4, 3, N=10)
    rule, law = rule_of(name, net, 7), linfa.laws.NeuronLaw()
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.2, 200, momentum=0.5, decay=1e-2), laws=[law])
    flips = sum(int(np.sum(np.sign(a) != np.sign(b))) for a, b in zip(net[1:], run.weights(-1)[1:], strict=True))
    assert flips > 0
    assert np.all(run.dataset["neuron_residual"].values <= run.dataset["neuron_bound"].values)
    assert float(law.drift(run).max()) > 1e-3


def test_once_round_the_loop_strictly_normalised_signs_gain_what_the_claim_says():
    nodes, weights = np.polynomial.legendre.leggauss(30)

    def work(path, first, last):
        """∫⟨B(W), dW⟩ along ρ(cos θ, sin θ), by Gauss–Legendre, with the library's feedback."""
        total = 0.0
        for node, weight in zip(
            (first + last) / 2 + (last - first) / 2 * nodes, (last - first) / 2 * weights, strict=True
        ):
            V, dV = path(node)
            feedback = linfa.StrictNormalSign().feedback(State((np.eye(2), V)))[0]
            total += weight * float(np.sum(feedback * dV))
        return total

    def ray(θ):
        return lambda ρ: (ρ * np.array([[np.cos(θ), np.sin(θ)]]), np.array([[np.cos(θ), np.sin(θ)]]))

    def arc(ρ):
        return lambda θ: (ρ * np.array([[np.cos(θ), np.sin(θ)]]), ρ * np.array([[-np.sin(θ), np.cos(θ)]]))

    a, b = np.pi / 12, np.pi / 4
    gain = work(ray(a), 1, 2) + work(arc(2), a, b) + work(ray(b), 2, 1) + work(arc(1), b, a)
    assert abs(gain - 0.75 * (2 - np.sqrt(3))) <= rounding(4 * 30 + 20, 6.0)
    with pytest.raises(linfa.NoLawError):
        linfa.StrictNormalSign().potential(0)


def test_the_gap_of_kolen_pollack_decays_by_one_factor_per_step():
    net, task, η, λ = network((4, 6, 5, 3), seed=8), task_of(4, 3, loss="softmax-ce"), 0.1, 0.2
    run = linfa.solve(linfa.Full(net, linfa.KolenPollack.random(net, 9)), task, linfa.Descent(η, 50, batch=3, decay=λ))
    first, last = run.state(0), run.state(-1)
    for k in (1, 2):
        gaps = [s.learnt[k - 1] - s.weights[k] for s in (first, last)]
        size = max(norm(a) for s in (first, last) for a in (s.learnt[k - 1], s.weights[k]))
        assert norm(gaps[1] - (1 - η * λ) ** 50 * gaps[0]) <= rounding(6 * 50, size)


def test_the_quadratic_law_of_kolen_pollack_decays_twice_as_fast_in_continuous_time():
    λ, T, errors = 0.3, 2.0, []
    for steps in (100, 200, 400):
        net = Net((4, 6, 5, 3), 10, slope=1.0)
        state, h = (*net.W, *net.B), T / steps

        def velocity(state, net=net):
            net.W, B = list(state[:3]), list(state[3:])
            U, _ = net.updates(B)
            return [u - λ * A for u, A in zip((*U, *U[1:]), state, strict=True)]

        def Q(state):
            return np.concatenate([(a @ a.T - b.T @ b).ravel() for a, b in zip(state[:2], state[3:], strict=True)])

        start = Q(state)
        for _ in range(steps):
            half = [A + h / 2 * u for A, u in zip(state, velocity(state), strict=True)]
            state = [A + h * u for A, u in zip(state, velocity(half), strict=True)]
        errors.append(norm(Q(state) - np.exp(-2 * λ * T) * start))
    # The midpoint rule is of order 2, so that halving the step leaves a quarter of the error, and nothing else.
    assert abs(errors[0] / errors[1] - 4) < 0.4
    assert abs(errors[1] / errors[2] - 4) < 0.2


def test_partial_feedback_keeps_its_gap_and_its_layer_law_but_no_neuron():
    net, η, channels = Net((4, 6, 5, 3), 11), 0.05, 2
    P = [net.rng.standard_normal((channels, A.shape[1])) for A in net.W[1:]]
    R = [net.rng.standard_normal((A.shape[0], channels)) for A in net.W[1:]]
    U, sizes = net.updates([r @ p for r, p in zip(R, P, strict=True)])
    for k, (r, p) in enumerate(zip(R, P, strict=True)):
        V, V_next = net.W[k] + η * U[k], net.W[k + 1] + η * U[k + 1]
        r_next = r + η * U[k + 1] @ p.T
        size = norm(r) + norm(p) * (norm(net.W[k + 1]) + η * sizes[k + 1])
        assert norm(r_next - V_next @ p.T - (r - net.W[k + 1] @ p.T)) <= rounding(4 * sum(net.n), size)
        change = (norm(V) ** 2 - norm(net.W[k]) ** 2 - norm(r_next) ** 2 + norm(r) ** 2) / 2
        defect = η**2 * (norm(U[k]) ** 2 - norm(U[k + 1] @ p.T) ** 2) / 2
        scale = (norm(V) + η * sizes[k]) ** 2 + (norm(r_next) + η * sizes[k + 1] * norm(p)) ** 2
        assert abs(change - defect) <= rounding(2 * net.N + 6 * sum(net.n), scale)


def test_the_drift_of_a_run_is_the_sum_of_its_squares_and_tends_to_the_integral():
    net, task, T = network((4, 6, 5, 3), seed=12), task_of(4, 3, N=15), 1.0
    rule, law, drifts = rule_of("fa", net, 13), linfa.laws.MatrixLaw(), []
    for steps in (50, 100, 200):
        run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(T / steps, steps, saves=steps))
        states = [run.state(k) for k in range(steps + 1)]
        first, last = law.quantity(rule, states[0]), law.quantity(rule, states[-1])
        for k in range(2):
            moves = [b.weights[k] - a.weights[k] for a, b in zip(states, states[1:], strict=False)]
            size = max(float(law.terms(rule, s)[k]) for s in states)
            left = last[k] - first[k] - sum(m @ m.T for m in moves)
            assert np.abs(left).max() <= rounding(steps * (15 + 40), size)
            assert np.linalg.eigvalsh(last[k] - first[k])[0] >= -rounding(steps * 55, size)
        drifts.append([np.trace(b - a) / 2 / (T / steps) for a, b in zip(first, last, strict=True)])
    coarse, middle, fine = np.array(drifts)
    # Order one: halving η halves the distance to ½∫‖U_l‖²dt.
    assert np.all(np.abs((coarse - middle) / (middle - fine) - 2) < 0.2)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_scalar_recursion_accounts_for_momentum_decay_and_schedule(nesterov):
    net, μ, λ, steps = Net((4, 7, 5, 3), 14), 0.9, 1e-2, 120
    v, Q0 = [np.zeros_like(A) for A in net.W], None
    d, account, spent, rate = [0.0, 0.0], [0.0, 0.0], 0.0, 0.0

    def Q():
        return [(net.W[k] ** 2).sum(1) / 2 - potential_of(0.0, net.B[k], net.W[k + 1]) for k in range(2)]

    def dQ(k, u, u_next):
        return (net.W[k] * u).sum(1) - (net.B[k] * u_next).sum(0)

    Q0 = Q()
    for step in range(steps):
        U, sizes = net.updates(net.B, batch=net.rng.permutation(net.N)[:5])
        own = [dQ(k, net.W[k], net.W[k + 1]) for k in range(2)]
        if nesterov:
            added = [μ**2 * dQ(k, v[k], v[k + 1]) - (1 + μ) * λ * own[k] for k in range(2)]
        else:
            d = added = [μ * (d[k] + rate * (v[k] ** 2).sum(1)) - λ * own[k] for k in range(2)]
        rate = 0.1 * 0.99**step
        g = [u - λ * A for u, A in zip(U, net.W, strict=True)]
        v = [μ * a + b for a, b in zip(v, g, strict=True)]
        moves = [b + μ * a if nesterov else a for a, b in zip(v, g, strict=True)]
        net.W = [A + rate * a for A, a in zip(net.W, moves, strict=True)]
        account = [account[k] + rate * added[k] + rate**2 * (moves[k] ** 2).sum(1) / 2 for k in range(2)]
        spent += sum((norm(A) + norm(a) + s) ** 2 for A, a, s in zip(net.W, v, sizes, strict=True))
    for k in range(2):
        assert np.abs(Q()[k] - Q0[k] - account[k]).max() <= rounding(2 * net.N + 40, spent / (1 - μ))
        assert np.abs(Q()[k] - Q0[k]).max() > 1e-2


def test_decay_that_doubles_shrinks_the_law_as_a_whole():
    net, η, d = Net((4, 6, 5, 3), 15, slope=1.0), 0.1, (0.99, 0.99**2, 0.99**4)

    def C(k):
        outgoing = net.B[k].T @ net.W[k + 1]
        return net.W[k] @ net.W[k].T - outgoing - outgoing.T

    expected, spent = [C(k) for k in range(2)], 0.0
    for _ in range(60):
        U, sizes = net.updates(net.B)
        expected = [d[k] ** 2 * (expected[k] + η**2 * U[k] @ U[k].T) for k in range(2)]
        net.W = [factor * (A + η * u) for factor, A, u in zip(d, net.W, U, strict=True)]
        spent += sum((norm(A) + η * s + norm(B)) ** 2 for A, s, B in zip(net.W, sizes, [*net.B, net.B[0]], strict=True))
    for k in range(2):
        assert norm(C(k) - expected[k]) <= rounding(2 * net.N + 40, spent)


@pytest.mark.parametrize("α", [0.0, 0.5, 1.0])
def test_the_antisymmetric_law_shrinks_by_beta(α):
    net, β, η, steps = Net((4, 6, 5, 3), 16, slope=1.0), 0.8, 0.2, 30
    v, spent = [0.3 * net.rng.standard_normal(A.shape) for A in net.W], 0.0

    def feedback():
        return [α * A + (1 - α) * B for A, B in zip(net.W[1:], net.B, strict=True)]

    def A(k):
        turned = v[k] @ net.W[k].T - feedback()[k].T @ v[k + 1]
        return turned - turned.T

    start = [A(k) for k in range(2)]
    for _ in range(steps):
        U, sizes = net.updates(feedback())
        v = [β * a + η * u for a, u in zip(v, U, strict=True)]
        net.W = [a + b for a, b in zip(net.W, v, strict=True)]
        spent += sum((norm(a) + norm(b) + η * s + norm(net.B[0])) ** 2 for a, b, s in zip(net.W, v, sizes, strict=True))
    for k in range(2):
        assert norm(A(k) - β**steps * start[k]) <= rounding(2 * net.N + 40, spent)
        assert norm(start[k]) > 0.1
