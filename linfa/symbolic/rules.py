"""Learning rules as words: what B_l is, where the error enters, what moves.

Ẇ_l = U_l = M_l E X_{l-1}ᵀ ,   M_l = B_{l+1}ᵀ M_{l+1}  (or M_l = F_lᵀ) ,   X_l = W_l X_{l-1} ,   E arbitrary
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sympy

from linfa.errors import InputError
from linfa.symbolic.alphabet import B, E, F, M, W, X, letter
from linfa.symbolic.derivation import Derivation
from linfa.symbolic.letters import DEPTH, LAYER, Entrywise, Index, has_norm, width
from linfa.symbolic.relations import Relation
from linfa.symbolic.words import Word, identity, zero


@dataclass(frozen=True)
class Rule:
    """A learning rule: the feedback of each layer as a word.

    Args:
        name: what messages call it.
        feedback: l ↦ B_l, a word of the shape of W_l, for rules that send the error back layer by layer.
        path: l ↦ M_l, a word of shape (n_l, n_L), for rules that send it directly; exactly one of the two is given.
        learns: whether the letters B_l move with W_l, Ḃ_l = Ẇ_l (Kolen–Pollack).

    Raises: InputError when none or both of feedback and path are given.

    >>> Rule("mine", feedback=lambda l: 2 * B(l)).flow(LAYER).velocity[W(LAYER)]
    2 B_{l+1}ᵀ M_{l+1} E X_{l-1}ᵀ
    """

    name: str
    feedback: Callable[[sympy.Expr], Word] | None = None
    path: Callable[[sympy.Expr], Word] | None = None
    learns: bool = False

    def __post_init__(self) -> None:
        if (self.feedback is None) == (self.path is None):
            raise InputError(
                f"the rule {self.name!r} needs its feedback B_l or its path M_l as words, one of the two; "
                f"{'both' if self.path else 'none'} came"
            )
        if self.feedback is not None:
            _check(self.name, "feedback", self.feedback(LAYER + 1), (width(LAYER + 1), width(LAYER)))
        if self.path is not None:
            _check(self.name, "path", self.path(LAYER), (width(LAYER), width(DEPTH)))

    def flow(self, layer: Index) -> Flow:
        """The flow seen through the window of layers l and l + 1 of a net of any depth: M_{l+1}, E, X_{l-1} are
        free.
        """
        l = sympy.sympify(layer)
        top = M(l + 1) if self.path is None else self.path(l + 1)
        return _flow(self, (l, l + 1), top, X(l - 1), DEPTH)

    def net(self, depth: int) -> Flow:
        """The flow of a whole net of L layers: M_L = I, X_0 = I.

        Raises: InputError when the depth is below 2, where no feedback is needed.
        """
        if depth < 2:
            raise InputError(f"a net that needs feedback has at least 2 layers; depth {depth} came")
        return _net(self, depth)


@dataclass(frozen=True)
class Flow:
    """A rule's flow on some layers: velocities, paths, constants, and the relations between them.

    `velocity` maps each moving letter (as a word) to its word; `constants` are letters that a law may use;
    `relations` hold between them.
    """

    rule: Rule
    layers: tuple[sympy.Expr, ...]
    velocity: Mapping[Word, Word]
    paths: Mapping[sympy.Expr, Word]
    constants: tuple[Word, ...]
    relations: tuple[Relation, ...]

    @property
    def derivation(self) -> Derivation:
        """d/dt along the flow."""
        return Derivation(self.velocity, self.relations)


@lru_cache(maxsize=64)
def _net(rule: Rule, depth: int) -> Flow:
    layers = tuple(sympy.Integer(l) for l in range(1, depth + 1))
    return _flow(rule, layers, identity(width(depth)), identity(width(0)), sympy.Integer(depth))


def _check(name: str, what: str, came: Word, needed: tuple[sympy.Expr, sympy.Expr]) -> None:
    if not isinstance(came, Word):
        raise InputError(
            f"the {what} of the rule {name!r} must be a word (linfa.symbolic.words); {type(came).__name__} came"
        )
    if came.shape != needed:
        raise InputError(
            f"the {what} of the rule {name!r} needs the shape {needed[0]} x {needed[1]}; {came} is "
            f"{came.rows} x {came.cols}: a transpose may be missing"
        )


def _flow(rule: Rule, layers: tuple[sympy.Expr, ...], top: Word, bottom: Word, depth: sympy.Expr) -> Flow:
    paths, prefix = _paths(rule, layers, top, depth), bottom
    velocity: dict[Word, Word] = {}
    for l in layers:
        velocity[W(l)] = paths[l] @ E(depth) @ prefix.T
        prefix = W(l) @ prefix
    if rule.learns:
        velocity |= {B(l): velocity[W(l)] for l in layers[1:]}
    constants, relations = _constants(rule, layers, paths, frozenset(velocity))
    return Flow(rule, layers, velocity, paths, constants, relations)


def _paths(rule: Rule, layers: tuple[sympy.Expr, ...], top: Word, depth: sympy.Expr) -> dict[sympy.Expr, Word]:
    paths = {layers[-1]: top}
    for l in reversed(layers[:-1]):
        if rule.feedback is not None:
            paths[l] = rule.feedback(l + 1).T @ paths[l + 1]
        elif rule.path is not None:
            paths[l] = rule.path(l).at({DEPTH: int(depth)} if depth.is_Integer else {})
    return paths


def _constants(
    rule: Rule, layers: tuple[sympy.Expr, ...], paths: Mapping[sympy.Expr, Word], moving: frozenset[Word]
) -> tuple[tuple[Word, ...], tuple[Relation, ...]]:
    letters: dict[Word, None] = {}
    relations: list[Relation] = []
    if rule.feedback is not None:
        words = [rule.feedback(l) for l in layers[1:]]
        letters |= {
            Word(a.rows, a.cols, ((((a, False),), sympy.Integer(1)),)): None for w in words for a in w.letters()
        }
    if _is_fixed(rule):
        for l in layers:
            if not paths[l].is_zero() and len(paths[l].terms[0][0]) > 0:
                projector = _projector(l)
                letters[projector] = None
                relations += _annihilates(projector, paths[l])
    if rule.feedback is not None:
        relations += [r for l in layers[:-1] for r in _passes(rule.feedback(l + 1), l, frozenset(letters))]
    if rule.path is not None:
        for l in layers[:-1]:
            if len(paths[l].terms) == 1 and paths[l].terms[0][1] == 1:
                pair, relation = _pair(l, paths)
                letters |= dict.fromkeys(pair)
                relations.append(relation)
    return tuple(a for a in letters if a not in moving), tuple(relations)


def _is_fixed(rule: Rule) -> bool:
    if rule.path is not None:
        return True
    assert rule.feedback is not None
    l = LAYER + 1
    feedback = rule.feedback(l)
    weights = W(l).letters()[0]
    hidden = any(isinstance(a, Entrywise) and any(b == weights for _, b in a.parts) for a in feedback.letters())
    normed = any(has_norm(c) for _, c in feedback.terms)
    return not (rule.learns or hidden or normed or weights in feedback.letters())


def _annihilates(projector: Word, path: Word) -> tuple[Relation, Relation]:
    """P_l M_l = 0 and P_l P_l = P_l."""
    (lead, coefficient), *rest = path.terms
    remainder = Word(path.rows, path.cols, tuple(rest)) * (-1 / coefficient)
    pattern = Word(path.rows, path.cols, ((lead, sympy.Integer(1)),))
    return Relation(projector @ pattern, projector @ remainder), Relation(projector @ projector, projector)


def _projector(l: sympy.Expr) -> Word:
    return letter("P", width(l), width(l), index=l, symmetric=True)


def _passes(feedback: Word, l: sympy.Expr, letters: frozenset[Word]) -> list[Relation]:
    """P_l B_{l+1}ᵀ P_{l+1} = P_l B_{l+1}ᵀ, because P_l B_{l+1}ᵀ M_{l+1} = 0 and I − P_{l+1} = M_{l+1} M_{l+1}⁺."""
    lower, upper = _projector(l), _projector(l + 1)
    if not {lower, upper} <= letters or len(feedback.terms) != 1 or feedback.terms[0][1] != 1:
        return []
    return [Relation(lower @ feedback.T @ upper, lower @ feedback.T)]


def _pair(l: sympy.Expr, paths: Mapping[sympy.Expr, Word]) -> tuple[tuple[Word, Word], Relation]:
    """Letters α_l, β_l with α_lᵀ M_l = β_lᵀ M_{l+1}, one column for each pair of vectors of theory.md's L3."""
    k = sympy.Function("k")(l)
    alpha, beta = letter("α", width(l), k, index=l), letter("β", width(l + 1), k, index=l)
    return (alpha, beta), Relation(alpha.T @ paths[l], beta.T @ paths[l + 1])


def interpolated(alpha: sympy.Expr) -> Rule:
    """B_l = α W_l + (1 − α) B_l, with the moving W_l."""
    return Rule(f"interpolated, α = {alpha}", feedback=lambda l: alpha * W(l) + (1 - alpha) * B(l))


BACKPROP = Rule("backprop", feedback=W)
FEEDBACK_ALIGNMENT = Rule("feedback alignment", feedback=B)
DIRECT_FEEDBACK = Rule("direct feedback alignment", path=lambda l: F(l).T)
KOLEN_POLLACK = Rule("Kolen–Pollack", feedback=B, learns=True)
READ_OUT_ONLY = Rule(
    "read-out only", path=lambda l: identity(width(DEPTH)) if l == DEPTH else zero(width(l), width(DEPTH))
)
