"""Feedback made entry by entry: ⊙, sign, |·| of a letter, and the norm ‖W‖_F as a coefficient."""

from __future__ import annotations

import sympy

from linfa.errors import InputError
from linfa.symbolic.letters import AnyLetter, Entrywise, Letter, norm_symbol
from linfa.symbolic.words import Word, word, zero


def _one_letter(A: Word, operation: str) -> tuple[AnyLetter, sympy.Expr]:
    if len(A.terms) != 1 or len(A.terms[0][0]) != 1 or A.terms[0][0][0][1]:
        raise InputError(f"{operation} takes a single letter, not transposed; {A} came")
    (((found, _),), coefficient) = A.terms[0]
    return found, coefficient


def _parts(found: AnyLetter) -> tuple[tuple[str, Letter], ...]:
    return found.parts if isinstance(found, Entrywise) else (("id", found),)


def hadamard(*words: Word) -> Word:
    """The entrywise product A ⊙ B ⊙ …, linear in each argument.

    >>> from linfa.symbolic.alphabet import W
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
    """The signs of A, entry by entry, of a single letter: the feedback of sign-symmetric rules (uSF)."""
    return _entry_function("sign", A)


def absolute(A: Word) -> Word:
    """The absolute values |A|, entry by entry, of a single letter."""
    return _entry_function("abs", A)


def _entry_function(function: str, A: Word) -> Word:
    found, coefficient = _one_letter(A, function)
    if isinstance(found, Entrywise) or coefficient != 1:
        raise InputError(f"{function} takes a plain letter; {A} came: write its factors outside")
    return word(Entrywise(((function, found),)))


def norm(A: Word) -> sympy.Expr:
    """‖A‖_F of a single letter, as a coefficient: norm(W) * sign(W).

    >>> from linfa.symbolic.alphabet import W
    >>> norm(W(2)) * sign(W(2))
    ‖W_2‖ sign(W_2)
    """
    found, coefficient = _one_letter(A, "norm")
    if isinstance(found, Entrywise) or coefficient != 1:
        raise InputError(f"norm takes a plain letter; {A} came")
    return norm_symbol(found)
