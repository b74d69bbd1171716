"""Laws found by the calculus: a quantity in words, its statement, its certificate, and its value on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from linfa.errors import InputError
from linfa.symbolic.alphabet import B, F, W
from linfa.symbolic.derivation import Derivation
from linfa.symbolic.dual import Array
from linfa.symbolic.letters import DEPTH, LAYER, Letter
from linfa.symbolic.numeric import defined, evaluate, exact_point, rate
from linfa.symbolic.printing import latex, text
from linfa.symbolic.rules import Flow, Rule
from linfa.symbolic.words import Scalar, Word


@dataclass(frozen=True)
class Certificate:
    """Why a quantity is constant, in a form that can be replayed: the velocities, the relations, and the terms that
    cancel.

    `replay()` differentiates again and asks for a symbolic zero; `check(seed)` evaluates dQ/dt at a random exact
    point, without the derivation, and asks for zero there.
    """

    quantity: Word | Scalar
    flow: Flow

    def replay(self) -> bool:
        """Whether the derivative along the flow is the zero word."""
        return self.flow.derivation(self.quantity).is_zero()

    def check(self, seed: int = 0, parameters: Mapping[sympy.Symbol, int] | None = None) -> bool:
        """Whether the derivative vanishes at a random exact point (Schwartz–Zippel); symbols without a value are
        drawn.
        """
        rng = np.random.default_rng(seed)
        free = {
            s
            for _, c in (*self.quantity.terms, *(t for v in self.flow.velocity.values() for t in v.terms))
            for s in c.free_symbols
        }
        drawn = {s: int(rng.integers(2, 100)) for s in sorted(free - {DEPTH, LAYER}, key=str)} | dict(parameters or {})
        return bool(
            np.all(rate(self.quantity, self.flow, exact_point(self.flow, seed, also=self.quantity), drawn) == 0)
        )

    def lines(self) -> tuple[str, ...]:
        """The proof in plain text: each term of the quantity, differentiated, and their sum."""
        derivation: Derivation = self.flow.derivation
        velocities = [f"d/dt {text(w)} = {text(v)}" for w, v in self.flow.velocity.items()]
        relations = [f"{text(r.pattern)} = {text(r.replacement)}" for r in self.flow.relations]
        terms = []
        for term in self.quantity.terms:
            piece = _single(self.quantity, term)
            terms.append(f"d/dt ({text(piece)}) = {text(derivation(piece))}")
        return (*velocities, *relations, *terms, f"sum = {text(derivation(self.quantity))}")


def _single(quantity: Word | Scalar, term: Any) -> Word | Scalar:
    return Scalar((term,)) if isinstance(quantity, Scalar) else Word(quantity.rows, quantity.cols, (term,))


@dataclass(frozen=True)
class Law:
    """A conserved word: `quantity` is constant along the flow of `rule`, for every loss and every data set.

    A law in symbolic l holds for each layer of every net; `law.at(2)` is the one of layer 2.
    """

    quantity: Word | Scalar
    flow: Flow

    @property
    def rule(self) -> Rule:
        """The rule whose flow conserves it."""
        return self.flow.rule

    @property
    def certificate(self) -> Certificate:
        """The replayable proof."""
        return Certificate(self.quantity, self.flow)

    @property
    def statement(self) -> str:
        """The law in plain text, with the meaning of the letters that the finder introduced."""
        return f"{text(self.quantity)} is constant under {self.rule.name}{_where(self.quantity)}"

    @property
    def latex(self) -> str:
        """The quantity in LaTeX."""
        return latex(self.quantity)

    def __str__(self) -> str:
        return self.statement

    def at(self, layer: int) -> Law:
        """The law of one layer of a family in l."""
        return Law(self.quantity.at({LAYER: layer}), self.flow)

    def evaluate(
        self,
        weights: Sequence[Array],
        feedback: Sequence[Array],
        parameters: Mapping[sympy.Symbol, float] | None = None,
        constants: Mapping[Word, Array] | None = None,
    ) -> Array:
        """The quantity on arrays.

        Args: weights: W_1 … W_L; feedback: B_2 … B_L, or F_1 … F_{L-1} for direct feedback (empty for backprop);
            parameters: numbers for symbolic coefficients; constants: arrays for further letters of a user's rule.
        Raises: InputError when the law is still symbolic in l, or layers and arrays do not fit.
        """
        if any(
            isinstance(a, Letter) and a.index is not None and not a.index.is_Integer for a in self.quantity.letters()
        ):
            raise InputError(f"{text(self.quantity)} is a family in l: choose a layer with law.at(l) first")
        depth = len(weights)
        values = _arrays(self.rule, weights, feedback) | dict(constants or {})
        flow = self.rule.net(depth)
        quantity = self.quantity.at({DEPTH: depth})
        needed = {a.key for a in quantity.letters()}
        introduced = defined(flow, values, parameters, exact=False, among=needed)
        return evaluate(quantity, {**values, **introduced}, parameters)


def _where(quantity: Word | Scalar) -> str:
    names = {a.key[0] for a in quantity.letters()}
    projectors = "; P_l projects onto the complement of the range of M_l, P_l M_l = 0" if "P" in names else ""
    pairs = "; M_lᵀα_l = M_{l+1}ᵀβ_l" if "α" in names else ""
    return projectors + pairs


def _arrays(rule: Rule, weights: Sequence[Array], feedback: Sequence[Array]) -> dict[Word, Array]:
    depth = len(weights)
    if feedback and len(feedback) != depth - 1:
        raise InputError(f"a net of {depth} layers has {depth - 1} feedback matrices; {len(feedback)} came")
    values = {W(l): A for l, A in enumerate(weights, start=1)}
    if rule.path is None:
        return values | {B(l): A for l, A in enumerate(feedback, start=2)}
    return values | {F(l, depth): A for l, A in enumerate(feedback, start=1)}
