"""Width-free runs: the full run to rounding times its condition, in every precision, batch and file."""

import dataclasses
from concurrent.futures import Executor, Future

import numpy as np
import pytest
import scipy.integrate
from hypothesis import Phase, assume, given, reject, settings
from hypothesis import strategies as st

import linfa
from linfa.arrays import to_numpy
from linfa.losses import LOSSES
from linfa.rules import State
from linfa.systems import Reduction
from linfa.systems.infinite_width import SCALINGS
from sims import width as width_study
from sims.study import collect
from tests.strategies import LAWS, RULES, descents, network, networks, rule_of, rules, seeds, speed, systems, task_of
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
FIXED = tuple(name for name in RULES if rule_of(name, network((2, 2, 2))).fixed_path)


def free_of(system):
    return linfa.WidthFree(system.weights, system.rule)


def moments(run):
    """The weights, and what the rule learnt, at every saved moment."""
    return [(*run.state(k).weights, *run.state(k).learnt) for k in range(len(run))]


def sizes_of(task, run):
    """For W_1 … W_L (and what is learnt): the largest ‖W_l‖, plus the time times the magnitudes that make U_l."""
    free = run.system  # as it was run: a flow keeps areas
    batch, total = task.everything(free.weights[0]), 0.0
    for k in range(len(run)):
        s = run.coordinates(k)
        sizes, full = free.sizes(s, free.passes(s, batch)), free.full(s)
        rates = np.array([float(a) for a in (*sizes.weights, *sizes.learnt)])
        states = np.array([norm(a) for a in (*full.weights, *full.learnt)])
        total = np.maximum(total, states + float(run.times[-1]) * rates)
    return total


def stretched(system, task, how, sizes, delta=1e-6):
    """How far, per unit, the run moves when its start and its feedback move by the sizes: its condition, measured."""
    base, worst = moments(linfa.solve(system, task, how)), 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def moved(parts, sizes, rng=rng):
            noise = [rng.standard_normal(a.shape) for a in parts]
            return tuple(a + delta * s * e / norm(e) for a, s, e in zip(parts, sizes, noise, strict=True))

        L, B = system.weights.depth, system.rule.matrices
        rule = dataclasses.replace(system.rule, matrices=moved(B, [norm(b) for b in B]))
        start = linfa.Full(linfa.Weights(moved(system.weights.matrices, sizes[:L])), rule)
        run = moments(linfa.solve(start, task, how))
        worst = max(worst, max(norm(a - b) for x, y in zip(base, run, strict=True) for a, b in zip(x, y, strict=True)))
    return worst / delta


def agree(full, free, allowed):
    """Weights, losses and outputs of two runs of one network agree."""
    for x, y in zip(moments(full), moments(free), strict=True):
        for a, b in zip(x, map(to_numpy, y), strict=True):
            assert a.shape == b.shape
            assert norm(a - b) <= allowed


# ------------------------------------------------------------------------------------------------ the full run, exactly


@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=2 * settings.default.max_examples)
@given(data=st.data())
def test_steps_are_those_of_the_full_net_to_rounding_times_condition(name, data):
    system, task = data.draw(systems((name,), depth=(1, 6)))
    how = data.draw(descents(system, task))
    free = free_of(system)
    try:
        full, run = linfa.solve(system, task, how), linfa.solve(free, task, how)
        sizes = sizes_of(task, run)
        # Where a perturbation of 1e-6 matters much more than that, nothing can be said to rounding.
        assume(np.all(np.isfinite(sizes)) and sizes.max() < 1e6)
        condition = stretched(system, task, how, sizes)
    except linfa.DivergenceError:
        reject()
    assume(condition < 1e8)
    widths = system.weights.widths
    # What is added up, one sum after the other: samples, widths on the way up, the basis, over all steps.
    terms = 20 + sum(widths) + len(widths) * (widths[0] + len(widths) * widths[-1])
    agree(full, run, rounding(how.steps * terms, sizes.sum() + condition))


@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=settings.default.max_examples // 2)
@given(data=st.data())
def test_the_flow_is_that_of_the_full_net_to_tolerance_times_condition(name, data):
    system, task = data.draw(systems((name,), depth=(1, 6), width=(1, 8)))
    # The exponential loss falls faster than any method can follow where outputs are far on the wrong side.
    pace = speed(system, task)
    assume(pace < 1e3)
    how, free = linfa.Flow(1 / (1 + pace), rtol=1e-11, atol=1e-13, saves=2), free_of(system)
    full, run = linfa.solve(system, task, how), linfa.solve(free, task, how)
    sizes = sizes_of(task, run)
    condition = stretched(system, task, how, sizes)
    assume(condition < 1e4)
    steps = full.dataset.attrs["steps"] + run.dataset.attrs["steps"]
    agree(full, run, steps * 1e-11 * (1 + sizes.sum() + condition) * np.sqrt(system.weights.size))
    assert np.allclose(full.loss, run.loss, rtol=0, atol=steps * 1e-9 * (1 + condition) * (1 + full.loss.max().item()))


def test_what_is_drawn_above_reaches_six_layers_every_loss_momentum_and_decay():
    assert {"fa", "rho-fa", "dfa", "dfa-virtual", "readout"} <= set(FIXED)
    seen = set()

    @settings(max_examples=300, phases=[Phase.generate], derandomize=True, database=None)
    @given(data=st.data())
    def look(data):
        system, task = data.draw(systems(("fa",), depth=(1, 6), width=(1, 3)))
        how = data.draw(descents(system, task))
        seen.update({system.weights.depth, task.loss, (how.momentum > 0, how.decay > 0, how.batch is None)})

    look()
    flags = {
        (momentum, decay, whole) for momentum in (True, False) for decay in (True, False) for whole in (True, False)
    }
    assert seen == {1, 2, 3, 4, 5, 6, *LOSSES.values(), *flags}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("widths", [(4, 3), (5, 1, 4), (6, 7, 2, 3), (3, 2, 9, 1, 4), (4, 3, 5, 3, 2, 6, 3)])
def test_every_loss_at_every_depth_with_momentum_decay_and_batches(name, loss, widths):
    """A plain net, many steps: losses and weights agree to a few hundred units of rounding."""
    net, task = network(widths, seed=1), task_of(widths[0], widths[-1], N=20, loss=loss, scale=0.5, seed=2)
    rule = rule_of(name, net, seed=3)
    how = linfa.Descent(linfa.Cosine(0.03, 61), 60, batch=7, momentum=0.8, decay=0.02, saves=3, seed=5)
    full, free = (linfa.solve(system(net, rule), task, how) for system in (linfa.Full, linfa.WidthFree))
    size = 1 + max(norm(W) for W in full.weights(-1))
    assert np.all(np.abs(full.loss - free.loss) <= rounding(1000, size))
    agree(full, free, rounding(1000, size))
    assert np.abs(full.loss[-1] - full.loss[0]) > 1e-3  # something happened


@pytest.mark.parametrize("name", FIXED)
def test_one_copy_of_the_coordinates_is_not_enough_with_decay(name):
    """Control: decay without the copies per power of α gives another run, as soon as the net is deep."""
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0), linfa.Task.teacher(4, 3, 1)
    system, how = linfa.WidthFree(net, rule_of(name, net, 2)), linfa.Descent(0.05, 30, decay=0.1, saves=1)
    right = linfa.solve(system, task, how)
    full = linfa.solve(linfa.Full(net, system.rule), task, how)
    agree(full, right, rounding(1000, 10.0))
    s, batch = system.start(), task.everything(net[0])
    for _ in range(30):
        s = s.plus(0.05, system.velocity(s, system.passes(s, batch)).plus(-0.1, s))
    assert norm(system.full(s).weights[-1] - full.weights(-1)[-1]) > 1e-2


@given(net=networks(depth=(2, 6)), data=st.data())
def test_alignment_and_the_layer_law_are_read_without_lifting(net, data):
    rule, seed = data.draw(rules(net, ("fa", "rho-fa"))), data.draw(seeds)
    task = task_of(net.widths[0], net.widths[-1], seed=seed)
    free = linfa.WidthFree(net, rule)
    steps = linfa.Descent(
        0.05 / (1 + speed(linfa.Full(net, rule), task)), 4, decay=data.draw(st.sampled_from([0, 0.1]))
    )
    run = linfa.solve(free, task, steps)
    terms = 200 + sum(net.widths) * 10
    for k in range(len(run)):
        W = run.weights(k)
        spread = [float(a) for a in free.spread(run.coordinates(k), 1.0).weights]
        bases = [a * norm(np.concatenate([np.ravel(c) for c in run.coordinates(k).weights])) for a in spread]
        size = np.array([norm(w) + b + norm(w0) for w, b, w0 in zip(W, bases, net, strict=True)])
        for l, B in enumerate(rule.matrices):
            square = rounding(terms, size[l] ** 2)
            expected = norm(W[l]) ** 2 / 2 - np.sum(B * W[l + 1])
            assert abs(run.dataset["layer_law"][k, l] - expected) <= square + rounding(terms, norm(B) * size[l + 1])
            # The cosine divides by a norm that was made by subtraction.
            if norm(W[l + 1]) > 1e-3 * size[l + 1] and norm(B) > 0:
                cosine = np.sum(B * W[l + 1]) / norm(B) / norm(W[l + 1])
                allowed = rounding(terms, (size[l + 1] / norm(W[l + 1])) ** 2)
                assert abs(run.alignment[k, l] - cosine) <= allowed


def test_where_nothing_points_anywhere_the_alignment_is_zero():
    net, task = linfa.Weights.zero((3, 4, 5, 2)), linfa.Task.teacher(3, 2, 0)
    run = linfa.solve(linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 1)), task, linfa.Flow(3.0, saves=30))
    assert run.alignment[0].values.tolist() == [0.0, 0.0]
    assert np.all(run.alignment[1:] > 0)
    full = linfa.solve(linfa.Full(net, run.rule), task, linfa.Flow(3.0, saves=30))
    assert np.allclose(run.alignment[3:], full.alignment[3:], rtol=0, atol=1e-7)


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=settings.default.max_examples // 2)
@given(data=st.data())
def test_every_law_holds_within_its_recorded_bound(name, stepped, data):
    system, task = data.draw(systems((name,), depth=(2, 5), width=(1, 8)))
    laws = [law for law in LAWS if law.applies_to(system.rule)]
    pace = speed(system, task)
    assume(pace < 1e3)
    how = data.draw(descents(system, task)) if stepped else linfa.Flow(1 / (1 + pace), saves=2)
    try:
        run = linfa.solve(free_of(system), task, how, laws=laws)
    except linfa.DivergenceError:
        reject()
    assume(max(float(np.abs(W).max()) for W in run.state(-1).weights) < 1e100)
    for law in laws:
        residual, bound = run.dataset[f"{law.name}_residual"].values, run.dataset[f"{law.name}_bound"].values
        read = rounding(4 * max(system.widths) + 8, run.dataset[f"{law.name}_scale"].values.max(0))
        assert np.all(residual <= bound + read + np.sqrt(np.finfo(float).tiny)), law


@pytest.mark.parametrize("name", ["fa", "rho-fa", "dfa", "readout"])
@pytest.mark.parametrize("widths", [(4, 9, 3), (4, 9, 8, 3), (3, 5, 2, 6, 4)])
def test_areas_keep_the_laws_to_rounding_however_rough_the_solver(name, widths):
    net, task = linfa.Weights.standard(widths, 0, scale=0.7), linfa.Task.teacher(widths[0], widths[-1], 1)
    rule, rough = rule_of(name, net, 2), linfa.Flow(5.0, rtol=1e-2, atol=1e-2, method="RK23", saves=9)
    laws = [law for law in LAWS if law.applies_to(rule)]
    free, full = (
        linfa.solve(s, task, rough, laws=laws) for s in (linfa.WidthFree(net, rule).flowing(), linfa.Full(net, rule))
    )
    allowed, drifts = rounding(sum(widths) + 20, 10.0), []
    for law in laws:
        assert law.drift(free).max() <= allowed
        assert np.all(free.dataset[f"{law.name}_residual"] <= free.dataset[f"{law.name}_bound"] + allowed)
        drifts.append(law.drift(full).max())
    assert name == "readout" or max(drifts) > 1e-7  # control: the tolerance is rough indeed


def plain_flow(free, task, t, rtol):
    """The weights at the end of a flow in the plain coordinates, R_l whole, by SciPy: the slow twin of areas."""
    start, batch = free.start(), task.everything(free.weights[0])
    shapes = [a.shape for a in start.weights]
    ends = np.cumsum([a.size for a in start.weights])[:-1]

    def state(y):
        return linfa.State(tuple(a.reshape(shape) for a, shape in zip(np.split(y, ends), shapes, strict=True)))

    def velocity(_, y):
        s = state(y)
        return np.concatenate([a.ravel() for a in free.velocity(s, free.passes(s, batch)).weights])

    y = np.concatenate([a.ravel() for a in start.weights])
    found = scipy.integrate.solve_ivp(velocity, (0, t), y, "DOP853", rtol=rtol, atol=rtol / 100)
    assert found.success
    return free.full(state(found.y[:, -1])), found.t.size


@given(data=st.data())
def test_areas_follow_the_same_flow(data):
    system, task = data.draw(systems(("fa", "rho-fa", "dfa"), depth=(1, 5), width=(1, 8)))
    pace = speed(system, task)
    assume(pace < 1e3)
    how = linfa.Flow(1 / (1 + pace), rtol=1e-11, atol=1e-13, saves=2)
    free, run = free_of(system), linfa.solve(free_of(system), task, how)
    assert run.system.areas
    assert not free.areas
    sizes = sizes_of(task, run)
    condition = stretched(system, task, how, sizes)
    assume(condition < 1e4)
    plain, taken = plain_flow(free, task, how.t, 1e-11)
    steps = taken + run.dataset.attrs["steps"]
    allowed = steps * 1e-11 * (1 + sizes.sum() + condition) * np.sqrt(system.weights.size)
    for a, b in zip((*plain.weights, *plain.learnt), moments(run)[-1], strict=True):
        assert norm(a - b) <= allowed


@pytest.mark.parametrize("name", ["fa", "dfa", "readout"])
def test_how_far_coordinates_reach_is_how_far_they_move_the_weights(name):
    """W is linear in the coordinates: each number alone is moved by one, and the weights are looked at."""
    net = linfa.Weights.standard((4, 30, 20, 9, 3), 0, scale=1.5)
    free = linfa.WidthFree(net, rule_of(name, net, 1))
    start, reach = free.start(), free.reach()
    for k, part in enumerate(start.weights[1:], 1):
        for i in range(part.size):
            moved = np.zeros(part.size)
            moved[i] = 1.0
            parts = list(start.weights)
            parts[k] = part + moved.reshape(part.shape)
            far = max(norm(a - b) for a, b in zip(free.full(State(tuple(parts))).weights, net, strict=True))
            assert abs(reach.weights[k].ravel()[i] - max(far, 1.0)) <= rounding(200, 1 + far)
    assert all(np.array_equal(a, b) for a, b in zip(free.flowing().reach().weights, reach.weights, strict=True))


@pytest.mark.parametrize("width", [10**3, 10**6, 10**9])
@pytest.mark.parametrize(
    ("solver", "rtol"),
    [(linfa.Flow, 1e-9), (lambda t, saves: linfa.Gauss(t, 10, rtol=1e-6, saves=saves), 1e-6)],
    ids=["flow", "gauss"],
)
@pytest.mark.parametrize("members", [None, 2])
def test_a_tolerance_means_the_same_at_any_width(solver, rtol, width, members):
    """Φ is of the order n_0/n: a tolerance in its own units would say nothing of a wide network."""
    task = linfa.Task.teacher(5, 3, 2, input_spectrum=np.linspace(0.2, 3.0, 5))
    system = linfa.WidthFree.gaussian((5, width, width, 3), 1, members=members)
    t = 15.0 / width
    run = linfa.solve(system, task, solver(t, saves=4))
    true = linfa.solve(system, task, linfa.Flow(t, rtol=1e-12, atol=1e-18, saves=4))
    off = np.abs(run.loss.values - true.loss.values).max() / true.loss.values[0].max()
    # Each step errs by at most the tolerance, and what is learnt contracts.
    assert off <= run.dataset.attrs["steps"] * rtol
    assert np.all(true.loss.values[-1] < 0.1 * true.loss.values[0])


def test_areas_are_for_continuous_time():
    net, task = linfa.Weights.standard((4, 9, 3), 0), linfa.Task.teacher(4, 3, 1)
    free = linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 2))
    for decay in (0.0, 0.1):
        with pytest.raises(linfa.InputError, match="areas only, which is for continuous time"):
            linfa.solve(free.flowing(), task, linfa.Descent(0.1, 5, decay=decay))
    with pytest.raises(linfa.InputError, match="areas only"):
        free.flowing().decaying()
    with pytest.raises(linfa.InputError, match=r"copies for the decay of weights.*give the system as it was made"):
        linfa.solve(free.decaying(), task, linfa.Flow(1.0))


@pytest.mark.parametrize("how", ["flow", "descent"])
def test_virtual_readouts_are_coordinates_already(how):
    """V_l = Z_{l+1}: the laws of every layer under direct feedback cost nothing."""
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0), linfa.Task.teacher(4, 3, 1)
    rule = linfa.DirectFeedback.random(net, 2, virtual=True)
    solver = linfa.Flow(2.0) if how == "flow" else linfa.Descent(0.01, 50, momentum=0.9, decay=0.01)
    law = linfa.laws.NeuronLaw()
    full, free = (linfa.solve(s(net, rule), task, solver, laws=[law]) for s in (linfa.Full, linfa.WidthFree))
    for k in range(len(full)):
        for V, V_free in zip(full.state(k).learnt, free.state(k).learnt, strict=True):
            assert norm(V - V_free) < 1e-7
    assert law.residual(free).max() < 1e-8
    assert law.drift(free).max() > (1e-3 if how == "descent" else 0)


# -------------------------------------------------------------------------------------------- precision, batches, files


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision_stays_single_and_is_right_to_its_rounding(name, loss):
    net = linfa.Weights.standard((5, 7, 6, 3), 0)
    rule, task = rule_of(name, net, 1), task_of(5, 3, N=12, loss=loss, scale=0.5, seed=2)
    how = linfa.Descent(0.03, 40, batch=5, momentum=0.5, decay=0.01, saves=4)
    true = linfa.solve(linfa.Full(net, rule), task, how)
    single = dataclasses.replace(rule, matrices=tuple(B.astype(np.float32) for B in rule.matrices))
    free = linfa.WidthFree(net.map(lambda W: W.astype(np.float32)), single)
    run = linfa.solve(free, task, how, states=True)
    assert all(W.dtype == np.float32 for W in (*run.state(-1).weights, *run.coordinates(-1).weights))
    size = 1 + max(norm(W) for W in true.weights(-1))
    agree(true, run, rounding(1000, size, np.float32))


@pytest.mark.parametrize(
    "how",
    [
        linfa.Descent(0.05, 30, momentum=0.5, decay=0.01, saves=2),
        linfa.Flow(2.0, saves=2),
        linfa.Gauss(2.0, 20, saves=2),
        linfa.Gauss(2.0, 20, rtol=1e-5, saves=2),
    ],
    ids=["descent", "flow", "gauss", "gauss adaptive"],
)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["one", "batch"])
def test_torch_arrays_make_the_same_run(how, lead):
    torch = pytest.importorskip("torch")
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0, scale=0.7), linfa.Task.teacher(4, 3, 1)
    rule = linfa.FeedbackAlignment.random(net, 2)
    net = net.map(lambda W: np.broadcast_to(W, (*lead, *W.shape)).copy())
    expected = linfa.solve(linfa.WidthFree(net, rule), task, how)
    there = linfa.FeedbackAlignment(tuple(torch.asarray(B) for B in rule.matrices))
    run = linfa.solve(linfa.WidthFree(net.map(torch.asarray), there), task, how)
    assert all(isinstance(a, torch.Tensor) for a in run.system.start().weights)
    agree(expected, run, rounding(10**4, 10.0))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
@pytest.mark.parametrize("name", FIXED)
def test_a_batch_of_nets_is_each_of_them(name, lead, shared):
    """Leading axes: of the weights alone (all nets share their feedback), or of both."""
    count, widths = int(np.prod(lead)), (4, 5, 6, 3)
    nets = [linfa.Weights.standard(widths, seed) for seed in range(count)]
    each = [rule_of(name, net, 7 if shared else seed) for seed, net in enumerate(nets)]
    shared = shared and name != "rho-fa"

    def stack(parts):
        return tuple(np.stack(p).reshape(*lead, *p[0].shape) for p in zip(*parts, strict=True))

    matrices = each[0].matrices if shared else stack([r.matrices for r in each])
    system = linfa.WidthFree(linfa.Weights(stack(nets)), dataclasses.replace(each[0], matrices=matrices))
    task, how = task_of(4, 3, N=9, seed=3), linfa.Descent(0.05, 20, batch=4, momentum=0.5, decay=0.01, saves=2)
    run = linfa.solve(system, task, how)
    assert run.loss.shape == (3, *lead)
    for i, (net, rule) in enumerate(zip(nets, each, strict=True)):
        one = linfa.solve(linfa.WidthFree(net, rule), task, how)
        for k in range(3):
            assert abs(run.loss.values[k].reshape(-1)[i] - one.loss.values[k]) <= rounding(1000, 10.0)
            for W, V in zip(run.weights(k), one.weights(k), strict=True):
                assert norm(W.reshape(-1, *V.shape)[i] - V) <= rounding(1000, 10.0)
            if rule.layerwise:
                found = run.alignment.values[k].reshape(count, -1)[i]
                assert np.allclose(found, one.alignment.values[k], rtol=0, atol=rounding(1000, 10.0))


def test_one_net_under_a_batch_of_feedbacks():
    net, B = linfa.Weights.standard((4, 5, 3), 0), np.random.default_rng(1).standard_normal((2, 3, 5))
    task, how = linfa.Task.teacher(4, 3, 2), linfa.Descent(0.05, 20, saves=2)
    run = linfa.solve(linfa.WidthFree(net, linfa.FeedbackAlignment((B,))), task, how)
    for i in range(2):
        one = linfa.solve(linfa.Full(net, linfa.FeedbackAlignment((B[i],))), task, how)
        assert np.allclose(run.loss[:, i], one.loss, rtol=0, atol=rounding(1000, 10.0))
        assert norm(run.weights(-1)[0][i] - one.weights(-1)[0]) <= rounding(1000, 10.0)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_saved_run_keeps_its_coordinates_and_says_how_to_lift_them(tmp_path, decay):
    net, task = linfa.Weights.standard((4, 6, 5, 3), 0), linfa.Task.teacher(4, 3, 1)
    system, how = (
        linfa.WidthFree(net, linfa.DirectFeedback.random(net, 2)),
        linfa.Descent(0.05, 20, decay=decay, saves=2),
    )
    run = linfa.solve(system, task, how)
    loaded = linfa.Trajectory.load(run.save(tmp_path / "run.nc"))
    for a, b in zip(run.coordinates(-1).weights, loaded.coordinates(-1).weights, strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(linfa.InputError, match=r"reduced coordinates and loaded from a file.*system\.lift"):
        loaded.weights(-1)
    with pytest.raises(linfa.InputError, match="recorded no weight_alignment"):
        loaded.alignment  # noqa: B018
    lifted = system.lift(loaded.coordinates(-1))
    agree(linfa.solve(linfa.Full(net, system.rule), task, how), run, rounding(1000, 10.0))
    for a, b in zip(lifted, run.weights(-1), strict=True):
        assert np.array_equal(a, b)


def test_the_size_of_a_state_does_not_know_the_width():
    for n in (5, 50, 500):
        net = linfa.Weights.standard((4, n, n, 3), 0)
        s = linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 1)).start()
        assert sum(a.size for a in s.weights) == 1 + 3 * 4 + 2 * 3 * 3


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", [name for name in RULES if name not in FIXED])
def test_a_path_that_moves_is_refused(name):
    net = linfa.Weights.standard((3, 4, 2), 0)
    with pytest.raises(linfa.NoLawError, match=r"needs a feedback path that never moves.*linfa\.Full"):
        linfa.WidthFree(net, rule_of(name, net))
    # Not with Gram matrices of another rule either.
    grams = linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 1)).grams
    with pytest.raises(linfa.NoLawError, match="needs a feedback path that never moves"):
        linfa.WidthFree(net, rule_of(name, net), grams)


def test_what_does_not_fit_is_said(as_users_run_it):
    net = linfa.Weights.standard((3, 4, 2), 0)
    rule = linfa.FeedbackAlignment.random(net, 1)
    with pytest.raises(linfa.InputError, match="takes a rule such as"):
        linfa.WidthFree(net, "fa")
    with pytest.raises(linfa.InputError, match=r"linfa\.Weights as its start, or a Reduction"):
        linfa.WidthFree(None, rule)
    with pytest.raises(linfa.InputError, match=r"takes linfa\.Weights as its start; got tuple"):
        linfa.WidthFree(net.matrices, rule)
    with pytest.raises(linfa.InputError, match=r"a linfa\.systems\.Reduction; got tuple"):
        linfa.WidthFree(net, rule, ())
    other = linfa.WidthFree.gaussian((3, 7, 2), 0).grams
    with pytest.raises(linfa.InputError, match=r"the Gram matrices have widths \(3, 7, 2\), the weights \(3, 4, 2\)"):
        linfa.WidthFree(net, rule, other)
    with pytest.raises(linfa.InputError, match=r"B_2 must have shape \(2, 5\)"):
        linfa.WidthFree(linfa.Weights.standard((3, 5, 2), 0), rule)
    with pytest.raises(linfa.InputError, match=r"the task goes from 4 inputs to 2 outputs"):
        linfa.solve(linfa.WidthFree(net, rule), linfa.Task.teacher(4, 2, 0), linfa.Flow(1.0))
    with pytest.raises(linfa.InputError, match="moves full weights, and WidthFree has none"):
        linfa.solve(linfa.WidthFree(net, rule), linfa.Task.teacher(3, 2, 0), linfa.Conservative(1.0, 5))
    huge = net.map(lambda W: 1e200 * W)
    with pytest.raises(linfa.InputError, match=r"𝒢_1 must be finite.*too large"), np.errstate(over="ignore"):
        linfa.WidthFree(huge, rule)


def test_a_reduction_says_what_is_wrong_with_its_matrices(as_users_run_it):
    right = linfa.WidthFree.gaussian((3, 9, 2), 0).grams
    with pytest.raises(linfa.InputError, match="depth 2 needs 2 Gram matrices"):
        dataclasses.replace(right, grams=right.grams[:1])
    with pytest.raises(linfa.InputError, match=r"𝒢_1 must have shape \(5, 5\); got \(4, 4\)"):
        dataclasses.replace(right, grams=(right.grams[0], right.grams[1][1:, 1:]))
    with pytest.raises(linfa.InputError, match=r"the read-out must have shape \(2, 7\)"):
        dataclasses.replace(right, readout=right.readout[:, 1:])
    with pytest.raises(linfa.InputError, match="𝒢_1 must be finite"):
        dataclasses.replace(right, grams=(right.grams[0], np.nan * right.grams[1]))
    with pytest.raises(linfa.InputError, match="𝒢_0 must be the identity"):
        dataclasses.replace(right, grams=(2 * right.grams[0], right.grams[1]))
    with pytest.raises(linfa.InputError, match="needs the squares of 2 layers; got 1"):
        dataclasses.replace(right, squares=right.squares[:1])


def test_a_drawn_net_has_no_weights_to_lift_to():
    system, task = linfa.WidthFree.gaussian((3, 10**6, 2), 0), linfa.Task.teacher(3, 2, 1)
    run = linfa.solve(system, task, linfa.Flow(1e-5, saves=2))
    with pytest.raises(linfa.InputError, match="drawn without its weights"):
        run.weights(-1)
    with pytest.raises(linfa.InputError, match="drawn without its weights"):
        system.lift(run.coordinates(-1))
    with pytest.raises(linfa.InputError, match="drawn without its feedback"):
        system.rule.stand_ins(State(()))
    for asked, named in (
        ({"laws": [linfa.laws.MatrixLaw()]}, r"laws=\[MatrixLaw\(\)\]"),
        ({"laws": linfa.laws.MatrixLaw()}, r"laws=\[MatrixLaw\(\)\]"),
        ({"observe": {"norm": lambda weights: 0.0}}, r"observe=\{'norm'\}"),
    ):
        for net in (system, linfa.InfiniteWidth.mean_field().limit(3, 2, depth=3)):
            with pytest.raises(linfa.InputError, match=rf"^{named} asks for weights, .* its weights: leave it out"):
                linfa.solve(net, task, linfa.Flow(1e-5, saves=2), **asked)
    with pytest.raises(linfa.DivergenceError, match="learning rate 1 is too large"):
        linfa.solve(system, task, linfa.Descent(1.0, 200))


# ------------------------------------------------------------------------------------------- study, figure, benchmark


def small(fast):
    """The real study, cut down to seconds."""
    how = linfa.Descent(0.01, 20, batch=16, momentum=0.9, decay=1e-2, saves=4)
    agree = [width_study.Agreement("digits", 200, (64, 12, 12, 10), rule, how) for rule in width_study.RULES]
    cost = [width_study.Cost("digits", 200, n, 3, 0.05) for n in (12, 20)]
    steps = linfa.Descent(0.005, 20, saves=5)
    hidden = (10**3, 10**5, 10**6, 10**7)
    return (*agree, *cost, *(width_study.Limit("digits", 200, name, 3, hidden, 4, steps) for name in SCALINGS))


class InProcess(Executor):
    """Runs each task at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_the_study_finds_what_the_figure_shows(tmp_path):
    study = dataclasses.replace(width_study.STUDY, cells=small)
    results = collect(study, cache=tmp_path, executor=InProcess(), progress=False)
    for cell, data in ((r.cell, r.data) for r in results):
        if isinstance(cell, width_study.Agreement):
            assert data["apart"].max() <= rounding(1000, 1.0)
            assert np.all(abs(data["loss"] - data["width_free"]) <= rounding(1000, data["loss"]))
        elif isinstance(cell, width_study.Cost):
            assert data["loss"].values[0] == pytest.approx(data["loss"].values[1], rel=1e-4)
            assert data["operations"].values[1] == width_study.free_operations((64, 10**6, 10**6, 10))
        else:
            gap = data["gap"].isel(time=-1)
            slope = np.polyfit(np.log(gap["hidden_width"][1:]), np.log(gap[1:]), 1)[0]
            assert abs(slope + 0.5) < 0.05
    again = collect(study, cache=tmp_path, executor=InProcess(), progress=False)
    assert all(a.data.identical(b.data) for a, b in zip(results, again, strict=True))


def test_the_figure_is_drawn_and_nothing_is_cut_off(tmp_path):
    pytest.importorskip("matplotlib")
    from figures import style
    from figures.width import FIGURE

    study = dataclasses.replace(width_study.STUDY, cells=small)
    with style.applied():
        sheet, caption = FIGURE.draw(
            True, lambda _: collect(study, cache=tmp_path, executor=InProcess(), progress=False)
        )
        sheet.draw_without_rendering()
        assert len(sheet.axes) == 5
    for words in ("digits", "64–12–12–10", "momentum 0.9", "FA, ρ-FA, DFA, read-out only", "slopes"):
        assert words in caption
    assert "nan" not in caption


class Counting(np.ndarray):
    """Counts the multiplications and additions of its matrix products."""

    operations = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        plain = [np.asarray(x) if isinstance(x, Counting) else x for x in inputs]
        found = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            Counting.operations += 2 * found.size * plain[0].shape[-1]
        return found.view(Counting) if isinstance(found, np.ndarray) else found


def operations(system, task, monkeypatch):
    """The operations of one velocity, as they are done."""
    batch = task.everything(np.zeros(1))
    batch = dataclasses.replace(batch, inputs=batch.inputs.view(Counting))
    state = system.start().map(lambda a: a.view(Counting))
    monkeypatch.setattr(Counting, "operations", 0)
    system.velocity(state, system.passes(state, batch))
    return Counting.operations


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("widths", [(4, 3), (5, 9, 3), (6, 4, 7, 2)])
def test_operations_are_counted_as_they_are_done(widths, moments, monkeypatch):
    net, loss = linfa.Weights.standard(widths, 0), "squared" if moments else "softmax-ce"
    task = task_of(widths[0], widths[-1], N=11, loss=loss, moments=moments, seed=1)
    rule, N = linfa.FeedbackAlignment.random(net, 2), None if moments else 11
    if len(widths) > 2:
        grams = Reduction.of(net, rule)
        counting = {
            "grams": tuple(G.view(Counting) for G in grams.grams),
            "readout": grams.readout.view(Counting),
        }
        free = linfa.WidthFree(net, rule, dataclasses.replace(grams, **counting))
        assert operations(free, task, monkeypatch) == width_study.free_operations(widths, N)
    assert operations(linfa.Full(net, rule), task, monkeypatch) == width_study.full_operations(widths, N)
