"""Words in numbers: evaluate a word on arrays, floating or exact, and test an identity at random exact points.

Schwartz–Zippel: a polynomial of degree d that is not zero vanishes at a uniformly drawn point of {−r, …, r}^n with
probability ≤ d/(2r + 1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import sympy

from linfa.errors import InputError
from linfa.symbolic.dual import Array
from linfa.symbolic.letters import AnyLetter, Entrywise, Letter, inside, norm_symbol
from linfa.symbolic.linear import kernel, projector
from linfa.symbolic.rules import Flow
from linfa.symbolic.words import Monomial, Scalar, Word

Number: TypeAlias = Any
_RANGE = 10**6
_ROUNDING = 1e-10
_DEFINED = ("P", "α", "β")


def evaluate(
    expression: Word | Scalar,
    values: Mapping[Word, Array],
    parameters: Mapping[sympy.Symbol, Number] | None = None,
) -> Array:
    """The word on arrays: letters by `values`, symbolic coefficients by `parameters`.

    Args: values: letter (as a word) → array of its shape; parameters: symbol → number. Arrays of integers or
        fractions (dtype object) are treated exactly, floating arrays in floating point.
    Returns: an array of the word's shape, of shape () for a sum of traces.
    Raises: InputError when a letter or a parameter has no value, or shapes clash.

    >>> from linfa.symbolic.alphabet import W
    >>> print(evaluate(W(1).T @ W(1), {W(1): np.array([[1.0, 2.0]])}))
    [[1. 2.]
     [2. 4.]]
    """
    letters = {source.letters()[0]: np.asarray(value) for source, value in values.items()}
    sizes = _sizes(letters)
    scalars = {**sizes, **(parameters or {}), **_norms(letters)}
    terms = [(_product(m, expression, letters, sizes), _number(c, scalars, letters)) for m, c in expression.terms]
    if isinstance(expression, Scalar):
        return np.asarray(
            sum((c * (np.trace(a) if m else 1) for (a, c), (m, _) in zip(terms, expression.terms, strict=True)), 0)
        )
    total = np.zeros((_size(expression.rows, sizes), _size(expression.cols, sizes)), dtype=int)
    return sum((a * c for a, c in terms), total)


def _sizes(letters: Mapping[AnyLetter, Array]) -> dict[sympy.Expr, int]:
    sizes: dict[sympy.Expr, int] = {}
    for letter, value in letters.items():
        if value.ndim != 2:
            raise InputError(f"{letter} needs a matrix; an array of shape {value.shape} came")
        for symbol, size in zip((letter.rows, letter.cols), value.shape, strict=True):
            if sizes.setdefault(symbol, size) != size or (symbol.is_Integer and int(symbol) != size):
                raise InputError(f"{letter} has the shape {value.shape}, but {symbol} is {sizes[symbol]} elsewhere")
    return sizes


def _size(symbol: sympy.Expr, sizes: Mapping[sympy.Expr, int]) -> int:
    if symbol.is_Integer:
        return int(symbol)
    if symbol not in sizes:
        raise InputError(f"the size {symbol} is unknown: give values for letters that have it")
    return sizes[symbol]


def _norms(letters: Mapping[AnyLetter, Array]) -> dict[sympy.Expr, Number]:
    return {
        norm_symbol(a): float(np.sqrt(np.sum(v * v, dtype=float))) for a, v in letters.items() if isinstance(a, Letter)
    }


def _number(
    coefficient: sympy.Expr, scalars: Mapping[sympy.Expr, Number], letters: Mapping[AnyLetter, Array]
) -> Number:
    free = {symbol: scalars[symbol] for symbol in scalars if coefficient.has(symbol)}
    exact = sympy.sympify(
        coefficient.subs({s: sympy.Rational(v) if isinstance(v, int | Fraction) else v for s, v in free.items()})
    )
    if not exact.is_number:
        raise InputError(
            f"the coefficient {coefficient} has no number: give parameters for {sorted(map(str, exact.free_symbols))}"
        )
    if exact.is_Rational and all(v.dtype == object or v.dtype.kind in "iu" for v in letters.values()):
        return Fraction(int(exact.p), int(exact.q))
    return float(exact)


def _product(
    monomial: Monomial, expression: Word | Scalar, letters: Mapping[AnyLetter, Array], sizes: Mapping[sympy.Expr, int]
) -> Array:
    if not monomial:
        return np.eye(_size(expression.rows, sizes) if isinstance(expression, Word) else 1, dtype=int)
    factors = [_value(a, letters).T if flag else _value(a, letters) for a, flag in monomial]
    total = factors[0]
    for factor in factors[1:]:
        total = total @ factor
    return total


def _value(letter: AnyLetter, letters: Mapping[AnyLetter, Array]) -> Array:
    if isinstance(letter, Entrywise):
        parts = [_entry(f, _value(a, letters)) for f, a in letter.parts]
        return np.asarray(np.prod(np.stack(parts), axis=0))
    if letter not in letters:
        raise InputError(f"the letter {letter} has no value: give an array for it")
    return letters[letter]


def _entry(function: str, value: Array) -> Array:
    if function == "id":
        return value
    signs = np.where(value > 0, 1, 0) - np.where(value < 0, 1, 0)
    return signs if function == "sign" else signs * value


def exact_point(
    flow: Flow, seed: int = 0, sizes: Mapping[sympy.Expr, int] | None = None, also: Word | Scalar | None = None
) -> dict[Word, Array]:
    """Random integer matrices for every letter of a flow, with the projectors and pairs that its relations define.

    Args: flow: of a rule; seed: of the draw; sizes: widths by symbol (drawn from 3 … 5 with n_L = 2 when absent);
        also: a quantity whose letters get values too.
    """
    rng = np.random.default_rng(seed)
    plain = {a for w in (*flow.velocity.values(), *flow.velocity, *flow.paths.values()) for a in w.letters()}
    plain |= {b for a in (also.letters() if also else ()) for b in inside(a) if b.name not in _DEFINED}
    plain |= {c.letters()[0] for c in flow.constants if c.letters()[0].key[0] not in _DEFINED}
    chosen = dict(sizes or {})
    for symbol in sorted({s for a in plain for s in (a.rows, a.cols)}, key=str):
        top = symbol in flow.paths[flow.layers[-1]].shape[1:]
        chosen.setdefault(symbol, int(symbol) if symbol.is_Integer else 2 if top else int(rng.integers(3, 6)))
    values = {_one(a): _drawn(rng, chosen[a.rows], chosen[a.cols], a.symmetric) for a in _sorted(plain)}
    return values | defined(flow, values)


def _drawn(rng: np.random.Generator, rows: int, cols: int, symmetric: bool) -> Array:
    A = rng.integers(-_RANGE, _RANGE + 1, (rows, cols)).astype(object)
    return A + A.T if symmetric else A


def _sorted(letters: set[AnyLetter]) -> list[Letter]:
    return sorted((a for a in letters if isinstance(a, Letter)), key=lambda a: a.key)


def _one(letter: Letter) -> Word:
    return Word(letter.rows, letter.cols, ((((letter, False),), sympy.Integer(1)),))


def defined(
    flow: Flow,
    values: Mapping[Word, Array],
    parameters: Mapping[sympy.Symbol, Number] | None = None,
    *,
    exact: bool = True,
    among: Collection[tuple[str, str]] | None = None,
) -> dict[Word, Array]:
    """The values of P_l (projector onto what M_l cannot reach) and of α_l, β_l (pairs with M_lᵀα = M_{l+1}ᵀβ).

    Args: flow, values, parameters: as for `evaluate`; exact: in integers and fractions, or else to rounding with
        orthonormal pairs; among: the keys of the letters that are needed, all of them when absent.
    """
    found: dict[Word, Array] = {}
    for source in flow.constants:
        key, index = source.letters()[0].key, _index(source)
        if key[0] not in _DEFINED or (among is not None and key not in among):
            continue
        lower = evaluate(flow.paths[index], values, parameters)
        if key[0] == "P":
            null = _null_space(lower.T, exact)
            found[source] = projector(null) if exact else np.asarray(null @ null.T)
        else:
            upper = evaluate(flow.paths[index + 1], values, parameters)
            pairs = _null_space(np.concatenate([lower.T, -upper.T], axis=1), exact)
            found[source] = pairs[: len(lower)] if key[0] == "α" else pairs[len(lower) :]
    return found


def _null_space(A: Array, exact: bool) -> Array:
    """Columns that span the null space: exact ones, or orthonormal ones to rounding."""
    if exact:
        return kernel(A.astype(object))
    _, singular, Vt = np.linalg.svd(A.astype(float))
    rank = int(np.sum(singular > _ROUNDING * max(singular[0], 1e-300))) if singular.size else 0
    return np.asarray(Vt[rank:].T)


def _index(source: Word) -> sympy.Expr:
    letter = source.letters()[0]
    return letter.index if isinstance(letter, Letter) else None


def rate(
    expression: Word | Scalar,
    flow: Flow,
    values: Mapping[Word, Array],
    parameters: Mapping[sympy.Symbol, Number] | None = None,
) -> Array:
    """d/dt of a polynomial quantity at a point, exactly and without the derivation: interpolate t ↦ Q(W + t Ẇ) and
    read off its slope.
    """
    velocity = {w: evaluate(v, values, parameters) for w, v in flow.velocity.items()}
    degree = max((len(m) for m, _ in expression.terms), default=0)
    nodes = range(degree + 1)
    curve = [
        evaluate(expression, {**values, **{w: values[w] + t * u for w, u in velocity.items()}}, parameters)
        for t in nodes
    ]
    return sum((c * q for c, q in zip(_slope(nodes), curve, strict=True)), 0 * curve[0])


def _slope(nodes: Sequence[int]) -> list[Fraction]:
    """The weights c with Σ c_i q(t_i) = q'(0) for polynomials of degree < the number of nodes."""
    t = sympy.Symbol("t")
    weights = []
    for i in nodes:
        others = [j for j in nodes if j != i]
        basis = sympy.prod([sympy.Rational(1, i - j) * (t - j) for j in others])
        slope = sympy.Rational(sympy.diff(basis, t).subs(t, 0))
        weights.append(Fraction(int(slope.p), int(slope.q)))
    return weights
