"""What a closure is asked about: a rule's fields, a random integer point, the differentials of its known laws there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from linfa import weights as nets
from linfa.errors import InputError
from linfa.symbolic.differentials import affine_laws, fixed_path_laws
from linfa.symbolic.dual import Array
from linfa.symbolic.fields import AbstractFields, AffineFeedback, FixedPath
from linfa.symbolic.named import FIXED, check_rule
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
    """The widths as integers: those of a net that needs feedback, with a hidden layer.

    Raises: InputError.
    """
    sizes = nets.check_widths(widths)
    if len(sizes) < 3:
        raise InputError(f"laws are counted for nets with a hidden layer, of at least three widths; {sizes} came")
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
    return _named(check_rule(rule, "exact closure"), weights, rng)


def _named(rule: str, weights: tuple[Array, ...], rng: np.random.Generator) -> Problem:
    if rule in FIXED:
        paths = FixedPath(tuple(FIXED[rule](weights, partial(integers, rng))))
        return Problem(rule, paths, weights, fixed_path_laws(paths, weights))
    if rule == "bp":
        fields = AffineFeedback(1, tuple(0 * W for W in weights[1:]))
        return Problem(rule, fields, weights, affine_laws(fields, weights))
    # Kolen–Pollack: B = W + D with D = B − W constant: as many laws again as B has entries.
    fields = AffineFeedback(1, tuple(integers(rng, *W.shape) for W in weights[1:]))
    return Problem(rule, fields, weights, affine_laws(fields, weights), moved=sum(W.size for W in weights[1:]))
