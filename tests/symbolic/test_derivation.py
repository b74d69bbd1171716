"""Derivations obey Leibniz; rates, defects and ledgers come out as the theory says, for symbolic l."""

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from linfa.errors import InputError
from linfa.symbolic import (
    BACKPROP,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    KOLEN_POLLACK,
    LAYER,
    RATE,
    B,
    Derivation,
    Relation,
    W,
    evaluate,
    exact_point,
    hadamard,
    identity,
    increment,
    inner,
    interpolated,
    letter,
    norm,
    powers,
    rate,
    rewrite,
    sign,
    step,
    substitute,
    sym,
    trace,
    velocity_letter,
    width,
)
from tests.symbolic.words_strategy import A, S, ends, seeds, values, words

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")
l = LAYER
RULES = [FEEDBACK_ALIGNMENT, BACKPROP, DIRECT_FEEDBACK, KOLEN_POLLACK, interpolated(sympy.Rational(1, 3))]
C = W(l) @ W(l).T - sym(B(l + 1).T @ W(l + 1))
d = Derivation({A[0, 1]: A[1, 0].T, A[1, 2]: 2 * A[1, 2], S[1]: S[1] @ S[1]})


@given(st.data(), ends, ends, ends)
def test_leibniz(data, i, j, k):
    a, b = data.draw(words(i, j)), data.draw(words(j, k))
    assert d(a @ b) == d(a) @ b + a @ d(b)
    assert d(a.T) == d(a).T
    assert d(a + a) == 2 * d(a)
    assert d(identity(width(0))).is_zero()


@given(st.data(), ends, ends)
def test_the_trace_of_a_derivative_is_the_derivative_of_the_trace(data, i, j):
    a = data.draw(words(i, j)) @ data.draw(words(j, i))
    assert d(trace(a)) == trace(d(a))


@given(st.data(), ends, ends, seeds)
def test_a_derivative_is_a_slope(data, i, j, seed):
    """Products of at most two letters are quadratic, so that their central difference is exact."""
    a, at = data.draw(words(i, j, longest=2)), values(seed)
    move = {w: evaluate(v, at) for w, v in d.images.items()}

    def shifted(t):
        return evaluate(a, {**at, **{w: at[w] + t * v for w, v in move.items()}})

    assert np.array_equal(shifted(1) - shifted(-1), 2 * evaluate(d(a), at))


@given(st.sampled_from(RULES), st.integers(0, 1000))
def test_rates_with_and_without_the_derivation_agree(rule, seed):
    flow = rule.flow(l)
    at = exact_point(flow, seed)
    for quantity in (W(l) @ W(l).T, W(l + 1).T @ W(l + 1), W(l + 1) @ W(l)):
        assert np.array_equal(evaluate(flow.derivation(quantity), at), rate(quantity, flow, at))


def test_the_matrix_law_holds_at_every_depth():
    flow = FEEDBACK_ALIGNMENT.flow(l)
    assert flow.derivation(C).is_zero()
    assert flow.derivation(trace(C)).is_zero()
    a, b = sympy.symbols("η_1 η_2")
    scaled = Derivation({w: v * eta for (w, v), eta in zip(flow.velocity.items(), (a, b), strict=True)}, flow.relations)
    assert scaled(W(l) @ W(l).T / a - sym(B(l + 1).T @ W(l + 1)) / b).is_zero()


def test_one_step_changes_the_law_by_its_defect():
    flow = FEEDBACK_ALIGNMENT.flow(l)
    U = flow.velocity[W(l)]
    assert increment(C, flow) == {2: U @ U.T}
    assert increment(trace(C) / 2, flow) == {2: inner(U, U) / 2}


def test_gradient_descent_has_an_indefinite_defect():
    flow = BACKPROP.flow(l)
    U, V = flow.velocity[W(l)], flow.velocity[W(l + 1)]
    assert increment(W(l) @ W(l).T - W(l + 1).T @ W(l + 1), flow) == {2: U @ U.T - V.T @ V}


def test_momentum_and_decay_enter_as_the_ledger_says():
    """η (μ⟨v, W⟩ − …) − ηλ(‖W_l‖² − ⟨B, W_{l+1}⟩) + ½η²‖v⁺‖²."""
    mu, lam = sympy.symbols("μ λ")
    flow = FEEDBACK_ALIGNMENT.flow(l)
    V, Vnext = velocity_letter(W(l)), velocity_letter(W(l + 1))
    quantity = inner(W(l), W(l)) / 2 - inner(B(l + 1), W(l + 1))
    change = increment(quantity, flow, momentum=mu, decay=lam)
    after = mu * V + flow.velocity[W(l)] - lam * W(l)
    drag = mu * (inner(V, W(l)) - inner(B(l + 1), Vnext)) - lam * (inner(W(l), W(l)) - inner(B(l + 1), W(l + 1)))
    assert change == {1: drag, 2: inner(after, after) / 2}


def test_kolen_pollack_with_decay():
    """B − W and W_l W_lᵀ − BᵀB shrink at the rates λ and 2λ."""
    lam = sympy.Symbol("λ")
    flow = KOLEN_POLLACK.flow(l)
    decayed = Derivation({w: v - lam * w for w, v in flow.velocity.items()})
    gap, law = B(l + 1) - W(l + 1), W(l) @ W(l).T - B(l + 1).T @ B(l + 1)
    assert decayed(gap) == -lam * gap
    assert decayed(law) == -2 * lam * law


def test_antisymmetric_momentum_law():
    """Heavy ball v ← βv + ηU, W ← W + v: 𝒜 becomes β𝒜 exactly."""
    beta = sympy.Symbol("β")
    flow = FEEDBACK_ALIGNMENT.flow(l)
    v = {w: velocity_letter(w) for w in flow.velocity}

    def law(v1, W1, v2):
        return v1 @ W1.T - W1 @ v1.T - B(l + 1).T @ v2 + v2.T @ B(l + 1)

    new = {w: beta * v[w] + RATE * u for w, u in flow.velocity.items()}
    before = law(v[W(l)], W(l), v[W(l + 1)])
    assert law(new[W(l)], W(l) + new[W(l)], new[W(l + 1)]) == beta * before


@pytest.mark.parametrize("rule", [BACKPROP, DIRECT_FEEDBACK, KOLEN_POLLACK, interpolated(sympy.Symbol("α"))])
def test_the_matrix_law_fails_elsewhere(rule):
    assert not rule.flow(l).derivation(C).is_zero()


@pytest.mark.parametrize("wrong", [W(l) @ W(l).T + sym(B(l + 1).T @ W(l + 1)), W(l) @ W(l).T - W(l + 1).T @ W(l + 1)])
def test_wrong_laws_are_not_conserved(wrong):
    flow = FEEDBACK_ALIGNMENT.flow(l)
    assert not flow.derivation(wrong).is_zero()
    assert np.any(rate(wrong, flow, exact_point(flow, 0)) != 0)


@given(st.data(), ends, ends, seeds)
def test_substitution_is_a_homomorphism(data, i, j, seed):
    a, at = data.draw(words(i, j)), values(seed)
    images = {A[0, 1]: A[1, 0].T + A[0, 1], S[2]: A[2, 0] @ A[0, 2]}
    moved = {**at, **{w: evaluate(v, at) for w, v in images.items()}}
    assert np.array_equal(evaluate(substitute(a, images), at), evaluate(a, moved))


def test_powers_split_and_join():
    word = W(1) * (1 + RATE) ** 2
    assert sum((part * RATE**k for k, part in powers(word, RATE).items()), W(1) * 0) == word


def test_relations_reach_across_the_ends_of_a_trace():
    P = letter("P", width(1), width(1), symmetric=True)
    relations = (Relation(P @ P, P),)
    derivation = Derivation({W(1): B(1)}, relations)
    assert derivation(trace(P @ W(1) @ W(1).T @ P)) == 2 * trace(P @ B(1) @ W(1).T)
    assert rewrite(P @ P @ P, relations) == P


def test_a_step_moves_every_letter():
    assert step(FEEDBACK_ALIGNMENT.flow(l))[W(l)] == W(l) + RATE * FEEDBACK_ALIGNMENT.flow(l).velocity[W(l)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Derivation({W(2) @ W(1): W(2) @ W(1)}), "not a single letter"),
        (lambda: Derivation({W(1): W(2)}), "one shape"),
        (lambda: Derivation({W(1): B(1)})(hadamard(W(1), W(1))), "polynomials of the moving letters"),
        (lambda: Derivation({W(1): B(1)})(norm(W(1)) * W(1)), "polynomials of the moving letters"),
        (lambda: substitute(sign(W(1)), {W(1): B(1)}), "polynomials of the moving letters"),
        (lambda: powers(W(1) / RATE, RATE), "no polynomial"),
        (lambda: Relation(W(1) + B(1), W(1)), "one product"),
        (lambda: Relation(W(2) @ W(1), W(1)), "one shape"),
        (lambda: rewrite(W(1), (Relation(W(1), 2 * W(1)),)), "do not come to an end"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
