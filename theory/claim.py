"""What a claim is, and what it means that its derivation closes.

A derivation is a function that writes steps into a `Proof`. Steps that *close* are checked as they are written: a
symbolic expression must vanish identically, an exact computation must come out, a counterexample must not vanish.
Nothing is proved by being printed: a verdict counts the steps that were checked and the sentences that were not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sympy

from linfa.errors import LinfaError
from linfa.symbolic.words import Scalar, Word


class Status(StrEnum):
    """How sure a claim is."""

    PROVED = "proved"
    """Every identity that the derivation rests on is a symbolic zero, for all sizes.

    Limits and named lemmas (Barbalat's, say) are argued in words, and printed as such.
    """
    CERTIFIED = "certified"
    """Some step is an exact computation, true for the sizes it names."""
    OPEN = "open"
    """Nobody has proved it; the derivation says what is known."""
    FAILED = "failed"
    """A step did not close."""


class NotClosedError(LinfaError):
    """A derivation claimed something that does not come out."""


@dataclass
class Proof:
    """The steps of one derivation, checked as they are written."""

    steps: list[str] = field(default_factory=list)
    status: Status = Status.PROVED
    closed: int = 0
    """How many steps were checked."""
    said: int = 0
    """How many sentences argue in words."""

    def say(self, text: str) -> None:
        """Write a sentence that is not checked: a definition, a reason, a source, a limit."""
        self.said += 1
        self.steps.append(text)

    def show(self, text: str, expression: Any) -> None:
        """Write an expression that the reader should see."""
        self.steps.append(f"{text}\n    {expression}")

    def vanishes(self, text: str, expression: Any) -> None:
        """Close a step: a word, a trace, or a SymPy expression (or matrix) that is identically zero.

        Raises:
            NotClosedError: where something is left.
        """
        rest = _rest(expression)
        if rest is not None:
            raise NotClosedError(f"{text}: should vanish, but this is left: {rest}")
        self._close(f"{text}: 0")

    def equal(self, text: str, left: Any, right: Any) -> None:
        """Close a step: two expressions that are identically equal.

        Raises:
            NotClosedError: where they differ.
        """
        rest = _rest(left - right)
        if rest is not None:
            raise NotClosedError(f"{text}: the two sides differ by {rest}")
        self._close(f"{text}\n    {left}")

    def holds(self, text: str, truth: object) -> None:
        """Close a step whose truth was decided symbolically, for every size (an inequality, a rank, a sign).

        Raises:
            NotClosedError: unless it is exactly True.
        """
        if truth is not True and truth is not sympy.true:
            raise NotClosedError(f"{text}: should hold, but came out as {truth}")
        self._close(text)

    def certified(self, text: str, truth: object) -> None:
        """Close a step by an exact computation for the sizes that the text names.

        Raises:
            NotClosedError: unless it is exactly True.
        """
        self.holds(text, truth)
        self.status = Status.CERTIFIED if self.status is Status.PROVED else self.status

    def fails(self, text: str, expression: Any) -> None:
        """Write a counterexample: without a hypothesis something that should vanish does not.

        Raises:
            NotClosedError: where it vanishes after all.
        """
        rest = _rest(expression)
        if rest is None:
            raise NotClosedError(f"{text}: the counterexample vanishes")
        self._close(f"{text} ≠ 0:\n    {rest}")

    def leave_open(self, text: str) -> None:
        """Say what nobody has proved."""
        self.steps.append(text)
        self.status = Status.OPEN

    def _close(self, text: str) -> None:
        self.closed += 1
        self.steps.append(text)


def _rest(expression: Any) -> Any:
    """Return what is left of an expression that should vanish, or None."""
    if isinstance(expression, Word | Scalar):
        return None if expression.is_zero() else expression
    if isinstance(expression, sympy.MatrixBase):
        simplified = expression.applyfunc(sympy.simplify)
        return None if simplified.is_zero_matrix else simplified
    simplified = sympy.simplify(sympy.sympify(expression))
    return None if simplified == 0 else simplified


@dataclass(frozen=True)
class Claim:
    """A statement with its derivation.

    Args:
        name: on command lines; the file that holds it has the same name.
        statement: the claim in one sentence.
        latex: the claim as a formula.
        derive: writes the steps.
    """

    name: str
    statement: str
    latex: str
    derive: Callable[[Proof], None]

    def check(self) -> Verdict:
        """Return how the derivation went; a step that does not close gives the status *failed*, never an exception."""
        proof, began, reason = Proof(), time.perf_counter(), ""
        try:
            self.derive(proof)
            if proof.closed == 0 and proof.status is not Status.OPEN:
                raise NotClosedError("the derivation closes nothing")
        except NotClosedError as error:
            proof.status, reason = Status.FAILED, str(error)
        seconds = time.perf_counter() - began
        return Verdict(self, proof.status, seconds, tuple(proof.steps), proof.closed, proof.said, reason)


@dataclass(frozen=True)
class Verdict:
    """How a claim's derivation went."""

    claim: Claim
    status: Status
    seconds: float
    steps: tuple[str, ...]
    closed: int
    said: int
    reason: str = ""

    def counted(self) -> str:
        """Return how many steps were checked and how many sentences were not: *17 closed, 6 in words*."""
        return f"{self.closed} closed, {self.said} in words"

    def as_json(self) -> dict[str, Any]:
        """Return name, statement, status, seconds; and the reason where it failed."""
        fields = {
            "name": self.claim.name,
            "statement": self.claim.statement,
            "status": self.status.value,
            "seconds": round(self.seconds, 3),
        }
        return fields | ({"reason": self.reason} if self.reason else {})
