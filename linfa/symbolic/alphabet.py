"""The alphabet: the letters of theory.md as words, W_l, B_l, F_l, M_l, X_l, E, Σ, and letters of a user's own."""

from __future__ import annotations

import sympy

from linfa.symbolic.letters import DEPTH, Index, Letter, width
from linfa.symbolic.words import Word, word


def letter(name: str, rows: Index, cols: Index, *, index: Index | None = None, symmetric: bool = False) -> Word:
    """A word of one new letter of a given shape, e.g. a constant of a user's rule.

    >>> letter("A", width(2), width(2), symmetric=True).T
    A
    """
    at = None if index is None else sympy.sympify(index)
    return word(Letter(name, at, sympy.sympify(rows), sympy.sympify(cols), symmetric))


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
