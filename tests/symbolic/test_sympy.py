"""What SymPy's own matrix calculus gets wrong (1.13 to 1.14): these tests fail, and can go, when it is mended.

The words beside them show that nothing here depends on it.
"""

import sympy

from linfa.symbolic import Derivation, W, inner, letter, trace

A, B = sympy.MatrixSymbol("A", 2, 2), sympy.MatrixSymbol("B", 2, 2)
H = letter("H", *W(2).shape)


def test_the_derivative_of_a_sum_of_traces_is_lost():
    assert sympy.diff(sympy.Trace(A.T * A), A) == 2 * A
    assert isinstance(sympy.diff(sympy.Trace(A.T * A) + sympy.Trace(B.T * B), A), sympy.ZeroMatrix)
    assert Derivation({W(2): H})(inner(W(2), W(2)) + inner(W(1), W(1))) == 2 * inner(W(2), H)


def test_cyclic_traces_do_not_cancel():
    assert sympy.simplify(sympy.Trace(A * B) - sympy.Trace(B * A)) != 0
    assert trace(W(2) @ W(1) @ W(1).T @ W(2).T) == trace(W(1).T @ W(2).T @ W(2) @ W(1))


def test_powers_of_noncommuting_functions_differentiate_as_if_they_commuted():
    t = sympy.Symbol("t")
    f = sympy.Function("f", commutative=False)(t)
    leibniz = f.diff(t) * f + f * f.diff(t)
    assert sympy.expand(sympy.diff(f * f, t) - leibniz) != 0
    square = letter("f", 2, 2)
    change = letter("g", 2, 2)
    assert Derivation({square: change})(square @ square) == change @ square + square @ change
