"""A user's rule as vector fields: its feedback words in dual arithmetic, and the differentials of the laws found.

U_l = M_l K X_{l-1}ᵀ with M_l = B_{l+1}(W)ᵀ M_{l+1} ;   dQ(e_i) = ∂_ε Q(θ + ε e_i)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce as fold
from math import lcm

import numpy as np
import sympy

from linfa.errors import InputError
from linfa.symbolic import alphabet
from linfa.symbolic.dual import Array, add, entrywise, pad, product, reduce, small, transpose
from linfa.symbolic.fields import AbstractFields, unit, velocities
from linfa.symbolic.finder import find
from linfa.symbolic.letters import DEPTH, AnyLetter, Entrywise, Letter, inside
from linfa.symbolic.linear import kernel
from linfa.symbolic.potential import Potential
from linfa.symbolic.rules import Flow, Rule
from linfa.symbolic.words import Scalar, Word

_RANGE = 10**6


@dataclass(frozen=True)
class WordFeedback(AbstractFields):
    """U_l with a feedback given by words B_2, …, B_L in the weights and in constants."""

    feedback: tuple[Word, ...]
    constants: Mapping[AnyLetter, Array]
    parameters: Mapping[sympy.Symbol, int]

    def __call__(self, weights: Sequence[Array], K: Array, modulus: int | None) -> tuple[Array, ...]:
        """(U_1, …, U_L)."""
        letters = self.letters(weights, modulus)
        paths = [small(unit(weights[-1].shape[-2]), modulus)[None, None]]
        for words in reversed(self.feedback):
            paths.append(product(transpose(dual_value(words, letters, self.parameters, modulus)), paths[-1], modulus))
        return velocities(paths[::-1], weights, K, modulus)

    def letters(self, weights: Sequence[Array], modulus: int | None) -> dict[AnyLetter, Array]:
        """All letters in dual arithmetic."""
        fixed = {a: small(value, modulus)[None, None] for a, value in self.constants.items()}
        return fixed | {alphabet.W(l).letters()[0]: value for l, value in enumerate(weights, 1)}


def dual_value(
    words: Word | Scalar,
    letters: Mapping[AnyLetter, Array],
    parameters: Mapping[sympy.Symbol, int],
    modulus: int | None,
) -> Array:
    """A word in dual arithmetic; a sum of traces becomes a 1 x 1 matrix.

    Raises: InputError for sign, |·| and norms, which are no polynomials.
    """
    total: Array | None = None
    for monomial, coefficient in words.terms:
        plain = [(_letter(a, letters, modulus), flag) for a, flag in monomial]
        factors = [transpose(A) if flag else A for A, flag in plain]
        value = fold(lambda a, b: product(a, b, modulus), factors)
        if isinstance(words, Scalar):
            value = np.trace(value, axis1=-2, axis2=-1)[..., None, None]
        scaled = reduce(value * _number(coefficient, parameters, modulus), modulus)
        total = scaled if total is None else add(total, scaled, modulus)
    if total is None:
        raise InputError("the feedback of this rule is zero: only the read-out learns, ask for rule='readout'")
    return total


def _letter(a: AnyLetter, letters: Mapping[AnyLetter, Array], modulus: int | None) -> Array:
    if not isinstance(a, Entrywise):
        return letters[a]
    if any(function != "id" for function, _ in a.parts):
        raise InputError(f"a closure needs feedback that is polynomial in the weights; {a} is not: use find")
    return fold(lambda x, y: entrywise(x, y, modulus), (letters[b] for _, b in a.parts))


def _number(coefficient: sympy.Expr, parameters: Mapping[sympy.Symbol, int], modulus: int | None) -> int:
    exact = _rational(coefficient, parameters)
    if modulus is not None:
        return int(exact.p) * pow(int(exact.q), -1, modulus) % modulus
    if exact.q != 1:
        raise InputError(f"over the integers coefficients are integers; {exact} came: leave exact=False")
    return int(exact.p)


def _rational(coefficient: sympy.Expr, parameters: Mapping[sympy.Symbol, int]) -> sympy.Rational:
    exact = coefficient.subs(parameters)
    if not exact.is_Rational:
        raise InputError(f"a closure needs rational coefficients; {coefficient} is none: put a number in, or use find")
    return exact


def _denominator(coefficient: sympy.Expr, parameters: Mapping[sympy.Symbol, int]) -> int:
    return int(_rational(coefficient, parameters).q)


def pose_words(
    rule: Rule, weights: tuple[Array, ...], rng: np.random.Generator, modulus: int | None, longest: int | None
) -> tuple[AbstractFields, Array]:
    """The fields of a user's rule at random integer constants, and one row per law that `find` returns."""
    if rule.learns:
        raise InputError(f"the closure of a rule that learns its feedback is known for 'kp' only; {rule.name!r} came")
    depth, flow = len(weights), rule.net(len(weights))
    sizes = {f"n({l})": n for l, n in enumerate((weights[0].shape[1], *(W.shape[0] for W in weights)))}
    fields = _fields(rule, flow, depth, sizes, rng)
    found = find(rule, depth=depth, longest=longest)
    rows = [_rows(law.quantity.at({DEPTH: depth}), fields, flow, weights, modulus) for law in found.laws]
    if isinstance(found.potential, Potential):
        rows += _potential_rows(found.potential, fields, weights, modulus)
    length = sum(W.size for W in weights)
    return fields, np.concatenate([np.zeros((0, length), dtype=object), *rows])


def _fields(rule: Rule, flow: Flow, depth: int, sizes: Mapping[str, int], rng: np.random.Generator) -> WordFeedback:
    if rule.feedback is None:
        raise InputError(f"the closure of a direct rule is known by name; {rule.name!r} came: use rule='dfa'")
    feedback = tuple(rule.feedback(sympy.Integer(l)) for l in range(2, depth + 1))
    moving = {w.letters()[0] for w in flow.velocity}
    plain = {b for words in feedback for a in words.letters() for b in inside(a)}
    constants: dict[AnyLetter, Array] = {}
    for a in sorted(plain - moving, key=lambda a: a.key):
        shape = [int(s) if s.is_Integer else sizes[str(s)] for s in (a.rows, a.cols)]
        drawn = rng.integers(-_RANGE, _RANGE + 1, shape).astype(object)
        constants[a] = drawn + drawn.T if a.symmetric else drawn
    symbols = {s for words in feedback for _, c in words.terms for s in c.free_symbols}
    return WordFeedback(feedback, constants, {s: int(rng.integers(2, _RANGE)) for s in sorted(symbols, key=str)})


def _rows(
    quantity: Word | Scalar, fields: WordFeedback, flow: Flow, weights: Sequence[Array], modulus: int | None
) -> Array:
    """The differential of every entry of a quantity: θ is moved along each coordinate at once."""
    size = sum(W.size for W in weights)
    directions = np.split(np.eye(size, dtype=int).astype(object), np.cumsum([W.size for W in weights])[:-1], axis=1)
    moved = [
        np.stack([np.broadcast_to(W, (size, *W.shape)), d.reshape(size, *W.shape)], axis=1)
        for W, d in zip(weights, directions, strict=True)
    ]
    letters = fields.letters([small(W, modulus) for W in moved], modulus) | _projectors(quantity, fields, flow, modulus)
    value = pad(dual_value(quantity, letters, fields.parameters, modulus), 2)[:, 1]
    return value.reshape(size, -1).T.astype(object)


def _projectors(
    quantity: Word | Scalar, fields: WordFeedback, flow: Flow, modulus: int | None
) -> dict[AnyLetter, Array]:
    """For P_l any integer matrix with the same kernel will do: N Nᵀ with the columns of N a basis of ker M_lᵀ."""
    found: dict[AnyLetter, Array] = {}
    for a in quantity.letters():
        if isinstance(a, Letter) and a.name == "P":
            path = flow.paths[a.index]
            whole = path * lcm(*(_denominator(c, fields.parameters) for _, c in path.terms))
            exact = {b: v[None, None] for b, v in fields.constants.items()}
            N = kernel(dual_value(whole, exact, fields.parameters, None)[0, 0].T)
            found[a] = small(N @ N.T, modulus)[None, None]
    return found


def _potential_rows(
    potential: Potential, fields: WordFeedback, weights: Sequence[Array], modulus: int | None
) -> list[Array]:
    """d(½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k])) = ⟨W_l[k,:], ·⟩ − ⟨B_{l+1}[:,k], ·⟩, per neuron or summed over the layer."""
    letters = fields.letters([small(W, modulus)[None, None] for W in weights], modulus)
    rows = []
    for l, words in enumerate(fields.feedback):
        B = dual_value(words, letters, fields.parameters, modulus)[0, 0]
        n = weights[l].shape[0]
        for chosen in np.eye(n, dtype=int) if potential.per == "neuron" else np.ones((1, n), dtype=int):
            pieces = [0 * W for W in weights]
            pieces[l], pieces[l + 1] = weights[l] * chosen[:, None], -B.astype(object) * chosen
            rows.append(np.concatenate([piece.ravel() for piece in pieces])[None])
    return rows
