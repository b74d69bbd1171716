"""From words to numbers: rules in words move as the built-in ones do, laws that were found are the built-in laws."""

import json

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import linfa
from linfa.laws import Ledger
from linfa.rules.restore import Unrestored
from linfa.symbolic import (
    BACKPROP,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    KOLEN_POLLACK,
    B,
    FoundLaw,
    Potential,
    Rule,
    W,
    WordRule,
    absolute,
    find,
    found_laws,
    hadamard,
    interpolated,
    letter,
    norm,
    sign,
    width,
)
from tests.strategies import conditions, network, rule_of, seeds, task_of, widths
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

ALPHA = sympy.Symbol("α")
MIXED = interpolated(ALPHA)
CUBIC = Rule("cubic", feedback=lambda l: hadamard(W(l), W(l), W(l)))
SIGNS = Rule("signs", feedback=lambda l: hadamard(B(l), sign(W(l))))
SQUARES = Rule("squares", feedback=lambda l: hadamard(absolute(W(l)), W(l)))
LONG = Rule("long", feedback=lambda l: norm(W(l)) * W(l))
SCALED = Rule("scaled signs", feedback=lambda l: norm(W(l)) * sign(W(l)))
GAINED = Rule("gained", feedback=lambda l: letter("A", width(l), width(l), index=l, symmetric=True) @ W(l))

size = np.linalg.norm


def positive(net, seed):
    """Return magnitudes of the shapes of W_2 … W_L."""
    return tuple(abs(matrix) for matrix in rule_of("fa", net, seed).matrices)


TWINS = {
    "backprop": (lambda net, seed: WordRule(BACKPROP), lambda net, seed: linfa.Backprop()),
    "fa": (
        lambda net, seed: WordRule(FEEDBACK_ALIGNMENT, rule_of("fa", net, seed).matrices),
        lambda n, s: rule_of("fa", n, s),
    ),
    "interpolated": (
        lambda net, seed: WordRule(MIXED, rule_of("fa", net, seed).matrices, {ALPHA: 0.25}),
        lambda net, seed: linfa.Interpolated(0.25, rule_of("fa", net, seed).matrices),
    ),
    "signs": (
        lambda net, seed: WordRule(SIGNS, positive(net, seed)),
        lambda net, seed: linfa.SignConcordant(positive(net, seed)),
    ),
}
"""A rule in words, and the built-in rule of the same words."""

twins = pytest.mark.parametrize("twin", TWINS)
small = widths(depth=(2, 4), width=(1, 6))


# Rules in words ---------------------------------------------------------------------------------------------------


@twins
@given(n=small, condition=conditions, seed=seeds, zeros=st.booleans())
def test_a_rule_in_words_moves_as_the_built_in_rule(twin, n, condition, seed, zeros):
    net, task = network(n, condition=condition, zeros=zeros, seed=seed), task_of(n[0], n[-1], seed=seed)
    words, built_in = (make(net, seed) for make in TWINS[twin])
    state, batch = linfa.State(net.matrices), task.everything(net[0])
    for a, b in zip(words.feedback(state), built_in.feedback(state), strict=True):
        assert a.shape == b.shape
        assert np.all(np.abs(a - b) <= rounding(4, np.abs(a) + np.abs(b) + 1))
    updates = [linfa.Full(net, rule).passes(state, batch).updates() for rule in (words, built_in)]
    chain = float(np.prod([1 + size(b) for b in built_in.feedback(state)]) * np.prod([1 + size(w) for w in net]) ** 2)
    for U, V in zip(*updates, strict=True):
        assert np.all(np.abs(U - V) <= rounding(20 + 4 * sum(n), chain * (1 + size(task.second) + size(task.cross))))


@twins
def test_a_rule_in_words_runs_as_the_built_in_rule_in_steps_and_in_continuous_time(twin):
    net, task = network((4, 5, 4, 3), scale=0.5, seed=1), task_of(4, 3, seed=1)
    words, built_in = (make(net, 2) for make in TWINS[twin])
    for how in (linfa.Descent(0.01, 30, batch=4, momentum=0.9, decay=1e-3), linfa.Flow(1.0, saves=4)):
        a, b = (linfa.solve(linfa.Full(net, rule), task, how) for rule in (words, built_in))
        for A, A_twin in zip(a.weights(-1), b.weights(-1), strict=True):
            # A flow may differ by its tolerance (its steps depend on rounding); steps may not.
            allowed = 1e-6 if isinstance(how, linfa.Flow) else float(rounding(30 * 60, 10.0))
            assert np.abs(A - A_twin).max() <= allowed
        assert np.abs(a.alignment - b.alignment).max() <= 1e-6


def test_signs_of_zero_weights_are_zero():
    state = linfa.State((np.ones((3, 1)), np.array([[2.0, 0.0, -3.0]])))
    (feedback,) = WordRule(SIGNS, (np.array([[1.0, 5.0, 2.0]]),)).feedback(state)
    assert feedback.tolist() == [[1.0, 0.0, -2.0]]


@pytest.mark.parametrize("words", [DIRECT_FEEDBACK, KOLEN_POLLACK], ids=lambda rule: rule.name)
def test_direct_and_learning_feedback_are_refused_with_the_rules_to_use(words):
    with pytest.raises(
        linfa.InputError, match=r"layer-wise feedback that does not learn.*DirectFeedback or linfa.Kolen"
    ):
        WordRule(words)


def test_what_a_word_lacks_is_named():
    net, task = network((4, 5, 3)), task_of(4, 3)
    matrices = rule_of("fa", net).matrices
    cases = [
        (WordRule(MIXED, (), {ALPHA: 0.3}), "letter B_2 has no value"),
        (WordRule(MIXED, matrices), "give parameters for"),
        (WordRule(GAINED), "letter A_2 has no value"),
    ]
    for rule, message in cases:
        with pytest.raises(linfa.InputError, match=message):
            linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.1, 1))
    with pytest.raises(linfa.InputError, match="B_2 must have shape"):
        linfa.Full(net, WordRule(MIXED, (matrices[0].T,), {ALPHA: 0.3}))


@pytest.mark.parametrize("law", linfa.laws.REGISTRY.values(), ids=lambda law: law.name)
def test_built_in_laws_refuse_a_rule_in_words(law):
    net = network((4, 5, 3))
    with pytest.raises(linfa.NoLawError, match=r".{40}"):
        law().check(WordRule(FEEDBACK_ALIGNMENT, rule_of("fa", net).matrices))


# Laws that were found ---------------------------------------------------------------------------------------------


def test_the_matrix_law_is_found():
    net = network((4, 6, 5, 3), seed=1)
    rule, state = rule_of("fa", net, 2), linfa.State(net.matrices)
    found = found_laws(FEEDBACK_ALIGNMENT)[1].quantity(rule, state)
    for a, b, W_l in zip(found, linfa.laws.MatrixLaw().quantity(rule, state), net, strict=False):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= rounding(30, size(W_l) ** 2 + np.abs(b).max() + 10)


@given(n=small, seed=seeds)
def test_the_null_space_law_is_found_up_to_its_basis(n, seed):
    net = network(n, seed=seed)
    rule, state = rule_of("fa", net, seed, condition=1.0), linfa.State(net.matrices)
    found = found_laws(FEEDBACK_ALIGNMENT)[0].quantity(rule, state)
    built_in = linfa.laws.NullSpaceLaw().quantity(rule, state)
    for projected, N_W, W_l in zip(found, built_in, net, strict=False):
        # ‖P_l w‖ = ‖N_lᵀ w‖, and P_l W_l has the Gram matrix of N_lᵀ W_l.
        slack = rounding(200 + 20 * sum(n), size(W_l) ** 2)
        assert np.abs(projected.T @ projected - N_W.T @ N_W).max() <= slack


def test_balancedness_is_found():
    net = network((4, 6, 5, 3), seed=1)
    rule, state = linfa.Backprop(), linfa.State(net.matrices)
    (law,) = found_laws(BACKPROP)
    for a, b in zip(law.quantity(rule, state), linfa.laws.MatrixLaw().quantity(rule, state), strict=True):
        assert np.abs(a - b).max() <= rounding(30, 10.0)


def test_the_laws_of_kolen_pollack_are_found():
    net = network((4, 6, 5, 3), seed=1)
    rule = linfa.KolenPollack.random(net, 2)
    state = linfa.State(net.matrices, rule.start(net))
    gap, matrix = found_laws(KOLEN_POLLACK)
    for a, b in zip(gap.quantity(rule, state), linfa.laws.FeedbackGapLaw().quantity(rule, state), strict=True):
        assert np.all(a == -b)
    for a, b in zip(matrix.quantity(rule, state), linfa.laws.MatrixLaw().quantity(rule, state), strict=True):
        assert np.abs(a - b).max() <= rounding(30, 10.0)


def test_the_potential_of_the_mixed_rule_is_the_built_in_neuron_law():
    net = network((4, 6, 5, 3), seed=1)
    words, built_in = (make(net, 2) for make in TWINS["interpolated"])
    potential = find(MIXED).potential
    assert isinstance(potential, Potential)
    law, state = FoundLaw(potential, MIXED), linfa.State(net.matrices)
    for a, b in zip(law.quantity(words, state), linfa.laws.NeuronLaw().quantity(built_in, state), strict=True):
        assert np.abs(a - b).max() <= rounding(40, 10.0)


def test_the_law_of_direct_feedback_is_found_and_watched():
    net, task = network((4, 6, 5, 3), scale=0.5, seed=1), task_of(4, 3)
    how = linfa.Descent(0.02, 40, batch=4, momentum=0.9, decay=1e-2)
    for virtual in (False, True):
        rule = linfa.DirectFeedback.random(net, 2, virtual=virtual)
        laws = found_laws(DIRECT_FEEDBACK)
        run = linfa.solve(linfa.Full(net, rule), task, how, laws=laws)
        assert all(float(law.residual(run).max()) <= rounding(100, 1.0) for law in laws)
        assert all(float(law.drift(run).max()) > 1e-4 for law in laws)


LAWFUL = {
    "fa": (FEEDBACK_ALIGNMENT, lambda net: rule_of("fa", net, 2)),
    "backprop": (BACKPROP, lambda net: linfa.Backprop()),
    "kp": (KOLEN_POLLACK, lambda net: linfa.KolenPollack.random(net, 2)),
    "mixed": (MIXED, lambda net: TWINS["interpolated"][0](net, 2)),
    "cubic": (CUBIC, lambda net: WordRule(CUBIC)),
    "signs": (SIGNS, lambda net: TWINS["signs"][0](net, 2)),
    "squares": (SQUARES, lambda net: WordRule(SQUARES)),
    "long": (LONG, lambda net: WordRule(LONG)),
}
PAIRS = [(name, i) for name, (words, _) in LAWFUL.items() for i in range(len(found_laws(words)))]
lawful = pytest.mark.parametrize(("name", "i"), PAIRS)


def prepared(name, i, n, seed, scale=1.0):
    net = network(n, scale=scale, seed=seed)
    words, make = LAWFUL[name]
    return found_laws(words)[i], make(net), net


def drawn(state, seed, share=1.0):
    rng = np.random.default_rng([seed, 3])
    return state.map(lambda a: share * a * rng.uniform(-1, 1, a.shape))


@lawful
@given(n=small, seed=seeds)
def test_the_differential_is_the_exact_derivative_of_the_quantity(name, i, n, seed):
    law, rule, net = prepared(name, i, n, seed)
    state = linfa.Full(net, rule).start()
    # Less than half of every entry, so that no sign flips; quantities are analytic then.
    u = drawn(state, seed, 0.4)
    first = law.differential(rule, state, u)
    scale = law.sensitivity(rule, state.map(np.abs).plus(1.0, u.map(np.abs)), u.norms())
    h = 1e-3
    Q = {k: law.quantity(rule, state.plus(k * h, u)) for k in (1, -1, 2, -2)}
    size_of_Q = law.terms(rule, state.map(np.abs).plus(1.0, u.map(np.abs)))
    for l, d in enumerate(first):
        # Fourth order: what is left is h⁴ times a fifth derivative, zero for a polynomial of degree 4 or less.
        slope = (8 * (Q[1][l] - Q[-1][l]) - (Q[2][l] - Q[-2][l])) / (12 * h)
        assert slope.shape == d.shape
        slack = rounding(100 + 20 * sum(n), (scale[l] + size_of_Q[l]) / h) + 10 * h**4 * scale[l]
        assert np.all(np.abs(slope - d) <= slack)


@lawful
@given(n=small, seed=seeds)
def test_the_differential_is_linear_and_the_defect_is_the_rest(name, i, n, seed):
    law, rule, net = prepared(name, i, n, seed)
    state = linfa.Full(net, rule).start()
    u, v = drawn(state, seed), drawn(state, seed + 1)
    reach = state.map(np.abs).plus(1.0, u.map(np.abs)).plus(2.0, v.map(np.abs))
    slack = [
        rounding(100 + 20 * sum(n), s + t)
        for s, t in zip(law.sensitivity(rule, reach, reach.norms()), law.terms(rule, reach), strict=True)
    ]
    both, alone, other = (law.differential(rule, state, w) for w in (u.plus(2.0, v), u, v))
    for l, (a, b, c) in enumerate(zip(both, alone, other, strict=True)):
        assert np.all(np.abs(a - b - 2 * c) <= slack[l])
    after, before = law.quantity(rule, state.plus(1.0, u)), law.quantity(rule, state)
    for l, (a, b, d, rest) in enumerate(zip(after, before, alone, law.defect(rule, state, u), strict=True)):
        assert rest.shape == a.shape
        assert np.all(np.abs(a - b - d - rest) <= slack[l])


@lawful
@given(n=widths(depth=(2, 3), width=(1, 3)), seed=seeds)
def test_the_sensitivity_bounds_every_differential(name, i, n, seed):
    law, rule, net = prepared(name, i, n, seed)
    state = linfa.Full(net, rule).start()
    # Growing layers and shrinking ones in turn: for backprop on widths of one the bound is attained.
    swing = linfa.State(tuple((-1) ** l * W_l for l, W_l in enumerate(state.weights)), state.learnt)
    for u in (drawn(state, seed), swing):
        bounds = law.sensitivity(rule, state, u.norms())
        for d, bound in zip(law.differential(rule, state, u), bounds, strict=True):
            assert size(d) <= bound + rounding(100 + 10 * sum(n), bound)


@lawful
@given(n=small, seed=seeds)
def test_the_differential_vanishes_along_the_rule(name, i, n, seed):
    law, rule, net = prepared(name, i, n, seed)
    system, task = linfa.Full(net, rule), task_of(n[0], n[-1], seed=seed)
    state = system.start()
    passes = system.passes(state, task.everything(net[0]))
    h, d = [size(a) for a in passes.activities], rule.signal_norms(state, passes.signals)
    U = tuple(np.asarray(a * b) for a, b in zip(d, h, strict=False))
    # What rounding acts on in U_l are products of norms: of the error before it cancels, and of all that it passes.
    wide = float(np.prod([1 + size(b) for b, _ in rule.stand_ins(state)]) * (1 + h[-1]) * (1 + size(task.cross)))
    sizes = linfa.State(tuple(u + wide * b for u, b in zip(U, h, strict=False)), tuple(u + wide for u in U[1:]))
    sizes = sizes._replace(learnt=sizes.learnt[: len(state.learnt)])
    change = law.differential(rule, state, system.velocity(state, passes))
    for dQ, scale in zip(change, law.sensitivity(rule, state, sizes), strict=True):
        assert np.all(np.abs(dQ) <= rounding(100 + 10 * sum(n), scale))


@pytest.mark.parametrize("scale", [0.7, 1e-3])
@lawful
def test_the_ledger_accounts_for_momentum_decay_and_steps_to_rounding(name, i, scale):
    law, rule, net = prepared(name, i, (4, 6, 5, 3), 1, scale)
    task = task_of(4, 3, N=20, scale=0.5, seed=2)
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.02, 60, 7, 0.9, 1e-2, saves=4), laws=[law])
    assert float(law.residual(run).max()) <= rounding(sum(net.widths) + 60, 1.0)
    assert float(law.drift(run).max()) > 1e-5
    residual, bound, terms = (run.dataset[f"{law.name}_{part}"].values for part in ("residual", "bound", "scale"))
    assert np.all(residual <= bound + rounding(4 * 6 + 8, terms.max(0)))
    assert np.all(bound[-1] <= 1e-8 * terms.max(0) + 1e-15), "the bound is no blank cheque"


def test_a_found_law_holds_in_continuous_time_and_is_broken_by_another_rule():
    net, task = network((4, 6, 5, 3), scale=0.5, seed=1), task_of(4, 3, seed=2)
    (law,) = found_laws(CUBIC)
    run = linfa.solve(linfa.Full(net, WordRule(CUBIC)), task, linfa.Flow(1.0, saves=10), laws=[law])
    assert float(law.residual(run).max()) < 1e-9
    assert float(np.max(run.dataset[f"{law.name}_residual"])) < 1e-9
    other = linfa.solve(linfa.Full(net, WordRule(SQUARES)), task, linfa.Flow(1.0, saves=10))
    assert float(law.drift(other, WordRule(CUBIC)).max()) > 1e-3


def test_a_found_law_refuses_another_rule():
    net = network((4, 6, 5, 3), seed=1)
    (cubic,), (_, matrix) = found_laws(CUBIC), found_laws(FEEDBACK_ALIGNMENT)
    cases = [
        (cubic, WordRule(SQUARES), "found for cubic, not for squares"),
        (cubic, rule_of("fa", net), "found for cubic, not for fa"),
        (matrix, linfa.Backprop(), "found for feedback alignment, not for bp"),
        (matrix, linfa.StrictNormalSign(), "found for feedback alignment, not for"),
    ]
    for law, rule, message in cases:
        assert not law.applies_to(rule)
        with pytest.raises(linfa.NoLawError, match=message):
            law.check(rule)
        with pytest.raises(linfa.NoLawError, match=message):
            Ledger(law, rule, linfa.State(net.matrices))
    assert matrix.applies_to(rule_of("fa", net))
    assert matrix.applies_to(WordRule(FEEDBACK_ALIGNMENT, rule_of("fa", net).matrices))


def test_different_laws_are_different():
    null_space, matrix = found_laws(FEEDBACK_ALIGNMENT)
    assert null_space != matrix
    assert matrix == found_laws(FEEDBACK_ALIGNMENT)[1]
    assert len({null_space, matrix, *found_laws(FEEDBACK_ALIGNMENT)}) == 2
    assert matrix.statement in repr(matrix)
    assert matrix.latex == find(FEEDBACK_ALIGNMENT).laws[1].latex


def test_a_potential_needs_its_rule():
    potential = find(CUBIC).potential
    assert isinstance(potential, Potential)
    with pytest.raises(linfa.InputError, match=r"FoundLaw\(found, rule\)"):
        FoundLaw(potential)


def test_a_law_per_layer_is_one_number_per_layer():
    net = network((4, 6, 5, 3), seed=1)
    (law,) = found_laws(LONG)
    assert [q.shape for q in law.quantity(WordRule(LONG), linfa.State(net.matrices))] == [(), ()]


# Obstructions -----------------------------------------------------------------------------------------------------


def test_an_obstruction_is_raised_with_its_curl():
    with pytest.raises(linfa.NoLawError, match=r"no gradient: the curl of ⟨B, dW⟩ is .*ρ, not zero") as caught:
        found_laws(SCALED)
    obstruction = find(SCALED).obstruction
    assert obstruction is not None
    assert str(obstruction.curl) in str(caught.value)


def test_without_a_law_the_guess_of_a_frozen_norm_drifts():
    net, task = network((4, 6, 5, 3), scale=0.5, seed=1), task_of(4, 3, seed=2)
    frozen = linfa.SignConcordant(tuple(np.full(W_l.shape, size(W_l)) for W_l in net[1:]))
    how, law = linfa.Descent(1e-3, 400), linfa.laws.NeuronLaw()
    scaled = linfa.solve(linfa.Full(net, WordRule(SCALED)), task, how)
    own = linfa.solve(linfa.Full(net, frozen), task, how, laws=[law])
    assert float(law.drift(scaled, frozen).max()) > 10 * float(law.drift(own).max())
    assert float(law.residual(own).max()) <= rounding(100, 1.0)


# What a file keeps --------------------------------------------------------------------------------------------------


def test_the_provenance_of_a_rule_in_words_is_json():
    net, task = network((4, 5, 4, 3)), task_of(4, 3)
    rule = TWINS["interpolated"][0](net, 2)
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(0.01, 2))
    made = json.loads(json.dumps(run.provenance))["system"]["rule"]
    assert made["type"] == "WordRule"
    assert made["words"] == MIXED.name
    assert "α" in made["feedback"]
    assert "W_l" in made["feedback"]
    assert made["parameters"] == {"α": 0.25}
    assert [m["shape"] for m in made["matrices"]] == [[4, 5], [3, 4]]
    other = linfa.solve(linfa.Full(net, WordRule(MIXED, rule.matrices, {ALPHA: 0.5})), task, linfa.Descent(0.01, 2))
    assert other.provenance["system"] != run.provenance["system"]


def test_a_loaded_run_says_that_its_rule_in_words_is_not_in_the_file(tmp_path):
    net, task = network((4, 5, 4, 3)), task_of(4, 3)
    (law,) = found_laws(CUBIC)
    run = linfa.solve(linfa.Full(net, WordRule(CUBIC)), task, linfa.Descent(0.01, 3), laws=[law])
    loaded = linfa.Trajectory.load(run.save(tmp_path / "run.nc"))
    assert loaded.dataset.identical(run.dataset)
    assert isinstance(loaded.rule, Unrestored)
    assert float(law.residual(loaded).max()) == float(law.residual(run).max())  # the records are whole
    with pytest.raises(linfa.ResultError, match=r"WordRule.*cannot be turned back into"):
        loaded.rule.signals(loaded.state(0), np.ones((1, 3)))
    assert law.drift(loaded, WordRule(CUBIC)).shape == law.drift(run).shape
