"""Feedback entry by entry: b(w) for one entry w of W, with sign(w), |w|, and the norm ρ = ‖W‖_F as a common factor.

∂b(w)/∂w' = ∂b/∂ρ · w'/ρ  for another entry w'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import sympy

from linfa.errors import InputError
from linfa.symbolic.dual import Array
from linfa.symbolic.letters import AnyLetter, Entrywise, Index, Letter, inside, norm_symbol
from linfa.symbolic.words import Word

RHO = sympy.Symbol("ρ", positive=True)
_SIZES = (2, 3)


@dataclass(frozen=True)
class Entry:
    """b(w) as a SymPy expression of the entry w, its sign s, constants' entries, and ρ.

    >>> from linfa.symbolic.alphabet import W
    >>> from linfa.symbolic.entrywise import sign
    >>> print(entry_of(3 * sign(W(2)), W(2).letters()[0]))
    3*sign(W_2)
    """

    expression: sympy.Expr
    weight: sympy.Symbol
    sign: sympy.Symbol
    constants: frozenset[sympy.Symbol] = frozenset()

    @property
    def has_norm(self) -> bool:
        """Whether the norm of W occurs."""
        return bool(self.expression.has(RHO))

    @property
    def has_sign(self) -> bool:
        """Whether the sign of w occurs."""
        return bool(self.expression.has(self.sign))

    def readable(self) -> sympy.Expr:
        """The expression with |w| and sign(w) in place of the sign's symbol."""
        return self.expression.subs(self.sign * self.weight, sympy.Abs(self.weight)).subs(
            self.sign, sympy.sign(self.weight)
        )

    def __str__(self) -> str:
        return str(self.readable())

    def at(self, values: Mapping[sympy.Symbol, Index], feedback: Word, weights: Word) -> Entry:
        """The same function of the entries at one layer."""
        letters = [b for a in (*feedback.letters(), *weights.letters()) for b in inside(a)]
        real = {a.label: sympy.Symbol(a.at(values).label, real=True) for a in letters}
        names = {symbol: real[symbol.name] for symbol in {self.weight, *self.constants} if symbol.name in real}
        constants = frozenset(names.get(c, c) for c in self.constants)
        return Entry(self.expression.subs(names, simultaneous=True), names[self.weight], self.sign, constants)

    def evaluate(self, arrays: Mapping[str, Array], parameters: Mapping[sympy.Symbol, float] | None = None) -> Array:
        """The function on whole matrices: arrays by label, numbers by symbol.

        Raises: InputError when a letter or a parameter has no value.
        """
        A = arrays[self.weight.name]
        known = {self.weight: A, self.sign: np.sign(A), RHO: np.linalg.norm(A), **(parameters or {})}
        known |= {c: arrays[c.name] for c in self.constants if c.name in arrays}
        missing = sorted(str(s) for s in self.expression.free_symbols - set(known))
        if missing:
            raise InputError(
                f"{self} has no value for {', '.join(missing)}: give arrays for letters and numbers for parameters"
            )
        function = sympy.lambdify(list(known), self.expression, "numpy")
        return np.broadcast_to(function(*known.values()), A.shape)


def entry_of(feedback: Word, moving: Letter) -> Entry:
    """The generic entry of a feedback that acts entry by entry."""
    w, s = sympy.Symbol(moving.label, real=True), sympy.Symbol(f"s_{moving.label}", real=True)
    total, constants = sympy.Integer(0), set()
    for monomial, coefficient in feedback.terms:
        entry = _entry(monomial[0][0] if len(monomial) == 1 else None, monomial, w, s, moving)
        constants |= entry.free_symbols - {w, s}
        total += coefficient.subs(norm_symbol(moving), RHO) * entry
    return Entry(_reduced(total, s), w, s, frozenset(constants))


def _entry(
    single: AnyLetter | None,
    monomial: tuple[tuple[AnyLetter, bool], ...],
    w: sympy.Symbol,
    s: sympy.Symbol,
    moving: Letter,
) -> sympy.Expr:
    if isinstance(single, Entrywise):
        return sympy.prod([_part(f, a, w, s, moving) for f, a in single.parts])
    if single == moving and not monomial[0][1]:
        return w
    return sympy.Symbol(" ".join(a.label + ("ᵀ" if flag else "") for a, flag in monomial) or "I", real=True)


def _part(function: str, a: Letter, w: sympy.Symbol, s: sympy.Symbol, moving: Letter) -> sympy.Expr:
    if a == moving:
        return {"id": w, "sign": s, "abs": s * w}[function]
    constant = sympy.Symbol(a.label, real=True)
    return {"id": constant, "sign": sympy.sign(constant), "abs": sympy.Abs(constant)}[function]


def _reduced(expression: sympy.Expr, sign: sympy.Symbol) -> sympy.Expr:
    """With s² = 1."""
    poly = sympy.Poly(sympy.expand(expression), sign)
    return sympy.expand(sum(c * sign ** (k % 2) for (k,), c in poly.terms()))


def entry_curl(entry: Entry) -> sympy.Expr:
    """∂b(w)/∂w' − ∂b(w')/∂w for two entries w, w': zero exactly when ⟨B, dW⟩ is closed (in every shape)."""
    if not entry.has_norm:
        return sympy.Integer(0)
    primed = {a: sympy.Symbol(f"{a.name}'", real=True) for a in entry.constants | {entry.weight, entry.sign}}
    other = entry.expression.subs(primed, simultaneous=True)
    w, v = entry.weight, sympy.Symbol(f"{entry.weight.name}'", real=True)
    return sympy.simplify(sympy.diff(entry.expression, RHO) * v / RHO - sympy.diff(other, RHO) * w / RHO)


def entry_potential(entry: Entry) -> Entry:
    """Φ = ∫_0^1 ⟨B(tW), W⟩ dt, term by term: a term of degree d in W is divided by d + 1.

    Raises: InputError when a coefficient is no power of the norm, or of degree −1.
    """
    total = sympy.Integer(0)
    for term in sympy.Add.make_args(sympy.expand(entry.expression)):
        powers = term.as_powers_dict()
        degree = sum((sympy.sympify(powers.get(a, 0)) for a in (entry.weight, RHO)), sympy.Integer(0))
        if (
            not degree.is_number
            or degree == -1
            or sympy.cancel(term / (entry.weight ** powers.get(entry.weight, 0) * RHO ** powers.get(RHO, 0))).has(RHO)
        ):
            raise InputError(f"the potential of {term} needs a feedback that is a sum of powers of W and of its norm")
        total += term * entry.weight / (degree + 1)
    return Entry(sympy.expand(total), entry.weight, entry.sign, entry.constants)


def block_curl(feedback: Word, moving: Letter) -> tuple[tuple[int, int], sympy.Expr]:
    """The first non-zero ∂B_ij/∂W_kl − ∂B_kl/∂W_ij on a small block of symbols (0 when there is none), and the
    block's shape.
    """
    names = {str(size): n for size, n in zip((moving.rows, moving.cols), _SIZES, strict=True)}
    W = sympy.Matrix(*_SIZES, lambda i, j: sympy.Symbol(f"w{i + 1}{j + 1}", real=True))
    B = _block(feedback, moving, W, names)
    entries = [(i, j) for i in range(W.rows) for j in range(W.cols)]
    for (i, j), (k, l) in combinations(entries, 2):
        curl = sympy.simplify(sympy.diff(B[i, j], W[k, l]) - sympy.diff(B[k, l], W[i, j]))
        curl = curl.replace(sympy.DiracDelta, lambda _: sympy.Integer(0))
        if curl != 0:
            return _SIZES, curl
    return _SIZES, sympy.Integer(0)


def _block(feedback: Word, moving: Letter, W: sympy.Matrix, names: dict[str, int]) -> sympy.Matrix:
    norm = sympy.sqrt(sum(w**2 for w in W))
    total = sympy.zeros(*W.shape)
    for monomial, coefficient in feedback.terms:
        factors = [_matrix(a, moving, W, names).T if flag else _matrix(a, moving, W, names) for a, flag in monomial]
        total += coefficient.subs(norm_symbol(moving), norm) * sympy.prod(factors[1:], factors[0])
    return total


def _matrix(a: AnyLetter, moving: Letter, W: sympy.Matrix, names: dict[str, int]) -> sympy.Matrix:
    if isinstance(a, Entrywise):
        parts = [
            _matrix(b, moving, W, names).applyfunc({"id": lambda x: x, "sign": sympy.sign, "abs": sympy.Abs}[f])
            for f, b in a.parts
        ]
        return (
            parts[0]
            if len(parts) == 1
            else sympy.Matrix(*parts[0].shape, lambda i, j: sympy.prod([part[i, j] for part in parts]))
        )
    if a == moving:
        return W
    rows, cols = (names.setdefault(str(size), 2) for size in (a.rows, a.cols))
    A = sympy.Matrix(rows, cols, lambda i, j: sympy.Symbol(f"{a.label}{i + 1}{j + 1}", real=True))
    return (A + A.T) / 2 if a.symmetric else A
