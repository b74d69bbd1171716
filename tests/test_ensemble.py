"""A batch of networks is its members one by one: each with its own steps, its own end, and a status that says which."""

import re
import sys

import numpy as np
import pytest

import linfa
from linfa.arrays import to_numpy
from linfa.rules import State
from linfa.solvers.explicit import PAIRS, Paces, Pair
from linfa.solvers.members import summary
from linfa.solvers.outlook import Outlook
from tests.strategies import rule_of
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
WIDTHS = (4, 6, 5, 3)
EQUAL = {
    "descent": linfa.Descent(0.1, 20, momentum=0.5, saves=4),
    "conservative": linfa.Conservative(2.0, 20, saves=4),
    "gauss": linfa.Gauss(2.0, 10, saves=4),
    "projected": linfa.Projected(2.0, 8, saves=4),
}
ADAPTIVE = {
    "flow": linfa.Flow(2.0, saves=4),
    "flow RK45": linfa.Flow(2.0, rtol=1e-7, atol=1e-9, method="RK45", saves=4),
    "flow RK23": linfa.Flow(2.0, rtol=1e-3, atol=1e-5, method="RK23", saves=4),
    "gauss adaptive": linfa.Gauss(2.0, 10, rtol=1e-3, saves=4),
}
SOLVERS = EQUAL | ADAPTIVE


class Uphill(linfa.Backprop):
    """Gradient ascent: with two layers ẇ grows as w³, which reaches infinity in finite time."""

    def signals(self, state, delta):
        return tuple(-d for d in super().signals(state, delta))


def teacher():
    return linfa.Task.teacher(4, 3, 2, input_spectrum=[0.5, 1.0, 1.5, 2.0])


def stacked(nets):
    return linfa.Weights(tuple(np.stack([net[l] for net in nets]) for l in range(len(nets[0]))))


def batch_of(scales=(0.7, 0.6, 0.7, 0.5), rule="fa"):
    """Return a batch of networks under one rule, and its members as systems of their own."""
    nets = [linfa.Weights.standard(WIDTHS, i, scale=scale) for i, scale in enumerate(scales)]
    rule = rule_of(rule, nets[0], 9)
    return linfa.Full(stacked(nets), rule), [linfa.Full(net, rule) for net in nets]


def uphill(starts):
    """Return two-layer chains w_2 w_1 that run away from y = x, the sooner the larger their start."""
    nets = [linfa.Weights((np.full((1, 1), a), np.full((1, 1), a))) for a in starts]
    return linfa.Full(stacked(nets), Uphill()), [linfa.Full(net, Uphill()) for net in nets]


LINE = linfa.Task.from_samples(np.ones((1, 1)), np.ones((1, 1)))


def with_a_loser(name):
    """Return a batch whose third member is lost under a solver, the same without losers, its members, and the task."""
    if name in ADAPTIVE:
        return *uphill((0.3, 0.9, 2.0, 0.5)), uphill((0.3, 0.9, 0.4, 0.5))[0], LINE
    lost, members = batch_of((0.7, 0.6, 4e4 if name == "projected" else 40.0, 0.5))
    return lost, members, batch_of()[0], teacher()


# Who is lost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_one_member_that_diverges_is_named_and_the_others_do_not_notice(name):
    solver, (batch, members, well, task) = SOLVERS[name], with_a_loser(name)
    run, untroubled = (linfa.solve(system, task, solver) for system in (batch, well))
    assert run.lost.values.tolist() == [False, False, True, False]
    assert [run.status.values[i] for i in (0, 1, 3)] == ["finished"] * 3
    assert run.status.values[2].startswith(("diverged: ", "stopped at t = "))
    assert run.status.dims == run.reached.dims == run.lost.dims == ("member_0",)
    assert run.summary == f"1 of 4 lost: member 2 {run.status.values[2]}"
    end = run.times.values[-1]
    assert run.reached.values[[0, 1, 3]] == pytest.approx(end)
    assert 0 <= run.reached.values[2] < end
    # What there was before it was lost is there, and nothing after.
    assert np.array_equal(np.isfinite(run.loss.values[:, 2]), run.times.values <= run.reached.values[2])
    assert len(run) == len(untroubled)
    for i in (0, 1, 3):
        for k in range(len(run)):
            mine, theirs = ([W[i] for W in r.weights_of(k)] for r in map(Rows, (run, untroubled)))
            for a, b in zip(mine, theirs, strict=True):
                # The sweeps of Gauss go on until all members that can be solved are; the others are bit for bit.
                assert np.array_equal(a, b) if "gauss" not in name else norm(a - b) <= rounding(200, 1 + norm(b))
        alone = linfa.solve(members[i], task, solver)
        for a, b in zip([W[i] for W in Rows(run).weights_of(-1)], alone.state(-1).weights, strict=True):
            assert norm(a - b) <= rounding(10**4, 1 + norm(b))
    with pytest.raises(linfa.DivergenceError) as caught:
        linfa.solve(members[2], task, solver)
    assert str(caught.value).startswith(("the run diverged: ", "the run stopped at t = "))
    partial = caught.value.partial
    assert partial.status == str(caught.value).removeprefix("the run ")
    assert bool(partial.lost)
    assert 1 <= len(partial) < len(run)
    assert np.isfinite(partial.loss.values).all()


class Rows:
    """The states of a run in which some members are nan, which Weights refuse."""

    def __init__(self, run):
        self.run = run

    def weights_of(self, k):
        return self.run.coordinates(k).weights


@pytest.mark.parametrize("name", SOLVERS)
def test_where_all_are_lost_the_error_says_so_and_carries_what_there_was(name):
    if name in ADAPTIVE:
        batch, task = uphill((2.0, 3.0, 2.5, 4.0, 2.2))[0], LINE
    else:
        batch, task = batch_of((4e4 if name == "projected" else 40.0,) * 5)[0], teacher()
    with pytest.raises(linfa.DivergenceError, match=r"^5 of 5 lost: member 0 .*; member 2 .*; and 2 more$") as caught:
        linfa.solve(batch, task, SOLVERS[name])
    partial = caught.value.partial
    assert partial.lost.values.all()
    assert np.isfinite(partial.loss.values[0]).all()


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_a_width_free_batch_loses_whom_the_full_one_loses(decay):
    batch, *_, task = with_a_loser("descent")
    how = linfa.Descent(0.1, 20, momentum=0.5, decay=decay, saves=4)
    full, free = (linfa.solve(s(batch.weights, batch.rule), task, how) for s in (linfa.Full, linfa.WidthFree))
    assert full.lost.values.tolist() == free.lost.values.tolist() == [False, False, True, False]
    for i in (0, 1, 3):
        assert np.all(np.abs(full.loss.values[:, i] - free.loss.values[:, i]) <= rounding(10**4, 1.0))
        assert np.isfinite(free.dataset["layer_law"].values[:, i]).all()
    gone = free.times.values > free.reached.values[2]
    assert gone.any()
    shown = {"loss", "weight_alignment"}
    for run, names in ((full, {*shown, "W_1", "update_alignment"}), (free, {*shown, "Phi", "R_1", "layer_law"})):
        for name in names:
            values = run.dataset[name].values[:, 2].reshape(len(run), -1)
            assert np.array_equal(np.isnan(values).all(1), gone), name
    alone = linfa.WidthFree(linfa.Weights(tuple(W[2] for W in batch.weights)), batch.rule)
    with pytest.raises(linfa.DivergenceError, match=r"learning rate 0\.1 is too large"):
        linfa.solve(alone, task, how)


def test_a_blow_up_is_where_the_solution_has_its_pole():
    """ẇ = w³ − w from w(0) = a > 1 reaches infinity at t = ½ log a²/(a² − 1); all members of one batch in turn."""
    a = np.array([1.5, 2.0, 3.0, 1.01])
    run = linfa.solve(uphill(a)[0], LINE, linfa.Flow(1.5, saves=30))
    poles = 0.5 * np.log(a**2 / (a**2 - 1))
    assert run.lost.values.tolist() == [True, True, True, False]
    assert run.reached.values[:3] == pytest.approx(poles[:3], rel=1e-6)
    exact = (1 + (1 / a[3] ** 2 - 1) * np.exp(2 * run.times.values)) ** -0.5
    assert run.dataset["W_1"].values[:, 3, 0, 0] == pytest.approx(exact, rel=1e-6)


def test_one_member_without_a_solution_does_not_take_those_that_need_newton_with_it():
    batch, members = batch_of((0.7, 0.7, 40.0, 0.7))
    solver = linfa.Gauss(4.0, 4, saves=2)
    run = linfa.solve(batch, teacher(), solver)
    assert run.lost.values.tolist() == [False, False, True, False]
    for i in (0, 1, 3):
        alone = linfa.solve(members[i], teacher(), solver)
        assert np.allclose(run.loss.values[:, i], alone.loss.values, rtol=1e-10)


# Statuses ----------------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_statuses_on_disc(tmp_path):
    batch, *_, task = with_a_loser("descent")
    runs = [linfa.solve(batch, task, EQUAL["descent"])]
    runs.append(linfa.solve(batch_of()[1][0], teacher(), linfa.Flow(1.0, saves=2)))
    for number, run in enumerate(runs):
        back = linfa.Trajectory.load(run.save(tmp_path / f"{number}.nc"))
        assert back.dataset.identical(run.dataset)
        assert back.dataset["status"].dtype == run.dataset["status"].dtype
        assert np.array_equal(back.status, run.status)
        assert np.array_equal(back.reached, run.reached)
        assert repr(back) == repr(run)
    assert runs[1].status == "finished"
    assert float(runs[1].reached) == 1.0


def test_a_summary_names_the_first_few_and_counts_the_rest():
    words = ["finished"] * 6
    assert summary(np.array(words)) == "finished"
    assert summary(np.array("step cap reached at t = 1")) == "step cap reached at t = 1"
    words[1:4] = ["diverged: a", "steady", "step cap reached at t = 2"]
    told = "1 of 6 lost: member 0, 1 diverged: a; 1 stopped by the step cap; 1 steady"
    assert summary(np.array(words).reshape(2, 3)) == told
    assert summary(np.array(["steady", "finished"])) == "1 of 2 steady"


@pytest.mark.parametrize("name", ADAPTIVE)
def test_steps_that_run_out_leave_a_partial_run_with_its_status(name):
    import dataclasses

    solver = dataclasses.replace(ADAPTIVE[name], max_steps=3)
    run = linfa.solve(batch_of()[1][0], teacher(), solver)
    assert run.status.startswith(f"step cap reached at t = {float(run.reached):g}: max_steps is too small")
    assert not bool(run.lost)
    assert 0 < float(run.reached) < 2.0
    assert float(run.times[-1]) == float(run.reached)
    assert np.isfinite(run.loss.values).all()


def test_each_member_has_its_own_steps_to_spend():
    batch, _ = batch_of((0.1, 0.1, 6.0, 0.1))
    run = linfa.solve(batch, teacher(), linfa.Flow(0.4, rtol=1e-6, saves=2, max_steps=12))
    assert [word.split(" at ")[0] for word in run.status.values] == [
        "finished",
        "finished",
        "step cap reached",
        "finished",
    ]
    assert not run.lost.any()
    assert np.array_equal(np.isfinite(run.loss.values[:, 2]), run.times.values <= run.reached.values[2])
    assert np.isfinite(run.loss.values[:, [0, 1, 3]]).all()


def test_a_flow_that_is_far_too_stiff_for_its_end_stops_early_and_says_so(monkeypatch):
    """Large weights make the flow fast: with the steps there are it would come to a thousandth of t."""
    monkeypatch.setattr(Outlook, "LOOK", 200)

    def solved(members=None, **options):
        net = linfa.WidthFree.gaussian((3, 40, 40, 2), rng=0, weight_scale=30.0, members=members)
        return linfa.solve(net, linfa.Task.teacher(3, 2, rng=1), linfa.Flow(2000.0, rtol=1e-4, atol=1e-6, **options))

    run = solved()
    message = (
        rf"^step cap foreseen at t = {float(run.reached):g}: at its pace t = 2000 is more than 100 times max_steps"
    )
    assert re.match(message, run.status)
    assert 2 * Outlook.LOOK <= run.dataset.attrs["steps"] <= 5 * Outlook.LOOK
    assert not bool(run.lost)
    assert 0 < float(run.reached) == float(run.times[-1])
    # What it did until then is what it does where the steps end there.
    short = solved(max_steps=run.dataset.attrs["steps"])
    assert short.status.startswith("step cap reached at t = ")
    assert np.array_equal(short.loss.values, run.loss.values)
    # A stiff method, as it advises, comes to the end.
    assert solved(method="Radau", saves=4).status == "finished"
    members = solved(members=2)
    assert all(word.startswith("step cap foreseen") for word in members.status.values)
    assert members.summary == "2 of 2 stopped by the step cap"


def test_who_looks_for_rest_or_takes_long_steps_there_is_not_stopped_early(monkeypatch):
    monkeypatch.setattr(Outlook, "LOOK", 20)
    system, task = batch_of()[1][0], teacher()

    def ended(**options):
        return linfa.solve(
            system, task, linfa.Flow(1e9, rtol=1e-3, atol=1e-6, saves=2, max_steps=200, **options)
        ).status

    assert ended().startswith("step cap foreseen at t = ")
    assert ended(steady=1e-30).startswith("step cap reached at t = ")
    assert ended(method="Radau") == "finished"


def looks(pace, end=1.0, most=10_000, steps=10_000):
    """Return after which steps of given lengths the end was out of reach."""
    outlook, time = Outlook(end, most, ()), np.asarray(0.0)
    found = []
    for k in range(1, steps + 1):
        time = time + pace(k)
        if outlook.out_of_reach(time, np.asarray(k)):
            found.append(k)
    return found


def test_an_end_is_out_of_reach_where_the_pace_stays_and_it_is_far():
    allowed = 1.0 / (Outlook.BEYOND * 10_000)
    assert looks(lambda k: 0.9 * allowed)[0] == 2 * Outlook.LOOK
    # A pace that is just long enough is never given up, nor one that doubles from look to look.
    assert looks(lambda k: 1.1 * allowed) == []
    assert looks(lambda k: 1e-3 * allowed * 2.1 ** (k / Outlook.LOOK)) == []
    assert looks(lambda k: 1e-3 * allowed * 1.9 ** (k / Outlook.LOOK))[0] == 2 * Outlook.LOOK
    assert looks(lambda k: 1e-3 * allowed, steps=2 * Outlook.LOOK - 1) == []


def test_each_member_has_its_own_outlook():
    outlook, lengths = Outlook(1.0, 10_000, (3,)), np.array([1e-9, 1e-5, 1e-9])
    taken, gone = np.zeros(3, dtype=int), []
    for k in range(2 * Outlook.LOOK + 500):
        taken = taken + np.array([1, 1, k >= 500])
        gone.append(outlook.out_of_reach(lengths * taken, taken))
    first = [np.flatnonzero(column).tolist() for column in np.array(gone).T]
    assert first == [[2 * Outlook.LOOK - 1], [], [2 * Outlook.LOOK + 499]]


def test_the_bar_moves_with_the_steps_where_time_does_not(monkeypatch):
    shown = []
    monkeypatch.setattr(sys.modules["linfa.solve"]._Seen, "advance", lambda self, fraction: shown.append(fraction))
    net = linfa.WidthFree.gaussian((3, 40, 40, 2), rng=0, weight_scale=30.0)
    linfa.solve(net, linfa.Task.teacher(3, 2, rng=1), linfa.Flow(20.0, max_steps=100, saves=2))
    assert shown[:100] == [k / 100 for k in range(1, 101)]
    shown.clear()
    run = linfa.solve(batch_of()[0], teacher(), linfa.Flow(1.0, rtol=1e-4, saves=4))
    assert run.summary == "finished"
    assert shown == sorted(shown)
    assert shown[-1] == 1.0


@pytest.mark.parametrize(
    "solver",
    [
        linfa.Flow(400.0, saves=40, steady=1e-5),
        linfa.Gauss(100.0, 100, saves=40, steady=1e-5),
        linfa.Gauss(400.0, 800, rtol=1e-4, saves=40, steady=1e-5),
        linfa.Conservative(100.0, 500, saves=40, steady=1e-5),
    ],
    ids=["flow", "gauss", "gauss adaptive", "conservative"],
)
def test_a_member_at_rest_stays_there_while_others_go_on(solver):
    """One member starts at the solution of the linear task; the run ends when the last one rests."""
    task = teacher()
    nets = [linfa.Weights((a * np.eye(3, 4),)) for a in (0.5, 2.0)]
    nets.insert(1, linfa.Weights((task.cross @ np.linalg.inv(task.second),)))
    batch = linfa.Full(stacked(nets), rule_of("fa", nets[0]))
    run = linfa.solve(batch, task, solver)
    assert run.status.values.tolist() == ["steady"] * 3
    assert run.summary == "steady"
    reached = run.reached.values
    assert reached[1] < min(reached[0], reached[2])
    assert max(reached) == float(run.times[-1]) < 400.0
    for k in range(len(run)):
        state = run.coordinates(k)
        if run.times.values[k] >= reached[1]:
            assert np.array_equal(state.weights[0][1], run.coordinates(-1).weights[0][1])
    # Where it stopped, the flow is as slow as was asked for, and was not a moment before.
    end = run.coordinates(-1)
    speeds = norm(batch.velocity(end, batch.passes(end, task.everything(end.weights[0]))).weights[0], axis=(-2, -1))
    assert np.all(speeds <= 1e-5 * (1 + norm(end.weights[0], axis=(-2, -1))))
    assert speeds[0] > 1e-6
    moving = linfa.solve(batch, task, type(solver)(**{**vars(solver), "steady": None, "t": 1.0}))
    assert moving.summary == "finished"


@pytest.mark.parametrize(
    "solver",
    [
        linfa.Flow(3.0, saves=30, steady=1e-6),
        linfa.Gauss(3.0, 300, saves=30, steady=1e-6),
        linfa.Gauss(3.0, 300, rtol=1e-4, saves=30, steady=1e-6),
    ],
    ids=["flow", "gauss", "gauss adaptive"],
)
def test_one_at_rest_and_another_lost_later_leave_their_moments_in_order(solver):
    """w_2w_1 = 0 rests on y = x at once; 1.01² runs away, beyond what was recorded of the one at rest."""
    run = linfa.solve(uphill((0.0, 1.01))[0], LINE, solver)
    assert run.status.values[0] == "steady"
    assert run.lost.values.tolist() == [False, True]
    assert np.all(np.diff(run.times.values) > 0)
    assert run.reached.values[0] < 0.1 < 1.8 < float(run.times[-1]) <= 3.0
    assert f"→ {run.loss.values[-1, 0]:.4g} on average over 1" in repr(run)


@pytest.mark.parametrize(
    "solver",
    [
        linfa.Flow(100.0, saves=400, steady=1e-5),
        linfa.Gauss(100.0, 400, saves=400, steady=1e-5),
        linfa.Conservative(100.0, 400, saves=400, steady=1e-5),
    ],
    ids=["flow", "gauss", "conservative"],
)
def test_no_moment_is_recorded_twice(solver):
    task = teacher()
    net = linfa.Weights((1.0001 * task.cross @ np.linalg.inv(task.second),))
    run = linfa.solve(linfa.Full(net, rule_of("fa", net)), task, solver)
    assert run.status == "steady"
    assert np.all(np.diff(run.times.values) > 0)


# Observables -------------------------------------------------------------------------------------------------------


def test_observables_of_members_that_are_lost_are_nan():
    batch, members, _, task = with_a_loser("descent")
    observe = {
        "size": lambda W: norm(W[0], axis=(-2, -1)),
        "spectrum": lambda W: np.linalg.svd(W.products()[-1])[1],
        "total": lambda W: float(norm(W[0])),
        "rank": lambda W: np.linalg.matrix_rank(W[0]),
    }
    run = linfa.solve(batch, task, EQUAL["descent"], observe=observe)
    gone = run.times.values > run.reached.values[2]
    assert gone.any()
    assert not gone.all()
    for name in ("size", "spectrum", "rank"):
        assert run.dataset[name].dims[:2] == ("time", "member_0")
        assert np.array_equal(np.isnan(run.dataset[name].values[:, 2]).reshape(len(run), -1).all(1), gone)
        assert np.isfinite(run.dataset[name].values[:, [0, 1, 3]]).all()
    # What mixes the members says nothing once one of them is gone.
    assert np.array_equal(np.isnan(run.dataset["total"].values), gone)
    alone = linfa.solve(members[0], task, EQUAL["descent"], observe=observe)
    for name in ("size", "spectrum"):
        assert np.allclose(run.dataset[name].values[:, 0], alone.dataset[name].values, rtol=1e-12)
    with pytest.raises(linfa.InputError, match="bad gave"):
        linfa.solve(batch, task, EQUAL["descent"], observe={"bad": lambda W: W[0][:, 0, 0] * [1, np.nan, 1, 1]})


# The batched flow --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", PAIRS)
@pytest.mark.parametrize("rule", ["fa", "kp"])
def test_a_batch_takes_the_steps_that_scipy_takes_with_each_member(method, rule):
    batch, members = batch_of((0.7, 1.5, 0.3, 1.0), rule)
    flow = linfa.Flow(1.0, rtol=1e-6, atol=1e-8, method=method, saves=3)
    together = linfa.solve(batch, teacher(), flow, laws=[linfa.laws.NeuronLaw()])
    alone = [linfa.solve(member, teacher(), flow, laws=[linfa.laws.NeuronLaw()]) for member in members]
    assert together.dataset.attrs["steps"] == max(run.dataset.attrs["steps"] for run in alone)
    for i, run in enumerate(alone):
        for k in range(len(run)):
            for a, b in zip(together.state(k).weights, run.state(k).weights, strict=True):
                assert norm(a[i] - b) <= rounding(1000, 1 + norm(b))
    residual, bound = (together.dataset[f"neuron_{part}"].values for part in ("residual", "bound"))
    assert np.all(residual <= bound)
    assert residual[-1].max() > 1e-13  # control: SciPy's methods let the laws drift


@pytest.mark.parametrize("method", PAIRS)
def test_one_step_errs_by_its_order_measured_over_one_batch(method):
    """Copies of one network, each with its own step: the local error is O(h^{order + 1}), the estimate's as claimed."""
    halves = (0.4 if method == "DOP853" else 0.1) / 2.0 ** np.arange(3)
    net = linfa.Weights.standard(WIDTHS, 0, scale=0.7)
    rule, task = linfa.FeedbackAlignment.random(net, 9), teacher()
    batch = linfa.Full(stacked([net] * 3), rule)
    pair = Pair.named(method)
    paces = Paces(pair, batch, task.everything(net[0]), batch.start(), 1e-9, 1e-12, 1.0)
    y, _ = paces._attempt(halves)
    estimates = np.array(paces._error(halves, y))
    errors = []
    for i, h in enumerate(halves):
        true = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(h, rtol=1e-13, atol=1e-16, saves=1)).state(-1)
        errors.append(norm(y[i] - np.concatenate([W.ravel() for W in true.weights])))
    claimed = {"DOP853": 8, "RK45": 5, "RK23": 3}[method]
    # Dormand and Prince made the leading term small, so that the next one, an order higher, still shows.
    assert claimed + 0.5 < np.log2(errors[1] / errors[2]) < claimed + 1.9
    assert pair.order + 0.3 < np.log2(estimates[1] / estimates[2]) < pair.order + 1.9


def test_a_tighter_tolerance_is_a_more_accurate_batch():
    batch, members = batch_of()
    true = [linfa.solve(m, teacher(), linfa.Flow(2.0, rtol=1e-13, saves=1)).weights(-1)[0] for m in members]
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8):
        run = linfa.solve(batch, teacher(), linfa.Flow(2.0, rtol=rtol, atol=rtol, saves=1, method="RK45"))
        errors.append(norm(run.weights(-1)[0] - np.stack(true), axis=(-2, -1)))
    assert np.all(errors[0] > 10 * errors[1])
    assert np.all(errors[1] > 10 * errors[2])


def test_a_batch_at_rest_stays_at_rest_and_batches_may_have_any_shape():
    zero = linfa.Weights(tuple(np.zeros((2, 3, *W.shape)) for W in linfa.Weights.standard(WIDTHS, 0)))
    run = linfa.solve(linfa.Full(zero, linfa.Backprop()), teacher(), linfa.Flow(5.0, saves=2))
    assert all(norm(W) == 0 for W in run.weights(-1))
    nets = linfa.Weights(tuple(W.reshape(2, 2, *W.shape[1:]) for W in batch_of()[0].weights))
    square = linfa.solve(linfa.Full(nets, batch_of()[0].rule), teacher(), ADAPTIVE["flow"])
    row = linfa.solve(batch_of()[0], teacher(), ADAPTIVE["flow"])
    assert square.status.shape == (2, 2)
    assert np.array_equal(square.loss.values.reshape(-1, 4), row.loss.values)


def test_a_drawn_ensemble_flows_in_one_call_and_keeps_its_layer_law():
    """The coordinates of the flow have no law to break; finite steps in the plain coordinates are the control."""
    net = linfa.Weights.standard((4, 9, 8, 3), 0)
    nets = stacked([linfa.Weights.standard((4, 9, 8, 3), i) for i in range(3)])
    free = linfa.WidthFree(nets, linfa.FeedbackAlignment.random(net, 9))
    run = linfa.solve(free, teacher(), linfa.Flow(3.0, rtol=1e-3, atol=1e-3, method="RK23", saves=3))
    assert run.drifts["drift"].dims == ("law", "member_0", "hidden")
    assert run.drifts["law"].values.tolist() == ["layer"]
    assert float(run.drifts["residual"].max()) < rounding(200, 10.0)
    steps = linfa.solve(free, teacher(), linfa.Descent(0.1, 30))
    assert float(steps.drifts["drift"].max()) > 1e-4
    assert np.isnan(steps.drifts["residual"].values).all()


# Torch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("lead", [(), (4,)], ids=["one", "batch"])
def test_torch_gives_what_numpy_gives(name, lead):
    torch = pytest.importorskip("torch")
    batch, members = batch_of()
    system = batch if lead else members[1]
    moved = linfa.Full(
        system.weights.map(torch.as_tensor), linfa.FeedbackAlignment(tuple(map(torch.as_tensor, system.rule.matrices)))
    )
    runs = [linfa.solve(s, teacher(), SOLVERS[name]) for s in (system, moved)]
    assert runs[0].summary == runs[1].summary == "finished"
    for k in range(len(runs[0])):
        for a, b in zip(*(run.state(k).weights for run in runs), strict=True):
            assert norm(to_numpy(b) - a) <= rounding(10**4, 1 + norm(a))


def test_one_member_that_is_lost_leaves_the_others_as_they_are_on_torch():
    torch = pytest.importorskip("torch")
    for name in ("descent", "conservative", "flow"):
        batch, *_, task = with_a_loser(name)
        rule = batch.rule
        if name != "flow":
            rule = linfa.FeedbackAlignment(tuple(map(torch.as_tensor, rule.matrices)))
        moved = linfa.solve(linfa.Full(batch.weights.map(torch.as_tensor), rule), task, SOLVERS[name])
        run = linfa.solve(batch, task, SOLVERS[name])
        assert run.lost.values.tolist() == moved.lost.values.tolist() == [False, False, True, False]
        assert np.allclose(run.loss.values, moved.loss.values, rtol=1e-9, equal_nan=True)


def test_a_flow_finer_than_the_numbers_it_is_given_is_refused():
    torch = pytest.importorskip("torch")
    system = batch_of()[1][0]
    single = linfa.Full(
        system.weights.map(lambda W: torch.as_tensor(W, dtype=torch.float32)),
        linfa.FeedbackAlignment(tuple(torch.as_tensor(B, dtype=torch.float32) for B in system.rule.matrices)),
    )
    with pytest.raises(linfa.InputError, match=r"rtol = 1e-09 need more digits than torch.float32 has.*rtol ≥ 5e-05"):
        linfa.solve(single, teacher(), linfa.Flow(1.0))
    rough = linfa.Flow(1.0, rtol=1e-4, atol=1e-4, saves=2)
    run, fine = linfa.solve(single, teacher(), rough), linfa.solve(system, teacher(), linfa.Flow(1.0, saves=2))
    assert np.allclose(run.loss.values, fine.loss.values, rtol=1e-2)


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_stiff_methods_and_interpolants_are_for_one_network(method):
    with pytest.raises(linfa.InputError, match=f"{method} is for one network of NumPy arrays.*or Gauss"):
        linfa.solve(batch_of()[0], teacher(), linfa.Flow(1.0, method=method))
    with pytest.raises(linfa.InputError, match=r"dense=True is for one network of NumPy arrays.*raise saves"):
        linfa.solve(batch_of()[0], teacher(), linfa.Flow(1.0, dense=True))


WHOLE = {
    "descent": lambda n: linfa.Descent(0.1, n),
    "conservative": lambda n: linfa.Conservative(1.0, n),
    "projected": lambda n: linfa.Projected(1.0, n),
    "gauss": lambda n: linfa.Gauss(1.0, n),
    "flow": lambda n: linfa.Flow(1.0, max_steps=n),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("number", [0, -3, 2.5, 3.0, True, "7"])
def test_numbers_of_steps_are_whole_in_every_solver(name, number):
    with pytest.raises(linfa.InputError, match=r"must be whole numbers ≥ 1; got "):
        WHOLE[name](number)
    assert WHOLE[name](np.int64(3)) == WHOLE[name](3)


@pytest.mark.parametrize("t", [0.0, -1.0, np.nan, np.inf, True])
def test_the_end_of_time_is_a_positive_number_in_every_solver(t):
    for make in (
        linfa.Flow,
        *(lambda t, kind=kind: kind(t, 5) for kind in (linfa.Gauss, linfa.Conservative, linfa.Projected)),
    ):
        with pytest.raises(linfa.InputError, match="end of time must be finite and > 0"):
            make(t)


@pytest.mark.parametrize("steady", [0.0, -1e-9, np.nan])
def test_a_speed_that_is_never_met_is_refused(steady):
    for make in (
        linfa.Flow,
        *(lambda t, steady, kind=kind: kind(t, 5, steady=steady) for kind in (linfa.Gauss, linfa.Conservative)),
    ):
        with pytest.raises(linfa.InputError, match="steady must be > 0, or None"):
            make(1.0, steady=steady)


# What a run says of itself -----------------------------------------------------------------------------------------


def test_a_run_says_in_a_few_lines_what_it_was():
    law, (batch, members) = linfa.laws.MatrixLaw(), batch_of()
    steps = linfa.Descent(0.1, 20, saves=4)
    run = linfa.solve(members[0], teacher(), steps, laws=[law, linfa.laws.NeuronLaw()])
    drift, residual = (float(a.max()) for a in (law.drift(run), law.residual(run)))
    lines = repr(run).split("\n")
    assert lines[0] == "Full under fa, one network, by Descent over 0 ≤ t ≤ 2: 5 moments, 20 steps"
    assert lines[1:3] == ["  status  finished", f"  loss    {run.loss.values[0]:.4g} → {run.loss.values[-1]:.4g}"]
    assert lines[3] == f"  law     matrix: drift {drift:.1e}, residual {residual:.1e}, relative to its terms"
    assert lines[4].startswith("  law     neuron: ")
    assert residual < 1e-14 < 1e-4 < drift
    assert run.drifts["law"].values.tolist() == ["matrix", "neuron"]
    together = linfa.solve(batch, teacher(), steps, laws=[law])
    assert np.allclose(together.drifts["drift"].values[0, 0], run.drifts["drift"].values[0], rtol=1e-9)
    assert "4 networks, by Descent" in repr(together)
    assert "none was watched" in repr(linfa.solve(batch, teacher(), steps))


def test_a_state_is_split_into_its_parts_and_put_together_again():
    state = State((np.ones((2, 1, 3)),), (np.zeros((2, 1, 1)),))
    from linfa.solvers.ensemble import Layout

    layout = Layout(state, (2,))
    assert layout.rows(state).shape == (2, 4)
    assert all(np.array_equal(a, b) for a, b in zip(layout.state(layout.rows(state)), state, strict=True))
