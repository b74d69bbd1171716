"""Laws at a point and in continuous time: what vanishes along the field, what a step leaves, what a flow keeps."""

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

import linfa
from linfa.rules import State
from tests.strategies import LAWS, RULES, network, rule_of, seeds, speed, systems, task_of, widths
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm

APPLIES = {
    "matrix": {"bp", "fa", "rho-fa", "interpolated", "kp", "dfa-virtual"},
    "neuron": {"bp", "fa", "rho-fa", "interpolated", "kp", "dfa-virtual", "usf", "frsf", "usf-init"},
    "null_space": {"fa", "rho-fa", "dfa", "dfa-virtual", "readout"},
    "direct": {"fa", "rho-fa", "dfa", "dfa-virtual", "readout"},
    "feedback_gap": {"kp"},
}
"""The table of theory §3, and L2, L3 for paths that never move."""
PAIRS = [(law, name) for law in LAWS for name in sorted(APPLIES[law.name])]
SOME = settings(max_examples=max(6, settings.default.max_examples // 3))
"""A share of the profile's examples, where a test runs once per pair of law and rule."""
pairs = pytest.mark.parametrize(("law", "name"), PAIRS, ids=lambda x: getattr(x, "name", x))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("name", RULES)
def test_a_law_applies_exactly_where_the_theory_says_and_refuses_with_a_reason(law, name):
    rule = rule_of(name, network((3, 4, 5, 2)))
    assert law.applies_to(rule) is (name in APPLIES[law.name])
    if not law.applies_to(rule):
        with pytest.raises(linfa.NoLawError, match=r".{40}"):
            law.check(rule)


def sizes_of(system, passes):
    """Return ‖δ_l‖‖h_{l−1}‖, what rounding acts on in U_l, and the same for what is learnt."""
    h = [norm(a) for a in passes.activities]
    d = system.rule.signal_norms(system.start(), passes.signals)
    learnt = [d[-1] * a for a in h[1:-1]] if isinstance(system.rule, linfa.DirectFeedback) else None
    U = [a * b for a, b in zip(d, h, strict=False)]
    count = len(system.start().learnt)
    return State(tuple(U), tuple((learnt or U[1:])[:count]))


def roundings(system, task):
    return 20 + 2 * sum(system.weights.widths) + 8


@pairs
@SOME
@given(data=st.data())
def test_the_differential_vanishes_along_the_field(law, name, data):
    system, task = data.draw(systems((name,)))
    s = system.start()
    passes = system.passes(s, task.everything(s.weights[0]))
    change = law.differential(system.rule, s, system.velocity(s, passes))
    scale = law.sensitivity(system.rule, s, sizes_of(system, passes))
    for dQ, size in zip(change, scale, strict=True):
        assert np.all(np.abs(dQ) <= rounding(roundings(system, task), size))


def drawn_step(s, seed, rule, through_zero):
    """Return a random step; where the rule follows signs and must not cross them, at most half of each entry."""
    rng = np.random.default_rng([seed, 3])
    if not through_zero and isinstance(rule, linfa.SignConcordant):
        return s.map(lambda a: a * rng.uniform(-0.5, 0.5, a.shape))
    return s.map(lambda a: rng.standard_normal(a.shape))


@pairs
@SOME
@given(data=st.data(), seed=seeds)
def test_the_differential_is_the_derivative_of_the_quantity(law, name, data, seed):
    system, _ = data.draw(systems((name,)))
    rule, s = system.rule, system.start()
    u = drawn_step(s, seed, rule, through_zero=False)
    # Every quantity is quadratic (on one side of zero), so half the central difference is the differential itself.
    ahead, behind = law.quantity(rule, s.plus(1.0, u)), law.quantity(rule, s.plus(-1.0, u))
    reach = s.map(np.abs).plus(1.0, u.map(np.abs))
    scale = law.sensitivity(rule, reach, reach.norms())
    for a, b, dQ, size in zip(ahead, behind, law.differential(rule, s, u), scale, strict=True):
        assert np.all(np.abs((a - b) / 2 - dQ) <= rounding(roundings(system, None), size))


@pairs
@SOME
@given(data=st.data(), seed=seeds)
def test_the_defect_is_what_a_step_does_beyond_the_differential_sign_flips_included(law, name, data, seed):
    system, _ = data.draw(systems((name,)))
    rule, s = system.rule, system.start()
    u = drawn_step(s, seed, rule, through_zero=True)
    after, before = law.quantity(rule, s.plus(1.0, u)), law.quantity(rule, s)
    reach = s.map(np.abs).plus(1.0, u.map(np.abs))
    scale = law.sensitivity(rule, reach, reach.norms())
    parts = law.differential(rule, s, u), law.defect(rule, s, u)
    for a, b, dQ, D, size in zip(after, before, *parts, scale, strict=True):
        assert np.all(np.abs(a - b - dQ - D) <= rounding(roundings(system, None), size))


@pairs
@SOME
@given(data=st.data(), seed=seeds)
def test_the_sensitivity_bounds_the_differential(law, name, data, seed):
    system, _ = data.draw(systems((name,)))
    s = system.start()
    u = drawn_step(s, seed, system.rule, through_zero=True)
    bounds = law.sensitivity(system.rule, s, u.norms())
    for dQ, bound in zip(law.differential(system.rule, s, u), bounds, strict=True):
        assert np.all(np.abs(dQ) <= bound * (1 + rounding(roundings(system, None), 1)))


# Shapes and special cases ------------------------------------------------------------------------------------------


@given(n=widths(), seed=seeds)
def test_the_neuron_law_is_half_the_diagonal_of_the_matrix_law(n, seed):
    net = network(n, seed=seed)
    rule, s = rule_of("fa", net, seed), State(net.matrices)
    matrix, neuron = (law.quantity(rule, s) for law in (linfa.laws.MatrixLaw(), linfa.laws.NeuronLaw()))
    for C, Q in zip(matrix, neuron, strict=True):
        assert np.abs(np.diagonal(C) / 2 - Q).max() <= rounding(sum(n), norm(C) + len(Q) + 4)


@given(n=widths(), seed=seeds)
def test_the_null_space_law_counts_what_the_path_does_not_reach(n, seed):
    net = network(n, seed=seed)
    for name in ("fa", "dfa", "readout"):
        rule = rule_of(name, net, seed)
        M = rule.paths(State(net.matrices))
        for l, Q in enumerate(linfa.laws.NullSpaceLaw().quantity(rule, State(net.matrices))):
            rank = 0 if name == "readout" else min(n[l + 1], n[-1]) if name == "dfa" else min(n[l + 1 :])
            assert Q.shape == (n[l + 1] - rank, n[l])
            assert np.linalg.matrix_rank(M[l]) == rank


@given(n=widths(), seed=seeds)
def test_direct_feedback_loses_laws_exactly_where_the_layer_above_is_narrower_than_the_output(n, seed):
    net = network(n, seed=seed)
    fa, dfa = (
        linfa.laws.DirectFeedbackLaw().quantity(rule_of(name, net, seed), State(net.matrices)) for name in ("fa", "dfa")
    )
    p = n[-1]
    for l, (layerwise, direct) in enumerate(zip(fa, dfa, strict=True), 1):
        lost = max(p - n[l + 1], 0) if l + 1 < len(n) - 1 else 0
        assert layerwise.shape == (n[l], n[l])
        assert direct.shape == (n[l] - min(lost, n[l]),) * 2


@given(n=widths(), seed=seeds, loss=st.sampled_from(["squared", "softmax-ce"]))
def test_under_feedback_alignment_the_direct_law_is_the_matrix_law_in_another_basis(n, seed, loss):
    net = network(n, seed=seed)
    rule, s = rule_of("fa", net, seed), State(net.matrices)
    system, task = linfa.Full(net, rule), task_of(n[0], n[-1], loss=loss, seed=seed)
    u = system.velocity(s, system.passes(s, task.everything(net[0])))
    # Both start elsewhere (β is fixed up to the null space), but a step along the field moves them alike.
    direct, matrix = linfa.laws.DirectFeedbackLaw(), linfa.laws.MatrixLaw()
    for got, want, size in zip(
        direct.defect(rule, s, u), matrix.defect(rule, s, u), (norm(w) ** 2 for w in u.weights), strict=False
    ):
        a, b = np.linalg.eigvalsh(got), np.linalg.eigvalsh(want)
        assert np.abs(a - b).max() <= rounding(4 * sum(n), size)
    last = len(n) - 3
    got, want = direct.quantity(rule, s)[last], matrix.quantity(rule, s)[last]
    assert np.abs(got - want).max() <= rounding(4 * sum(n), norm(net[last]) ** 2 + 2 * norm(rule.matrices[last]))


def test_two_layers_by_hand():
    W, V, B = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]]), np.array([[7.0], [11.0]])
    s, fa = State((W, V)), linfa.FeedbackAlignment((B,))
    assert linfa.laws.MatrixLaw().quantity(fa, s)[0].tolist() == [[5.0 - 2 * (21 + 55)]]
    assert linfa.laws.NeuronLaw().quantity(fa, s)[0].tolist() == [2.5 - (21 + 55)]
    assert linfa.laws.MatrixLaw().quantity(linfa.Backprop(), s)[0].tolist() == [[5.0 - 34]]
    assert linfa.laws.NeuronLaw().quantity(linfa.SignConcordant((B,)), s)[0].tolist() == [2.5 - (21 + 55)]
    kp = linfa.KolenPollack((B,))
    assert linfa.laws.MatrixLaw().quantity(kp, State((W, V), (B,)))[0].tolist() == [[5.0 - 170]]
    assert linfa.laws.FeedbackGapLaw().quantity(kp, State((W, V), (B,)))[0].tolist() == [[4.0], [6.0]]
    mixed = linfa.Interpolated(0.5, (B,))
    assert linfa.laws.NeuronLaw().quantity(mixed, s)[0].tolist() == [2.5 - 34 / 4 - 76 / 2]


def test_a_law_of_a_path_refuses_a_batch_of_paths():
    B = np.ones((2, 3, 4))
    with pytest.raises(linfa.NoLawError, match="one feedback for all networks of a batch"):
        linfa.laws.NullSpaceLaw().quantity(
            linfa.FeedbackAlignment((B,)), State((np.ones((2, 4, 2)), np.ones((2, 3, 4))))
        )


def test_laws_of_one_kind_are_equal_and_hash_alike():
    assert linfa.laws.MatrixLaw() == linfa.laws.MatrixLaw() != linfa.laws.NeuronLaw()
    assert len({linfa.laws.MatrixLaw(), linfa.laws.MatrixLaw()}) == 1
    assert repr(linfa.laws.MatrixLaw()) == "MatrixLaw()"


# Continuous time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RULES if any(name in APPLIES[law.name] for law in LAWS)])
@SOME
@given(data=st.data())
def test_a_flow_keeps_every_law_within_the_bound_of_its_tolerance(name, data):
    system, task = data.draw(systems((name,)))
    laws = [law for law in LAWS if name in APPLIES[law.name]]
    horizon = data.draw(st.sampled_from([0.3, 1.0])) / (1e-3 + speed(system, task))
    try:
        run = linfa.solve(
            system, task, linfa.Flow(min(horizon, 20.0), rtol=1e-10, saves=3, max_steps=150), laws=laws, states=False
        )
    except (linfa.DivergenceError, linfa.InputError):
        # Feedback that is not the gradient's may blow up in finite time; signs may be met head-on.
        reject()
    for law in laws:
        residual, bound = run.dataset[f"{law.name}_residual"].values, run.dataset[f"{law.name}_bound"].values
        scale = run.dataset[f"{law.name}_scale"].values
        assert np.all(residual <= bound + rounding(roundings(system, task), scale.max()))


@pytest.mark.parametrize("name", sorted(set(RULES) - {"brsf", "usf-sn"}))
def test_the_bound_of_a_flow_is_no_empty_promise(name):
    net = linfa.Weights.standard((5, 8, 6, 3), 0)
    laws = [law for law in LAWS if name in APPLIES[law.name]]
    rule = rule_of(name, net, 1)
    run = linfa.solve(
        linfa.Full(net, rule), linfa.Task.teacher(5, 3, 2), linfa.Flow(3.0, rtol=1e-10, saves=3), laws=laws
    )
    steps, size = run.dataset.attrs["steps"], np.sqrt(net.size)
    for law in laws:
        # Each step may err by √D rtol of the largest weight; nothing else may enter the bound.
        most = np.max([law.sensitivity(rule, s, s.norms()) for s in run.states()], axis=0)
        assert np.all(run.dataset[f"{law.name}_bound"].values <= 4 * steps * size * 1e-10 * most)
        assert float(law.residual(run).max()) <= 1e-10 * steps
        moved = norm(run.weights(-1)[-1] - net[-1])
        assert moved > 0.1


@given(data=st.data())
def test_the_gap_of_kolen_pollack_never_closes_without_decay(data):
    system, task = data.draw(systems(("kp",)))
    assume(max(norm(W) for W in system.weights) > 0)
    t = min(0.5 / (1e-3 + speed(system, task)), 5.0)
    try:
        run = linfa.solve(system, task, linfa.Flow(t, saves=2, max_steps=300))
    except (linfa.DivergenceError, linfa.InputError):
        reject()
    first, last = run.state(0), run.state(-1)
    for l in range(1, len(first.weights)):
        gaps = [s.learnt[l - 1] - s.weights[l] for s in (first, last)]
        # B and W are integrated side by side with the same velocity: the solver's error is the same in both.
        size = max(np.abs(a).max() for s in (first, last) for a in (*s.weights, *s.learnt))
        assert np.abs(gaps[0] - gaps[1]).max() <= rounding(40 * run.dataset.attrs["steps"] + 40, size)


@given(data=st.data())
def test_virtual_read_outs_watch_and_do_not_interfere(data):
    system, task = data.draw(systems(("dfa-virtual",)))
    plain = linfa.Full(system.weights, linfa.DirectFeedback(system.rule.matrices))
    how = linfa.Descent(1e-2, 3, momentum=0.5)
    try:
        a, b = (linfa.solve(x, task, how).weights(-1) for x in (system, plain))
    except linfa.DivergenceError:
        reject()
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
