"""What several claims write: ½, ¼, ‖A‖², the target Y, and a word in numbers, for counterexamples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy

from linfa.symbolic import Scalar, Word, inner, letter, width

half, quarter = sympy.Rational(1, 2), sympy.Rational(1, 4)


def square(A: Word) -> Scalar:
    """‖A‖²."""
    return inner(A, A)


def target(depth: Any) -> Word:
    """Y, of the shape of the whole map X_L: (n_L, n_0)."""
    return letter("Y", width(depth), width(0))


def at(expression: Word | Scalar, values: Mapping[Word, Any]) -> sympy.Matrix:
    """Return the word at exact matrices, one for each letter, whose entries may be symbols; a trace is 1 × 1.

    >>> from linfa.symbolic import W
    >>> at(W(2) @ W(1), {W(1): [[2]], W(2): [[sympy.Symbol("w")]]})
    Matrix([[2*w]])
    """
    known = {source.letters()[0]: sympy.Matrix(value) for source, value in values.items()}
    sizes = {s: n for a, value in known.items() for s, n in zip((a.rows, a.cols), value.shape, strict=True)}
    traced = isinstance(expression, Scalar)
    shape = (1, 1) if traced else tuple(int(s.subs(sizes)) for s in expression.shape)
    total = sympy.zeros(*shape)
    for monomial, coefficient in expression.terms:
        factors = [known[a].T if adjoint else known[a] for a, adjoint in monomial]
        product = sympy.prod(factors[1:], start=factors[0]) if factors else sympy.eye(shape[0])
        total += coefficient.subs(sizes) * (sympy.Matrix([[product.trace()]]) if traced else product)
    return total
