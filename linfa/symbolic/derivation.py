"""Derivations and substitutions: how a word changes along a flow, and by exactly how much in one finite step.

d/dt (A B) = Ȧ B + A Ḃ          Δ Q = Q(W + ΔW) − Q(W), a polynomial in η
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, overload

import sympy

from linfa.errors import InputError
from linfa.symbolic.letters import Entrywise, Letter, has_norm
from linfa.symbolic.relations import Relation, rewrite, rewrite_trace
from linfa.symbolic.words import Monomial, Scalar, Word, identity, trace, word, zero

Expression = TypeVar("Expression", Word, Scalar)


def _moving(images: Mapping[Word, Word]) -> dict[Letter, Word]:
    found: dict[Letter, Word] = {}
    for source, image in images.items():
        letter = source.letters()[0] if len(source.terms) == 1 else None
        if not isinstance(letter, Letter) or source != word(letter):
            raise InputError(f"a derivation is given by letters and their images; {source} is not a single letter")
        if source.shape != image.shape:
            raise InputError(
                f"a letter and its image have one shape; {source} is {source.rows} x {source.cols} "
                f"and {image} is {image.rows} x {image.cols}"
            )
        found[letter] = image
    return found


def refuse_unpolynomial(expression: Word | Scalar, letters: frozenset[Letter], purpose: str) -> None:
    """Raise InputError where a moving letter hides in an entrywise function or in a norm."""
    hidden = [
        a for a in expression.letters() if isinstance(a, Entrywise) and any(part in letters for _, part in a.parts)
    ]
    normed = [c for _, c in expression.terms if has_norm(c, tuple(letters))]
    if hidden or normed:
        raise InputError(
            f"{purpose} needs words that are polynomials of the moving letters; {(hidden or normed)[0]} is not one: "
            "ask linfa.symbolic.potential, which decides entrywise functions and norms"
        )


@dataclass(frozen=True)
class Derivation:
    """The derivation with given images of the letters; letters without an image are constant.

        d(A B) = d(A) B + A d(B) ,  d(Aᵀ) = d(A)ᵀ ,  d tr(A) = tr d(A)

    Args: images: letter (as a word) → word; relations: identities between letters, applied to every result.
    Raises: InputError when shapes clash or when an entrywise function of a moving letter is met.

    >>> from linfa.symbolic.alphabet import W, letter
    >>> V = letter("V", *W(2).shape)
    >>> Derivation({W(2): V})(W(2).T @ W(2))
    Vᵀ W_2 + W_2ᵀ V
    """

    images: Mapping[Word, Word]
    relations: tuple[Relation, ...] = ()
    letters: dict[Letter, Word] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "letters", _moving(self.images))

    @overload
    def __call__(self, expression: Word) -> Word: ...
    @overload
    def __call__(self, expression: Scalar) -> Scalar: ...
    @overload
    def __call__(self, expression: Word | Scalar) -> Word | Scalar: ...
    def __call__(self, expression: Word | Scalar) -> Word | Scalar:
        """d(expression), of the same kind."""
        refuse_unpolynomial(expression, frozenset(self.letters), "a derivation")
        if isinstance(expression, Scalar):
            total = Scalar(())
            for monomial, coefficient in expression.terms:
                if monomial:
                    total = total + trace(self._product(monomial)) * coefficient
            return rewrite_trace(total, self.relations)
        result = zero(*expression.shape)
        for monomial, coefficient in expression.terms:
            if monomial:
                result = result + self._product(monomial) * coefficient
        return result

    def _product(self, monomial: Monomial) -> Word:
        result = zero(*shape_of(monomial))
        for k, (letter, flag) in enumerate(monomial):
            if isinstance(letter, Letter) and letter in self.letters:
                image = self.letters[letter]
                middle = image.T if flag else image
                result = result + _product_word(monomial[:k], middle.rows) @ middle @ _product_word(
                    monomial[k + 1 :], middle.cols
                )
        return rewrite(result, self.relations)


def shape_of(monomial: Monomial) -> tuple[sympy.Expr, sympy.Expr]:
    """The shape of a non-empty product."""
    (first, start), (last, end) = monomial[0], monomial[-1]
    return (first.cols if start else first.rows, last.rows if end else last.cols)


def _product_word(monomial: Monomial, size: sympy.Expr) -> Word:
    if not monomial:
        return identity(size)
    return Word(*shape_of(monomial), ((monomial, sympy.Integer(1)),))


def substitute(expression: Expression, images: Mapping[Word, Word], relations: tuple[Relation, ...] = ()) -> Expression:
    """Put words in for letters, everywhere at once.

    Args: expression: word or sum of traces; images: letter → word of the same shape; relations: applied to the result.
    Raises: InputError as for `Derivation`.

    >>> from linfa.symbolic.alphabet import B, W
    >>> substitute(W(2).T @ W(2), {W(2): B(2)})
    B_2ᵀ B_2
    """
    letters = _moving(images)
    refuse_unpolynomial(expression, frozenset(letters), "a substitution")
    if isinstance(expression, Scalar):
        total = Scalar(())
        for monomial, coefficient in expression.terms:
            piece = trace(_replaced(monomial, letters)) if monomial else Scalar((((), sympy.Integer(1)),))
            total = total + piece * coefficient
        return rewrite_trace(total, relations)
    result = zero(*expression.shape)
    for monomial, coefficient in expression.terms:
        piece_word = _replaced(monomial, letters) if monomial else identity(expression.rows)
        result = result + piece_word * coefficient
    return rewrite(result, relations)


def _replaced(monomial: Monomial, letters: Mapping[Letter, Word]) -> Word:
    result = identity(shape_of(monomial)[0])
    for letter, flag in monomial:
        image = letters.get(letter) if isinstance(letter, Letter) else None
        factor = word(letter) if image is None else image
        result = result @ (factor.T if flag else factor)
    return result


def powers(expression: Expression, variable: sympy.Symbol) -> dict[int, Expression]:
    """Split a sum whose coefficients are polynomials of one variable: {k: the coefficient of variable**k}.

    Raises: InputError when a coefficient is no polynomial of the variable.

    >>> from linfa.symbolic.alphabet import W
    >>> eta = sympy.Symbol("η")
    >>> powers(W(1) * (1 + 2 * eta**2), eta)
    {0: W_1, 2: 2 W_1}
    """
    found: dict[int, list[tuple[Monomial, sympy.Expr]]] = {}
    for monomial, coefficient in expression.terms:
        if not coefficient.is_polynomial(variable):
            raise InputError(f"{coefficient} is no polynomial of {variable}")
        for (power,), part in sympy.Poly(coefficient, variable).terms():
            found.setdefault(power, []).append((monomial, part))
    return {power: _like(expression, terms) for power, terms in sorted(found.items())}


def _like(expression: Expression, terms: list[tuple[Monomial, sympy.Expr]]) -> Expression:
    if isinstance(expression, Scalar):
        return Scalar(tuple(terms)) * 1
    return Word(expression.rows, expression.cols, tuple(terms)) * 1
