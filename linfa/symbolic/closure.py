"""The Lie algebra that a rule's fields generate, and so the number of laws there are: dim Lie(θ) + #laws = #parameters.

    Lie(θ) = span{ X_K, [X_K, X_K'], [X_K, [X_K', X_K'']], … }(θ)

Two lower bounds meet. Brackets with random K span a part of Lie(θ); the differentials of the known laws span a part
of its annihilator. Both ranks are taken of integer vectors at one integer point, modulo a prime, which can only
lower a rank; so as soon as they add up to the number of parameters, both are exact, the laws found are complete, and
the count is *certified* (at that point, and hence at almost every point, for the feedback that was drawn). Where a
gap is left, the bracket length grows until the dimension *stabilises*: if brackets of length k + 1 add nothing at a
generic point, Lie = span of the shorter ones, because [X, f Y] = f [X, Y] + (X f) Y. That the point was generic is
then known only up to a probability of about (degree)/prime. For fixed paths the algebra is nilpotent: the weight
2^{l-1} of W_l makes brackets longer than 2^{L-1} vanish. For gradient flow balancedness is everything except between
two layers of width one that enclose two or more wider ones, where the net moves along a single curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linfa.errors import InputError
from linfa.symbolic.dual import PRIME, WIDEST, Array, small
from linfa.symbolic.fields import bracket
from linfa.symbolic.linear import rank
from linfa.symbolic.problems import Problem, check_widths, integers, parameters, pose
from linfa.symbolic.rules import Rule

LARGEST = 400
_LONGEST = 9


@dataclass(frozen=True)
class Closure:
    """The result of `closure`: all counts are of independent objects at a generic point.

    `parameters` = Σ n_l n_{l-1} (with the feedback where it moves), `growth` = dimension spanned by brackets of
    length ≤ 1, 2, …, `lie` = the dimension of the Lie algebra, `laws` = parameters − lie, `found` = rank of the
    known laws, `complete` = whether laws = found, `status` = "certified" or "stabilised", `statement` = the
    justification in a sentence.
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


def closure(
    widths: Sequence[int], rule: str | Rule = "fa", *, exact: bool = False, seed: int = 0, longest: int | None = None
) -> Closure:
    """Count the independent conservation laws of a rule by closing its Lie algebra at a random integer point.

        #laws = #parameters − dim Lie(θ)

    Args:
        widths: (n_0, …, n_L), at most 400 parameters.
        rule: "bp", "fa", "dfa", "rho-fa", "kp" or "readout"; or a `Rule` of one's own whose feedback is polynomial,
            for which the known laws are those that `find` returns. For "kp" the feedback moves too and is counted.
        exact: compute ranks over the rationals instead of modulo a prime (slower; the certificate is exact either way).
        seed: of the random point.
        longest: for a `Rule`: the longest products among which `find` looks for its laws.

    Returns: a `Closure`.
    Raises: InputError for an unknown rule, a feedback that is no polynomial, or widths that are not positive, too few,
        or too large.

    >>> closure((2, 3, 2)).laws, closure((2, 3, 2), "bp").laws
    (7, 6)
    """
    sizes = check_widths(widths)
    if too_large(sizes):
        raise InputError(
            f"{limit(sizes)}: close smaller widths of the same shape; linfa.laws.count has formulas for any size with "
            "two layers, for the read-out only, and for fixed feedback with no hidden layer narrower than the output"
        )
    modulus = None if exact else PRIME
    problem = pose(sizes, rule, np.random.default_rng(seed), modulus, longest)
    found = rank(problem.known, modulus)
    growth = _grow(problem, parameters(sizes) - found, modulus, np.random.default_rng(seed + 1))
    return _result(sizes, problem, growth, found)


def too_large(sizes: tuple[int, ...]) -> bool:
    """Whether exact closure is out of reach."""
    return parameters(sizes) > LARGEST or max(sizes) > WIDEST


def limit(sizes: tuple[int, ...]) -> str:
    """How large is too large, and how large the widths are."""
    return (
        f"exact closure takes at most {LARGEST} parameters and widths up to {WIDEST}, and the widths {sizes} have "
        f"{parameters(sizes)} parameters"
    )


def _grow(problem: Problem, ceiling: int, modulus: int | None, rng: np.random.Generator) -> tuple[int, ...]:
    point = tuple(small(W, modulus)[None, None] for W in problem.weights)
    p, n0 = problem.weights[-1].shape[0], problem.weights[0].shape[1]
    spanned = _flatten(bracket(problem.fields, point, [_basis(p, n0, point[0].dtype)], modulus))
    growth = [rank(spanned, modulus)]
    while growth[-1] < ceiling and len(growth) < _LONGEST:
        draws = ceiling - growth[-1] + 1
        Ks = [_random(rng, (draws, 1, p, n0), modulus) for _ in range(len(growth) + 1)]
        spanned = np.concatenate([spanned, _flatten(bracket(problem.fields, point, Ks, modulus))])
        growth.append(rank(spanned, modulus))
        if growth[-1] == growth[-2]:
            break
    return tuple(growth)


def _basis(p: int, n0: int, dtype: np.dtype[Any]) -> Array:
    return np.eye(p * n0, dtype=int).reshape(p * n0, 1, p, n0).astype(dtype)


def _random(rng: np.random.Generator, shape: tuple[int, ...], modulus: int | None) -> Array:
    return integers(rng, *shape) if modulus is None else rng.integers(0, modulus, size=shape)


def _flatten(vectors: tuple[Array, ...]) -> Array:
    batch = max(v.shape[0] for v in vectors)
    return np.concatenate([np.broadcast_to(v[:, 0], (batch, *v.shape[2:])).reshape(batch, -1) for v in vectors], axis=1)


def _result(sizes: tuple[int, ...], problem: Problem, growth: tuple[int, ...], found: int) -> Closure:
    free, lie, moved = parameters(sizes), growth[-1], problem.moved
    if lie + found == free:
        status, statement = "certified", "brackets and known laws add up to the number of parameters: exact"
    elif len(growth) > 1 and lie == growth[-2]:
        status = "stabilised"
        statement = f"brackets of length {len(growth)} add nothing to the shorter ones, so none do (at a generic point)"
    else:
        raise InputError(
            f"the Lie algebra of {problem.name!r} at {sizes} still grows at bracket length {_LONGEST}, the longest "
            "that is tried: linfa.symbolic.orbit_rank measures its dimension without brackets, or take smaller widths"
        )
    return Closure(sizes, problem.name, free + moved, growth, lie, free + moved - lie, found + moved, status, statement)
