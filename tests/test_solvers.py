"""Time: flows against the matrix exponential and each other, descent against a plain loop and torch; schedules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

import linfa
from linfa.rules import State
from linfa.solvers.flow import METHODS
from linfa.solvers.interface import save_steps
from tests.strategies import RULES, descents, network, rule_of, seeds, systems, task_of
from tests.tolerance import rounding

norm = np.linalg.norm


def system_of(name="fa", widths=(4, 6, 5, 3), seed=0):
    net = linfa.Weights.standard(widths, seed)
    return linfa.Full(net, rule_of(name, net, seed + 1))


# Flow --------------------------------------------------------------------------------------------------------------


@given(n=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=seeds, t=st.sampled_from([0.1, 1.0, 5.0]))
def test_one_layer_flows_as_the_matrix_exponential(n, seed, t):
    net, task = network(n, seed=seed), linfa.Task.teacher(*n, seed, input_spectrum=np.linspace(0.0, 2.0, n[0]))
    run = linfa.solve(linfa.Full(net, linfa.Backprop()), task, linfa.Flow(t, rtol=1e-11, saves=3))
    # Ẇ = Σ_yx − W Σ_xx, made linear by one more coordinate that stands still.
    for k, moment in enumerate(run.times.values):
        block = np.block([[-task.second, np.zeros((n[0], n[1]))], [task.cross, np.zeros((n[1], n[1]))]])
        flow = expm(moment * block)
        expected = net[0] @ flow[: n[0], : n[0]] + flow[n[0] :, : n[0]]
        steps = run.dataset.attrs["steps"]
        assert norm(run.weights(k)[0] - expected) <= 10 * steps * 1e-11 * (1 + norm(net[0]) + norm(task.cross))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_follows_the_same_flow(method):
    task = linfa.Task.teacher(4, 3, 2)
    low = method in ("RK23", "BDF")
    rtol = 1e-6 if low else 1e-9
    true = linfa.solve(system_of(), task, linfa.Flow(1.0, rtol=1e-12, saves=4))
    run = linfa.solve(system_of(), task, linfa.Flow(1.0, rtol=rtol, atol=rtol, saves=4, method=method))
    assert np.allclose(run.times, [0.0, 0.25, 0.5, 0.75, 1.0], rtol=0, atol=rounding(4, 1.0))
    for k in range(5):
        for W, V in zip(run.weights(k), true.weights(k), strict=True):
            # Each step may err by the tolerance; the flow itself stretches errors over one unit of time.
            assert norm(W - V) <= 10 * run.dataset.attrs["steps"] * rtol * (1 + norm(V))


def test_a_tighter_tolerance_is_a_more_accurate_flow():
    task, errors = linfa.Task.teacher(4, 3, 2), []
    true = linfa.solve(system_of(), task, linfa.Flow(2.0, rtol=1e-13, saves=1)).weights(-1)
    for rtol in (1e-4, 1e-6, 1e-8):
        run = linfa.solve(system_of(), task, linfa.Flow(2.0, rtol=rtol, saves=1, method="RK45"))
        errors.append(norm(run.weights(-1)[0] - true[0]))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_dense_output_passes_through_the_saved_moments_and_follows_the_flow_between_them():
    task = linfa.Task.teacher(4, 3, 2)
    run = linfa.solve(system_of("kp"), task, linfa.Flow(2.0, saves=3, dense=True))
    fine = linfa.solve(system_of("kp"), task, linfa.Flow(2.0, rtol=1e-12, saves=60))
    for k, t in enumerate(run.times.values):
        for W, V in zip(run.at(float(t)), run.weights(k), strict=True):
            assert norm(W - V) <= rounding(40, 1 + norm(V))
    for k, t in enumerate(fine.times.values):
        # SciPy's DOP853 interpolates at order 7, one below the steps that rtol = 1e-9 controls.
        assert all(norm(W - V) < 1e-6 for W, V in zip(run.at(float(t)), fine.weights(k), strict=True))
    with pytest.raises(linfa.InputError, match=r"covers 0 ≤ t ≤ 2; got t = 2.5"):
        run.at(2.5)
    with pytest.raises(linfa.InputError, match="dense=True"):
        fine.at(1.0)


def test_a_flow_stops_where_nothing_moves_any_more():
    task = linfa.Task.teacher(4, 3, 2)
    run = linfa.solve(system_of("bp"), task, linfa.Flow(1e4, saves=5, steady=1e-8))
    assert run.status == "steady"
    assert run.times[-1] < 1e3
    assert run.loss[-1] < 1e-12
    assert linfa.solve(system_of("bp"), task, linfa.Flow(1.0, saves=5, steady=1e-8)).status == "finished"


def test_a_flow_at_rest_stays_at_rest():
    net = linfa.Weights.zero((4, 5, 3))
    run = linfa.solve(linfa.Full(net, linfa.Backprop()), linfa.Task.teacher(4, 3, 2), linfa.Flow(5.0, saves=2))
    assert all(norm(W) == 0 for W in run.weights(-1))
    again = linfa.solve(
        linfa.Full(net, linfa.Backprop()), linfa.Task.teacher(4, 3, 2), linfa.Flow(5.0, saves=2, steady=1e-9)
    )
    assert again.status == "steady"


def test_steps_converge_to_the_flow_at_first_order():
    task = linfa.Task.teacher(4, 3, 2)
    true = linfa.solve(system_of(), task, linfa.Flow(1.0, rtol=1e-12, saves=1)).weights(-1)
    errors = []
    for steps in (100, 200, 400):
        run = linfa.solve(system_of(), task, linfa.Descent(1 / steps, steps, saves=1))
        errors.append(sum(norm(a - b) for a, b in zip(run.weights(-1), true, strict=True)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 1) < 0.1)


def test_a_flow_takes_coordinates_that_have_no_law_to_break_and_lifts_them_again(tmp_path):
    net, task = linfa.Weights.standard((4, 9, 8, 3), 0, scale=0.7), linfa.Task.teacher(4, 3, 2)
    free = linfa.WidthFree(net, rule_of("fa", net, 1))
    rough, law = linfa.Flow(5.0, rtol=1e-2, atol=1e-2, method="RK23", saves=5), linfa.laws.MatrixLaw()
    run, full = (linfa.solve(s, task, rough, laws=[law]) for s in (free, linfa.Full(net, free.rule)))
    assert float(law.residual(run).max()) < rounding(60, 1.0) < 1e-7 < float(law.residual(full).max())
    # What was recorded are areas, and the run knows how to lift them: with the system that it took.
    taken = rough.takes(free)
    assert all(np.array_equal(R, -R.mT) for R in run.coordinates(-1).weights[2:])
    assert all(np.array_equal(a, b) for a, b in zip(taken.lift(run.coordinates(-1)), run.weights(-1), strict=True))
    fine = linfa.solve(free, task, linfa.Flow(5.0, saves=5, dense=True))
    true = linfa.solve(linfa.Full(net, free.rule), task, linfa.Flow(5.0, saves=5))
    for k, t in enumerate(fine.times.values):
        for W, at, V in zip(fine.weights(k), fine.at(float(t)), true.weights(k), strict=True):
            assert max(norm(W - V), norm(at - V)) < 1e-7
    back = linfa.Trajectory.load(run.save(tmp_path / "run.nc"))
    with pytest.raises(linfa.InputError, match=r"system = solver\.takes\(system\)"):
        back.weights(-1)


# Descent -----------------------------------------------------------------------------------------------------------


def plain_descent(system, task, how):
    """Return the weights after SGD as one would write it in an afternoon: loops, no linfa beyond rule and loss."""
    W = [np.array(a) for a in system.weights]
    B = [np.array(b) for b in system.rule.matrices]
    v, v_learnt, learns = [0 * a for a in W], [0 * b for b in B], system.rule.name == "kp"
    rate = how.learning_rate if callable(how.learning_rate) else lambda k: how.learning_rate
    N, k, epoch = len(task.inputs), 0, 0
    size = how.batch or N
    while k < how.steps:
        order = np.random.default_rng([how.seed, epoch]).permutation(N) if how.batch else np.arange(N)
        for first in range(0, N, size):
            rows = order[first : first + size]
            h = [task.inputs[rows].T]
            for a in W:
                h.append(a @ h[-1])
            d = [task.loss.signal(h[-1].T, task.targets[rows]).T / len(rows)]
            for b in reversed(B):
                d.insert(0, b.T @ d[0])
            U = [x @ y.T for x, y in zip(d, h, strict=False)]
            v = [how.momentum * a + u - how.decay * w for a, u, w in zip(v, U, W, strict=True)]
            if learns:
                v_learnt = [how.momentum * a + u - how.decay * b for a, u, b in zip(v_learnt, U[1:], B, strict=True)]
                B = [b + rate(k) * a for b, a in zip(B, v_learnt, strict=True)]
            W = [w + rate(k) * a for w, a in zip(W, v, strict=True)]
            k += 1
            if k == how.steps:
                return W
        epoch += 1
    return W


@given(data=st.data())
def test_descent_is_the_plain_loop(data):
    system, task = data.draw(systems(("fa", "rho-fa", "kp")).filter(lambda p: p[1].inputs is not None))
    how = data.draw(descents(system, task))
    try:
        run = linfa.solve(system, task, how)
    except linfa.DivergenceError:
        return
    largest = max(1.0, *(norm(W) for s in run.states() for W in (*s.weights, *s.learnt)))
    growth = largest ** (2 * system.weights.depth) * (1 + norm(task.inputs)) ** 2 * (1 + norm(task.targets))
    for got, want in zip(run.weights(-1), plain_descent(system, task, how), strict=True):
        # Both lose a few roundings per step, and the steps pass on what went before, at most as products of norms.
        assert norm(got - want) <= rounding(how.steps * (20 + 4 * sum(system.weights.widths)), largest) * growth


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_backprop_is_torch_sgd(momentum, decay):
    torch = pytest.importorskip("torch")
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0), task_of(4, 3, N=12, loss="softmax-ce", seed=1)
    run = linfa.solve(
        linfa.Full(net, linfa.Backprop()), task, linfa.Descent(0.1, 40, momentum=momentum, decay=decay, saves=1)
    )
    layers = [torch.tensor(W, requires_grad=True) for W in net]
    sgd = torch.optim.SGD(layers, lr=0.1, momentum=momentum, weight_decay=decay)
    x, y = torch.tensor(task.inputs), torch.tensor(task.targets)
    for _ in range(40):
        h = x
        for W in layers:
            h = h @ W.T
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(h, y).backward()
        sgd.step()
    for W, V in zip(run.weights(-1), layers, strict=True):
        assert norm(W - V.detach().numpy()) <= rounding(40 * 40, 1 + norm(W))


def test_the_order_of_the_samples_depends_on_seed_and_epoch_alone():
    task, orders = linfa.Task.from_samples(np.arange(6.0)[:, None], np.zeros((6, 1))), {}

    class Spy(linfa.Squared):
        def signal(self, outputs, targets):
            seen.append(tuple(np.round(outputs[:, 0]).astype(int)))
            return 0 * outputs

    for seed, rule_seed in ((0, 1), (0, 2), (1, 1)):
        seen: list = []
        spied = linfa.Task(task.inputs, task.targets, Spy())
        net = linfa.Weights((np.eye(1),))
        how = linfa.Descent(1.0, 6, batch=4, seed=seed, saves=1)
        how.run(linfa.Full(net, linfa.Backprop()), spied, Blind())
        orders[seed, rule_seed] = seen
        # Every epoch shows every sample once, the last batch holds what is left.
        for e in range(3):
            assert [len(b) for b in seen[2 * e : 2 * e + 2]] == [4, 2]
            assert sorted(sum(seen[2 * e : 2 * e + 2], ())) == list(range(6))
            expected = np.random.default_rng([seed, e]).permutation(6)
            assert sum(seen[2 * e : 2 * e + 2], ()) == tuple(expected)
    assert orders[0, 1] == orders[0, 2] != orders[1, 1]


class Blind:
    """A recorder that looks away."""

    ledgers = ()

    def save(self, time, step, state):
        pass

    def advance(self, fraction):
        pass


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("how", [linfa.Descent(0.01, 20, batch=3, momentum=0.9, saves=2), linfa.Flow(0.3, saves=2)])
def test_the_same_seed_gives_the_same_bits(name, how):
    if name == "brsf" and isinstance(how, linfa.Flow):
        pytest.skip("brSF needs steps")
    runs = [linfa.solve(system_of(name), task_of(4, 3, N=8, loss="softmax-ce"), how) for _ in range(2)]
    assert runs[0].dataset.identical(runs[1].dataset)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(runs[0].weights(-1), runs[1].weights(-1), strict=True))


def test_what_is_saved_does_not_change_the_run():
    task = task_of(4, 3)
    runs = [linfa.solve(system_of(), task, linfa.Descent(0.05, 20, saves=s), states=True) for s in (1, 20)]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0].weights(-1), runs[1].weights(-1), strict=True))
    watched = linfa.solve(system_of(), task, linfa.Descent(0.05, 20), laws=[linfa.laws.MatrixLaw()], progress=False)
    assert np.array_equal(watched.weights(-1)[0], runs[0].weights(-1)[0])


def test_the_time_of_a_descent_is_the_sum_of_its_rates():
    rate = linfa.StepDecay(0.1, (2, 4), 0.5)
    run = linfa.solve(system_of(), task_of(4, 3), linfa.Descent(rate, 5, saves=5))
    assert run.times.values == pytest.approx([0, 0.1, 0.2, 0.25, 0.3, 0.325])
    assert run.dataset["step"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_schedules_have_the_values_of_their_formulas():
    assert [linfa.Constant(0.2)(k) for k in (0, 9)] == [0.2, 0.2]
    assert [linfa.StepDecay(1.0, (1, 3))(k) for k in range(4)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert [linfa.Cosine(2.0, 4)(k) for k in (0, 1, 2, 4, 9)] == pytest.approx([2, 1 + 0.5**0.5, 1, 0, 0])


@given(st.integers(1, 500), st.integers(1, 60))
def test_saved_steps_start_at_zero_end_at_the_last_and_are_evenly_spread(steps, saves):
    kept = save_steps(steps, saves)
    assert (kept[0], kept[-1], len(kept)) == (0, steps, min(saves, steps) + 1)
    gaps = np.diff(kept)
    assert gaps.max() - gaps.min() <= 1


# solve -------------------------------------------------------------------------------------------------------------


def test_observables_laws_and_alignments_are_recorded_for_every_saved_moment():
    net = linfa.Weights.standard((4, 6, 5, 3), 0)
    rule = rule_of("fa", net, 1)
    run = linfa.solve(
        linfa.Full(net, rule),
        task_of(4, 3),
        linfa.Descent(0.05, 10, saves=5),
        observe={"spectrum": lambda W: np.linalg.svd(W.products()[-1])[1]},
        laws=[linfa.laws.NeuronLaw()],
    )
    assert run.dataset["spectrum"].shape == (6, 3)
    for k in range(6):
        s = run.state(k)
        assert float(run.loss[k]) == pytest.approx(float(linfa.metrics.loss(run.weights(k), task_of(4, 3))), rel=1e-14)
        aligned = linfa.metrics.weight_alignment(rule, s)
        assert run.alignment[k].values == pytest.approx(np.array(aligned), abs=1e-15)
    assert run.dataset["feedback_layer"].values.tolist() == [2, 3]
    assert linfa.solve(system_of("dfa"), task_of(4, 3), linfa.Descent(0.05, 1)).dataset[
        "feedback_layer"
    ].values.tolist() == [1, 2]
    # Laws may be asked of a flow afterwards, and say what they would have said.
    flow = linfa.solve(system_of(), task_of(4, 3), linfa.Flow(1.0, saves=3), laws=[linfa.laws.MatrixLaw()])
    bare = linfa.solve(system_of(), task_of(4, 3), linfa.Flow(1.0, saves=3))
    residuals = [linfa.laws.MatrixLaw().residual(r).values for r in (flow, bare)]
    assert np.array_equal(*residuals)


def test_update_alignment_is_the_cosine_with_the_true_gradient():
    net, task = linfa.Weights.standard((4, 6, 3), 0), task_of(4, 3)
    rule = rule_of("fa", net, 1)
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.05, 1))
    U, G = (
        linfa.Full(net, r).passes(State(net.matrices), task.everything(net[0])).updates()
        for r in (rule, linfa.Backprop())
    )
    expected = [np.sum(a * b) / norm(a) / norm(b) for a, b in zip(U, G, strict=True)]
    assert run.update_alignment[0].values == pytest.approx(np.array(expected), rel=1e-13)
    assert expected[-1] == pytest.approx(1.0)
    assert abs(expected[0]) < 0.9


def test_weights_may_be_left_out_of_a_run():
    run = linfa.solve(system_of(), task_of(4, 3), linfa.Descent(0.05, 5), states=False)
    with pytest.raises(linfa.InputError, match="solve with states=True"):
        run.state(0)
    assert len(run) == 6


def test_a_network_without_hidden_layers_has_no_laws_to_break():
    net = linfa.Weights.standard((4, 3), 0)
    run = linfa.solve(
        linfa.Full(net, linfa.Backprop()), task_of(4, 3), linfa.Descent(0.05, 5), laws=[linfa.laws.MatrixLaw()]
    )
    assert linfa.laws.MatrixLaw().residual(run).shape == (6, 0)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_works_without_hidden_layers_and_is_backprop_there(name):
    net, task = linfa.Weights.standard((4, 3), 0), task_of(4, 3)
    laws = [law() for law in linfa.laws.REGISTRY.values() if law().applies_to(rule_of(name, net))]
    run, true = (
        linfa.solve(linfa.Full(net, r), task, linfa.Descent(0.05, 5), laws=w)
        for r, w in ((rule_of(name, net), laws), (linfa.Backprop(), ()))
    )
    assert np.array_equal(run.weights(-1)[0], true.weights(-1)[0])
