"""Words: sums of products of matrix letters, exact, with adjoint, product, trace and inner product.

    word = Σ c · A_1 A_2 … A_k ,   (A B)ᵀ = Bᵀ Aᵀ ,   tr(A B) = tr(B A) = tr(Bᵀ Aᵀ) ,   ⟨A, B⟩ = tr(Aᵀ B)

Two words are equal as soon as they are the same sum: equality is structural, and sound for every width at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import sympy

from linfa.errors import InputError
from linfa.symbolic.letters import AnyLetter, Index

Factor: TypeAlias = tuple[AnyLetter, bool]
Monomial: TypeAlias = tuple[Factor, ...]
Coefficient: TypeAlias = int | Fraction | sympy.Expr
Terms: TypeAlias = tuple[tuple[Monomial, sympy.Expr], ...]


def _coefficient(value: Coefficient) -> sympy.Expr:
    if isinstance(value, float):
        raise InputError(
            f"coefficients are exact; {value!r} is a float: give an integer, a Fraction or a SymPy expression"
        )
    exact = sympy.Rational(value.numerator, value.denominator) if isinstance(value, Fraction) else sympy.sympify(value)
    if exact.has(sympy.nan, sympy.zoo, sympy.oo):
        raise InputError(f"coefficients are finite; {value!r} is not: was something divided by zero?")
    return exact if exact.is_Rational else sympy.cancel(exact)


def monomial_key(monomial: Monomial) -> tuple[int, tuple[tuple[tuple[str, str], bool], ...]]:
    """What monomials are sorted by: the length, then the letters."""
    return (len(monomial), tuple((letter.key, adjoint) for letter, adjoint in monomial))


def adjoint(monomial: Monomial) -> Monomial:
    """(A_1 … A_k)ᵀ = A_kᵀ … A_1ᵀ for a single product."""
    return tuple((letter, not flag and not letter.symmetric) for letter, flag in reversed(monomial))


def cyclic(monomial: Monomial) -> Monomial:
    """The one product that stands for all of those with the same trace: least over rotations and their adjoints."""
    turns = [turn[k:] + turn[:k] for turn in (monomial, adjoint(monomial)) for k in range(len(monomial))]
    return min(turns, key=monomial_key, default=())


def _gather(terms: Iterable[tuple[Monomial, sympy.Expr]]) -> Terms:
    total: dict[Monomial, sympy.Expr] = {}
    for monomial, coefficient in terms:
        total[monomial] = total[monomial] + coefficient if monomial in total else coefficient
    exact = ((monomial, _coefficient(coefficient)) for monomial, coefficient in total.items())
    return tuple(sorted(((m, c) for m, c in exact if c != 0), key=lambda term: monomial_key(term[0])))


@dataclass(frozen=True)
class Word:
    """A matrix-valued word: a sum of products of letters with exact coefficients; immutable, hashable.

    Build words with the alphabet (`W`, `B`, `letter`, …) and combine them with `+`, `-`, `@`, `.T`, and `*` for
    scalars.

    >>> from linfa.symbolic.alphabet import B, W
    >>> l = sympy.Symbol("l")
    >>> W(l) @ W(l).T - W(l) @ W(l).T
    0
    >>> (B(l + 1).T @ W(l + 1)).T == W(l + 1).T @ B(l + 1)
    True
    """

    rows: sympy.Expr
    cols: sympy.Expr
    terms: Terms

    __array_priority__ = 1000

    @property
    def shape(self) -> tuple[sympy.Expr, sympy.Expr]:
        """(rows, cols), symbolic or not."""
        return self.rows, self.cols

    @property
    def T(self) -> Word:
        """The adjoint."""
        return Word(self.cols, self.rows, _gather((adjoint(m), c) for m, c in self.terms))

    def __add__(self, other: Word) -> Word:
        if not isinstance(other, Word):
            return NotImplemented
        if self.shape != other.shape:
            raise InputError(
                f"a sum needs words of one shape; {self} is {self.rows} x {self.cols} and {other} is "
                f"{other.rows} x {other.cols}: a transpose may be missing"
            )
        return Word(self.rows, self.cols, _gather(self.terms + other.terms))

    def __neg__(self) -> Word:
        return self * -1

    def __sub__(self, other: Word) -> Word:
        if not isinstance(other, Word):
            return NotImplemented
        return self + -other

    def __mul__(self, scalar: Coefficient) -> Word:
        if isinstance(scalar, Word):
            raise InputError("* multiplies a word by a scalar; the product of two words is @")
        exact = _coefficient(scalar)
        return Word(self.rows, self.cols, _gather((m, c * exact) for m, c in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, scalar: Coefficient) -> Word:
        inverse: sympy.Expr = 1 / _coefficient(scalar)
        return self.__mul__(inverse)

    def __matmul__(self, other: Word) -> Word:
        if not isinstance(other, Word):
            return NotImplemented
        if self.cols != other.rows:
            raise InputError(
                f"a product needs inner sizes that agree; {self} is {self.rows} x {self.cols} and {other} is "
                f"{other.rows} x {other.cols}: a transpose may be missing"
            )
        products = ((m + k, c * d) for m, c in self.terms for k, d in other.terms)
        return Word(self.rows, other.cols, _gather(products))

    def __str__(self) -> str:
        from linfa.symbolic.printing import text

        return text(self)

    __repr__ = __str__

    def is_zero(self) -> bool:
        """Whether nothing is left."""
        return not self.terms

    def letters(self) -> tuple[AnyLetter, ...]:
        """The letters that occur, sorted."""
        return tuple(sorted({a for m, _ in self.terms for a, _ in m}, key=lambda a: a.key))

    def at(self, values: Mapping[sympy.Symbol, Index]) -> Word:
        """The word with numbers put in for symbols such as l (in indices, shapes and coefficients).

        >>> from linfa.symbolic.alphabet import W
        >>> l = sympy.Symbol("l")
        >>> (W(l + 1) @ W(l)).at({l: 1})
        W_2 W_1
        """
        return Word(self.rows.subs(values), self.cols.subs(values), _gather(_at(self.terms, values)))


@dataclass(frozen=True)
class Scalar:
    """A sum of traces with exact coefficients, each trace in its canonical form; the empty trace stands for 1.

    >>> from linfa.symbolic.alphabet import W
    >>> trace(W(1) @ W(1).T) == trace(W(1).T @ W(1))
    True
    """

    terms: Terms

    def __add__(self, other: Scalar) -> Scalar:
        if not isinstance(other, Scalar):
            return NotImplemented
        return Scalar(_gather(self.terms + other.terms))

    def __neg__(self) -> Scalar:
        return self * -1

    def __sub__(self, other: Scalar) -> Scalar:
        if not isinstance(other, Scalar):
            return NotImplemented
        return self + -other

    def __mul__(self, scalar: Coefficient) -> Scalar:
        if isinstance(scalar, Word | Scalar):
            raise InputError("* multiplies a sum of traces by a number; products of traces are not in this algebra")
        exact = _coefficient(scalar)
        return Scalar(_gather((m, c * exact) for m, c in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, scalar: Coefficient) -> Scalar:
        inverse: sympy.Expr = 1 / _coefficient(scalar)
        return self.__mul__(inverse)

    def __str__(self) -> str:
        from linfa.symbolic.printing import text

        return text(self)

    __repr__ = __str__

    def is_zero(self) -> bool:
        """Whether nothing is left."""
        return not self.terms

    def letters(self) -> tuple[AnyLetter, ...]:
        """The letters that occur, sorted."""
        return tuple(sorted({a for m, _ in self.terms for a, _ in m}, key=lambda a: a.key))

    def at(self, values: Mapping[sympy.Symbol, Index]) -> Scalar:
        """The sum with numbers put in for symbols such as l."""
        return Scalar(_gather((cyclic(m), c) for m, c in _at(self.terms, values)))


def _at(terms: Terms, values: Mapping[sympy.Symbol, Index]) -> list[tuple[Monomial, sympy.Expr]]:
    return [(tuple((a.at(values), flag) for a, flag in m), c.subs(values)) for m, c in terms]


def word(letter: AnyLetter) -> Word:
    """The word that consists of one letter."""
    return Word(letter.rows, letter.cols, (((((letter, False)),), sympy.Integer(1)),))


def identity(size: Index) -> Word:
    """I, of the given size: the empty product."""
    n = sympy.sympify(size)
    return Word(n, n, (((), sympy.Integer(1)),))


def zero(rows: Index, cols: Index) -> Word:
    """0, of the given shape: the empty sum."""
    return Word(sympy.sympify(rows), sympy.sympify(cols), ())


def sym(A: Word) -> Word:
    """sym(A) = A + Aᵀ."""
    return A + A.T


def trace(A: Word) -> Scalar:
    """The trace tr A, in canonical form: cyclic and transposed products are one.

    Raises: InputError when A is not square.

    >>> from linfa.symbolic.alphabet import B, W
    >>> trace(B(2).T @ W(2) - W(2).T @ B(2))
    0
    """
    if A.rows != A.cols:
        raise InputError(f"a trace needs a square word; {A} is {A.rows} x {A.cols}")
    return Scalar(_gather((cyclic(m), c if m else c * A.rows) for m, c in A.terms))


def inner(A: Word, B: Word) -> Scalar:
    """⟨A, B⟩ = tr(AᵀB).

    Raises: InputError when the shapes differ.

    >>> from linfa.symbolic.alphabet import B, W
    >>> inner(W(2), B(2)) == inner(B(2), W(2))
    True
    """
    if A.shape != B.shape:
        raise InputError(
            f"an inner product needs words of one shape; {A} is {A.rows} x {A.cols}, {B} is {B.rows} x {B.cols}"
        )
    return trace(A.T @ B)
