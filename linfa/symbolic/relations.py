"""Relations: identities between letters, used from left to right, such as P_l M_l = 0 for the projector that
annihilates a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy

from linfa.errors import InputError
from linfa.symbolic.words import Monomial, Scalar, Word, adjoint, trace

_LIMIT = 10_000


@dataclass(frozen=True)
class Relation:
    """`pattern` = `replacement`, and the same transposed; the pattern is a single product.

    Args: pattern: a word of one term with coefficient 1; replacement: a word of the same shape, simpler than the
        pattern.
    Raises: InputError when the pattern is a sum, or shapes differ.

    >>> from linfa.symbolic.alphabet import W, X
    >>> rewrite(W(3) @ W(2) @ X(1), (Relation(W(2) @ X(1), X(2)), Relation(W(3) @ X(2), X(3))))
    X_3
    """

    pattern: Word
    replacement: Word

    def __post_init__(self) -> None:
        if len(self.pattern.terms) != 1 or self.pattern.terms[0][1] != 1 or not self.monomial:
            raise InputError(f"the left side of a relation is one product with coefficient 1; {self.pattern} came")
        if self.pattern.shape != self.replacement.shape:
            raise InputError(f"both sides of a relation have one shape; {self.pattern} = {self.replacement} does not")

    @property
    def monomial(self) -> Monomial:
        """The product that is replaced."""
        return self.pattern.terms[0][0]


def _find(monomial: Monomial, pattern: Monomial) -> int | None:
    size = len(pattern)
    return next((k for k in range(len(monomial) - size + 1) if monomial[k : k + size] == pattern), None)


def _once(expression: Word, relations: tuple[Relation, ...]) -> Word | None:
    for position, (monomial, coefficient) in enumerate(expression.terms):
        for relation in relations:
            sides = ((relation.monomial, relation.replacement), (adjoint(relation.monomial), relation.replacement.T))
            for pattern, replacement in sides:
                start = _find(monomial, pattern)
                if start is not None:
                    rest = expression.terms[:position] + expression.terms[position + 1 :]
                    before, after = monomial[:start], monomial[start + len(pattern) :]
                    pieces = tuple((before + m + after, c * coefficient) for m, c in replacement.terms)
                    return Word(expression.rows, expression.cols, rest) + Word(expression.rows, expression.cols, pieces)
    return None


def rewrite(expression: Word, relations: tuple[Relation, ...]) -> Word:
    """Use the relations from left to right until none applies.

    Raises: InputError when they go round in a circle.
    """
    for _ in range(_LIMIT):
        simpler = _once(expression, relations)
        if simpler is None:
            return expression
        expression = simpler
    raise InputError(
        f"the relations {relations} do not come to an end on {expression}: orient them towards simpler words"
    )


def _turns(monomial: Monomial) -> Iterator[Word]:
    """The rotations of a closed product, as words."""
    for k in range(len(monomial)):
        turn = monomial[k:] + monomial[:k]
        letter, flag = turn[0]
        size = letter.cols if flag else letter.rows
        yield Word(size, size, ((turn, sympy.Integer(1)),))


def rewrite_trace(expression: Scalar, relations: tuple[Relation, ...]) -> Scalar:
    """Use the relations inside traces, across the ends as well, until none applies.

    Raises: InputError when they go round in a circle.
    """
    for _ in range(_LIMIT):
        for position, (monomial, coefficient) in enumerate(expression.terms):
            simpler = next((r for turn in _turns(monomial) if (r := rewrite(turn, relations)) != turn), None)
            if simpler is not None:
                rest = expression.terms[:position] + expression.terms[position + 1 :]
                expression = Scalar(rest) + trace(simpler) * coefficient
                break
        else:
            return expression
    raise InputError(
        f"the relations {relations} do not come to an end on {expression}: orient them towards simpler words"
    )
