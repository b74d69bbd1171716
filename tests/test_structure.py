"""Solvers that keep the laws: measured orders are the claimed ones; drift is rounding where it must, and only there."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import linfa
from linfa.arrays import to_numpy
from linfa.rules import State
from linfa.solvers.ensemble import sizes
from linfa.solvers.projection import Surface
from linfa.solvers.stages import TABLEAUX
from linfa.systems import AbstractSystem
from tests.shapes import shapes_unchecked
from tests.strategies import LAWS, rule_of, seeds, speed, systems, task_of

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
FIXED = ("fa", "rho-fa", "dfa", "readout")
SMOOTH = (*FIXED, "bp", "interpolated", "kp", "dfa-virtual")
MATRIX = linfa.laws.MatrixLaw()


def system_of(name="fa", widths=(4, 6, 5, 3), seed=0, scale=0.7):
    net = linfa.Weights.standard(widths, seed, scale=scale)
    return linfa.Full(net, rule_of(name, net, seed + 1))


def batch_of(members=4, grown=()):
    """Return one rule and a batch of networks, some of them grown to where no long step can follow them."""
    nets = [linfa.Weights.standard((4, 6, 5, 3), i, scale=40.0 if i in grown else 0.7) for i in range(members)]
    rule = linfa.FeedbackAlignment.random(nets[0], 9)
    stacked = linfa.Weights(tuple(np.stack([net[l] for net in nets]) for l in range(3)))
    return linfa.Full(stacked, rule), [linfa.Full(net, rule) for net in nets]


def teacher():
    return linfa.Task.teacher(4, 3, 2, input_spectrum=[0.5, 1.0, 1.5, 2.0])


def laws_of(rule):
    return [law for law in LAWS if law.applies_to(rule)]


def distance(weights, others):
    return math.sqrt(sum(float(norm(a - b)) ** 2 for a, b in zip(weights, others, strict=True)))


def within_bounds(run, laws):
    """Every law's residual lies within the bound that the solver gave, at every moment, layer and member."""
    return all(bool((run.dataset[f"{law.name}_residual"] <= run.dataset[f"{law.name}_bound"]).all()) for law in laws)


# Orders ------------------------------------------------------------------------------------------------------------


CLAIMS = {
    "conservative 1": (1, lambda n: linfa.Conservative(1.0, n, order=1, saves=1)),
    "conservative 2": (2, lambda n: linfa.Conservative(1.0, n, order=2, saves=1)),
    "gauss 1": (2, lambda n: linfa.Gauss(1.0, n, stages=1, saves=1)),
    "gauss 2": (4, lambda n: linfa.Gauss(1.0, n, stages=2, saves=1)),
    "gauss 3": (6, lambda n: linfa.Gauss(1.0, n, stages=3, saves=1)),
    "projected 1": (1, lambda n: linfa.Projected(1.0, n, order=1, saves=1)),
    "projected 2": (2, lambda n: linfa.Projected(1.0, n, order=2, saves=1)),
    "projected 4": (4, lambda n: linfa.Projected(1.0, n, order=4, saves=1)),
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("rule", ["fa", "dfa", "kp"])
def test_the_order_measured_is_the_order_claimed(name, rule):
    claimed, solver = CLAIMS[name]
    if rule == "kp" and name.startswith("conservative"):
        pytest.skip("its path moves")
    system, steps = system_of(rule), (10, 20, 40) if claimed == 6 else (20, 40, 80)
    true = linfa.solve(system, teacher(), linfa.Flow(1.0, rtol=1e-13, atol=1e-15, saves=1)).weights(-1)
    errors = [distance(linfa.solve(system, teacher(), solver(n)).weights(-1), true) for n in steps]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    # The next term of the error expansion is one order of the step smaller; at the finer pair that is a few percent.
    assert abs(orders[-1] - claimed) < 0.25, orders


@pytest.mark.parametrize("s", TABLEAUX)
def test_a_tableau_is_collocation_at_the_gauss_nodes_and_keeps_quadratic_invariants(s):
    T = TABLEAUX[s]
    c, A, b = np.array(T.c), np.array(T.A), np.array(T.b)
    nodes, weights = np.polynomial.legendre.leggauss(s)
    assert np.allclose(c, (nodes + 1) / 2, rtol=0, atol=1e-15)
    assert np.allclose(b, weights / 2, rtol=0, atol=1e-15)
    for k in range(1, s + 1):
        assert np.allclose(A @ c ** (k - 1), c**k / k, rtol=0, atol=1e-15)
    assert np.abs(b[:, None] * A + (b[:, None] * A).T - np.outer(b, b)).max() < 1e-16
    # Extrapolation and estimate, on polynomials of the degree that they are exact for.
    for k in range(s):
        assert np.allclose(T.ahead() @ c**k, (1 + c) ** k, rtol=1e-13)
    ends = np.array([0.0, *c, 1.0])
    moments = [float(np.dot(T.estimate(), ends**k)) for k in range(s + 2)]
    assert np.allclose(moments[:-1], 0, atol=1e-14)
    assert moments[-1] > 1e-3


# Laws at rounding, at any step -------------------------------------------------------------------------------------


def step_of(system, task, fraction):
    """Return a step in which the state would move by about a fraction of itself."""
    return fraction / (1e-3 + speed(system, task))


@given(
    drawn=systems(FIXED, depth=(2, 4), width=(1, 6)),
    order=st.sampled_from([1, 2]),
    fraction=st.sampled_from([0.01, 0.3, 1.0]),
)
def test_the_conservative_step_keeps_every_law_at_any_step(drawn, order, fraction):
    system, task = drawn
    laws, h = laws_of(system.rule), step_of(system, task, fraction)
    try:
        run = linfa.solve(system, task, linfa.Conservative(5 * h, 5, order=order, saves=5), laws=laws)
    except linfa.DivergenceError:
        assume(False)
    assert laws
    assert within_bounds(run, laws)


@given(
    drawn=systems(SMOOTH, depth=(2, 4), width=(1, 6)),
    stages=st.sampled_from([1, 2, 3]),
    fraction=st.sampled_from([0.01, 0.1, 0.5]),
    rtol=st.sampled_from([None, None, 1e-4]),
)
def test_gauss_keeps_every_law_at_any_step_whose_stages_it_solves(drawn, stages, fraction, rtol):
    system, task = drawn
    laws, h = laws_of(system.rule), step_of(system, task, fraction)
    solver = linfa.Gauss(3 * h, 3, stages=stages, rtol=rtol, saves=3, max_steps=60)
    try:
        run = linfa.solve(system, task, solver, laws=laws)
    except linfa.DivergenceError:
        assume(False)
    assert within_bounds(run, laws)


@pytest.mark.parametrize(
    "solver", [linfa.Gauss(6.0, 12, stages=2), linfa.Conservative(6.0, 24)], ids=["gauss", "cons."]
)
def test_long_steps_keep_the_laws_to_a_few_units_while_the_error_is_visible(solver):
    system = system_of()
    run = linfa.solve(system, teacher(), solver)
    true = linfa.solve(system, teacher(), linfa.Flow(6.0, rtol=1e-12, saves=1))
    assert distance(run.weights(-1), true.weights(-1)) > 1e-4
    for law in laws_of(system.rule):
        assert float(law.residual(run).max()) < 40 * np.finfo(float).eps


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_gauss_keeps_the_laws_of_the_width_free_system(stages):
    net = linfa.Weights.standard((4, 12, 9, 3), 0)
    rule, laws = linfa.FeedbackAlignment.random(net, 1), [MATRIX, linfa.laws.NullSpaceLaw()]
    full, free = (
        linfa.solve(s(net, rule), teacher(), linfa.Gauss(1.0, 12, stages=stages, saves=4), laws=laws)
        for s in (linfa.Full, linfa.WidthFree)
    )
    assert within_bounds(free, laws)
    assert float(MATRIX.residual(free).max()) < 100 * np.finfo(float).eps
    # Linear coordinates: the method commutes with the lift, so both make the same step, not only the same limit.
    assert distance(full.weights(-1), free.weights(-1)) < 1e-11


def test_euler_drifts_at_first_order_and_runge_kutta_at_its_own():
    system, task = system_of(), teacher()
    ends = [float(MATRIX.drift(linfa.solve(system, task, linfa.Descent(1 / n, n)))[-1].max()) for n in (100, 200, 400)]
    assert np.allclose(np.log2(np.array(ends[:-1]) / ends[1:]), 1.0, atol=0.1)
    drifts = []
    for rtol in (1e-3, 1e-5, 1e-7):
        run = linfa.solve(system, task, linfa.Flow(5.0, rtol=rtol, atol=rtol, method="RK45", saves=1))
        drifts.append(float(MATRIX.drift(run)[-1].max()))
    kept = linfa.solve(system, task, linfa.Gauss(5.0, 20))
    assert drifts[0] > 10 * drifts[1] > 100 * drifts[2] > 1e6 * float(MATRIX.drift(kept).max())


def test_the_step_defect_of_euler_is_what_the_conservative_step_takes_away():
    system, task = system_of(), teacher()
    batch, s, h = task.everything(system.weights[0]), system.start(), 0.1
    U = system.velocity(s, system.passes(s, batch))
    euler = MATRIX.quantity(system.rule, s.plus(h, U))[0] - MATRIX.quantity(system.rule, s)[0]
    assert np.allclose(euler, h**2 * U.weights[0] @ U.weights[0].T, rtol=0, atol=1e-15)
    assert norm(euler) > 1e-4
    run = linfa.solve(system, task, linfa.Conservative(h, 1, order=1))
    assert float(MATRIX.drift(run).max()) < 1e-15


def test_sign_feedback_keeps_its_law_between_flips_and_the_bound_says_so():
    system, law = system_of("usf"), linfa.laws.NeuronLaw()
    run = linfa.solve(system, teacher(), linfa.Gauss(2.0, 20, saves=20), laws=[law])
    signs = np.array([np.concatenate([np.sign(W).ravel() for W in state.weights]) for state in run.states()])
    flips = np.any(signs[1:] != signs[:-1], axis=1)
    moved = np.abs(np.diff(run.dataset["neuron_residual"].max("hidden").values))
    assert flips.any()
    assert not flips.all()
    assert within_bounds(run, [law])
    assert moved[~flips].max() < 1e-14 < 1e-4 < moved[flips].max()


# Symmetry ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Backwards(AbstractSystem):
    """A system from another start, its time running backwards."""

    system: linfa.Full
    at: State

    @property
    def rule(self):
        return self.system.rule

    @property
    def widths(self):
        return self.system.widths

    @property
    def lead(self):
        return self.system.lead

    def start(self):
        return self.at

    def passes(self, state, batch, step=None):
        return self.system.passes(state, batch, step)

    def velocity(self, state, passes):
        return self.system.velocity(state, passes).times(-1.0)

    def full(self, state):
        return state

    def sizes(self, state, passes):
        return self.system.sizes(state, passes)

    def spread(self, state, error):
        return self.system.spread(state, error)

    def parts(self, state):
        return self.system.parts(state)

    def alignments(self, state, batch, step):
        return {}


@pytest.mark.parametrize("rule", ["fa", "bp", "kp"])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_steps_back_undo_steps_forth(rule, stages):
    system, solver = system_of(rule), linfa.Gauss(1.0, 8, stages=stages, saves=1)
    forth = linfa.solve(system, teacher(), solver)
    back = linfa.solve(Backwards(system, forth.state(-1)), teacher(), solver)
    assert distance(forth.weights(-1), forth.weights(0)) > 0.1
    # Backwards, what had decayed grows again, and rounding with it.
    assert distance(back.weights(-1), forth.weights(0)) < 1e-11


# The step controlled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_tighter_tolerance_is_more_accurate_and_takes_more_steps(stages):
    true = linfa.solve(system_of(), teacher(), linfa.Flow(3.0, rtol=1e-13, atol=1e-15, saves=1)).weights(-1)
    tolerances = (1e-3, 1e-5) if stages == 1 else (1e-4, 1e-8)
    runs = [linfa.solve(system_of(), teacher(), linfa.Gauss(3.0, 5, stages, rtol=r, saves=2)) for r in tolerances]
    errors = [distance(run.weights(-1), true) for run in runs]
    assert errors[1] < errors[0] / 10
    assert runs[1].dataset.attrs["steps"] > runs[0].dataset.attrs["steps"]
    for error, run, rtol in zip(errors, runs, tolerances, strict=True):
        # Each step errs by at most the tolerance; the flow itself stretches errors over three units of time.
        assert error <= 10 * run.dataset.attrs["steps"] * rtol * (1 + distance(true, [0 * W for W in true]))
        assert run.times.values.tolist() == [0.0, 1.5, 3.0]
        assert float(MATRIX.residual(run).max()) < 40 * np.finfo(float).eps


def test_a_step_cap_is_said_and_what_there_is_comes_back():
    run = linfa.solve(system_of(), teacher(), linfa.Gauss(3.0, 5, rtol=1e-8, saves=30, max_steps=25))
    assert run.status.startswith("step cap reached at t = ")
    assert 0 < float(run.times[-1]) == float(run.reached) < 3.0
    assert np.isfinite(run.loss.values).all()


def test_a_flow_at_rest_stays_at_rest():
    net = linfa.Weights.zero((4, 5, 3))
    for solver in (linfa.Gauss(5.0, 3), linfa.Gauss(5.0, 3, rtol=1e-6), linfa.Projected(5.0, 3)):
        run = linfa.solve(linfa.Full(net, linfa.Backprop()), teacher(), solver)
        assert all(norm(W) == 0 for W in run.weights(-1))
        assert run.status == "finished"


# Batches and backends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    [
        linfa.Gauss(1.0, 10, saves=2),
        linfa.Gauss(1.0, 5, stages=3, rtol=1e-5, saves=2),
        linfa.Gauss(2.0, 4, saves=2),
        linfa.Conservative(2.0, 40, saves=2),
        linfa.Projected(2.0, 20, saves=2),
    ],
    ids=["gauss", "adaptive", "newton", "conservative", "projected"],
)
def test_a_batch_is_its_members_one_by_one(solver):
    batch, members = batch_of()
    together = linfa.solve(batch, teacher(), solver, laws=[MATRIX])
    assert within_bounds(together, [MATRIX])
    for i, member in enumerate(members):
        alone = linfa.solve(member, teacher(), solver).weights(-1)
        assert distance([W[i] for W in together.weights(-1)], alone) < 1e-11


@pytest.mark.parametrize("solver", [linfa.Gauss(2.0, 5, saves=5), linfa.Conservative(2.0, 10, saves=5)], ids=["g", "c"])
def test_one_member_that_is_lost_leaves_the_others_as_they_are(solver):
    batch, members = batch_of(grown=(2,))
    run = linfa.solve(batch, teacher(), solver, laws=[MATRIX])
    assert run.summary.startswith("1 of 4 lost: member 2 ")
    assert "take more steps" in run.summary
    assert np.isnan(run.loss.values[-1, 2])
    for i in (0, 1, 3):
        alone = linfa.solve(members[i], teacher(), solver)
        assert np.allclose(run.loss.values[:, i], alone.loss.values, rtol=1e-11)
    with pytest.raises(linfa.DivergenceError, match="take more steps"):
        linfa.solve(members[2], teacher(), solver)


def test_each_member_of_a_batch_takes_its_own_steps():
    batch, members = batch_of(members=2)
    fast = linfa.Full(linfa.Weights(tuple(np.stack([W[0], 3 * W[1]]) for W in batch.weights)), batch.rule)
    solver = linfa.Gauss(1.0, 5, rtol=1e-5, saves=1)
    run = linfa.solve(fast, teacher(), solver)
    for i, scale in enumerate((1, 3)):
        net = linfa.Weights(tuple(scale * W for W in members[i].weights))
        alone = linfa.solve(linfa.Full(net, batch.rule), teacher(), solver)
        assert distance([W[i] for W in run.weights(-1)], alone.weights(-1)) < 1e-10


@pytest.mark.parametrize(
    "solver",
    [
        linfa.Gauss(1.0, 10, saves=2),
        linfa.Gauss(2.0, 4, saves=2),
        linfa.Gauss(1.0, 5, rtol=1e-4, saves=2),
        linfa.Conservative(2.0, 40, saves=2),
        linfa.Projected(2.0, 20, saves=2),
    ],
    ids=["gauss", "newton", "adaptive", "conservative", "projected"],
)
def test_torch_gives_what_numpy_gives(solver):
    torch = pytest.importorskip("torch")
    batch, _ = batch_of(members=2)

    def moved(arrays, dtype):
        return tuple(torch.as_tensor(a, dtype=dtype) for a in arrays)

    expected = linfa.solve(batch, teacher(), solver).weights(-1)
    for dtype, slack in ((torch.float64, 1e-11), (torch.float32, 1e-2)):
        net = linfa.Weights(moved(batch.weights, dtype))
        system = linfa.Full(net, linfa.FeedbackAlignment(moved(batch.rule.matrices, dtype)))
        run = linfa.solve(system, teacher(), solver, laws=[MATRIX])
        assert run.dataset["W_1"].dtype == to_numpy(net[0]).dtype
        assert distance(run.weights(-1), expected) < slack
        assert within_bounds(run, [MATRIX])


# Projection --------------------------------------------------------------------------------------------------------


COUNTED = [(2, 3, 2), (3, 4, 3), (3, 2, 3), (1, 3, 1), (2, 3, 3, 2), (3, 2, 2, 3), (2, 3, 1, 2), (3, 4, 2, 3)]


@pytest.mark.parametrize("widths", COUNTED)
@pytest.mark.parametrize("rule", ["fa", "dfa", "bp"])
def test_the_laws_projected_onto_are_all_there_are(widths, rule):
    net = linfa.Weights.standard(widths, 0)
    state = State(net.matrices)
    assert Surface.through(rule_of(rule, net, 1), state).rank(state) == linfa.laws.count(widths, rule)


@given(drawn=systems(SMOOTH, depth=(2, 3), width=(1, 5)), by=st.sampled_from([1e-2, 1e-4, 1e-8]), seed=seeds)
def test_projection_restores_the_laws_to_rounding_with_the_smallest_change(drawn, by, seed):
    system, _ = drawn
    rng, start = np.random.default_rng(seed), system.start()
    surface = Surface.through(system.rule, start)
    push = start.map(lambda a: by * rng.standard_normal(a.shape) * np.abs(a).max())
    off = start.plus(1.0, push)
    with shapes_unchecked():
        try:
            back = surface.project(off)
        except linfa.DivergenceError:
            assume(False)
    assert surface.distance(back) <= 1e3 * np.finfo(float).eps * (1 + surface.scale(back))
    # The way back is no longer than the way that led off, to first order.
    moved = float(sizes(back.plus(-1.0, off), ()))
    assert moved <= (1 + 10 * by) * float(sizes(push, ())) + 1e-12


@pytest.mark.parametrize("rule", ["fa", "bp", "dfa", "kp", "usf"])
def test_projected_steps_keep_every_law_that_the_steps_alone_lose(rule):
    system, task = system_of(rule), teacher()
    laws = laws_of(system.rule)
    run = linfa.solve(system, task, linfa.Projected(2.0, 20, order=1), laws=laws)
    assert within_bounds(run, laws)
    plain = linfa.solve(system, task, linfa.Descent(0.1, 20))
    assert max(float(law.drift(plain).max()) for law in laws) > 1e-3
    assert max(float(law.drift(run).max()) for law in laws) < 40 * np.finfo(float).eps


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in linfa.rules.REGISTRY if n not in FIXED])
def test_the_conservative_step_refuses_paths_that_move(name):
    with pytest.raises(linfa.NoLawError, match="use Gauss"):
        linfa.solve(system_of(name), teacher(), linfa.Conservative(1.0, 10))


@pytest.mark.parametrize("solver", [linfa.Gauss(1.0, 10), linfa.Projected(1.0, 10)], ids=["gauss", "projected"])
def test_continuous_time_refuses_feedback_that_is_drawn_at_every_step(solver):
    with pytest.raises(linfa.InputError, match="step"):
        linfa.solve(system_of("brsf"), teacher(), solver)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: linfa.Gauss(0.0, 10), "end of time"),
        (lambda: linfa.Gauss(-1.0, 10), "end of time"),
        (lambda: linfa.Gauss(math.nan, 10), "end of time"),
        (lambda: linfa.Gauss(1.0, 0), "steps"),
        (lambda: linfa.Gauss(1.0, 10, saves=0), "saves"),
        (lambda: linfa.Gauss(1.0, 10, stages=4), "1, 2 or 3 stages; got 4"),
        (lambda: linfa.Gauss(1.0, 10, stages=0), "1, 2 or 3 stages; got 0"),
        (lambda: linfa.Gauss(1.0, 10, rtol=0.0), "rtol"),
        (lambda: linfa.Gauss(1.0, 10, rtol=math.inf), "rtol"),
        (lambda: linfa.Conservative(-1.0, 10), "end of time"),
        (lambda: linfa.Conservative(1.0, 0), "steps"),
        (lambda: linfa.Conservative(1.0, 10, order=3), "order 1 or 2; got 3"),
        (lambda: linfa.Projected(math.inf, 10), "end of time"),
        (lambda: linfa.Projected(1.0, -1), "steps"),
        (lambda: linfa.Projected(1.0, 10, order=3), "order 1, 2 or 4; got 3"),
    ],
)
def test_a_value_out_of_range_is_refused(make, says):
    with pytest.raises(linfa.InputError, match=says):
        make()


def test_what_a_solver_cannot_do_is_said_with_what_to_do_instead():
    net = linfa.Weights.standard((4, 6, 3), 0)
    free = linfa.WidthFree(net, linfa.FeedbackAlignment.random(net, 1))
    for solver in (linfa.Conservative(1.0, 5), linfa.Projected(1.0, 5)):
        with pytest.raises(linfa.InputError, match="use Gauss"):
            linfa.solve(free, teacher(), solver)
    wide = linfa.Weights.standard((4, 900, 3), 0)
    with pytest.raises(linfa.InputError, match="use Gauss or Conservative"):
        linfa.solve(linfa.Full(wide, linfa.Backprop()), teacher(), linfa.Projected(1.0, 5))
    with pytest.raises(linfa.NoLawError, match="no law"):
        linfa.solve(system_of("usf-sn"), teacher(), linfa.Projected(1.0, 5))


def test_divergence_says_when_where_and_what_to_do():
    system, task = system_of(scale=3.0), task_of(4, 3, scale=10.0)
    with pytest.raises(linfa.DivergenceError, match=r"W_\d is no longer finite at t = .*: take more steps"):
        linfa.solve(system, task, linfa.Conservative(100.0, 100))
    with pytest.raises(linfa.DivergenceError, match=r"stopped at t = .* of length 1 .* take more steps"):
        linfa.solve(system, task, linfa.Gauss(100.0, 100))
    with pytest.raises(linfa.DivergenceError, match="take more steps"):
        linfa.solve(system, task, linfa.Projected(100.0, 100))


# The study ---------------------------------------------------------------------------------------------------------


def test_the_study_measures_what_it_claims():
    from sims import integrators as study

    flow = study.Problem("digits", 200, (64, 5, 4, 10), "fa", t=0.2)
    long = linfa.Flow(flow.t, rtol=1e-3, atol=1e-6, method="RK45", saves=1)
    euler, gauss, common = (
        study.compute(study.Cell(flow, name, solver))
        for name, solver in (
            ("Euler", study.stepper("Euler", flow.t, 80)),
            ("Gauss 2", study.stepper("Gauss 2", flow.t, 10)),
            ("RK45", long),
        )
    )
    assert float(gauss.drift.max()) < 40 * np.finfo(float).eps < 1e-12 < float(common.drift.max())
    assert float(gauss.error) < 1e-5 < float(euler.error)
    # D2 holds for small steps; the next term is of relative size h times the speed of the flow.
    assert abs(float(euler.drift[-1] / euler.predicted[-1]) - 1) < 0.1
    for fast in (True, False):
        cells = study.cells(fast)
        assert len(set(cells)) == len(cells)
        assert {cell.method for cell in cells} == {*study.ORDERS, *study.ADAPTIVE}
