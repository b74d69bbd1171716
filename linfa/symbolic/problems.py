"""What a closure is asked about: a rule's fields, a random integer point, the differentials of its known laws there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linfa.errors import InputError
from linfa.symbolic.differentials import affine_laws, fixed_path_laws
from linfa.symbolic.dual import Array
from linfa.symbolic.fields import AbstractFields, AffineFeedback, FixedPath, unit
from linfa.symbolic.rules import Rule
from linfa.symbolic.word_fields import pose_words

_RANGE = 10**6


@dataclass(frozen=True)
class Problem:
    """The fields, the point, one row per known law; `moved` parameters of the feedback move along, each with a law."""

    name: str
    fields: AbstractFields
    weights: tuple[Array, ...]
    known: Array
    moved: int = 0


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths as integers, or InputError."""
    sizes = tuple(int(n) for n in widths)
    if len(sizes) < 3 or min(sizes) < 1 or any(n != m for n, m in zip(sizes, widths, strict=True)):
        raise InputError(f"widths are at least three positive integers (n_0, …, n_L); {tuple(widths)} came")
    return sizes


def parameters(sizes: tuple[int, ...]) -> int:
    """Σ n_l n_{l-1}."""
    return sum(n * m for n, m in zip(sizes[1:], sizes[:-1], strict=True))


def integers(rng: np.random.Generator, *shape: int) -> Array:
    """Random integers of absolute value up to a million, as Python's own."""
    return rng.integers(-_RANGE, _RANGE + 1, size=shape).astype(object)


def pose(
    sizes: tuple[int, ...], rule: str | Rule, rng: np.random.Generator, modulus: int | None, longest: int | None
) -> Problem:
    """The problem of a named rule, or of a user's.

    Raises: InputError for an unknown name.
    """
    weights = tuple(integers(rng, n, m) for n, m in zip(sizes[1:], sizes[:-1], strict=True))
    if isinstance(rule, Rule):
        fields, known = pose_words(rule, weights, rng, modulus, longest)
        return Problem(rule.name, fields, weights, known)
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r}; the rules with a closure are {', '.join(sorted(RULES))}, or a Rule")
    return RULES[rule](rule, weights, rng)


def _fixed(name: str, paths: Sequence[Array], weights: tuple[Array, ...]) -> Problem:
    fields = FixedPath(tuple(paths))
    return Problem(name, fields, weights, fixed_path_laws(fields, weights))


def _feedback_alignment(name: str, weights: tuple[Array, ...], rng: np.random.Generator) -> Problem:
    paths = [unit(weights[-1].shape[0])]
    for W in reversed(weights[1:]):
        paths.append(integers(rng, *W.shape).T @ paths[-1])
    return _fixed(name, paths[::-1], weights)


def _direct(name: str, weights: tuple[Array, ...], rng: np.random.Generator) -> Problem:
    p = weights[-1].shape[0]
    return _fixed(name, [*(integers(rng, W.shape[0], p) for W in weights[:-1]), unit(p)], weights)


def _read_out(name: str, weights: tuple[Array, ...], _rng: np.random.Generator) -> Problem:
    p = weights[-1].shape[0]
    return _fixed(name, [*(0 * W[:, :1] * unit(p)[:1] for W in weights[:-1]), unit(p)], weights)


def _backprop(name: str, weights: tuple[Array, ...], _rng: np.random.Generator) -> Problem:
    fields = AffineFeedback(1, tuple(0 * W for W in weights[1:]))
    return Problem(name, fields, weights, affine_laws(fields, weights))


def _kolen_pollack(name: str, weights: tuple[Array, ...], rng: np.random.Generator) -> Problem:
    """B = W + D with D = B − W constant: as many laws again as B has entries."""
    fields = AffineFeedback(1, tuple(integers(rng, *W.shape) for W in weights[1:]))
    return Problem(name, fields, weights, affine_laws(fields, weights), moved=sum(W.size for W in weights[1:]))


RULES: dict[str, Callable[[str, tuple[Array, ...], np.random.Generator], Problem]] = {
    "fa": _feedback_alignment,
    "rho-fa": _feedback_alignment,
    "dfa": _direct,
    "readout": _read_out,
    "bp": _backprop,
    "kp": _kolen_pollack,
}
