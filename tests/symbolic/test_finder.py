"""Told only the rule, the finder returns its laws, all of them, and no others."""

from dataclasses import replace

import numpy as np
import pytest
import sympy

from linfa.errors import InputError, NoLawError
from linfa.symbolic import (
    BACKPROP,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    KOLEN_POLLACK,
    LAYER,
    READ_OUT_ONLY,
    B,
    Certificate,
    F,
    Rule,
    W,
    find,
    identity,
    inner,
    interpolated,
    letter,
    sign,
    sym,
    trace,
    width,
)

l = LAYER
ALPHA = sympy.Symbol("α")
P = letter("P", width(l), width(l), index=l, symmetric=True)
BELOW, ABOVE = W(l) @ W(l).T, W(l + 1).T @ W(l + 1)
MIXED = sym(B(l + 1).T @ W(l + 1))


def constant(name, l, rows=0, cols=-1, symmetric=False):
    return letter(name, width(l + rows), width(l + cols), index=l, symmetric=symmetric)


def gained(l):
    return constant("A", l, cols=0, symmetric=True) @ W(l)


def skewed(l):
    return constant("A", l, cols=0) @ W(l)


FAMILIES = [
    (FEEDBACK_ALIGNMENT, {P @ W(l), BELOW - MIXED}),
    (BACKPROP, {BELOW - ABOVE}),
    (KOLEN_POLLACK, {W(l + 1) - B(l + 1), BELOW - B(l + 1).T @ B(l + 1)}),
    (interpolated(ALPHA), {BELOW - ALPHA * ABOVE - (1 - ALPHA) * MIXED}),
    (interpolated(sympy.Rational(1, 3)), {BELOW - ABOVE / 3 - 2 * MIXED / 3}),
    (READ_OUT_ONLY, {W(l)}),
    (Rule("twice", feedback=lambda l: 2 * B(l)), {P @ W(l), BELOW - 2 * MIXED}),
    (Rule("third", feedback=lambda l: B(l) / 3), {P @ W(l), BELOW - MIXED / 3}),
    (Rule("gained", feedback=gained), {BELOW - W(l + 1).T @ gained(l + 1)}),
    (Rule("skewed", feedback=skewed), set()),
]
NAMES = [rule.name for rule, _ in FAMILIES]


@pytest.mark.parametrize(("rule", "laws"), FAMILIES, ids=NAMES)
def test_the_laws_of_a_rule_are_found_and_no_others(rule, laws):
    assert {law.quantity for law in find(rule).laws} == laws


@pytest.mark.parametrize(("rule", "laws"), FAMILIES, ids=NAMES)
def test_every_law_carries_a_certificate_that_can_be_replayed(rule, laws):
    for law in find(rule).laws:
        assert law.certificate.replay()
        assert all(law.certificate.check(seed) for seed in range(3))
        assert law.certificate.lines()[-1] == "sum = 0"


def test_direct_feedback_keeps_pairs():
    found = find(DIRECT_FEEDBACK)
    k = found.laws[1].quantity.rows
    a = letter("α", width(l), k, index=l)
    b = letter("β", width(l + 1), k, index=l)
    assert [law.quantity for law in found.laws] == [P @ W(l), a.T @ BELOW @ a - sym(b.T @ W(l + 1) @ a)]
    assert all(law.certificate.replay() and law.certificate.check(seed) for law in found.laws for seed in range(2))


def test_a_whole_net_has_one_copy_per_layer():
    found = find(FEEDBACK_ALIGNMENT, depth=3)
    families = [law.quantity for law in find(FEEDBACK_ALIGNMENT).laws]
    assert {law.quantity for law in found.laws} == {q.at({l: k}) for q in families for k in (1, 2)}


def test_longer_products_bring_nothing_new():
    for rule in (FEEDBACK_ALIGNMENT, BACKPROP):
        assert {law.quantity for law in find(rule, longest=4).laws} == {law.quantity for law in find(rule).laws}
    assert len(find(BACKPROP, depth=3, degree=4).laws) == 2


def test_scalar_laws_are_found_where_matrices_have_none():
    cubic = Rule("cubic word", feedback=lambda l: W(l) @ W(l).T @ W(l))
    assert find(cubic).laws == ()
    (law,) = find(cubic, degree=4).laws
    square = W(l + 1) @ W(l + 1).T
    assert (
        law.quantity / dict(law.quantity.terms)[trace(BELOW).terms[0][0]] == trace(BELOW) - trace(square @ square) / 2
    )


def test_a_gain_on_the_right_has_a_tower_of_laws():
    """B = W A: tr(Aᵏ W_l W_lᵀ) − tr(A^{k+1} W_{l+1}ᵀ W_{l+1}), longer by two letters for each k."""
    rule = Rule("right", feedback=lambda l: W(l) @ constant("A", l, rows=-1, symmetric=True))
    A = constant("A", l + 1, rows=-1, symmetric=True)
    tower = [trace(BELOW) - trace(A @ ABOVE), trace(A @ BELOW) - trace(A @ A @ ABOVE)]
    assert [law.quantity for law in find(rule, longest=4).laws] == tower


def test_a_flipped_sign_breaks_the_certificate():
    for rule in (FEEDBACK_ALIGNMENT, BACKPROP, KOLEN_POLLACK):
        law = find(rule).laws[-1]
        for k, (monomial, coefficient) in enumerate(law.quantity.terms):
            terms = (*law.quantity.terms[:k], (monomial, -coefficient), *law.quantity.terms[k + 1 :])
            broken = Certificate(replace(law.quantity, terms=terms), law.flow)
            assert not broken.replay()
            assert not broken.check()


@pytest.mark.parametrize(
    "other", [BACKPROP, KOLEN_POLLACK, interpolated(sympy.Rational(1, 2))], ids=lambda rule: rule.name
)
def test_a_law_of_one_rule_is_no_law_of_another(other):
    law = find(FEEDBACK_ALIGNMENT).laws[1]
    assert not Certificate(law.quantity, other.flow(l)).replay()
    assert not Certificate(law.quantity, other.flow(l)).check()


def _weights(rng, sizes=(3, 5, 4, 2)):
    return tuple(rng.normal(size=(n, m)) for n, m in zip(sizes[1:], sizes[:-1], strict=True))


def _velocity(paths, weights, E):
    signal, result = E, []
    for M, A in zip(paths, weights, strict=True):
        result.append(M @ signal)
        signal = signal @ A.T
    return tuple(result)


@pytest.mark.parametrize("layer", [1, 2])
def test_laws_hold_on_floating_arrays(layer):
    """Along a straight line W + tU the quantity is quadratic, so that its central difference is its slope at t = 0."""
    rng = np.random.default_rng(0)
    weights, E = _weights(rng), rng.normal(size=(2, 3))
    feedback = tuple(rng.normal(size=A.shape) for A in weights[1:])
    direct = tuple(rng.normal(size=(2, A.shape[0])) for A in weights[:-1])
    cases = [
        (FEEDBACK_ALIGNMENT, feedback, [feedback[0].T @ feedback[1].T, feedback[1].T, np.eye(2)], 2),
        (BACKPROP, (), [weights[1].T @ weights[2].T, weights[2].T, np.eye(2)], 1),
        (DIRECT_FEEDBACK, direct, [direct[0].T, direct[1].T, np.eye(2)], 2),
    ]
    for rule, B_, paths, number in cases:
        laws = find(rule).laws
        assert len(laws) == number
        U = _velocity(paths, weights, E)
        for law in laws:
            up, down = (
                law.at(layer).evaluate(tuple(A + t * V for A, V in zip(weights, U, strict=True)), B_) for t in (1, -1)
            )
            assert np.max(np.abs(up - down)) < 1e-12 * max(1.0, np.max(np.abs(up)))
            assert np.max(np.abs(up)) > 0.1


def test_the_matrix_law_is_what_it_says_on_arrays():
    rng = np.random.default_rng(1)
    weights = _weights(rng)
    feedback = tuple(rng.normal(size=A.shape) for A in weights[1:])
    C = find(FEEDBACK_ALIGNMENT).laws[1].at(2).evaluate(weights, feedback)
    cross = feedback[1].T @ weights[2]
    assert np.allclose(C, weights[1] @ weights[1].T - cross - cross.T, rtol=1e-14)


def test_findings_speak():
    found = find(FEEDBACK_ALIGNMENT)
    assert "P_l M_l = 0" in found.laws[0].statement
    assert found.laws[1].latex == r"W_{l} W_{l}^\top - B_{l+1}^\top W_{l+1} - W_{l+1}^\top B_{l+1}"
    assert "W_l W_lᵀ - B_{l+1}ᵀ W_{l+1}" in str(found)
    assert "no law of" in str(replace(found, laws=(), potential=None))
    assert find(BACKPROP).one().quantity == BELOW - ABOVE


def test_refusals_carry_the_reason():
    with pytest.raises(NoLawError, match="the curl"):
        find(Rule("skewed", feedback=skewed)).one()
    with pytest.raises(NoLawError, match="2 were found"):
        find(FEEDBACK_ALIGNMENT).one()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find(FEEDBACK_ALIGNMENT, degree=0), "at least 1"),
        (lambda: find(FEEDBACK_ALIGNMENT, depth=1), "at least 2 layers"),
        (lambda: Rule("none"), "one of the two"),
        (lambda: Rule("both", feedback=B, path=lambda l: F(l).T), "one of the two"),
        (lambda: Rule("transposed", feedback=lambda l: B(l).T), "a transpose may be missing"),
        (lambda: Rule("crooked", path=F), "a transpose may be missing"),
        (lambda: Rule("crooked", feedback=lambda l: identity(width(l))), "needs the shape"),
        (lambda: find(BACKPROP).one().evaluate(_weights(np.random.default_rng(0)), ()), "choose a layer"),
        (
            lambda: find(FEEDBACK_ALIGNMENT).laws[1].at(1).evaluate(_weights(np.random.default_rng(0)), (np.eye(2),)),
            "feedback matrices",
        ),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_rules_that_are_no_words_are_left_to_the_potential():
    found = find(Rule("uSF", feedback=lambda l: sign(W(l))))
    assert found.laws == ()
    assert found.potential is not None
    assert found.potential.per == "neuron"


def test_inner_products_are_conserved_as_traces_of_the_law():
    half = inner(W(l), W(l)) / 2 - inner(B(l + 1), W(l + 1))
    assert trace(find(FEEDBACK_ALIGNMENT).laws[1].quantity) / 2 == half
