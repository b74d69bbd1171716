"""Letters: the typed, shaped symbols that words are made of — W_l, B_l, F_l, M_l, X_l, E, Σ.

A layer index may be a number or symbolic (l, l + 1), and so may a width (n_l), so that one derivation serves every
depth and every width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import sympy

from linfa.errors import InputError

Index: TypeAlias = int | sympy.Expr

_width = sympy.Function("n")
_norm = sympy.Function("norm")
DEPTH = sympy.Symbol("L", integer=True, positive=True)
LAYER = sympy.Symbol("l", integer=True, positive=True)


def width(layer: Index) -> sympy.Expr:
    """The width n_l of layer l, as a symbol that knows its index.

    >>> width(LAYER + 1)
    n(l + 1)
    """
    return _width(sympy.sympify(layer))


@dataclass(frozen=True)
class Letter:
    """One matrix symbol: a name, a layer index (or none), a shape.

    Args: name, index, rows, cols: what it is; symmetric: whether Aᵀ = A, so that the adjoint leaves it alone.

    >>> Letter("W", sympy.Integer(2), width(2), width(1))
    W_2
    """

    name: str
    index: sympy.Expr | None
    rows: sympy.Expr
    cols: sympy.Expr
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.symmetric and self.rows != self.cols:
            raise InputError(
                f"a symmetric letter is square; {self.name} came with the shape {self.rows} x {self.cols}: "
                "give it equal rows and columns, or symmetric=False"
            )

    @cached_property
    def key(self) -> tuple[str, str]:
        """What letters are sorted by: the name, then the index."""
        return (self.name, "" if self.index is None else str(self.index))

    @cached_property
    def label(self) -> str:
        """The letter in plain text: W_2, B_{l+1}, E."""
        index = self.key[1].replace(" ", "")
        return self.name if self.index is None else f"{self.name}_{index if len(index) == 1 else f'{{{index}}}'}"

    def __repr__(self) -> str:
        return self.label

    def at(self, values: Mapping[sympy.Symbol, Index]) -> Letter:
        """The same letter with numbers put in for symbols such as l.

        >>> Letter("W", LAYER + 1, width(LAYER + 1), width(LAYER)).at({LAYER: 2})
        W_3
        """
        index = None if self.index is None else self.index.subs(values)
        return Letter(self.name, index, self.rows.subs(values), self.cols.subs(values), self.symmetric)


@dataclass(frozen=True)
class Entrywise:
    """A letter made entry by entry from others: (M ⊙ sign(W))_ij = M_ij sign(W_ij).

    Args: parts: pairs (function, letter) with function "id", "sign" or "abs"; all letters of one shape.
    Raises: InputError when the shapes differ.
    """

    parts: tuple[tuple[str, Letter], ...]

    def __post_init__(self) -> None:
        shapes = sorted({(str(a.rows), str(a.cols)) for _, a in self.parts})
        if len(shapes) != 1:
            raise InputError(f"an entrywise product needs letters of one shape; {self.parts} have the shapes {shapes}")
        object.__setattr__(self, "parts", tuple(sorted(self.parts, key=lambda part: (part[1].key, part[0]))))

    @property
    def rows(self) -> sympy.Expr:
        """The number of rows."""
        return self.parts[0][1].rows

    @property
    def cols(self) -> sympy.Expr:
        """The number of columns."""
        return self.parts[0][1].cols

    symmetric = False

    @cached_property
    def key(self) -> tuple[str, str]:
        """What letters are sorted by."""
        return (self.label, "")

    @cached_property
    def label(self) -> str:
        """The letter in plain text: M ⊙ sign(W)."""
        return "(" + " ⊙ ".join(a.label if f == "id" else f"{f}({a.label})" for f, a in self.parts) + ")"

    def __repr__(self) -> str:
        return self.label

    def at(self, values: Mapping[sympy.Symbol, Index]) -> Entrywise:
        """The same letter with numbers put in for symbols such as l."""
        return Entrywise(tuple((f, a.at(values)) for f, a in self.parts))


AnyLetter: TypeAlias = Letter | Entrywise


def norm_symbol(letter: Letter) -> sympy.Expr:
    """The Frobenius norm ‖W‖_F as a coefficient that knows its letter."""
    return _norm(sympy.Symbol(letter.label))


def has_norm(coefficient: sympy.Expr, letters: Sequence[Letter] | None = None) -> bool:
    """Whether a coefficient contains the norm of one of the letters (of any letter, when none is named)."""
    if letters is None:
        return bool(coefficient.atoms(_norm))
    return any(coefficient.has(norm_symbol(letter)) for letter in letters)


def inside(letter: AnyLetter) -> tuple[Letter, ...]:
    """The plain letters that a letter is made of."""
    return tuple(part for _, part in letter.parts) if isinstance(letter, Entrywise) else (letter,)
