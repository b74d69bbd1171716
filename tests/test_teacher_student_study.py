"""The study of teachers and students: equations within the simulation's error, frequencies within their law."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import linfa
from linfa.systems.teacher_student import recovery_probability
from sims.teacher_student import LEARNT, PARAMETERS, RARE, Breaking, Course, Deep, Orders, RandomTargets, Recovery

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")


def test_the_equations_are_the_mean_of_the_runs_and_other_equations_are_not():
    cell = Orders((1.0, -0.7, 0.5), 2, 200, 6.0, repeats=24)
    right = cell.measure()
    assert float(right["largest"]) < float(right["allowed"])
    # The control: equations of a rate a quarter larger, from the same start, against the same runs.
    faster = replace(cell, learning_rate=1.25 * cell.learning_rate, repeats=2).measure()
    wrong = right.assign({f"solved_{name}": faster[f"solved_{name}"] for name in PARAMETERS})
    assert np.array_equal(faster["solved_Q"][0], right["solved_Q"][0])
    assert Orders.largest(wrong)[0] > float(right["allowed"])


def test_feedback_breaks_the_degeneracy_that_backprop_leaves():
    free = Breaking((), starts=6, t=300.0).measure()
    assert len({tuple(s) for s in np.sign(free["v"][-1].values)}) > 1
    assert np.ptp(free["from_zero"].values) == 0
    bound = Breaking((1.0, -1.0), starts=6, t=300.0).measure()
    assert np.array_equal(free["v"][0], bound["v"][0])
    assert np.array_equal(np.sign(bound["v"][-1].values), np.broadcast_to((1.0, -1.0), (6, 2)))
    assert float(bound["from_zero"][-1]) < 0.1 * float(bound["from_zero"][0])


@pytest.mark.parametrize(("K", "members"), [(2, 24), (3, 8)])
def test_relu_recovers_with_the_probability_of_its_signs(K, members):
    """Whether one learns is decided by its signs; how many do is binomial, refused once in a million times."""
    data = Recovery(K, 2, members, 200.0).measure()
    learnt = data["error"].values < LEARNT
    assert np.array_equal(learnt, data["positive"].values >= 2)
    # Nobody is in between, so that the threshold decides nothing.
    assert not np.any((data["error"].values > LEARNT / 4) & (data["error"].values < 3 * LEARNT))
    exact = float(recovery_probability(K, 2))
    assert stats.binomtest(int(learnt.sum()), members, exact).pvalue > RARE
    fraction, low, high = Recovery.interval(data, 1 - RARE)
    assert low < exact < high
    assert fraction == learnt.mean()
    if K == 2:
        _, _, top = Recovery.interval(data, 0.99)
        assert top < float(recovery_probability(4, 2))


def test_the_interval_is_that_of_clopper_and_pearson():
    """None of n at level 1 − a: from 0 to 1 − (a/2)^{1/n}."""
    data = Recovery(2, 2, 10, 1.0).measure()
    assert not np.any(data["error"].values < LEARNT)
    assert Recovery.interval(data, 0.99) == pytest.approx((0, 0, 1 - 0.005**0.1), abs=1e-12)


def test_students_align_then_learn_and_specialising_costs_alignment():
    feedback = (1.5, 0.5)
    erf, linear = (Course(name, feedback, 2000.0).measure() for name in ("erf", "linear"))
    top, end = float(erf["weight_alignment"].max()), float(erf["weight_alignment"][-1])
    # A student that has become its teacher has |v_k| = 1; ε_g says how nearly: it is quadratic in what is missing.
    off = np.sqrt(float(erf["generalisation_error"][-1]))
    assert off < 1e-2
    assert end == pytest.approx(sum(feedback) / np.linalg.norm(feedback) / np.sqrt(2), abs=10 * off)
    assert top > end + 0.05
    when = int(np.argmax(erf["weight_alignment"].values))
    assert float(erf["generalisation_error"][when]) > 100 * float(erf["generalisation_error"][-1])
    assert float(linear["weight_alignment"].max() - linear["weight_alignment"][-1]) < 1e-4
    assert np.all(np.diff(erf["time"]) > 0)


def test_three_layers_tell_the_rules_apart_and_two_do_not():
    bp, fa, dfa = (Deep(rule, (6, 20, 20, 3), (1.0, 0.7, 0.5), 0.1, 8.0).measure() for rule in ("bp", "fa", "dfa"))
    assert np.abs(bp["update_alignment"] - 1).max() < 1e-12
    assert np.abs(fa["loss"] - dfa["loss"]).max() > 1e-3
    # At zero backprop is slower.
    assert float(bp["loss"][60]) > 10 * max(float(fa["loss"][60]), float(dfa["loss"][60]))
    net, task, flow = linfa.Weights.standard((6, 20, 3), 1, 0.1), linfa.Task.teacher(6, 3, 0), linfa.Flow(3.0, saves=5)
    B = linfa.rules.make("fa", net, 2).matrices
    runs = [
        linfa.solve(linfa.Full(net, rule(B)), task, flow) for rule in (linfa.FeedbackAlignment, linfa.DirectFeedback)
    ]
    assert np.array_equal(*(run.loss.values for run in runs))


def test_random_targets_have_the_covariance_that_is_said():
    cell, N = RandomTargets(0.5, (0.3,), 1, samples=20_000), 20_000
    task = cell.task(0.3, 0)
    S = np.array([[1, 0.35], [0.35, 0.25]])
    # Var(y_i y_j) = S_ii S_jj + S_ij²; six numbers at 5.5 standard errors each: once in four million times.
    error = np.sqrt((np.outer(S.diagonal(), S.diagonal()) + S**2) / N)
    assert np.all(np.abs(task.target_second - S) < 5.5 * error)
    assert np.all(np.abs(task.cross) < 5.5 * np.sqrt(S.diagonal() / N)[:, None])
    assert cell.solver(0).t == pytest.approx(1e-3 * 10_000 * 625)


def test_the_more_degenerate_the_targets_the_worse_the_alignment():
    poor, good = (RandomTargets(alpha, (alpha,), 3).measure() for alpha in (0.2, 1.0))
    for name in ("alignment", "predicted"):
        means = [data[name].mean("seed").values for data in (poor, good)]
        assert np.all(means[0] < means[1])
    assert float(good["alignment"].min()) > 0.9


def test_steps_of_every_sample_come_to_the_flow_in_proportion_to_their_rate():
    """The same time in steps of η and η/2: what is missing is of order η."""
    cell = RandomTargets(0.6, (0.6,), 1, samples=100, widths=(5, 20, 20, 2), epochs=400, batch=100, learning_rate=0.1)
    half = replace(cell, epochs=800, learning_rate=0.05)
    flow = cell.measure()["alignment"].values
    off = [np.abs(replace(c, steps=True).measure()["alignment"].values - flow).max() for c in (cell, half)]
    assert off[0] / off[1] == pytest.approx(2, abs=0.3)
    assert cell.solver(0).t == half.solver(0).t
