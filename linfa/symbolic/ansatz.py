"""The ansatz: every product of the moving letters and the constants of a flow, up to a degree and a length, by
shape.
"""

from __future__ import annotations

from typing import TypeAlias

import sympy

from linfa.symbolic.derivation import shape_of
from linfa.symbolic.letters import Letter
from linfa.symbolic.relations import rewrite, rewrite_trace
from linfa.symbolic.rules import Flow
from linfa.symbolic.words import Monomial, Scalar, Word, cyclic, monomial_key

Shape: TypeAlias = tuple[sympy.Expr, sympy.Expr]


def products(flow: Flow, degree: int, length: int) -> list[Word]:
    """All products of at most `length` letters, 1 ≤ degree in the moving ones, in normal form."""
    factors, moving = factors_of(flow), {source.letters()[0] for source in flow.velocity}
    layer: list[Monomial] = [(factor,) for factor in factors]
    every: list[Monomial] = []
    for _ in range(length):
        layer = [m for m in layer if sum(a in moving for a, _ in m) <= degree and _normal(flow, m)]
        every += layer
        layer = [(*m, f) for m in layer for f in factors if shape_of(m)[1] == shape_of((f,))[0]]
    return [product_word(m) for m in every if any(a in moving for a, _ in m)]


def factors_of(flow: Flow) -> list[tuple[Letter, bool]]:
    """The letters of a flow, each plain and (unless symmetric) transposed."""
    letters = [source.letters()[0] for source in (*flow.velocity, *flow.constants)]
    return [
        (a, flag) for a in letters if isinstance(a, Letter) for flag in ((False,) if a.symmetric else (False, True))
    ]


def _normal(flow: Flow, monomial: Monomial) -> bool:
    w = product_word(monomial)
    return rewrite(w, flow.relations) == w


def product_word(monomial: Monomial) -> Word:
    """The word that is one product."""
    return Word(*shape_of(monomial), ((monomial, sympy.Integer(1)),))


def by_shape(flow: Flow, degree: int, length: int) -> dict[Shape, list[Word | Scalar]]:
    """Products by shape, one of each shape and its transpose."""
    shapes: dict[Shape, list[Word | Scalar]] = {}
    for w in products(flow, degree, length):
        if (w.cols, w.rows) not in shapes or w.rows == w.cols:
            shapes.setdefault(w.shape, []).append(w)
    return shapes


def closed(flow: Flow, degree: int, length: int) -> list[Scalar]:
    """All traces of such products, one of each class, in normal form."""
    found = {cyclic(w.terms[0][0]) for w in products(flow, degree, length) if w.rows == w.cols}
    every = [Scalar(((m, sympy.Integer(1)),)) for m in sorted(found, key=monomial_key)]
    return [s for s in every if rewrite_trace(s, flow.relations) == s]
