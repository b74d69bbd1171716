"""Words are a ring with an anti-automorphism, and say the same as the matrices they stand for."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from linfa.errors import InputError
from linfa.symbolic import (
    LAYER,
    B,
    E,
    F,
    M,
    Sigma,
    W,
    X,
    evaluate,
    hadamard,
    identity,
    inner,
    letter,
    norm,
    sign,
    sym,
    trace,
    width,
    zero,
)
from tests.symbolic.words_strategy import A, ends, seeds, values, words

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")
coefficients = st.fractions(-5, 5, max_denominator=6)


@given(st.data(), ends, ends, ends, ends)
def test_words_form_a_ring(data, i, j, k, m):
    a, b = data.draw(words(i, j)), data.draw(words(i, j))
    c, d = data.draw(words(j, k)), data.draw(words(j, k))
    e = data.draw(words(k, m))
    assert a + b == b + a
    assert (a - a).is_zero()
    assert (a + b) @ c == a @ c + b @ c
    assert a @ (c + d) == a @ c + a @ d
    assert (a @ c) @ e == a @ (c @ e)
    assert identity(width(i)) @ a == a == a @ identity(width(j))
    assert (zero(width(i), width(i)) @ a).is_zero()


@given(st.data(), ends, ends, ends, coefficients)
def test_the_adjoint_reverses_products(data, i, j, k, c):
    a, b = data.draw(words(i, j)), data.draw(words(j, k))
    assert (a @ b).T == b.T @ a.T
    assert a == a.T.T
    assert a.T * c == (a * c).T


@given(st.data(), ends, ends, coefficients)
def test_traces_are_cyclic_and_blind_to_the_adjoint(data, i, j, c):
    a, b = data.draw(words(i, j)), data.draw(words(j, i))
    assert trace(a @ b) == trace(b @ a) == trace((a @ b).T)
    assert trace(a @ b * c) == trace(a @ b) * c
    assert inner(a, b.T) == inner(b.T, a) == trace(a.T @ b.T)


@given(st.data(), ends, ends, ends, seeds)
def test_words_say_what_matrices_say(data, i, j, k, seed):
    a, b, at = data.draw(words(i, j)), data.draw(words(j, k)), values(seed)
    va, vb = evaluate(a, at), evaluate(b, at)
    assert np.array_equal(evaluate(a @ b, at), va @ vb)
    assert np.array_equal(evaluate(a.T, at), va.T)
    assert np.array_equal(evaluate(a + a, at), 2 * va)
    assert evaluate(inner(a, a), at) == np.sum(va * va)


@given(st.data(), ends, ends)
def test_words_that_differ_have_different_matrices(data, i, j):
    a, b = data.draw(words(i, j)), data.draw(words(i, j))
    assert (a == b) == all(np.array_equal(evaluate(a, values(s)), evaluate(b, values(s))) for s in range(3))
    assert a != b or hash(a) == hash(b)


def test_the_alphabet_has_the_shapes_of_the_theory():
    l = LAYER
    assert (B(l).shape, F(l).T.shape) == (W(l).shape, M(l).shape)
    assert (X(l).T @ X(l) @ Sigma()).shape == (width(0), width(0))
    assert (M(l) @ E() @ X(l - 1).T).shape == W(l).shape
    assert Sigma() == Sigma().T


def test_symbolic_indices_meet_numbers():
    assert (W(LAYER + 1) @ W(LAYER)).at({LAYER: 1}) == W(2) @ W(1)
    assert trace(W(LAYER).T @ B(LAYER)).at({LAYER: 3}) == inner(B(3), W(3))


def test_symbolic_coefficients_are_canonical():
    a = sympy.Symbol("a")
    assert W(1) * (1 - a) * (1 + a) == W(1) * (1 - a**2)
    assert W(1) * a / a == W(1)
    assert (W(1) * (1 / (1 + a)) + W(1) * (a / (1 + a))) == W(1)


def test_words_do_not_change():
    w = W(1)
    with pytest.raises(AttributeError):
        w.terms = ()


def test_a_trace_of_the_identity_is_a_width():
    assert trace(identity(width(2))) == trace(identity(width(2)).T)
    assert str(trace(identity(width(2)))) == "n(2)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: W(1) @ W(2), "inner sizes that agree"),
        (lambda: W(1) + W(2), "words of one shape"),
        (lambda: trace(W(1)), "square"),
        (lambda: inner(W(1), W(2)), "words of one shape"),
        (lambda: W(1) * W(1), "product of two words is @"),
        (lambda: trace(sym(W(1) @ W(1).T)) * trace(sym(W(1) @ W(1).T)), "products of traces"),
        (lambda: W(1) * 0.5, "exact"),
        (lambda: W(1) / 0, "divided by zero"),
        (lambda: hadamard(W(1), W(2)), "one shape"),
        (lambda: hadamard(), "at least one"),
        (lambda: hadamard(W(2) @ W(1)), "single letter"),
        (lambda: sign(W(1) + B(1)), "single letter"),
        (lambda: sign(sign(W(1))), "plain letter"),
        (lambda: norm(2 * W(1)), "plain letter"),
        (lambda: letter("S", width(1), width(2), symmetric=True), "equal rows and columns"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evaluate(A[0, 1], {}), "no value"),
        (lambda: evaluate(A[0, 1] * sympy.Symbol("a"), {A[0, 1]: np.ones((2, 3))}), "give parameters"),
        (lambda: evaluate(A[0, 1], {A[0, 1]: np.ones(3)}), "needs a matrix"),
        (lambda: evaluate(A[0, 1], {A[0, 1]: np.ones((2, 3)), A[1, 0]: np.ones((2, 2))}), "elsewhere"),
        (lambda: evaluate(identity(width(7)), {}), "size n"),
    ],
)
def test_evaluation_says_what_is_missing(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_entrywise_words_are_evaluated():
    w = np.array([[1.0, -2.0]])
    at = {W(2): w, B(2): np.array([[3.0, 4.0]])}
    assert np.array_equal(evaluate(hadamard(B(2), sign(W(2))), at), [[3.0, -4.0]])
    assert np.allclose(evaluate(norm(W(2)) * sign(W(2)), at), np.sqrt(5) * np.sign(w), rtol=1e-15)
    assert hadamard(W(2), W(2) + B(2)) == hadamard(W(2), W(2)) + hadamard(B(2), W(2))
    assert evaluate(trace(W(2) @ W(2).T) * Fraction(1, 2), at) == 2.5
