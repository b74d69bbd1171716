"""The potential principle: a rule has a law exactly when the 1-form ⟨B(W), dW⟩ is closed.

    ∂B_ij/∂W_kl = ∂B_kl/∂W_ij  for all entries   ⇔   B = ∇Φ   ⇔   ½‖W_l‖² − Φ(W_{l+1}) is conserved

Three deciders, each of which says for what shapes it has decided: *words* (polynomial feedback: the curl is a trace
word in two directions, and its vanishing holds for every shape), *entries* (entrywise functions and the norm ‖W‖_F:
the curl of two generic entries, for every shape), *block* (anything else, on one small block of symbols, for that
block only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from linfa.errors import InputError, NoLawError
from linfa.symbolic.alphabet import B, W, letter
from linfa.symbolic.derivation import Derivation
from linfa.symbolic.dual import Array
from linfa.symbolic.entries import Entry, block_curl, entry_curl, entry_of, entry_potential
from linfa.symbolic.letters import LAYER, Entrywise, Letter, has_norm, inside
from linfa.symbolic.numeric import evaluate
from linfa.symbolic.printing import latex, latex_letter, text
from linfa.symbolic.words import Scalar, Word, inner, trace, zero


@dataclass(frozen=True)
class Potential:
    """Φ with B = ∇Φ: as the trace of a word (`matrix`), or as a sum over entries of `entry`, the norm being a common
    factor.

    `per` is "neuron" when Φ is a sum over the columns of W, so that every hidden neuron has its own law, else
    "layer"; `proved` says for what shapes and how.
    """

    feedback: Word
    weights: Word
    matrix: Word | None
    entry: Entry | None
    per: str
    proved: str

    @property
    def word(self) -> Scalar | None:
        """Φ as a sum of traces, where it is one."""
        return None if self.matrix is None else trace(self.matrix)

    @property
    def latex(self) -> str:
        """The conserved quantity in LaTeX."""
        w = self.weights.letters()[0]
        if self.word is not None:
            phi = latex(self.word)
        else:
            assert self.entry is not None
            phi = rf"\sum_{{ij}} {sympy.latex(self.entry.readable())}"
        return rf"\tfrac12 \lVert W_l \rVert^2 - \left[{phi}\right], \quad W = {latex_letter(w)}"

    @property
    def statement(self) -> str:
        """The potential and the law, in plain text."""
        phi = f"Σ_ij {self.entry}" if self.word is None else text(self.word)
        law = f"½‖W_l‖² − Φ is conserved per {self.per} ({self.proved})"
        return f"B = {text(self.feedback)} is the gradient of Φ = {phi}: {law}"

    def evaluate(
        self,
        weights: Sequence[Array],
        feedback: Sequence[Array] = (),
        layer: int = 1,
        parameters: Mapping[sympy.Symbol, float] | None = None,
        constants: Mapping[Word, Array] | None = None,
    ) -> Array:
        """½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]) for each neuron k of a layer, or their sum where Φ does not split.

        Args: weights: W_1 … W_L; feedback: B_2 … B_L where the rule has letters B; layer: l; parameters: numbers for
            symbolic coefficients; constants: arrays for further letters, keyed by the letter with l put in.
        """
        values = (
            {W(i): A for i, A in enumerate(weights, 1)}
            | {B(i): A for i, A in enumerate(feedback, 2)}
            | dict(constants or {})
        )
        here = {LAYER: layer}
        incoming = 0.5 * np.sum(np.asarray(weights[layer - 1]) ** 2, axis=1)
        if self.matrix is not None:
            phi = np.diagonal(evaluate(self.matrix.at(here), values, parameters))
        else:
            assert self.entry is not None
            named = {source.letters()[0].label: np.asarray(value) for source, value in values.items()}
            phi = self.entry.at(here, self.feedback, self.weights).evaluate(named, parameters).sum(axis=0)
        return np.asarray(incoming - phi if self.per == "neuron" else np.sum(incoming) - np.sum(phi))


@dataclass(frozen=True)
class Obstruction:
    """Why there is no Φ: `curl` is a term of d⟨B, dW⟩ that is not zero."""

    feedback: Word
    weights: Word
    curl: Any
    proved: str

    @property
    def statement(self) -> str:
        """The reason, in plain text."""
        return f"B = {text(self.feedback)} is no gradient: the curl of ⟨B, dW⟩ is {self.curl}, not zero ({self.proved})"

    def refuse(self) -> NoLawError:
        """The error to raise where a law was asked for."""
        return NoLawError(self.statement)


def potential(feedback: Word, weights: Word) -> Potential | Obstruction:
    """Decide whether ⟨B(W), dW⟩ is closed; return the potential, or the obstruction.

        d⟨B, dW⟩ = 0  ⇔  B = ∇Φ

    Args: feedback: B as a word (products, `hadamard`, `sign`, `absolute`, `norm`); weights: the letter W that moves,
        as a word.
    Returns: a `Potential` or an `Obstruction`, which state what was proved and for what shapes.
    Raises: InputError when the shapes differ or a coefficient is no power of the norm.

    >>> from linfa.symbolic.alphabet import W
    >>> from linfa.symbolic.entrywise import hadamard, norm, sign
    >>> print(potential(hadamard(W(2), W(2), W(2)), W(2)).entry)
    W_2**4/4
    >>> type(potential(norm(W(2)) * sign(W(2)), W(2))).__name__
    'Obstruction'
    """
    if feedback.shape != weights.shape:
        raise InputError(
            f"feedback has the shape of the weights; {text(feedback)} is {feedback.rows} x {feedback.cols}, "
            f"{text(weights)} is {weights.rows} x {weights.cols}"
        )
    moving = weights.letters()[0]
    if not isinstance(moving, Letter):
        raise InputError(f"the weights are one letter; {text(weights)} came")
    if _is_entrywise(feedback, moving):
        return _by_entries(feedback, weights, moving)
    if _is_polynomial(feedback, moving):
        return _by_words(feedback, weights)
    return _by_block(feedback, weights, moving)


def _is_polynomial(feedback: Word, moving: Letter) -> bool:
    hidden = any(isinstance(a, Entrywise) and any(b == moving for _, b in a.parts) for a in feedback.letters())
    return not hidden and not any(has_norm(c, (moving,)) for _, c in feedback.terms)


def _is_entrywise(feedback: Word, moving: Letter) -> bool:
    """Whether every entry of B depends on its own entry of W only, apart from ‖W‖_F."""
    return all((len(m) == 1 and not m[0][1]) or all(moving not in inside(a) for a, _ in m) for m, _ in feedback.terms)


def _by_words(feedback: Word, weights: Word) -> Potential | Obstruction:
    H, K = (letter(name, *weights.shape) for name in ("H", "K"))
    curl = inner(Derivation({weights: H})(feedback), K) - inner(Derivation({weights: K})(feedback), H)
    if not curl.is_zero():
        return Obstruction(feedback, weights, curl, "as a trace word in two directions H, K: for generic sizes")
    total = zero(weights.cols, weights.cols)
    for term in feedback.terms:
        degree = sum(a == weights.letters()[0] for a, _ in term[0])
        total = total + Word(*feedback.shape, (term,)).T @ weights / (degree + 1)
    per = "neuron" if all(_ends_in_weights(m, weights.letters()[0]) for m, _ in feedback.terms) else "layer"
    return Potential(feedback, weights, total, None, per, "for every shape, by words")


def _ends_in_weights(monomial: Any, moving: Any) -> bool:
    """Whether the k-th column of a product depends on the k-th column of W only."""
    places = [k for k, (a, _) in enumerate(monomial) if a == moving]
    return not places or (places == [len(monomial) - 1] and not monomial[-1][1])


def _by_entries(feedback: Word, weights: Word, moving: Letter) -> Potential | Obstruction:
    entry = entry_of(feedback, moving)
    curl = entry_curl(entry)
    if curl != 0:
        return Obstruction(
            feedback,
            weights,
            curl,
            "for two entries w, w' of W with ρ = ‖W‖_F: for every shape with at least two entries",
        )
    signs = "; where entries cross zero Φ is continuous" if entry.has_sign else ""
    per = "layer" if entry.has_norm else "neuron"
    return Potential(feedback, weights, None, entry_potential(entry), per, f"for every shape, entry by entry{signs}")


def _by_block(feedback: Word, weights: Word, moving: Letter) -> Potential | Obstruction:
    sizes, curl = block_curl(feedback, moving)
    shape = " x ".join(map(str, sizes))
    if curl != 0:
        return Obstruction(feedback, weights, curl, f"on a block of shape {shape}")
    raise InputError(
        f"B = {text(feedback)} is closed on a block of shape {shape}, which proves it for no other shape: "
        "write B with words alone, or with entrywise functions alone, to have it decided for every shape"
    )
