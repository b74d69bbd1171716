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
from linfa.symbolic.letters import DEPTH, AnyLetter, Entrywise, Index, Letter, norm_symbol, width

Factor: TypeAlias = tuple[AnyLetter, bool]
Monomial: TypeAlias = tuple[Factor, ...]
Coefficient: TypeAlias = int | Fraction | sympy.Expr
Terms: TypeAlias = tuple[tuple[Monomial, sympy.Expr], ...]


def _coefficient(value: Coefficient) -> sympy.Expr:
    if isinstance(value, float):
        raise InputError(f"coefficients are exact; {value!r} is a float: give an integer, a Fraction or a SymPy expression")
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

    Build words with `letter`, `W`, `B`, `F`, `identity`, … and combine them with `+`, `-`, `@`, `.T`, and `*` for scalars.

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
        return self * (1 / _coefficient(scalar))

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

    def at(self, values: Mapping[sympy.Symbol, int]) -> Word:
        """The word with numbers put in for symbols such as l (in indices, shapes and coefficients).

        >>> l = sympy.Symbol("l")
        >>> (W(l + 1) @ W(l)).at({l: 1})
        W_2 W_1
        """
        return Word(self.rows.subs(values), self.cols.subs(values), _gather(_at(self.terms, dict(values))))


@dataclass(frozen=True)
class Scalar:
    """A sum of traces with exact coefficients, each trace in its canonical form; the empty trace stands for 1.

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
        return self * (1 / _coefficient(scalar))

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

    def at(self, values: Mapping[sympy.Symbol, int]) -> Scalar:
        """The sum with numbers put in for symbols such as l."""
        return Scalar(_gather((cyclic(m), c) for m, c in _at(self.terms, dict(values))))


def _at(terms: Terms, values: dict[sympy.Symbol, int]) -> list[tuple[Monomial, sympy.Expr]]:
    return [(tuple((a.at(values), flag) for a, flag in m), c.subs(values)) for m, c in terms]


def word(letter: AnyLetter) -> Word:
    """The word that consists of one letter."""
    return Word(letter.rows, letter.cols, (((((letter, False)),), sympy.Integer(1)),))


def letter(name: str, rows: Index, cols: Index, *, index: Index | None = None, symmetric: bool = False) -> Word:
    """A word of one new letter of a given shape, e.g. a constant of a user's rule.

    >>> letter("A", width(2), width(2), symmetric=True).T
    A
    """
    at = None if index is None else sympy.sympify(index)
    return word(Letter(name, at, sympy.sympify(rows), sympy.sympify(cols), symmetric))


def identity(size: Index) -> Word:
    """I, of the given size: the empty product."""
    n = sympy.sympify(size)
    return Word(n, n, (((), sympy.Integer(1)),))


def zero(rows: Index, cols: Index) -> Word:
    """0, of the given shape: the empty sum."""
    return Word(sympy.sympify(rows), sympy.sympify(cols), ())


def W(layer: Index) -> Word:
    """The weights W_l, of shape (n_l, n_{l-1})."""
    return letter("W", width(layer), width(layer - 1), index=layer)


def B(layer: Index) -> Word:
    """The feedback B_l, of the shape of W_l."""
    return letter("B", width(layer), width(layer - 1), index=layer)


def F(layer: Index, depth: Index = DEPTH) -> Word:
    """The direct feedback F_l, of shape (n_L, n_l)."""
    return letter("F", width(depth), width(layer), index=layer)


def M(layer: Index, depth: Index = DEPTH) -> Word:
    """The feedback path M_l, of shape (n_l, n_L)."""
    return letter("M", width(layer), width(depth), index=layer)


def X(layer: Index) -> Word:
    """The partial product X_l = W_l … W_1, of shape (n_l, n_0)."""
    return letter("X", width(layer), width(0), index=layer)


def E(depth: Index = DEPTH) -> Word:
    """E = −∂ℓ/∂X_L, of shape (n_L, n_0): arbitrary, any loss and any data."""
    return letter("E", width(depth), width(0))


def Sigma(name: str = "Σ") -> Word:
    """The input covariance Σ, symmetric, of shape (n_0, n_0)."""
    return letter(name, width(0), width(0), symmetric=True)


def sym(A: Word) -> Word:
    """sym(A) = A + Aᵀ."""
    return A + A.T


def trace(A: Word) -> Scalar:
    """tr A, in canonical form: cyclic and transposed products are one.

    Raises: InputError when A is not square.

    >>> trace(B(2).T @ W(2) - W(2).T @ B(2))
    0
    """
    if A.rows != A.cols:
        raise InputError(f"a trace needs a square word; {A} is {A.rows} x {A.cols}")
    return Scalar(_gather((cyclic(m), c if m else c * A.rows) for m, c in A.terms))


def inner(A: Word, B: Word) -> Scalar:
    """⟨A, B⟩ = tr(AᵀB).

    Raises: InputError when the shapes differ.

    >>> inner(W(2), B(2)) == inner(B(2), W(2))
    True
    """
    if A.shape != B.shape:
        raise InputError(
            f"an inner product needs words of one shape; {A} is {A.rows} x {A.cols}, {B} is {B.rows} x {B.cols}"
        )
    return trace(A.T @ B)


def _one_letter(A: Word, operation: str) -> tuple[AnyLetter, sympy.Expr]:
    if len(A.terms) != 1 or len(A.terms[0][0]) != 1 or A.terms[0][0][0][1]:
        raise InputError(f"{operation} takes a single letter, not transposed; {A} came")
    (((found, _),), coefficient) = A.terms[0]
    return found, coefficient


def _parts(found: AnyLetter) -> tuple[tuple[str, Letter], ...]:
    return found.parts if isinstance(found, Entrywise) else (("id", found),)


def hadamard(*words: Word) -> Word:
    """The entrywise product A ⊙ B ⊙ …, linear in each argument.

    >>> hadamard(W(2), W(2), W(2))
    (W_2 ⊙ W_2 ⊙ W_2)
    """
    if not words:
        raise InputError("an entrywise product needs at least one word")
    total = zero(*words[0].shape)
    pieces: list[tuple[tuple[tuple[str, Letter], ...], sympy.Expr]] = [((), sympy.Integer(1))]
    for A in words:
        singles = [_one_letter(Word(A.rows, A.cols, (term,)), "an entrywise product") for term in A.terms]
        pieces = [(parts + _parts(a), c * d) for parts, c in pieces for a, d in singles]
    for parts, coefficient in pieces:
        total = total + word(parts[0][1] if parts[1:] == () and parts[0][0] == "id" else Entrywise(parts)) * coefficient
    return total


def sign(A: Word) -> Word:
    """sign(A), entry by entry, of a single letter: the feedback of sign-symmetric rules (uSF)."""
    return _entry_function("sign", A)


def absolute(A: Word) -> Word:
    """|A|, entry by entry, of a single letter."""
    return _entry_function("abs", A)


def _entry_function(function: str, A: Word) -> Word:
    found, coefficient = _one_letter(A, function)
    if isinstance(found, Entrywise) or coefficient != 1:
        raise InputError(f"{function} takes a plain letter; {A} came: write its factors outside")
    return word(Entrywise(((function, found),)))


def norm(A: Word) -> sympy.Expr:
    """‖A‖_F of a single letter, as a coefficient: norm(W) * sign(W).

    >>> norm(W(2)) * sign(W(2))
    ‖W_2‖ sign(W_2)
    """
    found, coefficient = _one_letter(A, "norm")
    if isinstance(found, Entrywise) or coefficient != 1:
        raise InputError(f"norm takes a plain letter; {A} came")
    return norm_symbol(found)
