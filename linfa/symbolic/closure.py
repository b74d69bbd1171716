"""The Lie algebra that a rule's fields generate, and so the number of laws there are: dim Lie(θ) + #laws = #parameters.

    Lie(θ) = span{ X_K, [X_K, X_K'], [X_K, [X_K', X_K'']], … }(θ)

Two lower bounds meet. Brackets with random K span a part of Lie(θ); the differentials of the known laws span a part of its
annihilator. Both ranks are taken of integer vectors at one integer point, modulo a prime, which can only lower a rank; so as
soon as they add up to the number of parameters, both are exact, the laws found are complete, and the count is *certified* (there,
and hence at almost every point and every feedback). Where a gap is left, the bracket length grows until the dimension
*stabilises*: if brackets of length k + 1 add nothing at a generic point, Lie = span of the shorter ones, because
[X, f Y] = f [X, Y] + (X f) Y. Whether the point was generic is then known only up to a probability of about (length)/prime.
For fixed paths the algebra is nilpotent: the weight 2^{l-1} of W_l makes brackets longer than 2^{L-1} vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linfa.errors import InputError
from linfa.symbolic.differentials import differentials
from linfa.symbolic.dual import PRIME, WIDEST, Array
from linfa.symbolic.fields import AffineFeedback, Fields, FixedPath, bracket
from linfa.symbolic.linear import rank

LARGEST = 250
_LONGEST = 9
_RANGE = 10**6


@dataclass(frozen=True)
class Closure:
    """The result of `closure`: all counts are of independent objects at a generic point.

    `parameters` = Σ n_l n_{l-1} (with the feedback where it moves), `growth` = dimension spanned by brackets of length ≤ 1, 2, …,
    `lie` = the dimension of the Lie algebra, `laws` = parameters − lie, `found` = rank of the known laws, `complete` = whether
    laws = found, `status` = "certified" or "stabilised", `statement` = the justification in a sentence.
    """

    widths: tuple[int, ...]
    rule: str
    parameters: int
    growth: tuple[int, ...]
    lie: int
    laws: int
    found: int
    status: str
    statement: str

    @property
    def complete(self) -> bool:
        """Whether the laws found are all the laws there are."""
        return self.laws == self.found


def closure(widths: Sequence[int], rule: str = "fa", *, exact: bool = False, seed: int = 0) -> Closure:
    """Count the independent conservation laws of a rule by closing its Lie algebra at a random integer point.

        #laws = #parameters − dim Lie(θ)

    Args:
        widths: (n_0, …, n_L), at most 250 parameters and widths up to 31.
        rule: "bp", "fa", "dfa", "rho-fa", "kp" or "readout". For "kp" the feedback moves too and is counted.
        exact: compute ranks over the rationals instead of modulo a prime (slower; the certificate is exact either way).
        seed: of the random point.

    Returns: a `Closure`.
    Raises: InputError for an unknown rule or for widths that are not positive, too few, or too large.

    >>> closure((2, 3, 2)).laws, closure((2, 3, 2), "bp").laws
    (7, 6)
    """
    sizes = check_widths(widths)
    fields, weights, extra = _problem(sizes, rule, np.random.default_rng(seed))
    known = differentials(fields, weights)
    modulus = None if exact else PRIME
    found = rank(known, modulus)
    ceiling = sum(W.size for W in weights) - found
    growth = _grow(fields, weights, ceiling, modulus, np.random.default_rng(seed + 1))
    return _result(sizes, rule, weights, extra, growth, found, fields)


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths as integers, or InputError."""
    sizes = tuple(int(n) for n in widths)
    if len(sizes) < 3 or min(sizes) < 1 or any(n != m for n, m in zip(sizes, widths, strict=True)):
        raise InputError(f"widths are at least three positive integers (n_0, …, n_L); {tuple(widths)} came")
    return sizes


def too_large(sizes: tuple[int, ...]) -> bool:
    """Whether exact closure is out of reach."""
    return sum(n * m for n, m in zip(sizes[1:], sizes[:-1], strict=True)) > LARGEST or max(sizes) > WIDEST


def _integers(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-_RANGE, _RANGE + 1, size=shape).astype(object)


def _problem(sizes: tuple[int, ...], rule: str, rng: np.random.Generator) -> tuple[Fields, tuple[Array, ...], int]:
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r}; the rules with a closure are {', '.join(sorted(RULES))}")
    if too_large(sizes):
        raise InputError(
            f"exact closure takes at most {LARGEST} parameters and widths up to {WIDEST}; the widths {sizes} have "
            f"{sum(n * m for n, m in zip(sizes[1:], sizes[:-1], strict=True))}: use the formula where one is proved "
            "(linfa.laws.count says so) or linfa.symbolic.orbit_rank"
        )
    weights = tuple(_integers(rng, n, m) for n, m in zip(sizes[1:], sizes[:-1], strict=True))
    return *RULES[rule](weights, rng), weights, sum(W.size for W in weights[1:]) if rule == "kp" else 0  # type: ignore[return-value]


def _feedback_alignment(weights: tuple[Array, ...], rng: np.random.Generator) -> tuple[Fields]:
    paths = [np.eye(weights[-1].shape[0], dtype=int).astype(object)]
    for W in reversed(weights[1:]):
        paths.append(_integers(rng, *W.shape).T @ paths[-1])
    return (FixedPath(tuple(reversed(paths))),)


def _direct(weights: tuple[Array, ...], rng: np.random.Generator) -> tuple[Fields]:
    p = weights[-1].shape[0]
    return (FixedPath((*(_integers(rng, W.shape[0], p) for W in weights[:-1]), np.eye(p, dtype=int).astype(object))),)


def _read_out(weights: tuple[Array, ...], rng: np.random.Generator) -> tuple[Fields]:
    p = weights[-1].shape[0]
    still = (np.zeros((W.shape[0], p), dtype=int).astype(object) for W in weights[:-1])
    return (FixedPath((*still, np.eye(p, dtype=int).astype(object))),)


def _backprop(weights: tuple[Array, ...], rng: np.random.Generator) -> tuple[Fields]:
    return (AffineFeedback(1, tuple(0 * W for W in weights[1:])),)


def _kolen_pollack(weights: tuple[Array, ...], rng: np.random.Generator) -> tuple[Fields]:
    return (AffineFeedback(1, tuple(_integers(rng, *W.shape) for W in weights[1:])),)


RULES: dict[str, Callable[[tuple[Array, ...], np.random.Generator], tuple[Fields]]] = {
    "fa": _feedback_alignment,
    "rho-fa": _feedback_alignment,
    "dfa": _direct,
    "readout": _read_out,
    "bp": _backprop,
    "kp": _kolen_pollack,
}


def _grow(
    fields: Fields, weights: tuple[Array, ...], ceiling: int, modulus: int | None, rng: np.random.Generator
) -> tuple[int, ...]:
    point, constants = _prepared(fields, weights, modulus)
    p, n0 = weights[-1].shape[0], weights[0].shape[1]
    spanned = _flatten(bracket(constants, point, [_basis(p, n0, point[0].dtype)], modulus))
    growth = [rank(spanned, modulus)]
    while growth[-1] < ceiling and len(growth) < _LONGEST:
        draws = ceiling - growth[-1] + 1
        Ks = [_random(rng, (draws, 1, p, n0), modulus) for _ in range(len(growth) + 1)]
        spanned = np.concatenate([spanned, _flatten(bracket(constants, point, Ks, modulus))])
        growth.append(rank(spanned, modulus))
        if growth[-1] == growth[-2]:
            break
    return tuple(growth)


def _prepared(fields: Fields, weights: tuple[Array, ...], modulus: int | None) -> tuple[tuple[Array, ...], Fields]:
    def small(A: Array) -> Array:
        return A if modulus is None else (A % modulus).astype(np.int64)

    point = tuple(small(W)[None, None] for W in weights)
    if isinstance(fields, FixedPath):
        return point, FixedPath(tuple(small(M) for M in fields.paths))
    assert isinstance(fields, AffineFeedback)
    return point, AffineFeedback(fields.slope, tuple(small(D) for D in fields.offsets))


def _basis(p: int, n0: int, dtype: np.dtype[np.generic]) -> Array:
    return np.eye(p * n0, dtype=int).reshape(p * n0, 1, p, n0).astype(dtype)


def _random(rng: np.random.Generator, shape: tuple[int, ...], modulus: int | None) -> Array:
    return _integers(rng, *shape) if modulus is None else rng.integers(0, modulus, size=shape)


def _flatten(vectors: tuple[Array, ...]) -> Array:
    batch = max(v.shape[0] for v in vectors)
    return np.concatenate([np.broadcast_to(v[:, 0], (batch, *v.shape[2:])).reshape(batch, -1) for v in vectors], axis=1)


def _result(
    sizes: tuple[int, ...], rule: str, weights: tuple[Array, ...], extra: int, growth: tuple[int, ...], found: int, fields: Fields
) -> Closure:
    free = sum(W.size for W in weights)
    certified = growth[-1] + found == free
    if certified:
        statement = "brackets and known laws add up to the number of parameters: exact, and the known laws are all"
    elif len(growth) > 1 and growth[-1] == growth[-2]:
        statement = f"stabilised: brackets of length {len(growth)} add nothing to the shorter ones, so none do (generic point assumed)"
    else:
        raise InputError(f"the Lie algebra of {rule!r} at {sizes} has not stabilised at bracket length {_LONGEST}: use orbit_rank")
    return Closure(
        sizes, rule, free + extra, growth, growth[-1], free + extra - growth[-1], found + extra,
        "certified" if certified else "stabilised", statement,
    )  # fmt: skip
