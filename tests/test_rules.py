"""Every rule: feedback is the gradient of its potential, updates obey the master identity, B = W is backprop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.rules import REGISTRY, Potential, State
from tests.strategies import RULES, matrix, network, networks, rule_of, seeds, systems, task_of, tasks, widths
from tests.test_losses import TWINS
from tests.tolerance import rounding

GRADIENTS = ("bp", "fa", "rho-fa", "dfa-virtual", "interpolated", "usf", "frsf", "usf-init", "kp")
"""The rules whose feedback is a gradient."""
LAYERWISE = tuple(name for name in RULES if name not in ("dfa", "dfa-virtual", "readout"))
norm = np.linalg.norm


def magnitude(phi, w):
    """φ with every term made positive."""
    return Potential(abs(phi.alpha), _abs(phi.linear), _abs(phi.magnitude)).value(np.abs(w))


def _abs(part):
    return None if part is None else np.abs(part)


def moved(system, task, steps=2):
    """Return a state a little way into a run, where what is learnt has left its start."""
    s = system.start()
    for k in range(steps):
        v = system.velocity(s, system.passes(s, task.everything(system.weights[0]), k))
        s = s.plus(0.1 / (1 + max(norm(a) for a in (*v.weights, *v.learnt))), v)
    return s


# Potentials -------------------------------------------------------------------------------------------------------


@given(systems(GRADIENTS), st.data())
def test_the_feedback_is_the_gradient_of_the_potential(problem, data):
    system, task = problem
    s = moved(system, task)
    rule = system.rule
    feedback = rule.matrices if isinstance(rule, linfa.DirectFeedback) else rule.feedback(s)
    for k, R in enumerate(rule.readers(s)):
        assert np.array_equal(np.broadcast_to(rule.potential(k).gradient(R), R.shape), feedback[k])


@given(systems(GRADIENTS))
def test_the_gradient_is_the_derivative_of_the_potential(problem):
    system, task = problem
    s = moved(system, task)
    for k, w in enumerate(system.rule.readers(s)):
        phi = system.rule.potential(k)
        # φ is quadratic on either side of zero, so a central difference that stays on one side has no truncation error.
        h = np.where(w == 0, 1.0, np.abs(w) / 2)
        slope = (phi.value(w + h) - phi.value(w - h)) / (2 * h)
        assert np.all(np.abs(slope - phi.gradient(w)) <= rounding(12, magnitude(phi, np.abs(w) + h) / h))


@given(systems(GRADIENTS), seeds)
def test_the_defect_is_what_the_gradient_leaves_of_a_step_through_sign_flips_and_zeros(problem, seed):
    system, task = problem
    rng = np.random.default_rng(seed)
    for k, w in enumerate(system.rule.readers(moved(system, task))):
        phi = system.rule.potential(k)
        for u in (rng.standard_normal(w.shape), -2 * w, -w, 0.5 * w, 0 * w, -w * rng.uniform(0, 3, w.shape)):
            plain = phi.value(w + u) - phi.value(w) - phi.gradient(w) * u
            scale = magnitude(phi, np.abs(w) + np.abs(u))
            assert np.all(np.abs(phi.defect(w, u) - plain) <= rounding(16, scale + phi.bound(w) * np.abs(u)))


def test_the_defect_at_a_sign_flip_is_twice_what_lies_beyond_zero():
    phi = Potential(magnitude=np.array([[3.0, 3.0, 3.0]]))
    w, u = np.array([[1.0, 0.0, -2.0]]), np.array([[-1.5, 0.5, 1.0]])
    assert phi.defect(w, u).tolist() == [[3.0, 1.5, 0.0]]


@given(systems(GRADIENTS))
def test_the_bound_bounds_the_feedback(problem):
    system, task = problem
    s = moved(system, task)
    for k, w in enumerate(system.rule.readers(s)):
        phi = system.rule.potential(k)
        assert np.all(np.abs(phi.gradient(w)) <= phi.bound(w) * (1 + 4 * np.finfo(float).eps))


# Updates ----------------------------------------------------------------------------------------------------------


@given(systems(LAYERWISE))
def test_incoming_work_equals_outgoing_work_along_the_feedback_for_every_neuron(problem):
    system, task = problem
    s = moved(system, task)
    passes = system.passes(s, task.everything(s.weights[0]), 5)
    U, h, d = passes.updates(), passes.activities, passes.signals
    B = system.rule.at(5).feedback(s)
    for l, (W, B_next) in enumerate(zip(s.weights, B, strict=False)):
        work, return_ = np.sum(U[l] * W, axis=1), np.sum(U[l + 1] * B_next, axis=0)
        scale = norm(W) * norm(d[l]) * norm(h[l]) + norm(B_next) * norm(d[l + 1]) * norm(h[l + 1])
        assert np.all(np.abs(work - return_) <= rounding(2 * len(h[0]) + sum(system.weights.widths), scale))


def plain_loss(matrices, task, name):
    """E[ℓ(W_L … W_1 x, y)], written out."""
    f = task.inputs.T
    for W in matrices:
        f = W @ f
    return TWINS[name](f.T, task.targets).mean()


@pytest.mark.parametrize("name", TWINS)
@given(net=networks(depth=(1, 4), width=(1, 4)), data=st.data())
def test_backprop_is_minus_the_gradient_by_the_complex_step(name, net, data):
    task = data.draw(tasks(net, (name,)).filter(lambda t: t.inputs is not None))
    system = linfa.Full(net, linfa.Backprop())
    passes = system.passes(system.start(), task.everything(net[0]))
    N, chain = len(task.inputs), norm(task.inputs) * np.prod([norm(W) for W in net])
    signal = task.loss.signal(_outputs(net, task), task.targets)
    # What rounding in f, in y and in the signal can do to δ_L, then what reaches each layer.
    delta = (chain * max(1.0, np.abs(signal).max()) + norm(task.targets) + norm(signal)) / N
    for l, U in enumerate(passes.updates()):
        gradient = np.zeros_like(U)
        for index in np.ndindex(U.shape):
            shifted = [W.astype(complex) for W in net]
            shifted[l][index] += 1e-200j
            gradient[index] = plain_loss(shifted, task, name).imag / 1e-200
        others = norm(task.inputs) * np.prod([norm(W) for j, W in enumerate(net) if j != l])
        assert np.abs(U + gradient).max() <= rounding(4 * (N + sum(net.widths)) + 32, delta * others)


def _outputs(net, task):
    h = task.inputs
    for W in net:
        h = h @ W.T
    return h


def signed(widths, magnitudes, seed):
    """Return weights with random signs and given magnitudes (a number or a matrix) from layer 2 on."""
    rng = np.random.default_rng(seed)
    shapes = list(zip(widths[1:], widths, strict=False))
    first = rng.standard_normal(shapes[0])
    rest = (rng.choice([-1.0, 1.0], shape) * m for shape, m in zip(shapes[1:], magnitudes, strict=True))
    return linfa.Weights((first, *rest))


def transported(net):
    """Return W_L … W_{l+1} for l = 1 … L−1."""
    return tuple(np.linalg.multi_dot([*reversed(net[l:])]) if len(net) - l > 1 else net[l] for l in range(1, len(net)))


AS_BACKPROP = {
    "fa": lambda n, seed: (net := network(n, seed=seed), linfa.FeedbackAlignment(net[1:])),
    "rho-fa": lambda n, seed: (net := network(n, seed=seed), linfa.FeedbackAlignment.interpolated(net, 1.0, seed)),
    "dfa": lambda n, seed: (net := network(n, seed=seed), linfa.DirectFeedback(transported(net))),
    "dfa-virtual": lambda n, seed: (net := network(n, seed=seed), linfa.DirectFeedback(transported(net), virtual=True)),
    "interpolated": lambda n, seed: (net := network(n, seed=seed), linfa.Interpolated.random(net, seed, alpha=1.0)),
    "kp": lambda n, seed: (net := network(n, seed=seed), linfa.KolenPollack(net[1:])),
    "frsf": lambda n, seed: (net := network(n, seed=seed), linfa.SignConcordant(tuple(abs(W) for W in net[1:]))),
    "usf-init": lambda n, seed: (
        rule := linfa.SignConcordant.initial(network(n), seed),
        signed(n, rule.magnitudes, seed),
    )[::-1],
    "usf": lambda n, seed: (
        net := signed(n, [np.sqrt(2 / (a + b)) for a, b in zip(n[1:], n[2:], strict=False)], seed),
        linfa.SignConcordant.uniform(net),
    ),
    "usf-sn": lambda n, seed: (signed(n, np.linspace(0.4, 0.8, len(n) - 2), seed), linfa.StrictNormalSign()),
    "brsf": lambda n, seed: (
        rule := linfa.BatchRandomSign(n, seed),
        signed(n, rule.at(5).magnitudes, seed),
    )[::-1],
}
"""For each rule a network (and feedback) on which it stands in for the weights with the weights themselves."""


def test_every_rule_but_backprop_and_the_deaf_one_can_be_made_backprop():
    assert set(AS_BACKPROP) == set(REGISTRY) - {"bp", "readout"}


@pytest.mark.parametrize("name", AS_BACKPROP)
@given(n=widths(depth=(2, 5), width=(1, 8)), seed=seeds, loss=st.sampled_from(list(TWINS)))
def test_with_the_weights_as_feedback_every_rule_is_backprop(name, n, seed, loss):
    net, rule = AS_BACKPROP[name](n, seed)
    task = task_of(n[0], n[-1], loss=loss, scale=0.3, seed=seed)
    batch = task.everything(net[0])
    system = linfa.Full(net, rule)
    passes = system.passes(system.start(), batch, 5)
    true = linfa.Full(net, linfa.Backprop())
    expected = true.passes(true.start(), batch)
    chain = norm(expected.signals[-1]) * np.cumprod([1, *(norm(W) for W in reversed(net[1:]))])[::-1]
    assert rule.layerwise is (name not in ("dfa", "dfa-virtual"))
    for got, want, size, h in zip(passes.updates(), expected.updates(), chain, expected.activities, strict=False):
        assert np.abs(got - want).max() <= rounding(len(batch.inputs) + 4 * sum(n), size * norm(h))


def test_kolen_pollack_that_starts_at_the_weights_is_backprop_for_ever():
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0), task_of(4, 3, loss="softmax-ce")
    how = linfa.Descent(0.02, 50, batch=3, momentum=0.9, decay=1e-2)
    runs = [linfa.solve(linfa.Full(net, r), task, how) for r in (linfa.KolenPollack(net[1:]), linfa.Backprop())]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0].weights(-1), runs[1].weights(-1), strict=True))
    assert float(runs[0].alignment.min()) == pytest.approx(1.0, abs=rounding(60, 1))


def test_read_out_only_leaves_every_other_layer_where_it_was():
    net = linfa.Weights.standard((4, 6, 5, 3), 0)
    run = linfa.solve(linfa.Full(net, rule_of("readout", net)), task_of(4, 3), linfa.Descent(0.2, 20))
    end = run.weights(-1)
    assert all(np.array_equal(a, b) for a, b in zip(net[:-1], end[:-1], strict=True))
    assert norm(net[-1] - end[-1]) > 0.1


def test_brsf_draws_the_same_magnitudes_at_the_same_step_and_others_at_the_next():
    rule = linfa.BatchRandomSign((3, 4, 2), seed=7)
    again = linfa.BatchRandomSign((3, 4, 2), seed=7)
    assert np.array_equal(rule.at(3).magnitudes[0], again.at(3).magnitudes[0])
    assert norm(rule.at(3).magnitudes[0] - rule.at(4).magnitudes[0]) > 0.1


@given(n=widths(), seed=seeds)
def test_strictly_normalised_feedback_has_the_norm_of_the_weights(n, seed):
    net = network(n, zeros=True, seed=seed)
    for B, W in zip(linfa.StrictNormalSign().feedback(State(net.matrices)), net[1:], strict=True):
        assert norm(B) == pytest.approx(norm(W), rel=float(rounding(4 * W.size + 8, 1)))
        assert np.array_equal(np.sign(B), np.sign(W))


@given(systems(("fa", "dfa", "rho-fa", "readout")))
def test_the_path_of_a_fixed_rule_never_moves(problem):
    system, task = problem
    first, later = system.rule.paths(system.start()), system.rule.paths(moved(system, task))
    assert all(np.array_equal(a, b) for a, b in zip(first, later, strict=True))
    assert np.array_equal(first[-1], np.eye(system.weights.widths[-1]))


# Namespaces and batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_torch_tensors_give_what_numpy_arrays_give(name):
    torch = pytest.importorskip("torch")
    net, task = network((4, 6, 5, 3), zeros=True, seed=1), task_of(4, 3, loss="softmax-ce")
    results = []
    for weights in (net, net.map(torch.as_tensor)):
        system = linfa.Full(weights, rule_of(name, weights, seed=2))
        s = system.start()
        for k in range(3):
            v = system.velocity(s, system.passes(s, task.everything(weights[0]), k))
            s = s.plus(0.1, v)
        results.append(s)
    for a, b in zip((*results[0].weights, *results[0].learnt), (*results[1].weights, *results[1].learnt), strict=True):
        assert isinstance(b, torch.Tensor)
        assert np.abs(a - b.numpy()).max() <= rounding(3 * (8 + 18), 1 + norm(a))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("how", [linfa.Descent(0.1, 6, momentum=0.9, decay=1e-2, saves=2), linfa.Flow(t=0.5, saves=2)])
def test_a_batch_of_networks_is_the_loop_over_its_members(name, how):
    if name == "brsf" and isinstance(how, linfa.Flow):
        pytest.skip("brSF needs steps")
    members = [network((4, 6, 5, 3), seed=seed) for seed in range(3)]
    task = task_of(4, 3)
    together = linfa.Weights(tuple(np.stack(Ws) for Ws in zip(*members, strict=True)))
    rule = rule_of(name, members[0], seed=2)
    laws = [law() for law in linfa.laws.REGISTRY.values() if law().applies_to(rule)]
    batched = linfa.solve(linfa.Full(together, rule), task, how, laws=laws)
    for i, net in enumerate(members):
        alone = linfa.solve(linfa.Full(net, rule), task, how, laws=laws)
        # A flow of three networks takes other steps than a flow of one; both keep to rtol.
        slack = rounding(6 * (8 + 18), 1.0) if isinstance(how, linfa.Descent) else 100 * how.rtol
        for got, want in zip(batched.weights(-1), alone.weights(-1), strict=True):
            assert norm(got[i] - want) <= slack * (1 + norm(want))
        assert abs(float(batched.loss[-1, i] - alone.loss[-1])) <= slack * 10
        for law in laws:
            assert batched.dataset[f"{law.name}_drift"].dims == ("time", "member_0", "hidden")


def test_matrices_of_a_strategy_have_the_rank_and_condition_they_were_asked_for():
    s = np.linalg.svd(matrix((7, 5), 3, 100.0, 2.0, np.random.default_rng(0)))[1]
    assert s[:3] == pytest.approx([2.0, 0.2, 0.02])
    assert np.all(s[3:] < 1e-15)
