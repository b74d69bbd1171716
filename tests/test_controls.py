"""Negative controls: where a law does not apply it fails by more than any tolerance, or is refused with a reason."""

import numpy as np
import pytest

import linfa
from linfa.laws import FeedbackGapLaw, Ledger, MatrixLaw, NeuronLaw
from tests.strategies import network, rule_of, task_of
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

WIDTHS = (5, 8, 6, 3)
CLEAR = 1e-3
"""A drift relative to the terms of a quantity that no rounding and no tolerance of these runs comes near."""


@pytest.fixture(scope="module")
def net():
    return linfa.Weights.standard(WIDTHS, 0)


def flow(net, rule, t=2.0):
    return linfa.solve(linfa.Full(net, rule), linfa.Task.teacher(5, 3, 2), linfa.Flow(t, rtol=1e-10, saves=4))


def test_balancedness_is_no_law_of_feedback_alignment(net):
    run = flow(net, rule_of("fa", net, 1))
    assert float(MatrixLaw().residual(run).max()) < 1e-9
    assert float(MatrixLaw().drift(run, rule=linfa.Backprop()).max()) > CLEAR
    assert float(NeuronLaw().drift(run, rule=linfa.Backprop()).max()) > CLEAR


def test_the_law_of_one_feedback_is_no_law_of_another(net):
    run = flow(net, rule_of("fa", net, 1))
    assert float(MatrixLaw().drift(run, rule=rule_of("fa", net, 9)).max()) > CLEAR


def test_the_law_of_feedback_alignment_is_no_law_of_backprop(net):
    run = flow(net, linfa.Backprop())
    assert float(MatrixLaw().residual(run).max()) < 1e-9
    assert float(MatrixLaw().drift(run, rule=rule_of("fa", net, 1)).max()) > CLEAR


def test_direct_feedback_does_not_keep_the_layerwise_law_below_the_last_hidden_layer(net):
    dfa = rule_of("dfa", net, 1)
    run = flow(net, dfa)
    # The effective layer-wise feedback of L3 on one hand, an arbitrary one on the other.
    drift = NeuronLaw().drift(run, rule=linfa.FeedbackAlignment((np.ones((6, 8)), dfa.matrices[-1])))
    assert float(drift.sel(hidden=2).max()) < 1e-9
    assert float(drift.sel(hidden=1).max()) > CLEAR


@pytest.mark.parametrize("name", ["fa", "kp", "bp"])
def test_finite_steps_drift_where_nobody_keeps_the_ledger(net, name):
    law = MatrixLaw()
    for options in ({}, {"momentum": 0.9}, {"decay": 0.1}):
        how = linfa.Descent(0.02, 60, saves=4, **options)
        run = linfa.solve(
            linfa.Full(net, rule_of(name, net, 1)), linfa.Task.teacher(5, 3, 2), how, laws=[law, NeuronLaw()]
        )
        assert float(law.drift(run).max()) > CLEAR
        assert float(law.residual(run).max()) <= rounding(100, 1.0)


def test_an_account_that_forgets_momentum_or_decay_does_not_close(net):
    law, rule = NeuronLaw(), rule_of("fa", net, 1)
    system, task = linfa.Full(net, rule), linfa.Task.teacher(5, 3, 2)
    for momentum, decay in ((0.9, 0.0), (0.0, 0.1)):
        how = linfa.Descent(0.02, 30, momentum=momentum, decay=decay, saves=30)
        states = list(linfa.solve(system, task, how).states())
        forgetful = Ledger(law, rule, states[0])
        for before, after in zip(states, states[1:], strict=False):
            forgetful.step(before, after, 0.02, before.times(0.0), before.norms(), 0.0)
        entry = forgetful.read(states[-1])
        assert max(float(r / s) for r, s in zip(entry.residual, entry.scale, strict=True)) > CLEAR


def test_a_law_is_refused_for_finite_steps_that_no_ledger_saw(net):
    how = linfa.Descent(0.02, 5)
    run = linfa.solve(linfa.Full(net, rule_of("fa", net, 1)), linfa.Task.teacher(5, 3, 2), how)
    with pytest.raises(linfa.NoLawError, match=r"step by step: solve with laws=\[MatrixLaw\(\)\]"):
        MatrixLaw().residual(run)
    assert float(MatrixLaw().drift(run).max()) > rounding(100, 1.0)


@pytest.mark.parametrize("name", ["usf", "frsf", "usf-init"])
def test_signs_keep_the_diagonal_and_nothing_beside_it(net, name):
    rule = rule_of(name, net, 1)
    with pytest.raises(linfa.NoLawError, match="only the diagonal is conserved: use NeuronLaw"):
        MatrixLaw().check(rule)
    run = flow(net, rule, t=0.5)
    first, last = run.state(0).weights, run.state(-1).weights

    def C(W):
        B = rule.magnitudes[0] * np.sign(W[1])
        return W[0] @ W[0].T - B.T @ W[1] - W[1].T @ B

    moved, size = C(last) - C(first), np.linalg.norm(C(first))
    assert float(NeuronLaw().residual(run).max()) < 1e-8
    assert np.abs(np.diag(moved)).max() < 1e-7 * size
    assert np.abs(moved - np.diag(np.diag(moved))).max() > CLEAR * size


def test_strict_normalisation_has_no_law_and_the_law_of_frozen_magnitudes_drifts(net):
    with pytest.raises(linfa.NoLawError, match="no gradient and nothing is conserved"):
        NeuronLaw().check(linfa.StrictNormalSign())
    run = flow(net, linfa.StrictNormalSign(), t=1.0)
    frozen = linfa.SignConcordant(tuple(np.abs(B) for B in linfa.StrictNormalSign().feedback(run.state(0))))
    assert float(NeuronLaw().drift(run, rule=frozen).max()) > CLEAR


def test_redrawn_magnitudes_have_no_law_and_those_of_any_one_step_drift(net):
    rule = linfa.BatchRandomSign(WIDTHS, seed=1)
    with pytest.raises(linfa.NoLawError, match="another one each time and nothing is conserved"):
        NeuronLaw().check(rule)
    small = linfa.Descent(1e-4, 2000, saves=4)
    run = linfa.solve(linfa.Full(net, rule), linfa.Task.teacher(5, 3, 2), small)
    kept = linfa.solve(linfa.Full(net, rule.at(0)), linfa.Task.teacher(5, 3, 2), small)
    redrawn, fixed = (float(NeuronLaw().drift(r, rule=rule.at(0)).max()) for r in (run, kept))
    assert redrawn > CLEAR
    assert redrawn > 100 * fixed


def test_a_law_that_does_not_apply_cannot_be_watched(net):
    for law, name in ((MatrixLaw(), "dfa"), (FeedbackGapLaw(), "fa"), (linfa.laws.NullSpaceLaw(), "bp")):
        with pytest.raises(linfa.NoLawError):
            linfa.solve(
                linfa.Full(net, rule_of(name, net, 1)), linfa.Task.teacher(5, 3, 2), linfa.Descent(0.01, 1), laws=[law]
            )


def test_a_path_that_moves_does_reach_what_it_did_not_reach(net):
    # Backprop's path from a low-rank start: what M_1(0) does not reach moves as soon as M_1 turns.
    start = network(WIDTHS, rank=2, seed=3)
    as_fixed = linfa.FeedbackAlignment(start[1:])
    run = flow(start, linfa.Backprop())
    assert float(linfa.laws.NullSpaceLaw().drift(flow(start, as_fixed)).max()) < 1e-9
    assert float(linfa.laws.NullSpaceLaw().drift(run, rule=as_fixed).max()) > CLEAR


def test_the_gap_moves_where_feedback_and_weight_do_not_share_their_update(net):
    fa = rule_of("fa", net, 1)
    run = flow(net, fa)
    gap = [b - w for b, w in zip(fa.matrices, run.state(-1).weights[1:], strict=True)]
    start = [b - w for b, w in zip(fa.matrices, net[1:], strict=True)]
    assert max(np.abs(a - b).max() for a, b in zip(gap, start, strict=True)) > 0.01


def test_another_loss_or_other_data_break_no_law(net):
    """The counterpart of the controls: what a law does not depend on must not break it."""
    rule = rule_of("fa", net, 1)
    for loss in linfa.losses.LOSSES:
        run = linfa.solve(
            linfa.Full(net, rule), task_of(5, 3, N=9, loss=loss, rank=2), linfa.Flow(1.0, rtol=1e-10, saves=2)
        )
        assert float(MatrixLaw().residual(run).max()) < 1e-8
