"""From words to numbers: simulate a rule that was written in words, and watch the laws that the finder found.

`WordRule` is a rule of `linfa.rules` whose feedback is a word; `FoundLaw` is a law of `linfa.laws` whose quantity is
one. Both are meant for exploring: built-in rules and laws say the same and run faster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import sympy

from linfa.arrays import norm
from linfa.errors import InputError, NoLawError
from linfa.laws.interface import AbstractLaw, Layers
from linfa.provenance import describe
from linfa.rules.backprop import Backprop
from linfa.rules.direct_feedback import DirectFeedback
from linfa.rules.feedback_alignment import FeedbackAlignment
from linfa.rules.interface import AbstractLayerwise, AbstractRule, State, check_feedback
from linfa.rules.kolen_pollack import KolenPollack
from linfa.rules.potential import Potential as NumericPotential
from linfa.symbolic.alphabet import B, W
from linfa.symbolic.derivation import Derivation, substitute
from linfa.symbolic.dual import Array
from linfa.symbolic.finder import find
from linfa.symbolic.increments import velocity_letter
from linfa.symbolic.laws import Law
from linfa.symbolic.letters import LAYER
from linfa.symbolic.numeric import evaluate
from linfa.symbolic.potential import Potential
from linfa.symbolic.printing import text
from linfa.symbolic.rules import BACKPROP, DIRECT_FEEDBACK, FEEDBACK_ALIGNMENT, KOLEN_POLLACK, Rule
from linfa.symbolic.words import Word
from linfa.weights import Weights, feedback_shapes

BUILT_IN: dict[type[AbstractRule], Rule] = {
    Backprop: BACKPROP,
    FeedbackAlignment: FEEDBACK_ALIGNMENT,
    DirectFeedback: DIRECT_FEEDBACK,
    KolenPollack: KOLEN_POLLACK,
}
"""The words of the built-in rules."""

Key: TypeAlias = tuple[str, str]
"""A letter by name and index, ("W", "2")."""


@dataclass(frozen=True, eq=False)
class WordRule(AbstractLayerwise):
    """A learning rule given in words, to be simulated: δ_l = δ_{l+1} B_{l+1} with B_l the value of a word.

    Args:
        words: the rule, with a layer-wise feedback that does not learn.
        matrices: arrays for the letters B_2 … B_L; empty where the feedback has none.
        parameters: numbers for symbolic coefficients.

    Raises:
        InputError: for direct or learning feedback, which `linfa.rules` has as rules of their own.

    >>> from linfa.symbolic import hadamard
    >>> rule = WordRule(Rule("cubic", feedback=lambda l: hadamard(W(l), W(l), W(l))))
    >>> rule.feedback(State((np.ones((2, 1)), np.array([[2.0, -1.0]]))))[0]
    array([[ 8., -1.]])
    """

    name: ClassVar[str] = "words"
    words: Rule
    matrices: tuple[Array, ...] = ()
    parameters: Mapping[sympy.Symbol, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.words.feedback is None or self.words.learns:
            raise InputError(
                f"WordRule simulates layer-wise feedback that does not learn; for {self.words.name!r} use "
                "linfa.DirectFeedback or linfa.KolenPollack"
            )

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return the value of the word B_l for l = 2 … L."""
        values = _values(state.weights, self.matrices)
        words = (_feedback_word(self.words, l) for l in range(2, len(state.weights) + 1))
        return tuple(np.asarray(evaluate(word, values, self.parameters), dtype=float) for word in words)

    def potential(self, k: int) -> NumericPotential:
        """Raise NoLawError: the laws of a rule in words are those that `linfa.symbolic.find` finds."""
        raise NoLawError(
            f"{self.words.name}: built-in laws do not know a rule in words; find its laws with linfa.symbolic.find "
            "and watch them with linfa.symbolic.FoundLaw"
        )

    def described(self) -> dict[str, Any]:
        """Return the rule as provenance states it: its feedback in plain text."""
        assert self.words.feedback is not None
        return {
            "type": "WordRule",
            "words": self.words.name,
            "feedback": text(self.words.feedback(LAYER)),
            "matrices": describe(self.matrices),
            "parameters": {str(symbol): float(value) for symbol, value in self.parameters.items()},
        }

    def check(self, weights: Weights) -> None:
        """Raise InputError unless B_l, where the word has it, has the shape of W_l."""
        if self.matrices:
            check_feedback("B", self.matrices, feedback_shapes(weights.widths), first=2)


class FoundLaw(AbstractLaw):
    """A law that the finder found, as a law of `linfa.laws`: an observable, with its exact account of finite steps.

    Args:
        found: a `Law` in symbolic l (one quantity per hidden layer), or the `Potential` of a rule's feedback.
        rule: the rule in words that it belongs to; a `Law` knows its own.
        name: in results.

    >>> import linfa
    >>> from linfa.symbolic import find
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> found = FoundLaw(find(FEEDBACK_ALIGNMENT).laws[1])
    >>> rule, state = linfa.FeedbackAlignment.random(net, rng=1), State(net.matrices)
    >>> bool(np.allclose(found.quantity(rule, state)[0], linfa.laws.MatrixLaw().quantity(rule, state)[0]))
    True
    """

    name = "found"
    statement = "A law that the finder found."
    latex = ""

    def __init__(self, found: Law | Potential, rule: Rule | None = None, name: str = "found") -> None:
        if isinstance(found, Potential) and rule is None:
            raise InputError(
                "a potential belongs to the rule whose feedback it is the gradient of: FoundLaw(found, rule)"
            )
        self.found = found
        self._by_layer: dict[tuple[str, int], Law] = {}
        self._families = {"quantity": found} | _account(found) if isinstance(found, Law) else {}
        self.words = found.rule if isinstance(found, Law) else rule
        self.name, self.statement, self.latex = name, found.statement, found.latex  # type: ignore[misc]

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError unless a rule is the one that the law was found for."""
        words = rule.words if isinstance(rule, WordRule) else BUILT_IN.get(type(rule))
        if words is not self.words:
            came = rule.words.name if isinstance(rule, WordRule) else rule.name
            raise NoLawError(f"this law was found for {self.words.name if self.words else '?'}, not for {came}")

    def quantity(self, rule: AbstractRule, state: State) -> Layers:
        """Return the value of the quantity for l = 1 … L−1."""
        weights, feedback, parameters = state.weights, _feedback(rule, state), _parameters(rule)
        if isinstance(self.found, Potential):
            layers = range(1, len(weights))
            return tuple(self.found.evaluate(weights, feedback, l, parameters) for l in layers)
        laws = (self._at("quantity", l) for l in range(1, len(weights)))
        return tuple(np.asarray(law.evaluate(weights, feedback, parameters), dtype=float) for law in laws)

    def _at(self, family: str, layer: int) -> Law:
        if (family, layer) not in self._by_layer:
            self._by_layer[family, layer] = self._families[family].at(layer)
        return self._by_layer[family, layer]

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return the quantity, and zero: a found law does not say what is traded against what."""
        Q = self.quantity(rule, state)
        return Q, tuple(0 * q for q in Q)

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return dQ(s)[u]: from the feedback for a potential, as a word for a polynomial."""
        if isinstance(self.found, Potential):
            return self._along_feedback(rule, state, u)
        return self._along("differential", rule, state, u)

    def _along(self, family: str, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return the value of a word in the letters of a state and of a step."""
        feedback, parameters = _feedback(rule, state), _parameters(rule)
        moved = u if isinstance(rule, KolenPollack) else State(u.weights)
        steps = {velocity_letter(w): v for w, v in _values(moved.weights, moved.learnt).items()}
        laws = (self._at(family, l) for l in range(1, len(state.weights)))
        return tuple(np.asarray(law.evaluate(state.weights, feedback, parameters, steps), dtype=float) for law in laws)

    def _along_feedback(self, rule: AbstractRule, state: State, u: State) -> Layers:
        assert isinstance(rule, WordRule)
        assert isinstance(self.found, Potential)
        layers = []
        for W_l, u_l, B_next, u_next in zip(
            state.weights, u.weights, rule.feedback(state), u.weights[1:], strict=False
        ):
            per_neuron = np.sum(W_l * u_l, axis=1) - np.sum(B_next * u_next, axis=0)
            layers.append(per_neuron if self.found.per == "neuron" else np.sum(per_neuron))
        return tuple(layers)

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return Q(s + u) − Q(s) − dQ(s)[u]: as a word for a polynomial, by subtraction for a potential."""
        if isinstance(self.found, Law):
            linear = not self._families["defect"].quantity.terms
            return tuple(0 * q for q in self.quantity(rule, state)) if linear else self._along("defect", rule, state, u)
        after, before = self.quantity(rule, state.plus(1.0, u)), self.quantity(rule, state)
        first = self.differential(rule, state, u)
        return tuple(a - b - d for a, b, d in zip(after, before, first, strict=True))

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> Layers:
        """Return Σ |c| a ‖…‖ over the terms of Q, a letter in each moved by its size a, the others at their norms.

        For a potential, 4(‖W_l‖ + ‖W_{l+1}‖ + ‖B_{l+1}‖)(a_l + a_{l+1})(1 + ‖W_{l+1}‖)², enough up to degree 4.
        """
        if isinstance(self.found, Law):
            return self._magnitudes(rule, state, sizes)
        W, a = [norm(w) for w in state.weights], sizes.weights
        B_norms = [norm(b) for b in _stand_ins(rule, state)]
        pairs = zip(W, W[1:], B_norms, a, a[1:], strict=False)
        return tuple(4 * (w + v + b) * (x + y) * (1 + v) ** 2 for w, v, b, x, y in pairs)

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return Σ |c| ‖…‖ over the terms of Q; for a potential the largest of ‖W_l‖² + 2‖B_{l+1}‖‖W_{l+1}‖ and |Q|."""
        if isinstance(self.found, Law):
            return self._magnitudes(rule, state, None)
        Q = self.quantity(rule, state)
        parts = zip(state.weights, state.weights[1:], _stand_ins(rule, state), Q, strict=False)
        return tuple(
            np.maximum(norm(w) ** 2 + 2 * norm(b) * norm(v), np.max(np.abs(q), initial=0.0)) for w, v, b, q in parts
        )

    def _magnitudes(self, rule: AbstractRule, state: State, sizes: State | None) -> Layers:
        norms, parameters = _norms(rule, state), _parameters(rule)
        moved = None if sizes is None else sizes if isinstance(rule, KolenPollack) else State(sizes.weights)
        steps = None if moved is None else _by_key(moved.weights, moved.learnt)
        laws = (self._at("quantity", l) for l in range(1, len(state.weights)))
        return tuple(np.float64(_magnitude(law, norms, steps, parameters)) for law in laws)

    def __repr__(self) -> str:
        return f"FoundLaw({self.statement})"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, FoundLaw) and (self.found, self.words, self.name) == (
            other.found,
            other.words,
            other.name,
        )

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.statement))


def _account(found: Law) -> dict[str, Law]:
    """Return dQ(s)[u] and the defect D(s, u), in the letters of the state and (momentum's letters) those of a step."""
    Q: Any = found.quantity  # a word or a sum of traces, as its differential and its defect then are
    moving = {w: velocity_letter(w) for w in found.flow.velocity}
    first = Derivation(moving)(Q)
    defect = substitute(Q, {w: w + step for w, step in moving.items()}) - Q - first
    return {"differential": Law(first, found.flow), "defect": Law(defect, found.flow)}


def _magnitude(
    law: Law, norms: Mapping[Key, float], steps: Mapping[Key, float] | None, parameters: Mapping[sympy.Symbol, float]
) -> float:
    """Return Σ |c|‖A‖…‖Z‖ over the terms c A…Z; with steps, the moving letters of each replaced by theirs in turn."""
    total = 0.0
    for monomial, coefficient in law.quantity.terms:
        keys = [a.key for a, _ in monomial]
        plain = [norms[key] for key in keys]
        turns = [(i, steps[key]) for i, key in enumerate(keys) if key in steps] if steps is not None else []
        products = [plain] if steps is None else [[*plain[:i], step, *plain[i + 1 :]] for i, step in turns]
        total += abs(float(coefficient.subs(parameters))) * sum(map(math.prod, products))
    return total


@lru_cache(maxsize=256)
def _feedback_word(rule: Rule, layer: int) -> Word:
    assert rule.feedback is not None
    return rule.feedback(sympy.Integer(layer))


def found_laws(rule: Rule, degree: int = 2) -> tuple[FoundLaw, ...]:
    """Return every law that the finder finds for a rule, ready to be watched in a run.

    Raises:
        NoLawError: where the feedback is no gradient; the message is the obstruction.
    """
    findings = find(rule, degree=degree)
    if findings.laws:
        return tuple(FoundLaw(law, name=f"found_{i}") for i, law in enumerate(findings.laws))
    if findings.obstruction is not None:
        raise findings.obstruction.refuse()
    return () if findings.potential is None else (FoundLaw(findings.potential, rule),)


def _values(weights: Sequence[Array], matrices: Sequence[Array]) -> dict[Word, Array]:
    return {W(l): A for l, A in enumerate(weights, 1)} | {B(l): A for l, A in enumerate(matrices, 2)}


def _feedback(rule: AbstractRule, state: State) -> tuple[Array, ...]:
    """Return the arrays of the letters B_l or F_l."""
    if isinstance(rule, KolenPollack):
        return state.learnt
    return tuple(getattr(rule, "matrices", ()))


def _by_key(weights: Sequence[Array], matrices: Sequence[Array]) -> dict[Key, float]:
    return {w.letters()[0].key: float(a) for w, a in _values(weights, matrices).items()}


def _norms(rule: AbstractRule, state: State) -> dict[Key, float]:
    """Return ‖A‖_F of every letter of a law; for P_l, α_l and β_l, which have orthonormal rows or columns, a bound."""
    sizes = _by_key([norm(w) for w in state.weights], [norm(b) for b in _feedback(rule, state)])
    direct = {("F", str(l)): float(norm(F)) for l, F in enumerate(_feedback(rule, state), 1)}
    bounds = {
        (name, str(l)): math.sqrt(W_l.shape[0] + (0 if name == "P" else W_next.shape[0]))
        for l, (W_l, W_next) in enumerate(zip(state.weights, state.weights[1:], strict=False), 1)
        for name in "Pαβ"
    }
    return sizes | direct | bounds


def _parameters(rule: AbstractRule) -> Mapping[sympy.Symbol, float]:
    return rule.parameters if isinstance(rule, WordRule) else {}


def _stand_ins(rule: AbstractRule, state: State) -> list[Array]:
    return [b for b, _ in rule.stand_ins(state)]
